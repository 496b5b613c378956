"""Query and retrieve by C-FIND, C-GET and C-MOVE (PS3.4 annex C), study root model."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    LegacyConvertedEnhancedCTImageStorage,
    SegmentationStorage,
)
from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.presentation import (
    AllStoragePresentationContexts,
    PresentationContext,
    StoragePresentationContexts,
    build_role,
)
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from app.errors import AssociationError, FetchError, StudyNotFoundError
from app.node.destinations import DimseSource
from app.node.dimse_client import MOST_CONTEXTS, Handler, associated, context_of, listening
from app.node.fetching import FetchedSeries, Intake, ListedSeries, StudyQuery, kept
from app.node.presentation import decodable_syntaxes

log = logging.getLogger(__name__)

_QUERY_SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
_PENDING = (0xFF00, 0xFF01)
_OUT_OF_RESOURCES, _NOT_ASKED_FOR = 0xA700, 0xC000
#: What is proposed first where an archive does not tell the classes of a series.
_OF_CT = (
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    SegmentationStorage,
)
#: So many single instances that fail one after another are enough to leave a series.
_MOST_FAILURES_IN_A_ROW = 3
_COUNTS = (
    "NumberOfCompletedSuboperations",
    "NumberOfWarningSuboperations",
    "NumberOfFailedSuboperations",
)


def fetch_by_dimse(query: StudyQuery, source: DimseSource, into: Path) -> list[FetchedSeries]:
    """As `app.node.fetching.fetch`: find, then retrieve series by series."""
    listed = find_series(query, source)
    intake = Intake(into, listed)
    handlers: list[Handler] = [(evt.EVT_C_STORE, _taking(intake))]
    moving = source.retrieve == "move"
    retrieve = _move if moving else _get
    with _move_listener(source, handlers) if moving else nullcontext():
        return [_fetch_series(series, source, intake, handlers, retrieve) for series in listed]


def _fetch_series(
    series: ListedSeries,
    source: DimseSource,
    intake: Intake,
    handlers: Sequence[Handler],
    retrieve: Callable[..., str],
) -> FetchedSeries:
    """Retrieve a series as a whole, and what did not come with it one by one."""
    try:
        text = retrieve(series, source, handlers)
        in_a_row = 0
        # some archives stop at the first instance that fails
        for uid in intake.result(series).missing if text else ():
            in_a_row = in_a_row + 1 if retrieve(series, source, handlers, uid) else 0
            if in_a_row == _MOST_FAILURES_IN_A_ROW:
                break
    except AssociationError as exc:
        text = str(exc)
    result = intake.result(series, text)
    return result if result.missing else intake.result(series)


def find_series(query: StudyQuery, source: DimseSource) -> list[ListedSeries]:
    """List the series of the studies that a query means, with their instances.

    Raises
    ------
    StudyNotFoundError
        If there is no such study.
    FetchError, AssociationError
        If the archive cannot be asked, or answers with an error.
    """
    context = context_of(StudyRootQueryRetrieveInformationModelFind, *_QUERY_SYNTAXES)
    with associated(source, [context]) as association:
        listed = [
            series
            for study in _studies(association, query, source)
            for series in _series(association, study, source)
        ]
    if not listed:
        raise StudyNotFoundError(f"{source}: no such study, or nothing in it")
    return listed


def _studies(association: Association, query: StudyQuery, source: DimseSource) -> list[str]:
    keys = {
        "StudyInstanceUID": query.StudyInstanceUID,
        "AccessionNumber": query.AccessionNumber,
    }
    answers = _find(association, "STUDY", keys, source)
    # some archives ignore a key that they do not know, and answer with all studies
    fitting = [
        answer
        for answer in answers
        if query.StudyInstanceUID in ("", answer.get("StudyInstanceUID"))
        and query.AccessionNumber in ("", str(answer.get("AccessionNumber") or "").strip())
    ]
    return sorted({str(answer.StudyInstanceUID) for answer in fitting})


def _series(
    association: Association, StudyInstanceUID: str, source: DimseSource
) -> Iterator[ListedSeries]:
    keys = {"StudyInstanceUID": StudyInstanceUID, "SeriesInstanceUID": "", "Modality": ""}
    answers = _find(association, "SERIES", keys, source)
    by_uid = {str(answer.SeriesInstanceUID): answer for answer in answers}
    for uid in sorted(by_uid):
        keys = {
            "StudyInstanceUID": StudyInstanceUID,
            "SeriesInstanceUID": uid,
            "SOPInstanceUID": "",
            "SOPClassUID": "",
        }
        images = _find(association, "IMAGE", keys, source)
        yield ListedSeries(
            StudyInstanceUID=StudyInstanceUID,
            SeriesInstanceUID=uid,
            Modality=str(by_uid[uid].get("Modality") or ""),
            instances={
                str(image.SOPInstanceUID): UID(image.get("SOPClassUID") or "") for image in images
            },
        )


def _find(
    association: Association, level: str, keys: dict[str, str], source: DimseSource
) -> list[Dataset]:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    answers = []
    for status, answer in association.send_c_find(
        identifier, StudyRootQueryRetrieveInformationModelFind
    ):
        code = status.get("Status")
        if code in _PENDING and answer is not None:
            answers.append(answer)
        elif code != 0:
            said = "no answer" if code is None else f"status {code:#06x}"
            raise FetchError(f"{source}: C-FIND failed: {said}", retryable=True)
    return answers


def _taking(intake: Intake) -> Any:
    """A handler that keeps what was asked for, and only acknowledges what is on the disk."""

    def handle(event: Event) -> int:
        uid = str(getattr(event.request, "AffectedSOPInstanceUID", ""))
        if not intake.expects(uid):
            return _NOT_ASKED_FOR
        text = kept(intake, uid, event.encoded_dataset())  # the bytes as they came, undecoded
        if text:
            log.error("%s", text)
        return _OUT_OF_RESOURCES if text else 0x0000

    return handle


def _get(
    series: ListedSeries,
    source: DimseSource,
    handlers: Sequence[Handler],
    SOPInstanceUID: str = "",
) -> str:
    """Retrieve over the association that asks for it; returns what went wrong."""
    model = StudyRootQueryRetrieveInformationModelGet
    contexts = _storage_contexts(set(series.instances.values()))
    taken = {str(context.abstract_syntax) for context in contexts}
    roles = [build_role(sop_class, scp_role=True) for sop_class in sorted(taken)]
    contexts.append(context_of(model, *_QUERY_SYNTAXES))
    with associated(source, contexts, roles=roles, handlers=handlers) as association:
        return _retrieved("C-GET", association.send_c_get(_keys(series, SOPInstanceUID), model))


def _storage_contexts(classes: set[UID]) -> list[PresentationContext]:
    """What we take over an association of our own, one context short of all it can propose.

    Each transfer syntax has a context of its own, so that an instance can come as the archive
    holds it. Where the archive did not tell the classes, usual ones are proposed instead, which
    leaves one context for each, and one transfer syntax of the archive's choice.
    """
    if all(classes) and len(classes) * len(decodable_syntaxes()) < MOST_CONTEXTS:
        return [
            context_of(sop_class, syntax)
            for sop_class in sorted(classes)
            for syntax in decodable_syntaxes()
        ]
    usual = [str(context.abstract_syntax) for context in StoragePresentationContexts]
    known = sorted(uid for uid in classes if uid)
    proposed = list(dict.fromkeys([*known, *_OF_CT, *usual]))[: MOST_CONTEXTS - 1]
    return [context_of(sop_class, *decodable_syntaxes()) for sop_class in proposed]


def _move(
    series: ListedSeries,
    source: DimseSource,
    handlers: Sequence[Handler],
    SOPInstanceUID: str = "",
) -> str:
    """Let the archive send to our listener; returns what went wrong."""
    model = StudyRootQueryRetrieveInformationModelMove
    with associated(source, [context_of(model, *_QUERY_SYNTAXES)]) as association:
        keys = _keys(series, SOPInstanceUID)
        answers = association.send_c_move(keys, source.calling_ae_title, model)
        return _retrieved("C-MOVE", answers)


def _keys(series: ListedSeries, SOPInstanceUID: str) -> Dataset:
    """A series, or one instance of it."""
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "IMAGE" if SOPInstanceUID else "SERIES"
    identifier.StudyInstanceUID = series.StudyInstanceUID
    identifier.SeriesInstanceUID = series.SeriesInstanceUID
    if SOPInstanceUID:
        identifier.SOPInstanceUID = SOPInstanceUID
    return identifier


def _retrieved(operation: str, answers: Iterator[tuple[Dataset, Dataset | None]]) -> str:
    """Read all answers; an archive may fail at one instance and go on with the next."""
    last = Dataset()
    for status, _ in answers:
        last = status
    code = last.get("Status")
    if code == 0:
        return ""
    if code is None:
        return f"{operation} was not answered to its end"
    counts = [int(last.get(keyword) or 0) for keyword in _COUNTS]
    of_failed = f", {counts[2]} of {sum(counts)} instances failed" if sum(counts) else ""
    return f"{operation} ended with status {code:#06x}{of_failed}"


@contextmanager
def _move_listener(source: DimseSource, handlers: Sequence[Handler]) -> Iterator[None]:
    """Receive, under our AE title, what an archive sends; what nobody asked for is refused."""
    ae = ApplicationEntity(source.calling_ae_title)
    ae.require_called_aet = True
    ae.acse_timeout = source.associate_timeout_s
    ae.dimse_timeout = ae.network_timeout = source.response_timeout_s
    ae.add_supported_context(Verification)
    for context in AllStoragePresentationContexts:
        ae.add_supported_context(str(context.abstract_syntax), list(decodable_syntaxes()))
    with listening(ae, source.listen_address, source.listen_port, handlers):
        yield
