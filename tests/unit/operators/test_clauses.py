"""How clauses are joined, and what is asked of a whole candidate."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset

from operators.clauses import unmet
from operators.files import PlainFile
from operators.rules import parse_rules
from operators.series import Candidate, Frame, Instance, Series
from operators.traits import Traits, traits_of


def traits(slices: int = 4, distance_mm: float = 2.5, **elements: object) -> Traits:
    """Slices along their normal; a list of one value per slice sets that element slice by slice."""
    cosines = np.array(elements.get("ImageOrientationPatient") or [1, 0, 0, 0, 1, 0], float)
    normal = np.cross(cosines[:3], cosines[3:])
    instances = []
    for n in range(slices):
        header = Dataset()
        header.SOPInstanceUID = f"1.1.{n + 1}"
        header.Rows, header.Columns, header.PixelSpacing = 8, 6, [0.7, 0.9]
        header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        header.ImagePositionPatient = [float(x) for x in np.round(normal * n * distance_mm, 6)]
        for keyword, value in elements.items():
            setattr(header, keyword, value[n] if isinstance(value, tuple) else value)
        instances.append(Instance(file=PlainFile(Path("unused")), header=header))
    series = Series(StudyInstanceUID="1", SeriesInstanceUID="1.1", instances=tuple(instances))
    frames = tuple(Frame(instance=i, number=1, header=i.header) for i in instances)
    return traits_of(Candidate(series=series, frames=frames))


def reason(found: Traits, where: object) -> str | None:
    (clause,) = parse_rules({"selections": [{"name": "x", "where": [where]}]}).selections[0].clauses
    return unmet(clause, found)


def met(found: Traits, where: object) -> bool:
    return reason(found, where) is None


#: A clause that is met, one that is not, and one that nobody can answer.
TRUTHS = {
    "met": {"Modality": "CT"},
    "unmet": {"Modality": "MR"},
    "unknown": {"SliceThickness": "<= 5"},
}
ORDER = {"unmet": 0, "unknown": 1, "met": 2}


@pytest.mark.parametrize(("a", "b"), list(itertools.product(TRUTHS, TRUTHS)))
def test_clauses_are_joined_by_the_logic_of_three_values(a, b):
    found = traits(Modality="CT")
    clauses = [TRUTHS[a], TRUTHS[b]]
    least, most = sorted((ORDER[a], ORDER[b]))
    assert met(found, {"all": clauses}) is (least == 2)
    assert met(found, {"any": clauses}) is (most == 2)
    assert met(found, {"not": {"all": clauses}}) is (least == 0)
    assert met(found, {"not": {"any": clauses}}) is (most == 0)
    assert met(found, {"not": {"not": {"any": clauses}}}) is (most == 2)


def test_several_keys_of_one_clause_are_all_asked():
    found = traits(Modality="CT", KVP="120")
    assert met(found, {"Modality": "CT", "KVP": "100..130"})
    assert reason(found, {"Modality": "CT", "KVP": "< 100"}) == (
        'KVP is 120, the rules ask for "< 100"'
    )


def test_a_clause_is_asked_of_each_image():
    found = traits(4, ImageComments=("a", "a", "b", "b"), KVP=("80", "90", "120", "140"))
    either = {"any": [{"ImageComments": "a"}, {"KVP": ">= 100"}]}
    assert met(found, either)
    assert not met(found, {"not": either})
    assert reason(found, {"any": [{"ImageComments": "a"}, {"KVP": ">= 130"}]}) == (
        'none of (ImageComments does not match in 1 of 4 images, the rules ask for "a"; '
        'KVP is 120 in 1 of 4 images, the rules ask for ">= 130")'
    )
    assert not met(found, {"not": {"ImageComments": "a"}})
    assert not met(found, {"ImageComments": "a"})


def test_a_reason_follows_the_clauses_down():
    found = traits(Modality="CT", KVP="120")
    where = {
        "any": [
            {"Modality": "MR"},
            {"all": [{"Modality": "CT"}, {"KVP": "< 100"}]},
            {"not": {"any": [{"absent": "Rows"}, {"slices": ">= 3"}]}},
            {"SliceThickness": "<= 5"},
        ]
    }
    assert reason(found, where) == (
        'none of (Modality is CT, the rules ask for "MR"; KVP is 120, the rules ask for "< 100"; '
        "slices is 4, the rules ask for not >= 3; "
        'SliceThickness is absent or empty, the rules ask for "<= 5")'
    )
    assert reason(found, {"not": {"all": [{"Modality": "CT"}, {"KVP": "120"}]}}) == (
        'none of (Modality is CT, the rules ask for not "CT"; '
        'KVP is 120, the rules ask for not "120")'
    )


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"slices": 4}, True),
        ({"slices": ">= 5"}, False),
        ({"slices": "1..10"}, True),
        ({"slices": [3, 5]}, True),
        ({"slices": [4, ">"]}, False),
        ({"coverage_mm": "= 10"}, True),
        ({"coverage_mm": "> 10"}, False),
        ({"slice_distance_mm": 2.5}, True),
        ({"slice_distance_mm": "2..3"}, True),
        ({"slice_distance_mm": "!= 2.5"}, False),
        ({"pixel_spacing_mm": "<= 0.9"}, True),
        ({"pixel_spacing_mm": "<= 0.8"}, False),
        ({"pixel_spacing_mm": 0.7}, True),
        ({"kernel": "soft"}, True),
        ({"kernel": ["sharp"]}, False),
        ({"kernel": ["soft", "sharp"]}, True),
        ({"contrast": "portal venous"}, True),
        ({"contrast": ["arterial", "delayed"]}, False),
        ({"contrast": "enhanced"}, True),
        ({"contrast": "non-contrast"}, False),
        ({"regular": True}, True),
        ({"regular": False}, False),
        ({"plane": "axial"}, True),
        ({"plane": ["coronal", "sagittal"]}, False),
        ({"plane": {"axial": 0}}, True),
        ({"plane": {"coronal": 89, "sagittal": 90}}, True),
    ],
)
def test_a_candidate_is_asked_for_its_traits(where, expected):
    found = traits(SeriesDescription="portal venous", ConvolutionKernel="B30f")
    assert met(found, where) is expected
    assert met(found, {"not": where}) is not expected


@pytest.mark.parametrize(
    "where",
    [
        {"slices": ">= 0"},
        {"coverage_mm": ">= 0"},
        {"slice_distance_mm": "!= 7"},
        {"pixel_spacing_mm": "<= 1"},
        {"kernel": ["soft", "sharp"]},
        {"contrast": ["non-contrast", "enhanced"]},
        {"plane": {"axial": 90}},
    ],
)
def test_a_trait_that_the_headers_do_not_tell_meets_neither_a_clause_nor_its_contrary(where):
    bare = traits(ImagePositionPatient=None, ImageOrientationPatient=None, PixelSpacing=None)
    assert not met(bare, where)
    assert not met(bare, {"not": where})
    assert "unknown" in str(reason(bare, where))


def test_measures_are_compared_as_a_table_shows_them():
    found = traits(3, 1 / 3)
    assert met(found, {"slice_distance_mm": 0.33})
    assert met(found, {"coverage_mm": "<= 1"})
    assert reason(found, {"slice_distance_mm": "> 1"}) == (
        "slice_distance_mm is 0.33 mm, the rules ask for > 1"
    )
    assert reason(found, {"pixel_spacing_mm": [0.8, ">"]}) == (
        'pixel_spacing_mm is 0.70\\0.90 mm, the rules ask for [0.8, ">"]'
    )


@pytest.mark.parametrize(
    ("description", "agent", "met_by"),
    [
        ("", "", set()),
        ("", "Iomeron", {"enhanced", "not non-contrast"}),
        ("nativ", "", {"non-contrast", "not arterial", "not portal venous", "not enhanced"}),
        ("arterial", "", {"arterial", "enhanced", "not portal venous", "not non-contrast"}),
    ],
)
def test_a_phase_that_is_not_known_is_not_excluded_either(description, agent, met_by):
    found = traits(SeriesDescription=description, ContrastBolusAgent=agent)
    asked = ("non-contrast", "arterial", "portal venous", "enhanced")
    assert {p for p in asked if met(found, {"contrast": p})} | {
        f"not {p}" for p in asked if met(found, {"not": {"contrast": p}})
    } == met_by
    assert met(found, {"contrast": ["non-contrast", "arterial"]}) is (
        description in ("nativ", "arterial")
    )


def test_images_that_lean_are_within_a_tolerance_or_not():
    tilted = traits(ImageOrientationPatient=[1, 0, 0, 0, 0.939693, 0.342020])
    assert met(tilted, {"plane": {"axial": 20.1}})
    assert reason(tilted, {"plane": {"axial": 19.9}}) == (
        "plane is 20.0 degrees off axial, the rules ask for axial within 19.9 degrees"
    )
    assert met(tilted, {"plane": {"coronal": 5, "axial": 25}})
    assert reason(tilted, {"not": {"plane": "axial"}}) == (
        "plane is axial, the rules ask for not axial"
    )
    mixed = traits(2, ImageOrientationPatient=None)
    mixed.candidate.frames[0].header.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    assert reason(mixed, {"plane": "axial"}) == "plane is coronal, the rules ask for axial"
    assert not met(mixed, {"not": {"plane": "axial"}})


def test_only_a_volume_that_needs_no_repair_is_regular():
    gap = traits(4, ImagePositionPatient=([0, 0, 0], [0, 0, 2], [0, 0, 4], [0, 0, 8]))
    assert str(reason(gap, {"regular": True})).startswith("1 missing slices were interpolated")
    assert met(gap, {"regular": False})
    alone = traits(1)
    assert reason(alone, {"regular": True}) == (
        "no volume: expected at least 2 images in a volume, found 1, "
        "the rules ask for a regular volume"
    )
    assert reason(traits(), {"not": {"regular": True}}) == (
        "the volume is regular, the rules ask for an irregular volume"
    )
