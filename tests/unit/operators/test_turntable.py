from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from models.geometry import LabelMap, VolumeGeometry
from operators.errors import OutputError
from operators.scene import BACKGROUND
from operators.surfaces import organ_surfaces
from operators.turntable import (
    draw_front,
    draw_turn,
    gif_bytes,
    png_bytes,
    volume_text,
    with_compass,
    with_legend,
    write_mp4,
)
from tests.organ_balls import SEGMENTS, skip_where_nothing_can_be_drawn, two_organs

FRAMES = 6


@pytest.fixture(scope="module")
def turn() -> list[Image.Image]:
    skip_where_nothing_can_be_drawn()
    return draw_turn(two_organs(), (200, 160), FRAMES)


def _redness(picture: Image.Image) -> float:
    """Mean column of what is red."""
    pixels = np.asarray(picture.convert("RGB")).astype(int)
    return float(np.nonzero(pixels[..., 0] - pixels[..., 1:].max(axis=-1) > 60)[1].mean())


def test_the_front_view_has_a_legend_with_every_organs_colour() -> None:
    skip_where_nothing_can_be_drawn()

    content = png_bytes(draw_front(two_organs(), (700, 360)))

    with Image.open(io.BytesIO(content)) as picture:
        assert picture.format == "PNG"
        pixels = np.asarray(picture)
    assert pixels.shape == (360, 700, 3)
    legend = pixels[:, 400:].reshape(-1, 3)
    for surface in two_organs():
        assert (legend == surface.rgb).all(axis=1).sum() > 200


def test_the_legend_has_the_volume_of_the_voxels() -> None:
    geometry = VolumeGeometry.from_spacing((9, 9, 40), (3.0, 3.0, 3.0))
    labels = np.zeros(geometry.shape, np.uint8)
    labels[4, 4, :] = 1  # the surface of so thin a thing holds half of it
    (line,) = organ_surfaces(LabelMap(labels=labels, geometry=geometry), SEGMENTS)
    view = Image.new("RGB", (60, 200))

    assert line.voxels_ml == pytest.approx(1.08)
    assert line.volume_ml < 0.7
    picture = with_legend(view, [line]).tobytes()
    larger = replace(line, points_lps=line.points_lps * 3)
    assert with_legend(view, [larger]).tobytes() == picture
    assert with_legend(view, [replace(line, voxels_ml=0.55)]).tobytes() != picture


@pytest.mark.parametrize(
    ("ml", "text"),
    [
        (0.0003, "< 0.1 ml"),
        (0.55, "0.6 ml"),
        (9.94, "9.9 ml"),
        (9.96, "10 ml"),
        (1480.4, "1,480 ml"),
    ],
)
def test_a_small_volume_is_not_rounded_to_nothing(ml: float, text: str) -> None:
    assert volume_text(ml) == text


def test_a_turn_goes_once_around(turn: list[Image.Image]) -> None:
    columns = [_redness(frame) for frame in turn]

    assert len(turn) == FRAMES
    assert all(frame.size == (200, 160) for frame in turn)
    assert columns[0] > 110  # the patient's left, from the front
    assert columns[3] < 90  # and from behind
    assert len({frame.tobytes() for frame in turn}) == FRAMES


def test_the_compass_stands_below_the_view_and_turns() -> None:
    view = Image.new("RGB", (160, 90), (9, 9, 9))

    front, left = with_compass(view, 0.0), with_compass(view, 90.0)

    assert front.width == 160
    assert front.height > 90
    assert (np.asarray(front)[:90] == 9).all()
    assert (np.asarray(front)[90:] != BACKGROUND).any()
    assert front.tobytes() != left.tobytes()


def test_a_gif_holds_every_frame_in_its_colours_and_runs_for_ever(
    turn: list[Image.Image],
) -> None:
    content = gif_bytes(turn, frame_ms=120)

    with Image.open(io.BytesIO(content)) as film:
        assert film.n_frames == FRAMES
        assert film.info["loop"] == 0
        assert film.info["duration"] == 120
        for place, frame in enumerate(turn):
            film.seek(place)
            apart = np.abs(np.asarray(film.convert("RGB")).astype(int) - np.asarray(frame))
            assert apart.mean() < 2.0
    assert gif_bytes(turn, 120) == content


def test_an_mp4_shows_the_turn_three_times(turn: list[Image.Image], tmp_path: Path) -> None:
    write_mp4(turn, tmp_path / "turn.mp4", frame_ms=100)

    with av.open(tmp_path / "turn.mp4") as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
        assert film.streams.video[0].average_rate == 10
        assert film.streams.video[0].codec_context.name == "h264"
    assert len(frames) == 3 * FRAMES
    assert np.abs(frames[0].astype(int) - np.asarray(turn[0])).mean() < 4.0


def test_a_film_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    odd = [Image.new("RGB", (31, 21))] * 2

    with pytest.raises(OutputError, match=r"odd\.mp4"):
        write_mp4(odd, tmp_path / "odd.mp4")
    with pytest.raises(OutputError, match="could not be written"):
        write_mp4([Image.new("RGB", (32, 32))], tmp_path / "none" / "film.mp4")

    assert list(tmp_path.iterdir()) == []
