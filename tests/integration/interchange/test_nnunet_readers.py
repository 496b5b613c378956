"""What a network trained by nnU-Net sees of us, beside what nnU-Net's readers made of a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.interchange.axes import turned
from models.interchange.nnunet import read_nnunet
from tests.integration.interchange.nifti_phantom import phantom_volume, write_nifti
from tests.unit.models.interchange.foreign_folders import plans, write_nnunet

sitk = pytest.importorskip("SimpleITK")
nibabel = pytest.importorskip("nibabel")


class Witness(nn.Module):
    """Keeps what it sees."""

    def forward(self, windows: Tensor) -> Tensor:
        self.seen = windows[0, 0].numpy()
        return windows


def read_by_simpleitk(path: Path) -> NDArray[Any]:
    image = sitk.DICOMOrient(sitk.ReadImage(str(path)), "RAS")
    values: NDArray[Any] = sitk.GetArrayFromImage(image)
    return values


def read_by_nibabel(path: Path) -> NDArray[Any]:
    image = nibabel.load(path)
    turn = nibabel.io_orientation(image.affine)
    return np.asarray(image.as_reoriented(turn).dataobj).transpose(2, 1, 0)


@pytest.mark.parametrize("axcodes", ["LPS", "RAS", "ASL"])
@pytest.mark.parametrize(
    ("reader", "read"),
    [
        ("SimpleITKIOWithReorient", read_by_simpleitk),
        ("NibabelIOWithReorient", read_by_nibabel),
    ],
)
def test_the_network_sees_the_axes_that_its_reader_gave_it(
    tmp_path: Path, reader: str, read: Callable[[Path], NDArray[Any]], axcodes: str
) -> None:
    volume, _ = phantom_volume((3.0, 2.0, 2.0), (8, 24, 30))
    write_nifti(tmp_path / "ct.nii.gz", volume, axcodes)
    write_nnunet(tmp_path / "model", {**plans(), "image_reader_writer": reader})
    bundle = read_nnunet(tmp_path / "model")
    witness = Witness()
    canonical = torch.from_numpy(volume.hu.astype(np.float32))[None, None]
    turned(witness, bundle.axcodes)(canonical)
    np.testing.assert_array_equal(witness.seen, read(tmp_path / "ct.nii.gz"))
