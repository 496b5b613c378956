from __future__ import annotations

from dataclasses import replace

import pytest

from operators.algorithm import Algorithm
from operators.errors import OutputError

ALGORITHM = Algorithm(
    name="VNet abdomen", version="0.1.0", manufacturer="viscera", model_sha256="0a" * 32
)


@pytest.mark.parametrize("digest", ["", "0a", "zz" * 32])
def test_weights_need_a_digest(digest: str) -> None:
    with pytest.raises(OutputError, match="SHA-256"):
        replace(ALGORITHM, model_sha256=digest)


def test_algorithm_texts_fit_dicom() -> None:
    with pytest.raises(OutputError, match="64 characters"):
        replace(ALGORITHM, name="x" * 65)
