"""Meshes in VTK, as arrays in and arrays out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from operators.errors import OutputError

if TYPE_CHECKING:
    from vtkmodules.vtkCommonDataModel import vtkPolyData

_SMOOTHINGS = 25
#: The lower, the smoother: ripples of a few cells go, the shape of an organ stays.
_PASS_BAND = 0.03


def isosurface(
    values: NDArray[np.float32], level: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Triangles where the values `(D, H, W)` cross a level (flying edges).

    Returns
    -------
    Points `(N, 3)` in index order `(i, j, k)`, and triangles `(M, 3)`.

    Raises
    ------
    OutputError
        If VTK is absent.
    """
    require_vtk()
    from vtkmodules.vtkCommonDataModel import vtkImageData
    from vtkmodules.vtkFiltersCore import vtkFlyingEdges3D

    depth, height, width = values.shape
    image = vtkImageData()
    image.SetDimensions(width, height, depth)
    image.GetPointData().SetScalars(_to_vtk(values.ravel()))
    edges = vtkFlyingEdges3D()
    edges.SetInputData(image)
    edges.SetValue(0, level)
    edges.ComputeNormalsOff()
    edges.ComputeGradientsOff()
    edges.ComputeScalarsOff()
    edges.Update()
    surface = edges.GetOutput()
    triangles = array_of(surface.GetPolys().GetConnectivityArray()).reshape(-1, 3)
    return _points_of(surface), triangles.astype(np.int64)


def smoothed(points: NDArray[np.float64], triangles: NDArray[np.int64]) -> NDArray[np.float64]:
    """Points `(N, 3)` of a mesh after a windowed sinc filter; raises OutputError without VTK."""
    require_vtk()
    from vtkmodules.vtkFiltersCore import vtkWindowedSincPolyDataFilter

    sinc = vtkWindowedSincPolyDataFilter()
    sinc.SetInputData(polydata(points, triangles))
    sinc.SetNumberOfIterations(_SMOOTHINGS)
    sinc.SetPassBand(_PASS_BAND)
    sinc.NormalizeCoordinatesOn()
    sinc.BoundarySmoothingOff()
    sinc.FeatureEdgeSmoothingOff()
    sinc.NonManifoldSmoothingOn()
    sinc.Update()
    return _points_of(sinc.GetOutput())


def polydata(
    points: NDArray[np.float64],
    triangles: NDArray[np.int64],
    normals: NDArray[np.float64] | None = None,
) -> vtkPolyData:
    """VTK's own form of a mesh, a copy."""
    from vtkmodules.vtkCommonCore import vtkPoints
    from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData

    vertices = vtkPoints()
    vertices.SetData(_to_vtk(points))
    cells = vtkCellArray()
    cells.SetData(3, _to_vtk(triangles.ravel()))
    surface = vtkPolyData()
    surface.SetPoints(vertices)
    surface.SetPolys(cells)
    if normals is not None:
        surface.GetPointData().SetNormals(_to_vtk(normals))
    return surface


def require_vtk() -> None:
    """Raise OutputError with what to do where VTK cannot be imported."""
    try:
        import vtkmodules.vtkCommonDataModel  # noqa: F401
    except ImportError as exc:
        raise OutputError(
            f"surfaces need VTK ({exc}): pip install '.[train]' in viscera's sources"
        ) from exc


def _to_vtk(values: NDArray[Any]) -> Any:
    from vtkmodules.util.numpy_support import numpy_to_vtk

    return numpy_to_vtk(np.ascontiguousarray(values), deep=True)  # type: ignore[no-untyped-call]


def array_of(values: Any) -> NDArray[Any]:
    """A copy of a VTK array, which VTK frees when it likes."""
    from vtkmodules.util.numpy_support import vtk_to_numpy

    return np.array(vtk_to_numpy(values))  # type: ignore[no-untyped-call]


def _points_of(surface: vtkPolyData) -> NDArray[np.float64]:
    return array_of(surface.GetPoints().GetData()).astype(np.float64)
