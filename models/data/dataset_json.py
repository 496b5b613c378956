"""`dataset.json` as the Medical Segmentation Decathlon writes it, and MONAI's tutorials after it.

`{"labels": {"0": "background", "1": "liver"}, "training": [{"image": "./imagesTr/liver_0.nii.gz",
"label": "./labelsTr/liver_0.nii.gz"}], "validation": [...], "test": ["./imagesTs/..."]}`, paths
relative to the file. nnU-Net's files of that name list no cases.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.data.listing import is_hidden, nifti_stem
from models.data.records import Purpose, Record
from models.errors import TrainingError

_LISTS: tuple[Purpose, ...] = ("training", "validation", "test")


def lists_cases(content: Mapping[str, Any]) -> bool:
    """Whether the file names its training cases."""
    training = content.get("training")
    return isinstance(training, list) and all(isinstance(entry, dict) for entry in training)


def listed_records(path: Path, content: Mapping[str, Any]) -> list[Record]:
    """The records that the file lists, whether their files are there or not.

    Raises
    ------
    TrainingError
        If an entry names no image.
    """
    records = []
    for purpose in _LISTS:
        for number, entry in enumerate(content.get(purpose) or []):
            files = {"image": entry} if isinstance(entry, str) else entry
            if not isinstance(files, dict) or not isinstance(files.get("image"), str):
                raise TrainingError(
                    f"{path}: expected the path of an image in {purpose}[{number}], found {entry!r}"
                )
            image = _image(path.parent / files["image"])
            if is_hidden(image):
                continue
            label = files.get("label")
            name = (nifti_stem(image) or image.name).removesuffix("_0000")
            records.append(
                Record(
                    name=name,
                    patient=name,
                    kind="nifti",
                    image=image,
                    label=path.parent / label if isinstance(label, str) else None,
                    purpose=purpose,
                )
            )
    return sorted(records, key=lambda record: (record.name, record.purpose))


def _image(path: Path) -> Path:
    """The file that an entry means: nnU-Net's first version leaves out the channel's number."""
    stem = nifti_stem(path)
    if stem is None or path.exists():
        return path
    numbered = path.with_name(f"{stem}_0000{path.name.removeprefix(stem)}")
    return numbered if numbered.exists() else path


def label_names(content: Mapping[str, Any]) -> dict[str, int]:
    """Values by name: MSD writes `{"1": "liver"}`, nnU-Net version 2 `{"liver": 1}`."""
    found: dict[str, int] = {}
    labels = content.get("labels")
    for key, value in (labels if isinstance(labels, dict) else {}).items():
        if isinstance(value, str) and key.isdigit():
            found[value] = int(key)
        elif isinstance(value, int):
            found[key] = value
    return {name: number for name, number in found.items() if number > 0}
