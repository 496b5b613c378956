from __future__ import annotations

import pytest
from pydicom import Dataset

from operators.contrast import PHASES, contrast_of


def phase(**elements: object) -> str | None:
    header = Dataset()
    for keyword, value in elements.items():
        setattr(header, keyword, value)
    found = contrast_of(header)
    assert found is None or found in PHASES
    return found


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ("Abdomen portal venous 2.0", "portal venous"),
        ("ABD_PV_5MM", "portal venous"),
        ("Abdomen venös", "portal venous"),
        ("phase veineuse", "portal venous"),
        ("LIVER_ART_1.0", "arterial"),
        ("late arterial", "arterial"),
        ("artérielle", "arterial"),
        ("Abdomen arteriell", "arterial"),
        ("delayed 5 min", "delayed"),
        ("Spätphase", "delayed"),
        ("phase tardive", "delayed"),
        ("ABD W/O CONTRAST", "non-contrast"),
        ("non-contrast", "non-contrast"),
        ("Abdomen nativ", "non-contrast"),
        ("ohne KM", "non-contrast"),
        ("unenhanced", "non-contrast"),
        ("sans injection", "non-contrast"),
        ("with contrast", "enhanced"),
        ("contrast enhanced", "enhanced"),
        ("arterial and portal venous", "enhanced"),
        ("ABD WITH AND WITHOUT CONTRAST", None),
        ("ABD W & W/O", None),
        ("native + portal venous", None),
        ("LIVER 3 PHASE (AP)", None),
        ("metal artifact reduction", None),
        ("alternative protocol", None),
        ("CT venography legs", None),
        ("contrast", None),
        ("LUNG BASES 5MM", None),
        ("", None),
    ],
)
def test_a_phase_is_told_by_words_and_never_guessed(description, expected):
    assert phase(SeriesDescription=description) == expected


def test_the_description_of_the_series_goes_before_that_of_the_protocol():
    assert phase(SeriesDescription="arterial", ProtocolName="portal venous") == "arterial"
    assert phase(SeriesDescription="2.0 soft", ProtocolName="portal venous") == "portal venous"
    assert phase(SeriesDescription="nativ", ContrastBolusAgent="Iopamidol") == "non-contrast"


@pytest.mark.parametrize(
    ("agent", "route", "expected"),
    [
        ("APPLIED", "", "enhanced"),
        ("Omnipaque 350", "IV", "enhanced"),
        ("", "IV", None),
        ("NONE", "", "non-contrast"),
        ("No IV contrast", "", "non-contrast"),
        ("ORAL CONTRAST", "", None),
        ("Gastrografin", "ORAL", None),
        ("ORAL & IV", "", "enhanced"),
        ("Omnipaque portal phase", "", "portal venous"),
    ],
)
def test_an_agent_says_that_there_is_contrast_unless_it_was_swallowed(agent, route, expected):
    assert phase(ContrastBolusAgent=agent, ContrastBolusRoute=route) == expected


def test_nothing_at_all_is_unknown_and_not_native():
    assert phase() is None
    assert phase(ContrastBolusAgent=None) is None
