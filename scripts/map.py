#!/usr/bin/env python3
"""Build the MAP with `monai-deploy package`, offline, with Docker or podman.

holoscan-cli 4.2.0 knows Docker alone, and its Dockerfile an Ubuntu 24.04 with CUDA and the
internet. So it is started with a program `docker` of ours first on the PATH: `map_docker.py`
completes the Dockerfile and the manifests it is handed, and builds with the engine there is.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from app.errors import PackagingError
from app.package.command import map_options, say_size, settings_of
from app.package.containerfile import BASE_IMAGE
from app.package.context import stage_application
from app.package.engine import find_engine

ADAPTER = Path(__file__).with_name("map_docker.py")
#: What the packager appends to the name of an image for `--platform x86_64`.
SUFFIX = "-x64-workstation-dgpu-linux-amd64"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    map_options(parser)
    parsed = parser.parse_args()
    try:
        return build(parsed)
    except PackagingError as exc:
        print(f"viscera: {exc}", file=sys.stderr)
        return 34


def build(parsed: argparse.Namespace) -> int:
    engine = find_engine(parsed.engine)
    settings = settings_of(parsed)
    with tempfile.TemporaryDirectory(prefix="viscera-map-") as name:
        work = Path(name)
        stage = work / "stage"
        stage.mkdir()
        configuration = stage_application(stage, settings)
        tag = parsed.tag or f"viscera{'-gpu' if parsed.gpu else ''}:{configuration.version}"
        (work / "artifacts.json").write_text(json.dumps(artifacts()), "utf-8")
        programs = work / "bin"
        programs.mkdir()
        (programs / "docker").write_text(f'#!/bin/sh\nexec "{sys.executable}" "{ADAPTER}" "$@"\n')
        (programs / "docker").chmod(0o755)
        environment = {
            **os.environ,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "VISCERA_MAP_ENGINE": str(engine.program),
            "VISCERA_MAP_GPU": "1" if settings.gpu else "",
            "VISCERA_MAP_WHEELS": str(settings.wheels.resolve()) if settings.wheels else "",
        }
        command = [str(Path(sys.executable).with_name("monai-deploy")), "package", "app"]
        command += ["-c", "app.yaml", "-t", tag, "--platform", "x86_64", "-m", "models"]
        command += ["-d", "docs", "--no-cache", "--source", str(work / "artifacts.json")]
        command += ["--base-image", parsed.base_image or BASE_IMAGE]
        done = subprocess.run(command, cwd=stage, env=environment, check=False)
    if done.returncode:
        raise PackagingError(f"monai-deploy package ended with {done.returncode}")
    name, _, label = tag.partition(":")
    say_size(engine, f"{name}{SUFFIX}:{label or configuration.version}")
    return 0


def artifacts() -> dict[str, object]:
    """What the packager would download: which base image belongs to which version of Holoscan."""
    holoscan = version("holoscan-cu13")
    return {
        holoscan: {
            "holoscan": {
                "debian-version": holoscan,
                "wheel-version": holoscan,
                "base-images": {"dgpu": BASE_IMAGE, "igpu": BASE_IMAGE, "cpu": BASE_IMAGE},
                "build-images": {"dgpu": {}, "igpu": {}, "cpu": {}},
            },
            "health-probes": {},
        }
    }


if __name__ == "__main__":
    sys.exit(main())
