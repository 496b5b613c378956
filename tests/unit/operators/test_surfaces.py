from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray

from models.geometry import LabelMap, VolumeGeometry
from operators.glb import glb_bytes
from operators.surfaces import Surface, organ_surfaces
from tests.organ_balls import SEGMENTS, balls, oblique, segment

ORGAN = SEGMENTS[:1]
BALL_ML = 4 / 3 * np.pi * 20.0**3 / 1000

#: Spacing (k, j, i) in mm and the directions of i, j and k.
GRIDS = {
    "isotropic": ((2.0, 2.0, 2.0), np.eye(3)),
    "thick slices": ((5.0, 0.8, 0.8), np.eye(3)),
    "coarse columns": ((1.0, 1.5, 4.0), np.eye(3)),
    "oblique": ((3.0, 1.0, 1.4), oblique()),
    "left-handed": ((2.5, 2.5, 2.5), np.diag((1.0, 1.0, -1.0))),
}


def _ball(
    spacing_mm: tuple[float, float, float],
    directions: NDArray[np.float64],
    centre: tuple[float, float, float] = (3.3, -2.1, 1.7),
) -> tuple[LabelMap, Surface]:
    shape = [round(60 / mm) for mm in spacing_mm]
    label_map = balls({1: (centre, 20.0)}, shape, spacing_mm, directions)
    (surface,) = organ_surfaces(label_map, ORGAN)
    return label_map, surface


def _is_closed(surface: Surface) -> bool:
    """Whether each edge belongs to two triangles, which run along it in opposite directions."""
    edges = Counter(
        (int(t[a]), int(t[b])) for t in surface.triangles for a, b in ((0, 1), (1, 2), (2, 0))
    )
    return all(n == 1 and edges[b, a] == 1 for (a, b), n in edges.items())


@pytest.mark.parametrize(("spacing_mm", "directions"), GRIDS.values(), ids=GRIDS.keys())
def test_a_ball_keeps_its_place_size_and_shape_on_any_grid(
    spacing_mm: tuple[float, float, float], directions: NDArray[np.float64]
) -> None:
    label_map, surface = _ball(spacing_mm, directions)

    radii = np.linalg.norm(surface.points_lps - (3.3, -2.1, 1.7), axis=1)
    voxels_ml = np.count_nonzero(label_map.labels) * label_map.geometry.voxel_volume_ml
    assert surface.volume_ml == pytest.approx(voxels_ml, rel=0.002)
    assert surface.volume_ml == pytest.approx(BALL_ML, rel=0.03)
    assert np.abs(radii - 20).max() < max(0.8, 0.5 * max(spacing_mm))
    assert radii.std() < 0.13 * max(spacing_mm)


@pytest.mark.parametrize(("spacing_mm", "directions"), GRIDS.values(), ids=GRIDS.keys())
def test_surfaces_are_closed_and_face_outwards_on_any_grid(
    spacing_mm: tuple[float, float, float], directions: NDArray[np.float64]
) -> None:
    _, surface = _ball(spacing_mm, directions)

    outwards = (surface.points_lps - (3.3, -2.1, 1.7)) / 20
    assert _is_closed(surface)
    assert surface.volume_ml > 0
    assert (surface.normals_lps * outwards).sum(axis=1).min() > 0.75
    np.testing.assert_allclose(np.linalg.norm(surface.normals_lps, axis=1), 1)


def test_an_organ_cut_by_the_field_of_view_is_closed_at_the_voxels_outer_face() -> None:
    _, surface = _ball((2.0, 2.0, 2.0), np.eye(3), centre=(0.0, 0.0, 30.0))

    # centres of the last slice lie at 29 mm, so that its voxels end at 30
    assert _is_closed(surface)
    assert surface.points_lps[:, 2].max() == pytest.approx(30.0, abs=0.35)
    assert surface.volume_ml == pytest.approx(BALL_ML / 2, rel=0.03)


def test_a_grid_full_of_one_organ_becomes_its_box() -> None:
    geometry = VolumeGeometry.from_spacing((12, 14, 16), (5.0, 2.0, 3.0), (100.0, -50.0, 7.0))
    full = LabelMap(labels=np.ones(geometry.shape, np.uint8), geometry=geometry)

    (surface,) = organ_surfaces(full, ORGAN)

    assert _is_closed(surface)
    low, high = surface.points_lps.min(axis=0), surface.points_lps.max(axis=0)
    # what rounded edges lose, the faces gain
    np.testing.assert_allclose(low, (100 - 1.5, -50 - 1.0, 7 - 2.5), atol=1.0)
    np.testing.assert_allclose(high, (100 + 46.5, -50 + 27.0, 7 + 57.5), atol=1.0)
    assert surface.volume_ml == pytest.approx(12 * 14 * 16 * 30 / 1000, rel=0.002)


def test_a_slope_through_thick_slices_is_no_staircase() -> None:
    geometry = VolumeGeometry.from_spacing((12, 60, 60), (5.0, 1.0, 1.0))
    points = geometry.to_lps(np.stack(np.indices(geometry.shape), axis=-1))
    wedge = (points[..., 2] < points[..., 0]) & (points[..., 1] > 15) & (points[..., 1] < 45)
    (surface,) = organ_surfaces(LabelMap(labels=wedge.astype(np.uint8), geometry=geometry), ORGAN)

    x, y, z = surface.points_lps.T
    slope = (z > 15) & (z < 45) & (y > 22) & (y < 38) & (x < 55)
    assert np.count_nonzero(slope) > 200
    # steps of 5 mm would lie up to 1.8 mm beside the plane z = x
    assert np.abs((z - x)[slope] / np.sqrt(2)).max() < 0.8


