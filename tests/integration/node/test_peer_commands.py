"""`viscera echo`, `send` and `fetch` with Orthanc, from arguments to printed lines."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pynetdicom import evt

from app.errors import AssociationError, PeerSettingsError, WebError
from app.node.commands import add_commands
from app.node.destinations import DimseDestination, DimseSource, FolderDestination, WebPeer


def run(*arguments: object, **configured: Any) -> int:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True)
    add_commands(commands, lambda parsed: configured)
    parsed = parser.parse_args(list(map(str, arguments)))
    code = parsed.command(parsed)
    assert isinstance(code, int)
    return code


def at(orthanc: Any) -> str:
    return f"ORTHANC@127.0.0.1:{orthanc.port}"


def test_what_is_sent_comes_back(
    orthanc: Any, study: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("echo", at(orthanc)) == 0
    assert run("send", study.ct[0].parent, study.seg, "--to", at(orthanc)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{at(orthanc)} is there"
    assert lines[-1] == f"6 of 6 files delivered to {at(orthanc)}"
    assert lines[-2].startswith("stored: ")

    into = tmp_path / "into"
    code = run("fetch", "--accession", study.AccessionNumber, "--from", at(orthanc), "-o", into)
    assert code == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"6 of 6 instances fetched into {into}"
    seg = pydicom.dcmread(study.seg)
    assert f"{seg.SeriesInstanceUID} SEG 1 of 1 instances" in lines
    by_move = tmp_path / "by_move"
    code = run(
        *("fetch", "--study", study.StudyInstanceUID, "--from", at(orthanc), "-o", by_move),
        *("--move-port", orthanc.viscera_port),
    )
    assert code == 0
    assert len(list(by_move.rglob("*.dcm"))) == 6


def test_commitment_is_awaited_where_it_is_asked_for(
    orthanc: Any, study_maker: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    good, unwanted = study_maker("commit"), study_maker("lost", description="unwanted")
    port = orthanc.viscera_port
    code = run("send", good.seg, unwanted.ct[0], "--to", at(orthanc), "--commitment-port", port)
    out = capsys.readouterr().out
    # Orthanc acknowledges what its filter throws away, and does not commit to it
    assert out.count("stored: ") == 2
    assert "not committed: no such object instance (0x0112)" in out
    assert "1 of 2 files delivered" in out
    assert code == 19


def test_commitment_that_cannot_be_awaited_is_said_not_to_be_asked_for(
    orthanc: Any, study: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    pacs = DimseDestination(
        ae_title="ORTHANC", host="127.0.0.1", port=orthanc.port, commitment=True
    )
    assert run("send", study.seg, "--to", "pacs", pacs=pacs) == 0
    assert "storage commitment was not asked for" in capsys.readouterr().out


def test_configured_names_are_known(
    orthanc: Any, study: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    web = WebPeer(url=orthanc.url, user=orthanc.user, password_file=orthanc.password_file)
    dimse = DimseSource(ae_title="ORTHANC", host="127.0.0.1", port=orthanc.port)
    share = FolderDestination(folder=tmp_path)
    names = {"web": web, "pacs": dimse, "share": share}
    for name in names:
        assert run("echo", name, **names) == 0
    assert run("send", study.seg, "--to", "web", **names) == 0
    assert run("send", study.seg, "--to", "share", **names) == 0
    assert (tmp_path / f"{pydicom.dcmread(study.seg).SOPInstanceUID}.dcm").is_file()
    into = tmp_path / "into"
    arguments = ("fetch", "--study", study.StudyInstanceUID, "-o", into, "--from")
    assert run(*arguments, "web", **names) == 0
    assert run(*arguments, "pacs", **names) == 0
    with pytest.raises(PeerSettingsError, match="expected a configured name"):
        run(*arguments, "share", **names)


def test_nothing_and_something_delivered_have_codes_of_their_own(
    new_port: Any, study: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nobody = f"PACS@127.0.0.1:{new_port()}"
    assert run("send", study.seg, "--to", nobody) == 31
    (tmp_path / "notes.txt").write_text("no DICOM")
    assert run("send", study.seg, tmp_path / "notes.txt", "--to", tmp_path) == 19
    out = capsys.readouterr().out
    assert "failed: " in out
    assert f"1 of 2 files delivered to {tmp_path}" in out


def test_who_is_not_there_is_an_error(new_port: Any) -> None:
    with pytest.raises(AssociationError, match="no connection"):
        run("echo", f"PACS@127.0.0.1:{new_port()}")
    with pytest.raises(WebError, match="no connection"):
        run("echo", f"http://127.0.0.1:{new_port()}/rs")
    with pytest.raises(PeerSettingsError, match="AET@HOST:PORT"):
        run("echo", "PACS@127.0.0.1")


def test_the_calling_title_is_what_is_asked_for(
    scripted_scp: Any, received: Any, study: Any
) -> None:
    titles = []
    handlers = [
        *received.handlers(),
        (evt.EVT_ESTABLISHED, lambda event: titles.append(event.assoc.requestor.ae_title)),
    ]
    classes = [pydicom.dcmread(study.seg).SOPClassUID]
    with scripted_scp(handlers, classes) as port:
        assert run("send", study.seg, "--to", f"PACS@127.0.0.1:{port}", "--calling", "WARD 7") == 0
    assert titles == ["WARD 7"]
