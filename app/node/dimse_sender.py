"""C-STORE service class user (PS3.4 annex B)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

import pydicom
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom import _config
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext

from app.errors import AssociationError
from app.node.delivery import (
    FileHead,
    FileResult,
    failed,
    meaning_of_status,
    result_of,
)
from app.node.destinations import DimseDestination
from app.node.dimse_client import MOST_CONTEXTS, associated, context_of, ended_text, refusal_of

#: Uncompressed, so that one can be written as the other without loss.
_PLAIN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
#: The slowest line that a file is given time for.
_SLOWEST_BYTES_PER_S = 125_000


def send_by_c_store(
    heads: Sequence[FileHead], destination: DimseDestination
) -> Iterator[FileResult]:
    """Send files once, over one association (more only beyond its 128 presentation contexts).

    The bytes go out as they are stored. Only where a peer takes a class in Implicit VR Little
    Endian alone, the default that all have to know (PS3.5 10.1), an uncompressed file is
    rewritten in it. Compressed files are never transcoded: a peer that does not take their
    transfer syntax refuses them. What we make ourselves is uncompressed.

    Yields
    ------
    FileResult
        One for each file, in order, as soon as it is known. When the association ends early, the
        file that was being sent and all after it are to be tried again.
    """
    # a data set is sent from its file, without being parsed
    _config.STORE_SEND_CHUNKED_DATASET = True
    for batch in _batches(heads):
        yield from _send_batch(batch, destination)


def _syntaxes(head: FileHead) -> tuple[UID, ...]:
    """What a file is proposed in, each in a context of its own: the acceptor chooses one of each.

    Data sets that are deflated are inflated for a peer that does not know it.
    """
    syntax = head.TransferSyntaxUID
    if syntax == DeflatedExplicitVRLittleEndian:
        return (syntax, *_PLAIN)
    return (syntax, ImplicitVRLittleEndian) if syntax == ExplicitVRLittleEndian else (syntax,)


def _pairs(head: FileHead) -> set[tuple[UID, UID]]:
    return {(head.SOPClassUID, syntax) for syntax in _syntaxes(head)}


def _batches(heads: Sequence[FileHead]) -> Iterator[list[FileHead]]:
    batch: list[FileHead] = []
    pairs: set[tuple[UID, UID]] = set()
    for head in heads:
        if len(pairs | _pairs(head)) > MOST_CONTEXTS:
            yield batch
            batch, pairs = [], set()
        batch.append(head)
        pairs |= _pairs(head)
    if batch:
        yield batch


def _contexts(heads: Sequence[FileHead]) -> list[PresentationContext]:
    pairs = dict.fromkeys(
        (head.SOPClassUID, syntax) for head in heads for syntax in _syntaxes(head)
    )
    return [context_of(sop_class, syntax) for sop_class, syntax in pairs]


def _send_batch(heads: Sequence[FileHead], destination: DimseDestination) -> Iterator[FileResult]:
    waiting = deque(heads)
    try:
        with associated(destination, _contexts(heads)) as association:
            for number in range(len(heads)):
                yield _store(association, waiting[0], destination, number)
                waiting.popleft()
    except AssociationError as exc:
        if isinstance(exc, _NoAnswerError):
            yield failed(waiting.popleft(), str(exc), retryable=True)
        for head in waiting:
            text = f"not sent: {exc}"
            yield failed(head, text, retryable=exc.retryable, refused=not exc.retryable)


class _NoAnswerError(AssociationError):
    """A file went out, at least in part, and nothing came back."""


def _store(
    association: Association, head: FileHead, destination: DimseDestination, number: int
) -> FileResult:
    accepted = {
        context.transfer_syntax[0]
        for context in association.accepted_contexts
        if context.abstract_syntax == head.SOPClassUID
    }
    if not accepted.intersection(_syntaxes(head)):
        reason = refusal_of(association, head.SOPClassUID)
        return failed(head, f"context refused: {reason}", retryable=False, refused=True)
    try:
        seconds = head.path.stat().st_size / _SLOWEST_BYTES_PER_S
        association.dimse_timeout = destination.response_timeout_s + seconds
        as_stored = head.TransferSyntaxUID in accepted
        what = head.path if as_stored else pydicom.dcmread(head.path)
        status = association.send_c_store(what, msg_id=number % 0xFFFF + 1)
    except (OSError, ValueError, AttributeError, RuntimeError) as exc:
        # the texts of other errors may quote values of the data set
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else type(exc).__name__
        if not association.is_established:
            raise _NoAnswerError(
                f"{destination}: {ended_text(association)}", retryable=True
            ) from exc
        return failed(head, f"not sent: {reason}", retryable=False)
    code = status.get("Status")
    if code is None:  # whether or not the association knows already that it is over
        raise _NoAnswerError(f"{destination}: {ended_text(association)}", retryable=True)
    return result_of(head, meaning_of_status(code), code)
