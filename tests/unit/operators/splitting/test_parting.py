"""What is parted whatever its position, and what nothing may part or crash; by headers alone."""

from __future__ import annotations

import random

import numpy as np
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from operators.dicom_file import REQUIRED_UIDS


@pytest.mark.parametrize(
    ("ImageType", "name"),
    [
        (r"ORIGINAL\PRIMARY\LOCALIZER", "LOCALIZER"),
        (r"DERIVED\SECONDARY\REF_SURVIEW", "REF_SURVIEW"),
        (r"ORIGINAL\PRIMARY\AXIAL\CT_SOM5 TOP", "CT_SOM5 TOP"),
        (r"DERIVED\SECONDARY\SCREEN SAVE", "SCREEN SAVE"),
        (r"DERIVED\SECONDARY\DOSE_INFO", "DOSE_INFO"),
        (r"DERIVED\SECONDARY\OTHER\CT_SOM5 PROT", "CT_SOM5 PROT"),
        (r"DERIVED\SECONDARY\REFORMATTED\AVERAGE", "REFORMATTED"),
        (r"ORIGINAL\PRIMARY\MPR_THICK", "MPR_THICK"),
        (r"DERIVED\SECONDARY\AXIAL\CSA MIP", "CSA MIP"),
        (r"DERIVED\PRIMARY\PROJECTION IMAGE", "PROJECTION IMAGE"),
        (r"DERIVED\PRIMARY\VOLUME\MAX_IP", "MAX_IP"),
        (r"DERIVED\PRIMARY\AXIAL", r"DERIVED\PRIMARY"),
        (r"ORIGINAL\SECONDARY\AXIAL", r"ORIGINAL\SECONDARY"),
    ],
)
def test_another_kind_of_image_is_parted_from_the_slices_even_where_it_would_fit(
    scanner, ImageType, name
):
    scanner.scan(range(6))
    scanner.scan([6, 7], ImageType=ImageType.split("\\"))
    found = scanner.parts()
    assert found == {
        r"ImageType ORIGINAL\PRIMARY": scanner.numbers(1, 6),
        f"ImageType {name}": [7, 8],
    }


def test_colour_images_are_parted(scanner):
    scanner.scan(range(4), SamplesPerPixel=1)
    scanner.scan([4], SamplesPerPixel=3)
    assert list(scanner.parts()) == [r"ImageType ORIGINAL\PRIMARY", "SamplesPerPixel 3"]


def test_screens_without_position_lie_in_a_part_of_their_own(scanner):
    scanner.scan(range(4))
    scanner.header(PixelSpacing=None, ImageOrientationPatient=None)
    scanner.header(Rows=512, ImagePositionPatient=["0", "0", "0"], ImageOrientationPatient=[0] * 6)
    found = scanner.candidates()
    assert scanner.parts(found) == {
        r"ImageType ORIGINAL\PRIMARY": [1, 2, 3, 4],
        "no position": [5, 6],
    }
    assert found[0].notes == ("the series holds 2 kinds of images that form no volume together",)


def test_jitter_of_rounding_does_not_split(scanner):
    generator = np.random.default_rng(5)
    base = scanner.axes(12.345, 3)[:, :2].T.ravel()
    for n in range(60):
        cosines = base + generator.uniform(-9e-5, 9e-5, 6)
        spacing = np.array([0.75, 1.25]) + generator.uniform(-4e-6, 4e-6, 2)
        scanner.scan([n])
        scanner.instances[-1].header.ImageOrientationPatient = [f"{c:.6f}" for c in cosines]
        scanner.instances[-1].header.PixelSpacing = [f"{s:.7f}" for s in spacing]
    (only,) = scanner.candidates()
    assert len(only.frames) == 60


@pytest.mark.parametrize(
    ("elements", "names"),
    [
        ({"Rows": 6}, ("5 x 4", "6 x 4")),
        (
            {"PixelSpacing": [0.75, 1.26]},
            ("PixelSpacing 0.75 x 1.25 mm", "PixelSpacing 0.75 x 1.26 mm"),
        ),
        ({"PixelSpacing": None}, ("PixelSpacing 0.75 x 1.25 mm", "PixelSpacing absent")),
        ({"FrameOfReferenceUID": "1.8"}, ("FrameOfReferenceUID 1.9", "FrameOfReferenceUID 1.8")),
    ],
)
def test_other_geometry_is_parted_and_named_by_what_differs(scanner, elements, names):
    scanner.scan(range(6))
    scanner.scan(range(3, 8), **elements)
    assert scanner.parts() == {names[0]: scanner.numbers(1, 6), names[1]: scanner.numbers(7, 11)}


def test_other_orientations_are_parted_and_named_by_their_plane(scanner):
    scanner.scan(range(6))
    scanner.scan(range(5), scanner.axes(90))
    scanner.scan(range(4), scanner.axes(90, 90))
    scanner.scan(range(3), scanner.axes(45))
    scanner.scan(range(2), scanner.axes(10))
    found = scanner.parts()
    assert [name.split(",")[0] for name in found] == [
        "axial",
        "coronal",
        "sagittal",
        "oblique",
        "axial",
    ]
    assert len(found) == 5


def test_frames_of_reference_that_no_two_images_share_say_nothing(scanner):
    scanner.scan(range(6), FrameOfReferenceUID=lambda n: f"1.9.{n}")
    (only,) = scanner.candidates()
    assert len(only.frames) == 6


