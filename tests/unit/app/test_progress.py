from __future__ import annotations

import io
import os
import pty

import pytest

from app.progress import Bar, Lines, Silent, make_progress


def test_a_stage_is_a_line_at_its_begin_and_end() -> None:
    stream = io.StringIO()
    tell = Lines(stream)
    for stage, share in (("load", 0.0), ("load", 0.4), ("load", 0.8), ("load", 1.0)):
        tell(stage, share)
    tell("segment", 0.0)
    tell("segment", 0.125)
    tell.close()
    assert stream.getvalue() == "load: 0 %\nload: 100 %\nsegment: 0 %\n"


def test_lines_between_come_after_some_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.progress.LINE_EVERY_S", 0.0)
    stream = io.StringIO()
    tell = Lines(stream)
    for share in (0.0, 0.256, 0.5):
        tell("segment", share)
    assert stream.getvalue().splitlines() == ["segment: 0 %", "segment: 26 %", "segment: 50 %"]


def test_the_bar_is_drawn_over_and_wiped() -> None:
    stream = io.StringIO()
    bar = Bar(stream)
    bar("load", 0.0)
    bar("segment", 0.375)
    assert stream.getvalue().split("\r")[-1].startswith("segment")
    assert " 38 %" in stream.getvalue()
    bar.close()
    assert "\n" not in stream.getvalue()
    assert stream.getvalue().split("\r")[-2].strip() == ""


def test_quiet_says_nothing() -> None:
    stream = io.StringIO()
    silent = make_progress(True, stream)
    silent("load", 0.0)
    silent.close()
    assert isinstance(silent, Silent)
    assert stream.getvalue() == ""


def test_a_pipe_gets_lines_and_a_terminal_a_bar() -> None:
    assert isinstance(make_progress(False, io.StringIO()), Lines)
    leader, follower = pty.openpty()
    with os.fdopen(leader, "rb"), os.fdopen(follower, "w") as terminal:
        bar = make_progress(False, terminal)
        assert isinstance(bar, Bar)
        bar.close()


def test_standard_error_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    make_progress(False)("load", 1.0)
    streams = capsys.readouterr()
    assert (streams.out, streams.err) == ("", "load: 100 %\n")
