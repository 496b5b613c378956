"""Surfaces of organs as one GLB file, the binary form of glTF 2.0 (ISO/IEC 12113).

glTF is right-handed, in metres, with y upwards, and what is shown faces +z: so the patient stands
upright and looks at the viewer, x to the left side, y to the head and z to the front. That is a
turn of LPS, not a mirror image:

    x = 0.001 x_lps,  y = 0.001 z_lps,  z = -0.001 y_lps

The origin stays that of the patient coordinate system. The way back is in the file: `asset.extras`
holds `lps_mm_from_gltf`, four rows of a matrix that maps `(x, y, z, 1)` to LPS mm.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.errors import OutputError
from operators.outputs import atomic_write
from operators.product import product_version
from operators.surfaces import Surface

#: Rows are x, y and z of glTF in metres, columns LPS in mm.
GLTF_FROM_LPS = np.array(((0.001, 0.0, 0.0), (0.0, 0.0, 0.001), (0.0, -0.001, 0.0)))
#: Rows of the 4 x 4 matrix from glTF to LPS mm.
LPS_FROM_GLTF = (
    (1000.0, 0.0, 0.0, 0.0),
    (0.0, 0.0, -1000.0, 0.0),
    (0.0, 1000.0, 0.0, 0.0),
    (0.0, 0.0, 0.0, 1.0),
)

_MAGIC, _VERSION = b"glTF", 2
_JSON_CHUNK, _BINARY_CHUNK = b"JSON", b"BIN\0"
_FLOAT, _UINT32 = 5126, 5125
_VERTICES, _INDICES = 34962, 34963
_TRIANGLES = 4


def write_glb(surfaces: Sequence[Surface], path: Path) -> None:
    """Write the file, completely or not at all; see `glb_bytes`."""
    content = glb_bytes(surfaces)
    with atomic_write(path) as stream:
        stream.write(content)


def glb_bytes(surfaces: Sequence[Surface]) -> bytes:
    """Pack surfaces, a node and a material each, named after the organ's label.

    A node's `extras` hold the segment's number and name and the volume of its voxels, as in every
    table. The same surfaces always give the same bytes.

    Raises
    ------
    OutputError
        If there is no surface: glTF has no empty mesh.
    """
    if not surfaces:
        raise OutputError("expected at least one organ to write as GLB, found none")
    parts = _Parts()
    meshes = [_mesh(surface, place, parts) for place, surface in enumerate(surfaces)]
    organs = list(range(1, len(surfaces) + 1))
    content = {
        "asset": {
            "version": "2.0",
            "generator": f"viscera {product_version()}",
            "extras": {"lps_mm_from_gltf": LPS_FROM_GLTF},
        },
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": "Patient", "children": organs}, *map(_node, surfaces, organs)],
        "meshes": meshes,
        "materials": [_material(surface) for surface in surfaces],
        "accessors": parts.accessors,
        "bufferViews": parts.views,
        "buffers": [{"byteLength": len(parts.content)}],
    }
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    chunks = _chunk(_JSON_CHUNK, text, b" ") + _chunk(_BINARY_CHUNK, bytes(parts.content), b"\0")
    return struct.pack("<4sII", _MAGIC, _VERSION, 12 + len(chunks)) + chunks


class _Parts:
    """The buffer that grows, and what lies where in it."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.views: list[dict[str, int]] = []
        self.accessors: list[dict[str, Any]] = []

    def add(self, values: NDArray[Any], *, target: int, limits: bool = False) -> int:
        """Append float32 vectors or uint32 indices; returns the accessor's number."""
        vectors = values.dtype == np.float32
        accessor: dict[str, Any] = {
            "bufferView": len(self.views),
            "componentType": _FLOAT if vectors else _UINT32,
            "count": len(values),
            "type": "VEC3" if vectors else "SCALAR",
        }
        if limits:  # glTF wants them of positions
            accessor["min"] = values.min(axis=0).tolist()
            accessor["max"] = values.max(axis=0).tolist()
        content = values.astype(values.dtype.newbyteorder("<")).tobytes()
        self.views.append(
            {
                "buffer": 0,
                "byteOffset": len(self.content),  # all components are of four bytes
                "byteLength": len(content),
                "target": target,
            }
        )
        self.content += content
        self.accessors.append(accessor)
        return len(self.accessors) - 1


def _mesh(surface: Surface, material: int, parts: _Parts) -> dict[str, Any]:
    turn = GLTF_FROM_LPS * 1000.0
    points = (surface.points_lps @ GLTF_FROM_LPS.T).astype(np.float32)
    normals = (surface.normals_lps @ turn.T).astype(np.float32)
    indices = surface.triangles.astype(np.uint32).ravel()
    primitive = {
        "attributes": {
            "POSITION": parts.add(points, target=_VERTICES, limits=True),
            "NORMAL": parts.add(normals, target=_VERTICES),
        },
        "indices": parts.add(indices, target=_INDICES),
        "material": material,
        "mode": _TRIANGLES,
    }
    return {"name": surface.label, "primitives": [primitive]}


def _node(surface: Surface, place: int) -> dict[str, Any]:
    extras = {
        "number": surface.number,
        "name": surface.name,
        "volume_ml": round(surface.voxels_ml, 3),
    }
    return {"name": surface.label, "mesh": place - 1, "extras": extras}


def _material(surface: Surface) -> dict[str, Any]:
    return {
        "name": surface.label,
        "pbrMetallicRoughness": {
            "baseColorFactor": [*map(_linear, surface.rgb), 1.0],
            "metallicFactor": 0.0,
            "roughnessFactor": 0.55,
        },
        "doubleSided": True,
    }


def _linear(value: int) -> float:
    """Linear light of an sRGB value of 0 to 255 (IEC 61966-2-1), as glTF wants colours."""
    share = value / 255.0
    light = share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4
    return round(light, 6)


def _chunk(kind: bytes, content: bytes, filler: bytes) -> bytes:
    padded = content + filler * (-len(content) % 4)
    return struct.pack("<I4s", len(padded), kind) + padded
