"""Real series: each scan stays whole, and what shares a series with others is parted."""

from __future__ import annotations

import random
from collections import defaultdict
from pathlib import Path

import pytest

from operators.dicom_file import read_header
from operators.errors import NothingUsableError
from operators.files import PlainFile
from operators.series import Candidate, Instance, Series
from operators.splitting import split_series

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def candidates(folder: str, seed: int | None = None) -> dict[str, tuple[Candidate, ...]]:
    """By SeriesInstanceUID; all images, whatever their SOP class."""
    root = DATA / folder
    if not root.is_dir():
        pytest.skip(f"shared data is absent: {root}")
    found: dict[str, list[Instance]] = defaultdict(list)
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        file = PlainFile(path)
        try:
            header, pixels = read_header(file)
        except NothingUsableError:
            continue
        instance = Instance(file=file, header=header, pixels=pixels)
        found[header.SeriesInstanceUID].append(instance)
    for instances in found.values():
        if seed is not None:
            random.Random(seed).shuffle(instances)
    return {
        uid: split_series(
            Series(StudyInstanceUID="1", SeriesInstanceUID=uid, instances=tuple(instances)),
            tuple(instances),
        )
        for uid, instances in found.items()
    }


@pytest.mark.parametrize(
    ("folder", "count"),
    [
        ("ct/c3l-00189", 35),
        ("ct/ircad-01", 129),
        ("ct/acrin-flt-breast-001", 99),
        ("dicom_stress/reformats_coronal", 20),
        ("dicom_stress/reformats_sagittal", 20),
        ("dicom_stress/tilted_head_ct", 28),
        ("dicom_stress/truncated_ct", 18),
        ("dicom_stress/undecodable_j2k", 10),  # each image in a frame of reference of its own
    ],
)
def test_a_scan_stays_whole(folder, count):
    ((only,),) = candidates(folder).values()
    assert (only.part, only.notes, len(only.frames)) == ("", (), count)


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_two_interleaved_phases_are_two_candidates(seed):
    ((first, second),) = candidates("dicom_stress/two_phases_interleaved", seed).values()
    assert (first.part, second.part) == ("AcquisitionNumber 1", "AcquisitionNumber 2")
    for number, phase in ((1, first), (2, second)):
        assert {frame.header.AcquisitionNumber for frame in phase.frames} == {number}
        heights = {str(frame.header.ImagePositionPatient[2]) for frame in phase.frames}
        assert (len(phase.frames), len(heights)) == (35, 35)


def test_screens_are_parted_from_localizers():
    found = candidates("dicom_stress/localizers_and_screens")
    shown = sorted({c.part: len(c.frames) for c in parts}.items() for parts in found.values())
    assert [dict(items) for items in map(dict, shown)] == [
        {"": 1},
        {"ImageType REF_SURVIEW": 1, "no position": 3},
        {"ImageType REF_SURVIEW": 1, "no position": 3},
    ]
