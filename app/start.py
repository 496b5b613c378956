"""Entry points; imports nothing of ours before the guard of our package names has spoken."""

from __future__ import annotations

import sys


def main() -> int:
    """Start `viscera`."""
    if (code := _guard()) is not None:
        return code
    from app.cli import main as run

    return run()


def main_map() -> int:
    """Start `python -m app`."""
    if (code := _guard()) is not None:
        return code
    from app.cli import main_map as run

    return run()


def _guard() -> int | None:
    """The exit code of a collision of package names, in which nothing else could be imported."""
    from app.errors import PackageCollisionError
    from app.packages import PACKAGE_COLLISION_EXIT_CODE, check_packages

    try:
        check_packages()
    except PackageCollisionError as exc:
        print(f"viscera: {exc}", file=sys.stderr)
        return PACKAGE_COLLISION_EXIT_CODE
    return None
