"""The part of the node's settings that says what is done with studies: its workflows."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.node.job_steps import DEFAULT_PRIORITY
from app.node.settings_types import AETitle, Name, Network
from operators.errors import RulesError
from operators.results import OUTPUTS, SEGMENTATION
from operators.rules import Rules, default_rules, parse_rules
from operators.slice_stack import LARGEST_GAP_MM

#: Stands for the DIMSE destination whose AE title the sender of a study has.
SENDER = "sender"


class SettingsModel(BaseModel):
    """Does not change, and knows all its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class WorkflowSettings(SettingsModel):
    """What is done with the studies that come to one AE title.

    Parameters
    ----------
    model
        Bundle for selections that name none; None takes the only one there is.
    rules
        File of selection rules.
    selections
        The rules themselves, instead of a file; without either the default rules apply.
    outputs
        Which results are made, the segmentation among them.
    priority
        Of its studies among those that wait, from 1; lower numbers come first.
    destinations
        Names of where they go, at least one; `sender` for where the study came from.
    any_anatomy
        Whether to segment what shows another part of the body than the model knows.
    largest_gap_mm
        Widest distance between neighbouring images that is bridged.
    allow_calling
        AE titles that may send; empty for any.
    allow_addresses
        Addresses and ranges that may send; empty for any.
    """

    model: str | None = None
    rules: Path | None = None
    selections: list[Any] | None = None
    outputs: tuple[Literal["segmentation", "preview", "volumes"], ...] = OUTPUTS
    priority: int = Field(default=DEFAULT_PRIORITY, ge=1, le=1_000_000)
    destinations: tuple[Name, ...] = Field(min_length=1)
    any_anatomy: bool = False
    largest_gap_mm: float = Field(default=LARGEST_GAP_MM, gt=0, le=1000)
    allow_calling: tuple[AETitle, ...] = ()
    allow_addresses: tuple[Network, ...] = ()

    @model_validator(mode="after")
    def _check_rules(self) -> WorkflowSettings:
        if SEGMENTATION not in self.outputs:
            raise ValueError(f"expected outputs with {SEGMENTATION}, which is what is sent")
        if self.rules is not None and self.selections is not None:
            raise ValueError("expected rules or selections, found both")
        if self.selections is not None:
            try:
                parse_rules({"selections": self.selections})
            except RulesError as exc:
                raise ValueError(str(exc)) from exc
        return self

    def admits(self, calling_ae: str, address: str) -> bool:
        """Whether a sender may send to this workflow."""
        if self.allow_calling and calling_ae not in self.allow_calling:
            return False
        if not self.allow_addresses:
            return True
        peer = ip_address(address.partition("%")[0])
        peer = getattr(peer, "ipv4_mapped", None) or peer
        return any(peer in network for network in self.allow_addresses)

    def read_rules(self) -> Rules:
        """The selection rules of this workflow; raises RulesError."""
        if self.selections is not None:
            return parse_rules({"selections": self.selections})
        if self.rules is None:
            return default_rules()
        try:
            return parse_rules(self.rules.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as exc:
            raise RulesError(f"cannot read the rules {self.rules}: {exc}") from exc
