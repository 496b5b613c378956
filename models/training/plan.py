"""How a network is trained: one or several stages, each with its length, loss and optimiser."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from models.errors import TrainingError
from models.training.memory_format import NAMES, MemoryFormat

#: Part of a warm-up schedule in which the rate rises, where nothing is said.
WARMUP = 0.02


def _check(right: bool, expected: str, found: object) -> None:
    if not right:
        raise TrainingError(f"expected {expected}, found {found!r}")


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """Weights of the sum that is minimised; 0 leaves a term out.

    `dice_of_background` counts background as one of the classes of soft Dice: without another
    term nothing else would keep organs out of it.

    `dice_of_absent` counts organs of which a sample shows none, each voxel drawn there by mistake
    for much. A network that learns slowly where organs are then never dares to draw the small
    ones, which most samples lack; without, cross-entropy alone tells it of such mistakes.
    """

    cross_entropy: float = 0.0
    dice: float = 0.0
    focal: float = 0.0
    dice_of_background: bool = False
    dice_of_absent: bool = True

    def __post_init__(self) -> None:
        weights = (self.cross_entropy, self.dice, self.focal)
        _check(
            min(weights) >= 0 and math.isfinite(sum(weights)) and sum(weights) > 0,
            "weights of the loss from 0 up, one of them positive",
            weights,
        )


#: Equal parts of cross-entropy and soft Dice, the field's usual sum (Isensee 2021).
DICE_AND_CROSS_ENTROPY = LossWeights(cross_entropy=1.0, dice=1.0)


@dataclass(frozen=True, kw_only=True)
class Optimiser:
    """An optimiser's settings; `momentum` (Nesterov's) is SGD's alone."""

    name: Literal["AdamW", "Adam", "SGD"] = "AdamW"
    learning_rate: float = 1e-4
    weight_decay: float = 1e-5
    momentum: float = 0.9

    def __post_init__(self) -> None:
        _check(0 < self.learning_rate < math.inf, "a learning rate over 0", self.learning_rate)
        _check(0 <= self.weight_decay < math.inf, "a weight decay from 0 up", self.weight_decay)
        _check(0 < self.momentum < 1, "a momentum between 0 and 1", self.momentum)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How the learning rate goes over a stage.

    Parameters
    ----------
    name
        `constant`; `cosine` from the full rate to 0; `warmup_cosine`, which first rises linearly;
        `polynomial`, (1 - done)^0.9 as nnU-Net has it.
    warmup, warmup_epochs
        Length of the rise as a share of the stage, or in epochs; at most one of them.
    """

    name: Literal["constant", "cosine", "warmup_cosine", "polynomial"] = "constant"
    warmup: float | None = None
    warmup_epochs: float | None = None

    def __post_init__(self) -> None:
        given = [value for value in (self.warmup, self.warmup_epochs) if value is not None]
        if self.name != "warmup_cosine":
            _check(not given, f"no warm-up in the schedule {self.name!r}", given)
        _check(len(given) < 2, "warmup or warmup_epochs, not both", given)
        _check(all(0 < value < math.inf for value in given), "a warm-up over 0", given)
        _check(self.warmup is None or self.warmup < 1, "a share below 1 as warmup", self.warmup)


@dataclass(frozen=True, kw_only=True)
class EarlyStop:
    """End a stage once its value has not gained more than `minimum_gain` for so many epochs."""

    patience_epochs: int = 10
    minimum_gain: float = 0.0

    def __post_init__(self) -> None:
        _check(self.patience_epochs >= 1, "a patience of 1 epoch or more", self.patience_epochs)
        _check(0 <= self.minimum_gain < math.inf, "a minimum gain from 0 up", self.minimum_gain)


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """Learn from the probabilities of a trained network too (models/training/distillation.py).

    Parameters
    ----------
    teacher
        Name or folder of its bundle, see `models.training.teacher.find_teacher`.
    weight
        Part of the loss, 0 to 1; the labels have the rest.
    where
        `unlabelled` asks the teacher only where labels are unknown and about classes that a case
        does not label.
    """

    teacher: str
    weight: float = 0.4
    where: Literal["everywhere", "unlabelled"] = "everywhere"

    def __post_init__(self) -> None:
        _check(bool(self.teacher.strip()), "the name or folder of a teacher", self.teacher)
        _check(0 <= self.weight <= 1, "a weight of distillation from 0 to 1", self.weight)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stretch of training with settings of its own.

    Parameters
    ----------
    epochs, steps, minutes
        Its length: exactly one of them. A length in minutes counts the training itself, over all
        sessions of the run, and its learning rate follows that time: alone among the three it
        does not repeat to the bit.
    batch
        Samples that go through the network at once, on one device.
    accumulate
        Batches whose gradients make one step of the optimiser. The `batch * accumulate` samples
        of a step are dealt to all processes, so their number does not alter the training.
    amp
        Precision of the forward pass: `off` is float32; `auto` is bfloat16 where the device
        calculates in it, else float16 on a GPU and float32 on a processor.
    ema_decay
        Decay a step of averaged weights, which then are the result; 0 for none.
    gradient_clip
        Largest norm of the gradient, or None.
    """

    name: str = "train"
    epochs: int | None = None
    steps: int | None = None
    minutes: float | None = None
    batch: int = 1
    accumulate: int = 1
    loss: LossWeights = DICE_AND_CROSS_ENTROPY
    optimiser: Optimiser = field(default_factory=Optimiser)
    schedule: Schedule = field(default_factory=Schedule)
    amp: Literal["off", "bf16", "fp16", "auto"] = "off"
    ema_decay: float = 0.0
    gradient_clip: float | None = 1.0
    early_stop: EarlyStop | None = None
    distillation: Distillation | None = None
    validate_every_epochs: int = 1

    def __post_init__(self) -> None:
        _check(bool(self.name.strip()), "a name of the stage", self.name)
        lengths = {"epochs": self.epochs, "steps": self.steps, "minutes": self.minutes}
        given = {name: value for name, value in lengths.items() if value is not None}
        _check(len(given) == 1, "exactly one of epochs, steps and minutes", given)
        _check(all(0 < value < math.inf for value in given.values()), "a length over 0", given)
        for name in ("batch", "accumulate", "validate_every_epochs"):
            _check(getattr(self, name) >= 1, f"{name} of 1 or more", getattr(self, name))
        _check(0 <= self.ema_decay < 1, "ema_decay from 0 to below 1", self.ema_decay)
        _check(
            self.gradient_clip is None or 0 < self.gradient_clip < math.inf,
            "a gradient_clip over 0",
            self.gradient_clip,
        )
        if self.minutes is not None:
            _check(
                self.schedule.warmup_epochs is None,
                "warmup as a share where the length is in minutes",
                {"warmup_epochs": self.schedule.warmup_epochs},
            )

    @property
    def group(self) -> int:
        """Samples of one optimiser step, over all processes."""
        return self.batch * self.accumulate


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """All that a run depends on besides its samples and its network.

    Parameters
    ----------
    stages
        One after the other, each from the best weights of the one before.
    seed
        Of dropout and the like; feeds have their own.
    workers
        Threads that draw samples ahead.
    checkpoint_every_s
        Seconds between two checkpoints.
    memory_format
        How weights lie in memory while they are trained, see `models.training.memory_format`.
    """

    stages: tuple[Stage, ...]
    seed: int = 0
    workers: int = 1
    checkpoint_every_s: float = 120.0
    memory_format: MemoryFormat = "contiguous"

    @property
    def teachers(self) -> list[str]:
        """Teachers that the stages ask, each once."""
        settings = (stage.distillation for stage in self.stages)
        return list(dict.fromkeys(each.teacher for each in settings if each and each.weight))

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        _check(bool(names) and len(set(names)) == len(names), "stages of different names", names)
        _check(self.seed >= 0, "a seed from 0 up", self.seed)
        _check(self.workers >= 1, "1 worker or more", self.workers)
        _check(self.checkpoint_every_s >= 0, "seconds from 0 up", self.checkpoint_every_s)
        _check(self.memory_format in NAMES, f"one of {', '.join(NAMES)}", self.memory_format)
