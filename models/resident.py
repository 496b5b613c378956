"""The networks that stay in memory between runs."""

from __future__ import annotations

from pathlib import Path

from models.bundle_folders import find_bundle
from models.segmenter import Segmenter
from models.turns import Turn, any_time


class ResidentModels:
    """Loads each model at its first use and keeps it.

    Parameters
    ----------
    root
        Folder of bundles, or one bundle; None is the models that come with the package.
    default
        Name of the bundle that is meant where none is named; None is the one there is.
    device
        `auto`, `cpu`, `gpu` or `gpu:N`.
    """

    def __init__(
        self, root: Path | None = None, default: str | None = None, device: str = "auto"
    ) -> None:
        self.root = root
        self.default = default
        self.device = device
        #: Held while a network works; to be set before the first use.
        self.turn: Turn = any_time
        self._segmenters: dict[str, Segmenter] = {}
        self._names: dict[str | None, str] = {}

    @property
    def loaded(self) -> tuple[Segmenter, ...]:
        """What is in memory, in order of first use."""
        return tuple(self._segmenters.values())

    def segmenter(self, name: str | None = None) -> Segmenter:
        """The network of a bundle, or of the default one.

        Raises
        ------
        BundleError
            If there is no such bundle, it is damaged, or there is no such device.
        """
        if name not in self._names:
            bundle = find_bundle(name or self.default, self.root)
            if bundle.name not in self._segmenters:
                self._segmenters[bundle.name] = Segmenter(bundle, self.device, self.turn)
            self._names[name] = bundle.name
        return self._segmenters[self._names[name]]
