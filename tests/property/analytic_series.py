"""CT series of an analytic phantom: every pixel holds the phantom's HU at its true position.

A case says where its slices lie and how their pixels are stored. The files are written from that
alone, so what is read back can be compared with the phantom instead of with another program.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydicom import Dataset, dcmwrite
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import get_encoder
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

#: Codecs that are given all bits of a sample, so that those to spare have to continue its sign.
_CODED_WHOLE = (JPEG2000Lossless, JPEGLSLossless, JPEGLosslessSV1)

LEAST_HU, GREATEST_HU = -780.0, 1280.0
PHASE_HU = 90.0


@dataclass(frozen=True, kw_only=True)
class Phantom:
    """A ramp in a direction that favours no axis, with three waves across it.

    No flip, transposition or shift of an axis leaves it as it is, and its derivatives are bounded,
    so that the error of linear interpolation can be told beforehand.
    """

    centre_lps: tuple[float, float, float]
    radius_mm: float

    _RAMP_HU = 700.0
    _WAVE_HU = 30.0
    _DIRECTION = np.array([0.64, -0.48, 0.60])
    _WAVES = np.array([[0.8, 0.5, -0.33], [-0.3, 0.9, 0.32], [0.2, -0.4, 0.89]])
    _PHASES = np.array([0.3, 1.1, 2.5])

    def hu(self, points_lps: ArrayLike) -> NDArray[np.float64]:
        """HU at `(..., 3)` points in mm: from -780 to 1280 within the radius, both phases."""
        away = (np.asarray(points_lps) - np.array(self.centre_lps)) / self.radius_mm
        waves = np.sin(away @ self._WAVES.T * np.pi / 2 + self._PHASES).sum(axis=-1)
        ramp = away @ self._DIRECTION
        hu: NDArray[np.float64] = 200 + self._RAMP_HU * ramp + self._WAVE_HU * waves
        return hu

    @property
    def steepest(self) -> float:
        """No derivative is greater, in HU / mm."""
        return (self._RAMP_HU + 3 * self._WAVE_HU * np.pi / 2) / self.radius_mm

    def bend(self, distance_mm: float) -> float:
        """Largest error of linear interpolation over a distance, in HU: d^2 / 8 max |f''|."""
        curvature = 3 * self._WAVE_HU * (np.pi / 2 / self.radius_mm) ** 2
        return curvature * distance_mm**2 / 8


@dataclass(frozen=True, kw_only=True)
class StoredAs:
    """How HU become stored values; slice n uses rescale n, counted round."""

    syntax: str = ExplicitVRLittleEndian
    bits_allocated: int = 16
    bits_stored: int = 16
    signed: bool = True
    rescales: tuple[tuple[float, float], ...] = ((1.0, 0.0),)  # slope and intercept
    spare_bits: str = "sign"  # those above BitsStored: sign, zeros or ones
    padded: bool = False  # the first corner of each slice lies outside the field of view
    VR: str = "OW"
    cut_bytes: int = 0  # missing at the end of a codestream

    @property
    def least(self) -> int:
        return -(1 << (self.bits_stored - 1)) if self.signed else 0

    @property
    def greatest(self) -> int:
        return (1 << (self.bits_stored - int(self.signed))) - 1

    @property
    def dtype(self) -> np.dtype[np.integer]:
        return np.dtype(f"{'i' if self.signed else 'u'}{self.bits_allocated // 8}")

    def encode(self, values: NDArray[np.integer]) -> bytes:
        """The value of PixelData."""
        bits = values.astype(self.dtype).view(f"u{self.bits_allocated // 8}")
        mask = bits.dtype.type((1 << self.bits_stored) - 1)
        if self.spare_bits != "sign" and self.syntax not in _CODED_WHOLE:
            bits = bits & mask if self.spare_bits == "zeros" else bits | ~mask
        if self.syntax == JPEG2000Lossless:
            code = imagecodecs.jpeg2k_encode(
                bits.view(self.dtype), level=0, codecformat="j2k", reversible=True
            )
        elif self.syntax == JPEGLSLossless:
            code = imagecodecs.jpegls_encode(bits)
        elif self.syntax == JPEGLosslessSV1:
            code = imagecodecs.jpeg8_encode(
                bits & mask, lossless=True, predictor=1, bitspersample=self.bits_stored
            )
        elif self.syntax == RLELossless:
            code = _rle(bits)
        elif UID(self.syntax).is_encapsulated:
            code = bits.tobytes()  # whatever this is, nobody can decode it
        else:
            return self._native(bits)
        code = bytes(code[: len(code) - self.cut_bytes])
        # fragments without a table of their offsets are as good (PS3.5 A.4)
        in_pieces = self.syntax in (JPEGLSLossless, JPEGLosslessSV1)
        return encapsulate([code], fragments_per_frame=1 + in_pieces, has_bot=not in_pieces)

    def _native(self, bits: NDArray[np.unsignedinteger]) -> bytes:
        swapped = self.syntax == ExplicitVRBigEndian
        data = bits.astype(bits.dtype.newbyteorder(">" if swapped else "<")).tobytes()
        data += b"\0" * (len(data) % 2)
        if swapped and self.bits_allocated == 8 and self.VR == "OW":
            data = np.frombuffer(data, ">u2").astype("<u2").tobytes()  # PS3.5 D.1
        return data


def _rle(bits: NDArray[np.unsignedinteger]) -> bytes:
    code: bytes = get_encoder(RLELossless).encode(
        bits.tobytes(),
        encoding_plugin="pydicom",
        rows=bits.shape[0],
        columns=bits.shape[1],
        samples_per_pixel=1,
        bits_allocated=8 * bits.itemsize,
        bits_stored=8 * bits.itemsize,
        pixel_representation=0,
        photometric_interpretation="MONOCHROME2",
        number_of_frames=1,
    )
    return code


@dataclass(frozen=True, kw_only=True)
class SeriesCase:
    """Slices of the phantom. Lists have one item per slice, in order along the normal."""

    rows: int = 9
    columns: int = 12
    pixel_mm: tuple[float, float] = (1.5, 1.25)  # between rows, between columns
    origin_lps: tuple[float, float, float] = (-31.5, 12.25, 410.0)
    axes: tuple[tuple[float, ...], ...] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    heights_mm: tuple[float, ...] = (0.0, 2.5, 5.0, 7.5, 10.0, 12.5)
    shifts_mm: tuple[tuple[float, float], ...] = ()  # along the rows, along the columns
    decimals: int = 6
    stored: StoredAs = StoredAs()
    names_seed: int = 0
    is_numbered: bool = False  # by InstanceNumber, along the slices; else those are random
    mixed_in: str = ""  # localizer, screen, copies, some copies, phases
    spoilt: Mapping[int, str] = field(default_factory=dict)  # keyword that a slice lacks, or "cut"
    altered: Mapping[str, Any] = field(default_factory=dict)  # in all slices: None absent, or bytes

    @property
    def depth(self) -> int:
        return len(self.heights_mm)

    @cached_property
    def directions(self) -> NDArray[np.float64]:
        """`(3, 3)`, columns are the directions of i, j and k."""
        return np.array(self.axes)

    @cached_property
    def positions_lps(self) -> NDArray[np.float64]:
        """`(n, 3)`, centre of each slice's first pixel, as its header states it."""
        shifts = self.shifts_mm or ((0.0, 0.0),) * self.depth
        local = [(*shift, height) for shift, height in zip(shifts, self.heights_mm, strict=True)]
        placed: NDArray[np.float64] = np.array(local) @ self.directions.T + self.origin_lps
        return placed.round(self.decimals)

    @cached_property
    def kept(self) -> NDArray[np.intp]:
        """The slices that nothing is wrong with."""
        return np.array([n for n in range(self.depth) if n not in self.spoilt])

    def pixels_lps(self, n: int) -> NDArray[np.float64]:
        """`(H, W, 3)`, the centre of every pixel of a slice."""
        along = np.arange(self.columns)[None, :, None] * self.directions[:, 0] * self.pixel_mm[1]
        down = np.arange(self.rows)[:, None, None] * self.directions[:, 1] * self.pixel_mm[0]
        points: NDArray[np.float64] = self.positions_lps[n] + along + down
        return points

    @cached_property
    def phantom(self) -> Phantom:
        """Around the slices; its grid may be wider than they are."""
        corners = np.concatenate(
            [self.pixels_lps(n)[::-1, ::-1][:: self.rows - 1] for n in range(self.depth)]
        ).reshape(-1, 3)
        centre = (corners.max(axis=0) + corners.min(axis=0)) / 2
        radius = np.linalg.norm(corners - centre, axis=1).max()
        return Phantom(centre_lps=tuple(centre.tolist()), radius_mm=float(radius) + 1)

    @cached_property
    def outside(self) -> NDArray[np.bool_]:
        """`(H, W)`, what of each slice is padding."""
        j, i = np.indices((self.rows, self.columns))
        outside: NDArray[np.bool_] = (j + i < 3) & self.stored.padded
        return outside

    def stored_values(self, n: int, more_hu: float = 0.0) -> NDArray[np.integer]:
        slope, intercept = self.stored.rescales[n % len(self.stored.rescales)]
        values = np.rint((self.phantom.hu(self.pixels_lps(n)) + more_hu - intercept) / slope)
        assert self.stored.least < values.min() <= values.max() <= self.stored.greatest
        values[self.outside] = self.stored.least
        return values.astype(np.int64)

    def stored_hu(self, n: int, more_hu: float = 0.0) -> NDArray[np.float64]:
        """`(H, W)`, the HU that a slice's stored values stand for."""
        slope, intercept = self.stored.rescales[n % len(self.stored.rescales)]
        return self.stored_values(n, more_hu).astype(np.float64) * slope + intercept

    def rounding_hu(self) -> float:
        """Largest error of storing HU in steps, and of reading them as whole numbers."""
        steps = [abs(slope) for slope, _ in self.stored.rescales]
        exact = all(slope == 1 and b == round(b) for slope, b in self.stored.rescales)
        return 0.5 if exact else 0.5 + max(steps) / 2


