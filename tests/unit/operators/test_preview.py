from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models.geometry import LabelMap, Volume, VolumeGeometry
from models.segments import Code, Segment
from operators.errors import OutputError
from operators.preview import render_preview, write_preview

CODE = Code(value="10200004", scheme="SCT", meaning="Liver")
HALF_MM = np.array((150.0, 110.0, 120.0))

#: Grids over one body: columns are the unit vectors of i, j and k in LPS.
ORIENTATIONS = {
    "axial": np.eye(3),
    "head to feet": np.diag((1.0, -1.0, -1.0)),
    "mirrored columns": np.diag((-1.0, 1.0, 1.0)),
    "coronal": np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]]),
    "sagittal": np.array([[0, 0, 1.0], [1.0, 0, 0], [0, -1.0, 0]]),
}


def _segment(number: int, name: str, rgb: tuple[int, int, int]) -> Segment:
    return Segment(
        number=number, name=name, label=name, category=CODE, type=CODE, modifier=None, rgb=rgb
    )


#: Pure colours, so that a pixel tells its organ.
SEGMENTS = (
    _segment(1, "Right and low", (255, 0, 0)),
    _segment(2, "Left and high", (0, 0, 255)),
    _segment(3, "Front", (0, 255, 0)),
)
CENTRES = {1: (-80.0, 20.0, -50.0), 2: (80.0, 20.0, 50.0), 3: (60.0, -70.0, 0.0)}


def _body(direction: NDArray[np.float64]) -> tuple[Volume, LabelMap]:
    """A block of water with three balls, the same in the patient whatever the grid."""
    spacing = np.array((6.0, 4.0, 5.0))  # (k, j, i)
    half = np.abs(direction.T @ HALF_MM)[::-1]
    shape = np.round(2 * half / spacing).astype(int)
    corner = -direction @ ((shape - 1) / 2 * spacing)[::-1]
    geometry = VolumeGeometry.from_spacing(shape.tolist(), spacing, corner, direction)
    points = geometry.to_lps(np.stack(np.indices(geometry.shape), axis=-1))
    hu = np.where((np.abs(points) < HALF_MM - 15).all(axis=-1), 20, -1000).astype(np.int16)
    labels = np.zeros(geometry.shape, np.uint8)
    for number, centre in CENTRES.items():
        labels[np.linalg.norm(points - centre, axis=-1) < 30] = number
    return Volume(hu=hu, geometry=geometry), LabelMap(labels=labels, geometry=geometry)


def _panels(picture: Image.Image) -> dict[str, NDArray[np.uint8]]:
    """Cut the lower row, where views are largest, at the first column between the two."""
    pixels = np.asarray(picture)
    background = (pixels == pixels[0, 0]).all(axis=-1)
    empty_rows = np.flatnonzero(background[:, 12:].all(axis=1))
    top = empty_rows[(empty_rows > 60) & (empty_rows < picture.height - 60)].max() + 1
    lower = pixels[top : picture.height - 34]
    gaps = np.flatnonzero((lower == pixels[0, 0]).all(axis=(0, 2)))
    gaps = gaps[gaps > 12]
    coronal_end = int(gaps[0])
    sagittal_start = coronal_end + 12
    sagittal_end = int(gaps[gaps > sagittal_start][0])
    return {
        "axial": pixels[44 : top - 12],
        "coronal": lower[:, 12:coronal_end],
        "sagittal": lower[:, sagittal_start:sagittal_end],
    }


def _place(panel: NDArray[np.uint8], channel: int) -> NDArray[np.float64] | None:
    """Centre `(row, column)` of the pixels in which one colour is far above the others."""
    values = panel.astype(int)
    others = np.delete(values, channel, axis=-1).max(axis=-1)
    found = np.argwhere(values[..., channel] - others > 60)
    return found.mean(axis=0) if len(found) > 50 else None


@pytest.mark.parametrize("direction", ORIENTATIONS.values(), ids=ORIENTATIONS.keys())
def test_patients_right_is_left_and_head_is_up_whatever_the_grid(
    direction: NDArray[np.float64],
) -> None:
    panels = _panels(render_preview(*_body(direction), SEGMENTS))

    right_low, left_high = _place(panels["coronal"], 0), _place(panels["coronal"], 2)
    assert right_low is not None
    assert left_high is not None
    assert right_low[1] < panels["coronal"].shape[1] / 2 < left_high[1]
    assert left_high[0] < panels["coronal"].shape[0] / 2 < right_low[0]

    first = panels["axial"][:, :390]  # the highest of the axial views, at the left end
    high = _place(first, 2)
    assert high is not None
    assert high[1] > first.shape[1] / 2
    assert _place(first, 0) is None


@pytest.mark.parametrize("direction", ORIENTATIONS.values(), ids=ORIENTATIONS.keys())
def test_front_is_at_the_left_of_the_sagittal_view(direction: NDArray[np.float64]) -> None:
    sagittal = _panels(render_preview(*_body(direction), SEGMENTS))["sagittal"]

    front, back = _place(sagittal, 1), _place(sagittal, 2)

    assert front is not None
    assert back is not None
    assert front[1] < sagittal.shape[1] / 2 < back[1]


def test_views_keep_the_proportions_of_the_patient() -> None:
    panels = _panels(render_preview(*_body(ORIENTATIONS["sagittal"]), SEGMENTS))
    height, coronal, _ = panels["coronal"].shape
    sagittal = panels["sagittal"].shape[1]

    # the body of 270 x 190 x 210 mm, found to a voxel, with a margin of 8 mm all around
    assert coronal / height == pytest.approx(286 / 226, rel=0.05)
    assert sagittal / height == pytest.approx(206 / 226, rel=0.05)


def test_organs_that_were_not_found_do_not_spoil_the_picture() -> None:
    volume, _ = _body(np.eye(3))
    nothing = LabelMap(labels=np.zeros(volume.geometry.shape, np.uint8), geometry=volume.geometry)

    panels = _panels(render_preview(volume, nothing, SEGMENTS))

    assert all(_place(panel, channel) is None for panel in panels.values() for channel in range(3))


def test_a_single_slice_of_air_still_gives_a_picture() -> None:
    geometry = VolumeGeometry.from_spacing((1, 20, 30), (5.0, 3.0, 3.0))
    volume = Volume(hu=np.full(geometry.shape, -1000, np.int16), geometry=geometry)
    labels = LabelMap(labels=np.zeros(geometry.shape, np.uint8), geometry=geometry)

    assert render_preview(volume, labels, SEGMENTS).width == 1600


def test_labels_of_another_grid_are_refused() -> None:
    volume, _ = _body(np.eye(3))
    _, elsewhere = _body(ORIENTATIONS["coronal"])

    with pytest.raises(OutputError, match="another grid"):
        render_preview(volume, elsewhere, SEGMENTS)


def test_written_picture_is_the_same_every_time_and_carries_no_text(tmp_path: Path) -> None:
    body = _body(np.eye(3))

    write_preview(*body, SEGMENTS, tmp_path / "one.png")
    write_preview(*body, SEGMENTS, tmp_path / "two.png")

    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    with Image.open(tmp_path / "one.png") as picture:
        assert picture.info == {}
