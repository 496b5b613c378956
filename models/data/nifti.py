"""NIfTI files of data sets: one channel, on the grid that their header states."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import GeometryError, TrainingError
from models.geometry import VolumeGeometry


@dataclass(frozen=True, kw_only=True, eq=False)
class NiftiFile:
    """A NIfTI file whose header was read.

    Parameters
    ----------
    geometry
        Shape `(D, H, W)` and LPS affine (NIfTI itself is RAS).
    placed
        Whether the header states an sform or qform; without either the grid is a guess.
    forms_apart_mm
        Largest distance of a corner by sform and by qform; 0 where one is absent, infinite where
        the qform is no rotation: then the sform holds.
    """

    path: Path
    geometry: VolumeGeometry
    placed: bool
    forms_apart_mm: float
    _image: Any = field(repr=False)

    def read(self) -> NDArray[Any]:
        """Values `(D, H, W)` in their own type, or float32 where they are scaled.

        Raises
        ------
        TrainingError
            If the file is cut short or damaged.
        """
        proxy = self._image.dataobj
        plain = (proxy.slope, proxy.inter) in ((1, 0), (1.0, 0.0))
        try:
            values = np.asarray(proxy) if plain else np.asarray(proxy, np.float32)
        except (OSError, EOFError, ValueError, zlib.error) as exc:
            raise TrainingError(f"{self.path}: expected a whole file, found {exc}") from exc
        turned: NDArray[Any] = values.reshape(values.shape[:3]).transpose(2, 1, 0)
        return turned  # (i, j, k) -> (k, j, i)


def open_nifti(path: Path) -> NiftiFile:
    """Read a NIfTI header.

    A fourth dimension of length 1 is dropped, as some tasks of the Decathlon have it.

    Raises
    ------
    TrainingError
        If nibabel is absent, or the file is no volume of one channel on an orthogonal grid.
    """
    try:
        import nibabel
        from nibabel.spatialimages import HeaderDataError
    except ImportError as exc:
        raise TrainingError(
            "reading NIfTI needs nibabel: pip install '.[train]' in viscera's sources"
        ) from exc
    try:
        image: Any = nibabel.load(path)
    except (
        OSError,
        EOFError,
        ValueError,  # a qform that is no rotation
        zlib.error,
        HeaderDataError,
        nibabel.filebasedimages.ImageFileError,
    ) as exc:
        raise TrainingError(f"{path}: expected a NIfTI file, found {exc}") from exc
    shape = tuple(int(n) for n in image.shape)
    if not isinstance(image, nibabel.Nifti1Image) or shape[3:] not in ((), (1,)) or len(shape) < 3:
        raise TrainingError(
            f"{path}: expected a NIfTI volume of three dimensions, found the shape {shape}"
        )
    try:
        geometry = _geometry(shape, np.asarray(image.affine, np.float64))
    except GeometryError as exc:
        raise TrainingError(f"{path}: {exc}") from exc
    q_code, s_code = int(image.header["qform_code"]), int(image.header["sform_code"])
    apart = _forms_apart_mm(shape, image) if q_code > 0 and s_code > 0 else 0.0
    return NiftiFile(
        path=path,
        geometry=geometry,
        placed=bool(q_code > 0 or s_code > 0),
        forms_apart_mm=apart,
        _image=image,
    )


def _geometry(shape: tuple[int, ...], affine_ras: NDArray[np.float64]) -> VolumeGeometry:
    width, height, depth = shape[:3]
    affine = np.diag((-1.0, -1.0, 1.0, 1.0)) @ affine_ras
    return VolumeGeometry(shape=(depth, height, width), affine_lps=affine)


def _forms_apart_mm(shape: tuple[int, ...], image: Any) -> float:
    from nibabel.spatialimages import HeaderDataError

    try:
        apart = np.asarray(image.get_sform() - image.get_qform(), np.float64)
    except (ValueError, HeaderDataError):  # of a quaternion longer than 1, of negative voxels
        return math.inf
    corners = np.stack(np.meshgrid(*[(0, n - 1) for n in shape[:3]]), axis=-1).reshape(-1, 3)
    distance = float(np.linalg.norm(corners @ apart[:3, :3].T + apart[:3, 3], axis=1).max())
    return distance if math.isfinite(distance) else math.inf


def write_nifti(array: NDArray[np.generic], geometry: VolumeGeometry, path: Path) -> None:
    """Write `(D, H, W)` as NIfTI, its folder made where there is none; raises TrainingError."""
    try:
        import nibabel
    except ImportError as exc:
        raise TrainingError(
            "writing NIfTI needs nibabel: pip install '.[train]' in viscera's sources"
        ) from exc
    path.parent.mkdir(parents=True, exist_ok=True)
    affine_ras = np.diag((-1.0, -1.0, 1.0, 1.0)) @ geometry.affine_lps
    make: Any = nibabel.Nifti1Image  # it has no types
    nibabel.save(make(np.ascontiguousarray(array.transpose(2, 1, 0)), affine_ras), path)
