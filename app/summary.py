"""What a person reads at the end of a run."""

from __future__ import annotations

from app.report import REPORT, Report
from operators.journal import SeriesRecord


def summarise(report: Report) -> str:
    """A few lines: the choice, the organs, where everything lies, and how long it took."""
    lines: list[str] = []
    if report.journal.skipped:
        lines.append(f"{len(report.journal.skipped)} files were left out; {REPORT} says why.")
    if report.journal.decisions:
        lines += ["", "Series:"]
        lines += [
            f"  {'chosen' if d.chosen else '  not '}  {d.name}  {d.reason}"
            for d in report.journal.decisions
        ]
    for record in report.journal.records:
        lines += ["", *_series_lines(record)]
    lines += _truth_lines(report)
    lines += ["", f"report   {report.output / REPORT}"]
    for segmenter in report.segmenters:
        lines.append(f"model    {segmenter.bundle.name} on {segmenter.runtime}")
    seconds = (report.finished - report.started).total_seconds()
    lines.append(f"time     {seconds:.1f} s")
    lines.append(f"status   {report.outcome.status}")
    return "\n".join(lines).lstrip("\n")


def _series_lines(record: SeriesRecord) -> list[str]:
    lines = [f"Series {record.chosen.candidate.name}"]
    lines += [f"  {sentence}" for sentence in (*record.chosen.candidate.notes, *record.repairs)]
    if record.geometry is not None:
        shape = " x ".join(str(n) for n in record.geometry.shape)
        spacing = " x ".join(f"{mm:.3g}" for mm in record.geometry.spacing_mm)
        lines.append(f"  {shape} voxels of {spacing} mm (slices, rows, columns)")
    for organ in record.organs:
        amount = f"{organ.volume_ml:8.1f} ml" if organ.voxel_count else "   not found"
        cut = "  (touches the border)" if organ.voxel_count and not organ.complete else ""
        lines.append(f"  {organ.label:<14}{amount}{cut}")
    if record.error is not None:
        lines.append(f"  failed: {record.error}")
    titles = {
        "seg": "SEG",
        "preview": "preview",
        "volumes_csv": "volumes",
        "volumes_json": "volumes",
    }
    lines += [f"  {titles[kind]:<8} {path}" for kind, path in sorted(record.outputs.items())]
    if record.stages_s:
        spent = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in record.stages_s.items())
        lines.append(f"  {spent}")
    return lines


def _truth_lines(report: Report) -> list[str]:
    scores: dict[str, float | None] = report.extra.get("truth_dice", {})
    if not scores:
        return []
    lines = ["", "Dice against the phantom's truth:"]
    for label, score in scores.items():
        lines.append(f"  {label:<14}{'-' if score is None else f'{score:8.3f}'}")
    return lines
