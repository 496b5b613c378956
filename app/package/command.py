"""`viscera package`: write the folder that a MAP is built from, and build it."""

from __future__ import annotations

import argparse
from pathlib import Path

from app.errors import PackagingError
from app.package.engine import ENGINES, Engine, find_engine
from app.package.settings import MapSettings


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `package` to the commands of `viscera`."""
    parser = commands.add_parser("package", help="make a MONAI Application Package (MAP)")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    map_options(parser)
    parser.add_argument("--build", action="store_true", help="build the image as well")
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors")
    parser.add_argument("-v", "--verbose", action="store_true", help="print what is being done")
    parser.set_defaults(command=_package)


def map_options(parser: argparse.ArgumentParser) -> None:
    """Options of everything that makes a MAP."""
    parser.add_argument("-c", "--config", type=Path, help="another app.yaml")
    models = "folder of bundles, or one bundle (default: the default model alone)"
    parser.add_argument("-m", "--models", type=Path, help=models)
    parser.add_argument("--gpu", action="store_true", help="compute with CUDA")
    parser.add_argument("--wheels", type=Path, help="folder of wheels, instead of the index")
    parser.add_argument("--base-image", help="Debian or Ubuntu with the Python that runs this")
    parser.add_argument("--engine", choices=ENGINES, help="default: the one there is")
    parser.add_argument("-t", "--tag", help="name of the image")


def settings_of(parsed: argparse.Namespace) -> MapSettings:
    """What `map_options` said."""
    return MapSettings(
        config=parsed.config, models=parsed.models, wheels=parsed.wheels, gpu=parsed.gpu
    )


def say_size(engine: Engine, tag: str) -> None:
    """Print name and size of an image."""
    print(f"{tag}: {engine.size_bytes(tag) / 1e9:.2f} GB")


def _package(parsed: argparse.Namespace) -> int:
    from app.package.context import CONTAINERFILE, write_context  # loads PyTorch

    engine = find_engine(parsed.engine) if parsed.build else None  # rather now than after minutes
    configuration = write_context(parsed.output, settings_of(parsed))
    variant = "-gpu" if parsed.gpu else ""
    tag = parsed.tag or f"viscera-map{variant}:{configuration.version}"
    base = ["--build-arg", f"BASE_IMAGE={parsed.base_image}"] if parsed.base_image else []
    file = parsed.output / CONTAINERFILE
    if engine is None:
        if not parsed.quiet:
            words = " ".join((*base, "--network", "none", "-t", tag, "-f", str(file)))
            print(f"docker build {words} {parsed.output}")
        return 0
    if (done := engine.build(parsed.output, file, tag, base)).returncode:
        raise PackagingError(f"{engine.program.name} could not build {tag}: exit {done.returncode}")
    if not parsed.quiet:
        say_size(engine, tag)
    return 0
