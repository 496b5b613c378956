"""PNG slices: greys that stand for a window of HU, and masks of class values or colours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from models.errors import TrainingError

#: What stands for a label in a mask: a grey, or red, green and blue.
Shade = int | tuple[int, int, int]
_GREY_RANGE = {"L": 255, "P": 255, "1": 1, "I;16": 65535, "I": 65535}


def read_greys(path: Path) -> NDArray[np.float32]:
    """Greys `(H, W)` from 0 to 1; of a colour picture, its luminance."""
    image = _open(path)
    if image.mode in _GREY_RANGE and image.mode != "P":
        most = _GREY_RANGE[image.mode]
        return np.asarray(image, np.float32) / np.float32(most)
    return np.asarray(image.convert("L"), np.float32) / np.float32(255)


def read_mask(path: Path, shades: Mapping[Shade, int] | None) -> NDArray[np.uint8]:
    """Label values `(H, W)` of a mask.

    Parameters
    ----------
    shades
        Label value of each grey or colour; None where greys (or palette indices) are the values.

    Raises
    ------
    TrainingError
        If the file is no PNG, or has a shade that the table lacks.
    """
    image = _open(path)
    if image.mode in ("RGBA", "LA"):
        image = image.convert(image.mode[:-1])
    if shades is not None and any(isinstance(shade, tuple) for shade in shades):
        return _by_colour(np.asarray(image.convert("RGB")), shades, path)
    if image.mode not in _GREY_RANGE:
        colours = np.asarray(image)
        if (colours != colours[..., :1]).any():
            raise TrainingError(
                f"{path}: expected a mask of greys, or a table of its colours, found colours"
            )
        image = image.convert("L")
    values = np.asarray(image)
    if shades is None:
        if values.max(initial=0) > 255:
            raise TrainingError(f"{path}: expected values of 0 to 255, found {values.max()}")
        return values.astype(np.uint8)
    labels = np.zeros(values.shape, np.uint8)
    for value in np.unique(values):
        if int(value) not in shades:
            raise TrainingError(
                f"{path}: expected greys of {sorted(map(str, shades))}, found {value}"
            )
        labels[values == value] = shades[int(value)]
    return labels


def read_shades(entries: Mapping[str, Any]) -> dict[Shade, int]:
    """A table of shades from JSON: keys are greys (`"128"`) or colours (`"#ff8000"`).

    Raises
    ------
    TrainingError
        If a key is neither, or a value is no label value.
    """
    table: dict[Shade, int] = {}
    for key, value in entries.items():
        colour = re.fullmatch(r"#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})", key.casefold())
        if not (colour or key.isdigit()) or not isinstance(value, int) or not 0 <= value <= 255:
            raise TrainingError(
                f"expected a grey or #rrggbb and its value of 0 to 255, found {key!r}: {value!r}"
            )
        if colour:
            red, green, blue = (int(part, 16) for part in colour.groups())
            table[red, green, blue] = value
        else:
            table[int(key)] = value
    return table


def _by_colour(
    colours: NDArray[np.uint8], shades: Mapping[Shade, int], path: Path
) -> NDArray[np.uint8]:
    packed = colours.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    table = {_packed(shade): value for shade, value in shades.items()}
    labels = np.zeros(packed.shape, np.uint8)
    for colour in np.unique(packed):
        if int(colour) not in table:
            known = ", ".join(f"#{each:06x}" for each in sorted(table))
            raise TrainingError(f"{path}: expected colours of {known}, found #{colour:06x}")
        labels[packed == colour] = table[int(colour)]
    return labels


def _packed(shade: Shade) -> int:
    red, green, blue = (shade,) * 3 if isinstance(shade, int) else shade
    return red << 16 | green << 8 | blue


def _open(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except (OSError, UnidentifiedImageError, SyntaxError) as exc:
        raise TrainingError(f"{path}: expected a PNG picture, found {exc}") from exc
