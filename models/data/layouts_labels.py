"""What a data set's own names of its label values mean for the organs of a network.

Names are compared as `models.interchange.organs` knows them: `Right Kidney` is `kidney_right`,
`postcava` is `inferior_vena_cava`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

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
#: Structures that an organ of a recipe may be put together from, besides its left and right.
_PARTS: Mapping[str, Collection[str]] = {
    "bowel": ("small_bowel", "colon", "duodenum", "rectum"),
    "small_bowel": ("duodenum",),
    "aorta": ("abdominal_aorta",),
    "abdominal_aorta": ("aorta",),
    "portal_and_splenic_veins": ("portal_vein", "splenic_vein"),
}


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
        Values of lesions that may lie in one of the network's organs, nobody knows in which.
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
    that is not labelled besides do not make that organ.

    Parameters
    ----------
    stated
        Value of each structure by the data set's name.
    organs
        Names of the network's classes.
    """
    ours = {_meaning(organ).name: organ for organ in organs}
    meanings = {name: _meaning(name) for name in stated}
    bodies = [meaning for meaning in meanings.values() if not meaning.lesion]
    labels: dict[str, list[int]] = {}
    other: list[int] = []
    unknown: list[int] = []
    for name, value in sorted(stated.items(), key=lambda item: item[1]):
        meaning = meanings[name]
        keys = [meaning.name, *(_homes(meaning, bodies) if meaning.lesion else ())]
        organ = next((ours[key] for key in keys if key in ours), None)
        if organ is not None:
            labels.setdefault(organ, []).append(value)
        else:
            (unknown if meaning.lesion else other).append(value)
    return OrganValues(
        labels={organ: found if len(found) > 1 else found[0] for organ, found in labels.items()},
        other=tuple(other),
        unknown=tuple(unknown),
    )


def contradictions(stated: Mapping[str, int], labels: Mapping[str, Collection[int]]) -> list[str]:
    """Where a data set gives the value of a recipe's organ the name of another known one.

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
        if value in values and _is_another(_meaning(name), _meaning(organ))
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


def _is_another(theirs: _Meaning, ours: _Meaning) -> bool:
    if theirs.lesion:
        there, here = theirs.organ, ours.organ if ours.lesion else ours.name if ours.known else ""
        return bool(there and here) and not (_includes(here, there) or _includes(there, here))
    if ours.lesion:
        return theirs.known
    return theirs.known and ours.known and not _includes(ours.name, theirs.name)


def _includes(whole: str, part: str) -> bool:
    unsided = part.removesuffix("_left").removesuffix("_right")
    return whole in (part, unsided) or part in _PARTS.get(whole, ())
