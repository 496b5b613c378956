from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pygltflib import GLTF2

from models.geometry import LabelMap, VolumeGeometry
from operators.errors import OutputError
from operators.glb import glb_bytes, write_glb
from operators.surfaces import organ_surfaces
from tests.organ_balls import SEGMENTS, two_organs

COMPONENTS = {5126: np.dtype("<f4"), 5125: np.dtype("<u4")}


def _values(document: GLTF2, accessor: int) -> NDArray[Any]:
    """Read an accessor by another's reader."""
    entry = document.accessors[accessor]
    view = document.bufferViews[entry.bufferView]
    blob = document.binary_blob()
    part = blob[view.byteOffset : view.byteOffset + view.byteLength]
    values = np.frombuffer(part, COMPONENTS[entry.componentType])
    return values.reshape(entry.count, -1) if entry.type == "VEC3" else values


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> GLTF2:
    path = tmp_path_factory.mktemp("glb") / "organs.glb"
    write_glb(two_organs(), path)
    return GLTF2().load(str(path))


def test_the_stored_matrix_brings_every_vertex_back_to_its_place_in_lps_mm(
    document: GLTF2,
) -> None:
    back = np.array(document.asset.extras["lps_mm_from_gltf"])

    for surface, mesh in zip(two_organs(), document.meshes, strict=True):
        points = _values(document, mesh.primitives[0].attributes.POSITION)
        lps = np.column_stack([points, np.ones(len(points))]) @ back.T
        np.testing.assert_allclose(lps[:, :3], surface.points_lps, atol=1e-4)
        np.testing.assert_array_equal(
            _values(document, mesh.primitives[0].indices), surface.triangles.ravel()
        )


def test_head_is_up_front_faces_the_viewer_and_left_is_at_the_right_in_metres(
    document: GLTF2,
) -> None:
    left_high, right_low = (
        _values(document, mesh.primitives[0].attributes.POSITION).mean(axis=0)
        for mesh in document.meshes
    )

    np.testing.assert_allclose(left_high, (0.045, 0.025, -0.010), atol=2e-4)
    np.testing.assert_allclose(right_low, (-0.045, -0.025, 0.010), atol=2e-4)


def test_triangles_and_normals_still_face_outwards(document: GLTF2) -> None:
    for mesh, surface in zip(document.meshes, two_organs(), strict=True):
        points = _values(document, mesh.primitives[0].attributes.POSITION).astype(np.float64)
        normals = _values(document, mesh.primitives[0].attributes.NORMAL)
        a, b, c = points[surface.triangles].transpose(1, 0, 2)
        volume_m3 = (a * np.cross(b, c)).sum() / 6

        assert volume_m3 * 1e6 == pytest.approx(surface.volume_ml, rel=1e-4)
        assert ((points - points.mean(axis=0)) * normals).sum(axis=1).min() > 0
        np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)


def test_each_organ_is_a_node_with_its_name_volume_and_colour(document: GLTF2) -> None:
    root = document.nodes[document.scenes[document.scene].nodes[0]]
    nodes = [document.nodes[child] for child in root.children]

    assert [node.name for node in nodes] == ["Left high", "Right low"]
    assert [node.extras["name"] for node in nodes] == ["left_high", "right_low"]
    assert [node.extras["number"] for node in nodes] == [1, 2]
    for node, surface in zip(nodes, two_organs(), strict=True):
        assert node.extras["volume_ml"] == round(surface.voxels_ml, 3)
        primitive = document.meshes[node.mesh].primitives[0]
        material = document.materials[primitive.material]
        linear = np.array(material.pbrMetallicRoughness.baseColorFactor)
        encoded = np.where(linear < 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
        assert tuple((255 * encoded[:3]).round()) == surface.rgb
        assert linear[3] == 1.0


def test_the_volume_is_that_of_the_voxels_where_the_surface_holds_less() -> None:
    geometry = VolumeGeometry.from_spacing((9, 9, 40), (3.0, 3.0, 3.0))
    labels = np.zeros(geometry.shape, np.uint8)
    labels[4, 4, :] = 1  # the surface of so thin a thing holds half of it
    content = glb_bytes(organ_surfaces(LabelMap(labels=labels, geometry=geometry), SEGMENTS))

    (size,) = struct.unpack_from("<I", content, 12)
    _, node = json.loads(content[20 : 20 + size])["nodes"]
    assert node["extras"]["volume_ml"] == 1.08  # 40 voxels of 27 mm3, as in every table


def test_the_file_is_built_as_the_format_demands() -> None:
    content = glb_bytes(two_organs())

    magic, version, length = struct.unpack_from("<4sII", content)
    assert (magic, version, length) == (b"glTF", 2, len(content))
    size, kind = struct.unpack_from("<I4s", content, 12)
    assert kind == b"JSON"
    assert size % 4 == 0
    header = json.loads(content[20 : 20 + size])
    buffer_size, kind = struct.unpack_from("<I4s", content, 20 + size)
    assert kind == b"BIN\0"
    assert buffer_size == header["buffers"][0]["byteLength"] == len(content) - 28 - size
    end = 0
    for view, accessor in zip(header["bufferViews"], header["accessors"], strict=True):
        assert view["byteOffset"] == end
        assert view["byteOffset"] % 4 == 0
        end += view["byteLength"]
        width = 3 if accessor["type"] == "VEC3" else 1
        assert view["byteLength"] == 4 * width * accessor["count"]
    assert end == buffer_size


def test_limits_of_positions_are_those_of_the_stored_numbers(document: GLTF2) -> None:
    for mesh in document.meshes:
        entry = document.accessors[mesh.primitives[0].attributes.POSITION]
        points = _values(document, mesh.primitives[0].attributes.POSITION)
        np.testing.assert_array_equal(np.float32(entry.min), points.min(axis=0))
        np.testing.assert_array_equal(np.float32(entry.max), points.max(axis=0))


def test_the_same_surfaces_always_give_the_same_bytes() -> None:
    assert glb_bytes(two_organs()) == glb_bytes(two_organs())


def test_without_an_organ_there_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="at least one organ"):
        write_glb([], tmp_path / "nothing.glb")

    assert list(tmp_path.iterdir()) == []
