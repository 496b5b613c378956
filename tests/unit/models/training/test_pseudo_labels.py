"""Pseudo-labels: what becomes a label, what becomes unknown, and what never changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.bundle import Bundle
from models.errors import TrainingError
from models.training.cases import UNKNOWN, Case
from models.training.pseudo_labels import (
    Averager,
    FilledCases,
    PseudoLabels,
    View,
    fill_unlabelled,
)

CPU = torch.device("cpu")
#: HU of background, of classes 1 and 2, and of what may be either background or class 2.
WATER, ONE, TWO, DOUBT = 0, 150, 260, 80
Box = tuple[slice, slice, slice]


def box(k: int, j: int, i: int, size: int = 10) -> Box:
    return slice(k, k + size), slice(j, j + size), slice(i, i + size)


LABELLED, BRIGHT, OPEN = box(2, 2, 2), box(2, 24, 24), box(24, 24, 2)
MAYBE = box(26, 4, 26, size=6)
DECIDED = box(24, 24, 24)


class ByBrightness(nn.Module):
    """Sure of all but one band of brightness."""

    def forward(self, x: Tensor) -> Tensor:
        nothing = torch.zeros_like(x)
        one, two = (x > 0.2) & (x < 0.65), x >= 0.65
        maybe = (x > 0.0) & (x <= 0.2)
        sure = 9.0
        background = sure * (~one & ~two).float()
        return torch.cat([background, sure * one, sure * (two | maybe), nothing], dim=1)


@dataclass(frozen=True, kw_only=True)
class KnowingBundle(Bundle):
    """A bundle whose network is known by heart."""

    def load_network(self) -> nn.Module:
        return ByBrightness()


@pytest.fixture
def bundle(tiny_bundle: Bundle) -> Bundle:
    return KnowingBundle.read(tiny_bundle.folder)


@pytest.fixture
def case() -> Case:
    """Class 1 is labelled, 2 and 3 are not; one box is unknown, and one's labels are odd."""
    hu = np.full((36, 36, 36), WATER, np.int16)
    labels = np.zeros(hu.shape, np.uint8)
    hu[LABELLED], labels[LABELLED] = ONE, 1
    hu[BRIGHT] = TWO
    hu[MAYBE] = DOUBT
    hu[OPEN], labels[OPEN] = ONE, UNKNOWN
    hu[DECIDED], labels[DECIDED] = TWO, 1
    return Case(
        name="a/1",
        patient="a",
        hu=hu,
        labels=labels,
        spacing_mm=(3.0, 3.0, 3.0),
        unlabelled=frozenset({2, 3}),
    )


def inner(labels: NDArray[np.uint8], where: Box) -> set[int]:
    """Values of a box without its edge, which views of other sizes smear."""
    k, j, i = (slice(s.start + 2, s.stop - 2) for s in where)
    return set(np.unique(labels[k, j, i]).tolist())


def test_the_sure_is_filled_in_and_the_doubtful_becomes_unknown(case: Case, bundle: Bundle) -> None:
    found = fill_unlabelled(case, Averager(bundle, CPU))
    assert inner(found.labels, BRIGHT) == {2}
    assert inner(found.labels, MAYBE) == {UNKNOWN}
    assert inner(found.labels, OPEN) == {1}
    assert inner(found.labels, box(13, 13, 13)) == {0}
    assert found.unlabelled == {3}  # of which nothing was seen
    assert (found.name, found.patient, found.spacing_mm) == ("a/1", "a", (3.0, 3.0, 3.0))
    assert np.array_equal(found.hu, case.hu)


def test_a_labelled_voxel_never_changes(case: Case, bundle: Bundle) -> None:
    before = case.labels.copy()
    found = fill_unlabelled(case, Averager(bundle, CPU))
    labelled = (before != 0) & (before != UNKNOWN)
    assert np.array_equal(found.labels[labelled], before[labelled])
    assert np.array_equal(case.labels, before)  # nor does the case it was made from
    # a labelled background is a label too
    known = replace(case, unlabelled=frozenset())
    found = fill_unlabelled(known, Averager(bundle, CPU))
    assert np.array_equal(found.labels[before != UNKNOWN], before[before != UNKNOWN])
    assert inner(found.labels, OPEN) == {1}


def test_labels_come_back_on_the_grid_of_the_case(case: Case, bundle: Bundle) -> None:
    """Twice as fine along i, and with slices twice as thick."""
    fine = replace(
        case,
        hu=np.repeat(case.hu, 2, axis=2)[::2].copy(),
        labels=np.repeat(case.labels, 2, axis=2)[::2].copy(),
        spacing_mm=(6.0, 3.0, 1.5),
    )
    found = fill_unlabelled(fine, Averager(bundle, CPU, views=(View(),)))
    assert found.labels.shape == fine.hu.shape
    assert found.labels[3:5, 26:32, 52:64].tolist() == np.full((2, 6, 12), 2).tolist()
    assert found.unlabelled == {3}


