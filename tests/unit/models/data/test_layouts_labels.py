"""What a data set's own names of its label values mean for the organs of a network."""

from __future__ import annotations

from typing import Any

import pytest

from models.data.layouts_labels import OrganValues, contradictions, values_of_organs

LIVER = {"liver": 1, "cancer": 2}
KIDNEYS = ("kidney_left", "kidney_right")


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
        ({"PZ": 1, "arota": 8}, {"prostate": (1,), "aorta": (8,)}, []),
        ({"spleen": 1}, {"my_structure": (1,)}, []),
        ({}, {"liver": (1,)}, []),
    ],
)
def test_another_organs_name_contradicts(
    stated: dict[str, int], labels: dict[str, tuple[int, ...]], told: list[str]
) -> None:
    assert contradictions(stated, labels) == [f"label {text}" for text in told]
