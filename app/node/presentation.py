"""What the listener accepts in negotiation: all storage classes, in what the node can decode."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from pydicom.uid import (
    UID,
    AllTransferSyntaxes,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom import AllStoragePresentationContexts, build_context
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    Verification,
)

from operators.decoders import (
    ENCAPSULATED_UNCOMPRESSED,
    JPEG_FULL_PROGRESSION,
    JPEG_SPECTRAL_SELECTION,
    decoder_for,
)
from operators.errors import PixelDataError

#: The uncompressed ones first: where a sender offers several in one context, the first here counts.
_CANDIDATES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    *AllTransferSyntaxes,
    ENCAPSULATED_UNCOMPRESSED,
    JPEG_SPECTRAL_SELECTION,
    JPEG_FULL_PROGRESSION,
)
_COMMANDS_ONLY: list[str | UID] = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]


class SharedContexts(list[PresentationContext]):
    """Contexts that every association reads and none alters.

    pynetdicom copies the list deeply for each association, which takes longer than to store an
    instance.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> SharedContexts:
        return self


@lru_cache(maxsize=1)
def decodable_syntaxes() -> tuple[str, ...]:
    """Transfer syntaxes that the installed decoders read, in the order of preference."""
    return tuple(dict.fromkeys(str(uid) for uid in _CANDIDATES if _is_decodable(str(uid))))


def _is_decodable(TransferSyntaxUID: str) -> bool:
    try:
        decoder_for(TransferSyntaxUID)
    except PixelDataError:
        return False
    return True


def supported_contexts() -> SharedContexts:
    """Verification, storage commitment, and every storage class there is.

    A study may hold any of them, and a sender that is refused one often gives up on all.
    """
    syntaxes: list[str | UID] = list(decodable_syntaxes())
    contexts = SharedContexts()
    contexts.append(build_context(Verification, _COMMANDS_ONLY))
    commitment = build_context(StorageCommitmentPushModel, _COMMANDS_ONLY)
    # peers ask us for commitment as SCU, and report on what we asked them for as SCP
    commitment.scu_role = commitment.scp_role = True
    contexts.append(commitment)
    for context in AllStoragePresentationContexts:
        contexts.append(build_context(str(context.abstract_syntax), syntaxes))
    return contexts
