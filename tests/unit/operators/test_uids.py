from __future__ import annotations

import uuid

import pytest
from pydicom.uid import UID

from operators.uids import derived_uid


def test_uid_is_a_uuid_under_2_25() -> None:
    for text in ("", "a", "1.2.840.10008", "größer"):
        uid = derived_uid("series", text)
        assert UID(uid).is_valid
        assert len(uid) <= 44
        root, number = uid.rsplit(".", 1)
        assert root == "2.25"
        assert uuid.UUID(int=int(number)).variant == uuid.RFC_4122
        assert uuid.UUID(int=int(number)).version == 8


def test_same_parts_give_the_same_uid_on_every_machine() -> None:
    assert derived_uid("series", "1.2.3") == "2.25.194360400370081259638221347479250423231"


def test_order_and_borders_of_parts_count() -> None:
    uids = {
        derived_uid("ab", "c"),
        derived_uid("a", "bc"),
        derived_uid("abc"),
        derived_uid("c", "ab"),
        derived_uid("ab", "c", ""),
    }
    assert len(uids) == 5


def test_a_uid_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one part"):
        derived_uid()
