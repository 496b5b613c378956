"""Weights from elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from app.cli import main
from models.bundle import Bundle
from models.bundle_folders import find_bundle


def test_a_checkpoint_becomes_a_bundle_of_the_very_same_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(3)
    network = find_bundle("mobilenetv3_rsna").build_network().eval()
    torch.save({"state_dict": network.state_dict()}, tmp_path / "trained.pth")
    arguments = [str(tmp_path / "trained.pth"), "--model", "mobilenetv3_rsna"]
    assert main(["import", *arguments, "-o", str(tmp_path / "out")]) == 0
    assert "370 tensors" in capsys.readouterr().out
    bundle = Bundle.read(tmp_path / "out" / "mobilenetv3_rsna")
    volume = torch.rand(1, 1, 2, 64, 64)
    with torch.inference_mode():
        seen = bundle.load_network()(volume)
        again = bundle.as_volume_network(network)(volume)
    torch.testing.assert_close(seen, again, rtol=0, atol=0)


def test_a_checkpoint_of_another_network_is_refused(
    tiny_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pt")
    arguments = [str(tmp_path / "other.pt"), "--model", "tiny", "-m", str(tiny_bundle.folder)]
    assert main(["import", *arguments, "-o", str(tmp_path / "out")]) == 14
    assert "is of another network than tiny" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_weights_may_be_imported_in_place(
    tiny_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(4)
    network = tiny_bundle.build_network()
    torch.save(network.state_dict(), tmp_path / "trained.pth")
    models = str(tiny_bundle.folder.parent)
    arguments = [str(tmp_path / "trained.pth"), "--model", "tiny", "-m", models, "-o", models]
    assert main(["import", *arguments]) == 0
    written = Bundle.read(tiny_bundle.folder)
    assert written.sha256 != tiny_bundle.sha256
    torch.testing.assert_close(written.load_network().state_dict(), network.state_dict())
    assert [segment.name for segment in written.segments] == list(tiny_bundle.class_of)
