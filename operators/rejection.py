"""A note that rejects older results, for archives that then hide them.

The note is a Key Object Selection titled "Rejected for Quality Reasons", as the profile Imaging
Object Change Management of IHE (RAD TF-1, 31; RAD TF-3, 4.66) has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import highdicom.ko
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian
from pydicom.valuerep import DA, TM

from operators.errors import OutputError
from operators.outputs import atomic_write
from operators.uids import derived_uid

DESCRIPTION = "Replaced by a newer result of viscera"
_SERIES_NUMBER = 999_999


def build_rejection(rejected: Sequence[Dataset], created: datetime | None = None) -> Dataset:
    """Reject instances of one study.

    Parameters
    ----------
    rejected
        Headers of the instances, at least one.
    created
        Date and time of the note; default now.

    Returns
    -------
    pydicom.Dataset
        A Key Object Selection Document (PS3.3 A.35.4); its UIDs follow from what it rejects.

    Raises
    ------
    OutputError
        If there is nothing to reject, or the instances are of several studies.
    """
    studies = {header.StudyInstanceUID for header in rejected}
    if len(studies) != 1:
        raise OutputError(f"expected results of one study to reject, found {len(studies)} studies")
    identity = sorted(str(header.SOPInstanceUID) for header in rejected)
    content = highdicom.ko.KeyObjectSelection(
        document_title=codes.DCM.RejectedForQualityReasons,
        referenced_objects=list(rejected),
        description=DESCRIPTION,
    )
    note = highdicom.ko.KeyObjectSelectionDocument(
        evidence=list(rejected),
        content=content,
        series_instance_uid=derived_uid("rejection series", *identity),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=derived_uid("rejection", *identity),
        instance_number=1,
        manufacturer="viscera",
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    moment = (created or datetime.now().astimezone()).replace(microsecond=0)
    note.SeriesDescription = DESCRIPTION
    if "SpecificCharacterSet" in rejected[0]:
        note.SpecificCharacterSet = rejected[0].SpecificCharacterSet
    note.ContentDate, note.ContentTime = DA(moment.date()), TM(moment.time())
    note.InstanceCreationDate, note.InstanceCreationTime = note.ContentDate, note.ContentTime
    return note


def write_rejection(rejected: Sequence[Path], path: Path) -> None:
    """Write the note that rejects these files.

    Raises
    ------
    OutputError
        As `build_rejection`, or if a file cannot be read or written.
    """
    try:
        headers = [dcmread(file, stop_before_pixels=True) for file in rejected]
    except OSError as exc:
        raise OutputError(f"cannot read a result to reject it: {exc.strerror or exc}") from exc
    note = build_rejection(headers)
    with atomic_write(path) as stream:
        note.save_as(stream, enforce_file_format=True)
