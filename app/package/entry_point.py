#!/usr/bin/env python3
"""Entry point of the MAP, `/var/holoscan/tools`.

    show [app|pkg]   print the manifests
    env              print the environment
    extract          copy app, config, models and docs to what is mounted there:
                     /var/run/holoscan/export/{app,config,models,docs}, or all to .../export
    flat [...]       run the application, then link its DICOM files into the output folder itself,
                     for orchestrators that send what lies there and do not look into subfolders
    help             print this
    anything else    run the application with these arguments and end with its exit code

Imports nothing but the standard library.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

EXPORT = Path("/var/run/holoscan/export")


def main(arguments: Sequence[str]) -> int:
    """Do what the first argument says; returns the exit code."""
    commands: dict[str, Callable[[Sequence[str]], int]] = {
        "show": show,
        "env": show_environment,
        "extract": extract,
        "flat": run_flat,
        "help": show_help,
    }
    if arguments and arguments[0] in commands:
        return commands[arguments[0]](arguments[1:])
    return run_application(arguments)


def show(names: Sequence[str]) -> int:
    """Print one manifest as JSON alone, or both under headings."""
    manifests = {"app": "HOLOSCAN_APP_MANIFEST_PATH", "pkg": "HOLOSCAN_PKG_MANIFEST_PATH"}
    if unknown := set(names) - set(manifests):
        return _complain(f"expected show, show app or show pkg, found {' '.join(sorted(unknown))}")
    for name in names or manifests:
        if len(names) != 1:
            print(f" {name}.json ".center(72, "="))
        print(json.dumps(_read(manifests[name]), indent=2))
    return 0


def show_environment(_: Sequence[str] = ()) -> int:
    """Print the environment in alphabetical order."""
    for name, value in sorted(os.environ.items()):
        print(f"{name}={value}")
    return 0


def show_help(_: Sequence[str] = ()) -> int:
    """Print what there is."""
    print(__doc__)
    return 0


def extract(_: Sequence[str] = ()) -> int:
    """Copy what the package holds to the folders that are mounted for it."""
    if not EXPORT.is_dir():
        return _complain(f"expected a folder mounted at {EXPORT} or below, found none")
    parts = ("app", "config", "models", "docs")
    mounted = [part for part in parts if (EXPORT / part).is_dir()]
    for part in mounted or parts:
        try:
            _extract_part(part, EXPORT / part)
        except (OSError, shutil.Error) as exc:
            return _complain(f"cannot write {EXPORT / part} as uid {os.getuid()}: {exc}")
        print(f"copied {part} to {EXPORT / part}")
    return 0


def _extract_part(part: str, target: Path) -> None:
    env = os.environ
    if part == "config":
        target.mkdir(exist_ok=True)
        for name in ("APP_MANIFEST", "PKG_MANIFEST", "CONFIG"):
            source = Path(env[f"HOLOSCAN_{name}_PATH"])
            shutil.copyfile(source, target / source.name)
        return
    variable = {"app": "APPLICATION", "models": "MODEL_PATH", "docs": "DOCS_PATH"}[part]
    shutil.copytree(
        env[f"HOLOSCAN_{variable}"],
        target,
        copy_function=shutil.copyfile,
        ignore=shutil.ignore_patterns("__pycache__"),
        dirs_exist_ok=True,
    )


def run_application(arguments: Sequence[str]) -> int:
    """Run the command of the manifest and hand on signals; 128 + N if signal N ended it."""
    manifest = _read("HOLOSCAN_APP_MANIFEST_PATH")
    for name, value in manifest.get("environment", {}).items():
        os.environ.setdefault(name, value)
    process = subprocess.Popen([*_words(manifest["command"]), *arguments])
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _: process.send_signal(received))
    code = process.wait()
    return code if code >= 0 else 128 - code


def run_flat(arguments: Sequence[str]) -> int:
    """Run the application, and name its DICOM files in the output folder after their series."""
    env = os.environ
    output = Path(env.get("MONAI_OUTPUTPATH") or env["HOLOSCAN_OUTPUT_PATH"])
    code = run_application(arguments)
    for file in sorted(output.glob("*/*.dcm")):
        target = output / f"{file.parent.name}.dcm"
        target.unlink(missing_ok=True)
        try:
            os.link(file, target)
        except OSError:  # not every file system has links
            shutil.copyfile(file, target)
    return code


def _words(command: str) -> list[str]:
    """A command of a manifest, be it a JSON list or a line for the shell."""
    if command.startswith("["):
        return [str(word) for word in json.loads(command)]
    return shlex.split(command)


def _read(variable: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(os.environ[variable]).read_text("utf-8"))
    return content


def _complain(text: str) -> int:
    print(f"viscera: {text}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
