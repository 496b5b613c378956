"""Where models are found, and those that come with the package."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from pydicom.sr.codedict import codes

from models.bundle import Bundle
from models.bundle_folders import DEFAULT_MODEL, SHIPPED, bundles_in, find_bundle, is_bundle
from models.errors import BundleError

#: Larger weights would not fit the package.
LARGEST_WEIGHTS = 25_000_000
SHIPPED_FOLDERS = sorted(path.parent.parent for path in SHIPPED.glob("*/configs/metadata.json"))


def test_a_bundle_is_found_by_name_among_others(tiny_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "not a bundle").mkdir()
    assert find_bundle(None, tmp_path).folder == tiny_bundle.folder  # the only one
    shutil.copytree(tiny_bundle.folder, tmp_path / "other")
    assert find_bundle("other", tmp_path).name == "other"
    assert find_bundle("tiny", tiny_bundle.folder).name == "tiny"
    assert find_bundle(None, tiny_bundle.folder).name == "tiny"
    with pytest.raises(BundleError, match=f"'{DEFAULT_MODEL}' in .* found other, tiny"):
        find_bundle(None, tmp_path)
    with pytest.raises(BundleError, match=r"'third' in .* found other, tiny"):
        find_bundle("third", tmp_path)
    with pytest.raises(BundleError, match="found none"):
        find_bundle("other", tiny_bundle.folder)


def test_a_place_without_models_is_told_as_such(tiny_bundle: Bundle, tmp_path: Path) -> None:
    told = r"expected at .* a model \(.*nnU-Net's folder with plans.*or a folder of models, found "
    with pytest.raises(BundleError, match=told + "nothing$"):
        find_bundle(None, tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleError, match=told + "none$"):
        find_bundle(None, tmp_path / "empty")


def test_a_damaged_neighbour_stops_only_those_who_might_mean_it(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    half = tmp_path / "half" / "configs" / "inference.json"
    half.parent.mkdir(parents=True)
    half.write_text('{"a":')
    assert find_bundle("tiny", tmp_path).name == "tiny"
    faults: list[BundleError] = []
    assert [bundle.name for bundle in bundles_in(tmp_path, faults.append)] == ["tiny"]
    assert ["inference.json" in str(fault) for fault in faults] == [True]
    for name in ("half", None):
        with pytest.raises(BundleError, match=r"inference\.json"):
            find_bundle(name, tmp_path)


def test_the_folder_one_stands_in_has_a_name(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_bundle.folder)
    assert find_bundle("tiny", Path(".")).name == "tiny"


def test_a_name_cannot_lead_out_of_the_folder(tiny_bundle: Bundle, tmp_path: Path) -> None:
    root = tmp_path / "inner"
    shutil.copytree(tiny_bundle.folder, root / "one")
    with pytest.raises(BundleError):
        find_bundle("../tiny", root)


# --- the models that come with the package


def test_the_default_model_comes_with_the_package() -> None:
    assert find_bundle(None).name == DEFAULT_MODEL
    assert DEFAULT_MODEL in [folder.name for folder in SHIPPED_FOLDERS]


@pytest.mark.parametrize("folder", SHIPPED_FOLDERS, ids=lambda folder: folder.name)
def test_a_shipped_model_is_whole_and_its_weights_are_the_named_ones(folder: Path) -> None:
    assert is_bundle(folder)
    bundle = Bundle.read(folder)
    bundle.build_network()
    assert bundle.weights.is_file() == bool(bundle.sha256)
    if bundle.weights.is_file():
        assert bundle.weights.stat().st_size < LARGEST_WEIGHTS
        bundle.load_network()


@pytest.mark.parametrize("folder", SHIPPED_FOLDERS, ids=lambda folder: folder.name)
def test_a_shipped_models_metadata_names_the_same_classes(folder: Path) -> None:
    bundle = Bundle.read(folder)
    output = bundle.metadata["network_data_format"]["outputs"]["pred"]
    named = {int(number): name for number, name in output["channel_def"].items()}
    assert named == {0: "background", **{n: name for name, n in bundle.class_of.items()}}
    assert output["num_channels"] == bundle.network_definition["out_channels"]
    assert bundle.version in bundle.metadata["changelog"]


#: Keywords in pydicom's dictionary of SNOMED CT that are not the organ's own name.
KEYWORDS = {
    "oesophagus": "Esophagus",
    "adrenal_left": "AdrenalGland",
    "adrenal_right": "AdrenalGland",
    "portal_and_splenic_veins": "PortalVein",
    "liver_tumour": "Neoplasm",
}
#: Concepts that the dictionary lacks (SNOMED CT, International Edition).
OTHER_CODES = {"bowel": ("113276009", "Intestine")}


@pytest.mark.parametrize("folder", SHIPPED_FOLDERS, ids=lambda folder: folder.name)
def test_a_shipped_models_codes_are_snomeds(folder: Path) -> None:
    for segment in Bundle.read(folder).segments:
        organ, _, side = segment.name.rpartition("_")
        sided = side in ("left", "right")
        keyword = KEYWORDS.get(segment.name) or _keyword(organ if sided else segment.name)
        expected = OTHER_CODES.get(segment.name) or _concept(keyword)
        assert (segment.type.value, segment.type.meaning) == expected
        tumour = segment.name == "liver_tumour"
        category = "49755003" if tumour else "123037004"  # abnormal, anatomical structure
        assert segment.category.value == category
        assert {segment.type.scheme, segment.category.scheme} == {"SCT"}
        assert (segment.modifier is not None) == sided
        if segment.modifier is not None:
            assert (segment.modifier.value, segment.modifier.meaning) == _concept(_keyword(side))


def _keyword(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def _concept(keyword: str) -> tuple[str, str]:
    code = getattr(codes.SCT, keyword)
    return code.value, code.meaning


@pytest.mark.parametrize("folder", SHIPPED_FOLDERS, ids=lambda folder: folder.name)
def test_colours_of_a_shipped_model_can_be_told_apart(folder: Path) -> None:
    colours = [np.array(segment.rgb, float) for segment in Bundle.read(folder).segments]
    apart = [np.abs(a - b).max() for n, a in enumerate(colours) for b in colours[:n]]
    assert min(apart) >= 20
