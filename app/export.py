"""`viscera export`: a model as a file for other programs, compared with its network."""

from __future__ import annotations

import argparse
from pathlib import Path

from operators.errors import OutputError

FORMATS = ("torchscript", "onnx", "monai")


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `export` to the commands of `viscera`."""
    parser = commands.add_parser("export", help="write a model for other programs")
    parser.add_argument("--model", help="name of the bundle (default: the one there is)")
    parser.add_argument("-m", "--models", type=Path, help="folder of bundles, or one bundle")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        required=True,
        help="torchscript or onnx: one file; monai: a folder for MONAI's bundle runner",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE|FOLDER")
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors")
    parser.add_argument("-v", "--verbose", action="store_true", help="print what is being done")
    parser.set_defaults(command=run_export)


def run_export(parsed: argparse.Namespace) -> int:
    """Export a model and print how far the result is from the original.

    Raises
    ------
    BundleError
        If there is no such model, or what was written gives other results.
    OutputError
        If it cannot be written.
    """
    from models.bundle_folders import find_bundle  # loads PyTorch
    from models.exporting.monai_folder import export_monai
    from models.exporting.onnx_file import export_onnx
    from models.exporting.torchscript import export_torchscript

    exports = {"torchscript": export_torchscript, "onnx": export_onnx, "monai": export_monai}
    bundle = find_bundle(parsed.model, parsed.models)
    try:
        outcome = exports[parsed.format](bundle, parsed.output)
    except OSError as exc:
        raise OutputError(f"cannot write {parsed.output}: {exc.strerror or exc}") from exc
    if not parsed.quiet:
        print(
            f"{parsed.output}: {bundle.name} {bundle.version}; largest difference "
            f"{outcome.largest:.1e} of {outcome.allowed:.1e} allowed over {outcome.windows} windows"
        )
    return 0
