"""All of these compare numbers, so nothing may be computed in bfloat16."""

from __future__ import annotations

import pytest
import torch

from models.precision import Runtime


@pytest.fixture(autouse=True)
def _in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Runtime(device=torch.device("cpu"), dtype=torch.float32)
    monkeypatch.setattr("models.segmenter.choose_runtime", lambda *_: runtime)
