"""What a candidate is measured and judged by, read from its headers once.

| trait | from |
|---|---|
| slices | distinct positions along the normal |
| slice distance | the median distance between them |
| coverage | the extent of the volume's grid; of slices that form none: slices times distance |
| kernel | ConvolutionKernel, by the usual names: soft or sharp (lung, bone, edges) |
| contrast | see `operators.contrast` |
| fault, repairs | what `operators.slice_stack` says |

A trait that the headers do not tell is None.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from pydicom import Dataset

from operators.contrast import contrast_of
from operators.elements import numbers_of, values_of
from operators.errors import VolumeError
from operators.planes import plane_of
from operators.series import Candidate
from operators.slice_checks import POSITION_TOLERANCE_MM
from operators.slice_stack import LARGEST_GAP_MM, stack_slices

KERNELS = ("soft", "sharp")

#: Kernels for lung, bone and edges: by name, Siemens B/H/T/U 50 and up and Br/Hr/Qr/... 56 and
#: up, Canon (Toshiba) FC30-39, 50-59 and 80-89, Philips D, E, L and YA to YE.
_SHARP_KERNEL = re.compile(
    r".*(LUNG|BONE|EDGE|SHARP|DETAIL).*|[BHTU][5-9]\d[A-Z]?|[A-Z][A-Z](5[6-9]|[6-9]\d)[A-Z]?"
    r"|FC[358]\d|[DEL]|Y[A-E]",
    re.IGNORECASE,
)
#: The rest of the same makers' names.
_SOFT_KERNEL = re.compile(
    r".*(STANDARD|STND|SOFT|SMOOTH).*|[BHTU][1-4]\d[A-Z]?|[A-Z][A-Z]([1-4]\d|5[0-5])[A-Z]?"
    r"|FC\d\d|[ABC]|U[ABC]",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Traits:
    """What is known of a candidate.

    Parameters
    ----------
    candidate
        Whose traits these are.
    fault
        Why the frames form no volume; None where they do.
    repairs
        How the volume differs from the frames, in sentences.
    plane
        `Axial`, `Coronal` or `Sagittal`, whichever is nearest.
    original
        Whether ImageType begins with `ORIGINAL\\PRIMARY`.
    slices, slice_distance_mm, coverage_mm, pixel_spacing_mm
        Measures, in mm where they are lengths; pixel spacing as between rows and columns.
    kernel
        `soft` or `sharp`.
    contrast
        One of `operators.contrast.PHASES`.
    """

    candidate: Candidate = field(repr=False)
    fault: str | None
    repairs: tuple[str, ...]
    plane: str | None
    original: bool
    slices: int | None
    slice_distance_mm: float | None
    coverage_mm: float | None
    pixel_spacing_mm: tuple[float, ...] | None
    kernel: str | None
    contrast: str | None

    @cached_property
    def headers(self) -> list[Dataset]:
        """The header of every frame."""
        return [frame.header for frame in self.candidate.frames]

    @property
    def regular(self) -> bool:
        """Whether the frames are a regular grid as they are."""
        return self.fault is None and not self.repairs

    @property
    def extent(self) -> str:
        """Coverage in words."""
        slices = "1 slice" if self.slices == 1 else f"{self.slices or 'no placed'} slices"
        return f"{self.coverage_mm or 0:.0f} mm ({slices})"


def traits_of(candidate: Candidate, largest_gap_mm: float = LARGEST_GAP_MM) -> Traits:
    """Read the traits of a candidate.

    Parameters
    ----------
    candidate
        CT images that may form one volume.
    largest_gap_mm
        As `operators.slice_stack.stack_slices` takes it.
    """
    header = candidate.header
    slices, distance_mm = _positions(candidate)
    coverage_mm = None if slices is None or distance_mm is None else slices * distance_mm
    fault: str | None = None
    repairs: tuple[str, ...] = ()
    try:
        stack = stack_slices(candidate.frames, largest_gap_mm)
    except VolumeError as exc:
        fault = str(exc)
    else:
        repairs = stack.repairs
        coverage_mm = stack.grid.shape[0] * stack.grid.spacing_mm[0]
    return Traits(
        candidate=candidate,
        fault=fault,
        repairs=repairs,
        plane=plane_of(header),
        original=values_of(header, "ImageType")[:2] == ("ORIGINAL", "PRIMARY"),
        slices=slices,
        slice_distance_mm=distance_mm,
        coverage_mm=coverage_mm,
        pixel_spacing_mm=numbers_of(header, "PixelSpacing", 2),
        kernel=_kernel(header),
        contrast=contrast_of(header),
    )


def _positions(candidate: Candidate) -> tuple[int | None, float | None]:
    """The number of distinct positions along the normal and their median distance in mm."""
    cosines = numbers_of(candidate.header, "ImageOrientationPatient", 6)
    found = [numbers_of(f.header, "ImagePositionPatient", 3) for f in candidate.frames]
    placed = [position for position in found if position is not None]
    if cosines is None or not placed:
        return None, None
    with np.errstate(all="ignore"):  # absurd numbers end as NaN or infinity
        heights_mm = np.sort(np.array(placed) @ np.cross(cosines[:3], cosines[3:]))
        gaps = np.diff(heights_mm)
    if not (np.isfinite(heights_mm).all() and np.isfinite(gaps).all()):
        return None, None
    gaps = gaps[gaps > POSITION_TOLERANCE_MM]
    return len(gaps) + 1, float(np.median(gaps)) if len(gaps) else None


def _kernel(header: Dataset) -> str | None:
    name = "".join(map(str, values_of(header, "ConvolutionKernel")[:1])).strip()
    if _SHARP_KERNEL.fullmatch(name):
        return "sharp"
    return "soft" if _SOFT_KERNEL.fullmatch(name) else None
