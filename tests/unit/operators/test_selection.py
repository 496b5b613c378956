from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    RTStructureSetStorage,
    SecondaryCaptureImageStorage,
)

from operators.errors import NothingSelectedError
from operators.files import PlainFile
from operators.loading import scan
from operators.rules import default_rules, parse_rules
from operators.selection import Decision, SelectionResult, is_ct_image, select_series
from operators.series import Instance, Series, Study

ANY_CT = parse_rules({"selections": [{"name": "any", "conditions": {"Modality": ".*CT.*"}}]})


def series_of(
    uid: str, slices: int, sop_class: str = CTImageStorage, study: str = "1", **elements: object
) -> Series:
    instances = []
    for n in range(slices):
        header = Dataset()
        header.SOPClassUID = sop_class
        header.SOPInstanceUID = f"{uid}.{n + 1}"
        header.PatientName = "Doe^Jane"
        header.Modality = "CT"
        header.SeriesDescription = "Doe"
        header.Rows, header.Columns, header.PixelSpacing = 8, 6, [0.7, 0.9]
        header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        header.ImagePositionPatient = [0, 0, 2 * n]
        header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        for keyword, value in elements.items():
            setattr(header, keyword, value)
        instances.append(Instance(file=PlainFile(Path("unused")), header=header))
    return Series(StudyInstanceUID=study, SeriesInstanceUID=uid, instances=tuple(instances))


def study_of(*series: Series, uid: str = "1") -> Study:
    return Study(StudyInstanceUID=uid, series=series)


def reasons(result: SelectionResult | NothingSelectedError) -> dict[str, str]:
    return {d.SeriesInstanceUID: d.reason for d in result.decisions}


def test_the_sop_class_decides_what_is_an_image_whatever_the_modality_says():
    study = study_of(
        series_of("1.1", 1, RTStructureSetStorage, Modality="RTSTRUCT"),
        series_of("1.2", 1, SecondaryCaptureImageStorage),
        series_of("1.5", 20),
    )
    result = select_series([study], ANY_CT)
    assert [c.series.SeriesInstanceUID for c in result.chosen] == ["1.5"]
    assert reasons(result) == {
        "1.1": "RT Structure Set Storage: not a CT image",
        "1.2": "Secondary Capture Image Storage: not a CT image",
        "1.5": "the only match: 40 mm (20 slices), slice distance 2.00 mm",
    }
    for sop_class in (
        CTImageStorage,
        EnhancedCTImageStorage,
        LegacyConvertedEnhancedCTImageStorage,
    ):
        assert is_ct_image(sop_class)
    assert not is_ct_image(RTStructureSetStorage)


def test_the_best_match_of_a_study_is_chosen_and_the_others_hear_why_not():
    study = study_of(series_of("1.1", 40), series_of("1.2", 129), series_of("1.3", 10))
    result = select_series([study], ANY_CT)
    assert [c.series.SeriesInstanceUID for c in result.chosen] == ["1.2"]
    assert reasons(result) == {
        "1.1": "matches, but series 1.2 ranks higher: "
        "coverage 258 mm (129 slices) against 80 mm (40 slices)",
        "1.2": "the best of 3 matches: 258 mm (129 slices), slice distance 2.00 mm",
        "1.3": "matches, but series 1.2 ranks higher: "
        "coverage 258 mm (129 slices) against 20 mm (10 slices)",
    }


def test_each_selection_chooses_in_each_study_by_itself():
    rules = parse_rules(
        {
            "selections": [
                {"name": "thin", "conditions": {"SliceThickness": [2, "<"]}},
                {"name": "thick", "conditions": {"SliceThickness": [2, ">="]}},
            ]
        }
    )
    studies = [
        study_of(
            series_of("2.1", 9, study="2", SliceThickness="1"),
            series_of("2.2", 9, study="2", SliceThickness="5"),
            uid="2",
        ),
        study_of(series_of("1.1", 9, SliceThickness="5")),
    ]
    result = select_series(studies, rules)
    assert [(c.selection_name, c.series.SeriesInstanceUID) for c in result.chosen] == [
        ("thick", "1.1"),
        ("thin", "2.1"),
        ("thick", "2.2"),
    ]
    assert [c.study.StudyInstanceUID for c in result.chosen] == ["1", "2", "2"]
    assert len(result.decisions) == 2 + 4


