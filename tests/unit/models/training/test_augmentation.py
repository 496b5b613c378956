"""Random patches: what they may change and what they may not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from models.intensity import Window
from models.training.augmentation import Augmentation, random_patch
from models.training.cases import UNKNOWN, Case

WINDOW = Window(low_hu=-200, high_hu=300)
#: Nothing changes but the place of the patch.
STILL = Augmentation(
    rotation_degrees=0,
    scale=0,
    elastic_mm=0,
    organ_shift_probability=0,
    contrast=0,
    noise_probability=0,
    blur_probability=0,
    thick_slice_probability=0,
    crop_probability=0,
)
#: Only the shape changes.
MOVING = Augmentation(
    organ_shift_probability=0,
    contrast=0,
    noise_probability=0,
    blur_probability=0,
    thick_slice_probability=0,
    crop_probability=0,
)


def two_kidneys() -> Case:
    """Bright balls on the left (1) and on the right (2) in darker tissue, anisotropic."""
    shape, spacing = (40, 70, 81), (3.0, 2.0, 1.6)
    z, y, x = (
        (np.arange(n) - (n - 1) / 2).reshape([-1 if a == axis else 1 for a in range(3)]) * mm
        for axis, (n, mm) in enumerate(zip(shape, spacing, strict=True))
    )
    labels = np.zeros(shape, np.uint8)
    labels[(x - 30) ** 2 + y**2 + z**2 < 16**2] = 1
    labels[(x + 30) ** 2 + y**2 + z**2 < 16**2] = 2
    return Case(
        name="two",
        patient="two",
        hu=np.where(labels > 0, 250, 0).astype(np.int16),
        labels=labels,
        spacing_mm=spacing,
        unlabelled=frozenset(),
    )


def uniform(value: int, label: int = 0, shape: tuple[int, int, int] = (60, 60, 60)) -> Case:
    return Case(
        name="uniform",
        patient="uniform",
        hu=np.full(shape, value, np.int16),
        labels=np.full(shape, label, np.uint8),
        spacing_mm=(3.0, 3.0, 3.0),
        unlabelled=frozenset(),
    )


def patch(
    case: Case,
    seed: int,
    augmentation: Augmentation,
    shape: tuple[int, int, int] = (24, 32, 40),
    spacing_mm: float = 3.0,
) -> tuple[Tensor, Tensor]:
    return random_patch(
        case,
        np.random.default_rng(seed),
        shape=shape,
        spacing_mm=spacing_mm,
        window=WINDOW,
        augmentation=augmentation,
    )


def test_a_patch_is_decided_by_its_generator_alone() -> None:
    case = two_kidneys()
    torch.manual_seed(1)
    first = patch(case, 7, Augmentation())
    torch.manual_seed(2)
    second = patch(case, 7, Augmentation())
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(first[0], patch(case, 8, Augmentation())[0])


@pytest.mark.parametrize("seed", range(6))
def test_patches_have_the_networks_shape_type_and_range(seed: int) -> None:
    image, labels = patch(two_kidneys(), seed, Augmentation())
    assert (image.shape, image.dtype) == ((1, 24, 32, 40), torch.float32)
    assert (labels.shape, labels.dtype) == ((24, 32, 40), torch.int64)
    assert torch.isfinite(image).all()
    assert image.min() >= -1
    assert image.max() <= 1
    assert set(labels.unique().tolist()) <= {0, 1, 2}


def test_left_stays_left() -> None:
    """In every patch that shows both, organ 1 lies on the side of higher x than organ 2."""
    case, seen = two_kidneys(), 0
    for seed in range(40):
        _, labels = patch(case, seed, MOVING, shape=(20, 32, 64))
        left, right = (labels == 1).nonzero(), (labels == 2).nonzero()
        if len(left) > 100 and len(right) > 100:
            seen += 1
            assert left[:, 2].float().mean() > right[:, 2].float().mean() + 5
    assert seen > 10


def test_head_stays_up_and_back_stays_back() -> None:
    """A ramp along z (and along y) rises in every patch however it is turned."""
    for axis in (0, 1):
        ramp = (np.arange(60, dtype=np.int16) * 8 - 190).reshape(
            [-1 if a == axis else 1 for a in range(3)]
        )
        case = uniform(0)
        case = Case(
            name="ramp",
            patient="ramp",
            hu=np.broadcast_to(ramp, (60, 60, 60)).copy(),
            labels=case.labels,
            spacing_mm=case.spacing_mm,
            unlabelled=frozenset(),
        )
        for seed in range(10):
            image = patch(case, seed, MOVING, shape=(16, 16, 16))[0][0]
            halves = image.chunk(2, dim=axis)
            assert halves[1].mean() > halves[0].mean()


@pytest.mark.parametrize("seed", range(5))
def test_labels_and_image_move_together(seed: int) -> None:
    image, labels = patch(two_kidneys(), seed, MOVING, shape=(48, 56, 72), spacing_mm=2.0)
    bright, organ = image[0] > WINDOW.apply(torch.tensor(125.0)), labels > 0
    assert organ.sum() > 500
    assert 2 * (bright & organ).sum() / (bright.sum() + organ.sum()) > 0.93


def test_a_patch_at_the_cases_spacing_is_a_piece_of_the_case() -> None:
    rng = np.random.default_rng(0)
    case = Case(
        name="random",
        patient="random",
        hu=rng.integers(-190, 290, (30, 30, 30), np.int16),
        labels=np.zeros((30, 30, 30), np.uint8),
        spacing_mm=(3.0, 3.0, 3.0),
        unlabelled=frozenset(),
    )
    seed = 4
    drawn = np.random.default_rng(seed)
    drawn.random()  # whether to look for an organ: there is none
    centre = drawn.uniform(0.15, 0.85, 3) * 30
    image, _ = patch(case, seed, STILL, shape=(3, 3, 3))
    low = np.floor(centre).astype(int) - 1
    piece = case.hu[tuple(slice(n, n + 4) for n in low)].astype(float)
    for axis, part in enumerate(centre - np.floor(centre)):
        piece = np.moveaxis(piece, axis, 0)
        piece = np.moveaxis(piece[:-1] * (1 - part) + piece[1:] * part, 0, axis)
    expected = WINDOW.apply(torch.from_numpy(piece))
    torch.testing.assert_close(image[0], expected, rtol=0, atol=1e-3)


def test_outside_of_the_scan_is_air_and_background() -> None:
    image, labels = patch(uniform(100, label=1, shape=(8, 8, 8)), 0, STILL, shape=(48, 48, 48))
    inside = labels == 1
    assert 300 <= inside.sum() <= 8**3 * 1.5
    assert labels[0, 0, 0] == 0
    far = torch.nn.functional.max_pool3d(inside[None].float(), 5, 1, 2)[0] == 0
    assert (image[0][far] == -1).all()
    deep = torch.nn.functional.max_pool3d((~inside)[None].float(), 3, 1, 1)[0] == 0
    assert deep.sum() >= 6**3
    torch.testing.assert_close(image[0][deep], torch.full((int(deep.sum()),), 0.2))


def test_unknown_voxels_stay_unknown() -> None:
    _, labels = patch(uniform(50, label=UNKNOWN), 3, MOVING, shape=(16, 16, 16))
    assert (labels == UNKNOWN).all()
    _, labels = patch(two_kidneys(), 3, Augmentation())
    assert not (labels == UNKNOWN).any()


def test_most_patches_show_an_organ_where_that_is_wanted() -> None:
    case = two_kidneys()
    always = Augmentation(foreground_probability=1.0)
    with_organ = [bool((patch(case, seed, always)[1] > 0).any()) for seed in range(12)]
    assert sum(with_organ) >= 10


@pytest.mark.parametrize(
    "change",
    [
        {"blur_probability": 1.0, "blur_voxels": 0.8},
        {"thick_slice_probability": 1.0},
        {"organ_shift_probability": 1.0, "organ_shift_hu": 0.0},
        {"noise_probability": 1.0, "noise_hu": 0.0},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_smooths_leaves_uniform_tissue_as_it_is_up_to_the_patchs_edge(
    change: dict[str, float],
) -> None:
    settings = Augmentation(**{**STILL.__dict__, **change})
    image, _ = patch(uniform(100), 2, settings, shape=(12, 12, 12))
    torch.testing.assert_close(image, WINDOW.apply(torch.full_like(image, 100.0)))


def test_a_cropped_scan_loses_image_and_labels_at_the_same_places() -> None:
    settings = Augmentation(**{**STILL.__dict__, "crop_probability": 1.0})
    for seed in range(8):
        image, labels = patch(uniform(100, label=1), seed, settings, shape=(16, 16, 16))
        gone = image[0] == -1
        assert gone.any()
        assert torch.equal(gone, labels == 0)


def test_a_scan_of_one_slice_gives_finite_patches() -> None:
    image, labels = patch(uniform(50, label=1, shape=(1, 40, 40)), 1, Augmentation())
    assert torch.isfinite(image).all()
    assert set(labels.unique().tolist()) <= {0, 1}


def test_taking_the_contrast_medium_away_darkens_organs_and_nothing_else_by_default() -> None:
    settings = {**STILL.__dict__, "foreground_probability": 1.0, "native_hu": {1: 55.0, 2: 46.0}}
    before, labels = patch(two_kidneys(), 3, Augmentation(**settings))
    after, same = patch(two_kidneys(), 3, Augmentation(**{**settings, "native_probability": 1.0}))
    assert torch.equal(labels, same)
    organ = (labels == 1) | (labels == 2)
    assert organ.sum() > 500
    assert before[0][organ].mean() > WINDOW.apply(torch.tensor(220.0))
    assert after[0][organ].mean() < WINDOW.apply(torch.tensor(90.0))
    water = before[0] == WINDOW.apply(torch.tensor(0.0))
    assert torch.equal(before[0][water], after[0][water])
