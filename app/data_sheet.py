"""Contact sheets: a slice of each case of a data set with the outlines of its labels."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from models.data.inspection import Look
from models.data.problems import UNKNOWN_VALUE
from operators.outputs import atomic_write

COLUMNS, ROWS = 6, 4
_TILE, _CAPTION, _GAP = 240, 20, 8
_LEGEND_ROW = 24
_LOWEST_HU, _HIGHEST_HU = -160.0, 240.0
_BACKGROUND, _TEXT = (16, 18, 22), (235, 235, 235)
_GOLDEN = 0.618034


def colour_of(value: int) -> tuple[int, int, int]:
    """A colour for a label value, grey for the unknown; neighbouring values differ in hue."""
    if value == UNKNOWN_VALUE:
        return 140, 140, 140
    saturation = (0.8, 0.4, 1.0)[value % 3]
    red, green, blue = colorsys.hsv_to_rgb(value * _GOLDEN % 1.0, saturation, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def write_sheets(looks: Sequence[Look], names: Mapping[int, str], folder: Path) -> list[Path]:
    """Write as many sheets of 24 cases as it takes.

    Parameters
    ----------
    looks
        The slices.
    names
        Of the label values that occur.
    folder
        Gets `sheet-1.png` and so on.

    Returns
    -------
    The files.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    per_sheet = COLUMNS * ROWS
    paths = []
    for number, start in enumerate(range(0, len(looks), per_sheet), start=1):
        path = folder / f"sheet-{number}.png"
        picture = _sheet(looks[start : start + per_sheet], names)
        with atomic_write(path) as stream:
            picture.save(stream, "PNG", optimize=True)
        paths.append(path)
    return paths


def _sheet(looks: Sequence[Look], names: Mapping[int, str]) -> Image.Image:
    columns = min(COLUMNS, len(looks))
    rows = -(-len(looks) // columns)
    width = max(columns * (_TILE + _GAP) + _GAP, 3 * (_TILE + _GAP) + _GAP)
    per_row = max(1, (width - _GAP) // 190)
    legend = _LEGEND_ROW * -(-len(names) // per_row) + _GAP
    height = rows * (_TILE + _CAPTION + _GAP) + _GAP
    picture = Image.new("RGB", (width, height + legend), _BACKGROUND)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=13)
    for n, look in enumerate(looks):
        left = _GAP + n % columns * (_TILE + _GAP)
        top = _GAP + n // columns * (_TILE + _CAPTION + _GAP)
        tile = _tile(look)
        picture.paste(tile, (left + (_TILE - tile.width) // 2, top + (_TILE - tile.height) // 2))
        draw.text((left, top + _TILE + 2), _short(look.record.name), _TEXT, font)
    for n, (value, name) in enumerate(sorted(names.items())):
        x, y = _GAP + n % per_row * 190, height + n // per_row * _LEGEND_ROW
        draw.rectangle((x, y + 4, x + 14, y + 18), fill=colour_of(value))
        draw.text((x + 20, y + 3), f"{value} {name}"[:24], _TEXT, font)
    return picture


def _tile(look: Look) -> Image.Image:
    """The slice to scale, at most `_TILE` pixels on a side."""
    height_mm, width_mm = np.array(look.hu.shape) * look.spacing_mm
    scale = _TILE / max(height_mm, width_mm)
    size = (max(1, round(width_mm * scale)), max(1, round(height_mm * scale)))
    grey = np.clip((look.hu - _LOWEST_HU) / (_HIGHEST_HU - _LOWEST_HU), 0, 1) * 255
    image = Image.fromarray(grey.round().astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    labels = np.asarray(Image.fromarray(look.labels).resize(size, Image.Resampling.NEAREST))
    return Image.fromarray(_outlined(np.asarray(image), labels))


def _outlined(grey: NDArray[np.uint8], labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    picture = np.repeat(grey[..., None], 3, axis=-1)
    edge = ndimage.minimum_filter(labels, 3) != ndimage.maximum_filter(labels, 3)
    for value in np.unique(labels[labels > 0]).tolist():
        picture[edge & (labels == value)] = colour_of(value)
    return picture


def _short(name: str) -> str:
    return name if len(name) <= 32 else f"{name[:10]}...{name[-18:]}"
