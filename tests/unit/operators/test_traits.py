from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import Dataset

from operators.files import PlainFile
from operators.series import Candidate, Frame, Instance, Series
from operators.traits import Traits, traits_of


def traits(heights_mm: list[float], gap_mm: float = 10.0, **elements: object) -> Traits:
    instances = []
    for n, height_mm in enumerate(heights_mm):
        header = Dataset()
        header.SOPInstanceUID = f"1.1.{n + 1}"
        header.Rows, header.Columns, header.PixelSpacing = 8, 6, [0.7, 0.9]
        header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        header.ImagePositionPatient = [0, 0, height_mm]
        for keyword, value in elements.items():
            setattr(header, keyword, value)
        instances.append(Instance(file=PlainFile(Path("unused")), header=header))
    series = Series(StudyInstanceUID="1", SeriesInstanceUID="1.1", instances=tuple(instances))
    frames = tuple(Frame(instance=i, number=1, header=i.header) for i in instances)
    return traits_of(Candidate(series=series, frames=frames), gap_mm)


def test_a_regular_volume_is_measured_whatever_the_order_of_its_images():
    found = traits([12.5, 5.0, 7.5, 10.0], ImageType=["ORIGINAL", "PRIMARY", "AXIAL"])
    assert (found.fault, found.repairs, found.regular) == (None, (), True)
    assert (found.slices, found.slice_distance_mm, found.coverage_mm) == (4, 2.5, 10.0)
    assert (found.plane, found.original, found.pixel_spacing_mm) == ("Axial", True, (0.7, 0.9))
    assert (found.kernel, found.contrast) == (None, None)
    assert found.extent == "10 mm (4 slices)"


def test_filled_gaps_count_as_covered():
    found = traits([0, 2, 4, 8, 10])
    assert found.repairs
    assert (found.regular, found.slices, found.coverage_mm) == (False, 5, pytest.approx(12))
    refused = traits([0, 2, 4, 8, 10], gap_mm=3)
    assert "too many to fill in" in str(refused.fault)
    assert (refused.regular, refused.repairs, refused.coverage_mm) == (False, (), 10.0)


@pytest.mark.parametrize(
    ("heights_mm", "elements", "expected"),
    [
        ([5], {}, (1, None, None)),
        ([5, 5], {}, (1, None, None)),
        ([0, 2, 2, 4], {}, (3, 2.0, 6.0)),
        ([0, 2], {"ImagePositionPatient": None}, (None, None, None)),
        ([0, 2], {"ImagePositionPatient": [1, 2]}, (None, None, None)),
        ([0, 2], {"ImageOrientationPatient": None}, (None, None, None)),
        ([0, 2], {"ImageOrientationPatient": [1e300] * 6}, (None, None, None)),
    ],
)
def test_what_forms_no_volume_is_measured_as_far_as_possible(heights_mm, elements, expected):
    found = traits(heights_mm, **elements)
    assert found.fault is not None
    assert not found.regular
    assert (found.slices, found.slice_distance_mm, found.coverage_mm) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("LUNG", "sharp"),
        ("BONEPLUS", "sharp"),
        ("B70f", "sharp"),
        ("Br64d", "sharp"),
        ("FC52", "sharp"),
        ("YC", "sharp"),
        ("STANDARD", "soft"),
        ("SOFT", "soft"),
        ("B30f", "soft"),
        (["Br40d", "3"], "soft"),
        ("FC08", "soft"),
        ("B", "soft"),
        ("UB", "soft"),
        ("IMR1", None),
        ("", None),
        (None, None),
    ],
)
def test_known_kernels_are_told_apart_and_others_are_unknown(name, expected):
    assert traits([0, 2], ConvolutionKernel=name).kernel == expected
