"""What a data set's own names of its label values mean for the organs of a network."""

from __future__ import annotations

import json
from typing import Any

import pytest

from models.bundle_folders import SHIPPED
from models.data.label_values import BTCV, FLARE22
from models.data.layouts_labels import OrganValues, contradictions, left_out, values_of_organs

LIVER = {"liver": 1, "cancer": 2}
KIDNEYS = ("kidney_left", "kidney_right")
#: In the order of their values: in MONAI's lists for BTCV, and in FLARE22's.
MONAI = "spleen rkid lkid gall eso liver sto aorta IVC veins pancreas rad lad"
FLARE = "liver RK spleen pancreas aorta IVC RAG LAG gallbladder esophagus stomach duodenum LK"
#: As the authors of these data sets name their structures.
AMOS = {
    "spleen": 1,
    "right kidney": 2,
    "left kidney": 3,
    "gall bladder": 4,
    "esophagus": 5,
    "liver": 6,
    "stomach": 7,
    "arota": 8,
    "postcava": 9,
    "pancreas": 10,
    "right adrenal gland": 11,
    "left adrenal gland": 12,
    "duodenum": 13,
    "bladder": 14,
    "prostate/uterus": 15,
}
WORD = {
    "liver": 1,
    "spleen": 2,
    "left_kidney": 3,
    "right_kidney": 4,
    "stomach": 5,
    "gallbladder": 6,
    "esophagus": 7,
    "pancreas": 8,
    "duodenum": 9,
    "colon": 10,
    "intestine": 11,
    "adrenal": 12,
    "rectum": 13,
    "bladder": 14,
    "Head_of_femur_L": 15,
    "Head_of_femur_R": 16,
}
TOTALSEGMENTATOR = (
    "spleen kidney_right kidney_left gallbladder liver stomach pancreas adrenal_gland_right "
    "adrenal_gland_left lung_upper_lobe_left esophagus trachea thyroid_gland small_bowel duodenum "
    "colon urinary_bladder prostate kidney_cyst_left sacrum vertebrae_L1 heart aorta "
    "pulmonary_vein brachiocephalic_trunk subclavian_artery_right common_carotid_artery_left "
    "brachiocephalic_vein_left atrial_appendage_left superior_vena_cava inferior_vena_cava "
    "portal_vein_and_splenic_vein iliac_artery_left iliac_vena_right humerus_left"
)


def numbered(names: str) -> dict[str, int]:
    return {name: number for number, name in enumerate(names.split(), start=1)}


DATA_SETS = {
    "BTCV": dict(BTCV),
    "BTCV by MONAI": numbered(MONAI),
    "FLARE22": numbered(FLARE),
    "AMOS": AMOS,
    "WORD": WORD,
    "TotalSegmentator": numbered(TOTALSEGMENTATOR),
    "Task03": LIVER,
    "Task07": {"pancreas": 1, "cancer": 2},
    "Task09": {"spleen": 1},
}
BUNDLES = {
    path.parent.parent.name: tuple(
        entry["name"] for entry in json.loads(path.read_text(encoding="utf-8"))["segments"]
    )
    for path in SHIPPED.glob("*/configs/labels.json")
}


def found(stated: dict[str, int], *organs: str) -> tuple[Any, ...]:
    values = values_of_organs(stated, organs)
    return dict(values.labels), values.other, values.unknown


def test_organs_are_found_however_they_are_spelt() -> None:
    amos = {"right kidney": 2, "Kidney, left": 3, "esophagus": 5, "Postcava": 9, "bladder": 14}
    organs = ("oesophagus", "inferior_vena_cava", *KIDNEYS)
    assert values_of_organs(amos, organs) == OrganValues(
        labels={"kidney_right": 2, "kidney_left": 3, "oesophagus": 5, "inferior_vena_cava": 9},
        other=(14,),
        unknown=(),
    )


def test_the_short_and_the_wrong_spellings_of_data_sets_are_found() -> None:
    assert found(numbered(MONAI), *BTCV) == (dict(BTCV), (), ())
    assert found(numbered(FLARE), *FLARE22) == (dict(FLARE22), (), ())
    labels, other, _ = found(AMOS, *BTCV)
    assert labels["aorta"] == 8
    assert set(BTCV) - set(labels) == {"portal_and_splenic_veins"}
    assert other == (13, 14, 15)


