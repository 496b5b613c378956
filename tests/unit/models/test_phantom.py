"""Phantoms: the same person on every grid, with plausible organs on the right side."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np
import pytest

from models.errors import GeometryError
from models.phantom import Phantom, make_phantom, phantom_case
from models.phantom.anatomy import Anatomy
from models.phantom.contrast import Phase
from models.phantom.shapes import Blend, Capsule, Carved, Cylinder, Ellipsoid, tube, turned

SPLEEN, PANCREAS, LEFT_KIDNEY, LIVER, STOMACH, RIGHT_KIDNEY = 1, 2, 3, 6, 7, 9

#: Columns i, j, k: turned about all axes, k against the normal (a descending, oblique scan).
OBLIQUE = turned(12.0, -9.0, 20.0) * (1.0, 1.0, -1.0)


@lru_cache(maxsize=8)
def coarse_case(seed: int, phase: Phase | None = None) -> Phantom:
    return phantom_case(seed, 6.0, phase)


def median_hu(phantom: Phantom, number: int) -> float:
    return float(np.median(phantom.volume.hu[phantom.label_map.labels == number]))


def volume_ml(phantom: Phantom, number: int) -> float:
    count = int((phantom.label_map.labels == number).sum())
    return count * phantom.volume.geometry.voxel_volume_ml


def centroid(phantom: Phantom, number: int) -> np.ndarray:
    position = phantom.label_map.centroid_lps(number)
    assert position is not None
    return position


def test_same_seed_gives_the_same_voxels() -> None:
    first, second = phantom_case(11, 12.0), phantom_case(11, 12.0)
    assert first.phase == second.phase
    np.testing.assert_array_equal(first.volume.hu, second.volume.hu)
    np.testing.assert_array_equal(first.label_map.labels, second.label_map.labels)


def test_seeds_give_different_people() -> None:
    liver_ml = {round(volume_ml(coarse_case(seed), LIVER)) for seed in (1, 2)}
    assert len(liver_ml) == 2


@pytest.mark.parametrize("seed", [1, 2])
def test_organs_lie_on_the_side_where_people_have_them(seed: int) -> None:
    case = coarse_case(seed)
    at = {n: centroid(case, n) for n in (SPLEEN, LEFT_KIDNEY, LIVER, STOMACH, RIGHT_KIDNEY)}
    assert at[LIVER][0] < -30 < 0 < 60 < at[SPLEEN][0]
    assert at[RIGHT_KIDNEY][0] < -40 < 40 < at[LEFT_KIDNEY][0]
    assert at[STOMACH][0] > 10
    for kidney in (LEFT_KIDNEY, RIGHT_KIDNEY):
        assert at[kidney][1] > at[STOMACH][1] + 20  # posterior is +y
        assert at[kidney][2] < at[LIVER][2]  # the head is +z


@pytest.mark.parametrize("seed", [1, 2])
def test_organs_have_adult_volumes(seed: int) -> None:
    case = coarse_case(seed)
    assert 700 < volume_ml(case, LIVER) < 2300
    assert 60 < volume_ml(case, SPLEEN) < 500
    assert 70 < volume_ml(case, LEFT_KIDNEY) < 280
    assert 70 < volume_ml(case, RIGHT_KIDNEY) < 280
    assert 100 < volume_ml(case, STOMACH) < 900
    assert 20 < volume_ml(case, PANCREAS) < 150


def test_anatomy_stays_put_on_an_oblique_descending_anisotropic_grid() -> None:
    axial = make_phantom(5, (2.5, 4.0, 3.0), circular_view=False)
    oblique = make_phantom(
        5, (2.4, 3.0, 4.0), (102, 90, 80), direction_lps=OBLIQUE, circular_view=False
    )
    assert np.linalg.det(oblique.volume.geometry.direction_lps) == pytest.approx(-1.0)
    for number in (SPLEEN, PANCREAS, LEFT_KIDNEY, LIVER, STOMACH, RIGHT_KIDNEY):
        apart = np.linalg.norm(centroid(axial, number) - centroid(oblique, number))
        assert apart < 0.5, f"segment {number} moved by {apart:.2f} mm"
        assert volume_ml(axial, number) == pytest.approx(volume_ml(oblique, number), rel=0.03)
        assert median_hu(axial, number) == pytest.approx(median_hu(oblique, number), abs=6)


def test_a_small_grid_is_a_cut_out_of_a_large_one() -> None:
    spacing = (6.0, 3.0, 3.0)
    origin = (-160.0, -140.0, -40.0)
    whole = make_phantom(4, spacing, (8, 100, 110), origin_lps=origin, circular_view=False)
    start = (4, 30, 25)
    part = make_phantom(
        4,
        spacing,
        (3, 40, 50),
        origin_lps=whole.volume.geometry.to_lps(start).tolist(),
        circular_view=False,
    )
    window = tuple(slice(a, a + n) for a, n in zip(start, (3, 40, 50), strict=True))
    same = part.label_map.labels == whole.label_map.labels[window]
    assert same.mean() > 0.999  # the last bits of float32 may decide on a border


@pytest.mark.parametrize(
    ("phase", "number", "low", "high"),
    [
        ("none", LIVER, 25, 70),
        ("none", SPLEEN, 35, 65),
        ("none", RIGHT_KIDNEY, 20, 45),
        ("arterial", LIVER, 40, 85),
        ("arterial", RIGHT_KIDNEY, 110, 220),
        ("portal", LIVER, 75, 130),
        ("portal", SPLEEN, 95, 150),
        ("portal", LEFT_KIDNEY, 140, 220),
        ("delayed", LIVER, 65, 115),
    ],
)
def test_organs_enhance_as_in_their_phase(
    phase: Phase, number: int, low: float, high: float
) -> None:
    assert low < median_hu(coarse_case(2, phase), number) < high


def test_the_phase_changes_hu_but_not_anatomy() -> None:
    plain, arterial = coarse_case(2, "none"), coarse_case(2, "arterial")
    np.testing.assert_array_equal(plain.label_map.labels, arterial.label_map.labels)
    assert median_hu(arterial, RIGHT_KIDNEY) - median_hu(plain, RIGHT_KIDNEY) > 60
    assert median_hu(arterial, LIVER) - median_hu(plain, LIVER) < 25


def test_there_are_air_lung_fat_and_bone() -> None:
    hu = coarse_case(2, "none").volume.hu
    assert (hu < -950).mean() > 0.1
    assert ((hu > -900) & (hu < -780)).mean() > 0.02
    assert ((hu > -130) & (hu < -75)).mean() > 0.08
    assert 0.002 < (hu > 200).mean() < 0.05


def test_solid_organs_hold_no_air() -> None:
    case = coarse_case(1)
    for number in (SPLEEN, LEFT_KIDNEY, LIVER, RIGHT_KIDNEY):
        values = case.volume.hu[case.label_map.labels == number]
        assert (values < -250).mean() < 0.01


def test_a_thick_slice_is_the_mean_of_the_thin_ones_in_it() -> None:
    origin = (-150.0, -150.0, 20.0)
    options = {"origin_lps": origin, "circular_view": False}
    thick = make_phantom(6, (10.0, 3.0, 3.0), (1, 100, 100), **options)
    below = {**options, "origin_lps": (-150.0, -150.0, 16.0)}
    thin = make_phantom(6, (2.0, 3.0, 3.0), (5, 100, 100), **below)
    mean = thin.volume.hu.astype(float).mean(axis=0)
    to_mean = np.abs(thick.volume.hu[0] - mean)
    to_middle = np.abs(thick.volume.hu[0] - thin.volume.hu[2].astype(float))
    assert np.percentile(to_mean, 99.5) < 90  # noise only
    assert np.percentile(to_middle, 99.5) > 130  # edges that are slanted along z
    np.testing.assert_array_equal(thick.label_map.labels[0], thin.label_map.labels[2])


def test_edges_in_the_plane_are_graded() -> None:
    case = make_phantom(6, (5.0, 1.0, 1.0), (1, 360, 420))
    row = case.volume.hu[0, 180].astype(int)
    skin = int(np.flatnonzero(row > -300)[0])
    assert ((row[skin - 3 : skin + 1] > -930) & (row[skin - 3 : skin + 1] < -60)).any()


def test_noise_has_a_plausible_size_and_grain() -> None:
    case = make_phantom(8, (5.0, 0.8, 0.8), (3, 400, 400), phase="none")
    inside = case.label_map.labels[1] == LIVER
    values = case.volume.hu[1].astype(float)
    pairs = inside[:, 1:] & inside[:, :-1]
    left, right = values[:, :-1][pairs], values[:, 1:][pairs]
    assert inside.sum() > 2000
    assert 5 < np.median(np.abs(left - np.median(left))) * 1.48 < 30
    assert 0.3 < np.corrcoef(left, right)[0, 1] < 0.97  # neighbours are correlated


def test_outside_the_circular_view_there_is_nothing() -> None:
    case = make_phantom(1, (10.0, 4.0, 2.0), (2, 80, 120))
    assert (case.volume.hu[:, 0, 0] == -1024).all()
    y, x = (np.arange(80) - 39.5) * 4.0, (np.arange(120) - 59.5) * 2.0
    outside = np.hypot(y[:, None], x) > 120.0  # the narrower side, 240 mm, is its diameter
    assert (case.volume.hu[:, outside] == -1024).all()
    assert (case.label_map.labels[:, outside] == 0).all()
    assert (case.volume.hu[:, ~outside] > -1024).any()


def test_a_grid_that_cannot_exist_is_refused() -> None:
    with pytest.raises(GeometryError, match="shear"):
        make_phantom(
            1, (5.0, 2.0, 2.0), (2, 8, 8), direction_lps=[[1, 0.3, 0], [0, 1, 0], [0, 0, 1]]
        )


def test_the_trunk_fits_the_default_grid() -> None:
    for seed in range(6):
        low, high = Anatomy.draw(seed).extent_mm()
        assert 200 < high[0] - low[0] < 480
        assert 150 < high[1] - low[1] < 400
        assert 200 < high[2] - low[2] < 320


def test_shapes_know_inside_from_outside() -> None:
    def at(shape: object, *point: float) -> float:
        x, y, z = (np.array([[v]], np.float32) for v in point)
        return float(shape.distance(x, y, z)[0, 0])  # type: ignore[attr-defined]

    ball = Ellipsoid((10, 0, 0), (5, 5, 5))
    assert at(ball, 17, 0, 0) == pytest.approx(2.0, abs=1e-4)
    assert at(ball, 10, 4, 0) == pytest.approx(-1.0, abs=1e-4)
    turned_egg = Ellipsoid((0, 0, 0), (20, 5, 5), turned(about_z=90.0))
    assert at(turned_egg, 0, 18, 0) < 0 < at(turned_egg, 18, 0, 0)
    assert np.allclose(turned_egg.bounds[1], (5, 20, 5))
    box = Ellipsoid((0, 0, 0), (10, 10, 10), None, 4)
    assert at(box, 8, 8, 0) < 0 < at(Ellipsoid((0, 0, 0), (10, 10, 10)), 8, 8, 0)
    assert at(Cylinder((0, 0, 0), (4, 8, 2)), 0, 0, 3) == pytest.approx(1.0)
    assert at(Capsule((0, 0, 0), (10, 0, 0), 2, 4), 10, 6, 0) == pytest.approx(2.0)
    assert at(Blend((ball, Ellipsoid((0, 0, 0), (5, 5, 5))), 4.0), 5, 0, 0) == pytest.approx(-1.0)
    assert at(Carved(ball, (Ellipsoid((10, 0, 0), (2, 2, 2)),)), 10, 0, 0) > 0


def test_a_tube_passes_through_its_points() -> None:
    points = [(0, 0, 0), (0, 20, 10), (15, 40, 10)]
    parts = tube(points, (3.0, 5.0, 2.0), 4.0)
    assert parts[0].start == (0, 0, 0)
    assert parts[-1].end == pytest.approx((15, 40, 10))
    gaps = [np.subtract(b.start, a.end) for a, b in pairwise(parts)]
    assert np.abs(gaps).max() == 0
    assert max(np.linalg.norm(np.subtract(p.end, p.start)) for p in parts) < 7
