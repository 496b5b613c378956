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
    "configs": {"highres": True},
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


@pytest.mark.parametrize("highres", [True, False])
def test_a_choice_by_a_reference_is_followed(highres: bool) -> None:
    config = {
        "displayable_configs": {"highres": highres},
        "bundle_root": ".",
        "pixdim": "$[1.5, 1.5, 1.5] if @displayable_configs#highres else [3.0, 3.0, 3.0]",
        "modelname": "$'model.pt' if @displayable_configs#highres else 'model_lowres.pt'",
    }
    references = References(config, "whole_body")
    assert references.value("@pixdim", "key") == ([1.5] * 3 if highres else [3.0] * 3)
    path = references.value("$@bundle_root + '/models/' + @modelname", "key")
    assert path == f"./models/{'model.pt' if highres else 'model_lowres.pt'}"


@pytest.mark.parametrize(
    "written",
    ["$1 if open('x') else 2", "$open('x') if @configs::highres else 2", "$'a' * 9 + 'b'"],
)
def test_a_choice_runs_no_code(written: str) -> None:
    with pytest.raises(BundleError, match="not run as code"):
        References(CONFIG, "zoo").value(written, "key")


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
