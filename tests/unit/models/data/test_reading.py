"""Records become cases, or an error that names file, expected and found."""

from __future__ import annotations

import gzip
import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from models.data.cache import GridCache
from models.data.png import read_mask, read_shades
from models.data.reading import Reading, StatusRule, label_mapping, read_case
from models.data.records import Record
from models.errors import TrainingError
from models.geometry import LabelMap, Volume, VolumeGeometry
from models.training.cases import UNKNOWN
from tests.datasets.tiny import AFFINE_RAS, SHAPE, body, organs, write, write_case, write_png

READING = Reading(classes={6: 1, 1: 2})


def pair(folder: Path) -> Record:
    image, label = folder / "img0001.nii.gz", folder / "label0001.nii.gz"
    write_case(image, label)
    return Record(name="img0001", patient="p", kind="nifti", image=image, label=label)


def test_a_pair_becomes_a_case_of_the_networks_classes(tmp_path: Path) -> None:
    case = read_case(pair(tmp_path), READING)
    assert (case.name, case.patient, case.unlabelled) == ("img0001", "p", frozenset())
    assert case.spacing_mm == pytest.approx((4.0, 2.0, 2.5))
    np.testing.assert_array_equal(case.hu, body())
    expected = np.select([organs() == 6, organs() == 1], [1, 2])
    np.testing.assert_array_equal(case.labels, expected)


def test_any_orientation_becomes_canonical(tmp_path: Path) -> None:
    record = pair(tmp_path)
    expected = read_case(record, READING)
    for path in (record.image, record.label):
        image = nibabel.load(path)
        now = nibabel.orientations.io_orientation(image.affine)
        wanted = nibabel.orientations.axcodes2ornt(("S", "R", "A"))
        turn = nibabel.orientations.ornt_transform(now, wanted)
        data = image.as_reoriented(turn)
        nibabel.save(nibabel.Nifti1Image(np.array(data.dataobj), data.affine), path)
    assert nibabel.load(record.image).shape == (SHAPE[0], SHAPE[2], SHAPE[1])
    found = read_case(record, READING)
    assert found.spacing_mm == pytest.approx(expected.spacing_mm)
    np.testing.assert_array_equal(found.hu, expected.hu)
    np.testing.assert_array_equal(found.labels, expected.labels)


def test_values_beside_the_wanted_become_background_only_where_they_are_known(
    tmp_path: Path,
) -> None:
    record = pair(tmp_path)
    with pytest.raises(TrainingError, match=r"expected label values of 0 and \[6\], found 1 \(12"):
        read_case(record, Reading(classes={6: 1}))
    case = read_case(record, Reading(classes={6: 1}, known=frozenset({1})))
    assert case.labels.max() == 1
    assert int((case.labels == 1).sum()) == 36


def test_unknown_voxels_stay_unknown(tmp_path: Path) -> None:
    record = pair(tmp_path)
    labels = organs()
    labels[0] = UNKNOWN
    assert record.label is not None
    write(record.label, labels)
    assert (read_case(record, READING).labels[0] == UNKNOWN).all()


def test_one_channel_as_fourth_dimension_and_scaled_values(tmp_path: Path) -> None:
    record = pair(tmp_path)
    stored = (body() + 1024).astype(np.int16).transpose(2, 1, 0)[..., None]
    path = tmp_path / "scaled.nii"
    nibabel.save(nibabel.Nifti1Image(stored, AFFINE_RAS), path)
    content = bytearray(path.read_bytes())
    content[112:120] = struct.pack("<2f", 1, -1024)  # scl_slope and scl_inter (nifti1.h)
    path.write_bytes(content)
    assert nibabel.load(path).shape == (*SHAPE[::-1], 1)
    found = read_case(replace(record, image=path), READING).hu
    np.testing.assert_array_equal(found, body())


