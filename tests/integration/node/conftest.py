"""Peers on free loopback ports, and a study to send them.

Factories of context managers, for any test of the node: `start_orthanc`, `start_storescp`,
`start_dcmqrscp` (programs; a test skips where one is absent), `scripted_scp` (handlers of
pynetdicom) and `faulty_scp` (a PACS that fails as it is told). `orthanc` is one that a module
shares.
"""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE
from pynetdicom._globals import ALL_TRANSFER_SYNTAXES

from tests.integration.node.listening import Node, Start
from tests.integration.node.orthanc_server import Orthanc, run_orthanc
from tests.integration.node.postgres_server import Postgres, run_postgres
from tests.integration.node.programs import free_port, program, running
from tests.integration.node.scripted_peers import Counted, FaultyScp
from tests.integration.node.studies import StudyFiles, make_study

#: Orthanc stores nothing whose series has this description.
UNWANTED = "unwanted"
LUA = f"""
function ReceivedInstanceFilter(dicom, origin, info)
  return dicom.SeriesDescription ~= '{UNWANTED}'
end
"""


@pytest.fixture(scope="session")
def study_maker(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., StudyFiles]:
    """Writes the study under another name, and so with other UIDs."""

    def make(name: str, **changes: str) -> StudyFiles:
        return make_study(tmp_path_factory.mktemp(f"study_{name}"), name, **changes)

    return make


@pytest.fixture(scope="session")
def study(study_maker: Callable[..., StudyFiles]) -> StudyFiles:
    """Not to be changed."""
    return study_maker("one")


@pytest.fixture(scope="session")
def new_port() -> Callable[[], int]:
    """A port that nobody listens on."""
    return free_port


@pytest.fixture(scope="session")
def start_orthanc() -> Callable[..., AbstractContextManager[Orthanc]]:
    """Runs an empty Orthanc with DICOMweb: `(folder, {AE title: port}, **its settings)`."""
    return run_orthanc


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """One that knows VISCERA and filters what it receives."""
    folder = tmp_path_factory.mktemp("orthanc")
    (folder / "filter.lua").write_text(LUA)
    scripts = [str(folder / "filter.lua")]
    with run_orthanc(folder, {"VISCERA": free_port()}, LuaScripts=scripts) as started:
        yield started


@dataclass(frozen=True)
class StoreScp:
    """DCMTK's storescp: where it listens and what it keeps."""

    port: int
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def files(self) -> list[Path]:
        return sorted(self.folder.iterdir())


@pytest.fixture
def start_storescp(tmp_path: Path) -> Callable[..., AbstractContextManager[StoreScp]]:
    """Runs it with arguments of its own, `--fork` or `+xa` for instance."""

    @contextmanager
    def start(*arguments: object) -> Iterator[StoreScp]:
        port = free_port()
        folder = tmp_path / f"storescp_{port}"
        (folder / "kept").mkdir(parents=True)
        command = [program("storescp"), "-od", folder / "kept", *arguments, port]
        with running(command, port, folder) as process:
            yield StoreScp(port, folder / "kept", process)

    return start


@pytest.fixture
def start_dcmqrscp(tmp_path: Path) -> Callable[..., AbstractContextManager[int]]:
    """Runs DCMTK's archive ARCHIVE, which knows those of `{AE title: port}`; its port."""

    @contextmanager
    def start(modalities: Mapping[str, int]) -> Iterator[int]:
        port = free_port()
        folder = tmp_path / f"dcmqrscp_{port}"
        (folder / "database").mkdir(parents=True)
        hosts = "".join(
            f"{title.lower()} = ({title}, 127.0.0.1, {where})\n"
            for title, where in modalities.items()
        )
        (folder / "dcmqrscp.cfg").write_text(
            f"NetworkTCPPort = {port}\nMaxPDUSize = 131072\nMaxAssociations = 8\n"
            f"HostTable BEGIN\n{hosts}HostTable END\n"
            "VendorTable BEGIN\nVendorTable END\n"
            f"AETable BEGIN\nARCHIVE {folder / 'database'} RW (9, 1024mb) ANY\nAETable END\n"
        )
        with running([program("dcmqrscp"), "-c", folder / "dcmqrscp.cfg"], port, folder):
            yield port

    return start


StartPeer = Callable[..., AbstractContextManager[int]]


@pytest.fixture
def scripted_scp() -> StartPeer:
    """A peer written for the test: its handlers, classes and syntaxes."""

    @contextmanager
    def start(
        handlers: Sequence[Any] = (),
        classes: Sequence[str] = (),
        syntaxes: Sequence[str] = ALL_TRANSFER_SYNTAXES,
        configure: Callable[[AE], object] = lambda ae: None,
        tls: Any = None,
    ) -> Iterator[int]:
        ae = AE("PACS")
        for sop_class in classes:
            ae.add_supported_context(sop_class, list(syntaxes))
        configure(ae)
        server = ae.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=list(handlers), ssl_context=tls
        )
        try:
            yield server.server_address[1]
        finally:
            ae.shutdown()

    return start


@pytest.fixture
def received() -> Counted:
    return Counted([], [], [])


@pytest.fixture(scope="session")
def faulty_scp() -> Callable[..., AbstractContextManager[FaultyScp]]:
    """Runs a `FaultyScp` with the given faults; `is_up=False` leaves it to be started."""

    @contextmanager
    def run(is_up: bool = True, **faults: Any) -> Iterator[FaultyScp]:
        peer = FaultyScp(**faults)
        if is_up:
            peer.start()
        try:
            yield peer
        finally:
            peer.stop()

    return run


@dataclass(frozen=True)
class Certificates:
    """PEM files of an authority, of two that it signed, and of one that it did not."""

    ca: Path
    server: Path
    client: Path
    rogue: Path

    def server_context(self) -> ssl.SSLContext:
        """Of a peer that shows `server`, and wants a certificate that the authority signed."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server)
        context.load_verify_locations(self.ca)
        context.verify_mode = ssl.CERT_REQUIRED
        return context


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Each file holds the key and the certificate."""
    openssl = program("openssl")
    folder = tmp_path_factory.mktemp("tls")

    def run(*arguments: object) -> None:
        subprocess.run([openssl, *map(str, arguments)], check=True, capture_output=True, cwd=folder)

    def own(name: str) -> None:
        run(
            *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", 2, "-subj", f"/CN={name}"),
            *("-keyout", f"{name}.key", "-out", f"{name}.crt"),
        )

    own("ca")
    own("rogue")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    for name in ("server", "client"):
        run(
            *("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}"),
            *("-keyout", f"{name}.key", "-out", f"{name}.csr"),
        )
        run(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key"),
            *("-CAcreateserial", "-days", 2, "-extfile", "names", "-out", f"{name}.crt"),
        )
    for name in ("server", "client", "rogue"):
        both = (folder / f"{name}.key").read_text() + (folder / f"{name}.crt").read_text()
        (folder / f"{name}.pem").write_text(both)
    return Certificates(
        folder / "ca.crt", folder / "server.pem", folder / "client.pem", folder / "rogue.pem"
    )


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A PostgreSQL for all tests; they skip where it is absent."""
    with run_postgres() as server:
        yield server


@pytest.fixture
def postgres(postgres_server: Postgres) -> str:
    """The URL of a database of its own."""
    return postgres_server.new_database()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    nodes: list[Node] = []

    def start(store: dict[str, int] | None = None, **settings: object) -> Node:
        nodes.append(Node(tmp_path / "state", store or {}, settings))
        return nodes[-1]

    yield start
    for node in nodes:
        node.end()
