"""Every file that pydicom is tested with, and every stress file, goes through."""

from __future__ import annotations

import re
from pathlib import Path

import pydicom.data
import pytest
from pydicom import dcmread

from operators.dicom_file import read_header
from operators.errors import NothingUsableError
from operators.files import PlainFile
from operators.loading import scan

PYDICOM = Path(pydicom.data.__file__).parent
STRESS = Path(__file__).resolve().parents[3] / "shared" / "data" / "dicom_stress"
FILES = sorted(
    path for root in (PYDICOM, STRESS) for path in root.rglob("*") if path.suffix != ".pyc"
)
FILES = [path for path in FILES if path.is_file()]

REASON = re.compile(
    r"not DICOM|empty file"
    r"|(broken|incomplete) DICOM: (no usable [A-Za-z, ]+|no data set|cannot be parsed)"
    r"|(pixel data|header) is cut short: \d+ bytes .*; instance [\d.]+ of series [\d.]+"
    r"|no pixel data: image without PixelData; instance [\d.]+ of series [\d.]+"
)
#: What is wrong with the files of pydicom that are DICOM and yet left out.
LEFT_OUT = {
    "MR_truncated.dcm": "pixel data is cut short",
    "rtplan_truncated.dcm": "header is cut short",
    "chrJapMulti.dcm": "no pixel data",
    "chrJapMultiExplicitIR6.dcm": "no pixel data",
    "chrKoreanMulti.dcm": "no pixel data",
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_loads_as_pydicom_reads_it_or_has_a_reason(path):
    try:
        header, pixels = read_header(PlainFile(path))
    except NothingUsableError as exc:
        reason = str(exc)
    else:
        reason = ""
    if reason or path.name in LEFT_OUT:
        assert REASON.fullmatch(reason)
        assert reason.startswith(LEFT_OUT.get(path.name, ""))
        return
    whole = dcmread(path, force=True)
    tags = list(filter(lambda tag: 0x00030000 <= tag < 0x7FE00008, whole.keys()))
    assert list(header.keys()) == tags
    assert all(header[tag] == whole[tag] for tag in tags)
    if pixels is not None and pixels.length is not None:
        content = path.read_bytes()[pixels.offset : pixels.offset + pixels.length]
        assert content == whole.PixelData[: pixels.length]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_given_alone_ends_in_studies_or_in_a_reason(path):
    try:
        assert scan(path).studies
    except NothingUsableError as exc:
        skipped = exc.skipped
    else:
        skipped = ()
    assert all(file.reason for file in skipped)


@pytest.mark.filterwarnings("ignore")
def test_all_files_of_pydicom_go_through_at_once():
    found = scan(PYDICOM)
    instances = [i for study in found.studies for series in study.series for i in series.instances]
    files = {path for path in PYDICOM.rglob("*") if path.is_file()}
    assert {i.path for i in instances} | {file.path for file in found.skipped} == files
    assert len(instances) > 100


@pytest.mark.filterwarnings("ignore")
def test_what_the_stress_files_list_and_hold_is_named():
    if not STRESS.is_dir():
        pytest.skip(f"shared data is absent: {STRESS}")
    found = scan(STRESS)
    reasons = {file.reason.partition(":")[0] for file in found.skipped}
    assert reasons == {
        "DICOMDIR",
        "listed in DICOMDIR but absent",
        "not DICOM",
        "same SOPInstanceUID but other content than",
    }
