"""Selection rules: which series to work on, and with which model.

The JSON of the MONAI Deploy App SDK (4.0) is read unchanged; the same document in YAML or JSON may
say more. It may be a whole `app.yaml`, of which only `selections` is read:

    selections:
      - name: liver, portal venous
        model: abdomen_vnet_3mm
        conditions:                       # as in the App SDK
          Modality: CT
          ImageType: ["!LOCALIZER", "!MPR"]
        where:                            # all of these, too
          - plane: {axial: 20}
          - SliceThickness: "<= 5"
          - coverage_mm: ">= 150"
          - any:
              - contrast: [portal venous, delayed]
              - SeriesDescription: ".*ven.*"
          - not: {SeriesDescription: ".*(lung|bone).*"}
        prefer:                           # the first that tells two series apart decides
          - contrast: portal venous
          - slice_distance_mm: nearest 2
          - kernel: soft

| key of a selection | holds |
|---|---|
| `name` | a name for messages |
| `model` | the bundle to use; without it the one that the run names |
| `conditions` | an attribute and a value each, as the App SDK has them |
| `where` | a list of clauses |
| `prefer` | a list of preferences |

A series fits where each of its images meets all conditions and all clauses.

**Conditions**, `KEYWORD: value`

| value | meets |
|---|---|
| `"CT"`, `"(?i)^CT.*"` | a value equal to the text, or matched whole by the regular expression |
| `"!LOCALIZER"` | no value is it |
| `["PRIMARY", "!SECONDARY"]` | every plain term is one of the values, no `!` term is |
| `5` | a value that is this number |
| `[3, 5]` | a number in the range, ends included |
| `[2, ">"]` | a number in relation `>`, `>=`, `<`, `<=` or `!=` to it |
| `"Axial"`, for ImageOrientationPatient | the plane by the cosines; or Coronal, Sagittal |
| `null`, `""`, `[]` | anything: the condition is left out |

Two things differ from the SDK on purpose. A regular expression has to match the whole value, so
that `CT` does not find `RTSTRUCT`; and terms of a list are compared value by value instead of as a
part of the joined text.

**Clauses** of `where`; one mapping with several keys asks for all of them

| clause | met by |
|---|---|
| `KEYWORD: value` | what a condition is met by; an empty value is an error here |
| `KEYWORD: "<= 5"`, `"> 1.5"`, `"!= 0"`, `"= 5"`, `"2..5"` | numbers; ends of a range are in it |
| `any: [clause, ...]` | at least one of them |
| `all: [clause, ...]` | each of them |
| `not: clause` | the contrary |
| `present: KEYWORD`, `absent: KEYWORD` | there is a value, there is none; or a list of keywords |
| `plane: axial` | the nearest plane: axial, coronal or sagittal; or a list of them |
| `plane: {axial: 20}` | a normal within 20 degrees of that plane's |
| `slices: ">= 30"` | the number of different slice positions |
| `coverage_mm: ">= 150"` | the extent along the normal, one slice distance for each slice |
| `slice_distance_mm: "1..3"` | the median distance between neighbouring slices |
| `pixel_spacing_mm: "<= 1"` | the distance between pixels, both between rows and columns |
| `kernel: soft`, `kernel: sharp` | the reconstruction kernel, by the makers' usual names |
| `contrast: portal venous` | the phase: non-contrast, arterial, portal venous, delayed; enhanced for any with contrast agent; or a list (`operators.contrast`) |
| `regular: true` | the slices are a regular volume that needs no repair |

Numbers in mm are rounded to 0.01 first. A keyword may be written as a tag, `"0x00180050"`.

**Absent** is an attribute without any value, too

| asked | absent, or no number | its `not` |
|---|---|---|
| text, terms | compared as the empty text: `.*` is met, `CT` is not | the contrary |
| numbers, planes | not met | not met either: nobody knows |
| measures, kernel, contrast | not met where unknown | not met either |
| `present`, `regular` | always known | the contrary |

So `not: {SeriesDescription: ".*lung.*"}` lets a series without description pass, and neither
`SliceThickness: "<= 5"` nor its `not` one without thickness. `any` of the two needs one answer that
is met; add `present` where a value has to be there.

**Preferences** of `prefer`; what comes after them, and before, says `operators.ranking`

| preference | better |
|---|---|
| `MEASURE: most`, `least`, `nearest 2` | slices, coverage_mm (within 10 % is equal), slice_distance_mm, pixel_spacing_mm; unknown comes last |
| `KEYWORD: most`, `least`, `nearest 2` | the number in the headers; absent comes last |
| `KEYWORD: latest`, `earliest` | the date or time in the headers |
| any clause, such as `kernel: soft` | met before not met or not known |
"""  # noqa: E501 - rows of tables

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from operators.clauses import Clause, Term
from operators.errors import RulesError
from operators.preferences import preferences_of
from operators.ranking import Criterion
from operators.rules_sdk import condition_of, found_text, is_empty, nearest
from operators.rules_text import check_depth, read_document
from operators.rules_where import clause_of, clauses_of

