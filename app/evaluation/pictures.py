"""Input, truth and prediction side by side."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from models.segments import Segment
from models.training.cases import UNKNOWN, Case

#: Width of each of the three panels, and the largest height.
PANEL_PX, _HIGHEST_PX = 400, 520
_GAP, _TITLE_PX = 8, 26
_LOWEST_HU, _HIGHEST_HU = -160.0, 240.0  # the soft-tissue window, W 400 L 40
_AIR_HU = -300
_MARGIN_MM = 8.0
_OPACITY = 0.4
_BACKGROUND, _TEXT = (16, 18, 22), (235, 235, 235)
_TRUTH_LINE = (255, 255, 255)
#: Fewer slices show nothing in a coronal view.
_FEWEST_SLICES = 8

Labels = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class PictureView:
    """One plane: what it shows, and a PNG of its three panels."""

    title: str
    png: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class CasePicture:
    """The views of one case, by its name."""

    case: str
    views: tuple[PictureView, ...]


def case_picture(
    case: Case, prediction: Labels, segments: Sequence[Segment], class_of: Mapping[str, int]
) -> CasePicture:
    """Draw the slices that tell most about a case.

    Axial, the slice with the most wrong voxels and that with the most organs; coronal, the one
    with the most organs. Axial slices are seen from the feet and coronal ones from the front, the
    patient's right on the picture's left, to scale in mm, in the soft-tissue window. Over the
    prediction lies the outline of the truth in white.

    Parameters
    ----------
    case
        With its truth, in network classes.
    prediction
        `(D, H, W)` segment numbers in the case's order, as `models.evaluation` hands them on.
    segments, class_of
        The bundle's organs, and the network class of each organ's name.
    """
    painter = _Painter(case, prediction, segments, class_of)
    return CasePicture(case=case.name, views=tuple(painter.views()))


class _Painter:
    """Both label maps in network classes, and the box around the body."""

    def __init__(
        self,
        case: Case,
        prediction: Labels,
        segments: Sequence[Segment],
        class_of: Mapping[str, int],
    ) -> None:
        classes, known = np.zeros(256, np.uint8), np.zeros(256, np.uint8)
        self.palette = np.full((256, 3), np.nan)
        for segment in segments:
            number = class_of[segment.name]
            classes[segment.number] = known[number] = number
            self.palette[number] = segment.rgb
        known[UNKNOWN] = UNKNOWN
        self.case = case
        self.truth: Labels = known[case.labels]
        self.prediction: Labels = classes[prediction]
        self.box = _body_box(case)

    def views(self) -> list[PictureView]:
        depth, height, _ = self.case.hu.shape
        wrong = self._wrong()
        richest = int(self._richness(0).argmax())
        views = []
        if wrong.any() and int(wrong.argmax()) != richest:
            views.append(
                self._view(
                    0, int(wrong.argmax()), f"Axial, slice {{}} of {depth}: most voxels wrong"
                )
            )
        views.append(self._view(0, richest, f"Axial, slice {{}} of {depth}: most organs"))
        if depth >= _FEWEST_SLICES:
            row = int(self._richness(1).argmax())
            views.append(self._view(1, row, f"Coronal, row {{}} of {height}: most organs"))
        return views

    def _wrong(self) -> NDArray[np.int64]:
        """Voxels of each slice whose class is known to be wrong."""
        unlabelled = np.isin(self.prediction, list(self.case.unlabelled)) & (self.truth == 0)
        wrong = (self.prediction != self.truth) & (self.truth != UNKNOWN) & ~unlabelled
        counts: NDArray[np.int64] = wrong.sum(axis=(1, 2))
        return counts

    def _richness(self, axis: int) -> NDArray[np.float64]:
        """Of each plane across an axis, how much it shows: each organ counts up to one."""
        others = tuple(n for n in range(3) if n != axis)
        score = np.zeros(self.truth.shape[axis])
        for number in np.flatnonzero(np.isfinite(self.palette[:, 0])):
            for labels in (self.truth, self.prediction):
                profile = (labels == number).sum(axis=others)
                if profile.any():
                    score += np.minimum(1.0, 2.0 * profile / profile.max())
        return score

    def _view(self, axis: int, position: int, title: str) -> PictureView:
        hu = self._plane(self.case.hu, axis, position).astype(np.float32)
        extent_mm = np.array(hu.shape) * np.delete(self.case.spacing_mm, axis)
        scale = min(PANEL_PX / extent_mm[1], _HIGHEST_PX / extent_mm[0])
        height, width = (max(1, round(float(n) * scale)) for n in extent_mm)
        truth, found = (
            _resized_labels(self._plane(labels, axis, position), (width, height))
            for labels in (self.truth, self.prediction)
        )
        share = (_resized(hu, (width, height)) - _LOWEST_HU) / (_HIGHEST_HU - _LOWEST_HU)
        grey = np.repeat(np.clip(share, 0, 1)[..., None] * 255, 3, axis=-1)
        over = self._coloured(grey, found)
        over[_outline(truth, 3) & np.isfinite(self.palette[truth, 0])] = _TRUTH_LINE
        panels = (("Input", grey), ("Truth", self._coloured(grey, truth)), ("Prediction", over))
        png = _side_by_side(panels, "RLAP" if axis == 0 else "RLHF")
        return PictureView(title=title.format(position + 1), png=png)

    def _plane(self, array: NDArray[Any], axis: int, position: int) -> NDArray[Any]:
        """A plane cut to the body, head or front at the top."""
        box = [slice(position, position + 1) if n == axis else self.box[n] for n in range(3)]
        plane = array[tuple(box)].squeeze(axis)
        return plane if axis == 0 else plane[::-1]

    def _coloured(self, grey: NDArray[np.float64], labels: Labels) -> NDArray[np.float64]:
        """Translucent organs with full-coloured outlines; dark where nobody knows the truth."""
        picture = grey.copy()
        picture[labels == UNKNOWN] *= 0.45
        colour = self.palette[labels]
        organ = np.isfinite(colour[..., 0])
        picture[organ] = (1 - _OPACITY) * picture[organ] + _OPACITY * colour[organ]
        edge = organ & _outline(labels, 5)
        picture[edge] = colour[edge]
        return picture


def _outline(labels: NDArray[Any], size: int) -> NDArray[np.bool_]:
    """Pixels near which labels change, on both sides of the border."""
    edge: NDArray[np.bool_] = ndimage.minimum_filter(labels, size) != ndimage.maximum_filter(
        labels, size
    )
    return edge


def _resized(plane: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    picture = Image.fromarray(np.ascontiguousarray(plane))
    return np.asarray(picture.resize(size, Image.Resampling.BILINEAR))


def _resized_labels(plane: Labels, size: tuple[int, int]) -> Labels:
    """The label that has most of each pixel: outlines without the steps of the voxels."""
    numbers = np.unique(plane)
    shares = [_resized((plane == number).astype(np.float32), size) for number in numbers]
    most: Labels = numbers[np.argmax(shares, axis=0)]
    return most


def _body_box(case: Case) -> tuple[slice, slice, slice]:
    """All slices, and the rows and columns of the largest thing denser than air."""
    step = [max(1, round(4.0 / mm)) for mm in case.spacing_mm]
    coarse = case.hu[:: step[0], :: step[1], :: step[2]] > _AIR_HU
    parts, count = ndimage.label(coarse)
    if count == 0:
        return slice(None), slice(None), slice(None)
    body = int(np.bincount(parts.ravel())[1:].argmax())
    found = ndimage.find_objects(parts)[body]
    room = [round(_MARGIN_MM / mm) for mm in case.spacing_mm]
    rows, columns = (
        slice(
            max(0, found[n].start * step[n] - room[n]), (found[n].stop - 1) * step[n] + 1 + room[n]
        )
        for n in (1, 2)
    )
    return slice(None), rows, columns


def _side_by_side(panels: Sequence[tuple[str, NDArray[np.float64]]], letters: str) -> bytes:
    """PNG of panels in a row, each `PANEL_PX` wide with its title, and letters at its edges."""
    height = panels[0][1].shape[0]
    width = len(panels) * PANEL_PX + (len(panels) - 1) * _GAP
    picture = Image.new("RGB", (width, height + _TITLE_PX), _BACKGROUND)
    draw = ImageDraw.Draw(picture)
    for place, (title, pixels) in enumerate(panels):
        panel = Image.fromarray(pixels.round().astype(np.uint8))
        left = place * (PANEL_PX + _GAP)
        at = left + (PANEL_PX - panel.width) // 2
        picture.paste(panel, (at, _TITLE_PX))
        _write(draw, (left + PANEL_PX / 2, _TITLE_PX / 2), title, 16, "mm")
        middle = (at + panel.width / 2, _TITLE_PX + height / 2)
        places = (
            (at + 5, middle[1]),
            (at + panel.width - 5, middle[1]),
            (middle[0], _TITLE_PX + 4),
            (middle[0], _TITLE_PX + height - 4),
        )
        for letter, point, anchor in zip(letters, places, ("lm", "rm", "mt", "mb"), strict=True):
            _write(draw, point, letter, 15, anchor)
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _write(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    size: int,
    anchor: str,
) -> None:
    font = ImageFont.load_default(size=size)
    draw.text(place, text, _TEXT, font, anchor, stroke_width=2, stroke_fill=(0, 0, 0))
