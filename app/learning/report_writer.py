"""Collects what an evaluation shows: figures, pictures, and the organs of the worst cases."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.evaluation.pictures import CasePicture, case_picture
from app.evaluation.report import write_report
from app.evaluation.scenes import CaseScene, write_scene
from app.evaluation.tables import mean_dice
from models.bundle import Bundle
from models.evaluation.measures import CaseMeasures, Evaluation, write_json
from models.evaluation.summary import summarise
from models.evaluation.tables import write_csv, write_summary_csv
from models.geometry import LabelMap
from models.training.cases import Case
from operators.errors import OutputError

#: Cases whose pictures are on the page: the worst ones.
MOST_PICTURES = 24


@dataclass(kw_only=True)
class _Shown:
    """A case as it may come into the report."""

    score: float
    picture: CasePicture
    label_map: LabelMap | None


class ReportWriter:
    """Sees each case once, and keeps what the worst ones need.

    Parameters
    ----------
    bundle
        Whose organs are shown.
    folder
        Of the report; None for none.
    scenes
        Cases that are rendered in three dimensions, the worst first.

    Raises
    ------
    OutputError
        If the folder cannot be made: told before hours of evaluation, not after.
    """

    def __init__(self, bundle: Bundle, folder: Path | None, scenes: int) -> None:
        self._bundle = bundle
        self._folder = folder
        self._scenes = max(0, scenes)
        self._shown: list[_Shown] = []
        if folder is not None:
            with _output_errors(folder):
                folder.mkdir(parents=True, exist_ok=True)

    def add(self, case: Case, labels: NDArray[np.uint8], measures: CaseMeasures) -> None:
        """Take a case in; `labels` are segment numbers `(D, H, W)` in the case's order."""
        if self._folder is None:
            return
        score = mean_dice(measures)
        picture = case_picture(case, labels, self._bundle.segments, self._bundle.class_of)
        # one slice has no surface worth a rendering
        rendered = labels.shape[0] > 1 and bool(labels.any())
        grid = case.volume.geometry
        self._shown.append(
            _Shown(
                score=1.0 if score is None else score,
                picture=picture,
                label_map=LabelMap(labels=labels.copy(), geometry=grid) if rendered else None,
            )
        )
        self._shown.sort(key=lambda shown: shown.score)
        del self._shown[max(MOST_PICTURES, self._scenes) :]
        for shown in self._shown[self._scenes :]:
            shown.label_map = None  # the volumes of a few cases alone are kept

    def finish(self, evaluation: Evaluation, *, curves: Path | None) -> Path:
        """Write `evaluation.json`, `cases.csv`, `summary.csv`, the renderings and `report.html`.

        The page is there before anything is rendered, whatever drawing may end with.

        Parameters
        ----------
        curves
            Of the run that made the weights; need not be there.

        Returns
        -------
        The page.

        Raises
        ------
        OutputError
            If a file cannot be written.
        """
        assert self._folder is not None
        summary = summarise(evaluation)
        with _output_errors(self._folder):
            write_json(evaluation, self._folder / "evaluation.json")
            write_csv(evaluation, self._folder / "cases.csv")
            write_summary_csv(summary, self._folder / "summary.csv")
        write = partial(
            write_report,
            evaluation,
            self._folder,
            summary=summary,
            curves=curves if curves is not None and curves.is_file() else None,
            pictures=[shown.picture for shown in self._shown[:MOST_PICTURES]],
        )
        page = write()
        scenes, not_rendered = self._render()
        if scenes or not_rendered:
            page = write(scenes=scenes, not_rendered=not_rendered)
        return page

    def _render(self) -> tuple[list[CaseScene], dict[str, str]]:
        """The worst cases in three dimensions, and why others could not be drawn."""
        assert self._folder is not None
        scenes, not_rendered = [], {}
        for shown in self._shown[: self._scenes]:
            if shown.label_map is None:
                continue
            try:
                scenes.append(
                    write_scene(
                        shown.picture.case, shown.label_map, self._bundle.segments, self._folder
                    )
                )
            except OutputError as exc:
                not_rendered[shown.picture.case] = str(exc)
                print(f"viscera: no rendering of {shown.picture.case}: {exc}", file=sys.stderr)
        return scenes, not_rendered


@contextmanager
def _output_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise OutputError(f"cannot write to {folder}: {exc.strerror or exc}") from exc
