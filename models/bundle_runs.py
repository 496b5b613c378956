"""What a bundle's `run` calls: `python -m monai.bundle run --config_file configs/inference.json`.

MONAI's runner knows arrays in NIfTI files; DICOM goes through `viscera`. A bundle that is run from
another folder is given its own as `--bundle_root`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from models.bundle import Bundle
from models.data.listing import nifti_files
from models.data.nifti import open_nifti, write_nifti
from models.data.problems import hu_fault, to_hu
from models.errors import TrainingError
from models.geometry import Volume
from models.precision import choose_device
from models.segmenter import Segmenter
from models.training.data_access import DataAccess
from models.training.pace import Progress
from models.training.recipe import Recipe
from models.training.recipe_run import run_recipe


def segment(bundle_root: str, dataset_dir: str, output_dir: str, device: str = "auto") -> None:
    """Segment every NIfTI file in `dataset_dir`.

    Each `NAME.nii.gz` becomes `output_dir/NAME_seg.nii.gz`, segment numbers on the image's grid.

    Raises
    ------
    TrainingError
        If there is no such file, or one is no CT in HU.
    BundleError
        If the bundle is damaged or has no weights.
    """
    sources = nifti_files(Path(dataset_dir))
    if not sources:
        raise TrainingError(f"expected NIfTI files in {dataset_dir}, found none")
    segmenter = Segmenter(Bundle.read(Path(bundle_root).resolve()), device)
    Path(output_dir).mkdir(parents=True, exist_ok=True)
    for source in sources:
        result = segmenter.segment(_volume(source))
        target = Path(output_dir) / f"{source.name.split('.nii')[0]}_seg.nii.gz"
        write_nifti(result.labels, result.geometry, target)
        print(f"{source} -> {target}", file=sys.stderr)


def train(bundle_root: str, dataset_dir: str, run_dir: str, device: str = "auto") -> None:
    """Train the bundle by its recipe, into `run_dir`.

    Raises
    ------
    TrainingError
        If the recipe or its data cannot be used.
    """
    recipe = Recipe.read(Bundle.read(Path(bundle_root).resolve()))
    access = DataAccess(root=Path(dataset_dir), cache=Path(run_dir) / "cache")
    trained = run_recipe(
        recipe, access, Path(run_dir), device=choose_device(device), on_progress=_tell
    )
    print(f"trained: {trained.folder}, sha256 {trained.sha256}", file=sys.stderr)


def _volume(path: Path) -> Volume:
    file = open_nifti(path)
    hu, extent = to_hu(file.read())
    fault = hu_fault(extent)
    if fault is not None:
        raise TrainingError(f"{path}: expected {fault[0]}, found {fault[1]}")
    return Volume(hu=np.ascontiguousarray(hu), geometry=file.geometry)


def _tell(progress: Progress) -> None:
    if progress.step % 25 == 0:
        print(
            f"{progress.stage} epoch {progress.epoch} step {progress.step} "
            f"loss {progress.loss:.3f} {100 * progress.done_share:.1f} %",
            file=sys.stderr,
            flush=True,
        )
