from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from operators.errors import OutputError
from operators.scene import BACKGROUND, render_views
from tests.organ_balls import skip_where_nothing_can_be_drawn, two_organs


@pytest.fixture(scope="module")
def views() -> list[Image.Image]:
    skip_where_nothing_can_be_drawn()
    return render_views(two_organs(), [0.0, 90.0, 180.0], (240, 160))


def _place(view: Image.Image, channel: int) -> tuple[float, float] | None:
    """Mean row and column of what has one colour far above the others."""
    pixels = np.asarray(view).astype(int)
    others = np.delete(pixels, channel, axis=-1).max(axis=-1)
    rows, columns = np.nonzero(pixels[..., channel] - others > 40)
    return (rows.mean(), columns.mean()) if len(rows) > 30 else None


def test_from_the_front_the_left_is_at_the_right_and_the_head_up(views: list[Image.Image]) -> None:
    left_high, right_low = _place(views[0], 0), _place(views[0], 2)

    assert left_high is not None
    assert right_low is not None
    assert left_high[1] > 120 > right_low[1]
    assert left_high[0] < 80 < right_low[0]
    # 90 mm apart across and 50 along, at one scale
    across, along = left_high[1] - right_low[1], right_low[0] - left_high[0]
    assert across / along == pytest.approx(90 / 50, rel=0.05)


def test_from_the_left_the_front_is_at_the_left(views: list[Image.Image]) -> None:
    back_high, front_low = _place(views[1], 0), _place(views[1], 2)

    assert back_high is not None
    assert front_low is not None
    assert front_low[1] < 120 < back_high[1]


def test_from_behind_the_left_is_at_the_left(views: list[Image.Image]) -> None:
    left_high = _place(views[2], 0)

    assert left_high is not None
    assert left_high[1] < 120
    assert left_high[0] < 80


def test_the_ground_is_light_and_the_size_the_one_wanted(views: list[Image.Image]) -> None:
    for view in views:
        assert view.size == (240, 160)
        assert view.getpixel((2, 2)) == view.getpixel((237, 157)) == BACKGROUND


def test_where_the_drawing_process_dies_it_is_said_and_this_one_lives_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # what VTK does where it finds neither EGL nor OSMesa
    death = "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n"
    (tmp_path / "sitecustomize.py").write_text(death)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    with pytest.raises(OutputError, match=r"ended with -11 .*libegl1"):
        render_views(two_organs(), [0.0], (32, 32))


def test_what_the_drawing_process_says_last_is_in_the_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text("raise SystemExit('no room on the device')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    with pytest.raises(OutputError, match=r"ended with 1 \(.*no room on the device\)"):
        render_views(two_organs(), [0.0], (32, 32))


def test_drawing_that_takes_too_long_is_given_up() -> None:
    with pytest.raises(OutputError, match="within 0 s"):
        render_views(two_organs(), [0.0], (32, 32), timeout_s=0.01)


def test_a_scene_that_cannot_be_written_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))

    with pytest.raises(OutputError, match="could not be drawn: No such file or directory"):
        render_views(two_organs(), [0.0], (32, 32))


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(OutputError, match="at least one organ"):
        render_views([], [0.0])
