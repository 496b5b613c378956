"""The contrast phase of a CT series, as far as its header tells.

The first of SeriesDescription, ProtocolName and ContrastBolusAgent that hints at a phase decides;
a text that hints at several contrast phases says `enhanced` and no more. Without any hint, a
ContrastBolusAgent says `enhanced` too, unless it was swallowed. An absent agent says nothing:
many archives drop the attribute.
"""

from __future__ import annotations

import re

from pydicom import Dataset

from operators.elements import values_of

NON_CONTRAST = "non-contrast"
ARTERIAL = "arterial"
PORTAL_VENOUS = "portal venous"
DELAYED = "delayed"
#: Contrast agent in the vessels, in a phase that is not known.
ENHANCED = "enhanced"

PHASES = (NON_CONTRAST, ARTERIAL, PORTAL_VENOUS, DELAYED, ENHANCED)

_HINTS = {
    NON_CONTRAST: r"\bnon?[- ]?(contrast|enhanced|con\b|ce\b)|\bun-?enhanced|\bwithout\b|\bw/?o\b"
    r"|\bnativ|\bplain\b|\bohne\b|\bsans (inj|iv|contr|pdc)|\bne?cct\b|\bnect\b|\bpre-?contrast"
    r"|\bsin contr",
    ARTERIAL: r"\bart[eé]r|\bart\b|\bhap\b",
    PORTAL_VENOUS: r"portal|\bven(ous|ös|en|os[ao]|)\b|venös|veineu[xs]|\bpv[pi]?\b",
    DELAYED: r"\bdelay|\blate\b(?! art)|\bequilib|\bexcret|\burogra|\bspät|\btardi[fv]",
    ENHANCED: r"\bwith (iv |i\.v\. )?contrast|\bw/ ?(iv|con)|\bpost-?contrast|\bmit km\b|\bcect\b"
    r"|\bavec (inj|iv|contr|pdc)|(?<!un)(?<!un-)(?<!non-)(?<!non )enhanced"
    r"|\bw(ith)? ?(&|and\b|\+)|(&|\band|\+) ?w(ith)?\b(?!/o)",
}
_PATTERNS = {phase: re.compile(hint, re.IGNORECASE) for phase, hint in _HINTS.items()}
_NO_AGENT = re.compile(r"n|no|none|nil|0|no .*contrast.*|without.*", re.IGNORECASE)
_SWALLOWED = re.compile(r"\b(oral|orally|rectal|po|p\.o\.)", re.IGNORECASE)
_INJECTED = re.compile(r"\bi\.?v\b|\bi\.v\.|intraven", re.IGNORECASE)


def contrast_of(header: Dataset) -> str | None:
    """The phase, one of `PHASES`; None where nothing tells."""
    for keyword in ("SeriesDescription", "ProtocolName", "ContrastBolusAgent"):
        hints = _hints(_text(header, keyword))
        if NON_CONTRAST in hints and len(hints) > 1:
            return None  # such as a description of both scans of an examination
        if len(hints) > 1:
            hints.discard(ENHANCED)
        if hints:
            return hints.pop() if len(hints) == 1 else ENHANCED
    agent = _text(header, "ContrastBolusAgent")
    if _NO_AGENT.fullmatch(agent):
        return NON_CONTRAST
    given = f"{agent} {_text(header, 'ContrastBolusRoute')}"
    if not agent or (_SWALLOWED.search(given) and not _INJECTED.search(given)):
        return None
    return ENHANCED


def _hints(text: str) -> set[str]:
    return {phase for phase, pattern in _PATTERNS.items() if pattern.search(text)}


def _text(header: Dataset, keyword: str) -> str:
    return " ".join(map(str, values_of(header, keyword))).replace("_", " ")
