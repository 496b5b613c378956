"""Other people's validators have nothing to say about the CT series that we write."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from models.phantom import make_phantom
from operators.ct_series import SIGNED, UNSIGNED, SeriesIdentity, Storage, write_ct_series

pytestmark = pytest.mark.skipif(
    shutil.which("dciodvfy") is None or shutil.which("dcentvfy") is None,
    reason="dciodvfy and dcentvfy (Debian package dicom3tools) are not installed",
)

TILT = np.radians(20.0)
OBLIQUE = np.array(
    [
        [np.cos(TILT), -np.sin(TILT), 0.0],
        [np.sin(TILT), np.cos(TILT), 0.0],
        [0.0, 0.0, 1.0],
    ]
)

CASES = {
    "unsigned axial": (np.eye(3), UNSIGNED, SeriesIdentity(seed_text="a")),
    "signed, descending, contrast": (
        np.diag([1.0, 1.0, -1.0]),
        SIGNED,
        SeriesIdentity(seed_text="b", ContrastBolusAgent="Iodinated contrast agent"),
    ),
    "oblique, half steps, name in two scripts": (
        OBLIQUE,
        Storage(rescale_slope=0.5, rescale_intercept=-1024.0),
        SeriesIdentity(
            seed_text="c", PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう", PatientSex="M"
        ),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_validators_find_neither_error_nor_warning(tmp_path: Path, name: str) -> None:
    directions, storage, identity = CASES[name]
    phantom = make_phantom(2, (8.0, 5.0, 6.0), (4, 50, 60), direction_lps=directions)
    paths = write_ct_series(phantom.volume, tmp_path, identity, storage=storage, shuffle_seed=1)
    for path in paths:
        assert said("dciodvfy", path) == ["CTImage"]
    assert said("dcentvfy", *paths) == []


def said(tool: str, *paths: Path) -> list[str]:
    """What a validator prints, line by line."""
    run = subprocess.run(
        [tool, *map(str, paths)], capture_output=True, text=True, timeout=60, check=False
    )
    return [line.strip() for line in (run.stdout + run.stderr).splitlines() if line.strip()]
