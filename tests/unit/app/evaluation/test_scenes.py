from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pygltflib import GLTF2

from app.evaluation.scenes import file_stem, write_scene
from models.geometry import LabelMap, VolumeGeometry
from operators.errors import OutputError
from tests.organ_balls import SEGMENTS, balls, skip_where_nothing_can_be_drawn

PLACED = {1: ((25.0, 0.0, 10.0), 14.0), 2: ((-25.0, 0.0, -10.0), 14.0)}


def _label_map() -> LabelMap:
    return balls(PLACED, (20, 14, 30), (4.0, 4.0, 4.0))


def test_a_case_becomes_a_model_a_picture_and_films(tmp_path: Path) -> None:
    skip_where_nothing_can_be_drawn()

    scene = write_scene("case 1/é", _label_map(), SEGMENTS, tmp_path / "new")

    names = {path.name for path in (tmp_path / "new").iterdir()}
    stem = file_stem("case 1/é")
    assert names == {f"{stem}{suffix}" for suffix in (".glb", ".png", ".gif", ".mp4")}
    assert (scene.case, scene.glb, scene.mp4) == ("case 1/é", f"{stem}.glb", f"{stem}.mp4")
    document = GLTF2().load(str(tmp_path / "new" / f"{stem}.glb"))
    assert [mesh.name for mesh in document.meshes] == ["Left high", "Right low"]
    with Image.open(io.BytesIO(scene.png)) as picture:
        assert picture.size == (1040, 720)
    assert scene.gif is not None
    with Image.open(io.BytesIO(scene.gif)) as film:
        assert film.n_frames == 40


def test_films_are_left_out_where_not_wanted(tmp_path: Path) -> None:
    skip_where_nothing_can_be_drawn()

    scene = write_scene("a", _label_map(), SEGMENTS, tmp_path, turn=False)

    assert (scene.gif, scene.mp4) == (None, None)
    assert {path.name for path in tmp_path.iterdir()} == {"a.glb", "a.png"}


def test_a_case_without_organs_is_refused(tmp_path: Path) -> None:
    empty = balls({}, (4, 4, 4), (2.0, 2.0, 2.0))
    assert not np.any(empty.labels)

    with pytest.raises(OutputError, match="at least one organ"):
        write_scene("a", empty, SEGMENTS, tmp_path)


@pytest.mark.parametrize(
    ("case", "stem"),
    [("../../x", "_.._x"), (".hidden", "hidden"), ("..", "_"), ("", "_"), ("a b", "a_b")],
)
def test_a_name_never_leads_out_of_the_folder(case: str, stem: str) -> None:
    assert re.fullmatch(re.escape(stem) + "-[0-9a-f]{8}", file_stem(case))


def test_a_name_that_suits_a_file_stays_as_it_is() -> None:
    assert file_stem("c3l-00189_a.b") == "c3l-00189_a.b"


def test_two_cases_never_share_a_file() -> None:
    cases = ("Bauch_ä", "Bauch_ö", "Bauch__", "Bauch /", ".Bauch__", "Bauch__.", "腹部", "腹膜")

    assert len({file_stem(case) for case in cases}) == len(cases)


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (5.0, 0.7, 0.7)], ids=str)
def test_a_case_of_one_voxel_has_its_model(
    spacing_mm: tuple[float, float, float], tmp_path: Path
) -> None:
    skip_where_nothing_can_be_drawn()
    labels = np.zeros((8, 16, 16), np.uint8)
    labels[4, 8, 8] = 1
    geometry = VolumeGeometry.from_spacing(labels.shape, spacing_mm)
    label_map = LabelMap(labels=labels, geometry=geometry)

    scene = write_scene("speck", label_map, SEGMENTS, tmp_path, turn=False)

    (mesh,) = GLTF2().load(str(tmp_path / "speck.glb")).meshes
    assert mesh.name == "Left high"
    with Image.open(io.BytesIO(scene.png)) as picture:
        view = np.asarray(picture)[:660, :740].astype(int)
    red = view[..., 0] - view[..., 1:].max(axis=-1) > 60
    assert np.count_nonzero(red) > 500  # drawn as large as the picture allows
