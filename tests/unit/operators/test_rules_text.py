from __future__ import annotations

import pytest

from operators.errors import RulesError
from operators.rules_text import read_document


def problem(text: str) -> str:
    with pytest.raises(RulesError) as caught:
        read_document(text)
    return str(caught.value)


def test_plain_data_is_read_alike_from_yaml_and_json():
    expected = {"a": [1, -2.5, "x", True, False, None, {"b": "NO"}], "c": "", "d": 1e5}
    assert read_document('{"a":[1,-2.5,"x",true,false,null,{"b":"NO"}],\n\t"c":"","d":1e5}') == (
        expected
    )
    text = 'a: [1, -2.5, x, true, false, ~, {b: "NO"}]\nc: ""\nd: 100000.0\n'
    assert read_document(text) == expected
    assert read_document("\ufeff" + text) == expected
    assert read_document("{a: x, b: [.*CT.*, '(?i)abd']}") == {"a": "x", "b": [".*CT.*", "(?i)abd"]}
    assert read_document("a: null\nb:\nc: 0\n") == {"a": None, "b": None, "c": 0}
    assert read_document("") is None


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("NO", "bool"),
        ("no", "bool"),
        ("on", "bool"),
        ("Off", "bool"),
        ("yes", "bool"),
        ("TRUE", "bool"),
        ("Null", "null"),
        ("1_000", "int"),
        ("010", "int"),
        ("0x10", "int"),
        ("0b11", "int"),
        ("+5", "int"),
        ("12:30:05", "int"),
        ("12:30.5", "float"),
        (".5", "float"),
        ("5.", "float"),
        (".inf", "float"),
        (".NaN", "float"),
        ("2020-01-31", "timestamp"),
    ],
)
def test_words_that_yaml_turns_into_something_else_are_refused_where_they_stand(word, kind):
    assert problem(f"a: 1\nb:\n- {word}\n") == (
        f"the rules, line 3, column 3: {word!r} is not text but of type {kind} to YAML: "
        "put it in quotes, or write it as in JSON"
    )
    assert read_document(f'- "{word}"') == [word]


def test_a_number_that_yaml_takes_for_text_is_refused():
    assert "line 1, column 4: 1e5 is a number to some readers" in problem("a: 1e5")


@pytest.mark.parametrize("key", ["on", "NO", "0x00180050", "5", "~", "2020-01-31"])
def test_keys_that_are_no_text_are_refused(key):
    assert problem(f"a:\n  {key}: x") == (
        f"the rules, line 2, column 3: the key {key!r} is no text: put it in quotes"
    )
    assert read_document(f'"{key}": x') == {key: "x"}


def test_a_key_that_comes_twice_is_refused():
    assert problem("a: 1\nb: 2\na: 3\n") == "the rules, line 3, column 1: the key 'a' comes twice"
    assert problem('{"a": {"b": 1, "b": 1}}') == "the key 'b' comes twice in one object"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: !LOCALIZER", "!LOCALIZER begins with an exclamation mark: put it in quotes"),
        ("a: [!LOCALIZER, CT]", "line 1, column 5: !LOCALIZER begins with an exclamation mark"),
        ("a: != 5", "line 1, column 4: != begins with an exclamation mark"),
        ("a: !!python/name:os.system x", "line 1, column 4: 'x' is not text"),
        ("a: !!set {x}", "the tag 'tag:yaml.org,2002:set' is not read"),
        ("a: >5\n", "> begins a block of text: put it in quotes if it is a sign"),
        ("a: > 5\n", "has to be in quotes"),
        ("a: >= 5\n", "has to be in quotes"),
        ("a: |\n  text\n", "| begins a block of text"),
        ("a: *lung", "has to be in quotes"),
        ("a: &x 1\nb: *x", "line 1, column 4: anchors and aliases (&, *) are not read"),
        ("a: &x [*x]", "anchors and aliases"),
        ("a: [A-Z]+", "has to be in quotes"),
        ("a: x: y", "has to be in quotes"),
        ("<<: {a: 1}", "the key '<<' is no text"),
        ("[a]: 1", "line 1, column 1: expected text as a key"),
        ("a: 1\n---\nb: 2", "not YAML"),
        ("\ta: 1", "not YAML"),
        ("a: \x00", "not YAML"),
        ('a: "\\UFFFFFFFF"', "the rules cannot be read"),
        ('{"a": 1', "the rules are not JSON: Expecting"),
        ("9" * 5000, "the rules cannot be read"),
    ],
)
def test_what_yaml_would_read_in_its_own_way_is_refused(text, expected):
    assert expected in problem(text)


def test_a_short_text_cannot_grow_without_bound():
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(9)
    )
    assert "aliases" in problem(bomb)
