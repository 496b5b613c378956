"""Data sets of slices as PNG: an image and a mask of equal name.

`images/**/*.png` with `masks/**/*.png`, or `train/images`, `train/masks`, `val/...`, or
`images/train/...`; masks may end in `_mask`, and may then lie beside their images. The patient is
the first folder below `images` (RSNA 2023: `<patient>/<series>/<n>.png`); where slices lie flat
it is the name's part before the first `_` or `-`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from models.data.listing import is_hidden_below
from models.data.records import Purpose, Record

_IMAGE_FOLDERS = ("images", "image", "imgs")
_MASK_FOLDERS = ("masks", "mask", "labels")
_PURPOSES: dict[str, Purpose] = {
    "train": "training",
    "training": "training",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
_MASK_ENDING = "_mask"


def find_png(folder: Path) -> list[Record]:
    """Slices and their masks in any of the forms above."""
    records: list[Record] = []
    for base in (folder, *(folder / name for name in _PURPOSES)):
        for images, masks in _places(base, is_root=base == folder):
            records += _slices(folder, images, masks)
    return sorted(records, key=lambda record: record.name)


def _places(base: Path, is_root: bool) -> Iterator[tuple[Path, Path]]:
    """Folders of images with those of their masks; the same folder where they lie together."""
    if not base.is_dir():
        return
    images = next((base / name for name in _IMAGE_FOLDERS if (base / name).is_dir()), None)
    masks = next((base / name for name in _MASK_FOLDERS if (base / name).is_dir()), None)
    if images is not None:
        yield images, masks or images
    elif not is_root or any(base.glob(f"*{_MASK_ENDING}.png")):
        yield base, base


def _slices(root: Path, images: Path, masks: Path) -> Iterator[Record]:
    mask_of = {
        _key(path, masks).removesuffix(_MASK_ENDING): path
        for path in _files(masks)
        if masks != images or path.stem.endswith(_MASK_ENDING)
    }
    image_of = {
        _key(path, images): path
        for path in _files(images)
        if masks != images or not path.stem.endswith(_MASK_ENDING)
    }
    prefix = images.parent if images.name in _IMAGE_FOLDERS else images
    above = prefix.relative_to(root).as_posix()
    for key in sorted({*image_of, *mask_of}):
        name = key if above == "." else f"{above}/{key}"
        yield Record(
            name=name,
            patient=_patient(name),
            kind="png",
            image=image_of.get(key) or images / f"{key}.png",
            label=mask_of.get(key),
            purpose=_purpose(name),
        )


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.suffix.casefold() != ".png" or is_hidden_below(path, folder):
            continue
        if path.is_file():
            yield path


def _key(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def _purpose(name: str) -> Purpose:
    """By the first folder: a slice itself may be called `test`."""
    first, *below = PurePosixPath(name).parts
    return _PURPOSES.get(first, "") if below else ""


def _patient(name: str) -> str:
    *folders, last = PurePosixPath(name).parts
    people = [folder for folder in folders if folder not in _PURPOSES]
    return people[0] if people else re.split(r"[_-]", last, maxsplit=1)[0]
