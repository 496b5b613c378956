from __future__ import annotations

from typing import Any

import pytest

from models.errors import BundleError
from models.interchange.references import References

CONFIG = {
    "spacing": [1.5, 1.5, 2.0],
    "size": 96,
    "roi": "$[@size, @size, 48]",
    "again": "@roi",
    "network_def": {"channels": [16, 32], "out_channels": 3},
    "circle": "@round",
    "round": "@circle",
    "device": "$torch.device('cpu')",
}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("plain text", "plain text"),
        (3, 3),
        (None, None),
        ("@spacing", [1.5, 1.5, 2.0]),
        ("@again", [96, 96, 48]),
        ("@network_def::channels::1", 32),
        ("@network_def#out_channels", 3),
        ("%network_def::out_channels", 3),
        ("$@spacing", [1.5, 1.5, 2.0]),
        ("$(1, -2.5, True)", (1, -2.5, True)),
        (["@size", {"a": "$None"}], [96, {"a": None}]),
    ],
)
def test_references_and_literals_are_read(written: Any, expected: Any) -> None:
    assert References(CONFIG, "zoo").value(written, "key") == expected


@pytest.mark.parametrize(
    "written",
    ["$__import__('os').getcwd()", "$@size + 1", "@device", "$[n for n in @spacing]", "$open('x')"],
)
def test_what_only_code_could_tell_is_refused_by_name(written: str) -> None:
    with pytest.raises(BundleError, match=r"zoo: inferer::roi_size: .* not run as code"):
        References(CONFIG, "zoo").value(written, "inferer::roi_size")


def test_a_reference_to_nothing_is_refused() -> None:
    with pytest.raises(BundleError, match="expected something at 'network_def::width'"):
        References(CONFIG, "zoo").value("@network_def::width", "key")


def test_a_circle_of_references_is_refused() -> None:
    with pytest.raises(BundleError, match="expected an end of its references"):
        References(CONFIG, "zoo").value("@circle", "key")
