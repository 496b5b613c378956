from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest

from models.geometry import LabelMap, Volume, VolumeGeometry
from models.segments import Code, Segment
from operators.errors import OutputError
from operators.organ_volumes import OrganVolume, measure, write_csv, write_json

CODE = Code(value="10200004", scheme="SCT", meaning="Liver")
COLUMNS = (
    "number,name,label,voxel_count,volume_ml,mean_hu,sd_hu,"
    "centroid_x_lps_mm,centroid_y_lps_mm,centroid_z_lps_mm,complete"
)


def _segment(number: int, name: str) -> Segment:
    return Segment(
        number=number,
        name=name,
        label=name.capitalize(),
        category=CODE,
        type=CODE,
        modifier=None,
        rgb=(200, 100, 50),
    )


SEGMENTS = (_segment(7, "liver"), _segment(2, "spleen"), _segment(200, "stomach"))


def _case() -> tuple[LabelMap, Volume]:
    """An oblique grid: a liver of 24 voxels inside, a spleen of 6 at the top slice."""
    angle = np.radians(25)
    direction = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    geometry = VolumeGeometry.from_spacing((6, 8, 9), (5.0, 0.7, 1.3), (10, -20, 30), direction)
    labels = np.zeros(geometry.shape, np.uint8)
    hu = np.full(geometry.shape, -1000, np.int16)
    labels[1:3, 2:5, 3:7] = 7
    hu[1, 2:5, 3:7], hu[2, 2:5, 3:7] = 90, 110
    labels[5, 1:3, 1:4] = 2
    hu[5, 1:3, 1:4] = 120
    return LabelMap(labels=labels, geometry=geometry), Volume(hu=hu, geometry=geometry)


def _measured() -> list[OrganVolume]:
    label_map, volume = _case()
    return measure(label_map, SEGMENTS, volume)


def test_volume_density_and_centroid_of_an_oblique_anisotropic_organ() -> None:
    label_map, _ = _case()
    liver = _measured()[0]

    assert (liver.number, liver.name, liver.label) == (7, "liver", "Liver")
    assert liver.voxel_count == 24
    assert liver.volume_ml == pytest.approx(24 * 5.0 * 0.7 * 1.3 / 1000, abs=5e-4)
    assert (liver.mean_hu, liver.sd_hu) == (100.0, 10.0)
    assert liver.centroid_lps_mm == pytest.approx(
        label_map.geometry.to_lps((1.5, 3.0, 4.5)), abs=1e-3
    )
    assert liver.complete


def test_organ_at_the_last_slice_is_not_complete() -> None:
    spleen = _measured()[1]

    assert spleen.voxel_count == 6
    assert not spleen.complete


@pytest.mark.parametrize("corner", [(0, 3, 3), (3, 0, 3), (3, 3, 0), (3, 7, 3), (3, 3, 8)])
def test_organ_at_any_face_is_not_complete(corner: tuple[int, int, int]) -> None:
    _, volume = _case()
    labels = np.zeros(volume.geometry.shape, np.uint8)
    labels[corner] = 7

    (liver, *_) = measure(LabelMap(labels=labels, geometry=volume.geometry), SEGMENTS, volume)

    assert liver.voxel_count == 1
    assert not liver.complete


def test_organ_not_found_has_no_density_and_no_place() -> None:
    stomach = _measured()[2]

    assert (stomach.voxel_count, stomach.volume_ml) == (0, 0.0)
    assert (stomach.mean_hu, stomach.sd_hu, stomach.centroid_lps_mm) == (None, None, None)
    assert not stomach.complete


def test_labels_of_another_grid_are_refused() -> None:
    label_map, volume = _case()
    shifted = volume.geometry.affine_lps.copy()
    shifted[0, 3] += 1.0
    elsewhere = VolumeGeometry(shape=volume.geometry.shape, affine_lps=shifted)

    with pytest.raises(OutputError, match="another grid"):
        measure(LabelMap(labels=label_map.labels, geometry=elsewhere), SEGMENTS, volume)


def test_json_says_what_was_measured(tmp_path: Path) -> None:
    write_json(_measured(), tmp_path / "volumes.json")

    content = json.loads((tmp_path / "volumes.json").read_text(encoding="utf-8"))

    assert "not for clinical use" in content["notice"]
    assert [organ["name"] for organ in content["organs"]] == ["liver", "spleen", "stomach"]
    assert content["organs"][0]["volume_ml"] == 0.109
    assert len(content["organs"][0]["centroid_lps_mm"]) == 3
    assert content["organs"][2]["mean_hu"] is None
    assert os.listdir(tmp_path) == ["volumes.json"]


def test_csv_has_stable_columns_and_empty_fields_for_what_is_unknown(tmp_path: Path) -> None:
    write_csv(_measured(), tmp_path / "volumes.csv")

    text = (tmp_path / "volumes.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))

    assert text.splitlines()[0] == COLUMNS
    assert float(rows[0]["volume_ml"]) == 0.109
    assert rows[0]["complete"] == "true"
    assert rows[2]["volume_ml"] == "0.0"
    assert (rows[2]["mean_hu"], rows[2]["centroid_x_lps_mm"]) == ("", "")
    assert rows[2]["complete"] == "false"
