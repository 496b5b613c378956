"""Views of organs in three dimensions, drawn off-screen by VTK in a process of its own.

VTK needs a library of the system to draw without a display: EGL (Debian: `libegl1`, which brings
Mesa's software driver) or OSMesa (`libosmesa6`). Where it finds neither it may end its process:
hence the child.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from operators.errors import OutputError
from operators.surfaces import Surface
from operators.vtk_meshes import require_vtk

#: The drawing process reads the one and writes the other, both in its working folder.
SCENE_FILE, VIEWS_FILE = "scene.npz", "views.npy"
#: What the pictures are drawn on.
BACKGROUND = (246, 247, 249)
_TIMEOUT_S = 900.0


def render_views(
    surfaces: Sequence[Surface],
    azimuths_deg: Sequence[float],
    size_px: tuple[int, int] = (900, 900),
    timeout_s: float = _TIMEOUT_S,
) -> list[Image.Image]:
    """Draw the organs as seen from around the patient, upright, in parallel projection.

    Parameters
    ----------
    surfaces
        At least one.
    azimuths_deg
        Where the viewer stands: 0 in front of the patient, whose left is then at the picture's
        right, 90 at the patient's left, 180 behind.
    size_px
        Width and height of each picture.
    timeout_s
        Time for all pictures together.

    Returns
    -------
    RGB pictures of one scale, so that a turn does not jump.

    Raises
    ------
    OutputError
        If there is no surface, VTK is absent, or this machine cannot draw or has no room to.
    """
    if not surfaces:
        raise OutputError("expected at least one organ to draw, found none")
    require_vtk()
    try:
        views = _drawn(surfaces, azimuths_deg, size_px, timeout_s)
    except OSError as exc:  # no room for the scene, or for a process
        raise OutputError(f"the organs could not be drawn: {exc.strerror or exc}") from exc
    if all(np.ptp(view.reshape(-1, 3), axis=0).max() == 0 for view in views):
        raise OutputError(f"the organs could not be drawn: the pictures are empty; {_ADVICE}")
    return [Image.fromarray(view) for view in views]


def _drawn(
    surfaces: Sequence[Surface],
    azimuths_deg: Sequence[float],
    size_px: tuple[int, int],
    timeout_s: float,
) -> NDArray[np.uint8]:
    """The views, `(N, height, width, 3)`, that the drawing process leaves."""
    with TemporaryDirectory(prefix="viscera-scene-") as name:
        folder = Path(name)
        scene: dict[str, Any] = {
            "azimuths_deg": np.asarray(azimuths_deg, np.float64),
            "size_px": np.asarray(size_px, np.int64),
            "background": np.asarray(BACKGROUND, np.uint8),
            "colours": np.array([surface.rgb for surface in surfaces], np.uint8),
        }
        for n, surface in enumerate(surfaces):
            scene[f"points_{n}"] = surface.points_lps
            scene[f"triangles_{n}"] = surface.triangles
            scene[f"normals_{n}"] = surface.normals_lps
        np.savez(folder / SCENE_FILE, **scene)
        _run_drawing(folder, timeout_s)
        views: NDArray[np.uint8] = np.load(folder / VIEWS_FILE)
    return views


_ADVICE = (
    "to draw without a display VTK needs EGL or OSMesa of the system "
    "(Debian and Ubuntu: apt-get install libegl1, or libosmesa6)"
)


def _run_drawing(folder: Path, timeout_s: float) -> None:
    """Run the drawing process to its end; raises OutputError where it leaves no pictures."""
    here = str(Path(__file__).resolve().parents[1])
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    environment.pop("DISPLAY", None)  # the same way on every machine, and no window
    command = [sys.executable, "-m", "operators.scene_process"]
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, timeout=timeout_s
        )
    except subprocess.TimeoutExpired as exc:
        raise OutputError(f"the organs could not be drawn within {timeout_s:.0f} s") from exc
    if done.returncode != 0 or not (folder / VIEWS_FILE).exists():
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise OutputError(
            f"the organs could not be drawn: the drawing process ended with {done.returncode} "
            f"({lines[-1].strip() if lines else 'no message'}); {_ADVICE}"
        )
