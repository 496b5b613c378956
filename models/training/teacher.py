"""Teachers: trained bundles that a recipe names for its distillation or its pseudo-labels."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from models.bundle import Bundle
from models.bundle_folders import SHIPPED, find_bundle, is_bundle
from models.data.patients import patient_in
from models.errors import BundleError, TrainingError
from models.training.pseudo_labels import pseudo_labels_of
from models.training.recipe import Recipe


def find_teacher(wanted: str, student: Bundle, beside: Path | None = None) -> Bundle:
    """Find a teacher and make sure that the student can learn from it.

    Parameters
    ----------
    wanted
        A name, of a bundle beside the student or one that comes with the package; or a folder,
        recognised by a separator (`./teacher`).
    beside
        Folder that bundles are looked for in, where it is not the one that holds the student.

    Raises
    ------
    TrainingError
        If there is no such bundle, it has no weights, or it differs from the student in classes,
        grid, window or dimensions; these must agree since both see the same samples.
    """
    try:
        teacher = find_bundle_of(wanted, beside or student.folder.parent)
    except BundleError as exc:
        raise TrainingError(f"teacher {wanted!r}: {exc}") from exc
    if not teacher.sha256:
        raise TrainingError(f"teacher {wanted!r}: expected weights, found none")
    refuse_other_task(teacher, student, f"teacher {wanted!r}")
    return teacher


def refuse_other_task(bundle: Bundle, student: Bundle, called: str) -> None:
    """Make sure that both see and tell the same: classes, grid, window and dimensions.

    Raises
    ------
    TrainingError
        Otherwise; it begins with what the bundle is `called`.
    """
    for what, of in _AGREEING.items():
        expected, found = of(student), of(bundle)
        if expected != found:
            raise TrainingError(
                f"{called}: expected the {what} of {student.name}, {expected}; found {found}"
            )


def find_bundle_of(wanted: str, beside: Path) -> Bundle:
    """A bundle by its name, in `beside` or shipped, or by its folder; raises BundleError."""
    if "/" in wanted:
        return find_bundle(None, Path(wanted).expanduser())
    return find_bundle(wanted, beside if is_bundle(beside / wanted) else SHIPPED)


def _classes(bundle: Bundle) -> str:
    return ", ".join(sorted(bundle.class_of, key=lambda organ: bundle.class_of[organ]))


_AGREEING: Mapping[str, Any] = {
    "classes": _classes,
    "grid": lambda bundle: bundle.preprocessing.grid,
    "window": lambda bundle: bundle.preprocessing.window,
    "dimensions": lambda bundle: bundle.dimensions,
}


def find_teachers(recipe: Recipe, beside: Path | None = None) -> dict[str, Bundle]:
    """Every teacher that a recipe names, by what it calls it; raises as `find_teacher`."""
    pseudo = pseudo_labels_of(recipe)
    names = [*recipe.plan.teachers, *([pseudo.teacher] if pseudo else [])]
    return {name: find_teacher(name, recipe.bundle, beside) for name in names}


def load_teacher(wanted: str, teacher: Bundle, recipe: Recipe) -> nn.Module:
    """The teacher's network, ready to be asked about the recipe's samples.

    Raises
    ------
    BundleError
        If its weights are missing or altered.
    TrainingError
        If it only takes windows of another size than the samples have.
    """
    network = teacher.load_network()
    size = recipe.part("samples").get("size") or teacher.preprocessing.grid.shape
    window = list(teacher.sliding_window.size)
    if size is not None and _bound_to_window(network) and list(size) != window:
        raise TrainingError(
            f"teacher {wanted!r}: expected samples of its window {window}, found {list(size)}"
        )
    return network


def _bound_to_window(network: nn.Module) -> bool:
    embedded = any("position_embedding" in name for name, _ in network.named_parameters())
    return embedded or bool(getattr(network, "fixed_window", False))


def cases_learnt(bundle: Bundle) -> list[str]:
    """Cases that went into a bundle's weights, directly or through its own teachers."""
    notes = bundle.metadata.get("trained_on", {})
    return sorted({*notes.get("cases", ()), *notes.get("teacher_cases", ())})


def refuse_known(teachers: Mapping[str, Bundle], recipe: Recipe, held_out: Collection[str]) -> None:
    """Make sure that no teacher learnt from a case or patient this run holds out.

    Through such a teacher the student would know it too, and its figures would be called those of
    an unseen case.

    Raises
    ------
    TrainingError
        Otherwise, naming the cases.
    """
    for wanted, teacher in teachers.items():
        known = [c for c in cases_learnt(teacher) if not _names(c, recipe).isdisjoint(held_out)]
        if known:
            raise TrainingError(
                f"teacher {wanted!r} learnt from cases that this run holds out: {', '.join(known)};"
                " name a teacher that was trained without them"
            )


def _names(case: str, recipe: Recipe) -> set[str]:
    """A case's name and the patient that the recipe takes it to show."""
    names = {case}
    for source in (recipe.part("data"), *recipe.content.get("sources", ())):
        pattern = source.get("patient_pattern")
        if pattern is not None:
            names.add(patient_in(case, pattern) or case)
    return names
