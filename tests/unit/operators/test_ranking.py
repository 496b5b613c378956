from __future__ import annotations

import random
from pathlib import Path

import pytest
from pydicom import Dataset

from operators.ranking import rank
from operators.series import Instance, Series


def series_of(uid: str, slices: int = 40, distance_mm: float = 5.0, **elements: object) -> Series:
    instances = []
    for n in range(slices):
        header = Dataset()
        header.SOPInstanceUID = f"{uid}.{n + 1}"
        header.Rows, header.Columns, header.PixelSpacing = 8, 6, [0.7, 0.9]
        header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        header.ImagePositionPatient = [0, 0, n * distance_mm]
        header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        for keyword, value in elements.items():
            setattr(header, keyword, value)
        instances.append(Instance(path=Path("unused"), header=header))
    return Series(StudyInstanceUID="1", SeriesInstanceUID=uid, instances=tuple(instances))


BETTER_AND_WORSE = {
    "regular volume": (series_of("1.9"), series_of("1.1", 90, ImagePositionPatient=[0, 0, 1])),
    "axial": (
        series_of("1.9"),
        series_of("1.1", 90, 5, ImageOrientationPatient=[1, 0, 0, 0, 0.6, 0.8]),
    ),
    "ImageType ORIGINAL\\PRIMARY": (
        series_of("1.9"),
        series_of("1.1", 90, ImageType=["DERIVED", "PRIMARY", "AXIAL"]),
    ),
    "coverage": (series_of("1.9", 40, 6), series_of("1.1", 80, 2.5)),
    "slice distance": (series_of("1.9", 41, 5), series_of("1.1", 342, 0.6)),
    "kernel": (
        series_of("1.9", ConvolutionKernel="B30f"),
        series_of("1.1", ConvolutionKernel="B70f", SeriesDescription="portal venous"),
    ),
    "contrast": (
        series_of("1.9", SeriesDescription="Abdomen portal venous"),
        series_of("1.1", 80, 2.5, ContrastBolusAgent="agent"),
    ),
    "slices": (series_of("1.9", 129, 1.6), series_of("1.1", 40, 5)),
    "order of SeriesInstanceUID": (series_of("1.1"), series_of("1.2")),
}


@pytest.mark.parametrize("criterion", BETTER_AND_WORSE)
def test_each_criterion_decides_where_those_before_it_are_equal(criterion):
    better, worse = BETTER_AND_WORSE[criterion]
    if criterion == "axial":  # a leaning plane with its stack along z would also be irregular
        for n, instance in enumerate(worse.instances):
            instance.header.ImagePositionPatient = [0, -0.8 * n * 5, 0.6 * n * 5]
    for order in ((better, worse), (worse, better)):
        ranked, reasons = rank(order)
        assert ranked == [better, worse]
        assert f"series {better.SeriesInstanceUID} ranks higher: {criterion} " in reasons[1]


def test_the_reason_gives_the_figures():
    _, reasons = rank([series_of("1.1", 129, 1.6), series_of("1.2", 40, 1.6)])
    assert reasons == [
        "206 mm (129 slices), slice distance 1.60 mm",
        "series 1.1 ranks higher: coverage 206 mm (129 slices) against 64 mm (40 slices)",
    ]


def test_the_order_of_candidates_never_matters():
    candidates = [
        series_of(f"1.{n}", 20 + 7 * (n % 3), (0.5, 1.6, 5.0)[n % 3]) for n in range(1, 9)
    ]
    expected = [s.SeriesInstanceUID for s in rank(candidates)[0]]
    for seed in range(10):
        random.Random(seed).shuffle(candidates)
        assert [s.SeriesInstanceUID for s in rank(candidates)[0]] == expected


@pytest.mark.parametrize(
    ("kernel", "sharp"),
    [
        ("LUNG", True),
        ("BONEPLUS", True),
        ("B70f", True),
        ("Br64d", True),
        ("FC52", True),
        ("YC", True),
        ("STANDARD", False),
        ("SOFT", False),
        ("B30f", False),
        ("Br40d", False),
        ("FC08", False),
        ("B", False),
        ("UB", False),
    ],
)
def test_known_kernels_are_told_apart(kernel, sharp):
    other = series_of("1.1", ConvolutionKernel="STANDARD")
    ranked, _ = rank([series_of("1.0", ConvolutionKernel=kernel), other])
    assert (ranked[0] is other) is sharp


def test_headers_without_geometry_rank_last():
    bare = series_of("1.1")
    for instance in bare.instances:
        del instance.header.ImagePositionPatient
    ranked, reasons = rank([bare, series_of("1.2", 3)])
    assert ranked[1] is bare
    assert "expected ImagePositionPatient (3 values) in all 40 images" in reasons[1]