def test_the_order_of_studies_and_series_never_matters():
    series = [series_of(f"1.{n}", 20 + n % 3) for n in range(1, 8)]
    expected = select_series([study_of(*series)], ANY_CT).decisions
    for seed in range(5):
        random.Random(seed).shuffle(series)
        assert select_series([study_of(*series)], ANY_CT).decisions == expected


def test_the_default_rules_reject_what_is_no_axial_scan():
    study = study_of(
        series_of("1.1", 2, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]),
        series_of("1.2", 90, ImageOrientationPatient=[1, 0, 0, 0, 0, -1]),
        series_of("1.3", 90, ImageType=["DERIVED", "SECONDARY", "AXIAL"]),
        series_of("1.4", 90, ImageType=["DERIVED", "PRIMARY", "MPR"]),
        series_of("1.5", 10),
    )
    result = select_series([study], default_rules())
    assert [c.series.SeriesInstanceUID for c in result.chosen] == ["1.5"]
    assert reasons(result)["1.1"].startswith("ImageType is ORIGINAL\\PRIMARY\\LOCALIZER, the rules")
    assert reasons(result)["1.2"] == (
        'ImageOrientationPatient is Coronal, the rules ask for "Axial"'
    )


def test_other_objects_within_a_series_are_left_out_of_it():
    mixed = series_of("1.1", 12)
    mixed.instances[3].header.SOPClassUID = SecondaryCaptureImageStorage
    mixed.instances[11].header.SOPClassUID = SecondaryCaptureImageStorage
    result = select_series([study_of(mixed)], ANY_CT)
    assert len(result.chosen[0].candidate.frames) == 10
    (decision,) = result.decisions
    assert decision.instance_count == 12
    assert decision.reason.endswith("2 instances that are no CT images are left out")


def test_nothing_selected_carries_every_reason():
    study = study_of(series_of("1.1", 3, Modality="PT"), series_of("1.2", 1, RTStructureSetStorage))
    with pytest.raises(NothingSelectedError, match=r"1\.1: Modality is PT, the rules") as caught:
        select_series([study], ANY_CT)
    assert reasons(caught.value) == {
        "1.1": 'Modality is PT, the rules ask for ".*CT.*"',
        "1.2": "RT Structure Set Storage: not a CT image",
    }
    assert not any(d.chosen for d in caught.value.decisions)
    with pytest.raises(NothingSelectedError, match="no series found"):
        select_series([], ANY_CT)


def test_decisions_are_json_without_patient_data():
    series = series_of("1.1", 3, SeriesNumber=7, ConvolutionKernel="B30f")
    (decision,) = select_series([study_of(series)], ANY_CT).decisions
    assert isinstance(decision, Decision)
    text = json.dumps(decision.to_json())
    assert "Doe" not in text
    assert json.loads(text) == {
        "StudyInstanceUID": "1",
        "SeriesInstanceUID": "1.1",
        "part": "",
        "selection_name": "any",
        "chosen": True,
        "reason": "the only match: 6 mm (3 slices), slice distance 2.00 mm",
        "Modality": "CT",
        "sop_classes": ["CT Image Storage"],
        "instance_count": 3,
        "model": None,
        "SeriesNumber": 7,
        "plane": "axial",
        "slices": 3,
        "slice_distance_mm": 2.0,
        "coverage_mm": 6.0,
        "kernel": "soft",
        "contrast": None,
        "regular": True,
    }


