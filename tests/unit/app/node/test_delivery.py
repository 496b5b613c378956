from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.uid import UID

from app.node.delivery import (
    Delivery,
    FileHead,
    FileResult,
    Verdict,
    http_result,
    meaning_of_http,
    meaning_of_status,
    read_head,
    result_of,
)

HEAD = FileHead(
    path=Path("a.dcm"),
    SOPClassUID=UID("1.2.840.10008.5.1.4.1.1.66.4"),
    SOPInstanceUID=UID("2.25.1"),
    TransferSyntaxUID=UID("1.2.840.10008.1.2.1"),
)


@pytest.mark.parametrize(
    ("code", "verdict", "retryable"),
    [
        (0x0000, "stored", False),
        (0x0001, "warning", False),
        (0x0107, "warning", False),
        (0x0111, "warning", False),
        (0x0116, "warning", False),
        (0xB000, "warning", False),
        (0xB006, "warning", False),
        (0xB007, "warning", False),
        (0xB123, "warning", False),
        (0xA700, "refused", True),
        (0xA702, "refused", True),
        (0x0213, "refused", True),
        (0x0110, "failed", True),
        (0x0112, "failed", True),
        (0x0131, "failed", True),
        (0x0210, "failed", True),
        (0xFE00, "failed", True),
        (0x0122, "refused", False),
        (0x0118, "refused", False),
        (0x0124, "refused", False),
        (0x0211, "refused", False),
        (0x0212, "refused", False),
        (0x0106, "failed", False),
        (0x0115, "failed", False),
        (0x0117, "failed", False),
        (0x0119, "failed", False),
        (0x0120, "failed", False),
        (0xA900, "failed", False),
        (0xA9FF, "failed", False),
        (0xC000, "failed", False),
        (0xCFFF, "failed", False),
        (0xA800, "failed", True),
        (0xD000, "failed", True),
        (0xFF00, "failed", True),
    ],
)
def test_statuses_of_dimse(code: int, verdict: str, retryable: bool) -> None:
    meaning = meaning_of_status(code)
    assert (meaning.verdict.value, meaning.retryable) == (verdict, retryable)


@pytest.mark.parametrize(
    ("code", "verdict", "retryable"),
    [
        (301, "failed", False),
        (400, "failed", False),
        (401, "refused", False),
        (403, "refused", False),
        (404, "failed", False),
        (408, "failed", True),
        (409, "failed", False),
        (413, "refused", False),
        (415, "refused", False),
        (418, "failed", False),
        (429, "refused", True),
        (500, "failed", True),
        (501, "refused", False),
        (503, "failed", True),
        (507, "failed", True),
        (999, "failed", True),
    ],
)
def test_statuses_of_http(code: int, verdict: str, retryable: bool) -> None:
    meaning = meaning_of_http(code)
    assert (meaning.verdict.value, meaning.retryable) == (verdict, retryable)


def test_no_status_but_of_success_and_warning_counts_as_delivered() -> None:
    delivered = [
        code for code in range(0x10000) if result_of(HEAD, meaning_of_status(code), code).delivered
    ]
    assert [code for code in delivered if code < 0xB000] == [0, 1, 0x0107, 0x0111, 0x0116]
    assert [code for code in delivered if code >= 0xB000] == list(range(0xB000, 0xC000))
    assert not any(http_result(HEAD, code).delivered for code in range(300, 600))


def test_a_delivery_is_as_good_as_its_worst_file() -> None:
    stored = result_of(HEAD, meaning_of_status(0), 0)
    unread = FileResult(path=Path("b"), verdict=Verdict.FAILED, retryable=False, text="no file")
    full = result_of(HEAD, meaning_of_status(0xA700), 0xA700)
    assert Delivery(destination="d", results=(stored,)).delivered
    mixed = Delivery(destination="d", results=(stored, unread))
    assert not mixed.delivered
    assert not mixed.retryable
    assert mixed.done == {"2.25.1"}
    assert mixed.failures == (unread,)
    assert Delivery(destination="d", results=(unread, full)).retryable
    assert str(full) == "2.25.1: refused: out of resources (0xa700)"
    assert str(http_result(HEAD, 503)) == "2.25.1: failed: server error (HTTP 503)"


@pytest.mark.parametrize("content", [b"", b"text", bytes(128) + b"DICM", bytes(200)])
def test_what_is_no_dicom_file_says_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    result = read_head(tmp_path / "file")
    assert isinstance(result, FileResult)
    assert (result.verdict, result.retryable) == (Verdict.FAILED, False)
    assert "file meta information" in result.text


def test_what_is_no_file_says_so(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        result = read_head(path)
        assert isinstance(result, FileResult)
        assert "cannot be read" in result.text
