"""The cases that a recipe trains on and those that it is measured on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, overload

from models.bundle import Bundle
from models.data.cache import GridCache
from models.data.inspection import shared_problems
from models.data.label_values import LABEL_VALUES
from models.data.layouts import DataSet, open_data_set
from models.data.layouts_dicom import DicomReader
from models.data.layouts_labels import contradictions
from models.data.png import read_shades
from models.data.reading import Reading, read_case, status_rules
from models.data.records import Record
from models.data.split import split_patients
from models.errors import TrainingError
from models.phantom import phantom_case
from models.training.cases import Case
from models.training.data_access import DataAccess, Named
from models.training.recipe import Recipe, configuration_errors
from models.training.sources import check_sources, read_sources


class CasesOnTheirGrids(Sequence[Case]):
    """Cases as they are in their files, each read whenever it is asked for."""

    def __init__(self, records: Sequence[Record], reading: Reading) -> None:
        self._records = records
        self._reading = reading

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all cases, without reading one."""
        return tuple(record.name for record in self._records)

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, index: int) -> Case: ...

    @overload
    def __getitem__(self, index: slice) -> CasesOnTheirGrids: ...

    def __getitem__(self, index: int | slice) -> Case | CasesOnTheirGrids:
        if isinstance(index, slice):
            return CasesOnTheirGrids(self._records[index], self._reading)
        return read_case(self._records[index], self._reading)


@dataclass(frozen=True, kw_only=True)
class RecipeData:
    """Cases by what they are for; lazy ones are read when they are asked for.

    Parameters
    ----------
    excluded
        Names and patients of what is kept out.
    """

    training: Sequence[Case]
    validation: Sequence[Case] = ()
    synthetic: Sequence[Case] = ()
    excluded: frozenset[str] = frozenset()


def read_data(recipe: Recipe, access: DataAccess, *, on_own_grid: bool = False) -> RecipeData:
    """Read or find the cases of a recipe.

    Parameters
    ----------
    on_own_grid
        Leave the cases on their own grids, as a measurement needs them, rather than the network's.

    Raises
    ------
    TrainingError
        If the recipe or the data cannot be used.
    """
    if "sources" in recipe.content:
        return _from_sources(recipe, access)
    if "data" not in recipe.content:
        raise TrainingError("expected data or sources in the training configuration, found none")
    return _from_data_set(recipe, access, on_own_grid)


def reading_of(recipe: Recipe, dicom: DicomReader | None = None) -> Reading:
    """How the recipe's data set becomes cases of its bundle; raises TrainingError."""
    data, bundle = recipe.part("data"), recipe.bundle
    labels, window, shades = label_values(recipe), bundle.preprocessing.window, data.get("shades")
    if not isinstance(shades, (Mapping, type(None))):
        raise TrainingError(f"data.shades: expected an object, found {shades!r}")
    classes = _classes(labels, bundle)
    unknown = frozenset(_values(data.get("unknown_labels", ()), "data.unknown_labels"))
    for value in sorted(unknown & set(classes)):
        raise TrainingError(f"expected one meaning for label {value}, found two")
    return Reading(
        classes=classes,
        unlabelled=frozenset(
            number for organ, number in bundle.class_of.items() if organ not in labels
        ),
        known=frozenset(_values(data.get("other_labels", ()), "data.other_labels")),
        unknown=unknown,
        window_hu=(window.low_hu, window.high_hu),
        shades=None if shades is None else read_shades(shades),
        status=status_rules(
            data.get("status"),
            data.get("unlabelled_when"),
            {organ: number for organ, number in bundle.class_of.items() if organ in labels},
            bundle.class_of,
        ),
        dicom=dicom,
        organs=bundle.class_of,
    )


def label_values(recipe: Recipe) -> dict[str, tuple[int, ...]]:
    """The value, or values, of each organ in the labels of the recipe's data set.

    An organ whose value is `null` is left out, so that one can be taken away with `--set`.

    Raises
    ------
    TrainingError
        If there are none, a value is not 1 to 254, or an organ is not one of the network's.
    """
    labels = recipe.part("data").get("labels")
    if not isinstance(labels, Mapping) or not labels:
        raise TrainingError(f"data.labels: expected the value of each organ, found {labels!r}")
    strangers = sorted(set(labels) - set(recipe.bundle.class_of))
    if strangers:
        raise TrainingError(f"expected organs of the network, found {', '.join(strangers)}")
    return {
        organ: _values(
            value if isinstance(value, (list, tuple)) else [value], f"data.labels.{organ}"
        )
        for organ, value in labels.items()
        if value is not None
    }


def _values(found: object, where: str) -> tuple[int, ...]:
    if not isinstance(found, (list, tuple)) or not all(
        type(value) is int and 1 <= value <= 254 for value in found
    ):
        raise TrainingError(f"{where}: expected label values of 1 to 254, found {found!r}")
    return tuple(found)


def _classes(labels: Mapping[str, Sequence[int]], bundle: Bundle) -> dict[int, int]:
    """Network class of each label value; an organ may have several."""
    classes: dict[int, int] = {}
    for organ, values in labels.items():
        for value in values:
            if classes.setdefault(value, bundle.class_of[organ]) != bundle.class_of[organ]:
                raise TrainingError(f"expected one organ for label {value}, found two")
    return classes


