"""Logs of the node: one event a line, without patient data.

What other libraries say may quote a data set, so of their messages and exceptions only the kind and
the place are written; of ours, the text. Of the fields given as `extra` only `FIELDS` are written.
"""

from __future__ import annotations

import json
import logging
import math
import re
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TextIO

from pydantic import BaseModel, ConfigDict

from app.outcomes import EXPECTED_ERRORS, sentence_of

#: What may be said of an event, as `log.info("...", extra={"job": job})`.
FIELDS = (
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "SOPClassUID",
    "TransferSyntaxUID",
    "study",
    "version",
    "job",
    "attempt",
    "stage",
    "status",
    "reason",
    "association",
    "calling_ae",
    "called_ae",
    "address",
    "destination",
    "workflow",
    "model",
    "sha256",
    "count",
    "bytes",
    "seconds",
)
#: Libraries whose loggers come with handlers of their own.
_WITH_HANDLERS = ("dbos", "pynetdicom")
#: Loggers whose messages are ours.
_OWN = ("app", "operators", "models", "viscera", "__main__")
_LONGEST_TEXT = 4000
_MOST_PLACES = 20
_MOST_CAUSES = 5
#: How the `warnings` module begins its text: file, line, class.
_WARNING = re.compile(r"(?P<file>[^\n]*?):(?P<line>\d+): (?P<kind>\w+):")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

if TYPE_CHECKING:
    _StreamHandler = logging.StreamHandler[TextIO]
else:  # takes no type at run time before Python 3.11
    _StreamHandler = logging.StreamHandler

log = logging.getLogger(__name__)


class LoggingSettings(BaseModel):
    """How the node writes its log to standard error.

    Parameters
    ----------
    level
        The least important events that are written; of other libraries, warnings at least.
    format
        `json`, one object a line, or `text`, one line for people.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "text"] = "json"


def configure(level: str = "info", as_json: bool = True, stream: TextIO | None = None) -> None:
    """Write all logs of this process to one stream, in place of what was set up before.

    Warnings of the `warnings` module and errors that end a thread or the process go there too.

    Parameters
    ----------
    level
        As in `LoggingSettings`.
    as_json
        JSON, or text for people.
    stream
        Standard error by default.
    """
    handler = _Handler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter())
    handler.addFilter(_is_wanted)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _WITH_HANDLERS:
        library = logging.getLogger(name)
        library.handlers[:] = [logging.NullHandler()]  # none at all would bring theirs back
        library.propagate = True
        library.setLevel(logging.NOTSET)  # whatever the command line had set before
    logging.captureWarnings(True)
    sys.excepthook = _log_the_end
    threading.excepthook = _log_the_end_of_a_thread


class JsonFormatter(logging.Formatter):
    """A log record as one JSON object: time, level, logger, message, fields, exception."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(event_of(record), allow_nan=False)


class TextFormatter(logging.Formatter):
    """A log record as one line for people, with the same content as the JSON."""

    def format(self, record: logging.LogRecord) -> str:
        event = event_of(record)
        error = event.pop("exception", None)
        head = [event.pop(key) for key in ("time", "level", "logger", "message")]
        words = [*head, *(f"{key}={value}" for key, value in event.items())]
        while error is not None:
            words.append(f"[{error['type']}: {error.get('message', 'withheld')}, at")
            words.append(f"{error['places'][-1] if error['places'] else 'an unknown place'}]")
            error = error.get("cause")
        return _CONTROL.sub(" ", " ".join(map(str, words)))


def event_of(record: logging.LogRecord) -> dict[str, Any]:
    """What may be told of a log record; values are those of JSON."""
    when = datetime.fromtimestamp(record.created, timezone.utc)
    event: dict[str, Any] = {
        "time": f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond // 1000:03d}Z",
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": _message(record),
    }
    event.update({k: _plain(getattr(record, k)) for k in FIELDS if hasattr(record, k)})
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    if error is not None:
        event["exception"] = _told(error, _MOST_CAUSES)
    return event


def _is_own(name: str) -> bool:
    return name.partition(".")[0] in _OWN


def _is_wanted(record: logging.LogRecord) -> bool:
    return _is_own(record.name) or record.levelno >= logging.WARNING


def _message(record: logging.LogRecord) -> str:
    if record.name == "py.warnings":
        found = _WARNING.match(record.getMessage())
        if found:
            return f"{found['kind']} at {_short(found['file'])}:{found['line']}, text withheld"
    if not _is_own(record.name):
        place = f"{_short(record.pathname)}:{record.lineno} in {record.funcName}"
        return f"a message of another library at {place}, text withheld"
    if isinstance(record.msg, BaseException):
        return sentence_of(record.msg)
    # an error given as an argument is told as one that was raised
    args = record.args
    if isinstance(args, tuple):
        args = tuple(sentence_of(a) if isinstance(a, BaseException) else a for a in args)
    try:
        text = str(record.msg) % args if args else str(record.msg)
    except (TypeError, ValueError, KeyError):  # a slip in a log line ends no work
        text = str(record.msg)
    return text[:_LONGEST_TEXT]


def _plain(value: Any) -> Any:
    if isinstance(value, BaseException):
        return sentence_of(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or type(value) in (bool, int, float):
        return value
    return str(value)[:_LONGEST_TEXT]


def _told(error: BaseException, causes: int) -> dict[str, Any]:
    told: dict[str, Any] = {"type": f"{type(error).__module__}.{type(error).__qualname__}"}
    if isinstance(error, EXPECTED_ERRORS):
        told["message"] = str(error)[:_LONGEST_TEXT]
    told["places"] = list(_places(error.__traceback__))[-_MOST_PLACES:]
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and causes:
        told["cause"] = _told(cause, causes - 1)
    return told


def _places(trace: TracebackType | None) -> Iterator[str]:
    while trace is not None:
        code = trace.tb_frame.f_code
        yield f"{_short(code.co_filename)}:{trace.tb_lineno} in {code.co_name}"
        trace = trace.tb_next


def _short(path: str) -> str:
    return "/".join(re.split(r"[/\\]", path)[-3:])


class _Handler(_StreamHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        """Say nothing: the usual traceback would print the record, and the stream is broken."""


def _log_the_end(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    log.critical("the program ends by an error", exc_info=(kind, error, trace))


def _log_the_end_of_a_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None:
        log.critical(
            "a thread ends by an error",
            exc_info=(args.exc_type, args.exc_value, args.exc_traceback),
        )
