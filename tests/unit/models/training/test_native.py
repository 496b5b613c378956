"""Contrast medium taken away: organs and vessels come down, all else stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from models.training.cases import read_pair
from models.training.native import Native, native_hu_of, noise_hu

DATA = Path(__file__).parents[5] / "shared" / "data"
CLASSES = {"liver": 1, "kidney_left": 2, "trachea": 3}
NATIVE = Native(probability=1.0, native_hu=native_hu_of(CLASSES))
SPACING = (3.0, 3.0, 3.0)


def scan() -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Noisy liver, kidney, aorta, muscle, fat, gas, a cyst, and a bone with marrow."""
    k, j, i = torch.meshgrid(*(torch.arange(n) for n in (40, 56, 56)), indexing="ij")

    def ball(z: int, y: int, x: int, radius: float) -> Tensor:
        return (k - z) ** 2 + (j - y) ** 2 + (i - x) ** 2 < radius**2

    parts = {
        "muscle": ball(20, 10, 40, 7),
        "liver": ball(20, 20, 15, 11),
        "kidney": ball(20, 44, 12, 6),
        "aorta": (j - 30) ** 2 + (i - 36) ** 2 < 3.5**2,
        "gas": ball(10, 28, 50, 4),
        "bone": (j - 44) ** 2 + (i - 36) ** 2 < 7**2,
    }
    parts["cyst"] = ball(20, 20, 15, 4)
    parts["marrow"] = (j - 44) ** 2 + (i - 36) ** 2 < 5**2
    values = {"muscle": 55, "liver": 115, "kidney": 190, "aorta": 175, "gas": -900, "cyst": 8}
    values |= {"bone": 650, "marrow": 170}
    hu = torch.full((40, 56, 56), -100.0)
    for name in ("muscle", "liver", "cyst", "kidney", "aorta", "gas", "bone", "marrow"):
        hu[parts[name]] = values[name]
    hu += 12 * torch.randn(hu.shape, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(hu.shape, dtype=torch.uint8)
    labels[parts["liver"]] = 1
    labels[parts["kidney"]] = 2
    parts["liver"] = parts["liver"] & ~ball(20, 20, 15, 5)
    parts["bone"] = parts["bone"] & ~((j - 44) ** 2 + (i - 36) ** 2 < 6**2)
    return hu, labels, parts


def test_organs_and_vessels_come_down_and_all_else_stays() -> None:
    hu, labels, parts = scan()
    for seed in range(4):
        native = NATIVE.apply(hu, labels, np.random.default_rng(seed), SPACING)
        mean = {name: float(native[part].mean()) for name, part in parts.items()}
        assert 35 < mean["liver"] < 85
        assert 12 < mean["kidney"] < 60
        assert 35 < mean["aorta"] < 85  # not labelled, and yet not bright
        assert 35 < mean["muscle"] < 58
        for name in ("gas", "cyst"):
            assert mean[name] == pytest.approx(float(hu[parts[name]].mean()), abs=3)
        assert mean["bone"] == pytest.approx(650, abs=25)
        assert mean["marrow"] == pytest.approx(170, abs=15)
        fat = (hu < -60) & (hu > -140)
        assert torch.equal(native[fat], hu[fat])


def test_tissue_keeps_its_noise() -> None:
    hu, labels, parts = scan()
    native = NATIVE.apply(hu, labels, np.random.default_rng(1), SPACING)
    assert float(hu[parts["aorta"]].std()) == pytest.approx(12, abs=1)
    for name in ("liver", "aorta"):
        assert 8 < float(native[parts[name]].std()) < 16


def test_the_measured_noise_is_that_of_the_picture() -> None:
    noise = 17 * torch.randn((30, 40, 40), generator=torch.Generator().manual_seed(2))
    assert noise_hu(100 + noise, torch.full(noise.shape, 50.0)) == pytest.approx(17, rel=0.05)
    assert noise_hu(100 + noise, torch.zeros(noise.shape)) == 0


def test_an_edge_between_label_and_tissue_is_faded() -> None:
    hu = torch.full((20, 20, 20), 150.0)
    labels = torch.zeros(hu.shape, dtype=torch.uint8)
    labels[:, :, 10:] = 2  # a kidney that goes on where its label ends
    native = NATIVE.apply(hu, labels, np.random.default_rng(0), SPACING)
    along = native.mean(dim=(0, 1))
    assert abs(float(along[0] - along[-1])) > 5
    assert float((along[1:] - along[:-1]).abs().max()) < 0.6 * abs(float(along[0] - along[-1]))


def test_people_differ_and_the_generator_alone_decides() -> None:
    hu, labels, parts = scan()
    livers = [
        float(NATIVE.apply(hu, labels, np.random.default_rng(seed), SPACING)[parts["liver"]].mean())
        for seed in (0, 0, 1, 2, 3)
    ]
    assert livers[0] == livers[1]
    assert np.std(livers[1:]) > 2


def test_one_slice_and_a_network_without_known_organs_are_no_exception() -> None:
    hu, labels, _ = scan()
    native = Native(probability=1.0).apply(
        hu[20:21], labels[20:21], np.random.default_rng(0), SPACING
    )
    assert native.shape == (1, 56, 56)
    assert torch.isfinite(native).all()
    assert float(native[labels[20:21] == 1].mean()) < 80


def test_classes_are_found_by_their_organs_names() -> None:
    assert native_hu_of({"liver": 4, "trachea": 1, "spleen": 2}) == {4: 55.0, 2: 46.0}


def test_a_real_portal_scan_looks_as_without_contrast_medium() -> None:
    image = DATA / "train" / "hcc-002-portal_ct.nii.gz"
    if not image.exists():
        pytest.skip("the shared data is absent")
    volume, label_map = read_pair(image, DATA / "train" / "hcc-002-portal_label.nii.gz")
    hu = torch.from_numpy(volume.hu[::2, ::2, ::2].astype(np.float32))
    labels = torch.from_numpy(label_map.labels[::2, ::2, ::2].copy())
    organs = {"spleen": 1, "kidney_left": 3, "liver": 6, "kidney_right": 9}
    native = Native(native_hu=native_hu_of(organs))
    after = native.apply(hu, labels, np.random.default_rng(0), (4.0, 4.0, 4.0))
    for name, number in organs.items():
        assert float(hu[labels == number].median()) > 85
        expected = native_hu_of(organs)[number]
        assert float(after[labels == number].median()) == pytest.approx(expected, abs=25), name
    # vessels and other tissue that took up contrast medium
    assert ((after > 100) & (after < 250)).sum() < 0.5 * ((hu > 100) & (hu < 250)).sum()
    # bone stays
    assert ((after > 450) & (hu > 450)).sum() > 0.85 * (hu > 450).sum()
