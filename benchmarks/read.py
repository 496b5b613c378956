"""A series from its files to a HU volume, viscera against other readers: read.py [FOLDER].

Every reader runs in a process of its own, all of them once a round, so that a noisy machine is
noisy for all. Without FOLDER a phantom series of 300 slices is written.
"""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

ROUNDS = 5
SLICES = 300
SYNTAXES = {
    "uncompressed": None,
    "RLE": RLELossless,
    "JPEG-LS": JPEGLSLossless,
    "JPEG 2000": JPEG2000Lossless,
}

Voxels = NDArray[np.int16]


def by_viscera(folder: Path) -> Voxels:
    from operators.loading import scan
    from operators.splitting import split_series
    from operators.volumes import build_volume

    (series,) = scan(folder).studies[0].series
    (candidate,) = split_series(series, series.instances)
    return build_volume(candidate).volume.hu


def by_pydicom(folder: Path) -> Voxels:
    """The plain recipe with an array made beforehand; trusts that all slices are one grid."""
    headers = [(pydicom.dcmread(path, stop_before_pixels=True), path) for path in folder.iterdir()]
    headers.sort(key=lambda pair: pair[0].ImagePositionPatient[2])
    first = headers[0][0]
    volume = np.empty((len(headers), first.Rows, first.Columns), np.int16)
    for k, (_, path) in enumerate(headers):
        image = pydicom.dcmread(path)
        volume[k] = image.pixel_array
        volume[k] += np.int16(image.RescaleIntercept)
    return volume


def by_simpleitk(folder: Path) -> Voxels:
    import SimpleITK

    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    found: Voxels = SimpleITK.GetArrayFromImage(reader.Execute()).astype(np.int16)
    return found


def by_gdcm(folder: Path) -> Voxels:
    import gdcm

    sorter = gdcm.IPPSorter()
    sorter.SetComputeZSpacing(False)
    sorter.Sort([str(path) for path in folder.iterdir()])
    planes = []
    for name in sorter.GetFilenames():
        reader = gdcm.ImageReader()
        reader.SetFileName(name)
        reader.Read()
        image = reader.GetImage()
        dtype = np.int16 if image.GetPixelFormat().GetPixelRepresentation() else np.uint16
        data = np.frombuffer(image.GetBuffer().encode("utf-8", "surrogateescape"), dtype)
        size = image.GetDimension(1), image.GetDimension(0)
        planes.append(data.reshape(size).astype(np.int16) + np.int16(image.GetIntercept()))
    return np.stack(planes)


def by_app_sdk(folder: Path) -> Voxels:
    from operators.holoscan_runtime import prepare

    prepare()
    from monai.deploy.core import Fragment
    from monai.deploy.operators import DICOMDataLoaderOperator, DICOMSeriesToVolumeOperator

    fragment = Fragment()
    studies = DICOMDataLoaderOperator(fragment, name="load").load_data_to_studies(folder)
    (series,) = studies[0].get_all_series()
    convert = DICOMSeriesToVolumeOperator(fragment, name="volume")
    convert.prepare_series(series)
    found: Voxels = convert.generate_voxel_data(series)
    return found


READERS: dict[str, tuple[str, Callable[[Path], Voxels]]] = {
    "viscera": ("operators", by_viscera),
    "pydicom": ("pydicom", by_pydicom),
    "SimpleITK": ("SimpleITK", by_simpleitk),
    "GDCM": ("gdcm", by_gdcm),
    "App SDK": ("monai.deploy", by_app_sdk),
}


def read_once(reader: str, folder: Path) -> None:
    """Run one reader and print what it took; libraries are loaded before the clock starts."""
    read = READERS[reader][1]
    warm = folder.parent / "warm"
    read(warm)
    begun, spent = time.perf_counter(), time.process_time()
    volume = read(folder)
    wall_s, cpu_s = time.perf_counter() - begun, time.process_time() - spent
    # over all voxels, whatever the order of the slices
    total = int(np.maximum(volume, -1024).astype(np.int64).sum())
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"wall_s": wall_s, "cpu_s": cpu_s, "peak_mib": peak_mib, "sum": total}))


