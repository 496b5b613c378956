"""Folders of CT series with SEG or RTSTRUCT objects, as records that a training reads."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydicom import Dataset

from models.data.records import Record
from models.errors import GeometryError, TrainingError
from models.geometry import LabelMap, Volume
from operators.elements import values_of
from operators.errors import ImagingError
from operators.label_reading import LABEL_CLASSES, header_of, labels_from_dicom, names_in
from operators.label_reading_names import LabelNumbers
from operators.label_reading_slices import Overlap
from operators.loading import scan
from operators.selection import is_ct_image
from operators.series import Candidate, Instance, Series
from operators.splitting import split_series
from operators.volumes import SeriesVolume, build_volume


@dataclass(eq=False)
class DicomFolderReader:
    """Reads DICOM for `models.data`; its errors are TrainingErrors.

    Parameters
    ----------
    numbers
        Label values by name or code; None gives every name its own, for a look at the data.
    overlap
        As `labels_from_dicom` takes it.
    """

    numbers: LabelNumbers | None = None
    overlap: Overlap = "error"
    _last: tuple[Record, SeriesVolume] | None = field(default=None, repr=False)

    @property
    def settings(self) -> object:
        """The names in their order, and the rule for overlaps."""
        return [[] if self.numbers is None else list(self.numbers.values.items()), self.overlap]

    def find(self, folder: Path) -> list[Record]:
        """One record per object that labels a series, and per series that nothing labels.

        Patients are known by PatientID, and named by their first StudyInstanceUID: no name of a
        record holds anything of the patient's. A series without labels is left out where another
        of its study has some.
        """
        try:
            studies = scan(folder).studies
        except ImagingError as exc:
            raise TrainingError(str(exc)) from exc
        series = [each for study in studies for each in study.series]
        images = {s.SeriesInstanceUID: s for s in series if _images(s)}
        labels: dict[str, list[Instance]] = defaultdict(list)
        for instance in (i for s in series for i in s.instances):
            if instance.header.SOPClassUID in LABEL_CLASSES:
                labels[_labelled_series(instance.header, images)].append(instance)
        patients = _patients(list(images.values()))
        labelled = {images[uid].StudyInstanceUID for uid in labels if uid in images}
        records: list[Record] = []
        for uid, found in sorted(images.items()):
            if uid in labels:
                records += _records(found, labels[uid], patients[found.StudyInstanceUID])
            elif found.StudyInstanceUID not in labelled:
                records += _records(found, [], patients[found.StudyInstanceUID])
        return records

    def read_volume(self, record: Record) -> Volume:
        """The CT of a record; the last one read is kept for its labels."""
        return self._series_volume(record).volume

    def read_labels(self, record: Record, volume: Volume) -> tuple[LabelMap, frozenset[int]]:
        """Labels on the grid of the CT, and the label values that the object speaks of."""
        if record.label is None:
            raise TrainingError(f"{record.image}: expected a SEG or RTSTRUCT, found none")
        source = self._series_volume(record)
        with_names = self.numbers
        try:
            if with_names is None:
                with_names = numbers_of_all([record.label])
            found = labels_from_dicom(record.label, source, with_names, overlap=self.overlap)
        except (ImagingError, GeometryError) as exc:
            raise TrainingError(str(exc)) from exc
        return found.label_map, found.values

    def _series_volume(self, record: Record) -> SeriesVolume:
        if self._last is not None and self._last[0] == record:
            return self._last[1]
        try:
            found = [
                series
                for study in scan(record.image).studies
                for series in study.series
                if _images(series) and record.series in ("", series.SeriesInstanceUID)
            ]
            if len(found) != 1:
                raise TrainingError(
                    f"{record.image}: expected one CT series {record.series}, found {len(found)}"
                )
            volume = build_volume(_candidate(found[0], record.label))
        except (ImagingError, GeometryError) as exc:
            raise TrainingError(f"{record.image}: {exc}") from exc
        self._last = (record, volume)
        return volume


def numbers_of_all(paths: Sequence[Path]) -> LabelNumbers:
    """A value for every name that objects hold, in alphabetical order; raises ImagingError."""
    names = sorted({name for path in paths for name in names_in(path)}, key=str.casefold)
    if not 0 < len(names) <= 254:
        raise ImagingError(f"expected 1 to 254 names of organs, found {len(names)}")
    return LabelNumbers({name: number for number, name in enumerate(names, start=1)})


def _images(series: Series) -> tuple[Instance, ...]:
    return tuple(i for i in series.instances if is_ct_image(i.header.SOPClassUID))


def _records(series: Series, labels: Sequence[Instance], patient: str) -> Iterator[Record]:
    folders = [str(instance.path.parent) for instance in _images(series)]
    places = sorted(labels, key=lambda instance: instance.SOPInstanceUID)
    for number, label in enumerate(places or [None], start=1):
        uid = series.SeriesInstanceUID
        yield Record(
            name=f"{uid}-{number}" if len(places) > 1 else uid,
            patient=patient,
            kind="dicom",
            image=Path(os.path.commonpath(folders)),
            label=None if label is None else label.path,
            series=uid,
        )


def _patients(series: Sequence[Series]) -> dict[str, str]:
    """The first StudyInstanceUID of the patient of each study."""
    ids = {s.StudyInstanceUID: "".join(map(str, values_of(s.header, "PatientID"))) for s in series}
    first: dict[str, str] = {}
    for study, patient in sorted(ids.items()):
        first.setdefault(patient or study, study)
    return {study: first[patient or study] for study, patient in ids.items()}


def _labelled_series(header: Dataset, images: dict[str, Series]) -> str:
    """SeriesInstanceUID of the CT that an object labels; empty where it cannot be told.

    It is the series that the object names; where it names none that is there, the only one in its
    frame of reference.
    """
    for uid in _series_named_by(header):
        if uid in images:
            return uid
    frames = set(values_of(header, "FrameOfReferenceUID"))
    for item in header.get("ReferencedFrameOfReferenceSequence") or []:
        frames.update(values_of(item, "FrameOfReferenceUID"))
    there = [
        uid
        for uid, series in images.items()
        if frames & set(values_of(_images(series)[0].header, "FrameOfReferenceUID"))
    ]
    return there[0] if len(there) == 1 else ""


def _series_named_by(header: Dataset) -> Iterator[str]:
    """Of ReferencedSeriesSequence (SEG), and of what an RTSTRUCT nests it in."""
    for item in header.get("ReferencedSeriesSequence") or []:
        yield from map(str, values_of(item, "SeriesInstanceUID"))
    for frame in header.get("ReferencedFrameOfReferenceSequence") or []:
        for study in frame.get("RTReferencedStudySequence") or []:
            for series in study.get("RTReferencedSeriesSequence") or []:
                yield from map(str, values_of(series, "SeriesInstanceUID"))


def _candidate(series: Series, label: Path | None) -> Candidate:
    """The part of a series that an object refers to most; the largest where it refers to none."""
    candidates = split_series(series, _images(series))
    if len(candidates) == 1 or label is None:
        return candidates[0]
    referred = set(_instances_named_by(header_of(label)))
    return max(
        candidates,
        key=lambda candidate: len({frame.SOPInstanceUID for frame in candidate.frames} & referred),
    )


def _instances_named_by(dataset: Dataset) -> Iterator[str]:
    for element in dataset:
        if element.keyword == "ReferencedSOPInstanceUID":
            yield str(element.value)
        elif element.VR == "SQ":
            for item in element.value:
                yield from _instances_named_by(item)
