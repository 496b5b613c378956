from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydicom.sr.codedict import codes

from models.bundle_folders import SHIPPED
from models.interchange.organs import ORGANS, segment_of


@pytest.mark.parametrize(
    ("name", "key", "code", "side"),
    [
        ("Spleen", "spleen", "78961009", None),
        ("Left Kidney", "kidney_left", "64033007", "Left"),
        ("kidney_right", "kidney_right", "64033007", "Right"),
        ("R. adrenal gland", "adrenal_gland_right", "23451007", "Right"),
        ("lkidney", "kidney_left", "64033007", "Left"),
        ("lkid", "kidney_left", "64033007", "Left"),
        ("rkid", "kidney_right", "64033007", "Right"),
        ("Left Kideny", "kidney_left", "64033007", "Left"),
        ("Inferior Vena Cava", "inferior_vena_cava", "64131007", None),
        ("postcava", "inferior_vena_cava", "64131007", None),
        ("portal vein and splenic vein", "portal_and_splenic_veins", "32764006", None),
        ("oesophagus", "esophagus", "32849002", None),
        ("gall bladder", "gallbladder", "28231008", None),
        ("bladder", "urinary_bladder", "89837001", None),
        ("aorta", "aorta", "15825003", None),
        ("arota", "aorta", "15825003", None),
        ("abdominal aorta", "abdominal_aorta", "7832008", None),
        ("intestine", "bowel", "113276009", None),
        ("duodenum", "duodenum", "38848004", None),
    ],
)
def test_spellings_are_known(name: str, key: str, code: str, side: str | None) -> None:
    segment = segment_of(name, 3)
    assert (segment.name, segment.type.value, segment.type.scheme) == (key, code, "SCT")
    assert (segment.modifier.meaning if segment.modifier else None) == side
    assert segment.number == 3


def test_a_tumour_is_a_neoplasm_and_no_anatomical_structure() -> None:
    segment = segment_of("liver tumor", 2)
    assert (segment.category.value, segment.type.value) == ("49755003", "108369006")
    assert (segment.name, segment.label) == ("liver_tumor", "Liver tumour")


def test_an_unknown_name_becomes_a_structure_of_a_private_scheme() -> None:
    segment = segment_of("iliopsoas muscle, left", 7)
    assert segment.name == "iliopsoas_muscle_left"
    assert segment.type.scheme == "99VISCERA"
    assert len(segment.type.value) <= 16
    assert segment.type.meaning == "iliopsoas muscle"
    assert segment.label == "Left iliopsoas muscle"
    assert segment.modifier is not None
    assert segment.modifier.meaning == "Left"


def test_unknown_structures_of_both_sides_have_a_code_and_a_side_of_their_own() -> None:
    names = [
        f"{structure}_{side}"
        for structure in (
            "lung_upper_lobe",
            "lung_lower_lobe",
            "heart_ventricle",
            "gluteus_maximus",
            "gluteus_medius",
            "iliac_artery_common_upper_part",
            "iliac_artery_common_lower_part",
        )
        for side in ("left", "right")
    ]
    names += [f"rib_{side}_{n}" for side in ("left", "right") for n in (1, 2, 12)]
    names += ["autochthonous_muscles", "autochthonous_muscles_of_the_back", "vertebrae_L1"]
    segments = [segment_of(name, n) for n, name in enumerate(names, start=1)]
    sides = [segment.modifier.meaning if segment.modifier else None for segment in segments]
    codes_of = [segment.type.value for segment in segments]
    assert len(set(zip(codes_of, sides, strict=True))) == len(names)
    assert len({segment.name for segment in segments}) == len(names)
    assert max(map(len, codes_of)) == 16
    left, right = segments[:2]
    assert left.type == right.type
    assert (left.type.value, left.type.meaning) == ("LUNG_UPPER_LOBE", "lung upper lobe")
    assert (left.label, left.name) == ("Left lung upper lobe", "lung_upper_lobe_left")
    assert (sides[0], sides[1], sides[-1]) == ("Left", "Right", None)
    assert segments[-1].label == "Vertebrae L1"


def test_a_side_alone_is_a_name() -> None:
    segment = segment_of("left", 3)
    assert (segment.name, segment.type.value, segment.modifier) == ("left", "LEFT", None)


def test_codes_are_those_of_the_standard() -> None:
    """pydicom's dictionaries are made from PS3.16."""
    known = {
        "liver": codes.SCT.Liver,
        "spleen": codes.SCT.Spleen,
        "kidney": codes.SCT.Kidney,
        "stomach": codes.SCT.Stomach,
        "gallbladder": codes.SCT.Gallbladder,
        "pancreas": codes.SCT.Pancreas,
        "esophagus": codes.SCT.Esophagus,
        "aorta": codes.SCT.Aorta,
        "abdominal_aorta": codes.SCT.AbdominalAorta,
        "inferior_vena_cava": codes.SCT.InferiorVenaCava,
        "portal_vein": codes.SCT.PortalVein,
        "splenic_vein": codes.SCT.SplenicVein,
        "hepatic_vein": codes.SCT.HepaticVein,
        "adrenal_gland": codes.SCT.AdrenalGland,
        "duodenum": codes.SCT.Duodenum,
        "small_bowel": codes.SCT.SmallIntestine,
        "colon": codes.SCT.Colon,
        "rectum": codes.SCT.Rectum,
        "urinary_bladder": codes.SCT.Bladder,
        "prostate": codes.SCT.Prostate,
        "uterus": codes.SCT.Uterus,
        "lung": codes.SCT.Lung,
        "heart": codes.SCT.Heart,
        "tumor": codes.SCT.Neoplasm,
        "cyst": codes.SCT.Cyst,
    }
    assert {key: ORGANS[key].type[0] for key in known} == {k: c.value for k, c in known.items()}


@pytest.mark.parametrize(
    "bundle", sorted(path.parent.parent.name for path in SHIPPED.glob("*/configs/labels.json"))
)
def test_organs_mean_what_they_mean_in_the_models_that_ship(bundle: str) -> None:
    path: Path = SHIPPED / bundle / "configs" / "labels.json"
    for entry in json.loads(path.read_text(encoding="utf-8"))["segments"]:
        if "type" not in entry:
            continue
        segment = segment_of(entry["name"], 1)
        assert segment.type.value == entry["type"]["value"], entry["name"]
        modifier = entry.get("modifier") or {}
        assert (segment.modifier.value if segment.modifier else None) == modifier.get("value")
