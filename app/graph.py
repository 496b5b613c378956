"""The MONAI Deploy application: load, select, build the volume, segment, write."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from models.resident import ResidentModels
from operators.deploy_core import Application
from operators.holoscan_ops import (
    DICOMSegmentationWriterOperator,
    DICOMStudyLoaderOperator,
    OrganVolumesWriterOperator,
    PreviewWriterOperator,
    SegmentationOperator,
    SeriesSelectorOperator,
    SeriesToVolumeOperator,
)
from operators.journal import Journal
from operators.results import OUTPUTS
from operators.rules import Rules
from operators.slice_stack import LARGEST_GAP_MM


class SegmentationGraph(Application):
    """One run over one input; building it costs milliseconds, the networks are shared.

    Parameters
    ----------
    source
        Folder, zip archive, DICOMDIR or DICOM file.
    rules
        Which series to choose.
    models
        The resident networks.
    journal
        Gathers what happens and says where results go.
    largest_gap_mm
        Widest distance between neighbouring images that is bridged.
    any_anatomy
        Whether to segment what shows another part of the body than the model was made for.
    outputs
        What is written, of `operators.results.OUTPUTS`.
    """

    def __init__(
        self,
        *,
        source: Path,
        rules: Rules,
        models: ResidentModels,
        journal: Journal,
        largest_gap_mm: float = LARGEST_GAP_MM,
        any_anatomy: bool = False,
        outputs: Collection[str] = OUTPUTS,
    ) -> None:
        self.source = source
        self.rules = rules
        self.models = models
        self.journal = journal
        self.largest_gap_mm = largest_gap_mm
        self.any_anatomy = any_anatomy
        self.outputs = outputs
        super().__init__()

    def compose(self) -> None:
        """Connect the operators."""
        journal = self.journal
        load = DICOMStudyLoaderOperator(self, source=self.source, journal=journal, name="load")
        select = SeriesSelectorOperator(
            self,
            rules=self.rules,
            largest_gap_mm=self.largest_gap_mm,
            journal=journal,
            name="select",
        )
        volume = SeriesToVolumeOperator(
            self, largest_gap_mm=self.largest_gap_mm, journal=journal, name="volume"
        )
        segment = SegmentationOperator(
            self,
            models=self.models,
            any_anatomy=self.any_anatomy,
            journal=journal,
            name="segment",
        )
        self.add_flow(load, select, {("dicom_study_list", "dicom_study_list")})
        chosen = "study_selected_series_list"
        self.add_flow(select, volume, {(chosen, chosen)})
        self.add_flow(volume, segment, {("image", "image")})
        for output, writer, name in (
            ("volumes", OrganVolumesWriterOperator, "write_volumes"),
            ("preview", PreviewWriterOperator, "write_preview"),
            ("segmentation", DICOMSegmentationWriterOperator, "write_seg"),
        ):
            if output not in self.outputs:
                continue
            write = writer(self, journal=journal, name=name)
            self.add_flow(segment, write, {("seg_image", "seg_image")})