_SDK_KEYS = ("name", "conditions")
_KEYS = (*_SDK_KEYS, "model", "where", "prefer")


@dataclass(frozen=True)
class Selection:
    """What a series has to meet, and which of several is the best.

    Parameters
    ----------
    name
        As the rules name it; may be empty.
    clauses
        All have to be met: the SDK's conditions first.
    prefer
        What counts before the usual criteria of ranking.
    model
        Name of the bundle to use; None where the rules leave it open.
    """

    name: str
    clauses: tuple[Clause, ...]
    prefer: tuple[Criterion, ...] = ()
    model: str | None = None


@dataclass(frozen=True)
class Rules:
    """What to choose from each study: for every selection its best series."""

    selections: tuple[Selection, ...]

    @property
    def models(self) -> tuple[str | None, ...]:
        """Names of the bundles in use, each once; None stands for the one that the run names."""
        return tuple(dict.fromkeys(selection.model for selection in self.selections))


def default_rules() -> Rules:
    """The rules that come with the product: axial CT, no scouts, screens or reformats."""
    return parse_rules(files("operators").joinpath("default_rules.json").read_text("utf-8"))


def parse_rules(rules: str | Mapping[str, Any]) -> Rules:
    """Read selection rules.

    Parameters
    ----------
    rules
        YAML or JSON text, or what it parses to.

    Returns
    -------
    Rules
        Without selections whose conditions are `{}` or `null`, which the SDK passes over too.

    Raises
    ------
    RulesError
        If the rules cannot be understood; names the place, such as
        `selections[0].where[2].SliceThickness`, or line and column.
    """
    document = read_document(rules) if isinstance(rules, str) else rules
    check_depth(document)
    found = _selections(document)
    parsed = [_selection(item, f"selections[{n}]") for n, item in enumerate(found)]
    selections = tuple(selection for selection in parsed if selection is not None)
    if not selections:
        raise RulesError("selections: expected at least one with conditions, found none")
    return Rules(selections)


def _selections(document: Any) -> list[Any]:
    if not isinstance(document, Mapping):
        raise RulesError('expected the rules to be {"selections": [...]}')
    if "selections" not in document:
        raise RulesError(
            f'expected the rules to be {{"selections": [...]}}, {_keys(document, ("selections",))}'
        )
    found = document["selections"]
    if not isinstance(found, list):
        raise RulesError(f"selections: expected a list, found {found_text(found)}")
    return found


def _keys(found: Iterable[Any], known: tuple[str, ...]) -> str:
    """The keys that are there, and the one that was meant, for messages."""
    names = [str(key) for key in found]
    hint = next((h for h in (nearest(name, known) for name in names) if h), "")
    return f"found the keys {', '.join(map(repr, names)) or 'none'}{hint}"


def _selection(item: Any, place: str) -> Selection | None:
    if not isinstance(item, Mapping):
        raise RulesError(f'{place}: expected {{"name": ..., "conditions": {{...}}}}')
    unknown = [key for key in item if key not in _KEYS]
    if unknown:
        hint = nearest(str(unknown[0]), _KEYS)
        raise RulesError(f"{place}: {unknown[0]!r} is not one of {', '.join(_KEYS)}{hint}")
    if "conditions" not in item and "where" not in item:
        raise RulesError(
            f'{place}: expected {{"name": ..., "conditions": {{...}}}} or a list `where`'
        )
    clauses = (
        *_conditions(item.get("conditions"), f"{place}.conditions"),
        *_where(item.get("where"), f"{place}.where"),
    )
    is_sdk = set(item) <= set(_SDK_KEYS)
    if not clauses and not is_sdk:
        raise RulesError(f"{place}: expected conditions or clauses, found none")
    selection = Selection(
        name=_word(item, "name", place),
        clauses=clauses,
        prefer=preferences_of(item.get("prefer", []), f"{place}.prefer"),
        model=_word(item, "model", place) or None,
    )
    return None if is_sdk and item["conditions"] in (None, {}) else selection


def _conditions(conditions: Any, place: str) -> list[Clause]:
    if conditions is None:
        return []
    if not isinstance(conditions, Mapping):
        raise RulesError(f"{place}: expected an object, found {found_text(conditions)}")
    return [
        Term(condition_of(keyword, value, f"{place}.{keyword}"))
        for keyword, value in conditions.items()
        if not is_empty(value)
    ]


def _where(where: Any, place: str) -> tuple[Clause, ...]:
    if where is None or where == []:
        return ()
    return (clause_of(where, place),) if isinstance(where, Mapping) else clauses_of(where, place)


def _word(item: Mapping[str, Any], key: str, place: str) -> str:
    text = item.get(key, "")
    if not isinstance(text, str):
        raise RulesError(f"{place}.{key}: expected text, found {found_text(text)}")
    return text.strip()
