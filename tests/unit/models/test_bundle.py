"""Model folders: what is read, what is refused."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from models.bundle import Bundle, sha256_of
from models.bundle_folders import find_bundle
from models.errors import BundleError
from models.networks.vnet import VNet

Entries = dict[str, Any]


def edit(bundle: Bundle, file: str, change: Callable[[Entries], object]) -> None:
    """Change one configuration file of a bundle in place."""
    path = bundle.folder / "configs" / file
    content = json.loads(path.read_text("utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def test_a_bundle_reads_as_it_was_written(tiny_bundle: Bundle) -> None:
    bundle = Bundle.read(tiny_bundle.folder)
    assert (bundle.name, bundle.version) == ("tiny", "0.0.1")
    assert bundle.class_of == {"liver": 1, "kidney_left": 2, "kidney_right": 3}
    assert [segment.label for segment in bundle.segments] == [
        "Liver",
        "Left kidney",
        "Right kidney",
    ]
    assert bundle.preprocessing.grid.spacing_mm == (3.0, 3.0, 3.0)
    assert bundle.sliding_window.size == (32, 32, 32)
    assert bundle.sha256 == sha256_of(bundle.weights)


def test_the_loaded_network_has_the_stored_weights_and_only_infers(tiny_bundle: Bundle) -> None:
    network = tiny_bundle.load_network()
    assert isinstance(network, VNet)
    assert not network.training
    stored = load_file(tiny_bundle.weights)
    assert stored.keys() == network.state_dict().keys()
    for name, value in network.state_dict().items():
        assert value.dtype == torch.float32
        assert not value.requires_grad
        torch.testing.assert_close(value, stored[name].float(), rtol=0, atol=0)


def test_weights_are_stored_in_half_precision(tiny_bundle: Bundle) -> None:
    state = tiny_bundle.build_network().state_dict()
    saved = tiny_bundle.save_weights(state, {"data_source": "none"})
    stored = load_file(saved.weights)
    assert {value.dtype for value in stored.values()} == {torch.float16}
    for name, value in state.items():
        torch.testing.assert_close(stored[name], value.half(), rtol=0, atol=0)
    assert saved.metadata["data_source"] == "none"
    assert saved.sha256 == sha256_of(saved.weights) != tiny_bundle.sha256
    assert not list(saved.folder.rglob("*.partial"))


def test_the_same_weights_give_the_same_file(tiny_bundle: Bundle) -> None:
    state = tiny_bundle.build_network().state_dict()
    first = tiny_bundle.save_weights(state, {}).weights.read_bytes()
    assert tiny_bundle.save_weights(state, {}).weights.read_bytes() == first


def test_altered_weights_are_refused(tiny_bundle: Bundle) -> None:
    content = bytearray(tiny_bundle.weights.read_bytes())
    content[-1] ^= 1  # one bit
    tiny_bundle.weights.write_bytes(content)
    with pytest.raises(BundleError, match=f"expected sha256 {tiny_bundle.sha256}, found"):
        tiny_bundle.load_network()


def test_weights_that_the_metadata_does_not_name_are_refused(tiny_bundle: Bundle) -> None:
    edit(tiny_bundle, "metadata.json", lambda entries: entries.pop("weights_sha256"))
    with pytest.raises(BundleError, match="expected sha256 none"):
        Bundle.read(tiny_bundle.folder).load_network()


def test_missing_weights_are_named(tiny_bundle: Bundle) -> None:
    tiny_bundle.weights.unlink()
    with pytest.raises(BundleError, match=re.escape("no weights in models/model.safetensors")):
        Bundle.read(tiny_bundle.folder).load_network()


def test_weights_of_another_network_are_refused(tiny_bundle: Bundle) -> None:
    other = VNet(out_channels=4, width=3, kernel_size=3)
    save_file(
        {name: value.half() for name, value in other.state_dict().items()}, tiny_bundle.weights
    )
    found = sha256_of(tiny_bundle.weights)
    edit(tiny_bundle, "metadata.json", lambda entries: entries.update(weights_sha256=found))
    with pytest.raises(BundleError, match="of another network"):
        Bundle.read(tiny_bundle.folder).load_network()


@pytest.mark.parametrize("file", ["metadata.json", "inference.json", "labels.json"])
@pytest.mark.parametrize("text", [None, "", "{", "[1, 2]", '"text"', "\xff"])
def test_a_file_that_is_missing_or_not_an_object_is_refused(
    tiny_bundle: Bundle, file: str, text: str | None
) -> None:
    path = tiny_bundle.folder / "configs" / file
    if text is None:
        path.unlink()
    else:
        path.write_text(text, encoding="latin-1")
    with pytest.raises(BundleError, match=file):
        Bundle.read(tiny_bundle.folder)


#: What was done to which file.
DAMAGE: dict[str, tuple[str, Callable[[Entries], object]]] = {
    "no preprocessing": ("inference.json", lambda e: e.pop("preprocessing")),
    "no windows": ("inference.json", lambda e: e.pop("sliding_window")),
    "no network": ("inference.json", lambda e: e.pop("network_def")),
    "network is a name alone": ("inference.json", lambda e: e.update(network_def="VNet")),
    "a class too many": ("inference.json", lambda e: e["network_def"].update(out_channels=5)),
    "no class count": ("inference.json", lambda e: e["network_def"].pop("out_channels")),
    "spacing in words": ("inference.json", lambda e: e["preprocessing"].update(spacing_mm="three")),
    "spacing of zero": ("inference.json", lambda e: e["preprocessing"].update(spacing_mm=0)),
    "negative spacing": ("inference.json", lambda e: e["preprocessing"].update(spacing_mm=-3)),
    "inverted HU window": ("inference.json", lambda e: e["preprocessing"].update(low_hu=400)),
    "flat window": ("inference.json", lambda e: e["sliding_window"].update(size=[32, 32])),
    "window of one size": ("inference.json", lambda e: e["sliding_window"].update(size=32)),
    "full overlap": ("inference.json", lambda e: e["sliding_window"].update(overlap=1)),
    "no label list": ("labels.json", lambda e: e.pop("segments")),
    "empty label list": ("labels.json", lambda e: e.update(segments=[])),
    "labels are names alone": ("labels.json", lambda e: e.update(segments=["liver"])),
    "a label too few": ("labels.json", lambda e: e["segments"].pop()),
    "a label without class": ("labels.json", lambda e: e["segments"][0].pop("class")),
    "a class twice": ("labels.json", lambda e: e["segments"][0].update({"class": 2})),
    "an organ as background": ("labels.json", lambda e: e["segments"][0].update({"class": 0})),
    "a number twice": ("labels.json", lambda e: e["segments"][0].update(number=2)),
    "a name twice": ("labels.json", lambda e: e["segments"][0].update(name="kidney_left")),
    "no output": ("labels.json", lambda e: [s.update(number=None) for s in e["segments"]]),
    "no version": ("metadata.json", lambda e: e.pop("version")),
}


@pytest.mark.parametrize(("file", "change"), DAMAGE.values(), ids=DAMAGE)
def test_a_folder_that_is_incomplete_or_contradicts_itself_is_refused(
    tiny_bundle: Bundle, file: str, change: Callable[[Entries], object]
) -> None:
    edit(tiny_bundle, file, change)
    with pytest.raises(BundleError):
        Bundle.read(tiny_bundle.folder)


def test_two_entries_of_one_name_are_refused(tiny_bundle: Bundle) -> None:
    def repeat(entries: Entries) -> None:
        entries["segments"].append({**entries["segments"][0], "number": 4})

    edit(tiny_bundle, "labels.json", repeat)
    with pytest.raises(BundleError):
        Bundle.read(tiny_bundle.folder)


def test_an_unknown_network_is_refused_and_nothing_is_imported(tiny_bundle: Bundle) -> None:
    target = "antigravity.fly"
    edit(tiny_bundle, "inference.json", lambda e: e["network_def"].update(_target_=target))
    with pytest.raises(BundleError, match=target):
        Bundle.read(tiny_bundle.folder).load_network()


def test_classes_map_to_their_segment_numbers(tiny_bundle: Bundle) -> None:
    def renumber(entries: Entries) -> None:
        for segment, number in zip(entries["segments"], (40, None, 7), strict=True):
            segment["number"] = number

    edit(tiny_bundle, "labels.json", renumber)
    bundle = Bundle.read(tiny_bundle.folder)
    assert [segment.name for segment in bundle.segments] == ["liver", "kidney_right"]
    np.testing.assert_array_equal(bundle.label_numbers, [0, 40, 0, 7])  # class 2 is no output
    assert bundle.label_numbers.dtype == np.uint8


def test_weights_can_be_read_by_whoever_may_read_the_metadata(tiny_bundle: Bundle) -> None:
    modes = [
        path.stat().st_mode & 0o777
        for path in (tiny_bundle.weights, tiny_bundle.folder / "configs" / "metadata.json")
    ]
    assert modes[0] == modes[1]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_model_that_is_closed_to_us_is_told(tiny_bundle: Bundle) -> None:
    tiny_bundle.weights.chmod(0)
    with pytest.raises(BundleError, match="Permission denied"):
        tiny_bundle.load_network()
    tiny_bundle.folder.chmod(0)
    with pytest.raises(BundleError, match="Permission denied"):
        find_bundle(None, tiny_bundle.folder)
    tiny_bundle.folder.chmod(0o755)


def test_weights_that_are_no_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="Is a directory"):
        sha256_of(tmp_path)
