"""`viscera echo`, `viscera send` and `viscera fetch`: peers from the command line."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from app.errors import PeerSettingsError, WebError
from app.node.commitment_scu import CommitmentInbox, commitment_listener, request_commitment
from app.node.delivery import Delivery, FileResult
from app.node.destinations import (
    DEFAULT_AE_TITLE,
    Destination,
    DimseDestination,
    DimsePeer,
    DimseSource,
    FolderDestination,
    Source,
    WebPeer,
    parse_destination,
    parse_source,
)
from app.node.dimse_client import echo
from app.node.fetching import StudyQuery, fetch
from app.node.sending import send
from app.node.web_client import web_client
from app.outcomes import NOT_DELIVERED, NOT_FETCHED, OK, PARTIAL

_PEER = "a configured name, AET@HOST:PORT or URL"
#: What the settings of the node name, by its name; read only where a name is looked up.
Configured = Callable[[argparse.Namespace], Mapping[str, Destination | Source]]


def nothing_configured(_: argparse.Namespace) -> Mapping[str, Destination | Source]:
    """For a command line without settings of a node."""
    return {}


Commands = TypeVar("Commands", bound="argparse._SubParsersAction[argparse.ArgumentParser]")


def add_commands(commands: Commands, configured: Configured = nothing_configured) -> None:
    """Add the three commands; each sets `command` to what takes the parsed arguments.

    Parameters
    ----------
    commands
        Of the command line's parser.
    configured
        From the parsed arguments to destinations and sources by name.
    """
    asks = commands.add_parser("echo", help="ask a DICOM peer or DICOMweb server if it is there")
    asks.add_argument("peer", metavar="PEER", help=_PEER)
    _common(asks)
    asks.set_defaults(command=lambda parsed: run_echo(parsed, configured(parsed)))

    sends = commands.add_parser("send", help="send DICOM files to a peer, a server or a folder")
    sends.add_argument("files", type=Path, nargs="+", metavar="FILE", help="file or folder")
    sends.add_argument("--to", required=True, metavar="DESTINATION", help=f"{_PEER}, or a folder")
    sends.add_argument(
        "--commitment-port",
        type=int,
        metavar="PORT",
        help="ask a DICOM peer for storage commitment, and await its report at this port",
    )
    _common(sends)
    sends.set_defaults(command=lambda parsed: run_send(parsed, configured(parsed)))

    fetches = commands.add_parser("fetch", help="fetch a study from an archive")
    which = fetches.add_mutually_exclusive_group(required=True)
    which.add_argument("--study", default="", metavar="UID", help="StudyInstanceUID")
    which.add_argument("--accession", default="", metavar="N", help="accession number")
    fetches.add_argument("--from", dest="source", required=True, metavar="SOURCE", help=_PEER)
    fetches.add_argument("-o", "--output", type=Path, required=True, metavar="OUT")
    fetches.add_argument(
        "--move-port",
        type=int,
        metavar="PORT",
        help="let a DICOM peer send to this port (C-MOVE) instead of asking by C-GET",
    )
    _common(fetches)
    fetches.set_defaults(command=lambda parsed: run_fetch(parsed, configured(parsed)))


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--calling", default=DEFAULT_AE_TITLE, metavar="AET", help="our own AE title"
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="settings of a node, for the names in them"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="print what is being done")


def run_echo(
    parsed: argparse.Namespace, configured: Mapping[str, Destination | Source] | None = None
) -> int:
    """Ask a peer if it is there; raises AssociationError, WebError or PeerSettingsError if not."""
    peer = (configured or {}).get(parsed.peer) or parse_source(parsed.peer, parsed.calling)
    if isinstance(peer, DimsePeer):
        echo(peer)
    elif isinstance(peer, WebPeer):
        _web_echo(peer)
    elif not os.access(peer.folder, os.W_OK | os.X_OK):
        raise PeerSettingsError(f"{peer} is no folder that can be written to")
    print(f"{peer} is there")
    return OK.exit_code


def _web_echo(peer: WebPeer) -> None:
    """Ask for at most one study: DICOMweb has no request that asks for nothing."""
    with web_client(peer) as client:
        response = client.get("studies", "application/dicom+json", {"limit": "1"})
    if response.status_code not in (200, 204):
        code = response.status_code
        raise WebError(f"{peer}: QIDO-RS answered HTTP {code}", retryable=code >= 500)


def run_send(
    parsed: argparse.Namespace, configured: Mapping[str, Destination | Source] | None = None
) -> int:
    """Send files in one try, and print what became of each; returns the exit code."""
    destinations = {
        name: peer
        for name, peer in (configured or {}).items()
        if isinstance(peer, DimseDestination | WebPeer | FolderDestination)
    }
    destination = parse_destination(parsed.to, parsed.calling, destinations)
    files = list(_files(parsed.files))
    delivery = send(files, destination, on_result=_say)
    for result in delivery.results:
        if not result.SOPInstanceUID:
            _say(result)  # never came to being sent
    good = delivery.done
    if parsed.commitment_port is not None:
        good = _committed(delivery, destination, parsed.commitment_port)
    elif isinstance(destination, DimseDestination) and destination.commitment:
        print("storage commitment was not asked for: expected --commitment-port for its report")
    return _sum_up(delivery, good, destination)


def _say(result: FileResult) -> None:
    print(f"{result.verdict.value}: {result.path}: {result.text}")


def _sum_up(delivery: Delivery, good: frozenset[str], destination: Destination) -> int:
    count = sum(result.SOPInstanceUID in good for result in delivery.results)
    print(f"{count} of {len(delivery.results)} files delivered to {destination}")
    if count == len(delivery.results):
        return OK.exit_code
    return PARTIAL.exit_code if count else NOT_DELIVERED.exit_code


def _committed(delivery: Delivery, destination: Destination, port: int) -> frozenset[str]:
    """The SOPInstanceUIDs that the destination promises to keep."""
    if not isinstance(destination, DimseDestination):
        raise PeerSettingsError(f"expected AET@HOST:PORT for commitment, found {destination}")
    inbox = CommitmentInbox()
    with commitment_listener(inbox, destination.calling_ae_title, port):
        commitment = request_commitment(delivery.results, destination, inbox)
    for uid, text in sorted(commitment.reasons().items()):
        print(f"failed: {uid}: {text}")
    return commitment.committed


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    """The files themselves, and all in folders, in an order of their own."""
    for path in paths:
        if path.is_dir():
            yield from sorted(file for file in path.rglob("*") if file.is_file())
        else:
            yield path


def run_fetch(
    parsed: argparse.Namespace, configured: Mapping[str, Destination | Source] | None = None
) -> int:
    """Fetch a study, and print what arrived of each series; returns the exit code."""
    query = StudyQuery(StudyInstanceUID=parsed.study, AccessionNumber=parsed.accession)
    sources = {
        name: peer
        for name, peer in (configured or {}).items()
        if isinstance(peer, DimseSource | WebPeer)
    }
    source = parse_source(parsed.source, parsed.calling, sources, parsed.move_port)
    fetched = fetch(query, source, parsed.output)
    for series in fetched.series:
        print(series)
    print(f"{fetched.received} of {fetched.expected} instances fetched into {parsed.output}")
    if fetched.complete:
        return OK.exit_code
    return PARTIAL.exit_code if fetched.received else NOT_FETCHED.exit_code
