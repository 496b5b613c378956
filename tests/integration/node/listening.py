"""A listener on a free port, and senders for it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
)
from pynetdicom import AE, build_context
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode

from app.node.access import ListenerSettings
from app.node.instance_store import InstanceStore
from app.node.listener import Listener
from app.node.store_disk import StoreSettings
from app.node.stored import StoredInstance
from tests.integration.node.programs import program

SMALL = {"min_free_bytes": 0, "reserved_bytes": 0}
Start = Callable[..., "Node"]


class Node:
    """A listener on a free port, with all it told."""

    def __init__(self, state: Path, store: dict[str, int], settings: dict[str, object]) -> None:
        self.store = InstanceStore(state, StoreSettings(**{**SMALL, **store}))
        self.stored: list[StoredInstance] = []
        self.closed: list[tuple[str, ...]] = []
        options = {"bind_address": "127.0.0.1", "port": 0, **settings}
        self.listener = Listener(
            ListenerSettings.model_validate(options),
            self.store,
            on_stored=self.stored.append,
            on_association_closed=self.closed.append,
        )
        self.listener.start()
        self.port = self.listener.port

    def wait_closed(self, count: int = 1) -> None:
        until = time.monotonic() + 20
        while time.monotonic() < until:
            if len(self.closed) >= count and not self.listener.counts()["open"]:
                return
            time.sleep(0.02)
        raise AssertionError(f"{len(self.closed)} of {count} associations have ended")

    def end(self) -> None:
        self.listener.stop(5)
        self.store.close()


def dcmtk(name: str, node: Node, *arguments: object, called: str = "VISCERA") -> str:
    command = [
        program(name),
        "-v",
        "-aec",
        called,
        "127.0.0.1",
        str(node.port),
        *map(str, arguments),
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "TCP_NODELAY": "1"},
    )
    return f"{done.returncode}\n{done.stdout}{done.stderr}"


def ct(number: int = 1, study: str = "1.2.3", **changes: object) -> Dataset:
    image = Dataset()
    image.SOPClassUID = CTImageStorage
    image.SOPInstanceUID = f"{study}.1.{number}"
    image.PatientName = "Nobody^Real"
    image.StudyInstanceUID = study
    image.SeriesInstanceUID = f"{study}.1"
    image.PixelData = bytes([number % 256]) * 5000
    image["PixelData"].VR = "OW"
    for keyword, value in changes.items():
        setattr(image, keyword, value)
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return image


def data_set(path: Path) -> bytes:
    """The bytes of a file behind its file meta information."""
    length = dcmread(path, stop_before_pixels=True).file_meta.FileMetaInformationGroupLength
    return path.read_bytes()[132 + 12 + length :]


def associate(
    node: Node, *contexts: object, calling: str = "SCANNER", called: str = "VISCERA"
) -> Association:
    entity = AE(calling)
    entity.acse_timeout = entity.dimse_timeout = 20
    proposed = list(contexts) or [build_context(CTImageStorage, ExplicitVRLittleEndian)]
    return entity.associate("127.0.0.1", node.port, contexts=proposed, ae_title=called)


def raw_association(association: Association, image: Dataset, uid: str) -> int:
    """Send an image under another SOPInstanceUID than it has."""
    request = C_STORE()
    request.MessageID = 1
    request.AffectedSOPClassUID = CTImageStorage
    request._affected_sop_instance_uid = uid  # not checked as its setter would
    request.Priority = 2
    request.DataSet = BytesIO(encode(image, False, True) or b"")
    association._reactor_checkpoint.clear()
    association.dimse.send_msg(request, 1)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    return int(answer.Status)
