"""Variants of a bundle: other organs, other sizes, always a whole bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from models.bundle import Bundle
from models.bundle_folders import SHIPPED, find_bundle
from models.errors import BundleError, TrainingError
from models.variants import make_variant, merge, variants_of

VARIANTS = [
    (file.parents[2].name, file.stem) for file in sorted(SHIPPED.glob("*/configs/variants/*.json"))
]


def train_of(bundle: Bundle) -> Any:
    return json.loads((bundle.folder / "configs" / "train.json").read_text())


@pytest.mark.parametrize(("model", "variant"), VARIANTS)
def test_every_shipped_variant_makes_a_bundle_that_builds(
    model: str, variant: str, tmp_path: Path
) -> None:
    made = make_variant(find_bundle(model), [variant], tmp_path / "made")
    assert made.network_definition["out_channels"] == len(made.class_of) + 1
    output = made.metadata["network_data_format"]["outputs"]["pred"]
    assert list(output["channel_def"].values()) == ["background", *made.class_of]
    train = train_of(made)
    sources = train["sources"] if "sources" in train else [train["data"]]
    assert {organ for source in sources for organ in source["labels"]} == set(made.class_of)
    assert variants_of(find_bundle(model).folder)[variant].endswith(".")


def test_ten_organs_of_btcv_keep_their_labels_in_the_data_set(tmp_path: Path) -> None:
    made = make_variant(find_bundle("unetr_btcv"), ["ten_organs"], tmp_path / "ten")
    assert list(made.class_of.values()) == list(range(1, 11))
    assert made.class_of["pancreas"] == 10
    data = train_of(made)["data"]
    assert data["labels"]["pancreas"] == 11
    assert data["other_labels"] == [10, 12, 13]  # veins and adrenal glands become background


def test_a_liver_with_its_tumours_takes_both_values(tmp_path: Path) -> None:
    made = make_variant(find_bundle("unet_liver_msd"), ["liver"], tmp_path / "liver")
    assert train_of(made)["data"]["labels"] == {"liver": [1, 2]}
    assert train_of(made)["data"]["other_labels"] == []
    assert made.single_pieces == [1]


def test_the_spleen_of_task09_has_a_window_of_its_own(tmp_path: Path) -> None:
    made = make_variant(find_bundle("unet_liver_msd"), ["spleen"], tmp_path / "spleen")
    assert (made.preprocessing.window.low_hu, made.preprocessing.window.high_hu) == (-57, 164)
    assert [segment.label for segment in made.segments] == ["Spleen"]
    assert "Task09" in made.metadata["data_source"]


def test_variants_apply_one_after_the_other(tmp_path: Path) -> None:
    names = ["ten_organs", "miniature"]
    made = make_variant(find_bundle("unetr_btcv"), names, tmp_path / "both")
    assert len(made.class_of) == 10
    assert made.sliding_window.size != find_bundle("unetr_btcv").sliding_window.size


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "expected a variant of tiny: there is none"),
        ({"segments": ["heart"]}, "expected organs of the bundle"),
        ({"weights": "elsewhere"}, "expected .*found"),
        ({"inference": {"network_def": {"out_channels": 9}}}, "output channels"),
        (
            {"inference": {"sliding_window": {"size": {"3": 16}}}},
            r"variant odd: inference: sliding_window\.size\.3: expected one of 3 entries",
        ),
    ],
)
def test_a_variant_that_makes_no_sense_is_refused(
    tiny_bundle: Bundle, content: object, message: str, tmp_path: Path
) -> None:
    (tiny_bundle.folder / "configs" / "train.json").write_text("{}")
    if content is not None:
        folder = tiny_bundle.folder / "configs" / "variants"
        folder.mkdir()
        (folder / "odd.json").write_text(json.dumps(content))
    with pytest.raises(BundleError, match=message):
        make_variant(tiny_bundle, ["odd"], tmp_path / "made")


def test_objects_are_merged_and_lists_replaced() -> None:
    base = {"a": {"b": 1, "c": [1, 2]}, "d": 3}
    assert merge(base, {"a": {"c": [9]}, "e": 4}) == {"a": {"b": 1, "c": [9]}, "d": 3, "e": 4}


def test_an_entry_of_a_list_is_merged_by_its_number() -> None:
    base = {"a": [{"b": 1, "c": 2}, 5]}
    assert merge(base, {"a": {"0": {"c": 3}}}) == {"a": [{"b": 1, "c": 3}, 5]}
    assert merge(base, {"a": {"1": {"d": 4}}}) == {"a": [{"b": 1, "c": 2}, {"d": 4}]}
    assert merge(base, {"a": {}}) == {"a": {}}
    assert base == {"a": [{"b": 1, "c": 2}, 5]}
    with pytest.raises(TrainingError, match=r"^a\.0\.b\.3: expected one of 2 entries"):
        merge({"a": [{"b": [1, 2]}]}, {"a": {"0": {"b": {"3": 1}}}})


def test_a_variant_of_another_window_states_it_in_its_metadata(tmp_path: Path) -> None:
    made = make_variant(find_bundle("unetr_btcv"), ["miniature"], tmp_path / "fixed")
    formats = made.metadata["network_data_format"]
    assert formats["inputs"]["image"]["spatial_shape"] == ["32", "32", "32"]
    assert formats["outputs"]["pred"]["spatial_shape"] == ["32", "32", "32"]
    made = make_variant(find_bundle("unet_liver_msd"), ["miniature"], tmp_path / "free")
    shape = made.metadata["network_data_format"]["inputs"]["image"]["spatial_shape"]
    assert shape == ["16*n", "16*n", "16*n"]
