"""Anthropomorphic CT phantoms of the abdomen with known organs."""

from models.phantom.phantom import Phantom, make_phantom, phantom_case

__all__ = ["Phantom", "make_phantom", "phantom_case"]
