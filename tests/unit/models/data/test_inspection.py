"""All problems of a data set are collected."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from models.data.inspection import Look, inspect_records, shared_problems
from models.data.label_values import BTCV
from models.data.problems import mirror_fault
from models.data.records import Record
from tests.datasets.tiny import AFFINE_RAS, SHAPE, body, organs, write, write_case, write_png


def record(folder: Path, name: str, **changes: object) -> Record:
    image, label = folder / f"{name}.nii.gz", folder / f"{name}_label.nii.gz"
    write_case(image, label, seed=len(name))
    made = Record(name=name, patient=name, kind="nifti", image=image, label=label)
    return replace(made, **changes)  # type: ignore[arg-type]


def kinds(*records: Record) -> list[tuple[str, str, str]]:
    return [(p.record, p.kind, p.severity) for p in inspect_records(records, BTCV).problems]


def test_a_clean_data_set_has_no_problems_and_its_measures(tmp_path: Path) -> None:
    looks: list[Look] = []
    records = [record(tmp_path, "a"), record(tmp_path, "bb", label=None, purpose="test")]
    found = inspect_records(records, BTCV, on_look=looks.append)
    assert found.problems == []
    first, second = found.measured
    assert first.shape == SHAPE
    assert first.spacing_mm == pytest.approx((4.0, 2.0, 2.5))
    assert dict(first.voxels) == {1: 12, 6: 36}
    assert first.volume_ml[6] == pytest.approx(36 * 0.02)
    assert dict(second.voxels) == {}
    assert found.hu_percentiles()[50.0] == -90
    assert found.hu_percentiles()[0.5] == -1000
    # the slice that shows all of both organs, and the middle one where nothing is labelled
    assert [look.record.name for look in looks] == ["a", "bb"]
    np.testing.assert_array_equal(looks[0].labels, organs()[2])
    assert looks[0].spacing_mm == pytest.approx((2.0, 2.5))


def test_every_problem_of_every_record_is_told(tmp_path: Path) -> None:
    no_label = record(tmp_path, "a", label=None)
    bad_value = record(tmp_path, "b")
    write(tmp_path / "b_label.nii.gz", (organs() * 3).astype(np.uint8))
    write(tmp_path / "b.nii.gz", (body() + 1024).astype(np.int16))
    absent = record(tmp_path, "c", image=tmp_path / "absent.nii.gz")
    no_pair = record(tmp_path, "d", label=tmp_path / "absent_label.nii.gz")
    assert kinds(no_label, bad_value, absent, no_pair) == [
        ("a", "missing label", "error"),
        ("b", "no Hounsfield units", "error"),
        ("b", "unknown label value", "error"),
        ("c", "missing image", "error"),
        ("d", "missing label", "error"),
    ]


def test_labels_that_look_mirrored_are_told(tmp_path: Path) -> None:
    mirrored = record(tmp_path, "a")
    write(tmp_path / "a_label.nii.gz", organs()[:, :, ::-1])
    assert kinds(mirrored) == [("a", "mirrored", "error")]
    (problem,) = inspect_records([mirrored], BTCV).problems
    assert str(problem).startswith(
        f"{tmp_path / 'a_label.nii.gz'}: expected liver to the patient's"
    )
    # whatever way the file itself runs
    turned = AFFINE_RAS @ np.array(
        [[-1, 0, 0, SHAPE[2] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    )
    write(tmp_path / "a.nii.gz", body()[:, :, ::-1], turned)
    write(tmp_path / "a_label.nii.gz", organs()[:, :, ::-1], turned)
    assert kinds(mirrored) == []


def test_headers_that_contradict_themselves_are_warned_of(tmp_path: Path) -> None:
    two, none = record(tmp_path, "a"), record(tmp_path, "b")
    for each, codes in ((two, (1, 1)), (none, (0, 0))):
        for path, array in ((each.image, body()), (each.label, organs())):
            image = nibabel.Nifti1Image(array.transpose(2, 1, 0), AFFINE_RAS)
            moved = AFFINE_RAS.copy()
            moved[2, 3] += 5
            image.set_sform(AFFINE_RAS, codes[0])
            image.set_qform(moved, codes[1])
            image.to_filename(path)
    problems = inspect_records([two, none], BTCV).problems
    assert {(p.record, p.kind, p.severity) for p in problems} == {
        ("a", "two orientations", "warning"),
        ("b", "no orientation", "warning"),
    }
    assert "corners 5.00 mm apart" in problems[0].found


def test_patients_on_both_sides_and_names_that_occur_twice_are_told(tmp_path: Path) -> None:
    first = record(tmp_path, "a", patient="p", purpose="training")
    second = record(tmp_path, "b", patient="p", purpose="validation")
    again = record(tmp_path, "a", patient="q", purpose="training")
    assert kinds(first, second, again) == [
        ("a", "name twice", "error"),
        ("b", "patient on both sides", "error"),
    ]


def test_a_slice_may_be_empty_but_not_all_of_them(tmp_path: Path) -> None:
    records = []
    for n, value in enumerate((0, 3)):
        write_png(tmp_path / f"{n}.png", np.array([[0, 200]], np.uint8))
        write_png(tmp_path / f"{n}_mask.png", np.array([[0, value]], np.uint8))
        image, label = tmp_path / f"{n}.png", tmp_path / f"{n}_mask.png"
        records.append(Record(name=str(n), patient="p", kind="png", image=image, label=label))
    assert inspect_records(records, {}).problems == []
    (problem,) = inspect_records(records[:1], {}).problems
    assert problem.kind == "empty label"


def slices(folder: Path, masks: dict[str, int], patient: str | None = None) -> list[Record]:
    """Slices by name, each with a mask of 0 and one value; by themselves a patient each."""
    records = []
    for name, value in masks.items():
        image, label = folder / f"{name}.png", folder / f"{name}_mask.png"
        write_png(image, np.array([[0, 200]], np.uint8))
        write_png(label, np.array([[0, value]], np.uint8))
        records.append(
            Record(name=name, patient=patient or name, kind="png", image=image, label=label)
        )
    return records


def test_png_masks_that_hold_unknown_alone_are_an_error(tmp_path: Path) -> None:
    binary = slices(tmp_path, {"1": 255, "2": 255, "3": 0}, patient="p")
    (problem,) = inspect_records(binary, {}).problems
    assert (problem.kind, problem.severity) == ("empty label", "error")
    assert "255" in problem.found
    assert "unknown" in problem.found
    assert "data.shades" in problem.found
    write_png(tmp_path / "colours.png", np.array([[[0, 0, 0], [200, 0, 0]]], np.uint8))
    unreadable = [replace(each, label=tmp_path / "colours.png") for each in binary]
    assert {problem.kind for problem in inspect_records(unreadable, {}).problems} == {"unreadable"}
    # one slice with an organ shows that 255 is meant as it is understood
    assert inspect_records([*binary, *slices(tmp_path, {"4": 1}, patient="p")], {}).problems == []


def test_a_table_of_shades_gives_255_a_meaning(tmp_path: Path) -> None:
    binary = slices(tmp_path, {"1": 255, "2": 0}, patient="p")
    found = inspect_records(binary, {"liver": 1}, shades={0: 0, 255: 1})
    assert found.problems == []
    assert dict(found.measured[0].voxels) == {1: 1}


def test_slices_without_a_patient_are_warned_of(tmp_path: Path) -> None:
    flat = slices(tmp_path, {"slice000": 1, "slice001": 1, "slice002": 1})
    (problem,) = inspect_records(flat, {}).problems
    assert (problem.kind, problem.severity) == ("no patients", "warning")
    assert "3 slices" in problem.found
    assert "sub-folder" in problem.expected
    assert "--set data.patient_pattern=REGEX" in problem.expected  # of every command
    assert "--patient-pattern REGEX" in problem.expected  # of the check without a model
    assert (
        inspect_records([flat[0], replace(flat[1], patient="slice000"), flat[2]], {}).problems == []
    )
    assert inspect_records(flat[:1], {}).problems == []


@pytest.mark.parametrize(
    ("pixels", "found"),
    [
        (np.array([[0, 2500]], np.uint16), "3.8 % of white"),  # HU + 1024
        (np.array([[0, 1]], np.uint8), "0.4 % of white"),
        (np.array([[0, 9000]], np.uint16), None),
    ],
)
def test_slices_of_stored_values_are_told_from_greys(
    tmp_path: Path, pixels: np.ndarray, found: str | None
) -> None:
    records = slices(tmp_path, {"1": 1, "2": 1}, patient="p")
    write_png(records[0].image, pixels)
    problems = inspect_records(records, {"liver": 1}).problems
    if found is None:
        assert problems == []
    else:
        (problem,) = problems
        assert (problem.kind, problem.severity) == ("no windowed greys", "error")
        assert found in problem.found


def test_a_slice_without_an_organ_may_be_dark(tmp_path: Path) -> None:
    records = slices(tmp_path, {"1": 1, "2": 0}, patient="p")
    for pixels in ([[0, 0]], [[0, 28]]):  # air, and the table's edge in it
        write_png(records[1].image, np.array(pixels, np.uint8))
        assert inspect_records(records, {"liver": 1}).problems == []


def test_slices_without_a_mask_are_told(tmp_path: Path) -> None:
    first, second = slices(tmp_path, {"1": 1, "2": 1}, patient="p")
    (problem,) = inspect_records([first, replace(second, label=None)], {"liver": 1}).problems
    assert (problem.record, problem.kind, problem.severity) == ("2", "missing label", "error")


def test_stray_voxels_of_an_organ_tell_nothing_of_sides(tmp_path: Path) -> None:
    labels = np.zeros((4, 20, 40), np.uint8)
    labels[:, 2:12, 5:15] = 2  # right kidney
    labels[0, 0, 0] = 3
    values = {"kidney_right": 2, "kidney_left": 3}
    assert mirror_fault(labels, values) is None
    labels[:, 2:6, 0:2] = 3
    assert mirror_fault(labels, values) is not None


def test_names_that_differ_in_their_phase_are_warned_of_as_one_person(tmp_path: Path) -> None:
    names = ("hcc-001-arterial", "hcc-001-portal", "hcc-002-arterial", "hcc-002-portal")
    records = [record(tmp_path, name) for name in names]
    (problem,) = shared_problems(records)
    assert (problem.kind, problem.severity) == ("no patients", "warning")
    assert "hcc-001-arterial and hcc-001-portal as two people, and 1 more" in problem.found
    assert "--set data.patient_pattern=REGEX" in problem.found
    assert shared_problems([replace(each, patient=each.name[:7]) for each in records]) == []
    numbered = ("FLARE22_Tr_0001", "FLARE22_Tr_0002", "img0001", "img0002", "liver_a", "liver_b")
    assert shared_problems([record(tmp_path, name) for name in numbered]) == []


def test_an_image_that_is_only_listed_for_testing_may_be_absent(tmp_path: Path) -> None:
    listed = record(tmp_path, "a", label=None, purpose="test")
    listed.image.unlink()
    (problem,) = inspect_records([record(tmp_path, "bb"), listed], BTCV).problems
    assert (problem.kind, problem.severity) == ("missing image", "warning")


def test_label_values_besides_those_of_organs_may_be_known(tmp_path: Path) -> None:
    one = record(tmp_path, "a")  # 6 and 1
    (problem,) = inspect_records([one], {"liver": 6}).problems
    assert problem.kind == "unknown label value"
    assert inspect_records([one], {"liver": 6}, known={6, 1}).problems == []