def broken(kind: str, record: Record) -> Record:
    """The record with one thing wrong."""
    label = record.label
    assert label is not None
    shifted = AFFINE_RAS.copy()
    shifted[0, 3] += 3
    mirrored = AFFINE_RAS @ np.array(
        [[-1, 0, 0, SHAPE[2] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    )
    sheared = AFFINE_RAS.copy()
    sheared[0, 1] = 1.0
    hu = body().astype(np.float32)
    wrong: dict[str, Any] = {
        "shape": lambda: write(label, organs()[:-1]),
        "shift": lambda: write(label, organs(), shifted),
        "mirror": lambda: write(label, organs(), mirrored),
        "shear": lambda: write(record.image, body(), sheared),
        "fraction": lambda: write(label, organs() * np.float32(0.5)),
        "value": lambda: write(label, np.where(organs() == 1, 14, organs()).astype(np.uint8)),
        "empty": lambda: write(label, np.zeros(SHAPE, np.uint8)),
        "nan": lambda: write(record.image, np.where(hu > 0, np.nan, hu)),
        "scaled": lambda: write(record.image, (hu + 1000) / 1200),
        "grey": lambda: write(record.image, ((hu + 1000) / 1200 * 255).astype(np.uint8)),
        "offset": lambda: write(record.image, (hu + 1024).astype(np.int16)),
        "constant": lambda: write(record.image, np.zeros(SHAPE, np.int16)),
        "air": lambda: write(record.image, (hu / 10 - 900).astype(np.int16)),
        "huge": lambda: write(record.image, hu * 1000),
        "flat": lambda: nibabel.save(nibabel.Nifti1Image(body()[0].T, AFFINE_RAS), record.image),
        "channels": lambda: nibabel.save(
            nibabel.Nifti1Image(np.zeros((*SHAPE, 2), np.int16), AFFINE_RAS), record.image
        ),
        "text": lambda: record.image.write_bytes(gzip.compress(b"no image")),
        "cut": lambda: record.image.write_bytes(record.image.read_bytes()[:-40]),
        "no image": lambda: record.image.unlink(),
        "no file": lambda: label.unlink(),
    }
    if kind == "no label":
        return replace(record, label=None)
    wrong[kind]()
    return record


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("shape", r"label0001.*expected the image's shape \(5, 8, 10\), found \(4, 8, 10\)"),
        ("shift", r"label0001.*voxels within 0\.1 mm\), found voxels up to 3\.00 mm apart"),
        ("mirror", r"found voxels up to 22\.50 mm apart; axis i runs the other way"),
        ("shear", r"img0001.*expected orthogonal axes"),
        ("fraction", r"label0001.*expected whole label values of 0 to 255"),
        ("value", r"label0001.*expected label values of 0 and \[1, 6\], found 14 \(12 voxels\)"),
        ("empty", r"label0001.*expected a labelled organ, found background alone"),
        ("nan", r"img0001.*expected finite values, found 120 voxels of NaN"),
        ("scaled", r"expected Hounsfield units.*found 0 to 0\.899.*values that were normalised"),
        ("grey", r"expected Hounsfield units.*found 0 to 2\d\d: 8-bit grey values"),
        ("offset", r"found 24 to 1\d{3}: stored values, to which the RescaleIntercept"),
        ("constant", r"expected an image, found the value 0 everywhere"),
        ("air", r"expected Hounsfield units of a body, found -1000 to -8\d\d: air alone"),
        ("huge", r"expected Hounsfield units within 16 bits, found -1e\+06"),
        ("flat", r"expected a NIfTI volume of three dimensions, found the shape \(10, 8\)"),
        ("channels", r"expected a NIfTI volume of three dimensions, found the shape"),
        ("text", r"img0001.*expected a NIfTI file, found"),
        ("cut", r"img0001.*expected a whole file, found"),
        ("no image", r"img0001.*expected an image, found none"),
        ("no file", r"label0001.*expected a label, found none"),
        ("no label", r"img0001.*expected a label of this image, found none"),
    ],
)
def test_a_fault_is_told_with_file_expected_and_found(
    tmp_path: Path, kind: str, message: str
) -> None:
    with pytest.raises(TrainingError, match=message):
        read_case(broken(kind, pair(tmp_path)), READING)


def test_organs_whose_status_is_bad_are_unlabelled(tmp_path: Path) -> None:
    status = tmp_path / "status.json"
    status.write_text(json.dumps({"spleen": "bad", "liver": "partial"}))
    rules = {
        n: StatusRule(key=k, unlabelled_when=("bad",)) for n, k in ((1, "liver"), (2, "spleen"))
    }
    case = read_case(replace(pair(tmp_path), status=status), replace(READING, status=rules))
    assert case.unlabelled == {2}
    assert set(np.unique(case.labels)) == {0, 1}
    status.write_text(json.dumps({"Spleen": "bad", "liver": "good"}))
    told = r"status\.json: expected a state of 'spleen', found those of Spleen, liver"
    with pytest.raises(TrainingError, match=told):
        read_case(replace(pair(tmp_path), status=status), replace(READING, status=rules))
    status.write_text("[]")
    with pytest.raises(TrainingError, match=r"status\.json: expected a JSON object"):
        read_case(replace(pair(tmp_path), status=status), replace(READING, status=rules))


def slice_record(folder: Path, grey: np.ndarray, mask: np.ndarray) -> Record:
    image = write_png(folder / "images" / "1.png", grey)
    label = write_png(folder / "masks" / "1.png", mask)
    return Record(name="1", patient="1", kind="png", image=image, label=label)


