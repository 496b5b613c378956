"""Conditions as the App SDK's rules write them, and what absent attributes meet."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import CTImageStorage

from operators.clauses import unmet
from operators.files import PlainFile
from operators.rules import parse_rules
from operators.series import Candidate, Frame, Instance, Series
from operators.traits import Traits, traits_of


def header_of(**elements: object) -> Dataset:
    header = Dataset()
    header.SOPClassUID = CTImageStorage
    for keyword, value in elements.items():
        setattr(header, keyword, value)
    return header


def traits(headers: Dataset | list[Dataset]) -> Traits:
    listed = headers if isinstance(headers, list) else [headers]
    for n, header in enumerate(listed):
        header.SOPInstanceUID = f"1.1.{n}"
    instances = tuple(Instance(file=PlainFile(Path("unused")), header=h) for h in listed)
    series = Series(StudyInstanceUID="1", SeriesInstanceUID="1.1", instances=instances)
    frames = tuple(Frame(instance=i, number=1, header=i.header) for i in instances)
    return traits_of(Candidate(series=series, frames=frames))


def reason(headers: Dataset | list[Dataset], where: object = None, **conditions: object):
    selection = {"conditions": conditions} if where is None else {"where": where}
    rules = {"selections": [selection]}
    found = traits(headers)
    problems = [unmet(clause, found) for clause in parse_rules(rules).selections[0].clauses]
    return next((text for text in problems if text), None)


def met(headers: Dataset | list[Dataset], where: object = None, **conditions: object) -> bool:
    return reason(headers, where, **conditions) is None


@pytest.mark.parametrize(
    ("value", "wanted", "expected"),
    [
        ("CT", "CT", True),
        ("CT", "ct", True),
        ("CT", "(?i)ct", True),
        ("RTSTRUCT", "CT", False),
        ("RTSTRUCT", ".*CT", True),
        ("CT", "C", False),
        ("CT", "MR|CT", True),
        ("CT", "!MR", True),
        ("CT", "!CT", False),
        ("CT", ["CT", "!MR"], True),
    ],
)
def test_text_is_matched_whole(value, wanted, expected):
    assert met(header_of(Modality=value), Modality=wanted) is expected


def test_text_with_signs_of_regular_expressions_still_equals_itself():
    assert met(header_of(SeriesDescription="Liver (p.v.)+"), SeriesDescription="liver (p.v.)+")


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (["PRIMARY", "!SECONDARY"], True),
        (["primary", "AXIAL"], True),
        (["ORIGINAL", "LOCALIZER"], False),
        (["!AXIAL"], False),
        (["AXI"], False),
        (["!AXI"], True),
        ("AXIAL", True),
        ("!LOCALIZER", True),
        (["CT_.*"], True),
    ],
)
def test_lists_are_compared_value_by_value(wanted, expected):
    header = header_of(ImageType=["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"])
    assert met(header, ImageType=wanted) is expected


@pytest.mark.parametrize(
    ("value", "wanted", "expected"),
    [
        ("5.000000", 5, True),
        ("5.000000", "5", True),
        ("5.000000", "5\\.0+", True),
        ("5.1", 5, False),
        ("3", [3, 5], True),
        ("5", [3, 5], True),
        ("5.01", [3, 5], False),
        ("2", [2, ">"], False),
        ("2", [2, ">="], True),
        ("2", ["2", "<="], True),
        ("1.5", [2, "<"], True),
        ("2", [2, "!="], False),
        ("0", 0, True),
        ("0", [0, 1], True),
        ("0", [1, "<"], True),
        ("0", "0", True),
        ("1", 0, False),
    ],
)
def test_numbers_are_compared_as_numbers_and_zero_is_one(value, wanted, expected):
    assert met(header_of(SliceThickness=value), SliceThickness=wanted) is expected


@pytest.mark.parametrize(
    ("value", "wanted", "expected"),
    [
        ("5", "<= 5", True),
        ("5.0000001", "<=5", False),
        ("4.9", "< 5", True),
        ("5", ">= 5", True),
        ("5.01", ">5", True),
        ("5", "> 5", False),
        ("5.00", "= 5", True),
        ("5.00", "5", True),
        ("5.01", "5", False),
        ("5", "!= 5", False),
        ("5.01", " != 5 ", True),
        ("2", "2..5", True),
        ("5", "2 .. 5", True),
        ("5.001", "2..5", False),
        ("-7", "-10..-5", True),
        ("0", ">= 0", True),
        ("1e-1", "<= 1e-1", True),
    ],
)
def test_comparisons_in_words_are_of_numbers(value, wanted, expected):
    assert met(header_of(SliceThickness=value), {"SliceThickness": wanted}) is expected
    assert met(header_of(SliceThickness=value), {"not": {"SliceThickness": wanted}}) is not expected


def test_numbers_that_are_kept_as_text_are_compared_by_private_tag():
    header = header_of()
    header.add_new(0x00091010, "LO", "4.5")
    assert met(header, {"0x00091010": "<= 5"})
    assert not met(header, {"0x00091010": "<= 4"})
    assert reason(header, {"0x00091010": "<= 4"}) == (
        '0x00091010 does not match, the rules ask for "<= 4"'
    )


def test_every_value_of_several_has_to_be_in_range():
    header = header_of(PixelSpacing=[0.5, 0.9])
    assert met(header, PixelSpacing=[0.4, 1])
    assert not met(header, PixelSpacing=[0.4, 0.8])
    assert met(header, {"PixelSpacing": "<= 0.9"})
    assert not met(header, {"not": {"PixelSpacing": "<= 0.9"}})
    assert met(header, {"not": {"PixelSpacing": "<= 0.8"}})
    assert met(header, PixelSpacing=0.9)


ABSENT = [
    header_of(),
    header_of(SeriesDescription="", SliceThickness=None, ImageType=None),
    header_of(SeriesDescription=" ", SliceThickness="", ImageType=[]),
    header_of(ImageType=["", ""], SliceThickness=[]),
]


@pytest.mark.parametrize("header", ABSENT)
@pytest.mark.parametrize(
    ("wanted", "is_met", "is_not_met"),
    [
        ("(.*?)", True, False),
        (".*", True, False),
        ("(?i)^No series description|(.*?)", True, False),
        (".+", False, True),
        ("CT", False, True),
        (["CT"], False, True),
        (["CT", "!MR"], False, True),
        (["!MR"], True, False),
        ("!MR", True, False),
        (0, False, False),
        ([0, 5], False, False),
        ([5, "!="], False, False),
        ([-1, ">"], False, False),
    ],
)
@pytest.mark.parametrize("keyword", ["SeriesDescription", "SliceThickness", "ImageType"])
def test_an_absent_or_empty_attribute_matches_only_as_meant(
    header, wanted, is_met, is_not_met, keyword
):
    assert met(header, **{keyword: wanted}) is is_met
    assert met(header, {keyword: wanted}) is is_met
    assert met(header, {"not": {keyword: wanted}}) is is_not_met
    assert met(header, {"not": {"not": {keyword: wanted}}}) is is_met


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", float("nan")])
@pytest.mark.parametrize("wanted", ["<= 5", "> 5", "!= 5", "2..5", 5, [5, "!="], [0, 5]])
def test_what_is_no_finite_number_meets_no_comparison_and_no_contrary(value, wanted):
    header = header_of()
    header.add_new("SliceThickness", "FD" if isinstance(value, float) else "LO", value)
    assert not met(header, {"SliceThickness": wanted})
    assert not met(header, {"not": {"SliceThickness": wanted}})
    assert "SliceThickness is" in str(reason(header, {"not": {"SliceThickness": wanted}}))
    assert met(header, {"present": "SliceThickness"})


def test_a_value_that_is_no_number_spoils_a_comparison_only_where_it_matters():
    header = header_of()
    header.add_new("PixelSpacing", "LO", ["0.5", "x"])
    assert not met(header, {"PixelSpacing": "<= 1"})
    assert not met(header, {"not": {"PixelSpacing": "<= 1"}})
    assert met(header, {"not": {"PixelSpacing": "> 1"}})
    assert met(header, {"PixelSpacing": 0.5})
    assert not met(header, {"PixelSpacing": 0.7})
    assert not met(header, {"not": {"PixelSpacing": 0.7}})


@pytest.mark.parametrize("nothing", [None, "", []])
def test_conditions_without_a_value_are_left_out(nothing):
    assert met(header_of(), Modality=nothing)


@pytest.mark.parametrize(
    ("cosines", "plane"),
    [
        ([1, 0, 0, 0, 1, 0], "Axial"),
        ([-1, 0, 0, 0, -1, 0], "Axial"),
        ([0, 1, 0, -1, 0, 0], "Axial"),
        ([1, 0, 0, 0, 0, -1], "Coronal"),
        ([0, 1, 0, 0, 0, -1], "Sagittal"),
        ([1, 0, 0, 0, 0.8, 0.6], "Axial"),
        ([1, 0, 0, 0, 0.6, -0.8], "Coronal"),
        ([0, 0, 0, 0, 0, 0], None),
        ([1e300, 0, 0, 0, 1e300, 0], None),
        ([1, 0, 0], None),
    ],
)
def test_the_plane_comes_from_the_direction_cosines(cosines, plane):
    header = header_of(ImageOrientationPatient=cosines, ImageType=["ORIGINAL", "PRIMARY", "AXIAL"])
    for name in ("Axial", "Coronal", "Sagittal"):
        is_it = name == plane
        assert met(header, ImageOrientationPatient=name.lower()) is is_it
        assert met(header, {"plane": name.lower()}) is is_it
        is_other = plane is not None and not is_it
        assert met(header, {"not": {"ImageOrientationPatient": name}}) is is_other
        assert met(header, {"not": {"plane": name.lower()}}) is is_other
    assert met(header, {"plane": ["axial", "coronal", "sagittal"]}) is (plane is not None)
    assert not met(header_of(), ImageOrientationPatient="Axial")


def test_all_images_of_a_series_have_to_meet_a_condition():
    def slices(count: int) -> list[Dataset]:
        return [header_of(ImageType=["ORIGINAL", "PRIMARY", "AXIAL"]) for _ in range(count)]

    scout = header_of(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    assert met(slices(3), ImageType="!LOCALIZER")
    assert reason([scout, *slices(3)], ImageType=["!LOCALIZER"]) == (
        "ImageType is ORIGINAL\\PRIMARY\\LOCALIZER in 1 of 4 images, "
        'the rules ask for ["!LOCALIZER"]'
    )
    assert reason([scout, *slices(3)], {"not": {"ImageType": "LOCALIZER"}}) == (
        "ImageType is ORIGINAL\\PRIMARY\\LOCALIZER in 1 of 4 images, "
        'the rules ask for not "LOCALIZER"'
    )
    assert not met([scout, *slices(3)], {"ImageType": "LOCALIZER"})


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientName", "Doe^Jane"),
        ("StudyDate", "20200101"),
        ("SeriesDescription", "Jane"),
        ("PatientWeight", "70"),
    ],
)
def test_reasons_show_no_names_dates_or_free_text(keyword, value):
    header = header_of(**{keyword: value})
    assert reason(header, **{keyword: "x"}) == f'{keyword} does not match, the rules ask for "x"'
    assert reason(header, {"not": {keyword: ".+"}}) == (
        f'{keyword} matches, the rules ask for not ".+"'
    )
    assert reason(header, {"absent": keyword}) == f"{keyword} is present, the rules ask for none"
    assert reason(header_of(), {keyword: "x"}) == (
        f'{keyword} is absent or empty, the rules ask for "x"'
    )


def test_presence_is_that_of_a_value_or_of_an_item():
    header = header_of(SeriesDescription=" ", KVP="nan", Modality="CT")
    header.ContrastBolusAgentSequence = [Dataset()]
    header.ReferencedImageSequence = []
    for keyword in ("Modality", "ContrastBolusAgentSequence", "SOPClassUID"):
        assert met(header, {"present": keyword})
        assert not met(header, {"absent": keyword})
        assert not met(header, {"not": {"present": keyword}})
    for keyword in ("SeriesDescription", "ReferencedImageSequence", "ImageType"):
        assert not met(header, {"present": keyword})
        assert met(header, {"absent": keyword})
        assert met(header, {"not": {"present": keyword}})
    assert met(header, {"present": ["Modality", "SOPClassUID"]})
    assert not met(header, {"present": ["Modality", "ImageType"]})
    assert met(header, {"absent": ["ImageType", "SeriesDescription"]})
    assert not met(header, {"absent": ["ImageType", "Modality"]})
    assert reason(header, {"present": "ImageType"}) == (
        "ImageType is absent or empty, the rules ask for a value"
    )


def test_attributes_can_be_named_by_tag():
    assert met(header_of(SliceThickness="5"), **{"0x00180050": 5})
    assert met(header_of(SliceThickness="5"), {"00180050": "<= 5"})
    assert reason(header_of(), **{"0x00189F00": 5}) == (
        "0x00189F00 is absent or empty, the rules ask for 5"
    )


def test_a_damaged_element_counts_as_absent():
    header = header_of()
    tag = Tag("SliceThickness")
    header[tag] = RawDataElement(tag, "DS", 6, b"5 thin", 0, False, True)
    assert not met(header, {"SliceThickness": "<= 5"})
    assert not met(header, {"not": {"SliceThickness": "<= 5"}})
