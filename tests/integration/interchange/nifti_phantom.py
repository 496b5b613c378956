"""A phantom, as our volume and as a NIfTI file with the axes turned as told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.geometry import LabelMap, Volume
from models.phantom import make_phantom


def phantom_volume(
    spacing_mm: tuple[float, float, float], shape: tuple[int, int, int]
) -> tuple[Volume, LabelMap]:
    phantom = make_phantom(2, spacing_mm, shape, phase="portal")
    return phantom.volume, phantom.label_map


def write_nifti(path: Path, volume: Volume, axcodes: str = "LPS") -> None:
    """Write a volume with its axes turned to `axcodes`, such as `RAS`."""
    import nibabel

    affine_ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.geometry.affine_lps
    image = nibabel.Nifti1Image(volume.hu.transpose(2, 1, 0), affine_ras)
    have = nibabel.io_orientation(image.affine)
    turn = nibabel.orientations.ornt_transform(have, nibabel.orientations.axcodes2ornt(axcodes))
    turned = image.as_reoriented(turn)
    assert "".join(nibabel.aff2axcodes(turned.affine)) == axcodes
    nibabel.save(turned, path)


def read_nifti_as(path: Path, volume: Volume) -> NDArray[np.uint8]:
    """A NIfTI's values on a volume's grid `(D, H, W)`, whatever its axes are."""
    import nibabel

    image = nibabel.load(path)
    affine_ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.geometry.affine_lps
    have = nibabel.io_orientation(image.affine)
    wanted = nibabel.io_orientation(affine_ras)
    turned = image.as_reoriented(nibabel.orientations.ornt_transform(have, wanted))
    np.testing.assert_allclose(turned.affine, affine_ras, atol=1e-3)
    values: NDArray[np.uint8] = np.asarray(turned.dataobj).astype(np.uint8).transpose(2, 1, 0)
    return values
