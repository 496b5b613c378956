"""Names of organs as data sets and other makers' models spell them, and what they mean in DICOM.

Codes are SNOMED CT as PS3.16 has them for segmented properties (CID 7150, 7151, 7192, and 244 for
the side). Display colours are our own choice; they agree with the models that ship.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from models.segments import Code, Segment

ANATOMICAL_STRUCTURE = Code(value="123037004", scheme="SCT", meaning="Anatomical Structure")
ALTERED_STRUCTURE = Code(
    value="49755003", scheme="SCT", meaning="Morphologically Abnormal Structure"
)
LEFT = Code(value="7771000", scheme="SCT", meaning="Left")
RIGHT = Code(value="24028007", scheme="SCT", meaning="Right")
#: Coding scheme of structures that the table below does not know (PS3.3 8.2: 99 is private).
PRIVATE_SCHEME = "99VISCERA"
_NEOPLASM = ("108369006", "Neoplasm")
_SIDES = {"left": LEFT, "right": RIGHT}
#: Longest CodeValue (VR SH), and how much of it tells shortened names apart.
_LONGEST_CODE, _DIGITS = 16, 6


@dataclass(frozen=True, kw_only=True)
class Organ:
    """One row: the coded structure, its colour, and how else it is spelt."""

    type: tuple[str, str]
    rgb: tuple[int, int, int]
    label: str
    spellings: tuple[str, ...] = ()
    category: Code = ANATOMICAL_STRUCTURE


def _lesion(code: tuple[str, str], label: str, *spellings: str) -> Organ:
    return Organ(
        type=code,
        rgb=(144, 238, 144),
        label=label,
        spellings=spellings,
        category=ALTERED_STRUCTURE,
    )


#: By our key; a paired organ has one row and its colour by side in `_SIDED_RGB`.
ORGANS: Mapping[str, Organ] = {
    "liver": Organ(type=("10200004", "Liver"), rgb=(221, 130, 101), label="Liver"),
    "spleen": Organ(type=("78961009", "Spleen"), rgb=(157, 108, 162), label="Spleen"),
    "kidney": Organ(
        type=("64033007", "Kidney"),
        rgb=(185, 102, 83),
        label="Kidney",
        spellings=("kidneys", "kideny"),  # the second in MONAI's swin_unetr_btcv_segmentation
    ),
    "stomach": Organ(type=("69695003", "Stomach"), rgb=(216, 182, 90), label="Stomach"),
    "gallbladder": Organ(
        type=("28231008", "Gallbladder"),
        rgb=(139, 170, 70),
        label="Gallbladder",
        spellings=("gall bladder", "gallblader"),
    ),
    "pancreas": Organ(type=("15776009", "Pancreas"), rgb=(249, 180, 111), label="Pancreas"),
    "esophagus": Organ(
        type=("32849002", "Esophagus"),
        rgb=(211, 171, 143),
        label="Oesophagus",
        spellings=("oesophagus",),
    ),
    "aorta": Organ(
        type=("15825003", "Aorta"),
        rgb=(224, 97, 76),
        label="Aorta",
        spellings=("arota",),  # in AMOS22's dataset.json
    ),
    "abdominal_aorta": Organ(
        type=("7832008", "Abdominal aorta"), rgb=(224, 97, 76), label="Abdominal aorta"
    ),
    "inferior_vena_cava": Organ(
        type=("64131007", "Inferior vena cava"),
        rgb=(0, 151, 206),
        label="Inferior vena cava",
        spellings=("ivc", "postcava", "vena cava inferior", "vena cava"),
    ),
    "portal_vein": Organ(type=("32764006", "Portal vein"), rgb=(0, 112, 165), label="Portal vein"),
    "portal_and_splenic_veins": Organ(
        type=("32764006", "Portal vein"),
        rgb=(0, 112, 165),
        label="Portal and splenic veins",
        spellings=(
            "portal vein and splenic vein",
            "portal and splenic vein",
            "portal vein splenic vein",
            "portal splenic vein",
            "veins",
        ),
    ),
    "splenic_vein": Organ(
        type=("35819009", "Splenic vein"), rgb=(40, 90, 160), label="Splenic vein"
    ),
    "hepatic_vein": Organ(
        type=("8993003", "Hepatic vein"), rgb=(60, 110, 190), label="Hepatic vein"
    ),
    "adrenal_gland": Organ(
        type=("23451007", "Adrenal gland"),
        rgb=(249, 186, 150),
        label="Adrenal gland",
        spellings=("adrenal", "adrenal glands", "suprarenal gland"),
    ),
    "duodenum": Organ(type=("38848004", "Duodenum"), rgb=(255, 223, 160), label="Duodenum"),
    "bowel": Organ(
        type=("113276009", "Intestine"),
        rgb=(205, 167, 142),
        label="Bowel",
        spellings=("intestine", "intestines", "bowels"),
    ),
    "small_bowel": Organ(
        type=("30315005", "Small intestine"),
        rgb=(205, 167, 142),
        label="Small bowel",
        spellings=("small intestine",),
    ),
    "colon": Organ(type=("71854001", "Colon"), rgb=(204, 145, 110), label="Colon"),
    "rectum": Organ(type=("34402009", "Rectum"), rgb=(180, 130, 110), label="Rectum"),
    "urinary_bladder": Organ(
        type=("89837001", "Urinary bladder"),
        rgb=(222, 154, 132),
        label="Urinary bladder",
        spellings=("bladder",),
    ),
    "prostate": Organ(type=("41216001", "Prostate"), rgb=(230, 158, 140), label="Prostate"),
    "uterus": Organ(type=("35039007", "Uterus"), rgb=(255, 181, 158), label="Uterus"),
    "lung": Organ(
        type=("39607008", "Lung"), rgb=(197, 165, 145), label="Lung", spellings=("lungs",)
    ),
    "heart": Organ(type=("80891009", "Heart"), rgb=(206, 110, 84), label="Heart"),
    "liver_tumor": _lesion(
        _NEOPLASM, "Liver tumour", "liver tumour", "liver cancer", "hepatic tumor", "liver lesion"
    ),
    "kidney_tumor": _lesion(_NEOPLASM, "Kidney tumour", "kidney tumour", "renal tumor"),
    "pancreas_tumor": _lesion(
        _NEOPLASM, "Pancreas tumour", "pancreas tumour", "pancreatic tumor", "pancreas cancer"
    ),
    "colon_tumor": _lesion(
        _NEOPLASM, "Colon tumour", "colon cancer primaries", "colon cancer", "colon tumour"
    ),
    "tumor": _lesion(_NEOPLASM, "Tumour", "tumour", "cancer", "lesion", "neoplasm"),
    "kidney_cyst": _lesion(("367643001", "Cyst"), "Kidney cyst", "renal cyst"),
    "cyst": _lesion(("367643001", "Cyst"), "Cyst"),
}
#: The left of a pair has a colour of its own.
_LEFT_RGB: Mapping[str, tuple[int, int, int]] = {
    "kidney": (212, 126, 151),
    "adrenal_gland": (230, 150, 190),
    "lung": (224, 186, 162),
}
#: Short spellings in which the side is one letter of the word.
_ABBREVIATIONS: Mapping[str, str] = {
    "lkidney": "left kidney",
    "rkidney": "right kidney",
    "lkid": "left kidney",
    "rkid": "right kidney",
    "lk": "left kidney",
    "rk": "right kidney",
    "lag": "left adrenal gland",
    "rag": "right adrenal gland",
    "rad": "right adrenal gland",
    "lad": "left adrenal gland",
    "spl": "spleen",
    "gall": "gallbladder",
    "eso": "esophagus",
    "liv": "liver",
    "sto": "stomach",
    "aor": "aorta",
    "pan": "pancreas",
    "pro ute": "prostate or uterus",
}
_BY_SPELLING: Mapping[str, str] = {
    spelling: key
    for key, organ in ORGANS.items()
    for spelling in (key.replace("_", " "), *organ.spellings)
}


def segment_of(name: str, number: int) -> Segment:
    """What a name means.

    Parameters
    ----------
    name
        As a model's maker spells it: `Left Kidney`, `kidney_left`, `R. adrenal gland`.
    number
        Of the segment, 1 to 254.

    Returns
    -------
    Segment
        With SNOMED codes where the name is known, else an anatomical structure of the private
        scheme `99VISCERA` under its own name. A side is taken off the name and coded by itself.

    Raises
    ------
    BundleError
        If the number or the name cannot be a segment's.
    """
    words, side = _words_and_side(name)
    key = _BY_SPELLING.get(" ".join(words))
    if key is None:
        return _unknown(name, side, number)
    organ = ORGANS[key]
    return Segment(
        number=number,
        name=key if side is None else f"{key}_{side}",
        label=organ.label if side is None else f"{side.capitalize()} {organ.label.lower()}",
        category=organ.category,
        type=Code(value=organ.type[0], scheme="SCT", meaning=organ.type[1]),
        modifier=None if side is None else _SIDES[side],
        rgb=_LEFT_RGB.get(key, organ.rgb) if side == "left" else organ.rgb,
    )


def _words_and_side(name: str) -> tuple[list[str], str | None]:
    plain = re.sub(r"[\W_]+", " ", name.lower()).strip()
    words = _ABBREVIATIONS.get(plain, plain).split()
    sides = [side for side in _SIDES if side in words or (side[0] in words and len(words) > 1)]
    if len(sides) != 1:
        return words, None
    (side,) = sides
    return [word for word in words if word not in (side, side[0])], side


def _unknown(name: str, side: str | None, number: int) -> Segment:
    words = re.sub(r"[\W_]+", " ", name).split()
    bare = [word for word in words if side and word.lower() not in (side, side[0])]
    if side and bare:
        plain, modifier = " ".join(bare), _SIDES[side]
        key = "_".join(bare).lower()
        own_name, label = f"{key}_{side}", f"{side.capitalize()} {plain}"
    else:
        plain, modifier = name.strip().replace("_", " ") or f"structure {number}", None
        key = re.sub(r"\W+", "_", name.strip().lower()).strip("_") or f"structure_{number}"
        own_name, label = key, plain
    hue = number * 47 % 180
    return Segment(
        number=number,
        name=own_name,
        label=(label[:1].upper() + label[1:])[:64],
        category=ANATOMICAL_STRUCTURE,
        type=Code(value=_private_code(key), scheme=PRIVATE_SCHEME, meaning=plain[:64]),
        modifier=modifier,
        rgb=(60 + hue, 220 - hue, 60 + hue * 5 % 180),
    )


def _private_code(key: str) -> str:
    """The key where it is short enough, else its beginning and digits that are its own."""
    if len(key) <= _LONGEST_CODE:
        return key.upper()
    digits = hashlib.sha256(key.encode()).hexdigest()[:_DIGITS]
    return f"{key[: _LONGEST_CODE - _DIGITS - 1]}_{digits}".upper()
