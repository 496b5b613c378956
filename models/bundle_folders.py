"""Where bundles are: those that come with the package, and folders of bundles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from models.bundle import Bundle
from models.errors import BundleError
from models.interchange.reading import is_foreign, read_foreign

#: The models that come with the package.
SHIPPED = Path(__file__).parent / "bundles"
#: The one used where none is named.
DEFAULT_MODEL = "abdomen_vnet_3mm"


def find_bundle(name: str | None, root: Path | None = None) -> Bundle:
    """Find a model by name among those in `root`, or `root` itself where it is one.

    MONAI Model Zoo bundles, nnU-Net folders and exported TorchScript files are models too.

    Parameters
    ----------
    name
        Folder name of the bundle; None takes the default model, or the only one there is.
    root
        Folder of bundles, or one bundle; None is the models that come with the package.

    Raises
    ------
    BundleError
        If there is no such model, naming those that there are.
    """
    root = SHIPPED if root is None else root.resolve()  # `.` has a name too
    if name in (None, root.name) and _is_model(root):
        return _read_model(root)
    there, faults = _models_in(root)
    wanted = DEFAULT_MODEL if name is None else name
    if wanted in there:
        return _read_model(there[wanted])
    if faults:  # the one that is wanted may be among them
        raise faults[0]
    if name is None and len(there) == 1:
        return _read_model(next(iter(there.values())))
    if name is None and not there:
        raise BundleError(
            f"expected at {root} a model (a bundle, nnU-Net's folder with plans.json and "
            "dataset.json, exported TorchScript) or a folder of models, found "
            f"{'none' if root.exists() else 'nothing'}"
        )
    known = ", ".join(there) or "none"
    raise BundleError(f"expected a model named {wanted!r} in {root}, found {known}")


def _models_in(root: Path) -> tuple[dict[str, Path], list[BundleError]]:
    """By name, and what is wrong with those that cannot be told."""
    there, faults = {}, []
    for path in sorted(root.glob("*")):
        try:
            if _is_model(path):
                there[path.name] = path
        except BundleError as exc:
            faults.append(exc)
    return there, faults


def bundles_in(root: Path, on_fault: Callable[[BundleError], None]) -> list[Bundle]:
    """Every bundle in `root`, or `root` itself where it is one; by name.

    Parameters
    ----------
    on_fault
        Told what is wrong with each that cannot be read.

    Raises
    ------
    BundleError
        If there is none.
    """
    if _is_model(root):
        return [_read_model(root.resolve())]
    there, faults = _models_in(root)
    bundles = []
    for path in there.values():
        try:
            bundles.append(_read_model(path.resolve()))
        except BundleError as exc:
            faults.append(exc)
    if not bundles:
        raise faults[0] if faults else BundleError(f"expected models in {root}, found none")
    for fault in faults:
        on_fault(fault)
    return bundles


def _is_model(path: Path) -> bool:
    """Whether it is a bundle of ours, or a model in another's form (models/interchange)."""
    return is_bundle(path) or is_foreign(path)


def _read_model(path: Path) -> Bundle:
    return read_foreign(path) if is_foreign(path) else Bundle.read(path)


def is_bundle(folder: Path) -> bool:
    """Whether a folder has a bundle's configuration; raises BundleError where it is closed."""
    try:
        return (folder / "configs" / "metadata.json").is_file()
    except OSError as exc:
        raise BundleError(f"cannot read {folder}: {exc.strerror or exc}") from exc
