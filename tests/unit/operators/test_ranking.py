from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset

from operators.files import PlainFile
from operators.ranking import rank
from operators.rules import parse_rules
from operators.series import Candidate, Frame, Instance, Series
from operators.traits import Traits, traits_of


def traits_in(
    uid: str, slices: int = 40, distance_mm: float = 5.0, part: str = "", **elements: object
) -> Traits:
    cosines = np.array(elements.get("ImageOrientationPatient") or [1, 0, 0, 0, 1, 0], float)
    normal = np.cross(cosines[:3], cosines[3:])
    instances = []
    for n in range(slices):
        header = Dataset()
        header.SOPInstanceUID = f"{uid}.{n + 1}"
        header.Rows, header.Columns, header.PixelSpacing = 8, 6, [0.7, 0.9]
        header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        header.ImagePositionPatient = [float(x) for x in np.round(normal * n * distance_mm, 6)]
        header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        for keyword, value in elements.items():
            setattr(header, keyword, value)
        instances.append(Instance(file=PlainFile(Path("unused")), header=header))
    series = Series(StudyInstanceUID="1", SeriesInstanceUID=uid, instances=tuple(instances))
    frames = tuple(Frame(instance=i, number=1, header=i.header) for i in instances)
    return traits_of(Candidate(series=series, frames=frames, part=part))


def with_gap(uid: str, slices: int) -> Traits:
    found = traits_in(uid, slices + 1, 4.0)
    frames = found.candidate.frames
    return traits_of(Candidate(series=found.candidate.series, frames=frames[:5] + frames[6:]))


def names(ranked: list[Traits]) -> list[str]:
    return [t.candidate.name for t in ranked]


BETTER_AND_WORSE = {
    "volume": (
        traits_in("1.9", 3, ImageType=["DERIVED"]),
        traits_in("1.1", 90, ImagePositionPatient=[0, 0, 1]),
    ),
    "axial": (
        traits_in("1.9"),
        traits_in("1.1", 90, ImageOrientationPatient=[1, 0, 0, 0, 0.6, 0.8]),
    ),
    "ImageType ORIGINAL\\PRIMARY": (
        traits_in("1.9"),
        traits_in("1.1", 90, ImageType=["DERIVED", "PRIMARY", "AXIAL"]),
    ),
    "coverage": (with_gap("1.9", 49), traits_in("1.1", 35, 4.0)),
    "regular volume": (traits_in("1.9", 46, 4.0), with_gap("1.1", 49)),
    "slice distance": (traits_in("1.9", 41, 5), traits_in("1.1", 342, 0.6)),
    "kernel": (
        traits_in("1.9", ConvolutionKernel="unheard of"),
        traits_in("1.1", ConvolutionKernel="B70f", SeriesDescription="portal venous"),
    ),
    "contrast": (
        traits_in("1.9", SeriesDescription="Abdomen portal venous"),
        traits_in("1.1", 80, 2.5, ContrastBolusAgent="agent"),
    ),
    "acquisition": (
        traits_in("1.9", 40, part="AcquisitionNumber 2", AcquisitionNumber=2),
        traits_in("1.9", 41, part="AcquisitionNumber 1", AcquisitionNumber=1),
    ),
    "slices": (traits_in("1.9", 129, 1.6), traits_in("1.1", 40, 5)),
    "order of UID and part": (traits_in("1.1"), traits_in("1.2")),
}


@pytest.mark.parametrize("criterion", BETTER_AND_WORSE)
def test_each_criterion_decides_where_those_before_it_are_equal(criterion):
    better, worse = BETTER_AND_WORSE[criterion]
    for order in ((better, worse), (worse, better)):
        ranked, reasons = rank(order)
        assert ranked == [better, worse]
        assert f"series {better.candidate.name} ranks higher: {criterion} " in reasons[1]


def test_any_contrast_counts_for_more_than_none():
    ranked, reasons = rank(
        [
            traits_in("1.1", SeriesDescription="nativ"),
            traits_in("1.2"),
            traits_in("1.3", SeriesDescription="arterial"),
        ]
    )
    assert names(ranked) == ["1.3", "1.1", "1.2"]
    assert reasons[1:] == [
        "series 1.3 ranks higher: contrast arterial against non-contrast",
        "series 1.3 ranks higher: contrast arterial against none noted",
    ]


