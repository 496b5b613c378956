"""Which label value a segment or region of interest gets: by its name or its codes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pydicom import Dataset
from pydicom.sr.coding import Code

from operators.elements import values_of
from operators.errors import ImagingError

_CODE = re.compile(r"(?P<scheme>[^:+]+):(?P<value>[^:+]+)")


@dataclass(frozen=True, kw_only=True)
class Naming:
    """All that an object says about what one of its segments or regions is.

    Parameters
    ----------
    texts
        SegmentLabel, or ROIName and ROIObservationLabel.
    type, modifiers
        Coded anatomy, and what makes it more particular, such as its side.
    """

    texts: tuple[str, ...]
    type: Code | None = None
    modifiers: tuple[Code, ...] = ()


@dataclass(frozen=True)
class LabelNumbers:
    """Label values by name, in order of priority where organs overlap.

    Parameters
    ----------
    values
        Keys are texts (`Right kidney`; capitals, spaces, `_` and `-` make no difference) or codes
        (`SCT:10200004`, with a modifier `SCT:64033007+SCT:24028007`), values 1 to 254. Several
        keys may share a value.

    Raises
    ------
    ImagingError
        If a value is out of range or there is none.
    """

    values: Mapping[str, int] = field()

    def __post_init__(self) -> None:
        wrong = {key: value for key, value in self.values.items() if not 1 <= value <= 254}
        if wrong or not self.values:
            raise ImagingError(f"expected names with values of 1 to 254, found {wrong or 'none'}")

    def of(self, naming: Naming) -> int | None:
        """The value of a segment; None where no key fits. Texts come before codes."""
        texts = {plain(key): value for key, value in self.values.items()}
        for text in naming.texts:
            if plain(text) in texts:
                return texts[plain(text)]
        if naming.type is None:
            return None
        coded = [(codes, value) for key, value in self.values.items() if (codes := _codes(key))]
        for codes, value in sorted(coded, key=lambda pair: -len(pair[0])):
            # pydicom takes an SRT code and the SNOMED CT code that replaced it for equal
            if codes[0] == naming.type and all(code in naming.modifiers for code in codes[1:]):
                return value
        return None

    def rank(self) -> dict[int, int]:
        """Place of each value in the order of its first key; lower goes first."""
        ordered = dict.fromkeys(self.values.values())
        return {value: place for place, value in enumerate(ordered)}


def plain(text: str) -> str:
    """A name without capitals and separators."""
    return " ".join(re.split(r"[\s_\-]+", text.casefold())).strip()


def segment_naming(item: Dataset) -> Naming:
    """What an item of SegmentSequence says (PS3.3 C.8.20.4)."""
    kinds = list(item.get("SegmentedPropertyTypeCodeSequence") or [])
    modifiers = (
        list(kinds[0].get("SegmentedPropertyTypeModifierCodeSequence") or []) if kinds else []
    )
    return Naming(
        texts=tuple(map(str, values_of(item, "SegmentLabel"))),
        type=next(_coded(kinds), None),
        modifiers=tuple(_coded(modifiers)),
    )


def region_namings(rtstruct: Dataset) -> dict[int, Naming]:
    """What an RTSTRUCT says of each region, by ROINumber (PS3.3 C.8.8.5, C.8.8.8)."""
    texts: dict[int, list[str]] = {}
    for item in rtstruct.get("StructureSetROISequence") or []:
        texts[int(item.ROINumber)] = list(map(str, values_of(item, "ROIName")))
    codes: dict[int, Code] = {}
    for item in rtstruct.get("RTROIObservationsSequence") or []:
        number = int(item.ReferencedROINumber)
        texts.setdefault(number, []).extend(map(str, values_of(item, "ROIObservationLabel")))
        for code in _coded(item.get("RTROIIdentificationCodeSequence") or []):
            codes.setdefault(number, code)
    return {
        number: Naming(texts=tuple(found), type=codes.get(number))
        for number, found in texts.items()
    }


def _coded(items: Sequence[Dataset]) -> Iterator[Code]:
    for item in items:
        value, scheme = (values_of(item, k) for k in ("CodeValue", "CodingSchemeDesignator"))
        meaning = values_of(item, "CodeMeaning") or ("",)
        if value and scheme:
            yield Code(str(value[0]), str(scheme[0]), str(meaning[0]))


def _codes(key: str) -> list[Code]:
    """The codes of a key; none where it is a text."""
    found = [_CODE.fullmatch(part.strip()) for part in key.split("+")]
    return [Code(m["value"], m["scheme"], "") for m in found if m] if all(found) else []
