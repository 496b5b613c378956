"""Which part of the body a CT volume shows, from physical quantities alone.

No network looks at the image: each axial slice is judged by what it is made of, and the volume by
how many millimetres of it may be an abdomen. The thresholds lie far from every true abdomen that
was measured (`benchmarks/anatomy.py` prints the table), because refusing one is worse than letting
something else pass. A slice is taken for an abdomen unless a figure speaks against it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from models.cross_section import CrossSection, cross_sections
from models.geometry import Volume

#: An abdomen shows where this much of it does, or this share of a short volume.
NEEDED_MM = 10.0
NEEDED_SHARE = 0.1

#: A newborn's belly has about 75 cm2.
SMALLEST_AREA_CM2 = 50.0
SMALLEST_BONE_SHARE = 0.001
SMALLEST_SOFT_SHARE = 0.05
#: Of the lean part of the body. Around a dome of the liver up to 0.40, beside the heart 0.32 to
#: 0.60: so a heart between small lungs passes, lest a liver between large ones be refused.
LARGEST_LUNG_SHARE = 0.45
#: A skull encloses 0.6 or more, the rings of pelvis and ribs that are never closed 0.1.
LARGEST_ENCLOSED_SHARE = 0.50
#: Legs are two alike; an arm beside the trunk has a fifth of its area.
LARGEST_TWIN_SHARE = 0.50
#: The spine is always there; thighs that touch have nothing but flesh in the middle.
SMALLEST_MIDLINE_SHARE = 0.05
#: The middle of the body is not known where the field of view cuts more than this of it off.
LARGEST_CUT_SHARE = 0.10

#: Lungs or a skull of less height may be an odd slice, and decide nothing about others.
_CERTAIN_MM = 20.0
#: Shoulders and neck above the lungs are no higher; more is an abdomen with its ends swapped.
_SHOULDERS_MM = 200.0

ABDOMEN, HEAD, CHEST, LEGS = "abdomen", "head", "chest", "legs"
SHOULDERS, NO_TRUNK = "neck or shoulders", "no trunk"


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """What a CT volume seems to show.

    Parameters
    ----------
    region
        `abdomen` where one shows, else what most of the volume seems to be: `head`, `chest`,
        `legs`, `neck or shoulders`, or `no trunk` (an empty table, a block, a hand).
    shows_abdomen
        Whether enough of it may be an abdomen.
    reason
        One sentence with what was measured and expected.
    abdomen_mm, expected_mm
        Height that may be an abdomen, and how much of it was asked for.
    height_mm
        Of the volume, along the patient.
    extents_mm
        Height by region, largest first.
    """

    region: str
    shows_abdomen: bool
    reason: str
    abdomen_mm: float
    expected_mm: float
    height_mm: float
    extents_mm: Mapping[str, float] = field(repr=False)


def examine(volume: Volume) -> Anatomy:
    """Tell whether a volume shows an abdomen.

    The axes are turned to the patient's by the affine, so that order, flips and permutations of
    the array do not matter; nor does the patient's posture. Takes a fraction of a second and
    memory for one slice.

    Parameters
    ----------
    volume
        HU, `(D, H, W)`.
    """
    sections, step_mm = cross_sections(volume)
    regions = _placed([_region(section) for section in sections], step_mm)
    extents = {region: n * step_mm for region, n in Counter(regions).most_common()}
    height = step_mm * len(sections)
    expected = min(NEEDED_MM, NEEDED_SHARE * height)
    found = extents.get(ABDOMEN, 0.0)
    shows = found >= expected
    others = [region for region in extents if region != ABDOMEN]
    if extents.get(HEAD, 0.0) >= _CERTAIN_MM:  # neck and table are the larger part of many
        others.sort(key=HEAD.__ne__)
    told = [ABDOMEN] if shows else others
    clauses = [
        f"{extents[region]:.0f} mm of {region} ({_evidence(region, sections, regions)})"
        for region in told
    ]
    return Anatomy(
        region=told[0],
        shows_abdomen=shows,
        reason=f"an abdomen in {found:.0f} of {height:.0f} mm, "
        f"{expected:.3g} mm or more expected: {', '.join(clauses)}",
        abdomen_mm=found,
        expected_mm=expected,
        height_mm=height,
        extents_mm=extents,
    )


def _region(section: CrossSection) -> str:
    if section.enclosed_share >= LARGEST_ENCLOSED_SHARE:
        return HEAD
    if section.area_cm2 < SMALLEST_AREA_CM2 and section.cut_share == 0:
        return NO_TRUNK
    if section.bone_share < SMALLEST_BONE_SHARE or section.soft_share < SMALLEST_SOFT_SHARE:
        return NO_TRUNK
    if section.lung_share >= LARGEST_LUNG_SHARE:
        return CHEST
    split = section.twin_share >= LARGEST_TWIN_SHARE
    hollow = section.midline_share < SMALLEST_MIDLINE_SHARE
    if (split or hollow) and section.cut_share <= LARGEST_CUT_SHARE:
        return LEGS
    return ABDOMEN


def _placed(regions: Sequence[str], step_mm: float) -> list[str]:
    """Tell shoulders and neck, which look like a belly, by where they are.

    They lie above the lungs, or in a volume that has a skull but no lungs.

    Parameters
    ----------
    regions
        Of each slice, from feet to head.
    """
    has_lungs = regions.count(CHEST) * step_mm >= _CERTAIN_MM
    has_skull = regions.count(HEAD) * step_mm >= _CERTAIN_MM
    if not has_lungs and not has_skull:
        return list(regions)
    above = 1 + max(n for n, region in enumerate(regions) if region == CHEST) if has_lungs else 0
    if not has_skull and regions[above:].count(ABDOMEN) * step_mm > _SHOULDERS_MM:
        return list(regions)
    return [
        SHOULDERS if region == ABDOMEN and n >= above else region
        for n, region in enumerate(regions)
    ]


def _evidence(region: str, sections: Sequence[CrossSection], regions: Sequence[str]) -> str:
    members = [section for section, each in zip(sections, regions, strict=True) if each == region]

    def spread(figure: Callable[[CrossSection], float], unit: str = "%") -> str:
        factor = 100 if unit == "%" else 1
        low, high = (factor * end(map(figure, members)) for end in (min, max))
        ends = dict.fromkeys((f"{low:.3g}", f"{high:.3g}"))  # one where they read the same
        return f"{' to '.join(ends)} {unit}"

    if region == HEAD:
        return (
            f"bone encloses {spread(lambda s: s.enclosed_share)} of the cross-section, in an "
            f"abdomen less than {LARGEST_ENCLOSED_SHARE:.0%}"
        )
    if region == CHEST:
        return (
            f"lung is {spread(lambda s: s.lung_share)} of the lean cross-section, in an abdomen "
            f"less than {LARGEST_LUNG_SHARE:.0%}"
        )
    if region == LEGS:
        return (
            f"{spread(lambda s: s.midline_share)} of the bone lies near the midline, in an "
            f"abdomen {SMALLEST_MIDLINE_SHARE:.0%} or more; a second part has "
            f"{spread(lambda s: s.twin_share)} of the first one's area, in an abdomen less than "
            f"{LARGEST_TWIN_SHARE:.0%}"
        )
    if region == SHOULDERS:
        return "above the lungs, or beside a skull and not below any lung"
    if region == NO_TRUNK:
        return (
            f"cross-section {spread(lambda s: s.area_cm2, 'cm2')} with "
            f"{spread(lambda s: s.bone_share)} bone and {spread(lambda s: s.soft_share)} soft "
            f"tissue, in an abdomen at least {SMALLEST_AREA_CM2:.0f} cm2, "
            f"{SMALLEST_BONE_SHARE:.1%} and {SMALLEST_SOFT_SHARE:.0%}"
        )
    return (
        f"cross-section {spread(lambda s: s.area_cm2, 'cm2')}, lung "
        f"{spread(lambda s: s.lung_share)} of its lean part, bone {spread(lambda s: s.bone_share)}"
    )
