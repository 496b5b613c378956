"""Every recipe on a tiny data set in its own layout: from a look at the data to a DICOM SEG."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from app.cli import main
from models.bundle import Bundle
from models.data.miniature import make_btcv, make_flare22, make_msd, make_png
from models.phantom import phantom_case
from operators.ct_series import SeriesIdentity, write_ct_series

SPACING_MM = 8.0


@dataclass(frozen=True)
class Recipe:
    """A bundle, the data set that it learns from, and the form in which it leaves."""

    model: str
    make: Callable[[Path], Path]
    export: str


RECIPES = (
    Recipe("unetr_btcv", lambda f: make_btcv(f, 2, spacing_mm=SPACING_MM), "onnx"),
    Recipe("vnet_flare22", lambda f: make_flare22(f, 2, spacing_mm=SPACING_MM), "torchscript"),
    Recipe("vnet_four_organs", lambda f: make_flare22(f, 2, spacing_mm=SPACING_MM), "monai"),
    Recipe(
        "unet_liver_msd",
        lambda f: make_msd(f, "Task03_Liver", 2, spacing_mm=SPACING_MM),
        "torchscript",
    ),
    Recipe("mobilenetv3_rsna", lambda f: make_png(f, 2, spacing_mm=SPACING_MM, every=8), "monai"),
)


@dataclass(frozen=True)
class Trained:
    """What two steps of training left."""

    recipe: Recipe
    folder: Path
    data: Path

    @property
    def bundle(self) -> Path:
        return self.folder / "run" / f"{self.recipe.model}_miniature"


@pytest.fixture(scope="module", params=RECIPES, ids=lambda recipe: recipe.model)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    recipe = request.param
    folder = tmp_path_factory.mktemp(recipe.model)
    data = recipe.make(folder / "data")
    arguments = ["--model", recipe.model, "--variant", "miniature", "--data", str(data)]
    run = ["--run", str(folder / "run"), "--steps", "2", "--device", "cpu", "-q"]
    assert main(["train", *arguments, *run]) == 0
    return Trained(recipe, folder, data)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom that no recipe learns from."""
    folder = tmp_path_factory.mktemp("study")
    phantom = phantom_case(77, spacing_mm=SPACING_MM)
    write_ct_series(phantom.volume, folder, SeriesIdentity(seed_text="recipes"))
    return folder


def organ_values(bundle: Path) -> set[int]:
    labels = json.loads((bundle / "configs" / "train.json").read_text())["data"]["labels"]
    return set(labels.values())


def labelled_ml(data: Path, values: set[int]) -> float:
    """Volume of all organs of a data set, counted in its files."""
    total = 0.0
    for path in data.rglob("label*/*.nii.gz"):
        total += np.isin(np.asarray(nibabel.load(path).dataobj), [*values]).sum() * SPACING_MM**3
    for path in data.rglob("masks/**/*.png"):
        total += np.isin(np.asarray(Image.open(path)), [*values]).sum()  # a voxel of 1 mm
    return total / 1000


def test_the_data_set_is_known_and_whole(
    trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", str(trained.data), "-o", str(trained.folder / "check")]) == 0
    told = capsys.readouterr().out
    assert "no problems" in told
    assert "patients  2" in told or "patients  3" in told  # with those for testing
    assert list((trained.folder / "check").glob("*.png"))


def test_the_run_holds_all_that_it_was_made_from(trained: Trained) -> None:
    bundle = Bundle.read(trained.bundle)
    assert bundle.load_network() is not None
    notes = bundle.metadata["trained_on"]
    stages = 2 if trained.recipe.model == "mobilenetv3_rsna" else 1
    assert notes["steps"] == 2 * stages
    # nobody validates where the last stage's weights are to be the ones that are proved
    best_by = "training loss" if trained.recipe.model == "mobilenetv3_rsna" else "validation Dice"
    assert notes["best_by"] == best_by
    files = {path.name for path in (trained.folder / "run").iterdir()}
    assert files >= {"config.json", "environment.json", "curves.csv", "checkpoint.pt", "cache"}


def test_an_evaluation_has_all_its_figures(
    trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    out = trained.folder / "report"
    scenes = "1" if trained.recipe.model == "unet_liver_msd" else "0"
    arguments = ["-m", str(trained.bundle), "--data", str(trained.data), "--device", "cpu"]
    assert main(["evaluate", *arguments, "--part", "all", "-o", str(out), "--scenes", scenes]) == 0
    assert "of these cases: figures of them tell nothing of others" in capsys.readouterr().out
    evaluation = json.loads((out / "evaluation.json").read_text())
    organs = [organ for case in evaluation["cases"] for organ in case["organs"].values()]
    real = [n for case in evaluation["cases"] for n in np.sum(case["confusion"], axis=1)[1:]]
    assert len({case["patient"] for case in evaluation["cases"]}) == 2
    slices = trained.recipe.model == "mobilenetv3_rsna"
    assert {case["spacing_stated"] for case in evaluation["cases"]} == {not slices}
    # pixels stand for 1 mm where none is stated, and for no volume
    found_ml = sum(real) / 1000 if slices else sum(organ["truth_ml"] for organ in organs)
    assert found_ml == pytest.approx(labelled_ml(trained.data, organ_values(trained.bundle)))
    for voxels, organ in zip(real, organs, strict=True):
        for measure in ("dice", "iou", "nsd", "precision", "recall", "accuracy", "auc"):
            assert organ[measure] is None or 0 <= organ[measure] <= 1
        if voxels:
            assert organ["dice"] is not None
            assert organ["auc"] is not None
            assert organ["volume_error_percent"] is not None
        assert (organ["volume_ml"] is None) == slices
        assert organ["hd95_mm"] is None or 0 <= organ["hd95_mm"] < 600
    with (out / "cases.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(organs)
    with (out / "summary.csv").open() as stream:
        summary = {(row["organ"], row["measure"]): row for row in csv.DictReader(stream)}
    found = [float(row["dice"]) for row in rows if row["organ"] == "liver" and row["dice"]]
    assert float(summary["liver", "dice"]["mean"]) == pytest.approx(np.mean(found), abs=1e-6)
    page = (out / "report.html").read_text()
    assert evaluation["cases"][0]["name"] in page
    assert "http://" not in page.replace("http://www.w3.org", "")  # nothing comes from elsewhere


def test_the_export_segments_a_dicom_study(
    trained: Trained, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = trained.recipe.export
    target = trained.folder / {"monai": "exported", "torchscript": "model.ts"}.get(kind, "m.onnx")
    arguments = ["-m", str(trained.bundle), "--format", kind, "-o", str(target)]
    assert main(["export", *arguments]) == 0
    assert "largest difference" in capsys.readouterr().out
    # an ONNX file is for other programs: the trained bundle itself goes on
    model = trained.bundle if kind == "onnx" else target
    out = trained.folder / "segmented"
    arguments = [str(study), "-o", str(out), "--bundle", str(model), "--device", "cpu", "-q"]
    code = main(["segment", *arguments, "--any-anatomy"])
    report: dict[str, Any] = json.loads((out / "report.json").read_text())
    assert (code, report["exit_code"]) in {(0, 0), (17, 17)}, report["message"]
    (series,) = report["series"]
    assert len(series["volumes_ml"]) == len(Bundle.read(trained.bundle).segments)
    assert len(list(out.rglob("segmentation.dcm"))) == (code == 0)
