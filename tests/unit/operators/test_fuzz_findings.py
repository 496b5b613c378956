"""What `tests/fuzz/read_dicom.py` has found; each once let an error of another library out."""

from __future__ import annotations

import pytest

from operators.errors import PixelDataError
from operators.volumes import build_volume
from tests.unit.operators.anisotropic_slices import (
    DEPTH,
    HEIGHT,
    WIDTH,
    headers_of,
    write_candidate,
)


@pytest.mark.parametrize("syntax", ["1.2.3.4", "1.2.840.10008.1.1", "1.2.840.10008.1.2.9"])
@pytest.mark.parametrize("first", [True, False])
def test_a_transfer_syntax_that_is_none_has_no_decoder(tmp_path, syntax, first):
    zeros = [[[0] * WIDTH] * HEIGHT] * DEPTH
    candidate = write_candidate(tmp_path / "series", headers_of(), zeros)
    for frame in candidate.frames[:1] if first else candidate.frames[1:]:
        frame.instance.header.file_meta.TransferSyntaxUID = syntax
    with pytest.raises(PixelDataError, match=syntax):
        build_volume(candidate)
