from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    RTStructureSetStorage,
    SecondaryCaptureImageStorage,
)

from operators.errors import NothingSelectedError
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
        instances.append(Instance(path=Path("unused"), header=header))
    return Series(StudyInstanceUID=study, SeriesInstanceUID=uid, instances=tuple(instances))


def study_of(*series: Series, uid: str = "1") -> Study:
    return Study(StudyInstanceUID=uid, series=series)


def reasons(result: SelectionResult | NothingSelectedError) -> dict[str, str]:
    return {d.SeriesInstanceUID: d.reason for d in result.decisions}


def test_the_sop_class_decides_what_is_an_image_whatever_the_modality_says():
    study = study_of(
        series_of("1.1", 1, RTStructureSetStorage, Modality="RTSTRUCT"),
        series_of("1.2", 1, SecondaryCaptureImageStorage),
        series_of("1.3", 1, EnhancedCTImageStorage),
        series_of("1.4", 1, LegacyConvertedEnhancedCTImageStorage),
        series_of("1.5", 20),
    )
    result = select_series([study], ANY_CT)
    assert [c.series.SeriesInstanceUID for c in result.chosen] == ["1.5"]
    assert reasons(result) == {
        "1.1": "RT Structure Set Storage: not a CT image",
        "1.2": "Secondary Capture Image Storage: not a CT image",
        "1.3": "Enhanced CT Image Storage: enhanced multi-frame CT is not read yet",
        "1.4": "Legacy Converted Enhanced CT Image Storage: "
        "enhanced multi-frame CT is not read yet",
        "1.5": "the only match: 40 mm (20 slices), slice distance 2.00 mm",
    }
    assert is_ct_image(CTImageStorage)
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
    assert len(result.chosen[0].series.instances) == 10
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
    (decision,) = select_series([study_of(series_of("1.1", 3))], ANY_CT).decisions
    assert isinstance(decision, Decision)
    text = json.dumps(decision.to_json())
    assert "Doe" not in text
    assert json.loads(text) == {
        "StudyInstanceUID": "1",
        "SeriesInstanceUID": "1.1",
        "selection_name": "any",
        "chosen": True,
        "reason": "the only match: 6 mm (3 slices), slice distance 2.00 mm",
        "Modality": "CT",
        "sop_classes": ["CT Image Storage"],
        "instance_count": 3,
    }
