"""How jobs are kept and worked on."""

from __future__ import annotations

import socket
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from app.node.job_steps import BackOff


class JobSettings(BaseModel):
    """How jobs are kept and worked on.

    Parameters
    ----------
    database_url
        `postgresql://...` for several nodes; None keeps the jobs in `STATE/dbos.sqlite`.
    node
        Name of this node, its own among those that share a database; None is the host's name.
    polling_interval_s
        How often the queues are looked at.
    assembling
        How many studies are assembled beyond those that workers are busy with.
    sends_per_destination
        How many jobs are sent to one destination at a time, by each node.
    heartbeat_s, dead_after_s
        How often a node shows that it lives, and after which silence others take its jobs over.
    segment_retries, send_retries
        When a study or a delivery is tried again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    database_url: SecretStr | None = None
    node: str | None = Field(default=None, min_length=1, max_length=64)
    polling_interval_s: float = Field(default=0.2, gt=0)
    assembling: int = Field(default=1, ge=0)
    sends_per_destination: int = Field(default=1, ge=1)
    heartbeat_s: float = Field(default=2.0, gt=0)
    dead_after_s: float = Field(default=15.0, gt=0)
    segment_retries: BackOff = BackOff(attempts=4, first_delay_s=10)
    send_retries: BackOff = BackOff(attempts=40, first_delay_s=5, longest_delay_s=3600)

    @property
    def node_name(self) -> str:
        """The name that is used."""
        return self.node or socket.gethostname()[:64]

    def url(self, state: Path) -> str:
        """The URL that is used, for a node of that state folder."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{state / 'dbos.sqlite'}"
