"""Where a training starts from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.bundle import Bundle
from models.errors import TrainingError
from models.training.initial_weights import InitialWeights
from models.training.recipe import Recipe


def recipe(bundle: Bundle, **content: object) -> Recipe:
    return Recipe(bundle=bundle, content=content)


def test_a_bundles_weights_are_taken_with_the_cases_they_know(tiny_bundle: Bundle) -> None:
    initial = InitialWeights.of(recipe(tiny_bundle, initial_weights=str(tiny_bundle.folder)))
    assert initial is not None
    assert initial.bundle is not None
    assert initial.sha256 == tiny_bundle.sha256
    network = tiny_bundle.build_network()
    initial.load_into(network)
    torch.testing.assert_close(network.state_dict(), tiny_bundle.load_network().state_dict())


def test_a_checkpoint_is_a_start_too(tiny_bundle: Bundle, tmp_path: Path) -> None:
    state = tiny_bundle.build_network().state_dict()
    torch.save(
        {"state_dict": {f"module.{name}": v for name, v in state.items()}}, tmp_path / "a.pth"
    )
    initial = InitialWeights.of(recipe(tiny_bundle, initial_weights=str(tmp_path / "a.pth")))
    assert initial is not None
    assert initial.bundle is None
    torch.testing.assert_close(dict(initial.state), dict(state))


def test_without_a_word_of_it_a_training_starts_from_nothing(tiny_bundle: Bundle) -> None:
    assert InitialWeights.of(recipe(tiny_bundle)) is None
    with pytest.raises(TrainingError, match="initial_part: expected initial_weights beside 'vit'"):
        InitialWeights.of(recipe(tiny_bundle, initial_part="vit"))


@pytest.mark.parametrize(
    ("wanted", "told"),
    [(3, "expected a name or path"), ("nobody", "nobody"), ("no/file.pth", "cannot read")],
)
def test_what_is_not_there_is_told(tiny_bundle: Bundle, wanted: object, told: str) -> None:
    with pytest.raises(TrainingError, match=told):
        InitialWeights.of(recipe(tiny_bundle, initial_weights=wanted))


def test_weights_of_another_network_are_refused(tiny_bundle: Bundle) -> None:
    initial = InitialWeights.of(recipe(tiny_bundle, initial_weights=str(tiny_bundle.folder)))
    assert initial is not None
    with pytest.raises(TrainingError, match="are of another network"):
        initial.load_into(torch.nn.Conv3d(1, 1, 1))


def test_a_part_of_another_network_is_a_start(tiny_bundle: Bundle, tmp_path: Path) -> None:
    donor = torch.nn.ModuleDict({"body": torch.nn.Conv3d(1, 2, 3), "head": torch.nn.Linear(5, 6)})
    torch.save(donor.state_dict(), tmp_path / "donor.pth")
    wanted = {"initial_weights": str(tmp_path / "donor.pth")}
    initial = InitialWeights.of(recipe(tiny_bundle, initial_part="body", **wanted))
    assert initial is not None
    network = torch.nn.ModuleDict({"body": torch.nn.Conv3d(1, 2, 3), "tail": torch.nn.PReLU()})
    initial.load_into(network)
    torch.testing.assert_close(network["body"].state_dict(), donor["body"].state_dict())
    assert network["tail"].weight.item() == 0.25
    for part in ("tail", "head", "nobody", "body.weight"):
        other = InitialWeights.of(recipe(tiny_bundle, initial_part=part, **wanted))
        assert other is not None
        with pytest.raises(TrainingError, match=f"expected a module .* found '{part}'"):
            other.load_into(network)
    with pytest.raises(TrainingError, match="are of another network"):
        initial.load_into(torch.nn.ModuleDict({"body": torch.nn.Conv3d(2, 2, 3)}))
    with pytest.raises(TrainingError, match="initial_part: expected the name of a module"):
        InitialWeights.of(recipe(tiny_bundle, initial_part=3, **wanted))
