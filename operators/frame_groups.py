"""Groups of frames that could lie in one volume, by their kind and geometry.

Frames of different groups are never stacked. They differ in at least one of:

| what | compared | why |
|---|---|---|
| position | there or not | screens, dose reports and protocol pages have none |
| kind | colour; a word of ImageType below; else ORIGINAL or DERIVED, PRIMARY or SECONDARY | a scout, reformat or projection is no slice of the scan |
| size | Rows, Columns | one volume has one |
| PixelSpacing | steps of more than 0.00001 mm between sorted values | moves the far edge by 0.01 mm |
| ImageOrientationPatient | steps of more than 0.0001 between sorted cosines | jitter of rounding stays together |
| FrameOfReferenceUID | equal, unless each image has one of its own (careless anonymisers) | positions compare in one only |

All else that ImageType says varies harmlessly within a volume (`HELIX`, `CT_SOM5 SPI`), so it
separates only what lies at one position (`operators.acquisitions`). Nor do AcquisitionNumber,
KVP, ConvolutionKernel or SliceThickness by themselves.
"""  # noqa: E501

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from operators.elements import numbers_of, values_of
from operators.series import Frame
from operators.slice_checks import (
    COSINE_TOLERANCE,
    PIXEL_SPACING_TOLERANCE_MM,
    POSITION_TOLERANCE_MM,
)

_FARTHEST_MM = 1e6  # beyond it a number is no position in a scanner
_KINDS = (
    ("localizer", r"LOCALI[SZ]ER|SCOUT|SURVIEW|TOPOGRAM|TOPO|TOP|SCANO\w*|PILOT"),
    ("screen", r"SCREEN\w*|DOSE|INFO|PROT|PROTOCOL|REPORT|RESULTS?|GRAPH\w*|SUMMARY|CAPTURE"),
    ("reformat", r"MPR|MPVR|CPR|REFORMAT\w*|CURVED|RADIAL|RESAMPLED|CSA\w*"),
    ("projection", r"MIP|MINIP|AIP|(MAX|MIN|MEAN) ?IP|PROJECTION|RAYSUM|VRT?|\w*RENDER\w*|SSD|3D"),
)
_KIND_WORDS = tuple((kind, re.compile(rf"\b({words})\b")) for kind, words in _KINDS)
_PLANES = ("sagittal", "coronal", "axial")


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameGroup:
    """Frames that could lie in one volume, n of them, in the order they came in.

    Parameters
    ----------
    name
        What tells them from the other groups; empty for the only one.
    frames
        At least one.
    positions_mm
        ImagePositionPatient, `(n, 3)`; all zero where the frames have no position.
    heights_mm
        Along the normal, `(n,)`; None where the frames have no position.
    """

    name: str
    frames: tuple[Frame, ...] = field(repr=False)
    positions_mm: NDArray[np.float64] = field(repr=False)
    heights_mm: NDArray[np.float64] | None = field(repr=False)

    def take(self, members: NDArray[np.bool_]) -> FrameGroup:
        """Some of the frames."""
        return FrameGroup(
            name=self.name,
            frames=tuple(self.frames[n] for n in np.flatnonzero(members).tolist()),
            positions_mm=self.positions_mm[members],
            heights_mm=None if self.heights_mm is None else self.heights_mm[members],
        )

    def places(self) -> NDArray[np.intp]:
        """A number for each frame, `(n,)`, ascending along the normal and equal at one height."""
        if self.heights_mm is None:
            return np.arange(len(self.frames))
        return clusters(self.heights_mm[:, None], POSITION_TOLERANCE_MM)


def group_frames(frames: Sequence[Frame]) -> tuple[FrameGroup, ...]:
    """Separate frames that cannot lie in one volume.

    Parameters
    ----------
    frames
        At least one.

    Returns
    -------
    tuple of FrameGroup
        The largest first, then by name.
    """
    positions = _numbers(frames, "ImagePositionPatient", 3)
    cosines = _numbers(frames, "ImageOrientationPatient", 6)
    normals = _normals(cosines)
    placed = np.flatnonzero(np.isfinite(np.hstack([positions, normals])).all(axis=1)).tolist()
    kinds = [_kind(frame) for frame in frames]
    keys = np.zeros((len(frames), 6), np.intp)
    if placed:
        spacings = np.nan_to_num(_numbers(frames, "PixelSpacing", 2), nan=-1.0)
        keys[placed, 0] = 1
        keys[placed, 1] = _numbered([kinds[n][0] for n in placed])
        keys[placed, 2] = _numbered([_size(frames[n]) for n in placed])
        keys[placed, 3] = clusters(spacings[placed], PIXEL_SPACING_TOLERANCE_MM)
        keys[placed, 4] = clusters(cosines[placed], COSINE_TOLERANCE)
        keys[placed, 5] = _frames_of_reference([frames[n] for n in placed])
    _, group_of = np.unique(keys, axis=0, return_inverse=True)
    group_of = group_of.reshape(-1)
    members = [np.flatnonzero(group_of == n).tolist() for n in range(int(group_of.max()) + 1)]
    names = _names([_traits(frames, kinds, normals, of) for of in members])
    groups = [
        FrameGroup(
            name=name,
            frames=tuple(frames[n] for n in of),
            positions_mm=np.nan_to_num(positions[of]),
            heights_mm=positions[of] @ _mean(normals[of]) if keys[of[0], 0] else None,
        )
        for name, of in zip(names, members, strict=True)
    ]
    return tuple(sorted(groups, key=lambda group: (-len(group.frames), group.name)))


