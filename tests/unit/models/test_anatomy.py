"""Which part of the body a volume shows: drawn bodies, the phantom, and real CT."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.anatomy import examine
from models.cross_section import cross_sections
from models.geometry import Volume, VolumeGeometry
from models.phantom import make_phantom

SPACING = (5.0, 2.5, 2.0)
SHAPE = (44, 180, 230)  # 220 x 450 x 460 mm: all sizes and spacings differ

#: x, y and z of a centre, and half axes, in mm (0: a cylinder along z); HU. Later ones cover
#: earlier ones. x to the left, y to the back, z to the head, from the middle of the volume.
Shape = tuple[tuple[float, float, float], tuple[float, float, float], float]
TABLE: list[Shape] = [((0, 150, 0), (220, 12, 0), -80), ((0, 150, 0), (215, 7, 0), -900)]
SPINE: list[Shape] = [((0, 65, 0), (22, 18, 0), 250)]


def ribs(width: float, depth: float) -> list[Shape]:
    turns = np.radians((10, 35, 60, 120, 145, 170, 200, 340))
    return [
        ((width * np.cos(t), depth * np.sin(t), 0), (7.0, 6.0, 0.0), 400.0) for t in turns.tolist()
    ]


BELLY: list[Shape] = [
    ((0, 0, 0), (165, 115, 0), -100),
    ((0, 0, 0), (145, 98, 0), 55),
    ((60, -40, 0), (40, 25, 0), -100),
    *SPINE,
    *ribs(142, 95),
]
#: From 30 mm below the middle upwards.
LUNGS: list[Shape] = [
    ((-75, 0, 140), (55, 80, 170), -820),
    ((75, 0, 140), (55, 80, 170), -820),
    ((10, -35, 140), (60, 50, 170), 50),
]
CHEST: list[Shape] = [
    ((0, 0, 0), (165, 115, 0), -100),
    ((0, 0, 0), (150, 102, 0), 50),
    ((-75, 0, 0), (62, 85, 0), -830),
    ((75, 0, 0), (62, 85, 0), -830),
    ((10, -30, 0), (50, 45, 0), 45),
    *SPINE,
    *ribs(155, 105),
]
SHOULDERS: list[Shape] = [
    ((0, 0, 0), (220, 90, 0), 50),
    ((0, 40, 0), (20, 18, 0), 250),
    ((-170, 0, 0), (28, 28, 0), 400),
    ((170, 0, 0), (28, 28, 0), 400),
]
HEAD: list[Shape] = [
    ((0, 0, 40), (85, 105, 115), 40),
    ((0, 0, 40), (78, 98, 108), 1100),
    ((0, 0, 40), (70, 90, 100), 35),
    ((0, 30, -110), (60, 65, 80), 50),
    ((0, 40, -110), (20, 18, 80), 300),
]
LEGS: list[Shape] = [
    part
    for side in (-1, 1)
    for part in (
        ((side * 95, 0, 0), (80, 85, 0), -100),
        ((side * 95, 0, 0), (68, 72, 0), 60),
        ((side * 95, 0, 0), (14, 14, 0), 1200),
        ((side * 95, 0, 0), (7, 7, 0), -50),
    )
]
NEGATIVES: dict[str, tuple[list[Shape], str]] = {
    "head": (TABLE + HEAD, "head"),
    "chest": (TABLE + CHEST, "chest"),
    "legs": (TABLE + LEGS, "legs"),
    "legs that touch": ([*TABLE, *LEGS, ((0, 0, 0), (40, 55, 0), 60)], "legs"),
    "water": ([*TABLE, ((0, 0, 0), (100, 100, 0), 0)], "no trunk"),
    "small block": ([((0, 0, 0), (35, 35, 0), 40), ((0, 0, 0), (10, 10, 0), 800)], "no trunk"),
    "empty table": (TABLE, "no trunk"),
    "air": ([], "no trunk"),
    "not in Hounsfield units": ([((0, 0, 0), (165, 115, 0), 1100)], "no trunk"),
}


def draw(shapes: list[Shape], shape: tuple[int, int, int] = SHAPE) -> Volume:
    """Paint shapes on axial slices from feet to head."""
    z, y, x = (
        ((np.arange(n) - (n - 1) / 2) * mm).reshape([-1 if axis == at else 1 for at in range(3)])
        for axis, (n, mm) in enumerate(zip(shape, SPACING, strict=True))
    )
    hu = np.full(shape, -1000, np.int16)
    for centre, half, value in shapes:
        distance = ((x - centre[0]) / half[0]) ** 2 + ((y - centre[1]) / half[1]) ** 2
        if half[2]:
            distance = distance + ((z - centre[2]) / half[2]) ** 2
        hu[np.broadcast_to(distance <= 1, shape)] = value
    return Volume(hu=hu, geometry=VolumeGeometry.from_spacing(shape, SPACING, (-220, -190, 700)))


def stacked(*bodies: list[Shape]) -> Volume:
    """One body above the other, from feet to head, 220 mm each."""
    hu = np.concatenate([draw(shapes).hu for shapes in bodies])
    return Volume(hu=hu, geometry=VolumeGeometry.from_spacing(hu.shape, SPACING))


def part(volume: Volume, first: int, end: int) -> Volume:
    """Some of the slices of a volume."""
    hu = volume.hu[first:end].copy()
    affine = volume.geometry.affine_lps.copy()
    affine[:3, 3] = volume.geometry.to_lps((first, 0, 0))
    return Volume(hu=hu, geometry=VolumeGeometry(shape=hu.shape, affine_lps=affine))


def turned(volume: Volume, axes: tuple[int, ...], flips: tuple[bool, ...]) -> Volume:
    """The same patient in an array whose axes are permuted and flipped."""
    flipped = tuple(axis for axis, flip in enumerate(flips) if flip)
    hu = np.flip(volume.hu.transpose(axes), flipped)
    affine = np.eye(4)
    origin = np.zeros(3)
    for new, old in enumerate(axes):
        column = volume.geometry.affine_lps[:3, 2 - old]
        affine[:3, 2 - new] = -column if flips[new] else column
        origin[old] = volume.hu.shape[old] - 1 if flips[new] else 0
    affine[:3, 3] = volume.geometry.to_lps(origin)
    return Volume(hu=hu.copy(), geometry=VolumeGeometry(shape=hu.shape, affine_lps=affine))


@pytest.fixture(scope="module")
def upper_abdomen() -> Volume:
    """A belly whose upper two thirds hold the bases of the lungs."""
    return draw(TABLE + BELLY + LUNGS)


@pytest.mark.parametrize("name", NEGATIVES)
def test_other_things_are_refused_with_the_region_they_show(name: str) -> None:
    shapes, region = NEGATIVES[name]
    found = examine(draw(shapes))
    assert not found.shows_abdomen, found.reason
    assert found.region == region
    assert found.abdomen_mm < found.expected_mm == 10.0
    assert found.height_mm == pytest.approx(220)
    assert sum(found.extents_mm.values()) == pytest.approx(220)


def test_the_reason_names_what_was_measured_and_expected() -> None:
    reason = examine(draw(TABLE + CHEST)).reason
    assert reason.startswith("an abdomen in 0 of 220 mm, 10 mm or more expected: 220 mm of chest")
    assert "in an abdomen less than 45%" in reason


def test_a_belly_passes() -> None:
    found = examine(draw(TABLE + BELLY))
    assert found.region == "abdomen"
    assert found.abdomen_mm == found.height_mm == pytest.approx(220)
    assert found.extents_mm == {"abdomen": pytest.approx(220)}


def test_figures_are_those_of_the_body_that_was_drawn() -> None:
    sections, step_mm = cross_sections(draw(TABLE + CHEST))
    middle = sections[len(sections) // 2]
    assert step_mm == 5.0
    assert middle.area_cm2 == pytest.approx(np.pi * 16.5 * 11.5, rel=0.03)
    assert middle.cut_share == 0  # and the table is no part of the body
    shape = (1, *SHAPE[1:])
    hu = draw(CHEST, shape).hu
    inside = draw([((0, 0, 0), (165, 115, 0), 1)], shape).hu == 1
    lean = inside & (hu != -100)  # fat
    assert middle.lung_share == pytest.approx((hu == -830).sum() / lean.sum(), abs=0.05)
    assert middle.bone_share == pytest.approx((hu >= 250).sum() / inside.sum(), abs=0.01)


def test_lungs_above_a_belly_do_not_refuse_it(upper_abdomen: Volume) -> None:
    found = examine(upper_abdomen)
    assert found.shows_abdomen
    assert found.abdomen_mm > 60
    assert found.extents_mm["chest"] >= 30
    assert examine(part(upper_abdomen, 38, 44)).region == "chest"  # its upper end alone


def test_a_person_from_head_to_hip_has_an_abdomen() -> None:
    person = stacked(BELLY, CHEST, HEAD)
    found = examine(person)
    assert found.shows_abdomen
    assert found.abdomen_mm == pytest.approx(220)
    assert found.extents_mm["head"] > 100
    assert not examine(part(person, 44, 132)).shows_abdomen


def test_shoulders_above_lungs_are_no_abdomen() -> None:
    found = examine(part(stacked(CHEST, SHOULDERS), 0, 44 + 20))
    assert found.region == "chest"
    assert found.extents_mm == pytest.approx({"chest": 220, "neck or shoulders": 100})


def test_a_long_scan_with_swapped_ends_is_not_taken_for_shoulders() -> None:
    assert examine(stacked(CHEST, BELLY)).shows_abdomen


@pytest.mark.parametrize("axes", [*permutations(range(3))], ids=str)
@pytest.mark.parametrize("flips", [*product((False, True), repeat=3)][::3], ids=str)
def test_order_and_flips_of_the_axes_do_not_matter(
    upper_abdomen: Volume, axes: tuple[int, ...], flips: tuple[bool, ...]
) -> None:
    straight = examine(upper_abdomen)
    found = examine(turned(upper_abdomen, axes, flips))
    assert found.shows_abdomen
    # cells start at another corner, so a slice at the edge of the lungs may go either way
    assert found.abdomen_mm == pytest.approx(straight.abdomen_mm, abs=10)
    assert found.extents_mm.keys() == straight.extents_mm.keys()


def test_a_head_in_turned_axes_is_still_a_head() -> None:
    assert examine(turned(draw(HEAD), (2, 0, 1), (True, False, True))).region == "head"


@pytest.mark.parametrize("scale", [0.4, 0.6, 1.3])
def test_children_and_large_people_pass(upper_abdomen: Volume, scale: float) -> None:
    affine = upper_abdomen.geometry.affine_lps * np.array((scale, scale, scale, 1.0))
    grid = VolumeGeometry(shape=SHAPE, affine_lps=affine)
    found = examine(Volume(hu=upper_abdomen.hu, geometry=grid))
    assert found.shows_abdomen
    assert found.abdomen_mm > 60 * scale


@pytest.mark.parametrize("box", [(60, 120, 70, 160), (0, 180, 0, 130), (0, 180, 60, 230)], ids=str)
def test_a_view_that_cuts_the_body_passes(
    upper_abdomen: Volume, box: tuple[int, int, int, int]
) -> None:
    hu = upper_abdomen.hu[:, box[0] : box[1], box[2] : box[3]].copy()
    grid = VolumeGeometry.from_spacing(hu.shape, SPACING)
    assert examine(Volume(hu=hu, geometry=grid)).shows_abdomen


def test_a_round_view_with_padding_passes(upper_abdomen: Volume) -> None:
    hu: NDArray[np.int16] = upper_abdomen.hu[:, 30:150, 55:175].copy()
    y, x = np.ogrid[:120, :120]
    hu[:, np.hypot(y - 59.5, x - 59.5) > 60] = -3024
    grid = VolumeGeometry.from_spacing(hu.shape, (5.0, 2.5, 2.5))
    found = examine(Volume(hu=hu, geometry=grid))
    assert found.shows_abdomen
    sections, _ = cross_sections(Volume(hu=hu, geometry=grid))
    assert sections[0].cut_share > 0.4


@pytest.mark.parametrize("slices", [1, 2, 3, 12])
def test_a_short_scan_of_the_belly_passes(upper_abdomen: Volume, slices: int) -> None:
    found = examine(part(upper_abdomen, 4, 4 + slices))
    assert found.shows_abdomen
    assert found.height_mm == pytest.approx(5 * slices)
    assert found.expected_mm == pytest.approx(0.5 * slices)


def test_one_voxel_is_no_abdomen() -> None:
    grid = VolumeGeometry.from_spacing((1, 1, 1), (1, 1, 1))
    assert not examine(Volume(hu=np.zeros((1, 1, 1), np.int16), geometry=grid)).shows_abdomen


@pytest.mark.parametrize("seed", [0, 3])
def test_the_phantom_passes_whoever_it_is(seed: int) -> None:
    volume = make_phantom(seed, (10.0, 3.0, 3.0)).volume
    found = examine(volume)
    assert found.shows_abdomen
    assert found.abdomen_mm > 150


def test_many_thin_slices_are_sampled(upper_abdomen: Volume) -> None:
    thin = np.repeat(upper_abdomen.hu, 10, axis=0)
    grid = VolumeGeometry.from_spacing(thin.shape, (0.5, 2.5, 2.0))
    sections, step_mm = cross_sections(Volume(hu=thin, geometry=grid))
    assert len(sections) == 44
    assert step_mm == pytest.approx(5.0)
    found = examine(Volume(hu=thin, geometry=grid))
    assert found.extents_mm == pytest.approx(examine(upper_abdomen).extents_mm)


def test_every_labelled_abdomen_passes_whole_and_in_short_pieces(shared_data: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    paths = sorted(shared_data.glob("*/*_ct.nii.gz"))
    if not paths:
        pytest.skip("no labelled volumes in ../shared/data")
    for path in paths:
        image = nibabel.load(path)
        labels = nibabel.load(str(path).replace("_ct", "_label"))
        hu = np.asarray(image.dataobj).astype(np.int16).transpose(2, 1, 0)
        kidneys = np.isin(np.asarray(labels.dataobj).transpose(2, 1, 0), (3, 9)).any(axis=(1, 2))
        affine = np.diag((-1.0, -1.0, 1.0, 1.0)) @ image.affine
        volume = Volume(hu=hu, geometry=VolumeGeometry(shape=hu.shape, affine_lps=affine))
        found = examine(volume)
        assert found.abdomen_mm > 130, (path.name, found.reason)
        first = int(np.flatnonzero(kidneys)[-1]) - 5  # 40 mm from the kidneys' upper end
        piece = examine(part(volume, first, first + 20))
        assert piece.abdomen_mm > 30, (path.name, piece.reason)
