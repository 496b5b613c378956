"""CT series that a SEG or an RTSTRUCT labels, as training data."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from app.cli import main
from app.learning.access import data_access, read_recipe
from app.learning.commands import add_commands
from app.miniature_dicom import make_dicom
from models.bundle import Bundle
from models.data.miniature_people import person
from models.training.recipe_data import read_data
from tests.small_recipes import with_recipe

#: Another layout on purpose: `--layout dicom` is to take its place.
RECIPE = {
    "data": {
        "layout": "btcv",
        "labels": {"liver": 6, "kidney_left": 3, "kidney_right": 2},
        "validation_share": 0.5,
    },
    "samples": {"kind": "patches", "size": [16, 32, 32], "per_case": 2},
    "epochs": 1,
}


def without(organ: str, path: Path) -> None:
    """Take an organ out of a SEG or an RTSTRUCT."""
    dataset = pydicom.dcmread(path)
    if dataset.Modality == "RTSTRUCT":
        (number,) = (r.ROINumber for r in dataset.StructureSetROISequence if r.ROIName == organ)
        for sequence, keyword in (
            ("StructureSetROISequence", "ROINumber"),
            ("ROIContourSequence", "ReferencedROINumber"),
            ("RTROIObservationsSequence", "ReferencedROINumber"),
        ):
            kept = [item for item in dataset[sequence].value if item[keyword].value != number]
            setattr(dataset, sequence, kept)
    else:
        (number,) = (s.SegmentNumber for s in dataset.SegmentSequence if s.SegmentLabel == organ)
        drop_segment(dataset, number)
    dataset.save_as(path)


def drop_segment(seg: pydicom.Dataset, number: int) -> None:
    """Numbers run on without a gap, as PS3.3 C.8.20.4 asks for."""
    groups = seg.PerFrameFunctionalGroupsSequence
    of_frame = [g.SegmentIdentificationSequence[0].ReferencedSegmentNumber for g in groups]
    kept = [at for at, segment in enumerate(of_frame) if segment != number]
    frames = np.unpackbits(
        np.frombuffer(seg.PixelData, np.uint8), bitorder="little"
    )[: len(of_frame) * seg.Rows * seg.Columns].reshape(len(of_frame), -1)  # fmt: skip
    packed = np.packbits(frames[kept].ravel(), bitorder="little").tobytes()
    seg.PixelData = packed + b"\0" * (len(packed) % 2)
    seg.NumberOfFrames = len(kept)
    seg.PerFrameFunctionalGroupsSequence = [groups[at] for at in kept]
    seg.SegmentSequence = [s for s in seg.SegmentSequence if s.SegmentNumber != number]
    for item in seg.SegmentSequence:
        item.SegmentNumber -= item.SegmentNumber > number
    for group in seg.PerFrameFunctionalGroupsSequence:
        item = group.SegmentIdentificationSequence[0]
        item.ReferencedSegmentNumber -= item.ReferencedSegmentNumber > number


@pytest.fixture(params=["seg", "rtstruct"])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return make_dicom(tmp_path / "data", request.param, 2, spacing_mm=8.0)


def options(bundle: Bundle, data: Path) -> list[str]:
    return ["-m", str(bundle.folder), "--data", str(data), "--layout", "dicom", "--device", "cpu"]


def evaluate(bundle: Bundle, data: Path, out: Path) -> list[dict[str, Any]]:
    """The cases, with the one whose liver is larger first."""
    arguments = [*options(bundle, data), "--part", "all", "-o", str(out), "--scenes", "0"]
    assert main(["evaluate", *arguments]) == 0
    cases: list[dict[str, Any]] = json.loads((out / "evaluation.json").read_text())["cases"]
    return sorted(cases, key=lambda case: -(case["organs"]["liver"]["truth_ml"] or 0))


def test_a_model_trains_and_is_measured_on_labelled_dicom(
    data: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    with_recipe(tiny_bundle, RECIPE)
    run = tmp_path / "run"
    assert main(["train", *options(tiny_bundle, data), "--run", str(run), "-q"]) == 0
    trained = Bundle.read(run / "tiny")
    notes = trained.metadata["trained_on"]
    assert (len(notes["cases"]), notes["best_by"]) == (1, "validation Dice")
    assert all(part.isdecimal() for part in notes["cases"][0].split("."))  # a UID, and no name
    recipe = json.loads((trained.folder / "configs" / "train.json").read_text())
    assert recipe["data"]["layout"] == "dicom"
    first, second = evaluate(trained, data, tmp_path / "out")
    liver_ml = [case["organs"]["liver"]["truth_ml"] for case in (first, second)]
    people = [person(seed, 8.0).labels({"liver": 1, "kidney_left": 2}) for seed in (1, 2)]
    expected = sorted(((p == 1).sum() * 0.512 for p in people), reverse=True)
    assert liver_ml == pytest.approx(expected)
    kidney_ml = [case["organs"]["kidney_left"]["truth_ml"] for case in (first, second)]
    assert sorted(kidney_ml) == pytest.approx(sorted((p == 2).sum() * 0.512 for p in people))


def test_an_organ_that_an_object_lacks_is_unlabelled_there(
    data: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    without("Right kidney", data / "subject-01" / "labels.dcm")
    with_recipe(tiny_bundle, RECIPE)
    cases = evaluate(tiny_bundle, data, tmp_path / "out")
    kidneys = [case["organs"]["kidney_right"] for case in cases]
    known = [organ["dice"] is not None for organ in kidneys]
    assert sorted(known) == [False, True]
    assert kidneys[known.index(False)]["truth_ml"] is None
    assert all(case["organs"]["liver"]["dice"] is not None for case in cases)


def test_names_of_ones_own_are_given_in_the_recipe(
    data: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    for path in data.rglob("labels.dcm"):
        dataset = pydicom.dcmread(path)
        for item in dataset.get("StructureSetROISequence") or dataset.SegmentSequence:
            keyword = "ROIName" if "ROIName" in item else "SegmentLabel"
            if item[keyword].value == "Liver":
                setattr(item, keyword, "Leber 1")
                for code in item.get("SegmentedPropertyTypeCodeSequence") or []:
                    code.CodeValue, code.CodingSchemeDesignator = "L1", "99OWN"
        dataset.save_as(path)
    with_recipe(tiny_bundle, RECIPE)
    arguments = [*options(tiny_bundle, data), "--set", "data.validation_share=0"]

    def livers(*more: str) -> list[bool]:
        parser = argparse.ArgumentParser()
        add_commands(parser.add_subparsers())
        parsed = parser.parse_args(["evaluate", *arguments, *more])
        recipe = read_recipe(parsed)
        cases = read_data(recipe, data_access(recipe, parsed, tmp_path), on_own_grid=True).training
        return [bool((case.labels == 1).any()) for case in cases]

    assert livers() == [False, False]
    assert livers("--set", 'data.dicom_names={"leber_1": "liver"}') == [True, True]


def test_a_series_without_labels_is_no_training_case(
    data: Path, tiny_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in data.rglob("labels.dcm"):
        path.unlink()
    with_recipe(tiny_bundle, RECIPE)
    run = ["--run", str(tmp_path / "run"), "-q"]
    assert main(["train", *options(tiny_bundle, data), *run]) == 20
    assert "expected a label of every image, found none of 2" in capsys.readouterr().err