def clusters(values: NDArray[np.float64], tolerance: float) -> NDArray[np.intp]:
    """Number the rows of `(n, d)` values so that rows keep one number while they lie close.

    Sorted values of a column are cut where two neighbours differ by more than the tolerance, so
    that no boundary runs through jitter, as rounding would put one. Numbers ascend with the values,
    the first column counting most.
    """
    found = np.zeros(len(values), np.intp)
    for column in values.T:
        order = np.lexsort((column, found))
        cut = (np.diff(column[order]) > tolerance) | (np.diff(found[order]) != 0)
        found[order] = np.concatenate([[0], np.cumsum(cut)])
    return found


def unique_names(names: Sequence[str]) -> list[str]:
    """The names, with a count behind those that occur several times."""
    total, seen = Counter(names), Counter[str]()
    unique = []
    for name in names:
        seen[name] += 1
        several = f"{seen[name]} of {total[name]}"
        unique.append(name if total[name] == 1 else f"{name} ({several})" if name else several)
    return unique


def printable(text: str) -> str:
    """A header's text for people: one line of at most 64 characters."""
    return "".join(c if c.isprintable() else "?" for c in text)[:64]


def _numbers(frames: Sequence[Frame], keyword: str, count: int) -> NDArray[np.float64]:
    """An element of each frame, `(n, count)`; NaN where it is absent or absurd."""
    lacking = (np.nan,) * count
    found = [numbers_of(frame.header, keyword, count) or lacking for frame in frames]
    numbers = np.array(found, np.float64)
    numbers[~(np.abs(numbers) < _FARTHEST_MM).all(axis=1)] = np.nan
    return numbers


def _normals(cosines: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit normals `(n, 3)`; NaN where the cosines span no plane."""
    normals = np.cross(cosines[:, :3], cosines[:, 3:])
    lengths = np.linalg.norm(normals, axis=1)
    lengths[~(np.abs(lengths - 1) < 0.5)] = np.nan
    unit: NDArray[np.float64] = normals / lengths[:, None]
    return unit


def _mean(normals: NDArray[np.float64]) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = normals.mean(axis=0)
    return mean / np.linalg.norm(mean)


def _numbered(texts: Sequence[str]) -> list[int]:
    numbers = {text: n for n, text in enumerate(sorted(set(texts)))}
    return [numbers[text] for text in texts]


def _frames_of_reference(frames: Sequence[Frame]) -> list[int]:
    found = [_text(frame, "FrameOfReferenceUID") for frame in frames]
    if len(set(found)) == len(found):
        return [0] * len(found)
    return _numbered(found)


def _text(frame: Frame, keyword: str) -> str:
    return "\\".join(map(str, values_of(frame.header, keyword)))


def _size(frame: Frame) -> str:
    return f"{_text(frame, 'Rows') or '?'} x {_text(frame, 'Columns') or '?'}"


def _kind(frame: Frame) -> tuple[str, str]:
    """What kind of image it is, and how its header says so."""
    samples = numbers_of(frame.header, "SamplesPerPixel", 1)
    if samples is not None and samples != (1.0,):
        return "colour", f"SamplesPerPixel {samples[0]:g}"
    return _kind_of_type(tuple(map(str, values_of(frame.header, "ImageType"))))


@lru_cache(maxsize=1024)
def _kind_of_type(ImageType: tuple[str, ...]) -> tuple[str, str]:
    for value in ImageType[2:]:
        words = re.sub(r"[^A-Z0-9]+", " ", value.upper())
        for kind, pattern in _KIND_WORDS:
            if pattern.search(words):
                return kind, f"ImageType {printable(value)}"
    first, second = (value.upper() for value in (*ImageType, "", "")[:2])
    pixels = "DERIVED" if first == "DERIVED" else "ORIGINAL"  # as most that do not say are
    patient = "SECONDARY" if second == "SECONDARY" else "PRIMARY"
    return f"{pixels}\\{patient}", f"ImageType {pixels}\\{patient}"


def _traits(
    frames: Sequence[Frame],
    kinds: Sequence[tuple[str, str]],
    normals: NDArray[np.float64],
    of: Sequence[int],
) -> tuple[str, ...]:
    """What can be said of a group, most telling first."""
    normal = _mean(normals[list(of)])
    if not np.isfinite(normal).all():
        return ("no position",) * 6
    header = frames[of[0]].header
    axis = int(np.abs(normal).argmax())
    spacing = numbers_of(header, "PixelSpacing", 2)
    cosines = numbers_of(header, "ImageOrientationPatient", 6) or ()
    return (
        min(kinds[n][1] for n in of),
        _PLANES[axis] if abs(normal[axis]) > 0.8 else "oblique",
        _size(frames[of[0]]),
        "PixelSpacing " + (f"{spacing[0]:.6g} x {spacing[1]:.6g} mm" if spacing else "absent"),
        "ImageOrientationPatient " + "\\".join(f"{cosine:.4g}" for cosine in cosines),
        f"FrameOfReferenceUID {printable(_text(frames[of[0]], 'FrameOfReferenceUID')) or 'absent'}",
    )


def _names(traits: Sequence[tuple[str, ...]]) -> list[str]:
    """Of each group as few traits as tell all groups apart, and none for one alone."""
    chosen: list[int] = []
    for n in range(len(traits[0])):
        more = [*chosen, n]
        if len({_picked(t, more) for t in traits}) > len({_picked(t, chosen) for t in traits}):
            chosen = more
    return unique_names([", ".join(dict.fromkeys(_picked(t, chosen))) for t in traits])


def _picked(traits: tuple[str, ...], chosen: Sequence[int]) -> tuple[str, ...]:
    return tuple(traits[n] for n in chosen)