def test_what_is_no_ct_image_has_no_measures():
    study = study_of(series_of("1.1", 3), series_of("1.2", 1, RTStructureSetStorage))
    decision = select_series([study], ANY_CT).decisions[1]
    measures = (decision.plane, decision.slices, decision.coverage_mm, decision.regular)
    assert measures == (None, None, None, None)


def test_each_selection_names_its_model_whether_or_not_they_choose_the_same():
    rules = parse_rules(
        {
            "selections": [
                {"name": "a", "model": "vnet", "where": {"KVP": ">= 100"}},
                {"name": "b", "model": "unetr", "where": {"KVP": ">= 100"}},
                {"name": "c", "where": {"KVP": "< 100"}},
            ]
        }
    )
    study = study_of(series_of("1.1", 9, KVP="120"), series_of("1.2", 9, KVP="80"))
    result = select_series([study], rules)
    assert [(c.selection_name, c.series.SeriesInstanceUID, c.model) for c in result.chosen] == [
        ("a", "1.1", "vnet"),
        ("b", "1.1", "unetr"),
        ("c", "1.2", None),
    ]
    assert [d.model for d in result.decisions] == ["vnet"] * 2 + ["unetr"] * 2 + [None] * 2
    assert reasons(result)["1.1"] == 'KVP is 120, the rules ask for "< 100"'


def test_phases_of_one_series_are_candidates_of_their_own():
    phases = [series_of("1.1", 9, AcquisitionNumber=n, SOPInstanceUID=None) for n in (1, 2)]
    instances = []
    for phase in phases:
        for instance in phase.instances:
            instance.header.SOPInstanceUID = f"1.1.{len(instances) + 1}"
            instances.append(instance)
    series = Series(StudyInstanceUID="1", SeriesInstanceUID="1.1", instances=tuple(instances))
    result = select_series([study_of(series)], ANY_CT)
    assert [(d.part, d.chosen, d.instance_count, d.slices) for d in result.decisions] == [
        ("AcquisitionNumber 1", False, 9, 9),
        ("AcquisitionNumber 2", True, 9, 9),
    ]
    (chosen,) = result.chosen
    assert chosen.candidate.name == "1.1 (AcquisitionNumber 2)"
    first = parse_rules({"selections": [{"where": {"AcquisitionNumber": 1}}]})
    assert select_series([study_of(series)], first).chosen[0].candidate.part == (
        "AcquisitionNumber 1"
    )


def test_a_series_that_cannot_be_examined_does_not_stop_the_others():
    broken = series_of("1.1", 1, EnhancedCTImageStorage, NumberOfFrames=5)
    result = select_series([study_of(broken, series_of("1.2", 9))], ANY_CT)
    assert [c.series.SeriesInstanceUID for c in result.chosen] == ["1.2"]
    assert reasons(result)["1.1"]
    assert not result.decisions[0].chosen
    with pytest.raises(NothingSelectedError):
        select_series([study_of(broken)], ANY_CT)


def test_the_largest_gap_is_the_one_asked_for():
    series = series_of("1.1", 9)
    del_at = Series(
        StudyInstanceUID="1",
        SeriesInstanceUID="1.1",
        instances=series.instances[:4] + series.instances[5:],
    )
    bridged = select_series([study_of(del_at)], ANY_CT).decisions[0]
    assert (bridged.regular, bridged.slices, bridged.coverage_mm) == (False, 8, 18.0)
    assert "1 missing slices were interpolated" in bridged.reason
    refused = select_series([study_of(del_at)], ANY_CT, largest_gap_mm=3).decisions[0]
    assert "no volume: expected a slice every 2.000 mm" in refused.reason


