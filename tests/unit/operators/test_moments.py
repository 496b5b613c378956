from __future__ import annotations

import pytest
from pydicom import Dataset

from operators.moments import acquisition_moment, moment


@pytest.mark.parametrize(
    ("earlier", "later", "vr"),
    [
        ("20200131", "20200201", "DA"),
        ("2020.01.31", "20200201", "DA"),
        ("0930", "093000.5", "TM"),
        ("09:30:00.1", "093000.25", "TM"),
        ("093000", "10", "TM"),
        ("20200131", "20200131000001", "DT"),
        ("20200131093000.1+0100", "20200131093000.2+0100", "DT"),
    ],
)
def test_moments_are_in_order(earlier, later, vr):
    first, second = moment(earlier, vr), moment(later, vr)
    assert first is not None
    assert second is not None
    assert first < second


@pytest.mark.parametrize("text", ["", "noon", "1", "-5", "09300000000000000", "093000.", "nan"])
@pytest.mark.parametrize("vr", ["DA", "TM", "DT"])
def test_what_is_no_moment_is_none(text, vr):
    assert moment(text, vr) is None
    assert moment("2020013109", "DA") is None
    assert moment("09300000", "TM") is None


def test_an_acquisition_is_told_by_its_date_and_time():
    header = Dataset()
    assert acquisition_moment(header) is None
    header.AcquisitionTime = "093000"
    alone = acquisition_moment(header)
    header.AcquisitionDate = "20200131"
    assert acquisition_moment(header) == 20200131093000000000
    header.AcquisitionDateTime = "20200131093001.5"
    assert acquisition_moment(header) == 20200131093001500000
    assert alone is not None
