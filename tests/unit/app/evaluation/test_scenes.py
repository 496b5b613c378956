from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pygltflib import GLTF2

from app.evaluation.scenes import file_stem, write_scene
from models.geometry import LabelMap
from operators.errors import OutputError
from tests.organ_balls import SEGMENTS, balls, skip_where_nothing_can_be_drawn

PLACED = {1: ((25.0, 0.0, 10.0), 14.0), 2: ((-25.0, 0.0, -10.0), 14.0)}


def _label_map() -> LabelMap:
    return balls(PLACED, (20, 14, 30), (4.0, 4.0, 4.0))


def test_a_case_becomes_a_model_a_picture_and_films(tmp_path: Path) -> None:
    skip_where_nothing_can_be_drawn()

    scene = write_scene("case 1/é", _label_map(), SEGMENTS, tmp_path / "new")

    names = {path.name for path in (tmp_path / "new").iterdir()}
    assert names == {f"case_1__{suffix}" for suffix in (".glb", ".png", ".gif", ".mp4")}
    assert (scene.case, scene.glb, scene.mp4) == ("case 1/é", "case_1__.glb", "case_1__.mp4")
    document = GLTF2().load(str(tmp_path / "new" / "case_1__.glb"))
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
    [("c3l-00189", "c3l-00189"), ("../../x", "_.._x"), (".hidden", "hidden"), ("..", "_")],
)
def test_a_name_never_leads_out_of_the_folder(case: str, stem: str) -> None:
    assert file_stem(case) == stem
