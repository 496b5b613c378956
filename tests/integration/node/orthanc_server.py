"""Orthanc with DICOMweb."""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.node.programs import free_port, program, running, wait_for_port


@dataclass(frozen=True)
class Orthanc:
    """Where it listens, and at which port it looks for whom, by AE title."""

    port: int
    url: str
    user: str
    password_file: Path
    modalities: Mapping[str, int]

    @property
    def viscera_port(self) -> int:
        return self.modalities["VISCERA"]

    def get(self, path: str) -> Any:
        secret = f"{self.user}:{self.password_file.read_text().strip()}".encode()
        request = urllib.request.Request(
            f"{self.url}/{path}",
            headers={
                "Authorization": f"Basic {base64.b64encode(secret).decode()}",
                "Accept": "application/dicom+json",
            },
        )
        with urllib.request.urlopen(request, timeout=20) as response:
            return json.load(response)

    def instances(self, StudyInstanceUID: str) -> list[str]:
        """SOPInstanceUIDs that QIDO-RS finds in a study, sorted."""
        found = self.get(f"studies/{StudyInstanceUID}/instances")
        return sorted(item["00080018"]["Value"][0] for item in found)


@contextmanager
def run_orthanc(
    folder: Path, modalities: Mapping[str, int] | None = None, **settings: Any
) -> Iterator[Orthanc]:
    executable = program("Orthanc", "/usr/sbin/Orthanc")
    plugins = sorted(Path("/usr/lib/orthanc").glob("libOrthancDicomWeb.so*"))
    if not plugins:
        pytest.skip("Orthanc's DICOMweb plugin is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    port, http = free_port(), free_port()
    titles = dict(modalities or {})
    password = folder / "password"
    password.write_text("p\u00e4ss word\n", "utf-8")
    document = {
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "DicomAet": "ORTHANC",
        "DicomPort": port,
        "HttpPort": http,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {"lab": "p\u00e4ss word"},
        "Plugins": [str(plugins[0])],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        "DicomModalities": {
            title.lower(): [title, "127.0.0.1", where] for title, where in titles.items()
        },
        "OverwriteInstances": False,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowMove": True,
        **settings,
    }
    (folder / "orthanc.json").write_text(json.dumps(document, ensure_ascii=False), "utf-8")
    with running([executable, folder / "orthanc.json"], port, folder) as process:
        wait_for_port(http, process)
        yield Orthanc(port, f"http://127.0.0.1:{http}/dicom-web", "lab", password, titles)
