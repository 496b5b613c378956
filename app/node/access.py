"""Who may open an association, and how many at once."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from app.node.destinations import AETitle, DimsePeer


class TlsServerSettings(BaseModel):
    """TLS in which both sides show a certificate (PS3.15 B.12, mutual authentication)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: The node's certificate with its chain, and its private key; both PEM.
    certificate_file: Path
    key_file: Path
    #: Certificates of the authorities that sign the senders' certificates.
    ca_file: Path


class ListenerSettings(BaseModel):
    """How the node listens for DICOM associations."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: `::` for every address of the machine, IPv4 and IPv6 where the system joins them.
    bind_address: str = "0.0.0.0"
    #: 0 takes any free port.
    port: int = Field(default=11112, ge=0, le=65535)
    #: AE titles that may be called; each is the name of a workflow.
    ae_titles: tuple[AETitle, ...] = Field(default=("VISCERA",), min_length=1)
    #: AE titles that may call; none means all.
    calling_ae_titles: tuple[AETitle, ...] = ()
    #: Address ranges that may connect, such as `10.1.0.0/16`; none means all.
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    max_associations: int = Field(default=32, ge=1)
    #: From the connection to the association request, the TLS handshake included.
    handshake_timeout_s: float = Field(default=15.0, gt=0)
    #: An association on which nothing arrives for this long is ended.
    idle_timeout_s: float = Field(default=60.0, gt=0)
    #: How long an answer of the peer may take.
    answer_timeout_s: float = Field(default=60.0, gt=0)
    max_pdu_bytes: int = Field(default=131072, ge=4096)
    #: A larger data set ends the association: it is held in memory until it is complete.
    max_instance_bytes: int = Field(default=2**31, ge=1)
    tls: TlsServerSettings | None = None
    #: Where senders that ask for storage commitment listen for the report, once they have closed
    #: the association they asked on. Others get it on that association only.
    commitment_peers: tuple[DimsePeer, ...] = ()


class Rejection(Enum):
    """Why an association is rejected: result, source and reason (PS3.8 table 9-21)."""

    CALLING_AE = (1, 1, 3)
    CALLED_AE = (1, 1, 7)
    NO_ROOM = (2, 3, 1)
    STOPPING = (2, 1, 1)
    TOO_MANY = (2, 3, 2)


@dataclass(frozen=True)
class AccessRules:
    """Who may connect and open an association.

    Parameters
    ----------
    settings
        The allowed titles and address ranges.
    """

    settings: ListenerSettings

    def allows_address(self, address: str) -> bool:
        """Whether a connection from this IP address is taken."""
        if not self.settings.networks:
            return True
        peer = ip_address(address.partition("%")[0])
        mapped = getattr(peer, "ipv4_mapped", None) or peer
        return any(mapped in network for network in self.settings.networks)

    def rejection(self, called: str, calling: str) -> Rejection | None:
        """Why these AE titles are rejected, or None."""
        if called not in self.settings.ae_titles:
            return Rejection.CALLED_AE
        if self.settings.calling_ae_titles and calling not in self.settings.calling_ae_titles:
            return Rejection.CALLING_AE
        return None
