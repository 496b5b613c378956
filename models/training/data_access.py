"""Where a recipe's data are, how they are read, and who takes part."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from models.data.layouts_dicom import DicomReader
from models.errors import TrainingError
from models.training.sources import FolderReader


@dataclass(frozen=True, kw_only=True)
class DataAccess:
    """Where the data are and how they are read.

    Parameters
    ----------
    root
        Folder of the data set, or the one that `sources` start from.
    cache
        Folder for cases on the network's grid.
    exclude
        Names and patients that take no part.
    only
        Names and patients that alone take part; empty for all.
    dicom, read_folder
        Read labelled DICOM, and a folder of slices; None where only arrays are known.
    on_warning
        Told what may be wrong with the data set as a whole.
    """

    root: Path
    cache: Path
    exclude: Collection[str] = ()
    only: Collection[str] = ()
    dicom: DicomReader | None = None
    read_folder: FolderReader | None = None
    on_warning: Callable[[str], None] | None = None

    def admits(self, one: Named) -> bool:
        """Whether a case or record takes part."""
        names = {one.name, one.patient}
        return not self.excludes(one) and (not self.only or bool(names & set(self.only)))

    def excludes(self, one: Named) -> bool:
        """Whether a case or record is kept out by its name or its patient's."""
        return not {one.name, one.patient}.isdisjoint(self.exclude)

    def check_names(self, there: Iterable[Named]) -> None:
        """Raise TrainingError unless every name in `exclude` and `only` is in the data.

        Whom a misspelt name was to keep out would be learnt from.
        """
        known = {name for one in there for name in (one.name, one.patient)}
        strangers = sorted({*self.exclude, *self.only} - known)
        if strangers:
            raise TrainingError(
                f"expected names of cases or patients of the data, found {', '.join(strangers)}"
            )


class Named(Protocol):
    """A case or a record."""

    @property
    def name(self) -> str: ...

    @property
    def patient(self) -> str: ...
