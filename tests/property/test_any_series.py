"""Any series becomes the right volume, or none with the right reason.

Series of one analytic phantom in random geometry, order and storage go from files through scan
and selection to a volume. Each voxel is compared with the phantom at that place in the patient:
pixel centres to 0.01 mm, HU to 0.5 where slices are the planes of the volume, else to the bound
that the phantom's derivatives set.

`HYPOTHESIS_PROFILE=ci` (the default) draws the same 200 series for each guarantee every time,
`HYPOTHESIS_PROFILE=nightly` 2,000 others, and says how to repeat one that fails.
`--hypothesis-show-statistics` shows what was drawn.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from pydicom.uid import ExplicitVRBigEndian

from models.geometry import LabelMap
from operators.errors import ImagingError
from operators.loading import scan
from operators.rules import parse_rules
from operators.selection import select_series
from operators.volumes import SeriesVolume, build_volume, labels_on_slices
from tests.property.analytic_series import SeriesCase, StoredAs, write_case
from tests.property.geometry_check import assert_regular, assert_right
from tests.property.refused_cases import odd_series, refusals
from tests.property.series_cases import Expected, spoilt_volumes, volumes

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]
PROFILES = {
    "ci": settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=SLOW),
    "nightly": settings(
        max_examples=2000, deadline=None, print_blob=True, suppress_health_check=SLOW
    ),
}
PROFILE = PROFILES[os.environ.get("HYPOTHESIS_PROFILE", "ci")]
ANY_CT = parse_rules({"selections": [{"name": "CT", "conditions": {"Modality": "CT"}}]})


def volume_of(case: SeriesCase) -> SeriesVolume:
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_case(case, folder)
        (chosen,) = select_series(scan(folder).studies, ANY_CT).chosen
        return build_volume(chosen.candidate)


def assert_expected(expected: Expected) -> None:
    case = expected.case
    event(expected.kind)
    event(f"mixed in: {case.mixed_in or 'nothing'}")
    event(f"{case.stored.syntax.name}, {case.stored.bits_stored} bits")
    built = volume_of(case)
    assert_right(case, built)
    assert built.stack.is_grid or not expected.is_regular
    if expected.is_regular:
        assert_regular(case, built)
    _assert_labels_return(built)


def _assert_labels_return(built: SeriesVolume) -> None:
    """The number of the plane, marked on the grid, comes back on the slices nearest to it."""
    depth = built.volume.geometry.shape[0]
    marked = np.broadcast_to(np.arange(depth, dtype=np.uint8)[:, None, None], built.volume.hu.shape)
    on_slices = labels_on_slices(
        LabelMap(labels=marked.copy(), geometry=built.volume.geometry), built.stack
    )
    found = built.volume.geometry.to_index(built.stack.positions_lps)[:, 0]
    assert on_slices.shape == (len(found), *built.stack.size)
    assert np.abs(on_slices - found[:, None, None]).max() <= 0.5 + 1e-3


@PROFILE
@given(volumes())
def test_each_voxel_shows_what_lies_at_its_place_in_the_patient(expected):
    assert_expected(expected)


@PROFILE
@given(spoilt_volumes())
def test_a_slice_that_cannot_be_used_is_a_missing_one(expected):
    assert_expected(expected)


@PROFILE
@given(refusals())
def test_what_is_no_volume_is_refused_with_its_reason(refusal):
    event(refusal.kind)
    with pytest.raises(refusal.error, match=refusal.reason):
        volume_of(refusal.case)


@PROFILE
@given(odd_series())
def test_odd_values_of_elements_end_as_a_volume_or_with_a_reason(case):
    event(", ".join(case.altered))
    with contextlib.suppress(ImagingError):
        volume_of(case)


def test_bytes_of_words_are_put_in_order():
    stored = StoredAs(
        syntax=ExplicitVRBigEndian, bits_allocated=8, bits_stored=8, rescales=((10.0, 200.0),)
    )
    case = SeriesCase(stored=stored)
    assert_regular(case, volume_of(case))
    assert_right(case, volume_of(case))


@pytest.mark.parametrize(("seed", "missing"), [(0, 2), (933, 5)])
def test_random_numbers_do_not_part_slices_of_which_one_is_missing(seed, missing):
    heights = tuple(float(k) for k in range(7))
    case = SeriesCase(heights_mm=heights, names_seed=seed, spoilt={missing: "ImagePositionPatient"})
    assert_right(case, volume_of(case))
