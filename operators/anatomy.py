"""A model is used on the part of the body it was made for."""

from __future__ import annotations

from models.anatomy import Anatomy
from operators.errors import AnatomyError


def require_region(anatomy: Anatomy, body_region: str) -> None:
    """Refuse what shows another part of the body.

    Parameters
    ----------
    anatomy
        What a volume shows.
    body_region
        What a model was made for; only `abdomen` can be told from others, anything else passes.

    Raises
    ------
    AnatomyError
        With what was expected and found.
    """
    if body_region == "abdomen" and not anatomy.shows_abdomen:
        raise AnatomyError(f"not this anatomy: expected an abdomen, {anatomy.reason}")