ODD_NUMBERS = st.sampled_from([None, "", 0, -1, 1e-300, 1e30, 1e300, 0.5, 7])
ODD_HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "ImagePositionPatient": st.lists(ODD_NUMBERS, max_size=4),
        "ImageOrientationPatient": st.lists(ODD_NUMBERS, min_size=5, max_size=7),
        "PixelSpacing": st.lists(ODD_NUMBERS, max_size=3),
        "SliceThickness": ODD_NUMBERS,
        "AcquisitionNumber": st.sampled_from([None, 1, 2]),
        "AcquisitionTime": st.sampled_from(["", "noon", "0930", "093000.5"]),
        "ConvolutionKernel": st.sampled_from(["", "B30f", ["Br60", "3"]]),
        "SeriesDescription": st.sampled_from(["", "arterial", "Doe"]),
        "ImageType": st.sampled_from(["", "ORIGINAL", ["ORIGINAL", "PRIMARY", "LOCALIZER"]]),
    },
)
EVERYTHING = parse_rules(
    {
        "selections": [
            {
                "where": {
                    "any": [
                        {"not": {"slices": ">= 3"}},
                        {"plane": {"axial": 20}},
                        {"SliceThickness": "<= 5", "kernel": "soft", "contrast": "enhanced"},
                        {"not": {"all": [{"regular": True}, {"pixel_spacing_mm": "< 1"}]}},
                        {"present": "ImageType"},
                    ]
                },
                "prefer": [
                    {"slice_distance_mm": "nearest 2"},
                    {"AcquisitionTime": "latest"},
                    {"SliceThickness": "least"},
                    {"not": {"SeriesDescription": "art.*"}},
                    {"coverage_mm": "most"},
                ],
            },
            {"name": "axial", "conditions": {"ImageOrientationPatient": "Axial"}},
        ]
    }
)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(ODD_HEADERS, min_size=1, max_size=3), min_size=1, max_size=3))
def test_odd_headers_end_in_a_decision(headers):
    series = []
    for n, each in enumerate(headers):
        found = series_of(f"1.{n}", len(each))
        for instance, elements in zip(found.instances, each, strict=True):
            for keyword, value in elements.items():
                values = value if isinstance(value, list) else [value]
                texts = ["" if v is None else str(v) for v in values]
                tag = Tag(keyword)
                raw = "\\".join(texts).encode()
                instance.header[tag] = RawDataElement(
                    tag, dictionary_VR(tag), len(raw), raw, 0, False, True
                )
        series.append(found)
    try:
        decisions = select_series([study_of(*series)], EVERYTHING).decisions
    except NothingSelectedError as exc:
        decisions = exc.decisions
    assert {d.SeriesInstanceUID for d in decisions} == {s.SeriesInstanceUID for s in series}
    assert all(d.reason and "Doe" not in json.dumps(d.to_json()) for d in decisions)


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("ct/c3l-00189", [(302, "", 35, 5.0, "sharp", None)]),
        ("ct/ircad-01", [(None, "", 129, 1.6, None, None)]),
        ("ct/acrin-flt-breast-001", [(2, "", 99, 4.25, "soft", None)]),
        (
            "dicom_stress/two_phases_interleaved",
            [(4, "AcquisitionNumber 2", 35, 2.5, "soft", None)],
        ),
        ("dicom_stress/tilted_head_ct", [(201, "", 28, 5.0, "soft", "non-contrast")]),
        ("dicom_stress/truncated_ct", [(2, "", 18, 2.5, "soft", "arterial")]),
        ("dicom_stress/reformats_coronal", []),
        ("dicom_stress/localizers_and_screens", []),
        ("dicom_stress/mr_coronal", []),
    ],
)
def test_the_default_rules_choose_the_axial_scans_of_real_studies(shared_data, folder, expected):
    studies = scan(shared_data / folder).studies
    try:
        decisions = select_series(studies, default_rules()).decisions
    except NothingSelectedError as exc:
        decisions = exc.decisions
    assert [
        (d.SeriesNumber, d.part, d.slices, d.slice_distance_mm, d.kernel, d.contrast)
        for d in decisions
        if d.chosen
    ] == expected
