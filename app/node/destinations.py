"""Where results go and studies come from: settings of DIMSE peers, DICOMweb servers and folders."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic.functional_validators import AfterValidator

from app.errors import PeerSettingsError

#: 1 to 16 characters without backslash and control characters; spaces around do not count
#: (PS3.5 6.2, AE).
AETitle = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=16, pattern=r"^[ -\[\]-~]+$"),
]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]

_ADDRESS = re.compile(r"(?P<ae>[^@]+)@(?P<host>\[[0-9A-Fa-f:.]+\]|[^@:\s]+):(?P<port>\d{1,5})")
_FORMS = "expected a configured name, AET@HOST:PORT, an http(s) URL"

DEFAULT_AE_TITLE = "VISCERA"


def _plain_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("expected an http or https URL")
    if parts.username or parts.password:
        raise ValueError("expected user and password_file, found them in the URL")
    if parts.query or parts.fragment:
        raise ValueError("expected a URL without query and fragment")
    return text.rstrip("/")


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TlsClient(_Settings):
    """How we show ourselves to a peer over TLS, and how the peer is verified.

    Parameters
    ----------
    ca_file
        Certificates that may have signed the peer's, PEM; the system's where None.
    certificate_file, key_file
        Our own, PEM; none is shown where None. The key may be in the certificate's file.
    verify_hostname
        Whether the certificate of a DIMSE peer has to name its host; many PACS have one that does
        not. That of a DICOMweb server always has to.
    """

    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    verify_hostname: bool = True

    def context(self) -> ssl.SSLContext:
        """TLS 1.2 and newer (BCP 195, PS3.15 B.9); raises PeerSettingsError."""
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.check_hostname = self.verify_hostname
            if self.certificate_file is not None:
                context.load_cert_chain(self.certificate_file, self.key_file)
        except OSError as exc:  # SSLError is one
            files = [str(file) for file in (self.ca_file, self.certificate_file) if file]
            raise PeerSettingsError(f"TLS files cannot be used: {', '.join(files)}: {exc}") from exc
        return context


class DimsePeer(_Settings):
    """A DICOM application entity reached over TCP.

    Parameters
    ----------
    name
        As people and records call it.
    ae_title, host, port
        Of the peer.
    calling_ae_title
        What we call ourselves.
    tls
        None for a plain connection.
    connect_timeout_s
        For the connection and its TLS handshake.
    associate_timeout_s
        For the answer to the association request, and to its release.
    response_timeout_s
        For one response; the time that a file of its size needs is added.
    """

    kind: Literal["dimse"] = "dimse"
    name: str = ""
    ae_title: AETitle
    host: str = Field(min_length=1)
    port: Port
    calling_ae_title: AETitle = DEFAULT_AE_TITLE
    tls: TlsClient | None = None
    connect_timeout_s: Seconds = 10
    associate_timeout_s: Seconds = 30
    response_timeout_s: Seconds = 60

    def __str__(self) -> str:
        return f"{self.ae_title}@{self.host}:{self.port}"


class DimseDestination(DimsePeer):
    """A peer that results are sent to by C-STORE.

    Parameters
    ----------
    commitment
        Whether the peer is asked for storage commitment before results count as delivered.
    commitment_timeout_s
        How long its report is awaited.
    commitment_linger_s
        How much of that time the association that asked stays open for the report. Then it is
        closed, because some peers report on a new one only after that.
    sends_as
        AE titles that it calls us under beside its own: archives often send under another title
        than they receive under.
    rejection_notes
        Whether it gets a note that rejects older results when late images have made new ones.
    """

    commitment: bool = False
    commitment_timeout_s: Seconds = 60
    commitment_linger_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 2
    sends_as: tuple[AETitle, ...] = ()
    rejection_notes: bool = False


class DimseSource(DimsePeer):
    """A peer that studies are fetched from.

    Parameters
    ----------
    retrieve
        `get` for C-GET, `move` for C-MOVE to ourselves: then the peer has to know our AE title.
    listen_address, listen_port
        Where a C-MOVE finds us.
    """

    retrieve: Literal["get", "move"] = "get"
    listen_address: str = ""
    listen_port: Port = 11112


class WebPeer(_Settings):
    """A DICOMweb server, as destination (STOW-RS) and as source (QIDO-RS, WADO-RS).

    Parameters
    ----------
    name
        As people and records call it.
    url
        The service's root; `/studies` is appended.
    user, password_file
        Basic authentication; the file's first line is the password.
    token_file
        Bearer authentication; the file's first line is the token, read anew for every use.
    tls
        Certificates of an https server; the system's where None.
    verify_certificate
        False accepts any certificate: only for a trial.
    connect_timeout_s, response_timeout_s
        For the connection, and for each wait for bytes of the answer.
    confirm
        Whether QIDO-RS has to find each instance before it counts as stored: some servers answer
        with success for what a filter of theirs throws away.
    request_bytes
        Files are packed into one request up to this size; a larger one goes alone.
    sends_as
        AE titles of senders whose results belong here.
    rejection_notes
        As for a DIMSE destination.
    """

    kind: Literal["dicomweb"] = "dicomweb"
    name: str = ""
    url: Annotated[str, AfterValidator(_plain_url)]
    user: str | None = None
    password_file: Path | None = None
    token_file: Path | None = None
    tls: TlsClient | None = None
    verify_certificate: bool = True
    connect_timeout_s: Seconds = 10
    response_timeout_s: Seconds = 120
    confirm: bool = False
    request_bytes: int = Field(default=64 * 2**20, gt=0)
    sends_as: tuple[AETitle, ...] = ()
    rejection_notes: bool = False

    def __str__(self) -> str:
        return self.url


class FolderDestination(_Settings):
    """A folder, which has to exist: a share that is not mounted is not written beside.

    Parameters
    ----------
    name
        As people and records call it.
    folder
        Where the files go.
    sends_as
        AE titles of senders whose results belong here.
    """

    kind: Literal["folder"] = "folder"
    name: str = ""
    folder: Path
    sends_as: tuple[AETitle, ...] = ()

    def __str__(self) -> str:
        return str(self.folder)


Destination = Annotated[DimseDestination | WebPeer | FolderDestination, Field(discriminator="kind")]
Source = Annotated[DimseSource | WebPeer, Field(discriminator="kind")]


def is_sender(destination: Destination, calling_ae_title: str) -> bool:
    """Whether results of a study that came under this AE title belong to this destination.

    The address is that of the settings: an association that came in tells none to call back.
    """
    if isinstance(destination, DimseDestination) and calling_ae_title == destination.ae_title:
        return True
    return calling_ae_title in destination.sends_as


def parse_destination(
    text: str,
    calling_ae_title: str = DEFAULT_AE_TITLE,
    configured: Mapping[str, Destination] | None = None,
) -> Destination:
    """The destination that a person means by a configured name, `AET@HOST:PORT`, URL or folder.

    Raises
    ------
    PeerSettingsError
        If it is none of them.
    """
    if configured and text in configured:
        return configured[text]
    if address := _address(text):
        return _checked(
            DimseDestination, text, **address, name=text, calling_ae_title=calling_ae_title
        )
    if _is_url(text):
        return _checked(WebPeer, text, url=text, name=text)
    if Path(text).is_dir():
        return FolderDestination(folder=Path(text), name=text)
    raise PeerSettingsError(f"{_FORMS} or an existing folder, found {text}")


def parse_source(
    text: str,
    calling_ae_title: str = DEFAULT_AE_TITLE,
    configured: Mapping[str, Source] | None = None,
    move_port: int | None = None,
) -> Source:
    """The source that a person means by a configured name, `AET@HOST:PORT` or URL.

    Parameters
    ----------
    move_port
        Makes an `AET@HOST:PORT` a source that moves its studies to us, at this port.

    Raises
    ------
    PeerSettingsError
        If it is none of them.
    """
    if configured and text in configured:
        return configured[text]
    if address := _address(text):
        moving = {} if move_port is None else {"retrieve": "move", "listen_port": move_port}
        return _checked(
            DimseSource, text, **address, **moving, name=text, calling_ae_title=calling_ae_title
        )
    if _is_url(text):
        return _checked(WebPeer, text, url=text, name=text)
    raise PeerSettingsError(f"{_FORMS}, found {text}")


_Peer = TypeVar("_Peer", bound=BaseModel)


def _address(text: str) -> dict[str, object] | None:
    match = _ADDRESS.fullmatch(text)
    if match is None:
        return None
    return {
        "ae_title": match["ae"],
        "host": match["host"].strip("[]"),
        "port": int(match["port"]),
    }


def _is_url(text: str) -> bool:
    return text.startswith(("http://", "https://"))


def _checked(kind: type[_Peer], text: str, **values: Any) -> _Peer:
    try:
        return kind(**values)
    except ValidationError as exc:
        reasons = "; ".join(
            f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in exc.errors()
        )
        raise PeerSettingsError(f"{text}: {reasons}") from exc
