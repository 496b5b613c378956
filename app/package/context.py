"""Write the folder that a MAP is built from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from email import message_from_string
from importlib.metadata import distribution
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from app.errors import PackagingError
from app.package import entry_point, manifests
from app.package.containerfile import containerfile
from app.package.settings import MapSettings
from app.package.wheels import collect_wheels, needed_distributions
from app.packages import DISTRIBUTION, PACKAGES
from models.bundle import WEIGHTS
from models.bundle_folders import DEFAULT_MODEL, SHIPPED

CONTAINERFILE = "Containerfile"
#: What a GPU asks for in addition; the starter models need far less memory.
GPU_RESOURCES: Mapping[str, Any] = {"gpu": 1, "gpuMemory": "6Gi"}
START = '''"""Start of the application: Python puts this folder at the head of its search path."""

import sys

from app.start import main_map

if __name__ == "__main__":
    sys.exit(main_map())
'''


def stage_application(folder: Path, settings: MapSettings) -> manifests.MapConfiguration:
    """Write `app`, `models`, `docs` and `app.yaml`: all that holoscan-cli's packager is given.

    `app` holds `__main__.py` and our three packages, so that `python3 /opt/holoscan/app` finds
    them without any search path being set, and the metadata of the distribution, for its version.

    Raises
    ------
    PackagingError
        If the configuration or the models cannot be used.
    """
    configuration = _write_configuration(folder / "app.yaml", settings)
    app = folder / "app"
    for name in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__", *(["bundles"] if name == "models" else []))
        shutil.copytree(str(files(name)), app / name, ignore=ignored)
    (app / "__main__.py").write_text(START, "utf-8")
    needed = needed_distributions(settings.gpu)
    lines = [f"{name}=={version}\n" for name, version in needed.items()]
    (app / "requirements.txt").write_text("".join(lines), "utf-8")
    _write_metadata(app, folder / "docs")
    for bundle in _bundles(settings.models):
        shutil.copytree(bundle, folder / "models" / bundle.name)
    return configuration


def write_context(folder: Path, settings: MapSettings) -> manifests.MapConfiguration:
    """Write all that a build needs, Containerfile and wheels included; replaces an older context.

    Raises
    ------
    PackagingError
        If the folder holds something else, or something cannot be packaged.
    """
    _clear(folder)
    configuration = stage_application(folder, settings)
    write_extras(folder, configuration, settings)
    (folder / "map" / "app.json").write_text(_json(full_app_manifest(configuration)), "utf-8")
    package = manifests.package_manifest(configuration, model_names(folder))
    (folder / "map" / "pkg.json").write_text(_json(package), "utf-8")
    text = containerfile(labels(configuration), pip_wheel(folder), gpu=settings.gpu)
    (folder / CONTAINERFILE).write_text(text, "utf-8")
    return configuration


def write_extras(
    folder: Path, configuration: manifests.MapConfiguration, settings: MapSettings
) -> None:
    """Write what holoscan-cli's packager does not: wheels, entry point, the older manifest."""
    (folder / "map").mkdir(exist_ok=True)
    manifest = manifests.monai_manifest(configuration, sdk_version())
    (folder / "map" / "monai.json").write_text(_json(manifest), "utf-8")
    shutil.copyfile(entry_point.__file__, folder / "tools")
    (folder / "wheels").mkdir()
    collect_wheels(folder / "wheels", settings.gpu, settings.wheels)
    make_readable(folder)


def full_app_manifest(configuration: manifests.MapConfiguration) -> dict[str, Any]:
    """`app.json` of a MAP of this program."""
    return manifests.app_manifest(configuration, sdk_version())


def sdk_version() -> str:
    """Version of the App SDK."""
    return distribution("monai-deploy-app-sdk").version


def model_names(folder: Path) -> list[str]:
    """The models in a context."""
    return sorted(path.name for path in (folder / "models").iterdir())


def pip_wheel(folder: Path) -> str:
    """Name of the wheel of pip in a context."""
    return next((folder / "wheels").glob("pip-*.whl")).name


def labels(configuration: manifests.MapConfiguration) -> dict[str, str]:
    """Labels of the image: those of the specification and those that the packager writes."""
    return {
        "org.opencontainers.image.title": configuration.title,
        "org.opencontainers.image.version": configuration.version,
        "org.opencontainers.image.licenses": "Apache-2.0",
        "org.nvidia.holoscan": distribution("holoscan-cu13").version,
        "org.monai.deploy.app-sdk": sdk_version(),
    }


def make_readable(folder: Path) -> None:
    """Let everybody read, whatever the umask here: a MAP may run as any user."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path.name == "tools" else 0o644)


def _clear(folder: Path) -> None:
    try:
        held = list(folder.iterdir()) if folder.exists() else []
        if held and not (folder / CONTAINERFILE).is_file():
            raise PackagingError(f"expected {folder} to be empty or an older context, found files")
        if held:
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise PackagingError(f"cannot write to {folder}: {exc}") from exc


def _write_configuration(target: Path, settings: MapSettings) -> manifests.MapConfiguration:
    source = settings.config or Path(str(files("app") / "app.yaml"))
    try:
        text = source.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise PackagingError(f"cannot read the configuration {source}: {exc}") from exc
    configuration = manifests.read_configuration(text, source)
    if settings.gpu and not configuration.resources.get("gpu"):
        document = yaml.safe_load(text)
        document["resources"] = {**configuration.resources, **GPU_RESOURCES}
        text = yaml.safe_dump(document, sort_keys=False)
        configuration = manifests.read_configuration(text, source)
    target.write_text(text, "utf-8")
    return configuration


def _write_metadata(app: Path, docs: Path) -> None:
    """The distribution's name and version beside its packages, its documentation in `docs`."""
    installed = distribution(DISTRIBUTION)
    info = app / f"{DISTRIBUTION}-{installed.version}.dist-info"
    info.mkdir()
    head = f"Metadata-Version: 2.1\nName: {DISTRIBUTION}\nVersion: {installed.version}\n"
    (info / "METADATA").write_text(head, "utf-8")
    docs.mkdir()
    text = installed.read_text("METADATA") or installed.read_text("PKG-INFO") or head
    (docs / "README.md").write_text(str(message_from_string(text).get_payload()), "utf-8")
    licence = installed.read_text("licenses/LICENSE")
    if licence is not None:
        (docs / "LICENSE").write_text(licence, "utf-8")


def _bundles(models: Path | None) -> Sequence[Path]:
    """The bundles with weights of a folder, or the one bundle it is; else the default model."""
    root = models or SHIPPED / DEFAULT_MODEL
    if not root.is_dir():
        raise PackagingError(f"expected a folder of models, found none at {root}")
    candidates = [root] if (root / "configs").is_dir() else sorted(root.iterdir())
    found = [bundle for bundle in candidates if (bundle / WEIGHTS).is_file()]
    if not found:
        raise PackagingError(f"expected models with weights in {root}, found none")
    return found


def _json(manifest: Mapping[str, Any]) -> str:
    return json.dumps(manifest, indent=2) + "\n"
