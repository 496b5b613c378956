"""A model folder in the shape of a MONAI Bundle: configuration, labels and weights together.

NAME/
  configs/metadata.json    version, what it is, the weights' file and sha256
  configs/inference.json   network_def, preprocessing, sliding_window, postprocessing
  configs/labels.json      the segments, with codes and colours
  configs/train.json       the recipe of its training (optional)
  configs/variants/*.json  other forms of it (optional), see models/variants.py
  models/model.safetensors the weights (absent until it has been trained)
  docs/README.md           data, results, limits
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.digests import sha256_of_file
from models.errors import BundleError
from models.json_files import read_object
from models.networks.slice_wise import SliceWise
from models.preprocessing import Preprocessing
from models.registry import build_network
from models.segments import Segment
from models.sliding_window import SlidingWindow

#: Weights inside a bundle.
WEIGHTS = "models/model.safetensors"


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A model folder, read and checked; the weights are read by `load_network`."""

    folder: Path
    metadata: Mapping[str, Any] = field(repr=False)
    inference: Mapping[str, Any] = field(repr=False)
    segments: tuple[Segment, ...] = field(repr=False)
    class_of: Mapping[str, int] = field(repr=False)
    preprocessing: Preprocessing
    sliding_window: SlidingWindow
    #: 2 for a network that sees one slice at a time.
    dimensions: int = 3

    @classmethod
    def read(cls, folder: Path) -> Bundle:
        """Read a model folder.

        Raises
        ------
        BundleError
            If a file is missing, malformed, or contradicts another.
        """
        inference = read_object(folder / "configs" / "inference.json", BundleError)
        labels = read_object(folder / "configs" / "labels.json", BundleError)
        try:
            entries = labels["segments"]
            bundle = cls(
                folder=folder,
                metadata=read_object(folder / "configs" / "metadata.json", BundleError),
                inference=inference,
                segments=tuple(
                    Segment.from_json(entry) for entry in entries if entry["number"] is not None
                ),
                class_of={str(entry["name"]): int(entry["class"]) for entry in entries},
                preprocessing=Preprocessing.from_json(inference["preprocessing"]),
                sliding_window=SlidingWindow.from_json(inference["sliding_window"]),
                dimensions=int(inference.get("dimensions", 3)),
            )
        except (KeyError, TypeError, ValueError, IndexError) as exc:
            raise BundleError(f"{folder.name}: incomplete or malformed: {exc!r}") from exc
        bundle._check()
        return bundle

    def _check(self) -> None:
        classes = sorted(self.class_of.values())
        if classes != list(range(1, len(classes) + 1)):
            raise BundleError(f"{self.name}: expected classes 1 to N, found {classes}")
        numbers = [segment.number for segment in self.segments]
        if len(set(numbers)) != len(numbers) or not numbers:
            raise BundleError(f"{self.name}: expected distinct segment numbers, found {numbers}")
        if len({segment.name for segment in self.segments}) != len(numbers):
            raise BundleError(f"{self.name}: expected every organ's name once")
        if self.dimensions not in (2, 3):
            raise BundleError(f"{self.name}: expected 2 or 3 dimensions, found {self.dimensions}")
        if self.dimensions == 2 and self.sliding_window.size[0] != 1:
            raise BundleError(
                f"{self.name}: expected windows of one slice for a network of two dimensions, "
                f"found {self.sliding_window.size}"
            )
        pieces = self.inference.get("postprocessing", {}).get("largest_component", False)
        if not isinstance(pieces, bool) and not set(pieces) <= set(self.class_of):
            raise BundleError(f"{self.name}: expected organs as largest_component, found {pieces}")
        if "version" not in self.metadata:
            raise BundleError(f"{self.name}: expected a version in the metadata, found none")
        definition = self.inference.get("network_def")
        outputs = definition.get("out_channels") if isinstance(definition, Mapping) else None
        if outputs != len(classes) + 1:
            raise BundleError(
                f"{self.name}: expected {len(classes) + 1} output channels (background and "
                f"{len(classes)} classes), found {outputs}"
            )

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def version(self) -> str:
        return str(self.metadata["version"])

    @property
    def sha256(self) -> str:
        """Of the weights, as the metadata states it; empty where there are none."""
        return str(self.metadata.get("weights_sha256", ""))

    @property
    def body_region(self) -> str:
        """The part of the body the model was made for; empty where the metadata names none."""
        return str(self.metadata.get("body_region", ""))

    @property
    def weights(self) -> Path:
        return self.folder / WEIGHTS

    @property
    def network_definition(self) -> Mapping[str, Any]:
        definition: Mapping[str, Any] = self.inference["network_def"]
        return definition

    @property
    def single_pieces(self) -> list[int]:
        """Classes of which only the largest connected piece is kept.

        `postprocessing.largest_component` is true for all of them, or names the organs: vessels,
        bowel and tumours may come in several pieces.
        """
        wanted = self.inference.get("postprocessing", {}).get("largest_component", False)
        names = self.class_of if wanted is True else wanted or ()
        return sorted(self.class_of[name] for name in names)

    @property
    def label_numbers(self) -> NDArray[np.uint8]:
        """`(classes,)`: the segment number of each network class, 0 where it is not an output."""
        numbers = np.zeros(len(self.class_of) + 1, np.uint8)
        for segment in self.segments:
            numbers[self.class_of[segment.name]] = segment.number
        return numbers

    def build_network(self) -> nn.Module:
        """The network with random weights, as its definition has it."""
        return build_network(self.network_definition)

    def as_volume_network(self, network: nn.Module) -> nn.Module:
        """What takes windows `(N, 1, D, H, W)`: `network`, or one that hands it slices."""
        if self.dimensions == 3:
            return network
        settings = self.inference["preprocessing"]
        return SliceWise(
            network,
            channels=int(settings.get("channels", 1)),
            mean=settings.get("mean"),
            std=settings.get("std"),
        )

    def load_network(self) -> nn.Module:
        """The network with its weights in float32, ready to infer windows of a volume.

        Raises
        ------
        BundleError
            If the weights are missing, altered, or of another network.
        """
        if not self.weights.is_file():
            raise BundleError(f"{self.name}: no weights in {WEIGHTS}; train the model first")
        found = sha256_of(self.weights)
        if found != self.sha256:
            raise BundleError(
                f"{self.name}: the weights are not the ones the metadata names: expected sha256 "
                f"{self.sha256 or 'none'}, found {found}"
            )
        network = self.build_network()
        state = {
            name: value.float() if value.is_floating_point() else value
            for name, value in load_file(self.weights).items()
        }
        try:
            network.load_state_dict(state)
        except RuntimeError as exc:
            raise BundleError(f"{self.name}: the weights are of another network: {exc}") from exc
        return self.as_volume_network(network).eval().requires_grad_(False)

    def save_weights(
        self, state: Mapping[str, Tensor], notes: Mapping[str, Any], *, halve: bool = True
    ) -> Bundle:
        """Store weights, and their sha256 and `notes` in the metadata.

        Parameters
        ----------
        state
            By the names of the bundle's network.
        notes
            Go over the metadata.
        halve
            In half precision, where they fit into it.
        """
        self.weights.parent.mkdir(parents=True, exist_ok=True)
        partial = self.weights.with_suffix(".partial")
        stored = {name: _halved(value) if halve else value for name, value in state.items()}
        save_file({name: value.contiguous() for name, value in stored.items()}, partial)
        os.replace(partial, self.weights)
        metadata = {**self.metadata, "weights_sha256": sha256_of(self.weights), **notes}
        target = self.folder / "configs" / "metadata.json"
        text = json.dumps(metadata, indent=2, ensure_ascii=False)
        partial = target.with_suffix(".partial")
        partial.write_text(text + "\n", encoding="utf-8")
        os.replace(partial, target)
        # safetensors lets the owner alone read them
        self.weights.chmod(target.stat().st_mode)
        return Bundle.read(self.folder)


def _halved(value: Tensor) -> Tensor:
    """`value` in half precision, unless it is whole numbers or too large for it."""
    if not value.is_floating_point():
        return value
    half = value.half()
    return half if bool(half.isfinite().all()) else value.float()


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file; raises BundleError where it cannot be read."""
    try:
        return sha256_of_file(path)
    except OSError as exc:
        raise BundleError(f"cannot read {path}: {exc.strerror or exc}") from exc