def test_parts_of_one_kind_keep_the_name_of_their_kind(scanner):
    scanner.scan(range(6), AcquisitionNumber=1)
    scanner.scan(range(6), AcquisitionNumber=2)
    scanner.scan([0], scanner.axes(90), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    assert [c.part for c in scanner.candidates()] == [
        r"ImageType ORIGINAL\PRIMARY, AcquisitionNumber 1",
        r"ImageType ORIGINAL\PRIMARY, AcquisitionNumber 2",
        "ImageType LOCALIZER",
    ]


def hopeless(scanner) -> None:
    """Headers that say nothing, or nonsense."""
    scanner.header(**dict.fromkeys(("Rows", "ImageOrientationPatient", "PixelSpacing"), None))
    empty = scanner.header()
    for keyword in list(empty.dir()):
        if keyword not in REQUIRED_UIDS:
            del empty[keyword]
    nonsense = {
        "ImagePositionPatient": b"nan\\inf\\1e400",
        "ImageOrientationPatient": b"1e308\\1e308\\1e308\\-1e308\\1e308\\0",
        "PixelSpacing": b"NaN\\NaN",
        "AcquisitionNumber": b"NaN ",
        "InstanceNumber": b"one ",
        "KVP": b"\\\\\\ ",
        "ImageType": b"\xff\xfe\\\\nan\\\x00\x1b ",
        "ContentTime": b"noon",
        "FrameOfReferenceUID": b"\xff\xff\xff\xff",
        "Rows": b"\x01",
    }
    for text in (b"", b"1\\0\\0\\0\\1\\0"):
        header = scanner.header(ImagePositionPatient=["0", "0", "1e300"])
        for keyword, value in nonsense.items():
            tag = Tag(keyword)
            vr = "US" if keyword == "Rows" else header[tag].VR if tag in header else "DS"
            header[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
        if text:
            header.ImageOrientationPatient = text.decode().split("\\")


def test_hopeless_headers_are_parted_from_the_slices_and_crash_nothing(scanner):
    hopeless(scanner)
    (alone,) = scanner.candidates()
    assert len(alone.frames) == 4
    scanner.scan(range(5))
    slices, rest = scanner.candidates()
    assert len(slices.frames) == 5
    assert (rest.part, len(rest.frames)) == ("no position", 4)


def test_nonsense_in_telling_elements_separates_nothing_wrongly(scanner):
    scanner.scan(range(4), AcquisitionNumber=1)
    scanner.scan(range(4), AcquisitionNumber=2)
    for instance in scanner.instances:
        for keyword in ("KVP", "ContentTime", "TemporalPositionIdentifier"):
            tag = Tag(keyword)
            instance.header[tag] = RawDataElement(tag, "IS", 4, b"NaN ", 0, False, True)
    assert list(scanner.parts().values()) == [scanner.numbers(1, 4), scanner.numbers(5, 8)]


def test_neither_order_of_files_nor_their_names_show(scanner):
    for n in range(12):
        for phase in (1, 2, 3):
            scanner.scan([n], scanner.axes(5, 6), AcquisitionNumber=phase)
    scanner.scan([0, 1], scanner.axes(90), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    scanner.scan(range(4), scanner.axes(90, 90), ConvolutionKernel="A")
    scanner.scan(range(4), scanner.axes(90, 90), ConvolutionKernel="B")
    hopeless(scanner)

    def shown(seed: int | None) -> list[tuple[str, tuple[str, ...], list[str]]]:
        return [
            (c.part, c.notes, [frame.SOPInstanceUID for frame in c.frames])
            for c in scanner.candidates(seed)
        ]

    first = shown(None)
    assert len(first) == 7
    assert len({part for part, _, _ in first}) == 7
    assert sum(len(uids) for _, _, uids in first) == len(scanner.instances)
    for seed in range(5):
        assert shown(seed) == first
    text = repr([(part, notes) for part, notes, _ in first])
    assert "Doe" not in text
    assert "SECRET" not in text


@pytest.mark.parametrize("seed", range(40))
def test_whatever_varies_every_image_lies_in_one_part_and_repeats_are_admitted(scanner, seed):
    generator = random.Random(seed)
    varying = {
        "AcquisitionNumber": (1, 2, 3, None),
        "KVP": ("80", "80", "140"),
        "ImageType": (["ORIGINAL", "PRIMARY", "AXIAL"], ["ORIGINAL", "PRIMARY", "LOCALIZER"]),
        "ContentTime": ("101500", "101501.5", "noon", ""),
        "TemporalPositionIdentifier": (1, 2),
        "InstanceNumber": tuple(range(30)),
        "ConvolutionKernel": ("A", "B"),
    }
    chosen = generator.sample(sorted(varying), 3)
    for _ in range(generator.randint(1, 30)):
        scanner.scan(
            [generator.choice((0, 1, 2, 3, 3.3))],
            scanner.axes(generator.choice((0, 0, 0, 90))),
            **{keyword: generator.choice(varying[keyword]) for keyword in chosen},
        )
    found = scanner.candidates()
    uids = [frame.SOPInstanceUID for c in found for frame in c.frames]
    assert sorted(uids) == sorted(i.SOPInstanceUID for i in scanner.instances)
    assert len({c.part for c in found}) == len(found)
    for candidate in found:
        places = {str(frame.header.ImagePositionPatient) for frame in candidate.frames}
        is_repeating = len(places) < len(candidate.frames)
        assert is_repeating == any("nothing tells them apart" in n for n in candidate.notes)
    assert [c.part for c in scanner.candidates(seed)] == [c.part for c in found]


def test_thousands_of_images_are_told_apart(scanner):
    scanner.scan(range(2500), scanner.axes(3, 4), ContentTime=lambda n: scanner.clock(0.01 * n))
    scanner.scan(
        range(2499, -1, -1), scanner.axes(3, 4), ContentTime=lambda n: scanner.clock(60 + 0.01 * n)
    )
    assert [len(c.frames) for c in scanner.candidates(seed=1)] == [2500, 2500]
