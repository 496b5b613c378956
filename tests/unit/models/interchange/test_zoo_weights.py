from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from models.errors import BundleError
from models.interchange.monai_bundle import read_monai_bundle
from tests.unit.models.interchange.foreign_folders import unet, write_zoo_bundle, zoo_inference


def loader(load_path: str, **more: Any) -> dict[str, Any]:
    return {
        "_target_": "monai.handlers.CheckpointLoader",
        "load_path": load_path,
        "load_dict": {"model": "@network"},
        **more,
    }


def write(folder: Path, **changes: Any) -> None:
    """A bundle with weights of two resolutions."""
    write_zoo_bundle(folder, zoo_inference(**changes))
    torch.save(unet(seed=7).state_dict(), folder / "models" / "model_lowres.pt")


LOW = "$@bundle_root + '/models/model_lowres.pt'"
BY_NAME = {
    "checkpointloader": loader("$@bundle_root + '/models/' + @modelname"),
    "modelname": "$'model.pt' if @highres else 'model_lowres.pt'",
}


@pytest.mark.parametrize(
    ("changes", "file"),
    [
        ({"handlers": [{"_target_": "StatsHandler"}, loader(LOW)]}, "model_lowres.pt"),
        ({"checkpointloader": loader(LOW), "bundle_root": "$os.getcwd()"}, "model_lowres.pt"),
        ({"checkpointloader": loader("/somewhere/models/model_lowres.pt")}, "model_lowres.pt"),
        ({**BY_NAME, "highres": False}, "model_lowres.pt"),
        ({**BY_NAME, "highres": True}, "model.pt"),
        ({"handlers": [loader(LOW, _disabled_=True)]}, "model.pt"),
        ({"handlers": [loader("@output_dir")]}, "model.pt"),
        ({}, "model.pt"),
    ],
)
def test_the_weights_are_those_that_the_checkpoint_loader_names(
    tmp_path: Path, changes: dict[str, Any], file: str
) -> None:
    write(tmp_path / "zoo", **changes)
    bundle = read_monai_bundle(tmp_path / "zoo")
    assert bundle.weights.name == file
    expected = torch.load(tmp_path / "zoo" / "models" / file, weights_only=True)
    found = bundle.load_network().state_dict()
    name = "model.0.conv.unit0.conv.weight"
    assert torch.equal(found[f"network.{name}"], expected[name])


@pytest.mark.parametrize(
    ("load_path", "there", "file"),
    [
        ("/workspace/models/spleen/models/model_lowres.pt", (), "models/model_lowres.pt"),
        ("/models/models/model_lowres.pt", (), "models/model_lowres.pt"),
        ("models/fold0/models/x.pt", ("fold0/models/x.pt",), "models/fold0/models/x.pt"),
        ("models/fold0/models/x.pt", ("fold0/models/x.pt", "x.pt"), "models/fold0/models/x.pt"),
        (
            "/a/models/b/models/fold0/models/x.pt",
            ("fold0/models/x.pt",),
            "models/fold0/models/x.pt",
        ),
        ("models/fold0/models/x.pt", ("fold0/models/x.pth",), "models/fold0/models/x.pth"),
        ("/a/models/../models/model_lowres.pt", (), "models/model_lowres.pt"),
        ("/my_models/model_lowres.pt", (), "models/model.pt"),  # no folder of that name
    ],
)
def test_of_several_folders_models_in_a_path_it_is_the_bundles(
    tmp_path: Path, load_path: str, there: tuple[str, ...], file: str
) -> None:
    folder = tmp_path / "zoo"
    write(folder, checkpointloader=loader(load_path))
    for name in there:
        path = folder / "models" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(unet(seed=8).state_dict(), path)
    assert read_monai_bundle(folder).weights == folder / file


def test_of_several_folders_models_without_a_file_the_last_is_told(tmp_path: Path) -> None:
    write(tmp_path / "zoo", checkpointloader=loader("/a/models/b/models/model_best.pt"))
    with pytest.raises(BundleError, match=r"expected models/model_best\.pt, which"):
        read_monai_bundle(tmp_path / "zoo")


def test_named_weights_that_are_not_there_are_no_others(tmp_path: Path) -> None:
    write(tmp_path / "zoo", checkpointloader=loader("./models/model_best.pt"))
    told = "expected models/model_best.pt, which .* names, found model.pt, model_lowres.pt"
    with pytest.raises(BundleError, match=told):
        read_monai_bundle(tmp_path / "zoo")


def test_the_program_of_the_named_weights_serves_too(tmp_path: Path) -> None:
    inference = zoo_inference(checkpointloader=loader("./models/model.pt"))
    write_zoo_bundle(tmp_path / "zoo", inference, scripted=True)
    assert read_monai_bundle(tmp_path / "zoo").weights.name == "model.ts"


def test_a_name_that_only_code_could_tell_is_refused_among_several(tmp_path: Path) -> None:
    code = loader("$os.path.join(@bundle_root, 'models', 'model.pt')")
    write_zoo_bundle(tmp_path / "one", zoo_inference(checkpointloader=code))
    assert read_monai_bundle(tmp_path / "one").weights.name == "model.pt"
    write(tmp_path / "two", checkpointloader=code)
    with pytest.raises(BundleError, match=r"checkpointloader::load_path: .* not run as code"):
        read_monai_bundle(tmp_path / "two")


def test_loaders_of_different_files_are_refused(tmp_path: Path) -> None:
    handlers = [loader(LOW), loader("./models/model.pt")]
    write(tmp_path / "zoo", handlers=handlers)
    with pytest.raises(BundleError, match=r"found models/model\.pt, models/model_lowres\.pt"):
        read_monai_bundle(tmp_path / "zoo")
