"""What mirrors do to left and right."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch

from models.errors import TrainingError
from models.training.cases import UNKNOWN
from models.training.flips import AXES, Flip, QuarterTurns, Sides
from models.training.variation import Variation, augmentation_from_json, draw_sample
from tests.bodies import CLASSES, body, sides_are_right

SIDES = Sides.of(CLASSES)


def always(*axes: str, sides: Sides = SIDES) -> Flip:
    return Flip(probability=1.0, axes=axes, sides=sides)


def flipped(flip: Flip) -> tuple[torch.Tensor, torch.Tensor, frozenset[int]]:
    case = body(unlabelled=frozenset({1, 3}))
    hu, labels = torch.from_numpy(case.hu).float(), torch.from_numpy(case.labels)
    return flip.apply(hu, labels, case.unlabelled, np.random.default_rng(0))


def test_the_test_body_as_it_is_has_its_sides_right() -> None:
    case = body()
    hu, labels = torch.from_numpy(case.hu), torch.from_numpy(case.labels)
    assert sides_are_right(hu, labels)
    assert torch.equal(hu, hu.flip(2))  # nothing but the labels tells its sides
    assert not sides_are_right(hu, labels.flip(2))


@pytest.mark.parametrize(
    "axes", [c for n in (1, 2, 3) for c in combinations(AXES, n)], ids=lambda axes: "".join(axes)
)
def test_left_stays_the_left_of_the_body_after_any_flips(axes: tuple[str, ...]) -> None:
    hu, labels, unlabelled = flipped(always(*axes))
    assert sides_are_right(hu, labels)
    mirrored = len(axes) % 2 == 1
    assert unlabelled == (frozenset({2, 3}) if mirrored else frozenset({1, 3}))
    assert (labels == UNKNOWN).sum() == (torch.from_numpy(body().labels) == UNKNOWN).sum()


@pytest.mark.parametrize("axis", AXES)
def test_a_flip_along_any_one_axis_without_the_exchange_puts_left_on_the_right(axis: str) -> None:
    hu, labels, _ = flipped(always(axis, sides=Sides()))
    assert not sides_are_right(hu, labels)


def test_left_stays_the_left_of_the_body_under_everything_that_moves_voxels() -> None:
    variation = augmentation_from_json(
        {
            "flip": {"probability": 0.5},
            "rotate90": {"probability": 0.5},
            "warp": {"probability": 0.7, "rotation_degrees": 20, "scale": 0.1, "elastic_mm": 1},
        },
        3,
        CLASSES,
    )
    case = body()
    for seed in range(60):
        rng = np.random.default_rng(seed)
        sample = draw_sample(case, (0, 0, 0), (28, 28, 28), rng, variation, lambda hu: hu)
        assert sides_are_right(sample.image[0], sample.labels)


def test_left_stays_left_in_slices_seen_from_the_feet() -> None:
    """In a slice the head is behind the picture; only the back can be seen to move."""
    variation = augmentation_from_json(
        {"flip": {}, "rotate90": {"probability": 0.5}, "warp": {"rotation_degrees": 45}},
        2,
        CLASSES,
    )
    case = body()
    for seed in range(60):
        rng = np.random.default_rng(seed)
        sample = draw_sample(case, (13, 0, 0), (1, 28, 28), rng, variation, lambda hu: hu)
        hu, labels = sample.image[0, 0], sample.labels[0]
        where = [
            part.nonzero().float().mean(dim=0) for part in (hu > 420, labels == 1, labels == 2)
        ]
        middle = (where[1] + where[2]) / 2
        back, across = where[0] - middle, where[1] - where[2]
        assert back[0] * across[1] - back[1] * across[0] > 0  # y towards the back, then x


def test_a_mirrored_body_has_its_organs_labels_where_its_organs_are() -> None:
    _, labels, _ = flipped(always("x"))
    truth = torch.from_numpy(body().labels)
    assert torch.equal(labels, truth)  # the body is its own mirror image, so its labels are too
    _, labels, _ = flipped(always("z", "y"))
    assert torch.equal(labels == 1, (truth == 1).flip(0, 1))


def test_pairs_are_found_by_the_words_left_and_right() -> None:
    sides = Sides.of({"liver": 1, "kidney_left": 2, "kidney_right": 4, "right_adrenal_gland": 3})
    assert sides.pairs == ((2, 4),)
    assert sides.alone == ("right_adrenal_gland",)
    assert Sides.of({"liver": 1, "cleft": 2}) == Sides()
    labels = torch.tensor([0, 1, 2, 3, 4, UNKNOWN], dtype=torch.uint8)
    assert sides.swap(labels).tolist() == [0, 1, 4, 3, 2, UNKNOWN]
    assert sides.swap_classes(frozenset({1, 2})) == {1, 4}


def test_flips_are_refused_where_one_side_of_a_pair_is_no_class() -> None:
    with pytest.raises(TrainingError, match="the other side of kidney_left is no class"):
        augmentation_from_json({"flip": {}}, 3, {"liver": 1, "kidney_left": 2})


def test_flips_that_do_not_exchange_paired_organs_are_refused() -> None:
    with pytest.raises(TrainingError, match="expected swap to be true"):
        augmentation_from_json({"flip": {"swap": False}}, 2, CLASSES)
    unpaired = augmentation_from_json({"flip": {"swap": False}}, 2, {"liver": 1, "spleen": 2})
    assert unpaired.flip is not None


def test_slices_cannot_be_flipped_along_z() -> None:
    with pytest.raises(TrainingError, match="expected axes among"):
        augmentation_from_json({"flip": {"axes": ["z"]}}, 2, CLASSES)
    with pytest.raises(TrainingError, match="expected axes among"):
        augmentation_from_json({"flip": {"axes": ["left"]}}, 3, CLASSES)


def test_each_axis_is_flipped_as_often_as_the_recipe_says() -> None:
    case = body()
    hu = torch.zeros(2, 2, 2)
    hu[0, 0, 0] = 1
    flip = Flip(probability=0.1, sides=SIDES)
    counts = np.zeros(3)
    rng = np.random.default_rng(5)
    for _ in range(2000):
        moved, _, _ = flip.apply(hu, torch.zeros(2, 2, 2, dtype=torch.uint8), case.unlabelled, rng)
        counts += moved.nonzero()[0].numpy()
    assert (np.abs(counts / 2000 - 0.1) < 0.02).all()


def test_quarter_turns_need_slices_as_high_as_wide() -> None:
    turns = QuarterTurns(probability=1.0)
    hu = torch.arange(8.0).reshape(1, 2, 4)
    with pytest.raises(TrainingError, match="as high as wide, found 2 x 4"):
        turns.apply(hu, hu, np.random.default_rng(0))
    assert Variation().turns is None