def measure(reader: str, folder: Path) -> dict[str, float] | str:
    """One reader in a fresh process; its last line of complaint where it fails."""
    command = [sys.executable, __file__, "--once", reader, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        return lines[-1][:90]
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def write_phantom(folder: Path) -> None:
    """A phantom of 300 slices of 512 x 512 pixels."""
    from models.geometry import Volume, VolumeGeometry
    from models.phantom import make_phantom
    from operators.ct_series import SeriesIdentity, write_ct_series

    small = make_phantom(1).volume
    depth, height, width = small.geometry.shape
    at = [np.arange(n) * m // n for n, m in ((SLICES, depth), (512, height), (512, width))]
    noise = np.random.default_rng(1).integers(-9, 10, (SLICES, 512, 512), dtype=np.int16)
    geometry = VolumeGeometry.from_spacing((SLICES, 512, 512), (1.5, 0.8, 0.8))
    volume = Volume(hu=np.maximum(small.hu[np.ix_(*at)] + noise, -1024), geometry=geometry)
    write_ct_series(volume, folder, SeriesIdentity(seed_text="read benchmark"))


def write_compressed(source: Path, folder: Path, syntax: str) -> None:
    folder.mkdir()
    for path in source.iterdir():
        image = pydicom.dcmread(path)
        if syntax == JPEG2000Lossless:  # pydicom needs another package for it
            code = imagecodecs.jpeg2k_encode(image.pixel_array, codecformat="j2k", level=0)
            image.PixelData = encapsulate([code])
            image["PixelData"].VR, image["PixelData"].is_undefined_length = "OB", True
            image.file_meta.TransferSyntaxUID = JPEG2000Lossless
        else:
            image.compress(syntax, generate_instance_uid=False)
        image.save_as(folder / path.name)


def _height(path: Path) -> float:
    return float(pydicom.dcmread(path, stop_before_pixels=True).ImagePositionPatient[2])


def print_table(name: str, folder: Path) -> None:
    """Interleaved rounds of all readers on one folder."""
    found: dict[str, list[dict[str, float]]] = {reader: [] for reader in READERS}
    failed: dict[str, str] = {}
    for _ in range(ROUNDS):
        for reader, (module, _) in READERS.items():
            if reader in failed:
                continue
            if importlib.util.find_spec(module) is None:
                failed[reader] = "not installed"
                continue
            result = measure(reader, folder)
            if isinstance(result, str):
                failed[reader] = result
            else:
                found[reader].append(result)
    print(f"\n{name}, {len(os.sched_getaffinity(0))} cores, {ROUNDS} interleaved rounds\n")
    print("| reader | wall s, least | median | CPU s | to viscera | peak MiB | same voxels |")
    print("|---|---|---|---|---|---|---|")
    ours = found["viscera"]
    for reader, results in found.items():
        if reader in failed:
            print(f"| {reader} | {failed[reader]} | | | | | |")
            continue
        walls = [r["wall_s"] for r in results]
        pairs = zip(results, ours, strict=True)
        ratio = statistics.median(r["wall_s"] / o["wall_s"] for r, o in pairs)
        same = "yes" if results[0]["sum"] == ours[0]["sum"] else "no"
        print(
            f"| {reader} | {min(walls):.2f} | {statistics.median(walls):.2f} "
            f"| {statistics.median(r['cpu_s'] for r in results):.2f} | {ratio:.2f} "
            f"| {max(r['peak_mib'] for r in results):.0f} | {same} |"
        )


def main() -> None:
    if sys.argv[1:2] == ["--once"]:
        return read_once(sys.argv[2], Path(sys.argv[3]))
    with tempfile.TemporaryDirectory() as work:
        plain = Path(work) / "plain"
        if sys.argv[1:]:
            plain.symlink_to(Path(sys.argv[1]).resolve())
        else:
            write_phantom(plain)
        for name, syntax in SYNTAXES.items():
            folder = plain
            if syntax is not None:
                folder = Path(work) / name
                write_compressed(plain, folder, syntax)
            warm = Path(work) / "warm"
            warm.mkdir(exist_ok=True)
            for stale in warm.iterdir():
                stale.unlink()
            for path in sorted(folder.iterdir(), key=_height)[:3]:
                (warm / path.name).write_bytes(path.read_bytes())
            print_table(f"{name}, {len(list(plain.iterdir()))} slices", folder)


if __name__ == "__main__":
    main()