def write_case(case: SeriesCase, folder: Path) -> None:
    """Write the files of a case in an order that says nothing."""
    datasets = []
    for n in range(case.depth):
        phases = (0.0, PHASE_HU) if case.mixed_in == "phases" else (0.0,)
        for phase, more_hu in enumerate(phases):
            datasets.append(_slice(case, n, phase, more_hu))
        if case.mixed_in == "copies" or (case.mixed_in == "some copies" and n % 3 == 1):
            datasets.append(_slice(case, n, 0, 0.0, copy=True))
    if case.mixed_in in ("localizer", "screen"):
        datasets.append(_other(case))
    order = random.Random(case.names_seed)
    names = order.sample(range(1000), len(datasets))
    order.shuffle(datasets)
    for name, dataset in zip(names, datasets, strict=True):
        if not case.is_numbered:
            dataset.InstanceNumber = name
        path = folder / f"{name}.dcm"
        dcmwrite(path, dataset, enforce_file_format=True)
        if dataset.get("ImageComments") == "cut":
            path.write_bytes(path.read_bytes()[:-20])


def _slice(case: SeriesCase, n: int, phase: int, more_hu: float, copy: bool = False) -> Dataset:
    stored = case.stored
    uid = random.Random(f"{case.names_seed} {n} {phase} {copy}").randrange(10**12)
    ds = _shared(case, f"1.2.3.{uid}")
    ds.AcquisitionNumber, ds.InstanceNumber = phase + 1, n + 1
    ds.Rows, ds.Columns = case.rows, case.columns
    ds.PixelSpacing = [f"{mm:.6f}" for mm in case.pixel_mm]
    ds.ImageOrientationPatient = [f"{v:.9f}" for v in case.directions[:, :2].T.ravel()]
    ds.ImagePositionPatient = [f"{v:.{case.decimals}f}" for v in case.positions_lps[n]]
    slope, intercept = stored.rescales[n % len(stored.rescales)]
    ds.RescaleSlope, ds.RescaleIntercept = f"{slope:.10g}", f"{intercept:.10g}"
    if stored.padded:
        ds.add_new("PixelPaddingValue", "SS" if stored.signed else "US", stored.least)
    ds.BitsAllocated, ds.BitsStored = stored.bits_allocated, stored.bits_stored
    ds.HighBit, ds.PixelRepresentation = stored.bits_stored - 1, int(stored.signed)
    pixels = stored.encode(case.stored_values(n, more_hu))
    VR = "OB" if UID(stored.syntax).is_encapsulated else stored.VR
    ds.add_new("PixelData", VR, pixels)
    for keyword, value in case.altered.items():
        if isinstance(value, bytes):  # pydicom writes what it takes for read, unseen
            tag, VR = Tag(keyword), str(dictionary_VR(keyword))[:2]
            ds._dict[tag] = RawDataElement(tag, VR, len(value), value, 0, False, True)
        elif value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    wrong = case.spoilt.get(n)
    if wrong == "cut":
        ds.ImageComments = "cut"
    elif wrong:
        delattr(ds, wrong)
    return ds


def _shared(case: SeriesCase, SOPInstanceUID: str) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(case.stored.syntax)
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, SOPInstanceUID
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2", "1.2.3"
    ds.FrameOfReferenceUID = "1.2.9"
    ds.Modality, ds.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    return ds


def _other(case: SeriesCase) -> Dataset:
    """What scanners add to a series that is no slice of it."""
    ds = _shared(case, "1.2.3.1000000000001")
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    ds.Rows, ds.Columns = case.rows, case.columns
    ds.PixelSpacing = list(case.pixel_mm)
    i, j, k = case.directions.T
    ds.ImageOrientationPatient = [f"{v:.9f}" for v in (*i, *-k)]
    ds.ImagePositionPatient = [f"{v:.6f}" for v in case.positions_lps[0] + 3 * j]
    if case.mixed_in == "screen":
        ds.ImageType = ["DERIVED", "SECONDARY", "SCREEN SAVE"]
        del ds.ImagePositionPatient, ds.ImageOrientationPatient, ds.PixelSpacing
    ds.RescaleSlope, ds.RescaleIntercept = "1", "0"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.add_new("PixelData", "OW", np.zeros((case.rows, case.columns), "<i2").tobytes())
    return ds
