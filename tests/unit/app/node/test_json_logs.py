from __future__ import annotations

import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from pydicom import Dataset

from app.node.json_logs import configure, event_of
from operators.errors import VolumeError

PATIENT = "Doe^Jane"
log = logging.getLogger("app.node.test")


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level, sys.excepthook, threading.excepthook
    yield
    root.handlers[:], sys.excepthook, threading.excepthook = before[0], before[2], before[3]
    root.setLevel(before[1])
    logging.captureWarnings(False)


@pytest.fixture
def stream() -> io.StringIO:
    found = io.StringIO()
    configure("info", True, found)
    return found


def events(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_json_object_with_time_level_logger_and_fields(
    stream: io.StringIO,
) -> None:
    extra = {"SOPInstanceUID": "1.2.3", "calling_ae": "CT1", "seconds": 0.25, "count": 3}
    log.info("stored %s\nof %d", "one", 2, extra=extra)
    (event,) = events(stream)
    assert event.pop("time")[-1] == "Z"
    assert event == {
        "level": "info",
        "logger": "app.node.test",
        "message": "stored one\nof 2",
        "SOPInstanceUID": "1.2.3",
        "calling_ae": "CT1",
        "count": 3,
        "seconds": 0.25,
    }


def test_the_time_is_utc_in_iso_8601() -> None:
    record = logging.makeLogRecord({"name": "app", "msg": "x", "created": 1763739584.0625})
    assert event_of(record)["time"] == "2025-11-21T15:39:44.062Z"


def test_fields_that_nobody_agreed_on_are_not_written(stream: io.StringIO) -> None:
    log.info("stored", extra={"PatientName": PATIENT, "job": "abc-1"})
    (event,) = events(stream)
    assert event["job"] == "abc-1"
    assert "Doe" not in stream.getvalue()


def test_a_patient_name_in_an_exception_never_reaches_the_output(stream: io.StringIO) -> None:
    header = Dataset()
    header.PatientName = PATIENT
    try:
        try:
            int(str(header.PatientName))
        except ValueError as exc:
            raise VolumeError("expected 2 images") from exc
    except VolumeError:
        log.exception("the job failed")
    (event,) = events(stream)
    assert "Doe" not in stream.getvalue()
    told = event["exception"]
    assert told["type"] == "operators.errors.VolumeError"
    assert told["message"] == "expected 2 images"
    assert told["cause"]["type"] == "builtins.ValueError"
    assert "message" not in told["cause"]
    assert told["cause"]["places"][0].endswith("in " + sys._getframe().f_code.co_name)


def test_errors_as_arguments_and_messages_keep_patient_data_to_themselves(
    stream: io.StringIO,
) -> None:
    log.warning("failed: %s", ValueError(PATIENT), extra={"reason": KeyError(PATIENT)})
    log.warning(ValueError(PATIENT))
    log.warning("failed: %s", VolumeError("one image"))
    assert "Doe" not in stream.getvalue()
    first, _, third = events(stream)
    assert first["message"] == "failed: a defect of the program: ValueError"
    assert third["message"] == "failed: one image"


def test_what_a_library_was_silenced_by_before_does_not_count() -> None:
    target = io.StringIO()
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    configure("info", True, target)
    logging.getLogger("pynetdicom.acse").warning("x")
    assert len(events(target)) == 1


def test_of_other_libraries_warnings_are_told_by_their_place_only(stream: io.StringIO) -> None:
    foreign = logging.getLogger("pydicom")
    foreign.error("Invalid value for VR PN: %r", PATIENT)
    foreign.info("reading %s", PATIENT)
    logging.getLogger("dbos").error(f"workflow failed: {PATIENT}")
    logging.getLogger("pynetdicom.acse").warning(PATIENT)
    found = events(stream)
    assert len(found) == 3
    assert "Doe" not in stream.getvalue()
    assert "test_json_logs.py:" in found[0]["message"]


def test_warnings_of_python_are_told_by_kind_and_place(stream: io.StringIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        configure("info", True, stream)
        warnings.warn(f"bad name {PATIENT}", UserWarning, stacklevel=1)
    (event,) = events(stream)
    assert event["message"].startswith("UserWarning at ")
    assert "test_json_logs.py:" in event["message"]
    assert "Doe" not in stream.getvalue()


def test_an_error_that_ends_a_thread_or_the_program_is_logged_without_its_text(
    stream: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise RuntimeError(PATIENT)

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    try:
        fail()
    except RuntimeError as exc:
        sys.excepthook(type(exc), exc, exc.__traceback__)
    first, second = events(stream)
    assert first["exception"]["type"] == second["exception"]["type"] == "builtins.RuntimeError"
    assert first["level"] == "critical"
    assert "Doe" not in stream.getvalue() + capsys.readouterr().err


def test_a_log_line_that_cannot_be_formatted_is_written_all_the_same() -> None:
    record = logging.makeLogRecord({"name": "app", "msg": "%d images", "args": (PATIENT,)})
    assert event_of(record)["message"] == "%d images"


def test_odd_text_and_numbers_are_still_json(stream: io.StringIO) -> None:
    log.info("strange: \udc80 %s", "é", extra={"seconds": float("nan")})
    (event,) = events(stream)
    assert event["message"] == "strange: \udc80 é"
    assert event["seconds"] is None


def test_a_stream_that_is_gone_ends_no_work_and_prints_no_record(
    stream: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    stream.close()
    log.error("failed: %s", PATIENT)
    assert capsys.readouterr().err == ""


def test_levels_below_the_one_asked_for_are_left_out() -> None:
    stream = io.StringIO()
    configure("warning", True, stream)
    log.info("quiet")
    log.warning("loud")
    assert [event["message"] for event in events(stream)] == ["loud"]


def test_text_for_people_is_one_line_without_control_characters() -> None:
    stream = io.StringIO()
    configure("info", False, stream)
    try:
        try:
            raise ValueError(PATIENT)
        except ValueError as exc:
            raise VolumeError("one\nimage") from exc
    except VolumeError:
        log.exception("failed", extra={"calling_ae": "CT\x1b[31m\r\nINFO all is well"})
    (line,) = stream.getvalue().splitlines()
    assert " error app.node.test failed calling_ae=CT [31m  INFO all is well [" in line
    assert "[operators.errors.VolumeError: one image, at " in line
    assert "[builtins.ValueError: withheld, at " in line
    assert "\x1b" not in line
    assert "Doe" not in line


def test_errors_that_cause_each_other_come_to_an_end(stream: io.StringIO) -> None:
    first, second = ValueError("a"), KeyError("b")
    first.__cause__, second.__cause__ = second, first
    log.error("failed", exc_info=first)
    assert stream.getvalue().count('"cause"') == 5
