"""One way to send files anywhere: once, with a result for each of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from app.node.delivery import Delivery, FileHead, FileResult, Meaning, Verdict, read_head, result_of
from app.node.destinations import Destination, DimseDestination, FolderDestination
from app.node.dimse_sender import send_by_c_store
from app.node.folder_sender import copy_to_folder
from app.node.stow_sender import send_by_stow

log = logging.getLogger(__name__)

_BEFORE = Meaning(Verdict.STORED, False, "acknowledged before, not sent again")


def send(
    files: Sequence[Path],
    destination: Destination,
    *,
    done: Collection[str] = (),
    on_result: Callable[[FileResult], None] | None = None,
) -> Delivery:
    """Send files to a destination, in one try.

    Nothing is tried again here: who calls decides whether and when.

    Parameters
    ----------
    files
        DICOM files with file meta information. Of several with one SOPInstanceUID the first is
        sent and answers for all.
    destination
        Where to.
    done
        SOPInstanceUIDs that the destination has acknowledged in earlier tries; not sent again.
    on_result
        Called with each result as soon as it is known, in order of arrival, so that an
        acknowledgement can be kept before the next file goes out. What it raises ends the try.

    Returns
    -------
    Delivery
        A result for each file, in the order of `files`.

    Raises
    ------
    PeerSettingsError
        If certificates or secrets of the destination cannot be read.
    """
    read = [read_head(path) for path in files]
    heads: dict[str, FileHead] = {}
    for head in read:
        if isinstance(head, FileHead) and head.SOPInstanceUID not in done:
            heads.setdefault(head.SOPInstanceUID, head)
    results: dict[str, FileResult] = {}
    for result in send_each(list(heads.values()), destination):
        results[result.SOPInstanceUID] = result
        if on_result is not None:
            on_result(result)
    return Delivery(
        destination=destination.name or str(destination),
        results=tuple(_result(entry, results) for entry in read),
    )


def _result(entry: FileHead | FileResult, results: dict[str, FileResult]) -> FileResult:
    if isinstance(entry, FileResult):
        return entry
    return results.get(entry.SOPInstanceUID) or result_of(entry, _BEFORE, None)


def send_each(heads: Sequence[FileHead], destination: Destination) -> Iterator[FileResult]:
    """Send files to a destination in one try, and tell of each as soon as it is known.

    Parameters
    ----------
    heads
        Of `app.node.delivery.read_head`, no two with one SOPInstanceUID.
    destination
        Where to. Nothing is opened for no files.

    Yields
    ------
    FileResult
        One for each file. Nothing more is sent before the next is asked for, but that STOW-RS
        sends several in one request. Closing the generator ends the try.

    Raises
    ------
    PeerSettingsError
        If certificates or secrets of the destination cannot be read.
    """
    for result in _sent(heads, destination) if heads else ():
        level = logging.INFO if result.delivered else logging.WARNING
        log.log(level, "%s: %s", destination, result)
        yield result


def _sent(heads: Sequence[FileHead], destination: Destination) -> Iterator[FileResult]:
    if isinstance(destination, DimseDestination):
        return send_by_c_store(heads, destination)
    if isinstance(destination, FolderDestination):
        return copy_to_folder(heads, destination)
    return send_by_stow(heads, destination)
