"""Instances of CT as a store receives them."""

from __future__ import annotations

import io

from pydicom import Dataset
from pydicom.filebase import DicomFileLike
from pydicom.filewriter import write_dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from app.node.instance_store import InstanceStore
from app.node.store_disk import StoreSettings
from app.node.stored import Origin, StoredInstance, study_key

SCANNER = Origin("VISCERA", "SCANNER", "10.0.0.7")
ROOMY = StoreSettings(min_free_bytes=0, reserved_bytes=0)
KEY = study_key("VISCERA", "1.2.3")


def encoded(
    number: int = 1, study: str = "1.2.3", series: str = "1.2.3.1", text: str = ""
) -> bytes:
    header = Dataset()
    header.SOPClassUID = CTImageStorage
    header.SOPInstanceUID = f"{study}.1.{number}"
    header.PatientComments = text
    header.StudyInstanceUID = study
    header.SeriesInstanceUID = series
    header.PixelData = bytes([number % 256]) * 100
    header["PixelData"].VR = "OW"
    buffer = DicomFileLike(io.BytesIO())
    buffer.is_implicit_VR, buffer.is_little_endian = False, True
    write_dataset(buffer, header)
    return bytes(buffer.parent.getvalue())


def receive(
    store: InstanceStore,
    number: int = 1,
    study: str = "1.2.3",
    series: str = "1.2.3.1",
    text: str = "",
    origin: Origin = SCANNER,
    association: int | None = None,
) -> StoredInstance:
    return store.receive(
        encoded(number, study, series, text),
        SOPClassUID=CTImageStorage,
        SOPInstanceUID=f"{study}.1.{number}",
        TransferSyntaxUID=ExplicitVRLittleEndian,
        origin=origin,
        association=association,
    )
