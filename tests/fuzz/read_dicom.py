"""Damaged DICOM files, from bytes to a volume: only this package's own errors may come out.

An input is one file: an image, a multi-frame image, a DICOMDIR or a zip archive. It is put beside
two intact slices of the same series, so that what is still readable of it gets as far as the pixel
decoders and the volume. Besides libFuzzer's changes of bytes, single elements get other values.

Needs atheris, which is no dependency of the project. In the root of a checkout:

    pip install atheris
    python -m tests.fuzz.read_dicom CORPUS -timeout=10 -rss_limit_mb=2048 -max_total_time=300

Seeds are written to CORPUS if that is empty. An input that crashes it, takes longer than ten
seconds or more than 2 GiB is kept as `crash-...`, `timeout-...` or `oom-...`; giving its path in
place of CORPUS repeats it. Findings become tests in `tests/unit/operators/test_fuzz_findings.py`.
"""

from __future__ import annotations

import random
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["operators", "models", "pydicom"]):
    from tests.fuzz.damaged_files import Target, mutate, seeds


def mutated(data: bytes, max_size: int, seed: int) -> bytes:
    """As libFuzzer asks for it."""

    def change(data: bytes, most: int) -> bytes:
        return bytes(atheris.Mutate(data, most))

    return mutate(data, max_size, random.Random(seed), change)


def main() -> None:
    corpus = Path(next((a for a in sys.argv[1:] if not a.startswith("-")), "corpus"))
    if not corpus.exists() or (corpus.is_dir() and not any(corpus.iterdir())):
        corpus.mkdir(exist_ok=True, parents=True)
        for name, data in seeds():
            (corpus / name).write_bytes(data)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        atheris.Setup(sys.argv, Target(Path(name)), custom_mutator=mutated)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
