"""Studies fetched from Orthanc and DCMTK by every way there is."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pydicom
import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage, SegmentationStorage
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
)

from app.errors import AssociationError, FetchError, StudyNotFoundError, WebError
from app.node.destinations import DimseDestination, DimseSource, Source, WebPeer
from app.node.fetching import Fetched, StudyQuery, fetch
from app.node.sending import send

WAYS = ("get", "move", "web")


def source_of(orthanc: Any, way: str) -> Source:
    if way == "web":
        return WebPeer(url=orthanc.url, user=orthanc.user, password_file=orthanc.password_file)
    return DimseSource(
        ae_title="ORTHANC",
        host="127.0.0.1",
        port=orthanc.port,
        retrieve=way,
        listen_address="127.0.0.1",
        listen_port=orthanc.viscera_port,
    )


@pytest.fixture
def filled(orthanc: Any, study: Any, study_maker: Callable[..., Any]) -> Any:
    """Orthanc with the study and another one."""
    archive = DimseDestination(ae_title="ORTHANC", host="127.0.0.1", port=orthanc.port)
    assert send([*study.all, *study_maker("other").all], archive).delivered
    return orthanc


def same_data(fetched: Path, original: Path) -> None:
    """The data sets hold the same bytes; a peer writes file meta information of its own."""
    ours, theirs = pydicom.dcmread(fetched), pydicom.dcmread(original)
    assert ours.file_meta.TransferSyntaxUID == theirs.file_meta.TransferSyntaxUID
    assert ours == theirs
    assert ours.PixelData == theirs.PixelData


def all_arrived(fetched: Fetched, folder: Path, study: Any) -> None:
    assert fetched.complete
    assert (fetched.received, fetched.expected) == (6, 6)
    assert sorted((series.Modality, series.received) for series in fetched.series) == [
        ("CT", 5),
        ("SEG", 1),
    ]
    originals = {str(pydicom.dcmread(path).SOPInstanceUID): path for path in study.all}
    files = {path.stem: path for path in folder.rglob("*.dcm")}
    assert files.keys() == originals.keys()
    for uid, path in files.items():
        series = pydicom.dcmread(path).SeriesInstanceUID
        assert path.relative_to(folder).parts[:2] == (study.StudyInstanceUID, series)
        same_data(path, originals[uid])


@pytest.mark.parametrize("way", WAYS)
def test_a_study_comes_whole_by_its_uid(filled: Any, study: Any, tmp_path: Path, way: str) -> None:
    query = StudyQuery(StudyInstanceUID=study.StudyInstanceUID)
    all_arrived(fetch(query, source_of(filled, way), tmp_path), tmp_path, study)


@pytest.mark.parametrize("way", WAYS)
def test_a_study_comes_whole_by_its_accession_number(
    filled: Any, study: Any, tmp_path: Path, way: str
) -> None:
    query = StudyQuery(AccessionNumber=study.AccessionNumber)
    all_arrived(fetch(query, source_of(filled, way), tmp_path), tmp_path, study)
    # and again over what is there
    all_arrived(fetch(query, source_of(filled, way), tmp_path), tmp_path, study)


@pytest.mark.parametrize("way", WAYS)
def test_one_instance_that_cannot_be_kept_is_named_and_the_others_are_there(
    filled: Any, study: Any, tmp_path: Path, way: str
) -> None:
    lost = pydicom.dcmread(study.ct[2])
    in_the_way = tmp_path / study.StudyInstanceUID / lost.SeriesInstanceUID
    (in_the_way / f"{lost.SOPInstanceUID}.dcm" / "folder").mkdir(parents=True)
    query = StudyQuery(StudyInstanceUID=study.StudyInstanceUID)
    fetched = fetch(query, source_of(filled, way), tmp_path)
    assert not fetched.complete
    assert (fetched.received, fetched.expected) == (5, 6)
    ct, seg = sorted(fetched.series, key=lambda series: series.Modality)
    assert ct.missing == (lost.SOPInstanceUID,)
    assert ct.text
    assert (seg.missing, seg.text) == ((), "")
    assert len([path for path in tmp_path.rglob("*.dcm") if path.is_file()]) == 5


@pytest.mark.parametrize("way", WAYS)
def test_a_study_that_is_not_there_is_told_from_an_empty_one(
    filled: Any, tmp_path: Path, way: str
) -> None:
    for query in (StudyQuery(StudyInstanceUID="2.25.404"), StudyQuery(AccessionNumber="ACC-none")):
        with pytest.raises(StudyNotFoundError, match="no such study"):
            fetch(query, source_of(filled, way), tmp_path)


def test_an_archive_that_does_not_know_us_moves_nothing(
    filled: Any, study: Any, tmp_path: Path
) -> None:
    source = source_of(filled, "move").model_copy(update={"calling_ae_title": "STRANGER"})
    query = StudyQuery(StudyInstanceUID=study.StudyInstanceUID)
    fetched = fetch(query, source, tmp_path)
    assert fetched.received == 0
    assert all("C-MOVE ended with status 0x" in series.text for series in fetched.series)


class Archive:
    """Lists a study and hands it out by C-GET, but for one instance; may end in the middle."""

    def __init__(self, paths: list[Path], broken: str, aborts: bool = False) -> None:
        self.images = {str(image.SOPInstanceUID): image for image in map(pydicom.dcmread, paths)}
        self.broken, self.aborts = broken, aborts
        self.asked: list[str] = []

    def handlers(self) -> list[Any]:
        return [(evt.EVT_C_FIND, self._find), (evt.EVT_C_GET, self._get)]

    @staticmethod
    def support(ae: AE) -> None:
        ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
        ae.add_supported_context(StudyRootQueryRetrieveInformationModelGet)
        for sop_class in (CTImageStorage, SegmentationStorage):
            ae.add_supported_context(sop_class, scu_role=True, scp_role=True)

    def _wanted(self, keys: Dataset) -> list[Dataset]:
        levels = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        given = [keyword for keyword in levels if keys.get(keyword)]
        return [i for i in self.images.values() if all(i[k].value == keys[k].value for k in given)]

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Dataset]]:
        told = set()
        for image in self._wanted(event.identifier):
            answer = Dataset()
            for element in event.identifier:
                answer[element.tag] = image.get(element.tag, element)
            answer.QueryRetrieveLevel = event.identifier.QueryRetrieveLevel
            if str(answer) not in told:
                told.add(str(answer))
                yield 0xFF00, answer

    def _get(self, event: evt.Event) -> Iterator[Any]:
        self.asked.append(event.identifier.QueryRetrieveLevel)
        wanted = self._wanted(event.identifier)
        yield len(wanted)
        for image in wanted:
            if image.SOPInstanceUID == self.broken:
                if self.aborts:
                    event.assoc.abort()
                    return
                failed = Dataset()
                failed.FailedSOPInstanceUIDList = [self.broken]
                yield 0xA702, failed
                return
            yield 0xFF00, image


@pytest.mark.parametrize("aborts", [False, True], ids=["fails", "aborts"])
def test_an_archive_that_stops_at_an_instance_costs_no_other_that_it_would_hand_out(
    scripted_scp: Any, study: Any, tmp_path: Path, aborts: bool
) -> None:
    broken = str(pydicom.dcmread(study.ct[2]).SOPInstanceUID)
    archive = Archive(study.all, broken, aborts)
    query = StudyQuery(StudyInstanceUID=study.StudyInstanceUID)
    with scripted_scp(archive.handlers(), configure=archive.support) as port:
        source = DimseSource(ae_title="PACS", host="127.0.0.1", port=port)
        fetched = fetch(query, source, tmp_path)
    ct, seg = sorted(fetched.series, key=lambda series: series.Modality)
    assert ct.missing == (broken,)
    assert ("was not answered to its end" if aborts else "status 0xa702") in ct.text
    assert (seg.missing, seg.text) == ((), "")
    # both series as a whole, then what had not come of the first
    assert archive.asked.count("SERIES") == 2
    assert archive.asked.count("IMAGE") == 3
    assert len(list(tmp_path.rglob("*.dcm"))) == fetched.received == 5


def test_an_archive_that_is_down_is_told_from_an_empty_one(new_port: Any, tmp_path: Path) -> None:
    query = StudyQuery(AccessionNumber="1")
    with pytest.raises(AssociationError, match="no connection"):
        fetch(query, DimseSource(ae_title="PACS", host="127.0.0.1", port=new_port()), tmp_path)
    with pytest.raises(WebError, match="no connection"):
        fetch(query, WebPeer(url=f"http://127.0.0.1:{new_port()}/rs"), tmp_path)


@pytest.mark.parametrize("way", ["get", "move"])
def test_dcmqrscp_hands_a_study_out(
    start_dcmqrscp: Any, new_port: Any, study: Any, tmp_path: Path, way: str
) -> None:
    ours = new_port()
    into = tmp_path / "into"
    with start_dcmqrscp({"VISCERA": ours}) as port:
        peer = {"ae_title": "ARCHIVE", "host": "127.0.0.1", "port": port}
        assert send(study.all, DimseDestination(**peer)).delivered
        source = DimseSource(**peer, retrieve=way, listen_address="127.0.0.1", listen_port=ours)
        query = StudyQuery(StudyInstanceUID=study.StudyInstanceUID)
        all_arrived(fetch(query, source, into), into, study)


@contextmanager
def archive_of(paths: list[Path], page: int, broken: str = "") -> Iterator[str]:
    """A DICOMweb server of one study that answers in pages and cannot hand `broken` out."""
    headers = [pydicom.dcmread(path) for path in paths]

    def value(vr: str, text: str) -> dict[str, Any]:
        return {"vr": vr, "Value": [text]}

    def item(header: pydicom.Dataset) -> dict[str, Any]:
        return {
            "0020000D": value("UI", header.StudyInstanceUID),
            "0020000E": value("UI", header.SeriesInstanceUID),
            "00080018": value("UI", header.SOPInstanceUID),
            "00080016": value("UI", header.SOPClassUID),
            "00080060": value("CS", header.Modality),
        }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if parts.path.endswith(("/studies", "/series", "/instances")):
                levels = {"studies": 1, "series": 2, "instances": 3}
                level = levels[parts.path.rsplit("/", 1)[1]]
                found = [item(h) for h in headers if level < 3 or h.SeriesInstanceUID in self.path]
                keys = ("0020000D", "0020000E", "00080018")[:level]
                unique = {tuple(i[k]["Value"][0] for k in keys): i for i in found}
                offset = int(parse_qs(parts.query).get("offset", ["0"])[0])
                self.answer(
                    json.dumps(list(unique.values())[offset : offset + page]).encode(),
                    "application/dicom+json",
                )
                return
            uid = parts.path.rsplit("/", 1)[1]
            if uid == broken:
                self.send_error(404)
                return
            (path,) = [p for p, h in zip(paths, headers, strict=True) if h.SOPInstanceUID == uid]
            body = b"--xyz\r\nContent-Type: application/dicom\r\n\r\n" + path.read_bytes()
            self.answer(body + b"\r\n--xyz--\r\n", 'multipart/related; boundary="xyz"')

        def answer(self, data: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=[0.05])
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/rs"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_server_that_answers_in_pages_is_read_to_the_end_byte_for_byte(
    study: Any, tmp_path: Path
) -> None:
    query = StudyQuery(StudyInstanceUID=study.StudyInstanceUID)
    with archive_of(study.all, page=2) as url:
        all_arrived(fetch(query, WebPeer(url=url), tmp_path), tmp_path, study)
    written = {path.read_bytes() for path in tmp_path.rglob("*.dcm")}
    assert written == {path.read_bytes() for path in study.all}


def test_an_instance_that_the_server_does_not_hand_out_is_named(study: Any, tmp_path: Path) -> None:
    broken = str(pydicom.dcmread(study.ct[1]).SOPInstanceUID)
    query = StudyQuery(StudyInstanceUID=study.StudyInstanceUID)
    with archive_of(study.all, page=100, broken=broken) as url:
        fetched = fetch(query, WebPeer(url=url), tmp_path)
    (ct,) = [series for series in fetched.series if series.Modality == "CT"]
    assert ct.missing == (broken,)
    assert "HTTP 404" in ct.text
    assert fetched.received == 5


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"StudyInstanceUID": "1.2", "AccessionNumber": "3"},
        {"AccessionNumber": "*"},
        {"AccessionNumber": "A?"},
        {"AccessionNumber": "1\\2"},
        {"AccessionNumber": "12345678901234567"},
        {"StudyInstanceUID": "../1.2"},
        {"StudyInstanceUID": "1.2*"},
    ],
)
def test_a_query_that_could_mean_other_patients_is_refused(keys: dict[str, str]) -> None:
    with pytest.raises(FetchError, match="expected"):
        StudyQuery(**keys)
