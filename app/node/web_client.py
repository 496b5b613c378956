"""Requests to a DICOMweb server: who we are, how it is verified, and what went wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from requests.auth import AuthBase, HTTPBasicAuth

from app.errors import PeerSettingsError, WebError
from app.node.destinations import WebPeer


class _Bearer(AuthBase):
    """As authentication of its own, so that no `.netrc` replaces the header."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class WebClient:
    """One session with a server."""

    def __init__(self, peer: WebPeer, session: requests.Session) -> None:
        self.peer = peer
        self._session = session
        tls = peer.tls
        self._verify: bool | str = peer.verify_certificate
        self._certificate: tuple[str, str] | None = None
        if tls is not None:
            tls.context()  # says which file is wrong, before a request does so less clearly
            if peer.verify_certificate and tls.ca_file is not None:
                self._verify = str(tls.ca_file)
            if tls.certificate_file is not None:
                key = tls.key_file or tls.certificate_file
                self._certificate = (str(tls.certificate_file), str(key))

    def get(
        self, path: str, accept: str, params: Mapping[str, str] | None = None
    ) -> requests.Response:
        """Get a resource below the service's root; raises WebError."""
        return self._request("GET", path, {"Accept": accept}, params=params)

    def post(self, path: str, body: Any, headers: Mapping[str, str]) -> requests.Response:
        """Post once, without following redirections, which lose the body; raises WebError."""
        return self._request("POST", path, headers, data=body, allow_redirects=False)

    def _request(
        self, method: str, path: str, headers: Mapping[str, str], **arguments: Any
    ) -> requests.Response:
        with _web_errors(self.peer):
            return self._session.request(
                method,
                f"{self.peer.url}/{path}",
                headers=headers,
                timeout=(self.peer.connect_timeout_s, self.peer.response_timeout_s),
                # given here: what a session says of it gives way to the environment
                verify=self._verify,
                cert=self._certificate,
                **arguments,
            )


@contextmanager
def web_client(peer: WebPeer) -> Iterator[WebClient]:
    """A session that authenticates itself; secrets are read anew for each.

    Raises
    ------
    PeerSettingsError
        If a secret or a certificate cannot be read.
    """
    with requests.Session() as session:
        session.auth = _authentication(peer)
        yield WebClient(peer, session)


@contextmanager
def _web_errors(peer: WebPeer) -> Iterator[None]:
    """Errors of the connection as `WebError`; an address that makes no sense is not retried."""
    try:
        yield
    except requests.exceptions.SSLError as exc:
        raise WebError(f"{peer}: no TLS agreement", retryable=True) from exc
    except requests.exceptions.Timeout as exc:
        raise WebError(f"{peer}: no answer in time", retryable=True) from exc
    except (requests.exceptions.InvalidURL, requests.exceptions.MissingSchema) as exc:
        raise WebError(f"{peer}: no usable URL", retryable=False) from exc
    except requests.exceptions.RequestException as exc:
        text = f"{peer}: no connection, or it was closed ({type(exc).__name__})"
        raise WebError(text, retryable=True) from exc


def _authentication(peer: WebPeer) -> AuthBase | None:
    if peer.token_file is not None:
        return _Bearer(_secret(peer.token_file))
    if peer.user is not None and peer.password_file is not None:
        # as bytes: text would be sent in Latin-1
        password = _secret(peer.password_file).encode()
        return HTTPBasicAuth(peer.user.encode(), password)
    return None


def _secret(path: Path) -> str:
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise PeerSettingsError(f"secret {path} cannot be read: {type(exc).__name__}") from exc
    if not lines or not lines[0].strip():
        raise PeerSettingsError(f"expected a secret in the first line of {path}, found none")
    return lines[0].strip()
