"""The operators of the graph: thin adapters that hand messages to pure functions.

Port names are those of the MONAI Deploy App SDK. A message is about one series from
`study_selected_series_list` on, so a folder of many studies streams through in bounded memory,
and a series that fails ends in its record without stopping the others.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.anatomy import examine
from models.bundle import Bundle
from models.geometry import LabelMap
from models.resident import ResidentModels
from models.segmenter import Segmenter
from operators import organ_volumes, preview, seg
from operators.algorithm import Algorithm
from operators.anatomy import require_region
from operators.deploy_core import CountCondition, Fragment, IOSpec, Operator, OperatorSpec
from operators.errors import NoOrganError, NothingSelectedError, NothingUsableError
from operators.journal import Journal, SeriesRecord
from operators.loading import scan
from operators.outputs import make_folder
from operators.product import product_version
from operators.rules import Rules
from operators.selection import ChosenSeries, select_series
from operators.volumes import SeriesVolume, build_volume

#: Most series one run may choose; messages waiting hold headers only.
MOST_SERIES = 4096


@dataclass(frozen=True, kw_only=True, eq=False)
class Imaged:
    """The message of `image`: what was chosen, as a volume."""

    chosen: ChosenSeries
    source: SeriesVolume


@dataclass(frozen=True, kw_only=True, eq=False)
class Segmented:
    """The message of `seg_image`: a volume, the labels of its voxels, and who made them."""

    chosen: ChosenSeries
    source: SeriesVolume
    label_map: LabelMap
    segmenter: Segmenter


def _series_queue(port: IOSpec) -> None:
    """Let a port hold a message for each chosen series."""
    port.connector(IOSpec.ConnectorType.DOUBLE_BUFFER, capacity=MOST_SERIES)


class DICOMStudyLoaderOperator(Operator):
    """Find the studies of an input.

    Named output
        `dicom_study_list`: tuple of Study, headers only.
    """

    def __init__(self, fragment: Fragment, *, source: Path, journal: Journal, name: str):
        self.source = source
        self.journal = journal
        super().__init__(fragment, CountCondition(fragment, 1), name=name)

    def setup(self, spec: OperatorSpec) -> None:
        spec.output("dicom_study_list")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        with self.journal.run_stage("load"):
            try:
                found = scan(self.source)
            except NothingUsableError as exc:
                self.journal.skipped = exc.skipped
                raise
            self.journal.skipped = found.skipped
        op_output.emit(found.studies, "dicom_study_list")


class SeriesSelectorOperator(Operator):
    """Choose series by rules.

    Named input
        `dicom_study_list`.
    Named output
        `study_selected_series_list`: a list of one ChosenSeries, emitted once per chosen series.
    """

    def __init__(
        self,
        fragment: Fragment,
        *,
        rules: Rules,
        largest_gap_mm: float,
        journal: Journal,
        name: str,
    ) -> None:
        self.rules = rules
        self.largest_gap_mm = largest_gap_mm
        self.journal = journal
        super().__init__(fragment, name=name)

    def setup(self, spec: OperatorSpec) -> None:
        spec.input("dicom_study_list")
        _series_queue(spec.output("study_selected_series_list"))

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        studies = op_input.receive("dicom_study_list")
        with self.journal.run_stage("select"):
            try:
                selection = select_series(studies, self.rules, self.largest_gap_mm)
            except NothingSelectedError as exc:
                self.journal.decisions = exc.decisions
                raise
        self.journal.decisions = selection.decisions
        for chosen in selection.chosen:
            if self.journal.open(chosen):
                op_output.emit([chosen], "study_selected_series_list")


class SeriesToVolumeOperator(Operator):
    """Build the volume of a series.

    Named input
        `study_selected_series_list`.
    Named output
        `image`: Imaged.
    """

    def __init__(
        self, fragment: Fragment, *, largest_gap_mm: float, journal: Journal, name: str
    ) -> None:
        self.largest_gap_mm = largest_gap_mm
        self.journal = journal
        super().__init__(fragment, name=name)

    def setup(self, spec: OperatorSpec) -> None:
        _series_queue(spec.input("study_selected_series_list"))
        spec.output("image")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        (chosen,) = op_input.receive("study_selected_series_list")
        with self.journal.series_stage(chosen, "volume") as record:
            source = build_volume(chosen.candidate, self.largest_gap_mm)
            record.geometry = source.volume.geometry
            record.repairs = source.stack.repairs
            op_output.emit(Imaged(chosen=chosen, source=source), "image")


class SegmentationOperator(Operator):
    """Label a volume with the resident network, unless it shows another part of the body.

    Named input
        `image`.
    Named output
        `seg_image`: Segmented.
    """

    def __init__(
        self,
        fragment: Fragment,
        *,
        models: ResidentModels,
        any_anatomy: bool,
        journal: Journal,
        name: str,
    ) -> None:
        self.models = models
        self.any_anatomy = any_anatomy
        self.journal = journal
        super().__init__(fragment, name=name)

    def setup(self, spec: OperatorSpec) -> None:
        spec.input("image")
        spec.output("seg_image")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        imaged = op_input.receive("image")
        volume = imaged.source.volume
        with self.journal.series_stage(imaged.chosen, "segment") as record:
            segmenter = self.models.segmenter(imaged.chosen.model)
            record.model = segmenter.bundle.name
            record.anatomy = examine(volume)
            if not self.any_anatomy:
                require_region(record.anatomy, segmenter.bundle.body_region)
            label_map = segmenter.segment(volume, self.journal.announce)
            op_output.emit(
                Segmented(
                    chosen=imaged.chosen,
                    source=imaged.source,
                    label_map=label_map,
                    segmenter=segmenter,
                ),
                "seg_image",
            )


class _ResultOperator(Operator):
    """Takes `seg_image` and writes something into the folder of the series."""

    stage: str

    def __init__(self, fragment: Fragment, *, journal: Journal, name: str):
        self.journal = journal
        super().__init__(fragment, name=name)

    def setup(self, spec: OperatorSpec) -> None:
        spec.input("seg_image")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        segmented = op_input.receive("seg_image")
        with self.journal.series_stage(segmented.chosen, self.stage) as record:
            make_folder(record.folder)
            self.write(segmented, record)

    @abstractmethod
    def write(self, segmented: Segmented, record: SeriesRecord) -> None:
        """Write the results of one series and name them in its record."""


class DICOMSegmentationWriterOperator(_ResultOperator):
    """Write the DICOM SEG of a series; named input `seg_image`."""

    stage = "write SEG"

    def write(self, segmented: Segmented, record: SeriesRecord) -> None:
        path = record.folder / "segmentation.dcm"
        try:
            seg.write_seg(
                segmented.source,
                segmented.label_map,
                segmented.segmenter.bundle.segments,
                algorithm_of(segmented.segmenter.bundle),
                path,
                configuration=configuration_of(segmented.segmenter),
            )
        except NoOrganError:
            path.unlink(missing_ok=True)  # of an earlier run, which this one contradicts
            raise
        record.outputs["seg"] = path


class PreviewWriterOperator(_ResultOperator):
    """Draw the organs for a first look; named input `seg_image`."""

    stage = "write preview"

    def write(self, segmented: Segmented, record: SeriesRecord) -> None:
        path = record.folder / "preview.png"
        volume = segmented.source.volume
        preview.write_preview(
            volume, segmented.label_map, segmented.segmenter.bundle.segments, path
        )
        record.outputs["preview"] = path


class OrganVolumesWriterOperator(_ResultOperator):
    """Measure the organs; named input `seg_image`."""

    stage = "write volumes"

    def write(self, segmented: Segmented, record: SeriesRecord) -> None:
        volume = segmented.source.volume
        record.organs = organ_volumes.measure(
            segmented.label_map, segmented.segmenter.bundle.segments, volume
        )
        for kind, write in (("json", organ_volumes.write_json), ("csv", organ_volumes.write_csv)):
            path = record.folder / f"volumes.{kind}"
            write(record.organs, path)
            record.outputs[f"volumes_{kind}"] = path


def configuration_of(segmenter: Segmenter) -> str:
    """All that the labels depend on besides the images and the weights."""
    settings = {**segmenter.bundle.inference, "dtype": str(segmenter.runtime.dtype)}
    return json.dumps(settings, sort_keys=True)


def algorithm_of(bundle: Bundle) -> Algorithm:
    """How a SEG names the model that made it."""
    return Algorithm(
        name=bundle.name,
        version=f"{bundle.version}, viscera {product_version()}",
        manufacturer="viscera",
        model_sha256=bundle.sha256,
    )
