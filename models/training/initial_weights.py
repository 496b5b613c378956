"""Weights that a training starts from: another bundle's, or a checkpoint's from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn

from models.bundle import Bundle, sha256_of
from models.errors import BundleError, TrainingError
from models.interchange.weights import first_line, read_state
from models.training.recipe import Recipe
from models.training.teacher import find_bundle_of

#: Checkpoints; anything else names a bundle.
SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt")


@dataclass(frozen=True, kw_only=True)
class InitialWeights:
    """What `initial_weights` of a recipe names.

    Parameters
    ----------
    name
        As the recipe gives it.
    state
        By the names of the recipe's network.
    sha256
        Of the file.
    bundle
        Whose weights they are; None for a checkpoint, of which nobody knows the cases.
    part
        The module whose weights alone are taken; the others begin at random. None takes all.
    """

    name: str
    state: Mapping[str, Tensor] = field(repr=False)
    sha256: str
    bundle: Bundle | None
    part: str | None = None

    @classmethod
    def of(cls, recipe: Recipe, beside: Path | None = None) -> InitialWeights | None:
        """Read them; None where a recipe starts from random ones. `beside` as in `find_teacher`.

        Raises
        ------
        TrainingError
            If there are no such weights, or they cannot be read.
        """
        wanted, part = map(recipe.content.get, ("initial_weights", "initial_part"))
        if wanted is None:
            if part is not None:
                raise TrainingError(f"initial_part: expected initial_weights beside {part!r}")
            return None
        if not isinstance(wanted, str):
            raise TrainingError(f"initial_weights: expected a name or path, found {wanted!r}")
        if not (part is None or (isinstance(part, str) and part)):
            raise TrainingError(f"initial_part: expected the name of a module, found {part!r}")
        try:
            bundle = None
            if not wanted.endswith(SUFFIXES):
                bundle = find_bundle_of(wanted, beside or recipe.bundle.folder.parent)
            if bundle is not None:
                return cls.from_bundle(bundle, wanted, part)
            path = Path(wanted).expanduser()
            return cls(
                name=wanted,
                state=read_state(path),
                sha256=sha256_of(path),
                bundle=None,
                part=part,
            )
        except BundleError as exc:
            raise TrainingError(f"initial_weights {wanted!r}: {exc}") from exc

    @classmethod
    def from_bundle(cls, bundle: Bundle, name: str, part: str | None) -> InitialWeights:
        """Those of a bundle; raises BundleError where it has none."""
        return cls(
            name=name,
            state=read_state(bundle.weights),
            sha256=sha256_of(bundle.weights),
            bundle=bundle,
            part=part,
        )

    def load_into(self, network: nn.Module) -> None:
        """Give a network these weights; raises TrainingError where they are of another one."""
        state, target = self.state, network
        if self.part is not None:
            start = f"{self.part}."
            state = {n[len(start) :]: v for n, v in state.items() if n.startswith(start)}
            target = dict(network.named_modules()).get(self.part, nn.Identity())
            if not state or not target.state_dict():
                raise TrainingError(
                    f"initial_part: expected a module of the network and of {self.name!r}, "
                    f"found {self.part!r}"
                )
        try:
            target.load_state_dict(state)
        except RuntimeError as exc:
            raise TrainingError(
                f"initial_weights {self.name!r} are of another network: {first_line(exc)}"
            ) from exc
