"""What `models.anatomy` says of real CT, whole and cut up, as tables: anatomy.py DATA

DATA is a folder with `train/`, `validation/`, `ct/` and `dicom_stress/`. Bodies drawn from
formulas (head, chest, legs, water) are in the tests.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

from models.anatomy import examine
from models.cross_section import CrossSection, cross_sections
from models.geometry import Volume, VolumeGeometry
from models.phantom import make_phantom
from operators.errors import ImagingError
from operators.loading import scan
from operators.splitting import split_series
from operators.volumes import build_volume

WINDOWS_MM = (30, 60, 100)
WINDOW_STEP_MM = 10
LIVER, KIDNEYS, ORGANS = (6,), (3, 9), (1, 3, 6, 9)
FIGURES = [figure.name for figure in fields(CrossSection)]


def read_nifti(path: Path) -> tuple[NDArray[np.int16], VolumeGeometry]:
    """A NIfTI image on a grid in LPS mm."""
    image = nibabel.load(path)
    array = np.asarray(image.dataobj).astype(np.int16).transpose(2, 1, 0)
    affine = np.diag((-1.0, -1.0, 1.0, 1.0)) @ image.affine
    return array, VolumeGeometry(shape=array.shape, affine_lps=affine)


def read_series(folder: Path) -> Iterator[tuple[str, Volume | str]]:
    """Every volume of a folder, or why there is none."""
    for study in scan(folder).studies:
        for series in study.series:
            images = tuple(i for i in series.instances if i.header.get("Modality") == "CT")
            for candidate in split_series(series, images) if images else ():
                name = f"{folder.name} …{candidate.name[-16:]}"
                try:
                    yield name, build_volume(candidate).volume
                except ImagingError as error:
                    yield name, f"no volume: {str(error)[:90]}"


def whole(data: Path) -> Iterator[tuple[str, Volume | str]]:
    """Everything as it is."""
    for path in sorted(data.glob("*/*_ct.nii.gz")) + sorted(data.glob("ct/*/*_ct.nii.gz")):
        hu, geometry = read_nifti(path)
        yield path.name.removesuffix(".nii.gz"), Volume(hu=hu, geometry=geometry)
    for folder in sorted([*data.glob("ct/*/"), *data.glob("dicom_stress/*/")]):
        if not list(folder.glob("*.nii.gz")):
            yield from read_series(folder)
    for seed in range(8):
        yield f"phantom {seed}", make_phantom(seed, (5.0, 1.5, 1.5)).volume


def cropped(volume: Volume, rows: slice, columns: slice) -> Volume:
    """A narrower field of view."""
    k, j, i = (0, rows.start or 0, columns.start or 0)
    affine = volume.geometry.affine_lps.copy()
    affine[:3, 3] = volume.geometry.to_lps((k, j, i))
    hu = volume.hu[:, rows, columns]
    return Volume(hu=hu, geometry=VolumeGeometry(shape=hu.shape, affine_lps=affine))


def altered(name: str, volume: Volume) -> Iterator[tuple[str, Volume]]:
    """Harder versions of a volume stored in axial slices."""
    _, height, width = volume.hu.shape
    rows, columns = (slice(round(0.15 * n), round(0.85 * n)) for n in (height, width))
    yield f"{name}, view 70 %", cropped(volume, rows, columns)
    yield f"{name}, left 60 %", cropped(volume, slice(None), slice(0, round(0.6 * width)))
    affine = volume.geometry.affine_lps * np.array((0.6, 0.6, 0.6, 1.0))
    small = VolumeGeometry(shape=volume.hu.shape, affine_lps=affine)
    yield f"{name}, size 60 %", Volume(hu=volume.hu, geometry=small)
    noise = np.random.default_rng(0).normal(0, 60, volume.hu.shape)
    noisy = np.clip(volume.hu + noise, -1024, 3000).astype(np.int16)
    yield f"{name}, 60 HU noise", Volume(hu=noisy, geometry=volume.geometry)
    thick = volume.hu.copy()  # 12 mm: slices of a thickness nobody uses any more
    count = max(1, round(12.0 / volume.geometry.spacing_mm[0]))
    depth = thick.shape[0] // count
    mean = thick[: depth * count].reshape(depth, count, height, width).mean(axis=1)
    affine = volume.geometry.affine_lps.copy()
    affine[:3, 2] *= count
    geometry = VolumeGeometry(shape=mean.shape, affine_lps=affine)
    yield f"{name}, 12 mm slices", Volume(hu=mean.astype(np.int16), geometry=geometry)


def windows(data: Path) -> Iterator[tuple[str, str, Volume]]:
    """Short scans cut from the labelled ones: what they hold, name, volume."""
    for path in sorted(data.glob("*/*_label.nii.gz")):
        labels, geometry = read_nifti(path)
        hu, _ = read_nifti(path.with_name(path.name.replace("_label", "_ct")))
        mm = geometry.spacing_mm[0]
        for height_mm in WINDOWS_MM:
            depth = round(height_mm / mm)
            for start in range(0, len(hu) - depth + 1, round(WINDOW_STEP_MM / mm)):
                part = slice(start, start + depth)
                affine = geometry.affine_lps.copy()
                affine[:3, 3] = geometry.to_lps((start, 0, 0))
                grid = VolumeGeometry(shape=hu[part].shape, affine_lps=affine)
                held = _held(labels[part], geometry.voxel_volume_ml)
                name = f"{path.name.split('_')[0]} {start * mm:.0f}+{height_mm} mm"
                yield f"{height_mm} mm, {held}", name, Volume(hu=hu[part].copy(), geometry=grid)


def _held(labels: NDArray[np.int16], voxel_ml: float) -> str:
    def ml(numbers: tuple[int, ...]) -> float:
        return float(np.isin(labels, numbers).sum()) * voxel_ml

    if ml(LIVER) >= 50 and ml(KIDNEYS) >= 20:
        return "liver and kidney"
    organs = ml(ORGANS)
    if organs >= 50:
        return "50 ml or more of liver, spleen, kidney"
    return "5 to 50 ml of them" if organs >= 5 else "less than 5 ml of them"


def row(name: str, volume: Volume | str) -> str:
    """One line of the table."""
    if isinstance(volume, str):
        return f"| {name} | {volume} |"
    start = time.perf_counter()
    found = examine(volume)
    seconds = time.perf_counter() - start
    sections, _ = cross_sections(volume)
    figures = np.array([[getattr(section, name) for name in FIGURES] for section in sections])
    figures[:, 1:] *= 100
    spread = " | ".join(
        f"{low:.3g} {middle:.3g} {high:.3g}"
        for low, middle, high in np.percentile(figures, (0, 50, 100), axis=0).T
    )
    verdict = "passes" if found.shows_abdomen else f"REFUSED: {found.region}"
    extent = f"{found.abdomen_mm:.0f} / {found.height_mm:.0f}"
    return f"| {name} | {verdict} | {extent} | {spread} | {seconds:.2f} |"


def main() -> None:
    data = Path(sys.argv[1])
    head = " | ".join(["case", "verdict", "abdomen / height mm", *FIGURES, "s"])
    print("Lowest, middle and highest of all slices; shares in %\n")
    print(f"| {head} |\n|{'---|' * (len(FIGURES) + 4)}")
    labelled = ("train", "validation")
    for name, volume in whole(data):
        print(row(name, volume), flush=True)
    for path in sorted(p for folder in labelled for p in (data / folder).glob("*_ct.nii.gz")):
        hu, geometry = read_nifti(path)
        name = path.name.removesuffix("_ct.nii.gz")
        for harder, volume in altered(name, Volume(hu=hu, geometry=geometry)):
            print(row(harder, volume), flush=True)
    kinds: dict[str, list[tuple[bool, str]]] = defaultdict(list)
    for kind, name, volume in windows(data):
        found = examine(volume)
        kinds[kind].append((found.shows_abdomen, f"{name} ({found.abdomen_mm:.0f} mm)"))
    print("\n| window, holding | pass | refused |\n|---|---|---|")
    for kind, all_found in sorted(kinds.items()):
        refused = [name for shows, name in all_found if not shows]
        passed = len(all_found) - len(refused)
        print(f"| {kind} | {passed} of {len(all_found)} | {', '.join(refused)} |")


if __name__ == "__main__":
    main()