def test_a_few_voxels_are_no_organ(case: Case, bundle: Bundle) -> None:
    """0.2 ml of class 2, and much that may be it: all stays as it was."""
    hu = np.full_like(case.hu, WATER)
    hu[20:22, 20:22, 20:22] = TWO
    hu[MAYBE] = DOUBT
    found = fill_unlabelled(
        replace(case, hu=hu, labels=np.zeros_like(case.labels)), Averager(bundle, CPU)
    )
    assert not found.labels.any()
    assert found.unlabelled == {2, 3}


def test_a_mere_piece_of_an_organ_is_left_unlabelled(case: Case, bundle: Bundle) -> None:
    """The teacher is sure of 1.7 ml of class 2 and expects 2.9 ml more: none of it is certain."""
    hu = case.hu.copy()
    hu[BRIGHT], hu[DECIDED] = WATER, WATER
    hu[box(2, 2, 24, size=4)] = TWO
    piece = replace(case, hu=hu)
    found = fill_unlabelled(piece, Averager(bundle, CPU, views=(View(),)))
    assert found.unlabelled == {2, 3}
    assert inner(found.labels, MAYBE) == {0}
    hu[MAYBE] = WATER
    found = fill_unlabelled(piece, Averager(bundle, CPU, views=(View(),)))
    assert found.unlabelled == {3}


def test_a_case_without_gaps_needs_no_teacher(case: Case, bundle: Bundle) -> None:
    known = replace(case, labels=np.ones_like(case.labels), unlabelled=frozenset())
    assert fill_unlabelled(known, Averager(bundle, CPU)) is known


def test_what_one_view_is_sure_of_may_be_doubtful_in_others(case: Case, bundle: Bundle) -> None:
    """Just bright enough: a little darker, and it is no longer class 2."""
    hu = case.hu.copy()
    hu[BRIGHT] = 215  # 0.66
    hu[DECIDED] = ONE
    near = replace(case, hu=hu)
    once = fill_unlabelled(near, Averager(bundle, CPU, views=(View(),)))
    assert inner(once.labels, BRIGHT) == {2}
    often = fill_unlabelled(near, Averager(bundle, CPU))
    assert 2 in often.unlabelled
    assert inner(often.labels, BRIGHT) == {0}


def test_views_are_averaged_in_the_place_of_the_image(case: Case, bundle: Bundle) -> None:
    image = bundle.preprocessing.prepare(case.volume).image
    plain = Averager(bundle, CPU, views=(View(),)).mean(image)
    torch.testing.assert_close(plain, ByBrightness()(image).softmax(dim=1)[0], atol=1e-5, rtol=0)
    views = (View(), View(gain=0.7, offset=0.05), View(shift=0.4))
    darker = (image * 0.7 + 0.05 * 2).clamp(-1, 1)
    other = ByBrightness()(darker).softmax(dim=1)[0]
    mean = Averager(bundle, CPU, views=views).mean(image)
    torch.testing.assert_close(mean, (2 * plain + other) / 3, atol=1e-5, rtol=0)
    smaller = Averager(bundle, CPU, views=(View(scale=0.9),)).mean(image)
    assert smaller.shape == plain.shape
    agree = smaller.argmax(dim=0) == plain.argmax(dim=0)
    assert agree.float().mean() > 0.9
    torch.testing.assert_close(smaller.sum(dim=0), torch.ones(36, 36, 36))


def test_cases_are_kept_by_all_that_their_labels_depend_on(
    case: Case, bundle: Bundle, tmp_path: Path
) -> None:
    settings = PseudoLabels(teacher="t")
    cases = FilledCases([case], bundle, settings, tmp_path / "p", CPU)
    expected = fill_unlabelled(case, Averager(bundle, CPU))
    assert len(cases) == 1
    for found in (cases[0], cases[:][0]):
        assert np.array_equal(found.labels, expected.labels)
        assert found.unlabelled == expected.unlabelled
    (file,) = (tmp_path / "p").iterdir()
    made = file.stat().st_mtime_ns
    FilledCases([case], bundle, settings, tmp_path / "p", CPU)
    assert file.stat().st_mtime_ns == made
    others = (
        (case, replace(settings, least_confidence=0.95)),
        (replace(case, unlabelled=frozenset({2})), settings),
        (replace(case, hu=case.hu + np.int16(1)), settings),
    )
    for number, (other, setting) in enumerate(others):
        FilledCases([other], bundle, setting, tmp_path / "p", CPU)
        assert len(list((tmp_path / "p").iterdir())) == 2 + number


def test_a_damaged_file_is_told(case: Case, bundle: Bundle, tmp_path: Path) -> None:
    cases = FilledCases([case], bundle, PseudoLabels(teacher="t"), tmp_path / "p", CPU)
    (file,) = (tmp_path / "p").iterdir()
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(TrainingError, match=rf"cannot read the pseudo-labels .*{file.name}"):
        cases[0]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"teacher": ""}, "expected a teacher"),
        ({"least_confidence": 0.4}, "least_confidence of 0.5 to below 1, found 0.4"),
        ({"least_confidence": 1.0}, "to below 1"),
        ({"least_confidence": "0.9"}, "expected a number"),
    ],
)
def test_wrong_settings_are_told(wrong: dict[str, object], told: str) -> None:
    with pytest.raises(TrainingError, match=told):
        PseudoLabels(**{"teacher": "t", **wrong})  # type: ignore[arg-type]
