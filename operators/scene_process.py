"""The process that draws organs: reads a scene in its working folder, writes the views there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from operators.scene import SCENE_FILE, VIEWS_FILE
from operators.vtk_meshes import array_of, polydata

#: Drawn so many times larger and then reduced: smooth edges with any driver.
_FINER = 2
_ROOM = 1.12


def main() -> None:
    """Draw every view of the scene."""
    # what VTK's factories choose drawing by is registered on import
    import vtkmodules.vtkRenderingOpenGL2  # noqa: F401
    from vtkmodules.vtkCommonCore import vtkLogger

    vtkLogger.SetStderrVerbosity(vtkLogger.VERBOSITY_ERROR)
    with np.load(SCENE_FILE) as stored:
        scene = dict(stored)
    views = _draw(scene)
    np.save(Path(VIEWS_FILE), views)


def _draw(scene: dict[str, NDArray[Any]]) -> NDArray[np.uint8]:
    from vtkmodules.vtkRenderingCore import vtkRenderer, vtkRenderWindow

    clouds = [scene[f"points_{n}"] for n in range(len(scene["colours"]))]
    renderer = vtkRenderer()
    renderer.SetBackground(*(scene["background"] / 255.0))
    for number, colour in enumerate(scene["colours"] / 255.0):
        renderer.AddActor(_actor(scene, number, colour))
    _light(renderer)
    window = vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetMultiSamples(0)
    width, height = (int(n) for n in scene["size_px"])
    window.SetSize(width * _FINER, height * _FINER)
    window.AddRenderer(renderer)
    views = []
    for azimuth in scene["azimuths_deg"]:
        _look(renderer, np.concatenate(clouds), np.radians(azimuth), width / height)
        window.Render()
        views.append(np.asarray(Image.fromarray(_pixels(window)).reduce(_FINER)))
    return np.stack(views)


def _actor(scene: dict[str, NDArray[Any]], number: int, colour: NDArray[np.float64]) -> Any:
    from vtkmodules.vtkRenderingCore import vtkActor, vtkPolyDataMapper

    parts = (scene[f"{part}_{number}"] for part in ("points", "triangles", "normals"))
    mapper = vtkPolyDataMapper()
    mapper.SetInputData(polydata(*parts))
    actor = vtkActor()
    actor.SetMapper(mapper)
    look = actor.GetProperty()
    look.SetColor(*colour)
    look.SetInterpolationToPhong()
    look.SetAmbient(0.12)
    look.SetDiffuse(0.88)
    look.SetSpecular(0.18)
    look.SetSpecularPower(22)
    return actor


def _light(renderer: Any) -> None:
    """A key light from above the viewer's left shoulder, softened from the other sides."""
    from vtkmodules.vtkRenderingCore import vtkLightKit

    kit = vtkLightKit()
    kit.SetKeyLightIntensity(0.85)
    kit.SetKeyLightAngle(38.0, -28.0)
    kit.SetKeyLightWarmth(0.52)
    kit.SetFillLightWarmth(0.5)
    kit.SetHeadLightWarmth(0.5)
    kit.SetBackLightWarmth(0.5)
    kit.SetKeyToFillRatio(2.6)
    kit.SetKeyToHeadRatio(3.0)
    kit.AddLightsToRenderer(renderer)


def _look(
    renderer: Any, points: NDArray[np.float64], azimuth: float, width_to_height: float
) -> None:
    """Place the camera level with the middle of the organs, at one scale for all azimuths."""
    low, high = points.min(axis=0), points.max(axis=0)
    middle = (low + high) / 2
    radius = float(np.linalg.norm((points - middle)[:, :2], axis=1).max())
    half_height = float(high[2] - low[2]) / 2
    towards_viewer = np.array((np.sin(azimuth), -np.cos(azimuth), 0.0))
    camera = renderer.GetActiveCamera()
    camera.ParallelProjectionOn()
    camera.SetFocalPoint(*middle)
    camera.SetPosition(*(middle + towards_viewer * 4 * (radius + half_height)))
    camera.SetViewUp(0.0, 0.0, 1.0)
    camera.SetParallelScale(_ROOM * max(half_height, radius / width_to_height))
    renderer.ResetCameraClippingRange()


def _pixels(window: Any) -> NDArray[np.uint8]:
    """What the window shows, `(height, width, 3)` from the top."""
    from vtkmodules.vtkCommonCore import vtkUnsignedCharArray

    width, height = window.GetSize()
    values = vtkUnsignedCharArray()
    window.GetPixelData(0, 0, width - 1, height - 1, 1, values, 0)
    pixels: NDArray[np.uint8] = array_of(values).reshape(height, width, 3)[::-1]
    return np.ascontiguousarray(pixels)


if __name__ == "__main__":
    main()
