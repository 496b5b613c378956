"""What a data set's own names of its label values mean for the organs of a network.

Names are compared as `models.interchange.organs` knows them: `Right Kidney` is `kidney_right`,
`postcava` is `inferior_vena_cava`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from models.data.problems import UNKNOWN_VALUE
from models.interchange.organs import PRIVATE_SCHEME, segment_of

_LESION = re.compile(
    r"\b(?:cancers?|tumou?rs?|lesions?|cysts?|neoplasms?|carcinomas?|metastas[ei]s)\b"
)
_FILLING = re.compile(r"\b(?:of|in|the|primary|primaries)\b")
_KNOWN_LESION = re.compile(r"(?:(?P<organ>.+)_)?(?:tumor|cyst)(?P<side>_left|_right)?")
_ADJECTIVES: Mapping[str, str] = {
    "hepatic": "liver",
    "pancreatic": "pancreas",
    "renal": "kidney",
    "splenic": "spleen",
    "colonic": "colon",
}
#: A tumour beside one of these alone lies in an organ that has no label.
_VESSELS = re.compile(r"aorta|vein|vena|arter|vessel")
#: nnU-Net's name, in `dataset.json`, for voxels that nobody labelled.
_IGNORED = "ignore"
#: Structures that an organ of a recipe may be put together from, besides its left and right.
_PARTS: Mapping[str, Collection[str]] = {
    "bowel": ("small_bowel", "colon", "duodenum", "rectum"),
    "small_bowel": ("duodenum",),
    "aorta": ("abdominal_aorta",),
    "portal_and_splenic_veins": ("portal_vein", "splenic_vein"),
}
#: Names that may mean no more than a part, as where the abdomen alone was labelled.
_LOOSE_NAMES: Mapping[str, Collection[str]] = {"abdominal_aorta": ("aorta",)}


@dataclass(frozen=True, kw_only=True)
class OrganValues:
    """What becomes of each label value of a data set.

    Parameters
    ----------
    labels
        Value, or values, of each of the network's organs.
    other
        Values of structures that the network does not know.
    unknown
        Values of lesions that may lie in one of the network's organs, nobody knows in which, and
        of what is to be ignored. 255, which is unknown everywhere, is not among them.
    """

    labels: Mapping[str, int | list[int]]
    other: tuple[int, ...]
    unknown: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class _Meaning:
    """A name as the table of organs spells it; `lesion` is its kind, `organ` what it is in."""

    name: str
    known: bool
    lesion: str = ""
    organ: str = ""


def values_of_organs(stated: Mapping[str, int], organs: Iterable[str]) -> OrganValues:
    """Find the organs of a network among the names that a data set states.

    A lesion belongs to the organ that its name tells or, where it tells none, to the only one that
    the data set labels; to the network's class for lesions where there is one. Lesions of an organ
    that is not labelled besides do not make that organ. Parts of an organ that is labelled too
    (the colon beside the bowel) belong to it, unless the network has a class of their own.

    Parameters
    ----------
    stated
        Value of each structure by the data set's name.
    organs
        Names of the network's classes.
    """
    ours = {_meaning(organ).name: organ for organ in organs}
    meanings = {name: _meaning(name) for name in stated}
    bodies = [m for m in meanings.values() if not m.lesion and m.name != _IGNORED]
    labels: dict[str, list[int]] = {}
    other: list[int] = []
    unknown: list[int] = []
    for name, value in sorted(stated.items(), key=lambda item: item[1]):
        meaning = meanings[name]
        keys = [
            meaning.name,
            *(_homes(meaning, bodies) if meaning.lesion else ()),
            *_whole(meaning.organ or meaning.name, ours, bodies),
        ]
        organ = next((ours[key] for key in keys if key in ours), None)
        if organ is not None:
            labels.setdefault(organ, []).append(value)
        elif value != UNKNOWN_VALUE:
            (unknown if meaning.lesion or meaning.name == _IGNORED else other).append(value)
    return OrganValues(
        labels={organ: found if len(found) > 1 else found[0] for organ, found in labels.items()},
        other=tuple(other),
        unknown=tuple(unknown),
    )


def left_out(stated: Mapping[str, int], organs: Iterable[str], values: OrganValues) -> str:
    """What only the network or only the data set knows, in words; empty where there is nothing.

    Parameters
    ----------
    stated, organs
        As `values_of_organs` took them.
    values
        What it returned.
    """
    by_value = sorted(stated.items(), key=lambda item: item[1])
    parts = {
        "not labelled": [organ for organ in organs if organ not in values.labels],
        "taken as background": [name for name, value in by_value if value in values.other],
        "taking no part": [name for name, value in by_value if value in values.unknown],
    }
    return "; ".join(f"{what}: {', '.join(names)}" for what, names in parts.items() if names)


def contradictions(stated: Mapping[str, int], labels: Mapping[str, Collection[int]]) -> list[str]:
    """Where a data set gives the value of a recipe's organ the name of something else.

    That is another known organ, a vessel, what is to be ignored, or a lesion where no other value
    is the organ around it.

    Parameters
    ----------
    stated
        Value of each structure by the data set's name.
    labels
        Values of each organ in the recipe.

    Returns
    -------
    One text for each, `label 1 is spleen rather than liver`.
    """
    return [
        f"label {value} is {name} rather than {organ}"
        for name, value in stated.items()
        for organ, values in labels.items()
        if value in values
        and (_is_another(_meaning(name), _meaning(organ)) or _lesions_alone(stated, values, organ))
    ]


def _meaning(name: str) -> _Meaning:
    plain = " ".join(re.sub(r"[\W_]+", " ", name.casefold()).split())
    canonical, known = _canonical(plain)
    lesion = _LESION.search(plain)
    if lesion is None:
        return _Meaning(name=canonical, known=known)
    kind = "cyst" if lesion.group().startswith("cyst") else "tumor"
    found = _KNOWN_LESION.fullmatch(canonical) if known else None
    if found is not None:
        organ = (found["organ"] or "") + (found["side"] or "")
    else:
        words = _FILLING.sub(" ", _LESION.sub(" ", plain)).split()
        rest, is_organ = _canonical(" ".join(_ADJECTIVES.get(word, word) for word in words))
        organ = rest if is_organ else ""
    own_name = f"{organ}_{kind}" if organ else canonical
    return _Meaning(name=own_name, known=known, lesion=kind, organ=organ)


def _canonical(plain: str) -> tuple[str, bool]:
    segment = segment_of(plain, 1)
    return segment.name, segment.type.scheme != PRIVATE_SCHEME


def _homes(lesion: _Meaning, bodies: Collection[_Meaning]) -> list[str]:
    """Classes that a lesion may be put to, the most particular first."""
    organ = lesion.organ
    if not organ and len(bodies) == 1:
        (only,) = bodies
        organ = only.name if only.known and not _VESSELS.search(only.name) else ""
    labelled = organ in {body.name for body in bodies}
    return [f"{organ}_{lesion.lesion}", lesion.lesion, *([organ] if labelled else [])]


def _whole(part: str, ours: Collection[str], bodies: Collection[_Meaning]) -> list[str]:
    """The organ of the network that a structure is part of, where the data set labels it too.

    Of several it is the most particular one: the duodenum is small bowel before it is bowel.
    """
    wholes = [whole for whole in ours if part in _PARTS.get(whole, ())]
    wholes.sort(key=lambda whole: len(_PARTS[whole]))
    labelled = {body.name for body in bodies}
    return [whole for whole in wholes[:1] if whole in labelled]


def _is_another(theirs: _Meaning, ours: _Meaning) -> bool:
    if theirs.name == _IGNORED:
        return True
    if theirs.lesion:
        there, here = theirs.organ, ours.organ if ours.lesion else ours.name if ours.known else ""
        return bool(there and here) and not (_includes(here, there) or _includes(there, here))
    is_vessel = bool(_VESSELS.search(theirs.name)) and not _VESSELS.search(ours.name)
    understood = theirs.known or is_vessel
    if ours.lesion:
        return understood
    return understood and ours.known and not _includes(ours.name, theirs.name)


def _lesions_alone(stated: Mapping[str, int], values: Collection[int], organ: str) -> bool:
    """Whether all that is named as an organ are lesions."""
    names = [name for name, value in stated.items() if value in values]
    return not _meaning(organ).lesion and all(_meaning(name).lesion for name in names)


def _includes(whole: str, part: str) -> bool:
    unsided = part.removesuffix("_left").removesuffix("_right")
    parts = (*_PARTS.get(whole, ()), *_LOOSE_NAMES.get(whole, ()))
    return whole in (part, unsided) or part in parts
