"""The manifests of a MAP: what the specification asks for and what holoscan-cli writes, in one.

The packager omits `type` and `output.format`, writes null where the configuration has the
specification's spelling `inputFormats`, and makes `models` an object where the specification has an
array; the array is what is written here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from app.errors import PackagingError
from app.package import layout

#: Of the schema of both manifests.
API_VERSION = "1.0.0"


@dataclass(frozen=True)
class MapConfiguration:
    """What an `app.yaml` says about the package; its other sections are for the application.

    Parameters
    ----------
    title, version
        Of the application.
    input_formats, output_formats
        Such as `file`.
    resources
        As in the specification's `pkg.json`.
    """

    title: str
    version: str
    input_formats: tuple[str, ...]
    output_formats: tuple[str, ...]
    resources: Mapping[str, Any]


def read_configuration(text: str, name: Path) -> MapConfiguration:
    """Understand an `app.yaml`; formats may be spelled as in the specification or the packager.

    Raises
    ------
    PackagingError
        If `application` with `title` and `version`, or `resources`, is missing.
    """
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as exc:
        raise PackagingError(f"{name}: expected YAML: {exc}") from exc
    application = _mapping(document, "application", name)
    for key in ("title", "version"):
        if not isinstance(application.get(key), str) or not application[key]:
            raise PackagingError(
                f"{name}: expected a text application.{key}, found {application.get(key)!r}"
            )
    return MapConfiguration(
        title=application["title"],
        version=application["version"],
        input_formats=_formats(application, "input", name),
        output_formats=_formats(application, "output", name),
        resources=_mapping(document, "resources", name),
    )


def _mapping(document: object, key: str, name: Path) -> Mapping[str, Any]:
    value = document.get(key) if isinstance(document, Mapping) else None
    if not isinstance(value, Mapping):
        raise PackagingError(f"{name}: expected a section `{key}`, found {value!r}")
    return value


def _formats(application: Mapping[str, Any], side: str, name: Path) -> tuple[str, ...]:
    found = application.get(f"{side}Formats", application.get(f"{side}-formats", ["file"]))
    if not isinstance(found, list) or not found or not all(isinstance(f, str) for f in found):
        raise PackagingError(f"{name}: expected a list of {side}Formats, found {found!r}")
    return tuple(found)


def app_manifest(configuration: MapConfiguration, sdk_version: str) -> dict[str, Any]:
    """`/etc/holoscan/app.json`; `command` is a list written as JSON text, as the packager does."""
    return {
        "apiVersion": API_VERSION,
        "type": "application",
        "command": json.dumps(["python3", layout.APP]),
        "environment": dict(layout.ENVIRONMENT),
        "input": {"path": "input/", "formats": list(configuration.input_formats)},
        "output": {
            "path": "output/",
            "format": configuration.output_formats[0],
            "formats": list(configuration.output_formats),
        },
        "readiness": None,
        "liveness": None,
        "sdk": "monai-deploy",
        "sdkVersion": sdk_version,
        "timeout": 0,
        "version": configuration.version,
        "workingDirectory": layout.WORK,
    }


def package_manifest(configuration: MapConfiguration, models: Sequence[str]) -> dict[str, Any]:
    """`/etc/holoscan/pkg.json` for the models of these names."""
    return {
        "apiVersion": API_VERSION,
        "applicationRoot": layout.APP,
        "modelRoot": layout.MODELS,
        "models": [{"name": name, "path": name} for name in sorted(models)],
        "resources": dict(configuration.resources),
        "version": configuration.version,
        "platformConfig": "dgpu",
    }


def monai_manifest(configuration: MapConfiguration, sdk_version: str) -> dict[str, Any]:
    """`/etc/monai/app.json` in the shape of App SDK 0.5; `command` is a command of the shell.

    mercure, which reads it, sends the DICOM files of the output folder but of no subfolder.
    """
    return {
        "api-version": "0.1.0",
        "command": f"{layout.ENTRY_POINT} flat",
        "environment": dict(layout.MONAI_ENVIRONMENT),
        "input": {"path": layout.INPUT, "formats": list(configuration.input_formats)},
        "output": {"path": layout.OUTPUT, "format": {"format": configuration.output_formats[0]}},
        "sdk-version": sdk_version,
        "timeout": 0,
        "version": configuration.version,
        "working-directory": layout.WORK,
    }


def completed(written: Mapping[str, Any], full: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest of the packager with what it lacks; what it has stays, but for `models`."""
    result: dict[str, Any] = {**written, **{k: v for k, v in full.items() if k not in written}}
    for key, value in full.items():
        if isinstance(value, dict) and isinstance(result[key], Mapping):
            result[key] = completed(result[key], value)
        elif result[key] is None or key == "models":
            result[key] = value
    return result