def test_the_reason_gives_the_figures():
    _, reasons = rank([traits_in("1.1", 129, 1.6), traits_in("1.2", 40, 1.6)])
    assert reasons == [
        "206 mm (129 slices), slice distance 1.60 mm",
        "series 1.1 ranks higher: coverage 206 mm (129 slices) against 64 mm (40 slices)",
    ]
    _, (reason,) = rank([with_gap("1.1", 9)])
    assert reason.startswith("40 mm (9 slices), slice distance 4.00 mm; 1 missing slices were")
    _, (reason,) = rank([traits_in("1.1", 1)])
    assert reason.startswith("0 mm (1 slice), slice distance unknown; no volume: expected at least")


def test_of_several_phases_of_one_series_the_last_is_taken_by_the_surest_sign():
    by_time = [
        traits_in("1.1", part=name, AcquisitionDate="20200131", AcquisitionTime=time, **rest)
        for name, time, rest in [
            ("a", "093000", {"AcquisitionNumber": 3}),
            ("b", "093130", {"AcquisitionNumber": 2}),
            ("c", "093045", {"AcquisitionNumber": 1}),
        ]
    ]
    ranked, reasons = rank(by_time)
    assert names(ranked) == ["1.1 (b)", "1.1 (c)", "1.1 (a)"]
    assert reasons[1:] == [
        "series 1.1 (b) ranks higher: acquisition the last of its series against 1 before the last",
        "series 1.1 (b) ranks higher: acquisition the last of its series against 2 before the last",
    ]
    without_one_time = [*by_time[1:], traits_in("1.1", part="a", AcquisitionNumber=3)]
    assert names(rank(without_one_time)[0]) == ["1.1 (a)", "1.1 (b)", "1.1 (c)"]
    cine = [traits_in("1.1", part=f"{n}", TemporalPositionIdentifier=n) for n in (1, 2, 3)]
    assert names(rank(cine)[0]) == ["1.1 (3)", "1.1 (2)", "1.1 (1)"]
    nothing = [traits_in("1.1", part=name) for name in ("b", "a")]
    assert names(rank(nothing)[0]) == ["1.1 (a)", "1.1 (b)"]


def test_acquisitions_of_different_series_are_not_compared():
    early = traits_in("1.2", 80, 2.5, AcquisitionTime="093000")
    late = traits_in("1.1", 40, 5.0, AcquisitionTime="101500")
    ranked, reasons = rank([early, late])
    assert ranked == [early, late]
    assert "ranks higher: slices 80 against 40" in reasons[1]


def test_the_order_of_candidates_never_matters():
    candidates = [
        traits_in(
            f"1.{n // 2}",
            20 + 7 * (n % 3),
            (0.5, 1.6, 5.0)[n % 3],
            part=f"{n % 2}",
            AcquisitionNumber=n,
        )
        for n in range(2, 16)
    ]
    expected = names(rank(candidates)[0])
    for seed in range(10):
        random.Random(seed).shuffle(candidates)
        assert names(rank(candidates)[0]) == expected


def test_headers_without_geometry_rank_last():
    bare = traits_in("1.1", ImagePositionPatient=None)
    ranked, reasons = rank([bare, traits_in("1.2", 3)])
    assert ranked[1] is bare
    expected = "volume yes against no (expected ImagePositionPatient (3 usable values) in all"
    assert expected in reasons[1]


def preferred(prefer: list[object], *candidates: Traits) -> tuple[list[str], str]:
    rules = {"selections": [{"conditions": {"Modality": "CT"}, "prefer": prefer}]}
    (selection,) = parse_rules(rules).selections
    ranked, reasons = rank(candidates, selection.prefer)
    assert rank(candidates[::-1], selection.prefer)[0] == ranked
    return names(ranked), reasons[1]


THIN = traits_in("1.1", 80, 1.25, SeriesNumber=3, KVP="120", AcquisitionTime="0930",
                 SeriesDescription="arterial", ConvolutionKernel="B70f")  # fmt: skip
THICK = traits_in("1.2", 40, 5.0, SeriesNumber=12, KVP="80", AcquisitionTime="093000.5",
                  SeriesDescription="portal venous", PatientWeight="80")  # fmt: skip


