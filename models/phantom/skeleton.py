"""Spine, ribs and pelvis."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from models.phantom.body import Body
from models.phantom.shapes import Capsule, Carved, Cylinder, Ellipsoid, Shape, tube, turned
from models.phantom.structures import Detail, Structure

#: Vertebrae: name, height of the centre, half width, half depth, in mm before scaling.
_VERTEBRAE = (
    ("T6", 218.0, 16.0, 15.0),
    ("T7", 192.0, 16.0, 15.5),
    ("T8", 165.0, 16.5, 16.0),
    ("T9", 137.5, 17.0, 16.5),
    ("T10", 109.0, 18.0, 17.0),
    ("T11", 79.5, 19.5, 17.5),
    ("T12", 49.0, 21.0, 18.0),
    ("L1", 17.0, 22.5, 18.0),
    ("L2", -17.0, 23.5, 18.0),
    ("L3", -52.0, 24.5, 18.5),
    ("L4", -87.5, 25.5, 18.5),
    ("L5", -123.0, 26.0, 18.5),
)


def _vertebra(n: int, s: float, rng: np.random.Generator) -> tuple[Shape, ...]:
    name, z, width, depth = _VERTEBRAE[n]
    z, width, depth = z * s, width * s, depth * s
    pitch = (_VERTEBRAE[n - 1][1] - _VERTEBRAE[n][1]) * s if n else 27.0 * s
    lumbar = name.startswith("L")
    half = pitch / 2 - (5.0 if lumbar else 2.6) * s
    tip = float(rng.uniform(0.94, 1.06)) * (70.0 if lumbar else 66.0) * s
    parts: list[Shape] = [Cylinder((0, 0, z), (width, depth, half))]
    for side in (-1, 1):
        arch = (side * 16.0 * s, 33.0 * s, z)
        parts += tube(
            [(side * 13.5 * s, 10 * s, z + 4 * s), (side * 16 * s, 26 * s, z + 3 * s), arch],
            4.6 * s,
        )
        parts += tube([arch, (side * 9 * s, 39 * s, z - 6 * s), (0, 44 * s, z - 9 * s)], 3.6 * s)
        out, back, drop = (40.0, 36.0, 1.0) if lumbar else (28.0, 45.0, -6.0)
        parts += tube([arch, (side * out * s, back * s, z - drop * s)], (4.6 * s, 3.0 * s))
        parts.append(Ellipsoid((side * 17 * s, 37 * s, z - pitch * 0.42), (6 * s, 5.5 * s, 11 * s)))
    below = z - (9.0 if lumbar else 19.0) * s
    parts.append(Capsule((0, 44 * s, z - 9 * s), (0, tip, below - 6 * s), 3.2 * s, 4.6 * s))
    if lumbar:
        parts.append(Capsule((0, 46 * s, z - 14 * s), (0, tip - 3, below - 16 * s), 3.0, 4.0 * s))
    return tuple(parts)


def spine(body: Body, hu: dict[str, float], rng: np.random.Generator) -> Iterator[Structure]:
    """Canal with cord first, so that it stays open; then vertebrae, then discs."""
    s = body.build.scale
    cord = Detail(parts=(Cylinder((0, 24 * s, 270 * s), (4.6, 3.8, 252 * s)),), hu=hu["cord"])
    yield Structure(
        name="dural sac",
        parts=(Cylinder((0, 25 * s, 20), (8.2 * s, 6.6 * s, 260 * s)),),
        hu=hu["csf"],
        rim=(1.2, 35.0),
        details=(cord,),
    )
    for n, (name, *_) in enumerate(_VERTEBRAE):
        yield Structure(
            name=f"vertebra {name}",
            parts=_vertebra(n, s, rng),
            hu=hu["trabecular"],
            rim=(1.5, hu["cortical"] * 0.7),
            mottle=(28.0, 2.6),
            gap_mm=1.2,
        )
    discs = []
    for n, (_, z, width, depth) in enumerate(_VERTEBRAE):
        pitch = (_VERTEBRAE[n - 1][1] - z) * s if n else 27.0 * s
        discs.append(
            Cylinder((0, 0, z * s + pitch / 2), (width * s * 1.02, depth * s * 1.02, 7.0 * s))
        )
    sacrum = Cylinder((0, 14 * s, -168 * s), (46 * s, 22 * s, 26 * s), turned(about_x=28))
    yield Structure(
        name="sacrum",
        parts=(
            sacrum,
            Cylinder((0, 34 * s, -215 * s), (38 * s, 16 * s, 32 * s), turned(about_x=18)),
        ),
        hu=hu["trabecular"] * 0.8,
        rim=(1.6, hu["cortical"]),
        mottle=(25.0, 3.0),
        gap_mm=1.0,
    )
    discs.append(Cylinder((0, 3 * s, -142 * s), (25 * s, 18 * s, 7 * s), turned(about_x=14)))
    yield Structure(name="discs", parts=tuple(discs), hu=hu["disc"], mottle=(6.0, 4.0))


def ribs(body: Body, hu: dict[str, float], rng: np.random.Generator) -> Iterator[Structure]:
    """Ribs 6 to 12 of both sides, with their cartilage where they have one."""
    s = body.build.scale
    reach = {6: 158, 7: 152, 8: 144, 9: 136, 10: 126, 11: 88, 12: 52}
    for n, (name, *_) in enumerate(_VERTEBRAE):
        number = int(name[1:]) if name.startswith("T") else 0
        if not number:
            continue
        for side in (-1, 1):
            path = _rib_path(body, n, reach[number], side)
            yield Structure(
                name=f"rib {number}",
                parts=tube(path, (5.4 * s, *([5.0 * s] * (len(path) - 2)), 4.4 * s)),
                hu=hu["trabecular"] * 0.9,
                rim=(1.5, hu["cortical"] * 1.1),
            )
            if number <= 10:
                end = np.asarray(path[-1])
                middle = _on_wall(body, (reach[number] + 172) / 2, end[2] + 8 * s, side)
                sternum = _on_wall(body, 172.0, end[2] + 34 * s, side)
                yield Structure(
                    name=f"costal cartilage {number}",
                    parts=tube([end, middle, sternum], 5.0 * s),
                    hu=hu["cartilage"],
                    rim=(1.0, hu["cartilage"] + 70.0),
                )


def _on_wall(body: Body, degrees: float, z: float, side: int) -> tuple[float, float, float]:
    """A point 6 mm outside the cavity, seen from its middle; 0 degrees is the back."""
    width, front, back = (float(v) for v in body.half_axes(np.array(z)))
    angle = np.radians(degrees)
    depth = (back if degrees < 90 else front) + 6.0
    u, v = np.sin(angle), np.cos(angle)
    # the cavity is a super-ellipse: bring the ellipse's point out to it
    gauge = (abs(u) ** 2.35 + abs(v) ** 2.35) ** (1 / 2.35)
    return side * (width + 6.0) * u / gauge, body.middle_y + depth * v / gauge, z


def _rib_path(body: Body, n: int, reach: float, side: int) -> list[tuple[float, float, float]]:
    s = body.build.scale
    z = (_VERTEBRAE[n][1] + 12.0) * s
    width = _VERTEBRAE[n][2] * s
    path = [(side * (width + 3), 14 * s, z), (side * (width + 20 * s), 44 * s, z - 3 * s)]
    first = 28.0
    for degrees in np.linspace(first, reach, max(3, int((reach - first) // 14))):
        drop = 88.0 * s * ((degrees - first) / 130.0) ** 0.85 + 5 * s
        path.append(_on_wall(body, float(degrees), z - drop, side))
    return path


def pelvis(body: Body, hu: dict[str, float], rng: np.random.Generator) -> Iterator[Structure]:
    """The wings of the ilium."""
    s = body.build.scale
    for side in (-1, 1):
        blade = Ellipsoid(
            (side * 96 * s, 14 * s, -162 * s),
            (7.5 * s, 62 * s, 66 * s),
            turned(about_y=side * 14.0, about_z=side * 38.0),
        )
        hollow = Ellipsoid((side * 60 * s, -30 * s, -150 * s), (50 * s, 50 * s, 80 * s))
        yield Structure(
            name="ilium",
            parts=(Carved(blade, (hollow,)),),
            hu=hu["trabecular"],
            rim=(2.0, hu["cortical"]),
            mottle=(30.0, 3.0),
        )
