from __future__ import annotations

import json

import pytest
from pydicom import Dataset

from operators.conditions import plane_of
from operators.errors import RulesError
from operators.rules import Rules, default_rules, parse_rules


def rules_of(**conditions: object) -> Rules:
    return parse_rules(json.dumps({"selections": [{"name": "a", "conditions": conditions}]}))


def header_of(**elements: object) -> Dataset:
    header = Dataset()
    for keyword, value in elements.items():
        setattr(header, keyword, value)
    return header


def reason(header: Dataset | list[Dataset], **conditions: object) -> str | None:
    headers = header if isinstance(header, list) else [header]
    (selection,) = rules_of(**conditions).selections
    found = [condition.unmet(headers) for condition in selection.conditions]
    return next((text for text in found if text), None)


def met(header: Dataset | list[Dataset], **conditions: object) -> bool:
    return reason(header, **conditions) is None


def test_the_rules_of_the_app_sdk_are_read_unchanged():
    rules = parse_rules(
        """{"selections": [
          {"name": "CT Series 1", "conditions": {
             "StudyDescription": "(?i)^Spleen", "Modality": "(?i)CT",
             "SeriesDescription": "(?i)^No series description|(.*?)"}},
          {"name": "CT Series 3", "conditions": {
             "StudyDescription": "(.*?)", "ImageType": ["PRIMARY", "ORIGINAL", "AXIAL"],
             "SliceThickness": [3, 5]}},
          {"name": "CT Series 4", "conditions": {
             "ImageOrientationPatient": "Axial", "SliceThickness": [2, ">"]}},
          {"name": "CT Series 5", "conditions": {"ImageType": ["PRIMARY", "!SECONDARY"]}}]}"""
    )
    assert [s.name for s in rules.selections] == [f"CT Series {n}" for n in (1, 3, 4, 5)]
    axial = header_of(
        Modality="CT",
        StudyDescription="Spleen",
        ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
        SliceThickness="4",
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
    )
    assert all(c.unmet([axial]) is None for s in rules.selections for c in s.conditions)


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


def test_every_value_of_several_has_to_be_in_range():
    header = header_of(PixelSpacing=[0.5, 0.9])
    assert met(header, PixelSpacing=[0.4, 1])
    assert not met(header, PixelSpacing=[0.4, 0.8])


@pytest.mark.parametrize("header", [header_of(), header_of(SeriesDescription="")])
@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("(.*?)", True),
        (".*", True),
        ("(?i)^No series description|(.*?)", True),
        (".+", False),
        ("CT", False),
        (["CT"], False),
        (["CT", "!MR"], False),
        (["!MR"], True),
        ("!MR", True),
        (0, False),
        ([0, 5], False),
        ([5, "!="], False),
        ([-1, ">"], False),
    ],
)
def test_an_absent_or_empty_attribute_matches_only_as_meant(header, wanted, expected):
    assert met(header, SeriesDescription=wanted) is expected


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
    ],
)
def test_the_plane_comes_from_the_direction_cosines(cosines, plane):
    header = header_of(ImageOrientationPatient=cosines, ImageType=["ORIGINAL", "PRIMARY", "AXIAL"])
    assert plane_of(header) == plane
    for name in ("Axial", "Coronal", "Sagittal"):
        assert met(header, ImageOrientationPatient=name.lower()) is (name == plane)
    assert not met(header_of(), ImageOrientationPatient="Axial")


def test_all_images_of_a_series_have_to_meet_a_condition():
    slices = [header_of(ImageType=["ORIGINAL", "PRIMARY", "AXIAL"]) for _ in range(3)]
    scout = header_of(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    assert met(slices, ImageType="!LOCALIZER")
    assert reason([scout, *slices], ImageType=["!LOCALIZER"]) == (
        "ImageType is ORIGINAL\\PRIMARY\\LOCALIZER in 1 of 4 images, "
        'the rules ask for ["!LOCALIZER"]'
    )


def test_reasons_show_no_names_dates_or_free_text():
    header = header_of(
        PatientName="Doe^Jane", StudyDate="20200101", SeriesDescription="Jane", PatientWeight="70"
    )
    for keyword in ("PatientName", "StudyDate", "SeriesDescription", "PatientWeight"):
        assert (
            reason(header, **{keyword: "x"}) == f'{keyword} does not match, the rules ask for "x"'
        )


def test_attributes_can_be_named_by_tag():
    assert met(header_of(SliceThickness="5"), **{"0x00180050": 5})


@pytest.mark.parametrize(
    ("rules", "place"),
    [
        ("{", "not JSON"),
        ("[]", "expected the rules to be"),
        ({"selections": []}, "selections: expected at least one"),
        ({"selections": [{"name": "x", "conditions": {}}]}, "selections: expected at least one"),
        ({"selections": ["x"]}, r"selections\[0\]: expected"),
        ({"selections": [{"name": "x"}]}, r"selections\[0\]: expected"),
        ({"selections": [{"name": 3, "conditions": {}}]}, r"selections\[0\]\.name"),
        ({"selections": [{"conditions": ["CT"]}]}, r"selections\[0\]\.conditions: expected"),
    ],
)
def test_malformed_rules_name_the_place(rules, place):
    with pytest.raises(RulesError, match=place):
        parse_rules(rules)


@pytest.mark.parametrize(
    ("keyword", "wanted"),
    [
        ("SeriesDecription", "x"),
        ("Modality", "(CT"),
        ("Modality", {"is": "CT"}),
        ("Modality", True),
        ("ReferencedImageSequence", "x"),
        ("ImageOrientationPatient", "Oblique"),
        ("ImageOrientationPatient", [1, 0, 0, 0, 1, 0]),
        ("SliceThickness", [5, 3]),
        ("SliceThickness", [1, 2, 3]),
        ("SliceThickness", [1]),
        ("SliceThickness", ["x", ">"]),
        ("SliceThickness", [float("nan"), 5]),
        ("SliceThickness", 10**400),
        ("ImageType", ["PRIMARY", 3]),
    ],
)
def test_conditions_that_cannot_be_understood_name_the_place(keyword, wanted):
    with pytest.raises(RulesError, match=rf"selections\[0\]\.conditions\.{keyword}: "):
        parse_rules({"selections": [{"name": "x", "conditions": {keyword: wanted}}]})


def test_the_default_rules_are_rules():
    (selection,) = default_rules().selections
    assert selection.name == "Axial CT"
    axial = header_of(Modality="CT", ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    assert all(c.unmet([axial]) is None for c in selection.conditions)