@pytest.mark.parametrize(
    ("preference", "best", "why"),
    [
        ({"slices": "most"}, "1.1", "slices: most) 80 against 40"),
        ({"slices": "least"}, "1.2", "slices: least) 40 against 80"),
        ({"coverage_mm": "most"}, "1.2", "coverage_mm: most) 200.00 mm against 100.00 mm"),
        ({"coverage_mm": "least"}, "1.1", "coverage_mm: least) 100.00 mm against 200.00 mm"),
        (
            {"slice_distance_mm": "nearest 2"},
            "1.1",
            "slice_distance_mm: nearest 2) 1.25 mm against 5.00 mm",
        ),
        (
            {"slice_distance_mm": "3..5"},
            "1.2",
            "slice_distance_mm: 3..5) met (slice_distance_mm is 5.00 mm) against not met "
            "(slice_distance_mm is 1.25 mm)",
        ),
        ({"SeriesNumber": "least"}, "1.1", "SeriesNumber: least) 3 against 12"),
        ({"SeriesNumber": "most"}, "1.2", "SeriesNumber: most) 12 against 3"),
        ({"KVP": "nearest 100"}, "1.2", None),
        ({"KVP": "nearest 90"}, "1.2", "KVP: nearest 90) 80 against 120"),
        ({"AcquisitionTime": "latest"}, "1.2", "AcquisitionTime: latest)"),
        ({"AcquisitionTime": "earliest"}, "1.1", "AcquisitionTime: earliest)"),
        ({"AcquisitionTime": "least"}, "1.1", "AcquisitionTime: least)"),
        ({"PatientWeight": "least"}, "1.2", "PatientWeight: least) another value against absent"),
        ({"PatientWeight": "most"}, "1.2", "PatientWeight: most) another value against absent"),
        (
            {"contrast": "portal venous"},
            "1.2",
            "contrast: portal venous) met (contrast is portal venous) against not met "
            "(contrast is arterial)",
        ),
        ({"kernel": "soft"}, "1.2", None),
        (
            {"kernel": "sharp"},
            "1.1",
            "kernel: sharp) met (kernel is sharp) against not met (kernel is unknown)",
        ),
        (
            {"SeriesDescription": "art.*"},
            "1.1",
            "SeriesDescription: art.*) met (SeriesDescription matches) against not met "
            "(SeriesDescription does not match)",
        ),
        ({"SliceThickness": "<= 5"}, "1.2", None),
        (
            {"not": {"SeriesDescription": "art.*"}},
            "1.2",
            'not: {"SeriesDescription": "art.*"}) met (SeriesDescription does not match) against '
            "not met (SeriesDescription matches)",
        ),
        (
            {"any": [{"KVP": "> 100"}, {"KVP": "< 50"}]},
            "1.1",
            'any: [{"KVP": "> 100"}, {"KVP": "< 50"}]) met against not met',
        ),
    ],
)
def test_what_the_rules_prefer_decides_first(preference, best, why):
    ranked, reason = preferred([preference], THIN, THICK)
    assert ranked[0] == best
    if why is None:  # a tie, so the usual criteria decide
        assert "preference" not in reason
    else:
        assert reason == f"series {best} ranks higher: preference ({why}"


def test_preferences_are_asked_in_their_order():
    sharp = {"kernel": "sharp"}
    portal = {"contrast": "portal venous"}
    assert preferred([sharp, portal], THIN, THICK)[0][0] == "1.1"
    assert preferred([portal, sharp], THIN, THICK)[0][0] == "1.2"
    assert preferred([], THIN, THICK)[0][0] == "1.2"


def test_what_is_unknown_is_preferred_least():
    bare = traits_in("1.0", KVP="nan")
    for word in ("most", "least", "nearest 500"):
        ranked, reason = preferred([{"KVP": word}], bare, THICK)
        assert ranked == ["1.2", "1.0"]
        assert reason.endswith(f"preference (KVP: {word}) 80 against absent")


def test_no_preference_puts_first_what_forms_no_volume():
    alone = traits_in("1.0", 1, KVP="80")
    ranked, reason = preferred([{"KVP": "least"}], alone, THIN)
    assert ranked == ["1.1", "1.0"]
    assert "ranks higher: volume yes against no" in reason


def test_nearly_the_widest_coverage_leaves_the_choice_to_later_preferences():
    wide, nearly = traits_in("1.1", 40, 5.0), traits_in("1.2", 75, 2.5, SeriesNumber=2)
    prefer = [{"coverage_mm": "most"}, {"slice_distance_mm": "least"}]
    assert preferred(prefer, wide, nearly)[0] == ["1.2", "1.1"]


def test_numbers_that_change_from_image_to_image_count_by_the_decisive_one():
    mixed = traits_in("1.1", 4, KVP="100")
    mixed.candidate.frames[2].header.KVP = "140"
    steady = traits_in("1.2", 4, KVP="120")
    ranked, reason = preferred([{"KVP": "most"}], mixed, steady)
    assert (ranked[0], reason) == (
        "1.1",
        "series 1.1 ranks higher: preference (KVP: most) 100 to 140 against 120",
    )
    assert preferred([{"KVP": "least"}], mixed, steady)[0][0] == "1.1"
    assert preferred([{"KVP": "nearest 115"}], mixed, steady)[0][0] == "1.2"
