"""Pictures and films of organs in three dimensions, for people."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from operators.errors import OutputError
from operators.organ_volumes import NOTICE
from operators.outputs import atomic_write
from operators.scene import BACKGROUND, render_views
from operators.surfaces import Surface

if TYPE_CHECKING:
    from av.container import OutputContainer

#: Pictures of one turn, and how long each stays.
FRAMES, FRAME_MS = 40, 90
_TEXT, _DIM = (40, 44, 52), (112, 118, 128)
_LEGEND_PX, _ROW_PX, _COMPASS_PX = 300, 42, 58
#: Side of the patient, and its azimuth in degrees.
_SIDES = (("A", 0.0), ("L", 90.0), ("P", 180.0), ("R", 270.0))


def draw_front(surfaces: Sequence[Surface], size_px: tuple[int, int] = (1040, 720)) -> Image.Image:
    """Draw the organs from the front with a legend, see `with_legend`.

    The patient stands upright, their left at the picture's right.

    Parameters
    ----------
    size_px
        Width and height of the whole picture.

    Raises
    ------
    OutputError
        As `render_views`.
    """
    width, height = size_px
    (view,) = render_views(surfaces, [0.0], (width - _LEGEND_PX, height - _COMPASS_PX))
    return with_legend(with_compass(view, 0.0), surfaces)


def with_legend(view: Image.Image, surfaces: Sequence[Surface]) -> Image.Image:
    """Add a strip at the right with the colour, label and volume of every organ.

    The volume is that of the voxels, as in every table; the surface of a thin structure has less.
    """
    width, height = view.width + _LEGEND_PX, view.height
    picture = Image.new("RGB", (width, height), BACKGROUND)
    picture.paste(view, (0, 0))
    draw = ImageDraw.Draw(picture)
    row = min(_ROW_PX, (height - 100) / len(surfaces))
    for line, surface in enumerate(surfaces):
        y = (height - row * len(surfaces)) / 2 + (line + 0.5) * row
        left, half = width - _LEGEND_PX + 10, row * 0.28
        draw.rounded_rectangle((left, y - half, left + 2 * half, y + half), 4, surface.rgb)
        _write(draw, (left + row, y), surface.label, round(row * 0.48), "lm")
        volume = volume_text(surface.voxels_ml)
        _write(draw, (width - 24, y), volume, round(row * 0.48), "rm", _DIM)
    _write(draw, (width - 24, height - 20), NOTICE, 14, "rb", _DIM)
    return picture


def volume_text(volume_ml: float) -> str:
    """A volume for people: whole millilitres, tenths of small ones."""
    if volume_ml < 0.05:
        return "< 0.1 ml"
    return f"{volume_ml:,.{1 if volume_ml < 9.95 else 0}f} ml"


def draw_turn(
    surfaces: Sequence[Surface], size_px: tuple[int, int] = (520, 376), frames: int = FRAMES
) -> list[Image.Image]:
    """Draw the pictures of one turn of the patient, from the front; raises as `render_views`."""
    azimuths = [360.0 * n / frames for n in range(frames)]
    width, height = size_px
    views = render_views(surfaces, azimuths, (width, height - _COMPASS_PX))
    return [with_compass(view, azimuth) for view, azimuth in zip(views, azimuths, strict=True)]


def with_compass(view: Image.Image, azimuth_deg: float) -> Image.Image:
    """Add a strip below with a ring that tells where the viewer stands: at its lower side."""
    picture = Image.new("RGB", (view.width, view.height + _COMPASS_PX), BACKGROUND)
    picture.paste(view, (0, 0))
    draw = ImageDraw.Draw(picture)
    middle = np.array((54.0, picture.height - _COMPASS_PX / 2 - 2))
    radii = np.array((34.0, 15.0))
    draw.ellipse((*(middle - radii), *(middle + radii)), outline=(178, 184, 194), width=2)
    for letter, side_deg in _SIDES:
        turn = np.radians(side_deg - azimuth_deg)
        place = middle + radii * (np.sin(turn), np.cos(turn))
        near = np.cos(turn) > -0.3
        size = 17 if near else 14
        _write(draw, (place[0], place[1]), letter, size, "mm", _TEXT if near else _DIM, rim=3)
    return picture


def png_bytes(picture: Image.Image) -> bytes:
    """Pack a picture as PNG."""
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def gif_bytes(frames: Sequence[Image.Image], frame_ms: int = FRAME_MS) -> bytes:
    """Pack pictures of one size as a GIF that runs for ever, with one palette for all."""
    some = frames[:: max(1, len(frames) // 6)]
    sheet = Image.new("RGB", (some[0].width, some[0].height * len(some)))
    for n, frame in enumerate(some):
        sheet.paste(frame, (0, n * frame.height))
    palette = sheet.quantize(255, Image.Quantize.MAXCOVERAGE, kmeans=2)  # small organs count too
    first, *others = (frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames)
    stream = io.BytesIO()
    first.save(
        stream,
        "GIF",
        save_all=True,
        append_images=others,
        duration=frame_ms,
        loop=0,
        optimize=False,
    )
    return stream.getvalue()


def write_mp4(frames: Sequence[Image.Image], path: Path, frame_ms: int = FRAME_MS) -> None:
    """Write pictures of one size, even in width and height, as MP4 (H.264), three turns long.

    Raises
    ------
    OutputError
        If PyAV is absent, its FFmpeg has no H.264 encoder, or the file cannot be written.
    """
    try:
        import av
    except ImportError as exc:
        raise OutputError("MP4 needs PyAV: pip install '.[train]' in viscera's sources") from exc
    try:
        with atomic_write(path) as stream, av.open(stream, "w", format="mp4") as film:
            _encode(film, frames, frame_ms)
    except av.FFmpegError as exc:
        raise OutputError(f"{path} could not be encoded: {exc}") from exc


def _encode(film: OutputContainer, frames: Sequence[Image.Image], frame_ms: int) -> None:
    from fractions import Fraction

    import av

    track: Any = film.add_stream("libx264", rate=Fraction(1000, frame_ms))
    track.width, track.height = frames[0].size
    track.pix_fmt = "yuv420p"  # what every browser plays
    track.options = {"crf": "20", "preset": "medium", "threads": "1"}
    for _ in range(3):
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.asarray(frame), format="rgb24")
            film.mux(track.encode(picture))
    film.mux(track.encode())


def _write(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    size: int,
    anchor: str,
    colour: tuple[int, int, int] = _TEXT,
    rim: int = 0,
) -> None:
    font = ImageFont.load_default(size=size)
    draw.text(place, text, colour, font, anchor, stroke_width=rim, stroke_fill=BACKGROUND)
