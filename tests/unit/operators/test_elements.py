from __future__ import annotations

import pytest
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from operators.elements import numbers_of, values_of


def raw(keyword: str, vr: str, value: bytes) -> Dataset:
    """A header with one element as it is read from a file, not yet understood."""
    header, tag = Dataset(), Tag(keyword)
    header[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
    return header


def test_values_are_what_can_be_understood():
    header = Dataset()
    header.ImageType = ["ORIGINAL", "PRIMARY "]
    header.SliceThickness = "0"
    header.SeriesDescription = ""
    header.add_new("PixelSpacing", "DS", ["0.5", "0.7"])
    assert values_of(header, "ImageType") == ("ORIGINAL", "PRIMARY")
    assert values_of(header, Tag("ImageType")) == ("ORIGINAL", "PRIMARY")
    assert values_of(header, "SliceThickness") == (0,)
    assert values_of(header, "SeriesDescription") == ()
    assert values_of(header, "Modality") == ()
    assert numbers_of(header, "PixelSpacing", 2) == (0.5, 0.7)
    assert numbers_of(header, "PixelSpacing", 3) is None
    assert numbers_of(header, "ImageType", 2) is None


def test_a_sequence_and_an_unknown_keyword_have_no_values():
    header = Dataset()
    header.ReferencedImageSequence = [Dataset()]
    assert values_of(header, "ReferencedImageSequence") == ()
    assert values_of(header, "NoSuchKeyword") == ()


def test_text_comes_without_its_padding():
    assert values_of(raw("SOPInstanceUID", "UI", b"1.2.3\0"), "SOPInstanceUID") == ("1.2.3",)


@pytest.mark.parametrize("value", [b"thin", b"nan ", b"inf ", b"1e999 "])
def test_an_element_that_is_no_finite_number_gives_none(value):
    assert numbers_of(raw("SliceThickness", "DS", value), "SliceThickness", 1) is None


def test_an_element_that_cannot_be_parsed_has_no_value():
    assert values_of(raw("RevolutionTime", "FD", b"\1\2\3\4\5\6"), "RevolutionTime") == ()
