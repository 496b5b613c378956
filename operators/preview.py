"""One picture that shows at a glance what was found and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from models.geometry import LabelMap, Volume
from models.segments import Segment
from operators.organ_volumes import NOTICE, OrganVolume, measure
from operators.outputs import atomic_write

_WIDTH = 1600
_GAP = 12
_HEADER = 44
_FOOTER = 34
_AXIAL_COUNT = 4
_UPPER_ROW = 420  # largest height of the axial views
_LOWER_ROW = 560  # largest height of the coronal and sagittal view
_LEGEND = 380  # least width of the legend
_LEGEND_ROW = 34.0
_OPACITY = 0.35
_RIM = 5  # the filter that leaves outlines of two pixels
_LOWEST_HU, _HIGHEST_HU = -160.0, 240.0  # the soft-tissue window, W 400 L 40
_AIR_HU = -300
_MARGIN_MM = 8.0
_BACKGROUND = (16, 18, 22)
_TEXT = (235, 235, 235)
_DIM = (150, 155, 165)

X, Y, Z = np.eye(3)


@dataclass(frozen=True)
class _View:
    """A standard plane as seen in radiology: unit vectors in LPS and the letters at its edges."""

    name: str
    axis: int
    right: NDArray[np.float64]
    down: NDArray[np.float64]
    letters: str  # left, right, top, bottom


#: From the feet, from the front and from the left: the patient's right is on the picture's left.
_AXIAL = _View("Axial", 2, X, Y, "RLAP")
_CORONAL = _View("Coronal", 1, X, -Z, "RLHF")
_SAGITTAL = _View("Sagittal", 0, Y, -Z, "APHF")


@dataclass(frozen=True)
class _Scene:
    """All that a panel is drawn from; `low` and `high` are the corners of a box in LPS mm."""

    volume: Volume
    label_map: LabelMap
    palette: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def extent_mm(self, view: _View) -> tuple[float, float]:
        """Width and height of the box in a view."""
        size = self.high - self.low
        return float(np.abs(view.right) @ size), float(np.abs(view.down) @ size)


def render_preview(volume: Volume, label_map: LabelMap, segments: Sequence[Segment]) -> Image.Image:
    """Draw axial, coronal and sagittal views with the organs, and a legend with their volumes.

    Views lie along the patient's axes whatever the orientation of the grid, to scale in mm, in
    radiological convention (patient's right on the left), soft-tissue window W 400 L 40. Nothing
    of the patient's data is in the picture but the image itself.

    Parameters
    ----------
    volume, label_map
        HU and labels `(D, H, W)` on one grid.
    segments
        What the labels mean; labels without a segment are not drawn.

    Raises
    ------
    OutputError
        If the two grids differ.
    """
    organs = measure(label_map, segments, volume)
    palette = np.full((256, 3), np.nan)
    for segment in segments:
        palette[segment.number] = segment.rgb
    low, high = _body_box(volume)
    scene = _Scene(volume, label_map, palette, low, high)
    cloud = _cloud(label_map, segments)
    heights = _axial_heights(scene, cloud)

    cell = (_WIDTH - _GAP * (_AXIAL_COUNT + 1)) // _AXIAL_COUNT
    scale = _fitting_scale(scene.extent_mm(_AXIAL), cell, _UPPER_ROW)
    axial = [_panel(scene, _AXIAL, z, scale) for z in heights]
    coronal_mm, height_mm = scene.extent_mm(_CORONAL)
    lower_mm = (coronal_mm + scene.extent_mm(_SAGITTAL)[0], height_mm)
    scale = _fitting_scale(lower_mm, _WIDTH - 5 * _GAP - _LEGEND, _LOWER_ROW)
    coronal = _panel(scene, _CORONAL, _best_position(scene, cloud, 1), scale, heights)
    sagittal = _panel(scene, _SAGITTAL, _best_position(scene, cloud, 0), scale, heights)

    top = _HEADER + axial[0].height + _GAP
    lower = max(coronal.height, min(_LOWER_ROW, round(_LEGEND_ROW * len(segments))))
    picture = Image.new("RGB", (_WIDTH, top + lower + _FOOTER), _BACKGROUND)
    for column, panel in enumerate(axial):
        left = _GAP + column * (cell + _GAP) + (cell - panel.width) // 2
        picture.paste(panel, (left, _HEADER))
    picture.paste(coronal, (_GAP, top))
    picture.paste(sagittal, (2 * _GAP + coronal.width, top))
    legend_left = 4 * _GAP + coronal.width + sagittal.width
    _draw_legend(picture, (legend_left, top, _WIDTH - _GAP, top + lower), segments, organs)
    _draw_captions(picture)
    return picture


def write_preview(
    volume: Volume, label_map: LabelMap, segments: Sequence[Segment], path: Path
) -> None:
    """Write the picture as PNG, completely or not at all; raises OutputError."""
    picture = render_preview(volume, label_map, segments)
    with atomic_write(path) as stream:
        picture.save(stream, "PNG", optimize=True)


def _body_box(volume: Volume) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Corners in LPS mm of a box around the largest thing denser than air: the body."""
    geometry = volume.geometry
    step = [max(1, round(4.0 / mm)) for mm in geometry.spacing_mm]
    coarse = volume.hu[:: step[0], :: step[1], :: step[2]]
    parts, count = ndimage.label(coarse > _AIR_HU)
    if count:
        body = np.bincount(parts.ravel())[1:].argmax() + 1
        found = ndimage.find_objects(parts)[body - 1]
        ranges = [
            (axis.start * n, min((axis.stop - 1) * n, size - 1))
            for axis, n, size in zip(found, step, geometry.shape, strict=True)
        ]
    else:
        ranges = [(0, size - 1) for size in geometry.shape]
    corners = geometry.to_lps(np.array(list(product(*ranges))))
    return corners.min(axis=0) - _MARGIN_MM, corners.max(axis=0) + _MARGIN_MM


def _cloud(label_map: LabelMap, segments: Sequence[Segment]) -> list[NDArray[np.float64]]:
    """About a thousand points `(n, 3)` in LPS mm of each segment that was found."""
    flat = label_map.labels.ravel()
    cloud = []
    for segment in segments:
        voxels = np.flatnonzero(flat == segment.number)
        if len(voxels):
            some = voxels[:: max(1, len(voxels) // 1000)]
            index = np.stack(np.unravel_index(some, label_map.labels.shape), axis=-1)
            cloud.append(label_map.geometry.to_lps(index))
    return cloud


def _axial_heights(scene: _Scene, cloud: list[NDArray[np.float64]]) -> list[float]:
    """Heights in mm of axial views spread over the organs, from head to feet."""
    low, high = scene.low[2] + _MARGIN_MM, scene.high[2] - _MARGIN_MM
    if cloud:
        z = np.concatenate([points[:, 2] for points in cloud])
        low, high = float(z.min()), float(z.max())
    steps = (np.arange(_AXIAL_COUNT)[::-1] + 0.5) / _AXIAL_COUNT
    return [float(low + step * (high - low)) for step in steps]


def _best_position(scene: _Scene, cloud: list[NDArray[np.float64]], axis: int) -> float:
    """Position in mm of the plane across an axis that shows the most of the most organs."""
    if not cloud:
        return float(scene.low[axis] + scene.high[axis]) / 2
    edges = np.arange(scene.low[axis], scene.high[axis] + 5.0, 5.0)
    score = np.zeros(len(edges) - 1)
    for points in cloud:
        # organs lie in the body, but a wrong label may lie beside it
        profile = np.histogram(points[:, axis].clip(edges[0], edges[-1]), edges)[0]
        score += np.minimum(1.0, 2.0 * profile / profile.max())
    best = np.flatnonzero(score >= 0.98 * score.max())
    return float(edges[best[len(best) // 2]]) + 2.5


def _fitting_scale(extent_mm: tuple[float, float], width: int, height: int) -> float:
    """Pixels per mm at which an extent fills a box."""
    return min(width / extent_mm[0], height / extent_mm[1])


def _panel(
    scene: _Scene,
    view: _View,
    position_mm: float,
    pixels_per_mm: float,
    marks_mm: Sequence[float] = (),
) -> Image.Image:
    """Draw one plane with its organs, letters, position, scale bar and marks at other planes."""
    width, height = (max(1, round(mm * pixels_per_mm)) for mm in scene.extent_mm(view))
    corner = np.where(view.right + view.down < 0, scene.high, scene.low)
    corner[view.axis] = position_mm
    columns, rows = (np.arange(n) + 0.5 for n in (width, height))
    points = (
        corner
        + rows[:, None, None] * view.down / pixels_per_mm
        + columns[None, :, None] * view.right / pixels_per_mm
    )
    index = np.moveaxis(scene.volume.geometry.to_index(points), -1, 0)
    hu = ndimage.map_coordinates(
        scene.volume.hu, index, np.float32, order=1, mode="grid-constant", cval=-1024
    )
    labels = ndimage.map_coordinates(
        scene.label_map.labels, index, order=0, mode="grid-constant", cval=0
    )
    panel = Image.fromarray(_coloured(hu, labels, scene.palette))
    draw = ImageDraw.Draw(panel)
    for mark in marks_mm:  # only across z, which runs upwards in both views
        y = (scene.high[2] - mark) * pixels_per_mm
        for x in range(0, width, 12):
            draw.line((x, y, x + 4, y), fill=(120, 125, 135))
    _annotate(draw, (width, height), view, position_mm, pixels_per_mm)
    return panel


def _coloured(
    hu: NDArray[np.float32], labels: NDArray[np.uint8], palette: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Grey values with translucent organs inside full-coloured outlines, `(height, width, 3)`."""
    grey = np.clip((hu - _LOWEST_HU) / (_HIGHEST_HU - _LOWEST_HU), 0, 1) * 255
    picture = np.repeat(grey[..., None], 3, axis=-1)
    colour = palette[labels]
    organ = np.isfinite(colour[..., 0])
    picture[organ] = (1 - _OPACITY) * picture[organ] + _OPACITY * colour[organ]
    inner = ndimage.minimum_filter(labels, _RIM) == ndimage.maximum_filter(labels, _RIM)
    outline = organ & ~inner
    picture[outline] = colour[outline]
    return picture.round().astype(np.uint8)


def _annotate(
    draw: ImageDraw.ImageDraw,
    size: tuple[int, int],
    view: _View,
    position_mm: float,
    pixels_per_mm: float,
) -> None:
    width, height = size
    places = ((6, height / 2), (width - 6, height / 2), (width / 2, 4), (width / 2, height - 4))
    for letter, place, anchor in zip(view.letters, places, ("lm", "rm", "mt", "mb"), strict=True):
        _write(draw, place, letter, 20, anchor)
    title = f"{view.name}  {'xyz'[view.axis]} {position_mm:+.0f} mm"
    _write(draw, (6, 4), title, 15, "lt", _DIM)
    bar = 100 * pixels_per_mm
    draw.line((width - 8 - bar, height - 10, width - 8, height - 10), fill=_TEXT, width=2)
    _write(draw, (width - 8 - bar / 2, height - 14), "10 cm", 13, "mb")


def _draw_legend(
    picture: Image.Image,
    box: tuple[int, int, int, int],
    segments: Sequence[Segment],
    organs: Sequence[OrganVolume],
) -> None:
    left, top, right, bottom = box
    draw = ImageDraw.Draw(picture)
    row = min(_LEGEND_ROW, (bottom - top) / max(1, len(segments)))
    text = max(8, round(row * 0.6))
    for line, (segment, organ) in enumerate(zip(segments, organs, strict=True)):
        y = top + (line + 0.5) * row
        swatch = (left, y - row * 0.3, left + row * 0.6, y + row * 0.3)
        found = organ.voxel_count > 0
        draw.rectangle(swatch, fill=segment.rgb if found else None, outline=segment.rgb, width=2)
        colour = _TEXT if found else _DIM
        _write(draw, (left + row, y), segment.label, text, "lm", colour)
        _write(draw, (right, y), _amount(organ), text, "rm", colour)


def _amount(organ: OrganVolume) -> str:
    if organ.voxel_count == 0:
        return "not found"
    return f"{'' if organ.complete else 'cut off, '}{organ.volume_ml:,.0f} ml"


def _draw_captions(picture: Image.Image) -> None:
    draw = ImageDraw.Draw(picture)
    _write(draw, (_GAP, _HEADER / 2), "Abdominal organs", 22, "lm")
    _write(draw, (_WIDTH - _GAP, _HEADER / 2), NOTICE.upper(), 20, "rm", (255, 190, 90))
    caption = (
        "Window W 400 L 40 HU.  Patient's right is on the left of axial and coronal views.  "
        "Positions in LPS mm; dashes mark the axial views.  Cut off: the organ touches the border "
        "of the scan."
    )
    _write(draw, (_GAP, picture.height - _FOOTER / 2), caption, 15, "lm", _DIM)


def _write(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    size: int,
    anchor: str,
    colour: tuple[int, int, int] = _TEXT,
) -> None:
    """Write a line of text with a dark rim, so that it reads on bone and on air."""
    font = ImageFont.load_default(size=size)
    draw.text(place, text, colour, font, anchor, stroke_width=2, stroke_fill=(0, 0, 0))