def _from_data_set(recipe: Recipe, access: DataAccess, on_own_grid: bool) -> RecipeData:
    share = recipe.part("data").get("validation_share", 0.0)
    if not isinstance(share, (int, float)):
        raise TrainingError(f"data.validation_share: expected a number, found {share!r}")
    reading, found = reading_of(recipe, access.dicom), _open(recipe, access)
    _tell_unlabelled(found.records, access)
    # split before anything is left out: who validates does not depend on who takes part
    split = split_patients(found.records, share, recipe.seed)
    training = [record for record in split.training if access.admits(record)]
    validation = [record for record in split.validation if access.admits(record)]
    excluded = _excluded(found.records, access)
    if on_own_grid:
        return RecipeData(
            training=CasesOnTheirGrids(training, reading),
            validation=CasesOnTheirGrids(validation, reading),
            excluded=excluded,
        )
    cache = GridCache(access.cache, recipe.bundle.preprocessing.grid, reading)
    return RecipeData(
        training=cache.cases(training), validation=cache.cases(validation), excluded=excluded
    )


def _tell_unlabelled(records: Iterable[Record], access: DataAccess) -> None:
    """Raise TrainingError where the label of a volume is missing, or all are; tell of slices."""
    there = [record for record in records if record.wants_label and access.admits(record)]
    bare = [record for record in there if record.label is None]
    if not bare:
        return
    some = ", ".join(record.name for record in bare[:5]) + (", ..." if len(bare) > 5 else "")
    if len(bare) == len(there) or any(record.kind == "nifti" for record in bare):
        raise TrainingError(
            f"expected a label of every image, found none of {len(bare)} of {len(there)}: {some}; "
            "--exclude NAME leaves one out"
        )
    if access.on_warning is not None:
        access.on_warning(
            f"{len(bare)} of {len(there)} images have no label and are left out: {some}"
        )


def _excluded(there: Iterable[Named], access: DataAccess) -> frozenset[str]:
    """Names of what is kept out, and of the patients of whom nothing is left."""
    there = list(there)
    out = {n for one in there if access.excludes(one) for n in (one.name, one.patient)}
    return frozenset(out - {one.patient for one in there if access.admits(one)})


def people_of(recipe: Recipe, access: DataAccess) -> list[Named]:
    """Name and patient of everything labelled, whatever it is for."""
    if "sources" in recipe.content:
        return list(_from_sources(recipe, access).training)
    records = _open(recipe, access).records
    return [r for r in records if r.label is not None and r.wants_label and access.admits(r)]


def _open(recipe: Recipe, access: DataAccess) -> DataSet:
    data = recipe.part("data")
    pattern = data.get("patient_pattern")
    if pattern is not None and not _is_pattern(pattern):
        raise TrainingError(
            f"data.patient_pattern: expected a regular expression, found {pattern!r}"
        )
    found = open_data_set(
        access.root,
        data.get("layout"),
        patient_pattern=pattern,
        dicom=access.dicom,
    )
    access.check_names(found.records)
    _check_label_names(recipe, found)
    if access.on_warning is not None:
        for problem in shared_problems(found.records):
            if problem.severity == "warning":
                access.on_warning(str(problem))
    return found


def _check_label_names(recipe: Recipe, found: DataSet) -> None:
    """Raise TrainingError where the data set's own names are not those of the recipe."""
    if found.layout in LABEL_VALUES:  # the layout's, not this data set's
        return
    wrong = contradictions(found.label_values, label_values(recipe))
    if wrong:
        raise TrainingError(
            f"{found.folder}: expected the organs of the recipe of {recipe.bundle.name}, found by "
            f"the data set's own names that {'; '.join(wrong)}: choose a --variant of the model "
            "for this data set, or give the value of each organ with --set data.labels"
        )


def _is_pattern(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(re.compile(value))
    except re.error:
        return False


def _from_sources(recipe: Recipe, access: DataAccess) -> RecipeData:
    if access.read_folder is None:
        raise TrainingError("expected a way to read folders of DICOM, found none; use `viscera`")
    with configuration_errors():
        sources: Sequence[Mapping[str, Any]] = recipe.content["sources"]
        check_sources(sources)
    cases = read_sources(sources, access.root, recipe.bundle.class_of, access.read_folder)
    access.check_names(cases)
    kept = [case for case in cases if access.admits(case)]
    return RecipeData(
        training=kept, synthetic=make_phantoms(recipe), excluded=_excluded(cases, access)
    )


#: Folds ask for the same ones again, at some ten seconds and 20 MiB each.
_phantom = lru_cache(maxsize=32)(phantom_case)


def make_phantoms(recipe: Recipe) -> list[Case]:
    """Generate the synthetic cases of a recipe, each a person of its own."""
    wanted, bundle = recipe.part("phantoms"), recipe.bundle
    if not wanted:
        return []
    with configuration_errors():
        labels = {organ: int(value) for organ, value in wanted["labels"].items()}
        seeds = range(wanted["first_seed"], wanted["first_seed"] + wanted["count"])
    unlabelled = [n for organ, n in bundle.class_of.items() if organ not in labels]
    classes = {v: bundle.class_of[organ] for organ, v in labels.items() if organ in bundle.class_of}
    cases = []
    for seed in seeds:
        phantom = _phantom(seed)
        cases.append(
            Case.from_volume(
                phantom.volume,
                phantom.label_map,
                name=f"phantom-{seed}",
                patient=f"phantom-{seed}",
                classes=classes,
                unlabelled=unlabelled,
            )
        )
    return cases
