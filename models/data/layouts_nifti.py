"""Data sets of NIfTI volumes: BTCV / Synapse, FLARE22, the Decathlon, and generic pairs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from models.data.dataset_json import listed_records, lists_cases
from models.data.listing import folders_below, is_hidden, keyed, nifti_files, paired
from models.data.records import Purpose, Record
from models.errors import TrainingError
from models.json_files import read_object

# -- BTCV: RawData/Training/{img,label}, RawData/Testing/img; averaged-training-{images,labels}
# (syn3193805), or imagesTr and labelsTr with dataset_0.json (MONAI's tutorials)

_BTCV_IMAGE = r"(img\d{4}|DET\d+)(?:_avg)?"
_BTCV_LABEL = r"(label\d{4}|DET\d+)(?:_avg_seg)?"
_RAW_PLACES = ("", "RawData", "Abdomen/RawData", "Abdomen")


def find_btcv(folder: Path) -> list[Record]:
    """BTCV in any of its three forms; test images have no labels."""
    for place in _RAW_PLACES:
        base = folder / place
        if (base / "Training" / "img").is_dir():
            training = _btcv_pairs(base / "Training" / "img", base / "Training" / "label")
            tests = _btcv_pairs(base / "Testing" / "img", base / "Testing" / "label", "test")
            return training + tests
    if (folder / "img").is_dir() and (folder / "label").is_dir():
        return _btcv_pairs(folder / "img", folder / "label")
    averaged = folder / "averaged-training-images"
    if averaged.is_dir():
        tests = _btcv_pairs(folder / "averaged-testing-images", folder / "none", "test")
        return _btcv_pairs(averaged, folder / "averaged-training-labels") + tests
    if not keyed(nifti_files(folder / "imagesTr"), _BTCV_IMAGE):
        return []
    lists = sorted(path for path in folder.glob("dataset*.json") if not is_hidden(path))
    for path in lists:
        content = read_object(path, TrainingError)
        if lists_cases(content):
            return listed_records(path, content)
    tests = _btcv_pairs(folder / "imagesTs", folder / "labelsTs", "test")
    return _btcv_pairs(folder / "imagesTr", folder / "labelsTr") + tests


def _btcv_pairs(images: Path, labels: Path, purpose: Purpose = "") -> list[Record]:
    found = keyed(nifti_files(labels), _BTCV_LABEL)
    numbered = {key.replace("label", "img"): path for key, path in found.items()}
    return paired(
        keyed(nifti_files(images), _BTCV_IMAGE),
        numbered,
        lambda key: images / f"{key}.nii.gz",
        purpose,
    )


# -- FLARE22: FLARE22Train or FLARE22_LabeledCase50 with images/FLARE22_Tr_0001_0000.nii.gz and
# labels/FLARE22_Tr_0001.nii.gz; FLARE22_UnlabeledCase*, Validation and Testing without labels

_FLARE_IMAGE = r"((?:FLARE22|FLARETs|Case).*)_0000"
_FLARE_LABEL = r"((?:FLARE22|FLARETs|Case).*?)(?:_0000)?"
_DEPTH = 4


def find_flare22(folder: Path) -> list[Record]:
    """FLARE22, wherever its folders lie below this one."""
    records: list[Record] = []
    for place in folders_below(folder, _DEPTH):
        if place.name == "labels" or nifti_stem_folder(place):
            continue
        images = keyed(nifti_files(place), _FLARE_IMAGE)
        labels = place.parent / "labels" if place.name == "images" else None
        labelled = labels is not None and labels.is_dir()
        found = keyed(nifti_files(labels), _FLARE_LABEL) if labels is not None else {}
        if not images and not (labelled and found):
            continue
        records += paired(
            images,
            found,
            lambda key, place=place: place / f"{key}_0000.nii.gz",  # type: ignore[misc]
            _flare_purpose(place.relative_to(folder.parent), labelled),
        )
    return sorted(records, key=lambda record: (record.name, str(record.image)))


def nifti_stem_folder(folder: Path) -> bool:
    """Whether a folder stands for one unpacked file (`case.nii/case.nii`)."""
    return folder.name.endswith((".nii", ".nii.gz"))


def _flare_purpose(place: Path, labelled: bool) -> Purpose:
    path = place.as_posix().casefold()
    if "unlabel" in path:
        return "unlabelled"
    if labelled:
        return "validation" if "validation" in path or "tuning" in path else "training"
    return "test" if "validation" in path or "test" in path else "unlabelled"


# -- Medical Segmentation Decathlon: dataset.json, imagesTr, labelsTr, imagesTs


def find_msd(folder: Path) -> list[Record]:
    """A task of the Decathlon, by its `dataset.json` or, where that lists none, by file names."""
    path = folder / "dataset.json"
    if path.is_file():
        content = read_object(path, TrainingError)
        if lists_cases(content):
            return listed_records(path, content)
    images, labels = folder / "imagesTr", folder / "labelsTr"
    tests = paired(
        keyed(nifti_files(folder / "imagesTs"), r"(.+?)(?:_0000)?"), {}, lambda key: folder, "test"
    )
    training = paired(
        keyed(nifti_files(images), r"(.+?)(?:_0000)?"),
        keyed(nifti_files(labels), r"(.+)"),
        lambda key: images / f"{key}.nii.gz",
    )
    return training + tests


# -- pairs: NAME_ct.nii.gz, NAME_label.nii.gz, NAME_status.json


def find_pairs(folder: Path) -> list[Record]:
    """Pairs right in a folder, each with its status file where there is one."""
    files = nifti_files(folder)
    records = paired(
        keyed(files, r"(.+)_ct"),
        keyed(files, r"(.+)_label"),
        lambda key: folder / f"{key}_ct.nii.gz",
    )
    stated = {path.name.removesuffix("_status.json"): path for path in folder.glob("*_status.json")}
    return [replace(record, status=stated.get(record.name)) for record in records]
