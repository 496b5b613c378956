"""The MONAI Deploy application: load, select, build the volume, segment, write."""

from __future__ import annotations

from pathlib import Path

from models.segmenter import Segmenter
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
from operators.rules import Rules


class SegmentationGraph(Application):
    """One run over one folder; building it costs milliseconds, the segmenter is shared.

    Parameters
    ----------
    folder
        Input.
    rules
        Which series to choose.
    segmenter
        The resident network.
    journal
        Gathers what happens and says where results go.
    """

    def __init__(self, *, folder: Path, rules: Rules, segmenter: Segmenter, journal: Journal):
        self.folder = folder
        self.rules = rules
        self.segmenter = segmenter
        self.journal = journal
        super().__init__()

    def compose(self) -> None:
        """Connect the operators."""
        journal, segmenter = self.journal, self.segmenter
        load = DICOMStudyLoaderOperator(self, folder=self.folder, journal=journal, name="load")
        select = SeriesSelectorOperator(self, rules=self.rules, journal=journal, name="select")
        volume = SeriesToVolumeOperator(self, journal=journal, name="volume")
        segment = SegmentationOperator(self, segmenter=segmenter, journal=journal, name="segment")
        self.add_flow(load, select, {("dicom_study_list", "dicom_study_list")})
        chosen = "study_selected_series_list"
        self.add_flow(select, volume, {(chosen, chosen)})
        self.add_flow(volume, segment, {("image", "image")})
        for writer, name in (
            (OrganVolumesWriterOperator, "write_volumes"),
            (PreviewWriterOperator, "write_preview"),
            (DICOMSegmentationWriterOperator, "write_seg"),
        ):
            write = writer(self, segmenter=segmenter, journal=journal, name=name)
            self.add_flow(segment, write, {("seg_image", "seg_image")})
