"""Checkpoints: whole or not at all, and of this very run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from models.errors import TrainingError
from models.training.checkpoint import FORMAT, identity, read_checkpoint, write_checkpoint
from models.training.plan import Optimiser, TrainingPlan
from tests.training_runs import STAGE, network, plan


class Interrupted(Exception):  # noqa: N818 - it is no error of the program's
    """The machine goes away."""


def who(
    net: nn.Module | None = None,
    the_plan: TrainingPlan | None = None,
    settings: dict[str, Any] | None = None,
    cases: tuple[str, ...] = ("a", "b"),
    samples: int = 10,
) -> dict[str, Any]:
    chosen = {"patch": [64, 96, 96]} if settings is None else settings
    return identity(net or network(), the_plan or plan(), chosen, cases, samples)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "c"
    content = {"identity": who(), "rows": [{"a": 0.1}], "best": None, "x": torch.eye(3)}
    write_checkpoint(path, content)
    found = read_checkpoint(path, who())
    assert torch.equal(found.pop("x"), torch.eye(3))
    assert found == {"format": FORMAT, "identity": who(), "rows": [{"a": 0.1}], "best": None}


def test_an_interrupted_write_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c"
    write_checkpoint(path, {"identity": who(), "step": 41})

    def cut_short(content: object, stream: Any) -> None:
        stream.write(b"half of it")
        raise Interrupted

    monkeypatch.setattr(torch, "save", cut_short)
    with pytest.raises(Interrupted):
        write_checkpoint(path, {"identity": who(), "step": 42})
    assert read_checkpoint(path, who())["step"] == 41


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="cannot write"):
        write_checkpoint(tmp_path / "absent" / "c", {})


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 broken"])
def test_a_damaged_file_is_told(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(content)
    with pytest.raises(TrainingError, match="cannot read the checkpoint"):
        read_checkpoint(tmp_path / "c", who())


def test_a_file_that_holds_more_than_values_is_not_read(tmp_path: Path) -> None:
    torch.save({"format": 1, "path": tmp_path}, tmp_path / "c")
    with pytest.raises(TrainingError, match="cannot read the checkpoint"):
        read_checkpoint(tmp_path / "c", who())


def test_a_checkpoint_of_another_program_is_told(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "c")
    with pytest.raises(TrainingError, match="no checkpoint of this trainer"):
        read_checkpoint(tmp_path / "c", who())


OTHER_RATE = plan(replace(STAGE, optimiser=Optimiser(learning_rate=0.03)))


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (who(cases=("a",)), "cases was a, b, is now a;"),
        (who(samples=11), "samples an epoch was 10, is now 11"),
        (who(the_plan=OTHER_RATE), r"plan.stages\[0\].optimiser.learning_rate was 0.02, is now 0"),
        (who(the_plan=plan(replace(STAGE, epochs=4))), r"plan.stages\[0\].epochs was 3, is now 4"),
        (
            who(settings={"cases": {"validation": ["c"]}}),
            "validation cases was none, is now c; name another folder",
        ),
        (
            who(
                settings={
                    "patch": [64, 96, 96],
                    "cases": {"sha256": dict.fromkeys("abcdefg", "3f9")},
                }
            ),
            "image or labels are not as they were in a, b, c, d, e and 2 more; name another",
        ),
        (who(settings={"patch": [64, 96, 80]}), "settings.patch was 64, 96, 96, is now 64, 96, 80"),
        (who(settings={}), "settings.patch was .*, is now absent"),
        (who(nn.Sequential(*network(), nn.Conv3d(2, 2, 1))), "network.5.weight was absent, is now"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(
    other: dict[str, Any], told: str, tmp_path: Path
) -> None:
    """Scores of a case that was learnt from earlier would be called scores of an unseen one."""
    write_checkpoint(tmp_path / "c", {"identity": who()})
    with pytest.raises(TrainingError, match=told):
        read_checkpoint(tmp_path / "c", other)


def test_what_does_not_alter_the_result_may_change(tmp_path: Path) -> None:
    recipe = {"notes": "once", "workers": 2}
    first = who(settings={"patch": (64, 96, 96), "train": recipe})
    write_checkpoint(tmp_path / "c", {"identity": first})
    others = who(
        the_plan=plan(checkpoint_every_s=1, workers=5),
        settings={"patch": (64, 96, 96), "train": {"notes": "again", "workers": 5}},
    )
    read_checkpoint(tmp_path / "c", others)


def test_what_does_not_alter_the_result_may_change_in_the_run_that_comes_first(
    tmp_path: Path,
) -> None:
    """Asking for its workers refused the whole run's checkpoint, though its own went on."""
    recipe = {"first": {"variant": "v", "train": {"steps": 4, "workers": 2, "notes": "once"}}}
    write_checkpoint(tmp_path / "c", {"identity": who(settings={"train": recipe})})
    for train in ({"steps": 4}, {"steps": 4, "checkpoint_every_s": 5.0}):
        others = who(settings={"train": {"first": {"variant": "v", "train": train}}})
        read_checkpoint(tmp_path / "c", others)
    longer = who(settings={"train": {"first": {"variant": "v", "train": {"steps": 5}}}})
    with pytest.raises(TrainingError, match=r"first\.train\.steps was 4, is now 5"):
        read_checkpoint(tmp_path / "c", longer)


def test_the_workers_of_a_first_run_may_be_its_only_setting(tmp_path: Path) -> None:
    recipe = {"first": {"variant": "v", "train": {"workers": 2}}}
    write_checkpoint(tmp_path / "c", {"identity": who(settings={"train": recipe})})
    for first in ({"variant": "v"}, {"variant": "v", "train": None}):
        read_checkpoint(tmp_path / "c", who(settings={"train": {"first": first}}))
