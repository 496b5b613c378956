"""Kinds of values in the node's settings; each says what it expected."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, PlainValidator

_AE_LONGEST = 16
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_DEVICE = re.compile(r"auto|cpu|gpu(:\d{1,3})?")
_DATABASES = ("sqlite", "postgresql", "postgresql+psycopg")


def check_ae_title(text: str) -> str:
    """An AE title (PS3.5 6.2, VR AE); raises ValueError.

    Spaces around it mean nothing in DICOM and are refused here, so that equal titles are spelled
    alike.
    """
    is_printable = all(" " <= sign <= "~" and sign != "\\" for sign in text)
    if not text or len(text) > _AE_LONGEST or not is_printable or text != text.strip():
        raise ValueError(
            f"expected an AE title of 1 to {_AE_LONGEST} ASCII characters without backslash, "
            f"control characters and spaces around it, found {text!r}"
        )
    return text


def check_name(text: str) -> str:
    """A name for a thing in the settings, which may become a file name; raises ValueError."""
    if not _NAME.fullmatch(text):
        raise ValueError(f"expected a name of letters, digits, - and _, found {text!r}")
    return text


def check_device(text: str) -> str:
    """Where a network runs; raises ValueError."""
    if not _DEVICE.fullmatch(text):
        raise ValueError(f"expected auto, cpu, gpu or gpu:N, found {text!r}")
    return text


def check_network(text: object) -> IPv4Network | IPv6Network:
    """An address, or a range such as 10.1.0.0/16; raises ValueError."""
    if isinstance(text, IPv4Network | IPv6Network):
        return text
    if not isinstance(text, str):
        raise ValueError("expected an address or a range such as 10.1.0.0/16, as text")
    try:
        return ip_network(text)
    except ValueError as exc:
        raise ValueError(f"expected an address or a range such as 10.1.0.0/16: {exc}") from exc


def check_database_url(text: str) -> str:
    """A database's URL without a password; raises ValueError, which never quotes the URL."""
    try:
        parts = urlsplit(text)
        has_password = parts.password is not None
    except ValueError as exc:
        raise ValueError("expected a URL such as postgresql://viscera@db:5432/viscera") from exc
    if has_password or "password=" in parts.query.lower():
        raise ValueError(
            "a password is in it: leave it out, and name a file that holds it as "
            "database_password_file"
        )
    if parts.scheme not in _DATABASES:
        raise ValueError(
            f"expected a URL that begins with {', '.join(f'{s}://' for s in _DATABASES)}"
        )
    return text


AETitle = Annotated[str, AfterValidator(check_ae_title)]
Name = Annotated[str, AfterValidator(check_name)]
Network = Annotated[IPv4Network | IPv6Network, PlainValidator(check_network)]
DatabaseURL = Annotated[str, AfterValidator(check_database_url)]
