"""The guard of our package names: `app`, `operators` and `models` are names others use too."""

from __future__ import annotations

import inspect
from importlib.metadata import Distribution, distributions

from app.errors import PackageCollisionError

#: What the process ends with; said here, since nothing else of ours may be importable.
PACKAGE_COLLISION_EXIT_CODE = 18
DISTRIBUTION = "viscera"
PACKAGES = ("app", "operators", "models")


def _top_level_names(distribution: Distribution) -> set[str]:
    """What a distribution makes importable, by its `top_level.txt` or else its list of files.

    As in `importlib.metadata.packages_distributions`, which reads the files from Python 3.11 only.
    """
    declared = distribution.read_text("top_level.txt")
    if declared:
        return set(declared.split())
    names = set()
    for file in distribution.files or ():
        name = file.parts[0] if len(file.parts) > 1 else inspect.getmodulename(file.name)
        names.add(name or "")
    return names


def check_packages() -> None:
    """Make sure that no other distribution provides one of our packages.

    Finding no owner at all is fine: in a MAP the code lies in the application's folder and no
    distribution is installed.

    Raises
    ------
    PackageCollisionError
        If one does; the message names it.
    """
    culprits = sorted(
        (str(distribution.metadata["Name"]), name)
        for distribution in distributions()
        for name in _top_level_names(distribution).intersection(PACKAGES)
        if distribution.metadata["Name"] != DISTRIBUTION
    )
    if culprits:
        found = ", ".join(f"{name!r} from {owner!r}" for owner, name in culprits)
        raise PackageCollisionError(
            f"expected the packages {', '.join(PACKAGES)} from {DISTRIBUTION!r} alone, found "
            f"{found}: uninstall it, or install {DISTRIBUTION} into an environment of its own"
        )
