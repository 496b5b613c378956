"""A model of another maker that works like a bundle of ours."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from models.bundle import Bundle, sha256_of
from models.errors import BundleError
from models.interchange.axes import CANONICAL, turned
from models.interchange.organs import segment_of
from models.interchange.weights import first_line, last_line, read_state
from models.memory import memory_errors
from models.preprocessing import Preprocessing
from models.segments import Segment
from models.sliding_window import SlidingWindow

#: What stands for the network where it is a TorchScript program.
SCRIPTED = "torch.jit.load"


class ScriptedNetwork(nn.Module):
    """A TorchScript program in a network's place.

    It may be bound to the size of window it was traced with; `fixed_window` says so.

    Parameters
    ----------
    program
        The program.
    outputs
        Channels that it has to give: background and the classes.
    name
        Of the model, for errors.
    """

    fixed_window = True

    def __init__(self, program: nn.Module, outputs: int, name: str):
        super().__init__()
        self.program = program
        self.outputs = outputs
        self.name = name

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Map windows `(N, 1, D, H, W)` to logits `(N, outputs, D, H, W)`, as the program does.

        Raises
        ------
        BundleError
            If the program cannot take such windows, or gives anything else.
        OutOfMemoryError
            If there is no memory for the windows.
        """
        logits = self._run(windows)
        # sizes are no numbers while a program is traced
        if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
            return logits
        expected = (len(windows), self.outputs, *windows.shape[2:])
        found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        if found != expected:
            raise BundleError(
                f"{self.name}: expected a program that gives one tensor of {expected} (windows, "
                f"background and {self.outputs - 1} classes, size), found {found}"
            )
        return logits

    def _run(self, windows: torch.Tensor) -> torch.Tensor:
        size = tuple(windows.shape)
        with memory_errors(f"windows of {size} in {self.name}"):
            try:
                logits: torch.Tensor = self.program(windows)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as exc:
                text = str(exc)
                if "DefaultCPUAllocator" in text:
                    raise
                if "CUDA out of memory" in text:  # the interpreter makes a plain error of it
                    raise torch.OutOfMemoryError(last_line(exc)) from exc
                if "CUDA error" in text:  # the device's fault, not the program's
                    raise
                raise BundleError(
                    f"{self.name}: expected a program that takes windows of {size}, found that it "
                    f"fails: {last_line(exc)}"
                ) from exc
        return logits


@dataclass(frozen=True, kw_only=True)
class ForeignBundle(Bundle):
    """A bundle whose configuration was translated and whose weights are in another format.

    Parameters
    ----------
    title
        Its name.
    weights_file
        A state dict or a TorchScript program.
    axcodes
        Where the array axes of the network's input lead to.
    """

    title: str
    weights_file: Path
    axcodes: str = CANONICAL

    @classmethod
    def translated(
        cls,
        folder: Path,
        *,
        title: str,
        metadata: Mapping[str, Any],
        inference: Mapping[str, Any],
        names: Sequence[str],
        weights_file: Path,
        axcodes: str = CANONICAL,
        entries: Iterable[Mapping[str, Any]] | None = None,
    ) -> ForeignBundle:
        """Put a model together.

        Parameters
        ----------
        folder, title, weights_file, axcodes
            Of the model.
        metadata
            With a `version`; the weights' sha256 is added.
        inference
            As our own `configs/inference.json` has it.
        names
            Of the classes from 1 on.
        entries
            As our own `configs/labels.json` has them, instead of what the names mean.

        Raises
        ------
        BundleError
            If a part is missing, malformed, or contradicts another.
        """
        if entries is None:
            segments = tuple(segment_of(name, n) for n, name in enumerate(names, start=1))
            classes = {segment.name: segment.number for segment in segments}
        else:
            segments, classes = _segments(entries, title)
        if len(classes) != len(names):
            raise BundleError(
                f"{title}: expected {len(names)} names that differ, found {list(names)}"
            )
        try:
            bundle = cls(
                folder=folder,
                title=title,
                metadata={**metadata, "weights_sha256": sha256_of(weights_file)},
                inference=inference,
                segments=segments,
                class_of=classes,
                preprocessing=Preprocessing.from_json(inference["preprocessing"]),
                sliding_window=SlidingWindow.from_json(inference["sliding_window"]),
                dimensions=int(inference.get("dimensions", 3)),
                weights_file=weights_file,
                axcodes=axcodes,
            )
        except (KeyError, TypeError, ValueError) as exc:
            raise BundleError(f"{title}: incomplete or malformed: {exc!r}") from exc
        bundle._check()
        return bundle

    @property
    def name(self) -> str:
        return self.title

    @property
    def weights(self) -> Path:
        return self.weights_file

    @property
    def is_scripted(self) -> bool:
        """Whether the weights are a TorchScript program."""
        return self.network_definition.get("_target_") == SCRIPTED

    def build_network(self) -> nn.Module:
        """The network with random weights; raises BundleError where only its program is there."""
        if self.is_scripted:
            raise BundleError(f"{self.name}: expected a network's definition, found TorchScript")
        return super().build_network()

    def load_network(self) -> nn.Module:
        """The network with its weights in float32, taking and giving canonical windows.

        Raises
        ------
        BundleError
            If the weights have changed since the model was read, or are of another network.
        """
        if (found := sha256_of(self.weights_file)) != self.sha256:
            raise BundleError(
                f"{self.name}: the weights have changed: expected sha256 {self.sha256}, "
                f"found {found}"
            )
        if self.is_scripted:
            outputs = len(self.class_of) + 1
            network: nn.Module = ScriptedNetwork(self._program(), outputs, self.name)
        else:
            network = self.build_network()
            try:
                network.load_state_dict(read_state(self.weights_file))
            except RuntimeError as exc:
                raise BundleError(
                    f"{self.name}: the weights are of another network: {exc}"
                ) from exc
            network = self.as_volume_network(network)
        return turned(network, self.axcodes).eval().requires_grad_(False)

    def _program(self) -> nn.Module:
        """Raises BundleError where the file is no TorchScript."""
        with memory_errors(f"the network of {self.name}"):
            try:
                # a program of tensor operations: PyTorch's interpreter runs it, not Python's
                program = load_program(self.weights_file)
            except (RuntimeError, ValueError) as exc:
                if "DefaultCPUAllocator" in str(exc):
                    raise
                raise BundleError(
                    f"cannot read TorchScript {self.weights_file}: {first_line(exc)}"
                ) from exc
        return program


def load_program(path: Path) -> nn.Module:
    """Read a TorchScript file to the CPU; raises RuntimeError or ValueError where it is none."""
    program: nn.Module = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    return program


def read_config(path: Path) -> dict[str, Any]:
    """Read a JSON or YAML object; raises BundleError."""
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as exc:
        raise BundleError(f"cannot read {path}: {exc}") from exc
    if not isinstance(content, dict):
        raise BundleError(f"expected an object in {path}, found {type(content).__name__}")
    return content


def _segments(
    entries: Iterable[Mapping[str, Any]], title: str
) -> tuple[tuple[Segment, ...], dict[str, int]]:
    listed = list(entries)
    try:
        classes = {str(entry["name"]): int(entry["class"]) for entry in listed}
        shown = [entry for entry in listed if entry["number"] is not None]
    except (KeyError, TypeError, ValueError) as exc:
        raise BundleError(f"{title}: incomplete or malformed labels: {exc!r}") from exc
    return tuple(Segment.from_json(entry) for entry in shown), classes