def test_greys_of_a_slice_span_the_window(tmp_path: Path) -> None:
    grey = np.array([[0, 51], [204, 255]], np.uint8)
    record = slice_record(tmp_path, grey, np.array([[0, 1], [5, 0]], np.uint8))
    reading = Reading(classes={1: 1, 5: 2}, window_hu=(-150.0, 250.0))
    case = read_case(record, reading)
    np.testing.assert_array_equal(case.hu, [[[-150, -70], [170, 250]]])
    np.testing.assert_array_equal(case.labels, [[[0, 1], [2, 0]]])
    deep = slice_record(tmp_path, grey.astype(np.uint16) * 257, np.zeros((2, 2), np.uint8))
    np.testing.assert_array_equal(read_case(deep, reading).hu, case.hu)
    assert not case.spacing_stated
    cache = GridCache(tmp_path / "cache", None, reading)
    assert not any(cache.case(record).spacing_stated for _ in "ab")  # made, then kept
    with pytest.raises(TrainingError, match="expected the HU of black and white"):
        read_case(record, Reading(classes={1: 1}))


def test_masks_of_colours_go_through_a_table(tmp_path: Path) -> None:
    shades = read_shades({"#000000": 0, "#ff0000": 1, "#00FF00": 2})
    mask = np.zeros((2, 2, 3), np.uint8)
    mask[0, 1] = (255, 0, 0)
    mask[1, 0] = (0, 255, 0)
    path = write_png(tmp_path / "mask.png", mask)
    np.testing.assert_array_equal(read_mask(path, shades), [[0, 1], [2, 0]])
    with pytest.raises(TrainingError, match="expected a mask of greys, or a table of its colours"):
        read_mask(path, None)
    del shades[0, 255, 0]
    with pytest.raises(TrainingError, match="expected colours of #000000, #ff0000, found #00ff00"):
        read_mask(path, shades)


def test_masks_of_greys_go_through_a_table(tmp_path: Path) -> None:
    path = write_png(tmp_path / "mask.png", np.array([[0, 128], [255, 0]], np.uint8))
    table = read_shades({"0": 0, "128": 1, "255": 2})
    np.testing.assert_array_equal(read_mask(path, table), [[0, 1], [2, 0]])
    with pytest.raises(TrainingError, match="found 255"):
        read_mask(path, read_shades({"0": 0, "128": 1}))
    with pytest.raises(TrainingError, match="expected a grey or #rrggbb"):
        read_shades({"red": 1})


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    record = slice_record(tmp_path, np.zeros((4, 4), np.uint8), np.zeros((4, 3), np.uint8))
    with pytest.raises(TrainingError, match=r"expected the image's shape \(4, 4\), found \(4, 3\)"):
        read_case(record, Reading(classes={1: 1}, window_hu=(0.0, 1.0)))


class Reader:
    """Stands for the reader of DICOM: a volume whose slices run from head to feet."""

    settings = "test"

    def __init__(self, spoken_of: frozenset[int] = frozenset({6})) -> None:
        self.spoken_of = spoken_of
        affine = np.diag((-1.0, -1.0, 1.0, 1.0)) @ AFFINE_RAS
        affine[:3, 3] += affine[:3, 2] * (SHAPE[0] - 1)
        affine[:3, 2] *= -1
        self.geometry = VolumeGeometry(shape=SHAPE, affine_lps=affine)

    def find(self, folder: Path) -> list[Record]:
        return []

    def read_volume(self, record: Record) -> Volume:
        return Volume(hu=body()[::-1].copy(), geometry=self.geometry)

    def read_labels(self, record: Record, volume: Volume) -> tuple[LabelMap, frozenset[int]]:
        labels = np.where(organs() == 6, organs(), 0)[::-1].astype(np.uint8)
        return LabelMap(labels=labels, geometry=volume.geometry), self.spoken_of


def test_nifti_labels_of_a_dicom_series_are_turned_to_it(tmp_path: Path) -> None:
    label = write(tmp_path / "1.nii", organs())
    record = Record(name="1", patient="1", kind="dicom", image=tmp_path, label=label)
    case = read_case(record, replace(READING, dicom=Reader()))
    expected = read_case(pair(tmp_path / "pair"), READING)
    np.testing.assert_array_equal(case.labels, expected.labels)
    np.testing.assert_array_equal(case.hu, expected.hu)
    assert case.unlabelled == frozenset()
    with pytest.raises(TrainingError, match="expected a reader of DICOM"):
        read_case(record, READING)


def test_organs_that_an_object_does_not_speak_of_are_unlabelled(tmp_path: Path) -> None:
    label = tmp_path / "seg.dcm"
    label.touch()
    record = Record(name="1", patient="1", kind="dicom", image=tmp_path, label=label)
    case = read_case(record, replace(READING, dicom=Reader()))
    assert case.unlabelled == {2}
    assert int((case.labels == 1).sum()) == 36


def test_a_mapping_joins_what_files_and_network_know() -> None:
    values = {"liver": 1, "spleen": 3, "aorta": 5}
    classes = {"spleen": 2, "liver": 1, "bowel": 3}
    assert label_mapping(values, classes) == {1: 1, 3: 2}
    assert label_mapping(values, classes, ["spleen"]) == {3: 2}