def test_what_is_to_be_ignored_is_unknown() -> None:
    """nnU-Net's dataset.json has the name for regions that nobody labelled."""
    assert found({"spleen": 1, "ignore": 2}, "spleen") == ({"spleen": 1}, (), (2,))
    # it is no organ in which a tumour may lie
    labels = {"liver": 1, "cancer": 2, "ignore": 3}
    assert found(labels, "liver") == ({"liver": [1, 2]}, (), (3,))


def test_255_is_unknown_without_an_entry() -> None:
    assert found({"spleen": 1, "ignore": 255}, "spleen") == ({"spleen": 1}, (), ())
    assert found({"spleen": 1, "void": 255, "tumor": 255}, "spleen") == ({"spleen": 1}, (), ())


@pytest.mark.parametrize(
    ("stated", "organs", "expected"),
    [
        (
            WORD,
            BUNDLES["mobilenetv3_rsna"],
            {
                "liver": 1,
                "spleen": 2,
                "kidney_left": 3,
                "kidney_right": 4,
                "bowel": [9, 10, 11, 13],
            },
        ),
        # the network has a class of its own for the part, or for what the part belongs to first
        (
            {"intestine": 1, "duodenum": 2, "colon": 3},
            ("bowel", "duodenum"),
            {"bowel": [1, 3], "duodenum": 2},
        ),
        (
            {"intestine": 1, "small bowel": 2, "duodenum": 3},
            ("bowel", "small_bowel"),
            {"bowel": 1, "small_bowel": [2, 3]},
        ),
        ({"intestine": 1, "duodenum": 3}, ("bowel", "small_bowel"), {"bowel": 1}),
        ({"aorta": 1, "abdominal aorta": 2}, ("aorta",), {"aorta": [1, 2]}),
        ({"intestine": 1, "colon": 2, "colon cancer": 3}, ("bowel",), {"bowel": [1, 2, 3]}),
        # the rest of the organ has no label
        ({"liver": 1, "duodenum": 2, "colon": 3}, ("liver", "bowel"), {"liver": 1}),
        # the rest of the aorta is no part of the abdominal one
        ({"aorta": 1, "abdominal aorta": 2}, ("abdominal_aorta",), {"abdominal_aorta": 2}),
    ],
)
def test_parts_of_a_labelled_organ_belong_to_it(
    stated: dict[str, int], organs: tuple[str, ...], expected: dict[str, Any]
) -> None:
    labels, other, unknown = found(stated, *organs)
    assert labels == expected
    taken = {v for value in labels.values() for v in (value if type(value) is list else [value])}
    assert set(other) == set(stated.values()) - taken
    assert unknown == ()


def test_what_is_left_out_is_told() -> None:
    stated = {"heart": 4, "liver": 1, "ignore": 3, "lung": 2, "void": 255}
    organs = ("liver", "pancreas", "stomach")
    assert left_out(stated, organs, values_of_organs(stated, organs)) == (
        "not labelled: pancreas, stomach; taken as background: lung, heart; taking no part: ignore"
    )
    assert left_out({"liver": 1}, ["liver"], values_of_organs({"liver": 1}, ["liver"])) == ""


def test_a_name_of_ones_own_is_found_without_its_capitals() -> None:
    assert found({"Left atrium": 1}, "left_atrium") == ({"left_atrium": 1}, (), ())


@pytest.mark.parametrize(
    ("stated", "organs", "expected"),
    [
        # the only organ of its task, or the one that the name tells
        (LIVER, ("liver", "spleen"), ({"liver": [1, 2]}, (), ())),
        ({"pancreas": 1, "liver": 2, "liver lesion": 3}, ("liver",), ({"liver": [2, 3]}, (1,), ())),
        ({"liver": 1, "spleen": 2, "Metastases of the liver": 3}, ("liver",), None),
        ({"kidney": 1, "tumor": 2, "cyst": 3}, ("kidney",), ({"kidney": [1, 2, 3]}, (), ())),
        # a class of its own
        (LIVER, ("liver", "liver_tumour"), ({"liver": 1, "liver_tumour": 2}, (), ())),
        (LIVER, ("liver", "tumor"), ({"liver": 1, "tumor": 2}, (), ())),
        ({"colon cancer primaries": 1}, ("colon_tumour",), ({"colon_tumour": 1}, (), ())),
        # whose it is cannot be told, or the rest of the organ is not labelled
        ({"liver": 1, "spleen": 2, "cancer": 3}, ("liver",), ({"liver": 1}, (2,), (3,))),
        ({"Vessel": 1, "Tumour": 2}, ("liver",), ({}, (1,), (2,))),
        ({"aorta": 1, "Tumour": 2}, ("aorta",), ({"aorta": 1}, (), (2,))),
        ({"colon cancer primaries": 1}, ("colon",), ({}, (), (1,))),
        ({"kidney": 1, "tumor": 2}, KIDNEYS, ({}, (1,), (2,))),
        # the sick organ is none of the network's
        ({"spleen": 1, "pancreas": 2, "pancreas cancer": 3}, ("spleen",), None),
    ],
)
def test_a_lesion_is_part_of_its_organ_or_unknown_but_never_background(
    stated: dict[str, int], organs: tuple[str, ...], expected: tuple[Any, ...] | None
) -> None:
    values = found(stated, *organs)
    if expected is not None:
        assert values == expected
    elif organs == ("liver",):
        assert values == ({"liver": [1, 3]}, (2,), ())
    else:
        assert values == ({"spleen": 1}, (2,), (3,))


