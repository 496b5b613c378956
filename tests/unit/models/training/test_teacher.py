"""Teachers: which are found and refused, and recipes that name one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.bundle import Bundle
from models.data.miniature import make_png
from models.errors import TrainingError
from models.training.cases import UNKNOWN, Case
from models.training.data_access import DataAccess
from models.training.recipe import Recipe
from models.training.recipe_data import RecipeData
from models.training.recipe_run import run_recipe, train_on
from models.training.run_folder import CONFIG
from models.training.teacher import find_teacher, find_teachers, load_teacher, refuse_known
from tests.conftest import MakeBundle
from tests.small_recipes import of_slices

CPU = torch.device("cpu")


@pytest.fixture
def student(make_bundle: MakeBundle) -> Bundle:
    """It stands beside the bundle `tiny`."""
    make_bundle()
    return make_bundle("student")


def change(bundle: Bundle, file: str, alter: Callable[[dict[str, Any]], object]) -> None:
    path = bundle.folder / "configs" / file
    content = json.loads(path.read_text())
    alter(content)
    path.write_text(json.dumps(content))


def recipe_of(student: Bundle, **content: Any) -> Recipe:
    plan = {
        "epochs": 2,
        "batch": 2,
        "samples": {"kind": "patches", "size": [16, 16, 32], "per_case": 2},
    }
    return Recipe(bundle=student, content={**plan, **content})


# --- finding one


def test_a_teacher_is_found_by_name_or_folder(student: Bundle) -> None:
    beside = student.folder.parent / "tiny"
    assert find_teacher("tiny", student).folder == beside
    assert find_teacher(str(beside), student).sha256 == Bundle.read(beside).sha256
    with pytest.raises(TrainingError, match=r"teacher 'nobody': expected a model named 'nobody'"):
        find_teacher("nobody", student)
    with pytest.raises(TrainingError, match=r"expected at .*/nowhere a model .*, found nothing"):
        find_teacher("./nowhere", student)


def test_a_shipped_model_teaches_its_own_kind_alone(student: Bundle) -> None:
    with pytest.raises(TrainingError, match="expected the classes of student, liver, kidney_left"):
        find_teacher("abdomen_vnet_3mm", student)


@pytest.mark.parametrize(
    ("file", "alter", "told"),
    [
        (
            "labels.json",
            lambda c: [entry.update({"class": 4 - entry["class"]}) for entry in c["segments"]],
            "classes of student, liver, kidney_left, kidney_right; found kidney_right, kidney_left",
        ),
        (
            "inference.json",
            lambda c: c["preprocessing"].update(spacing_mm=[3.0, 3.0, 2.0]),
            r"the grid of student, .*3.0, 3.0, 3.0.*; found .*3.0, 3.0, 2.0",
        ),
        (
            "inference.json",
            lambda c: c["preprocessing"].update(range=[0, 1]),
            r"the window of student, .*lowest=-1.0.*; found .*lowest=0.0",
        ),
        (
            "inference.json",
            lambda c: (c.update(dimensions=2), c["sliding_window"].update(size=[1, 32, 32])),
            "the dimensions of student, 3; found 2",
        ),
        ("metadata.json", lambda c: c.pop("weights_sha256"), "expected weights, found none"),
    ],
    ids=["classes", "grid", "window", "dimensions", "weights"],
)
def test_a_teacher_of_another_kind_is_refused(
    file: str, alter: Callable[[dict[str, Any]], object], told: str, student: Bundle
) -> None:
    change(Bundle.read(student.folder.parent / "tiny"), file, alter)
    with pytest.raises(TrainingError, match=f"teacher 'tiny': .*{told}"):
        find_teacher("tiny", student)


def test_a_teacher_bound_to_its_window_refuses_other_samples(
    student: Bundle, make_bundle: MakeBundle
) -> None:
    unetr = {
        "_target_": "monai.networks.nets.UNETR",
        "in_channels": 1,
        "out_channels": 4,
        "img_size": [32, 32, 32],
        "feature_size": 4,
        "hidden_size": 12,
        "mlp_dim": 16,
        "num_heads": 2,
    }
    teacher = make_bundle("unetr", unetr)
    wrong = recipe_of(student)
    with pytest.raises(TrainingError, match=r"its window \[32, 32, 32\], found \[16, 16, 32\]"):
        load_teacher("unetr", teacher, wrong)
    right = recipe_of(student, samples={"kind": "patches", "size": [32, 32, 32]})
    assert not load_teacher("unetr", teacher, right).training


def test_a_teacher_that_knows_what_is_held_out_is_refused(student: Bundle) -> None:
    teacher = Bundle.read(student.folder.parent / "tiny")
    known = {"cases": ["hcc-002-portal", "hcc-009a-portal"], "teacher_cases": ["old-1"]}
    change(teacher, "metadata.json", lambda c: c.update(trained_on=known))
    teachers = {"tiny": Bundle.read(teacher.folder)}
    recipe = recipe_of(student, sources=[{"patient_pattern": "[a-z0-9]+-[0-9]+"}])
    refuse_known(teachers, recipe, {"hcc-005", "hcc-00"})
    for held_out, case in (
        ("hcc-009", "hcc-009a-portal"),
        ("hcc-002-portal", "hcc-002-portal"),
        ("old-1", "old-1"),
    ):
        with pytest.raises(TrainingError, match=f"this run holds out: {case};"):
            refuse_known(teachers, recipe, {held_out})


def test_a_teacher_is_refused_by_the_group_of_the_patient_pattern(student: Bundle) -> None:
    teacher = Bundle.read(student.folder.parent / "tiny")
    known = {"trained_on": {"cases": ["a_hcc-002_portal"]}}
    change(teacher, "metadata.json", lambda c: c.update(known))
    teachers = {"tiny": Bundle.read(teacher.folder)}
    recipe = recipe_of(student, data={"patient_pattern": r"a_(hcc-\d+)_.*"})
    refuse_known(teachers, recipe, {"hcc-00", "hcc-0021"})
    with pytest.raises(TrainingError, match="this run holds out: a_hcc-002_portal;"):
        refuse_known(teachers, recipe, {"hcc-002"})
    broken = recipe_of(student, data={"patient_pattern": "("})
    with pytest.raises(TrainingError, match="expected a regular expression, found '\\('"):
        refuse_known(teachers, broken, {"hcc-002"})


def test_a_teacher_that_knows_the_slices_of_a_patient_held_out_is_refused(
    student: Bundle, tmp_path: Path
) -> None:
    """The layout alone tells whom a slice shows: its name does not begin like the patient's."""
    make_png(tmp_path / "png", 2, size=32, every=30, spacing_mm=12.0)
    teacher = of_slices(Bundle.read(student.folder.parent / "tiny"))
    teacher.save_weights(teacher.build_network().state_dict(), {})
    known = {"trained_on": {"cases": ["10001/20001/1"]}}
    change(teacher, "metadata.json", lambda c: c.update(known))
    content = {
        "data": {"layout": "png", "labels": {"liver": 1}, "other_labels": [2, 3, 4, 5]},
        "samples": {"kind": "slices"},
        "distillation": {"teacher": "tiny", "weight": 0.4},
    }
    recipe = recipe_of(of_slices(student), **content)

    def run(patient: str) -> Bundle:
        access = DataAccess(root=tmp_path / "png", cache=tmp_path / "cache", exclude=[patient])
        return run_recipe(recipe, access, tmp_path / patient, device=CPU)

    assert run("10002").sha256  # of whom the teacher knows nothing
    with pytest.raises(TrainingError, match="this run holds out: 10001/20001/1;"):
        run("10001")


