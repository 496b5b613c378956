"""The organs of a case in three dimensions, as files and for the page."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from models.geometry import LabelMap
from models.segments import Segment
from operators.glb import write_glb
from operators.outputs import atomic_write, make_folder
from operators.surfaces import organ_surfaces
from operators.turntable import draw_front, draw_turn, gif_bytes, png_bytes, write_mp4


@dataclass(frozen=True, kw_only=True)
class CaseScene:
    """What was made of one case.

    Parameters
    ----------
    case
        Its name.
    png, gif
        The view from the front with a legend, and a turn.
    glb, mp4
        Names of files beside the page; None where there is none.
    """

    case: str
    png: bytes = field(repr=False)
    gif: bytes | None = field(repr=False)
    glb: str | None
    mp4: str | None


def write_scene(
    case: str,
    label_map: LabelMap,
    segments: Sequence[Segment],
    folder: Path,
    *,
    turn: bool = True,
    film: bool = True,
) -> CaseScene:
    """Write the organs of a case as `CASE.glb`, `CASE.png`, `CASE.gif` and `CASE.mp4`.

    Parameters
    ----------
    case
        Its name, in file names as `file_stem` has it.
    label_map
        Labels `(D, H, W)` are segment numbers.
    turn, film
        Whether to draw a turn, as GIF, and to write it as MP4 too.

    Raises
    ------
    OutputError
        If there is no organ, a file cannot be written, or this machine cannot draw; the GLB,
        which needs no drawing, is there by then.
    """
    make_folder(folder)
    stem = folder / file_stem(case)
    surfaces = organ_surfaces(label_map, segments)
    glb = _beside(stem, ".glb")
    write_glb(surfaces, glb)
    png = png_bytes(draw_front(surfaces))
    _write(png, _beside(stem, ".png"))
    gif = mp4 = None
    if turn:
        frames = draw_turn(surfaces)
        gif = gif_bytes(frames)
        _write(gif, _beside(stem, ".gif"))
        if film:
            mp4 = _beside(stem, ".mp4")
            write_mp4(frames, mp4)
    return CaseScene(
        case=case,
        png=png,
        gif=gif,
        glb=glb.name,
        mp4=None if mp4 is None else mp4.name,
    )


def file_stem(case: str) -> str:
    """A case's name as that of a file: never hidden, never in another folder.

    A name that has to be changed for that gets part of its SHA-256, so that no two become one.
    """
    stem = re.sub(r"[^A-Za-z0-9._-]", "_", case).lstrip(".") or "_"
    return stem if stem == case else f"{stem}-{hashlib.sha256(case.encode()).hexdigest()[:8]}"


def _beside(stem: Path, suffix: str) -> Path:
    return stem.with_name(stem.name + suffix)


def _write(content: bytes, path: Path) -> None:
    with atomic_write(path) as stream:
        stream.write(content)