@pytest.mark.parametrize(
    ("stated", "labels", "told"),
    [
        ({"spleen": 1}, {"liver": (1,), "liver_tumour": (2,)}, ["1 is spleen rather than liver"]),
        ({"left kidney": 2}, {"kidney_right": (2,)}, ["2 is left kidney rather than kidney_right"]),
        ({"colon cancer": 1}, {"liver": (1,)}, ["1 is colon cancer rather than liver"]),
        ({"liver": 1}, {"liver_tumour": (1,)}, ["1 is liver rather than liver_tumour"]),
        ({"kidney": 2}, {"kidney_right": (2,)}, ["2 is kidney rather than kidney_right"]),
        # the same by another name, a part of it, or a lesion
        (LIVER, {"liver": (1, 2)}, []),
        (LIVER, {"liver": (1,), "liver_tumour": (2,)}, []),
        ({"Kidney left": 3, "postcava": 9}, {"kidney_left": (3,), "inferior_vena_cava": (9,)}, []),
        ({"left kidney": 3, "right kidney": 2}, {"kidney": (2, 3)}, []),
        ({"colon": 3, "duodenum": 2}, {"bowel": (2, 3)}, []),
        ({"portal vein": 3}, {"portal_and_splenic_veins": (3,)}, []),
        # names that nobody knows say nothing
        ({"PZ": 1, "Zwoelffingerdarm": 8}, {"prostate": (1,), "duodenum": (8,)}, []),
        # but vessels are no organ, and what is to be ignored is nothing
        (
            {"Vessel": 1, "Tumour": 2},
            {"liver": (1,), "liver_tumour": (2,)},
            ["1 is Vessel rather than liver"],
        ),
        ({"Vessel": 2}, {"liver_tumour": (2,)}, ["2 is Vessel rather than liver_tumour"]),
        ({"Vessels": 1}, {"portal_vein": (1,)}, []),
        ({"Vessels": 1}, {"my_structure": (1,)}, []),
        ({"ignore": 2}, {"liver_tumour": (2,)}, ["2 is ignore rather than liver_tumour"]),
        ({"spleen": 1}, {"my_structure": (1,)}, []),
        ({}, {"liver": (1,)}, []),
        # a lung's, and a liver's whose own value is not given
        (
            {"background": 0, "cancer": 1},
            {"liver": (1,), "liver_tumor": (2,)},
            ["1 is cancer rather than liver"],
        ),
        ({"liver": 1, "cancer": 2}, {"liver": (2,)}, ["2 is cancer rather than liver"]),
        ({"liver": 1, "cancer": 2}, {"liver": (1, 2)}, []),
    ],
)
def test_another_organs_name_contradicts(
    stated: dict[str, int], labels: dict[str, tuple[int, ...]], told: list[str]
) -> None:
    assert contradictions(stated, labels) == [f"label {text}" for text in told]


@pytest.mark.parametrize("data_set", DATA_SETS)
@pytest.mark.parametrize("bundle", BUNDLES)
def test_what_is_found_by_name_never_contradicts(bundle: str, data_set: str) -> None:
    stated = DATA_SETS[data_set]
    labels = values_of_organs(stated, BUNDLES[bundle]).labels
    taken = {organ: value if type(value) is list else [value] for organ, value in labels.items()}
    assert labels or (bundle, data_set) in {
        ("unet_liver_msd", "Task07"),
        ("unet_liver_msd", "Task09"),
        ("mobilenetv3_rsna", "Task07"),
        ("vnet_four_organs", "Task07"),
    }
    assert contradictions(stated, taken) == []  # type: ignore[arg-type]
