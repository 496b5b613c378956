#!/usr/bin/env python3
"""Stand in for `docker` while holoscan-cli 4.2.0 packages viscera; started by `map.py`.

Answers its questions about builders, completes what it wrote and builds with Docker or podman.
Everything else goes to the engine as it is.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from app.errors import PackagingError
from app.package import context, manifests
from app.package.containerfile import install_steps, last_steps
from app.package.engine import Engine
from app.package.settings import MapSettings

#: The builder that the packager wants to create.
BUILDER = "holoscan_app_builder"
#: Instructions of its Dockerfile that need Ubuntu 24.04 or the internet, or that we do otherwise;
#: each has to be there once.
REPLACED = (
    r"RUN apt-get update .*\bcurl\b.*\bjq\b",
    r"RUN rm -f /etc/apt/sources\.list\.d/cuda",
    r"ENV PYTHON_VERSION=",
    r"ENV PYTHON_PIP_VERSION=",
    r"RUN apt update .*python3-minimal",
    r"RUN rm -rf /usr/lib/python3\.12/EXTERNALLY-MANAGED",
    r"USER \$UNAME",
    r"ENV PATH=/home/",
    r"ENV LD_LIBRARY_PATH=",
    r"COPY \./pip/requirements\.txt",
    r"RUN pip install --upgrade pip",
    r"RUN pip install --no-cache-dir --user",
    r"RUN pip install monai-deploy-app-sdk==",
    r"ENTRYPOINT ",
)
#: The wheels are installed here, before anything that changes with our code.
INSTALL_BEFORE = r"COPY \./tools "


def main(arguments: list[str]) -> int:
    engine = Engine(Path(os.environ["VISCERA_MAP_ENGINE"]))
    match arguments:
        case ["buildx", "build", *rest]:
            return build(engine, rest)
        case ["buildx", "ls", *_]:
            print(json.dumps({"Name": BUILDER, "Driver": "docker-container"}))
        case ["buildx", "create", *_]:
            print(BUILDER)
        case ["buildx", "inspect", *_]:
            print(f"Name: {BUILDER}\nDriver: docker-container")
        case _:
            return subprocess.call([str(engine.program), *arguments])
    return 0


def build(engine: Engine, arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--tag", required=True)
    parser.add_argument("--build-arg", action="append", default=[])
    known, _ = parser.parse_known_args(arguments)
    folder = Path(arguments[-1])
    try:
        complete(folder, known.file)
    except PackagingError as exc:
        print(f"viscera: {exc}", file=sys.stderr)
        return 34
    values = [word for value in known.build_arg for word in ("--build-arg", value)]
    return engine.build(folder, known.file, known.tag, values).returncode


def complete(folder: Path, dockerfile: Path) -> None:
    """Write what the packager leaves out of its context."""
    settings = MapSettings(
        gpu=bool(os.environ["VISCERA_MAP_GPU"]),
        wheels=Path(os.environ["VISCERA_MAP_WHEELS"]) if os.environ["VISCERA_MAP_WHEELS"] else None,
    )
    config = folder / "app.config"
    configuration = manifests.read_configuration(config.read_text("utf-8"), config)
    context.write_extras(folder, configuration, settings)
    ignored = folder / ".dockerignore"  # leaves out `wheels`
    ignored.unlink(missing_ok=True)
    full = {
        "app.json": context.full_app_manifest(configuration),
        "pkg.json": manifests.package_manifest(configuration, context.model_names(folder)),
    }
    for name, manifest in full.items():
        file = folder / "map" / name
        written = json.loads(file.read_text("utf-8"))
        file.write_text(json.dumps(manifests.completed(written, manifest), indent=2) + "\n")
    text = dockerfile.read_text("utf-8")
    dockerfile.write_text(edited(text, context.pip_wheel(folder), gpu=settings.gpu), "utf-8")


def edited(dockerfile: str, pip_wheel: str, *, gpu: bool) -> str:
    """The packager's Dockerfile with our installation and ending."""
    instructions = split(dockerfile)
    for pattern in REPLACED:
        found = [text for text in instructions if re.match(pattern, text, re.DOTALL)]
        if len(found) != 1:
            raise PackagingError(
                f"expected one instruction `{pattern}` in holoscan-cli's Dockerfile, found "
                f"{len(found)}: this is not version 4.2.0"
            )
        instructions.remove(found[0])
    (at,) = (i for i, text in enumerate(instructions) if re.match(INSTALL_BEFORE, text))
    instructions[at:at] = ["\n".join(install_steps(pip_wheel))]
    return "\n".join([*instructions, *last_steps(gpu=gpu), ""])


def split(dockerfile: str) -> list[str]:
    """Its instructions, each with its continuation lines; comments are left out."""
    lines = [line for line in dockerfile.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "\\\\\n    ", "\n".join(lines))
    return [text.strip() for text in re.split(r"(?<!\\)\n", joined) if text.strip()]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