def test_a_single_voxel_still_has_a_closed_surface_of_its_size() -> None:
    geometry = VolumeGeometry.from_spacing((5, 5, 5), (3.0, 3.0, 3.0))
    labels = np.zeros(geometry.shape, np.uint8)
    labels[2, 2, 2] = 1

    (surface,) = organ_surfaces(LabelMap(labels=labels, geometry=geometry), ORGAN)

    assert _is_closed(surface)
    assert np.abs(surface.points_lps - 6.0).max() < 4.5
    assert 0.004 < surface.volume_ml <= 0.028


#: Spacing (k, j, i) in mm at which one voxel fills less than half of its cell, but for the last.
FINE_MM = (
    (1.0, 1.0, 1.0),
    (1.5, 0.7, 0.7),
    (5.0, 0.7, 0.7),
    (0.6, 0.6, 0.6),
    (0.5, 0.3, 0.3),
    (3.0, 3.0, 3.0),
)
#: Voxels of a grid of 20 x 40 x 40 that are thinner than a cell.
THIN = {
    "voxel": np.s_[10, 20, 20],
    "two voxels": np.s_[10, 20, 20:22],
    "line": np.s_[10, 20, :],
    "sheet": np.s_[10, 10:30, 10:30],
    "scattered": np.s_[::4, ::4, ::4],
}


def _thin(part: object, spacing_mm: tuple[float, float, float]) -> LabelMap:
    geometry = VolumeGeometry.from_spacing((20, 40, 40), spacing_mm)
    labels = np.zeros(geometry.shape, np.uint8)
    labels[part] = 1  # type: ignore[index]
    return LabelMap(labels=labels, geometry=geometry)


@pytest.mark.parametrize("spacing_mm", FINE_MM[:-1], ids=str)
def test_a_single_voxel_on_a_fine_grid_has_a_surface(
    spacing_mm: tuple[float, float, float],
) -> None:
    (surface,) = organ_surfaces(_thin(THIN["voxel"], spacing_mm), ORGAN)

    voxel_mm = np.array(spacing_mm[::-1])
    centre = voxel_mm * (20, 20, 10)
    assert _is_closed(surface)
    assert 0.7 < surface.volume_ml * 1000 / voxel_mm.prod() < 1.06
    # about the voxel, and no larger than it and its neighbours
    assert (surface.points_lps.min(axis=0) < centre).all()
    assert (surface.points_lps.max(axis=0) > centre).all()
    assert (np.abs(surface.points_lps - centre) <= 1.5 * voxel_mm).all()


@pytest.mark.parametrize("spacing_mm", FINE_MM, ids=str)
@pytest.mark.parametrize("part", THIN.values(), ids=THIN.keys())
def test_what_is_thinner_than_a_cell_has_a_surface(
    part: object, spacing_mm: tuple[float, float, float]
) -> None:
    label_map = _thin(part, spacing_mm)

    (surface,) = organ_surfaces(label_map, ORGAN)

    voxels_ml = np.count_nonzero(label_map.labels) * np.prod(spacing_mm) / 1000
    assert np.isfinite(surface.points_lps).all()
    assert np.isfinite(surface.normals_lps).all()
    assert 0 < surface.volume_ml < 1.06 * voxels_ml
    assert surface.voxels_ml == pytest.approx(voxels_ml)
    assert len(glb_bytes([surface])) > 0


def test_surfaces_come_in_the_order_of_segments_without_those_that_were_not_found() -> None:
    label_map = balls({3: ((0, 0, 0), 8.0), 1: ((15, 0, 0), 6.0)}, (20, 20, 30), (2.0, 2.0, 2.0))
    wanted = [segment(n, f"organ_{n}", (n, n, n + 1)) for n in (3, 2, 1, 200)]

    surfaces = organ_surfaces(label_map, wanted)

    assert [(s.number, s.name, s.label, s.rgb) for s in surfaces] == [
        (3, "organ_3", "Organ 3", (3, 3, 4)),
        (1, "organ_1", "Organ 1", (1, 1, 2)),
    ]


def test_fine_voxels_are_put_together_without_a_shift() -> None:
    label_map = balls({1: ((1.0, 2.0, -3.0), 12.0)}, (61, 67, 70), (0.5, 0.5, 0.5))

    (fine,) = organ_surfaces(label_map, ORGAN, cell_mm=0.5)
    (coarse,) = organ_surfaces(label_map, ORGAN, cell_mm=2.0)

    assert len(coarse.triangles) < len(fine.triangles) / 10
    for surface in (fine, coarse):
        middle = (surface.points_lps.min(axis=0) + surface.points_lps.max(axis=0)) / 2
        np.testing.assert_allclose(middle, (1.0, 2.0, -3.0), atol=0.3)


def test_the_same_labels_always_give_the_same_surface() -> None:
    one, other = (_ball((5.0, 0.8, 0.8), oblique())[1] for _ in range(2))

    np.testing.assert_array_equal(one.points_lps, other.points_lps)
    np.testing.assert_array_equal(one.triangles, other.triangles)