# --- recipes


def cases() -> list[Case]:
    rng = np.random.default_rng(5)
    made = []
    for name in ("one", "two"):
        labels = np.zeros((20, 24, 24), np.uint8)
        labels[4:16, 4:16, 4:16] = 1
        labels[:, :, 20:] = UNKNOWN
        hu = (100 * (labels == 1) + rng.normal(0, 10, labels.shape)).astype(np.int16)
        made.append(
            Case(
                name=name,
                patient=name,
                hu=hu,
                labels=labels,
                spacing_mm=(3.0, 3.0, 3.0),
                unlabelled=frozenset({2, 3}),
            )
        )
    return made


SETTINGS: dict[str, Any] = {
    "distillation": {"teacher": "tiny", "weight": 0.4},
    "pseudo_labels": {"teacher": "tiny", "least_confidence": 0.5},
}


def test_a_recipe_names_its_teachers(student: Bundle) -> None:
    assert list(find_teachers(recipe_of(student, **SETTINGS))) == ["tiny"]
    assert find_teachers(recipe_of(student)) == {}
    silent = {"distillation": {"teacher": "nobody", "weight": 0}}
    assert find_teachers(recipe_of(student, **silent)) == {}
    with pytest.raises(TrainingError, match="teacher 'nobody'"):
        find_teachers(recipe_of(student, pseudo_labels={"teacher": "nobody"}))
    with pytest.raises(TrainingError, match="pseudo_labels: expected settings among teacher"):
        find_teachers(recipe_of(student, pseudo_labels={"teachers": "tiny"}))


def test_a_run_tells_its_teachers_and_goes_on_with_no_other(
    student: Bundle, tmp_path: Path
) -> None:
    teacher = Bundle.read(student.folder.parent / "tiny")
    teacher = teacher.save_weights(
        teacher.build_network().state_dict(), {"trained_on": {"cases": ["before"]}}
    )
    folder, data = tmp_path / "run", RecipeData(training=cases())
    recipe = recipe_of(student, **SETTINGS)
    trained = train_on(recipe, data, folder, device=CPU)
    notes = trained.metadata["trained_on"]
    assert notes["teachers"] == [{"name": "tiny", "weights_sha256": teacher.sha256}]
    assert (notes["cases"], notes["teacher_cases"]) == (["one", "two"], ["before"])
    assert len(list((folder / "pseudo_labels").iterdir())) == 2
    config = json.loads((folder / CONFIG).read_text())
    assert config["settings"]["teachers"] == {"tiny": teacher.sha256}
    again = train_on(recipe, data, folder, device=CPU)
    assert again.sha256 == trained.sha256
    alone = train_on(recipe_of(student), data, tmp_path / "alone", device=CPU)
    assert alone.sha256 != trained.sha256
    assert "teachers" not in alone.metadata["trained_on"]

    torch.manual_seed(8)
    other = teacher.save_weights(teacher.build_network().state_dict(), {})
    with pytest.raises(TrainingError, match=rf"settings.teachers.tiny .* now {other.sha256}"):
        train_on(recipe, data, folder, device=CPU)


def test_a_teacher_that_knows_a_validation_case_is_refused(student: Bundle, tmp_path: Path) -> None:
    teacher = Bundle.read(student.folder.parent / "tiny")
    change(teacher, "metadata.json", lambda c: c.update(trained_on={"cases": ["two"]}))
    one, two = cases()
    data = RecipeData(training=[one], validation=[two])
    with pytest.raises(TrainingError, match="learnt from cases that this run holds out: two"):
        train_on(recipe_of(student, **SETTINGS), data, tmp_path / "run", device=CPU)
