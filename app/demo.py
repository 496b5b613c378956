"""`viscera demo`: a generated patient goes through the whole product and meets the truth."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from app.progress import Progress
from app.report import Report
from app.runner import Runner
from models.geometry import LabelMap
from models.metrics.overlap import dice
from models.phantom import make_phantom
from operators.ct_series import SeriesIdentity, write_ct_series
from operators.seg_reading import read_label_map

#: A number that no voxel of a SEG has, for organs it does not hold.
ABSENT = 255
#: Label of each organ in a phantom's truth.
TRUTH = {
    "Spleen": 1,
    "Pancreas": 2,
    "Left kidney": 3,
    "Gallbladder": 4,
    "Liver": 6,
    "Stomach": 7,
    "Right kidney": 9,
}


def run_demo(runner: Runner, output: Path, seed: int, progress: Progress) -> Report:
    """Write a phantom as a CT series, segment it, and compare with what is known of it.

    Parameters
    ----------
    output
        Gets the series in `phantom/` and the results beside it.
    seed
        Another seed is another patient.

    Returns
    -------
    The report of the run, with `truth_dice` per organ where there is a SEG.
    """
    progress("make phantom", 0.0)
    phantom = make_phantom(seed)
    folder = output / "phantom"
    for stale in folder.glob("*.dcm"):  # of another seed: two patients in one folder are two series
        stale.unlink()
    identity = SeriesIdentity(
        seed_text=f"viscera demo {seed}",
        ContrastBolusAgent=None if phantom.phase == "none" else "Iodine",
    )
    write_ct_series(phantom.volume, folder, identity)
    progress("make phantom", 1.0)
    report = runner.run(folder, output, progress)
    report.write()  # so that it is there whatever becomes of the comparison
    scores = {}
    for record in report.journal.records:
        if "seg" in record.outputs and record.geometry is not None:
            # series on axial slices from feet to head come back on the very grid they were made on
            looked_for = [segment.label for segment in runner.models.segmenter().bundle.segments]
            scores = compare(record.outputs["seg"], phantom.label_map, looked_for)
    return dataclasses.replace(
        report, extra={"phantom": {"seed": seed, "phase": phantom.phase}, "truth_dice": scores}
    )


def compare(seg: Path, truth: LabelMap, looked_for: Sequence[str]) -> dict[str, float | None]:
    """Dice of each organ that the model looks for, read back from the SEG.

    None where neither the SEG nor the truth has the organ.
    """
    label_map, names = read_label_map(seg, truth.geometry)
    numbers = {label: number for number, label in names.items()}
    scores: dict[str, float | None] = {}
    for label in looked_for:
        if label in TRUTH:
            number = numbers.get(label, ABSENT)
            score = dice(label_map.labels, truth.labels, number, TRUTH[label])
            scores[label] = None if score is None else round(score, 4)
    return scores
