"""People of the miniature data sets have what the recipes are to learn."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from models.data.miniature_people import ORGANS, person, with_tumour

MM = 6.0


def test_every_organ_has_voxels_even_the_adrenals() -> None:
    someone = person(2, MM)
    voxels = np.bincount(someone.organs.labels.ravel(), minlength=len(ORGANS) + 1)
    assert min(voxels[number] for number in ORGANS.values()) >= 5
    right = voxels[ORGANS["adrenal_right"]] * MM**3 / 1000
    left = voxels[ORGANS["adrenal_left"]] * MM**3 / 1000
    assert 1.0 < right < 6.0  # ml; a real one has 4 to 5
    assert 1.0 < left < 6.0


def test_the_right_adrenal_lies_on_the_patients_right() -> None:
    someone = person(2, MM)
    centres = {
        organ: ndimage.center_of_mass(someone.organs.labels == ORGANS[organ])
        for organ in ("adrenal_right", "adrenal_left", "liver", "kidney_right")
    }  # (k, j, i): k grows to the head, i to the left
    assert centres["adrenal_right"][2] < centres["adrenal_left"][2]
    assert centres["liver"][2] < centres["adrenal_left"][2]
    assert centres["adrenal_right"][0] > centres["kidney_right"][0]


def test_a_tumour_is_a_dark_ball_of_up_to_4_cm_within_the_liver() -> None:
    someone = person(2, MM)
    volume, tumour = with_tumour(someone, 2)
    liver = someone.organs.labels == ORGANS["liver"]
    assert liver[tumour].all()
    assert 15.0 < tumour.sum() * MM**3 / 1000 < 4 / 3 * np.pi * 2.2**3
    assert abs(float(volume.hu[tumour].mean()) - 42) < 3
    assert float(volume.hu[liver & ~tumour].mean()) > 80
    assert (volume.hu[~tumour] == someone.hu.hu[~tumour]).all()
