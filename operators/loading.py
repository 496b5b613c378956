"""Find DICOM objects by their headers; pixels stay on disk.

What counts as DICOM says `operators.dicom_file`; anything else is listed with the reason and left
out.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from operators.archives import is_archive, members_of
from operators.dicom_file import is_dicomdir, read_header, reasons
from operators.dicomdir import absent_files
from operators.errors import NothingUsableError
from operators.files import PlainFile, StoredFile
from operators.folders import files_below, unopenable
from operators.same_instances import keep_one
from operators.series import Instance, Series, Study


@dataclass(frozen=True)
class SkippedFile:
    """A file that was left out, and why; `reason` reads `kind: detail` or just `kind`."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Scan:
    """What was found: studies by StudyInstanceUID, left-out files by path."""

    studies: tuple[Study, ...] = field(repr=False)
    skipped: tuple[SkippedFile, ...] = field(repr=False)


def scan(path: Path) -> Scan:
    """Read the header of every DICOM object that a path leads to.

    Of several files with one SOPInstanceUID one is kept (`operators.same_instances`).

    Parameters
    ----------
    path
        A folder, searched with all folders below it and all zip archives in them; a zip archive;
        a DICOMDIR, which stands for its folder; or one DICOM file. Symbolic links are followed,
        each directory once.

    Returns
    -------
    Scan
        The same for the same files, whatever order the file system lists them in.

    Raises
    ------
    NothingUsableError
        If no file could be used; says how many there were, and the commonest reasons.
    """
    if not os.path.exists(path):
        raise NothingUsableError(f"no usable DICOM object: {path} cannot be found")
    sieve = _Sieve()
    sieve.add(_files_of(path))
    kept = sieve.finish()
    skipped = tuple(sorted(sieve.skipped, key=lambda file: (str(file.path), file.reason)))
    if not kept:
        raise NothingUsableError(_nothing_usable(path, skipped), skipped)
    return Scan(_grouped(kept), skipped)


def _files_of(path: Path) -> Iterable[tuple[StoredFile, str | None]]:
    if os.path.isdir(path):
        return files_below(path)
    file = PlainFile(path)
    problem = unopenable(path)
    if not problem and is_dicomdir(file):
        return files_below(path.parent)
    return [(file, problem)]


class _Sieve:
    """Sorts files into instances, archives, DICOMDIRs and what is left out."""

    def __init__(self) -> None:
        self.skipped: list[SkippedFile] = []
        self._found: dict[str, list[Instance]] = {}
        self._archives: list[StoredFile] = []
        self._dicomdirs: list[StoredFile] = []
        self._opened: list[StoredFile] = []

    def add(self, files: Iterable[tuple[StoredFile, str | None]]) -> None:
        for file, problem in files:
            self._add_file(file, problem)
        # after the files beside them, which are preferred as the quicker to read of two copies
        while self._archives:
            archives, self._archives = self._archives, []
            for archive in archives:
                for member, problem in members_of(archive):
                    self._add_file(member, problem)

    def _add_file(self, file: StoredFile, problem: str | None) -> None:
        self._opened.append(file)
        try:
            if problem:
                raise NothingUsableError(problem)
            with reasons():
                stamp = file.stamp
            header, pixels = read_header(file)
        except NothingUsableError as exc:
            self._set_aside(file, str(exc), bool(problem))
            return
        instance = Instance(file=file, header=header, pixels=pixels, stamp=stamp)
        self._found.setdefault(instance.SOPInstanceUID, []).append(instance)

    def _set_aside(self, file: StoredFile, reason: str, unopened: bool) -> None:
        if unopened:
            self.skipped.append(SkippedFile(file.path, reason))
        elif is_archive(file):
            self._archives.append(file)
        elif is_dicomdir(file):
            self._dicomdirs.append(file)
        else:
            self.skipped.append(SkippedFile(file.path, reason))

    def finish(self) -> list[Instance]:
        """The instances to keep, one per SOPInstanceUID."""
        for dicomdir in self._dicomdirs:
            self._compare_with(dicomdir)
        kept = []
        for copies in self._found.values():
            instance, others = keep_one(copies) if len(copies) > 1 else (copies[0], [])
            self.skipped += [SkippedFile(path, reason) for path, reason in others]
            if instance:
                kept.append(instance)
        return kept

    def _compare_with(self, dicomdir: StoredFile) -> None:
        reason = "DICOMDIR: a list of files, not an image"
        try:
            absent = absent_files(
                dicomdir, (file.path for file in self._opened), self._found.keys()
            )
            self.skipped += [SkippedFile(path, problem) for path, problem in absent]
        except NothingUsableError:
            reason = "DICOMDIR: damaged, what it lists cannot be told"
        self.skipped.append(SkippedFile(dicomdir.path, reason))


def _grouped(instances: list[Instance]) -> tuple[Study, ...]:
    tree: dict[str, dict[str, list[Instance]]] = {}
    for instance in sorted(instances, key=lambda instance: instance.SOPInstanceUID):
        header = instance.header
        study = tree.setdefault(str(header.StudyInstanceUID), {})
        study.setdefault(str(header.SeriesInstanceUID), []).append(instance)
    return tuple(
        Study(
            StudyInstanceUID=study_uid,
            series=tuple(
                Series(
                    StudyInstanceUID=study_uid,
                    SeriesInstanceUID=series_uid,
                    instances=tuple(members),
                )
                for series_uid, members in sorted(series.items())
            ),
        )
        for study_uid, series in sorted(tree.items())
    )


def _nothing_usable(path: Path, skipped: tuple[SkippedFile, ...]) -> str:
    if not skipped:
        return f"no usable DICOM object: {path} holds no file"
    if len(skipped) == 1 and skipped[0].path == path:
        return f"no usable DICOM object: {path} is left out: {skipped[0].reason}"
    kinds = Counter(file.reason.partition(":")[0] for file in skipped)
    reasons = ", ".join(f"{kind} ({count})" for kind, count in kinds.most_common(5))
    return f"no usable DICOM object among {len(skipped)} files in {path}: {reasons}"
