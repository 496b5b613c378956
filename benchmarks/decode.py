"""Time to decode a CT frame in each transfer syntax, ours and others in turn: decode.py [FOLDER]

FOLDER holds uncompressed CT files; without it a phantom is scanned.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import UID, JPEGLSLossless, RLELossless

from models.phantom import make_phantom
from operators.decoders import FrameFormat, decode_frame, decoder_for

FRAMES = 16
ROUNDS = 5
WORKERS = os.cpu_count() or 1

Frame = NDArray[np.int16]


@dataclass(frozen=True)
class Job:
    """Frames in one transfer syntax."""

    syntax: UID
    form: FrameFormat
    frames: tuple[bytes, ...]


def real_frames(folder: Path) -> list[Frame]:
    """Signed 16-bit pixels of the files in the middle of a folder."""
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    first = max(0, (len(paths) - FRAMES) // 2)
    return [dcmread(path).pixel_array.astype(np.int16) for path in paths[first : first + FRAMES]]


def phantom_frames() -> list[Frame]:
    """Slices of a phantom through the upper abdomen."""
    phantom = make_phantom(0, spacing_mm=(5.0, 0.8, 0.8), shape=(FRAMES, 512, 512))
    return list(phantom.volume.hu)


def encoders() -> dict[str, Callable[[Frame], bytes]]:
    """A lossless encoder for each transfer syntax; 12 and 8 bits where a syntax has no more."""

    def pydicom(syntax: UID, frame: Frame) -> bytes:
        rows, columns = frame.shape
        return get_encoder(syntax).encode(
            frame,
            rows=rows,
            columns=columns,
            samples_per_pixel=1,
            photometric_interpretation="MONOCHROME2",
            number_of_frames=1,
            bits_allocated=16,
            bits_stored=16,
            pixel_representation=1,
        )

    def lossless(frame: Frame, predictor: int) -> bytes:
        samples = frame.view(np.uint16)
        return bytes(
            imagecodecs.jpeg8_encode(samples, lossless=True, predictor=predictor, bitspersample=16)
        )

    def twelve_bit(frame: Frame) -> bytes:
        samples = np.clip(frame.astype(np.int32) + 1024, 0, 4095).astype(np.uint16)
        return bytes(imagecodecs.jpeg8_encode(samples, level=90, bitspersample=12))

    def eight_bit(frame: Frame) -> bytes:
        samples = np.clip((frame.astype(np.int32) + 1024) // 8, 0, 255).astype(np.uint8)
        return bytes(imagecodecs.jpeg8_encode(samples, level=90))

    def jpeg_2000(frame: Frame, level: int, reversible: bool) -> bytes:
        return bytes(
            imagecodecs.jpeg2k_encode(frame, codecformat="J2K", level=level, reversible=reversible)
        )

    def htj2k(frame: Frame) -> bytes:
        return bytes(imagecodecs.htj2k_encode(frame, reversible=True))

    found: dict[str, Callable[[Frame], bytes]] = {
        "1.2.840.10008.1.2.1": lambda frame: frame.astype("<i2").tobytes(),
        "1.2.840.10008.1.2.2": lambda frame: frame.astype(">i2").tobytes(),
        "1.2.840.10008.1.2.5": partial(pydicom, RLELossless),
        "1.2.840.10008.1.2.4.50": eight_bit,
        "1.2.840.10008.1.2.4.51": twelve_bit,
        "1.2.840.10008.1.2.4.57": partial(lossless, predictor=6),
        "1.2.840.10008.1.2.4.70": partial(lossless, predictor=1),
        "1.2.840.10008.1.2.4.80": partial(pydicom, JPEGLSLossless),
        "1.2.840.10008.1.2.4.90": partial(jpeg_2000, level=0, reversible=True),
        "1.2.840.10008.1.2.4.91": partial(jpeg_2000, level=70, reversible=False),
    }
    if hasattr(imagecodecs, "htj2k_encode"):
        found["1.2.840.10008.1.2.4.201"] = htj2k
    return found


def job(syntax: str, encode: Callable[[Frame], bytes], frames: Sequence[Frame]) -> Job:
    rows, columns = frames[0].shape
    stored = {"1.2.840.10008.1.2.4.50": 8, "1.2.840.10008.1.2.4.51": 12}.get(syntax, 16)
    form = FrameFormat(
        rows=rows,
        columns=columns,
        bits_allocated=8 if stored == 8 else 16,
        bits_stored=stored,
        signed=stored == 16,
    )
    return Job(UID(syntax), form, tuple(encode(np.ascontiguousarray(f)) for f in frames))


def ours(work: Job) -> None:
    for data in work.frames:
        decode_frame(data, work.syntax, work.form)


def ours_in(pool: Executor, work: Job) -> None:
    decode = partial(decode_frame, TransferSyntaxUID=work.syntax, form=work.form)
    for _ in pool.map(decode, work.frames):
        pass


def by_pydicom(plugin: str, work: Job) -> None:
    decoder = get_decoder(work.syntax)
    for data in work.frames:
        image = Dataset()
        image.Rows, image.Columns = work.form.rows, work.form.columns
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated, image.BitsStored = work.form.bits_allocated, work.form.bits_stored
        image.PixelRepresentation = int(work.form.signed)
        compressed = work.syntax.is_encapsulated
        image.add_new(
            "PixelData", "OB" if compressed else "OW", encapsulate([data]) if compressed else data
        )
        decoder.as_array(image, raw=True, decoding_plugin=plugin)


def plugins(syntax: UID) -> tuple[str, ...]:
    if not syntax.is_encapsulated:
        return ("",)
    return get_decoder(syntax).available_plugins


def milliseconds(ways: dict[str, Callable[[], None]], frames: int) -> dict[str, float]:
    """The least time per frame of each way, all of them in turn in every round."""
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(ROUNDS):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            best[name] = min(best[name], (time.perf_counter() - start) / frames * 1e3)
    return best


def ways_of(work: Job, threads: Executor, processes: Executor) -> dict[str, Callable[[], None]]:
    ways: dict[str, Callable[[], None]] = {
        "ours": partial(ours, work),
        "threads": partial(ours_in, threads, work),
        "processes": partial(ours_in, processes, work),
    }
    for name, plugin in {"pydicom": "", "gdcm": "gdcm"}.items():
        way = partial(by_pydicom, plugin, work)
        if plugin and plugin not in plugins(work.syntax):
            continue
        try:
            way()
        except (NotImplementedError, RuntimeError):  # it has no decoder for this: no row for it
            continue
        ways[name] = way
    return ways


def main() -> None:
    frames = real_frames(Path(sys.argv[1])) if len(sys.argv) > 1 else phantom_frames()
    rows, columns = frames[0].shape
    print(
        f"\n{len(frames)} frames of {rows} x {columns}, {WORKERS} cores, best of {ROUNDS} rounds, "
        f"ms a frame; in brackets times ours on one thread\n"
    )
    names = ("ours", "threads", "processes", "pydicom", "gdcm")
    titles = ("one thread", f"{WORKERS} threads", f"{WORKERS} processes", "pydicom", "gdcm")
    print("| transfer syntax | decoder | KiB | " + " | ".join(titles) + " |")
    print("|---" * (3 + len(titles)) + "|")
    with (
        ThreadPoolExecutor(WORKERS) as threads,
        ProcessPoolExecutor(WORKERS, get_context("spawn")) as processes,
    ):
        for syntax, encode in encoders().items():
            work = job(syntax, encode, frames)
            times = milliseconds(ways_of(work, threads, processes), len(frames))
            cells = [
                f"{times[n]:.2f} ({times[n] / times['ours']:.1f})" if n in times else "-"
                for n in names
            ]
            size = sum(map(len, work.frames)) / len(work.frames) / 1024
            name = f"{UID(syntax).name} {syntax.removeprefix('1.2.840.10008.1.2')}"
            print(
                f"| {name} | {decoder_for(syntax).name} | {size:.0f} | " + " | ".join(cells) + " |"
            )


if __name__ == "__main__":
    main()
