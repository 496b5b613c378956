"""The headers of series as scanners make them; no file is behind them, so no pixels."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import CTImageStorage

from operators.files import PlainFile
from operators.series import Candidate, Instance, Series
from operators.splitting import split_series

STEP_MM = 2.5
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


class Scanner:
    """Makes the headers of one series; InstanceNumber and SOPInstanceUID count on."""

    def __init__(self) -> None:
        self.instances: list[Instance] = []

    def header(self, **elements: Any) -> Dataset:
        header = Dataset()
        number = len(self.instances) + 1
        header.SOPClassUID = CTImageStorage
        header.SOPInstanceUID = f"1.2.3.{7919 * number % 99991}"  # in no order
        header.StudyInstanceUID, header.SeriesInstanceUID = "1.2", "1.2.3"
        header.PatientName, header.PatientID = "Doe^Jane", "SECRET-1"
        header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        header.FrameOfReferenceUID = "1.9"
        header.Rows, header.Columns = 5, 4
        header.PixelSpacing = [0.75, 1.25]
        header.ImageOrientationPatient = list(AXIAL)
        header.AcquisitionNumber, header.InstanceNumber = 1, number
        for keyword, value in elements.items():
            if value is None:
                del header[keyword]
            else:
                setattr(header, keyword, value)
        self.instances.append(Instance(file=PlainFile(Path("absent.dcm")), header=header))
        return header

    def scan(
        self,
        slices: Iterable[float],
        directions: NDArray[np.float64] | None = None,
        **elements: Any,
    ) -> None:
        """Slices at multiples of 2.5 mm; elements may be functions of the slice's ordinal."""
        directions = np.eye(3) if directions is None else directions
        for n, k in enumerate(slices):
            position = np.array([-101.5, -77.25, 310.125]) + k * STEP_MM * directions[:, 2]
            self.header(
                ImageOrientationPatient=[f"{v:.9f}" for v in directions[:, :2].T.ravel()],
                ImagePositionPatient=[f"{v:.6f}" for v in position],
                **{key: v(n) if callable(v) else v for key, v in elements.items()},
            )

    def candidates(self, seed: int | None = None) -> tuple[Candidate, ...]:
        images = list(self.instances)
        if seed is not None:
            random.Random(seed).shuffle(images)
        series = Series(
            StudyInstanceUID="1.2", SeriesInstanceUID="1.2.3", instances=tuple(self.instances)
        )
        return split_series(series, tuple(images))

    def parts(self, candidates: Sequence[Candidate] | None = None) -> dict[str, list[int]]:
        """InstanceNumbers by part."""
        found = self.candidates() if candidates is None else candidates
        return {c.part: sorted(int(f.header.InstanceNumber) for f in c.frames) for c in found}

    @staticmethod
    def axes(degrees_x: float = 0.0, degrees_z: float = 0.0) -> NDArray[np.float64]:
        """Columns are the directions of i, j and k."""
        x, z = np.radians([degrees_x, degrees_z])
        about_x = [[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]]
        about_z = [[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]]
        return np.array(about_z) @ np.array(about_x)

    @staticmethod
    def numbers(first: int, last: int) -> list[int]:
        return list(range(first, last + 1))

    @staticmethod
    def clock(seconds: float) -> str:
        return f"10{int(seconds // 60):02d}{seconds % 60:09.6f}"


@pytest.fixture
def scanner() -> Scanner:
    return Scanner()
