"""Files of a data set on disk, in an order that no file system decides."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from models.data.records import Purpose, Record

_NIFTI = (".nii.gz", ".nii")


def is_hidden(path: Path) -> bool:
    """Whether a file is none of the data set's: `._name` of macOS, `.DS_Store` and the like."""
    return path.name.startswith(".")


def is_hidden_below(path: Path, folder: Path) -> bool:
    """Whether a file, or a folder between it and `folder`, is hidden."""
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def nifti_stem(path: Path) -> str | None:
    """The name of a NIfTI file without its ending; None for any other file."""
    for ending in _NIFTI:
        if path.name.endswith(ending):
            return path.name.removesuffix(ending)
    return None


def nifti_files(folder: Path) -> list[Path]:
    """NIfTI files right in a folder.

    Some downloads unpack `case.nii.gz` to a folder `case.nii` with the file `case.nii` in it: such
    a file counts too.
    """
    if not folder.is_dir():
        return []
    found = []
    for path in sorted(folder.iterdir()):
        if is_hidden(path) or nifti_stem(path) is None:
            continue
        if path.is_dir():
            found += [f for f in sorted(path.iterdir()) if f.is_file() and nifti_stem(f)]
        else:
            found.append(path)
    return [path for path in found if not is_hidden(path)]


def keyed(files: Iterable[Path], pattern: str) -> dict[str, Path]:
    """Files by what the one group of `pattern` matches in their stem; others are left out."""
    found = {}
    for path in files:
        match = re.fullmatch(pattern, nifti_stem(path) or "")
        if match:
            found[match.group(1)] = path
    return found


def paired(
    images: Mapping[str, Path],
    labels: Mapping[str, Path],
    image_at: Callable[[str], Path],
    purpose: Purpose = "",
) -> list[Record]:
    """Records of images and labels with the same key, each a patient of its own.

    Parameters
    ----------
    image_at
        Where the image of a key ought to be: a label without an image is a record too, so that
        a check can tell.
    """
    return [
        Record(
            name=key,
            patient=key,
            kind="nifti",
            image=images.get(key) or image_at(key),
            label=labels.get(key),
            purpose=purpose,
        )
        for key in sorted({*images, *labels})
    ]


def folders_below(folder: Path, depth: int) -> list[Path]:
    """A folder and those below it, sorted, `depth` levels down; hidden ones are left out."""
    found = [folder]
    if depth > 0:
        for path in sorted(folder.iterdir()):
            if path.is_dir() and not is_hidden(path):
                found += folders_below(path, depth - 1)
    return found
