"""Errors of the `operators` package.

ImagingError
├── NothingUsableError    the input holds no readable DICOM image
├── RulesError            selection rules that cannot be understood
├── NothingSelectedError  no series fits the rules; carries every series' reason
├── VolumeError           a series whose slices do not form one regular volume
├── PixelDataError        pixel data that cannot be decoded
├── AnatomyError          a volume that shows another part of the body than the model knows
├── NoOrganError          a series in which no organ was found
├── EngineError          a library of this machine that the graph cannot run without
└── OutputError           a result that could not be written completely
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from operators.loading import SkippedFile
    from operators.selection import Decision


class ImagingError(Exception):
    """Base of every error that `operators` raises on purpose."""


class NothingUsableError(ImagingError):
    """The input holds no readable DICOM image.

    Parameters
    ----------
    message
        What was looked for and found.
    skipped
        Every file that was left out, with its reason.
    """

    def __init__(self, message: str, skipped: tuple[SkippedFile, ...] = ()) -> None:
        super().__init__(message)
        self.skipped = skipped


class RulesError(ImagingError):
    """Selection rules that cannot be understood."""


class NothingSelectedError(ImagingError):
    """No series fits the rules.

    Parameters
    ----------
    message
        What was looked for and found.
    decisions
        Why each series was passed over.
    """

    def __init__(self, message: str, decisions: tuple[Decision, ...] = ()) -> None:
        super().__init__(message)
        self.decisions = decisions


class VolumeError(ImagingError):
    """A series whose slices do not form one regular volume."""


class PixelDataError(ImagingError):
    """Pixel data that cannot be decoded."""


class AnatomyError(ImagingError):
    """A volume that shows another part of the body than the model was made for."""


class NoOrganError(ImagingError):
    """A series in which no organ was found, so that there is no segmentation to write."""


class EngineError(ImagingError):
    """A library of this machine that the graph cannot run without."""


class OutputError(ImagingError):
    """A result that could not be written completely."""
