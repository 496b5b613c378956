from __future__ import annotations

import json
import textwrap
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators import rules as rules_module
from operators.clauses import AllOf, AnyOf, InPlane, Term
from operators.errors import RulesError
from operators.rules import Rules, default_rules, parse_rules

EXAMPLE = textwrap.dedent(
    rules_module.__doc__[
        rules_module.__doc__.index("    selections:") : rules_module.__doc__.index("| key of")
    ]
)


def selection_of(**keys: object) -> dict[str, object]:
    return {"selections": [{"name": "x", **keys}]}


def test_the_rules_of_the_app_sdk_are_read_unchanged():
    rules = parse_rules(
        """{"selections": [
          {"name": "CT Series 1", "conditions": {
             "StudyDescription": "(?i)^Spleen", "Modality": "(?i)CT",
             "SeriesDescription": "(?i)^No series description|(.*?)"}},
          {"name": "CT Series 3", "conditions": {
             "StudyDescription": "(.*?)", "ImageType": ["PRIMARY", "ORIGINAL", "AXIAL"],
             "SliceThickness": [3, 5]}},
          {"name": "CT Series 4", "conditions": {
             "ImageOrientationPatient": "Axial", "SliceThickness": [2, ">"]}},
          {"name": "CT Series 5", "conditions": {"ImageType": ["PRIMARY", "!SECONDARY"]}}]}"""
    )
    assert [s.name for s in rules.selections] == [f"CT Series {n}" for n in (1, 3, 4, 5)]
    assert [len(s.clauses) for s in rules.selections] == [3, 3, 2, 1]
    assert all(s.prefer == () and s.model is None for s in rules.selections)
    assert rules.models == (None,)


def test_the_example_of_the_documentation_is_rules_in_yaml_and_as_a_whole_app_yaml():
    application = "application: {title: viscera}\nresources: {cpu: 2, memory: 4Gi}\n"
    for text in (EXAMPLE, application + EXAMPLE):
        (selection,) = parse_rules(text).selections
        assert selection.name == "liver, portal venous"
        assert selection.model == "abdomen_vnet_3mm"
        assert len(selection.clauses) == 2 + 5
        assert selection.clauses[2] == Term(InPlane({"Axial": 20.0}))
        assert [c.name for c in selection.prefer] == [
            "preference (contrast: portal venous)",
            "preference (slice_distance_mm: nearest 2)",
            "preference (kernel: soft)",
        ]
    assert parse_rules(EXAMPLE).models == ("abdomen_vnet_3mm",)


def test_yaml_and_json_of_one_document_are_the_same_rules():
    document = {
        "selections": [
            {
                "name": "a",
                "model": "m",
                "conditions": {"Modality": "CT", "SliceThickness": [3, 5.5]},
                "where": [{"any": [{"plane": {"axial": 20}}, {"slices": ">= 30"}]}],
            },
            {"name": "b", "where": {"kernel": "soft", "contrast": ["arterial", "enhanced"]}},
        ]
    }
    assert parse_rules(json.dumps(document)) == parse_rules(document)
    yaml_text = """
selections:
- name: a
  model: m
  conditions: {Modality: CT, SliceThickness: [3, 5.5]}
  where:
  - any:
    - plane: {axial: 20}
    - slices: ">= 30"
- name: b
  where:
    kernel: soft
    contrast: [arterial, enhanced]
"""
    assert parse_rules(yaml_text) == parse_rules(document)
    assert parse_rules(document).models == ("m", None)


def test_selections_without_conditions_are_passed_over_as_by_the_sdk():
    rules = parse_rules(
        {
            "selections": [
                {"name": "all", "conditions": {}},
                {"name": "none", "conditions": None},
                {"name": "ct", "conditions": {"Modality": "CT", "StudyDescription": ""}},
            ]
        }
    )
    (selection,) = rules.selections
    assert (selection.name, len(selection.clauses)) == ("ct", 1)


@pytest.mark.parametrize(
    ("rules", "place"),
    [
        ("{", "not JSON"),
        ("", 'expected the rules to be {"selections"'),
        ("[]", "expected the rules to be"),
        ({"selections": []}, "selections: expected at least one"),
        ({"selections": {}}, "selections: expected a list, found {}"),
        ({"selections": None}, "selections: expected a list, found null"),
        ({"selections": [{"name": "x", "conditions": {}}]}, "selections: expected at least one"),
        ({"selections": ["x"]}, "selections[0]: expected"),
        ({"selections": [{"name": "x"}]}, "selections[0]: expected"),
        ({"selections": [{"name": 3, "conditions": {}}]}, "selections[0].name: expected text"),
        ({"selections": [{"conditions": ["CT"]}]}, "selections[0].conditions: expected"),
        (selection_of(conditions={}, model="m"), "selections[0]: expected conditions or clauses"),
        (selection_of(where=[]), "selections[0]: expected conditions or clauses"),
        (selection_of(where={}), "selections[0].where: expected a clause"),
        (selection_of(where="CT"), "selections[0].where: expected a list of clauses"),
        (selection_of(where=[[]]), "selections[0].where[0]: expected a clause"),
        (selection_of(where=[{"slices": 1}], model=3), "selections[0].model: expected text"),
        (selection_of(where=[{"slices": 1}], prefer={}), "selections[0].prefer: expected a list"),
        (selection_of(conditions={3: "x"}), "selections[0].conditions.3: expected text as a key"),
        (selection_of(where=[{3: "x"}]), "selections[0].where[0].3: expected text as a key"),
    ],
)
def test_malformed_rules_name_the_place(rules, place):
    with pytest.raises(RulesError) as caught:
        parse_rules(rules)
    assert place in str(caught.value)


@pytest.mark.parametrize(
    ("rules", "meant"),
    [
        ({"application": {}, "selection": []}, "'selection'; did you mean 'selections'?"),
        ({"Selections": []}, "did you mean 'selections'?"),
        (selection_of(condition={}), "did you mean 'conditions'?"),
        (selection_of(conditions={}, preferr=[]), "did you mean 'prefer'?"),
        (selection_of(conditions={"SeriesDecription": "x"}), "did you mean 'SeriesDescription'?"),
        (selection_of(conditions={"modality": "x"}), "did you mean 'Modality'?"),
        (selection_of(where=[{"Slices": ">= 3"}]), "did you mean 'slices'?"),
        (selection_of(where=[{"coverage": ">= 3"}]), "did you mean 'coverage_mm'?"),
        (selection_of(where=[{"sliceThickness": 3}]), "did you mean 'SliceThickness'?"),
        (selection_of(where=[{"contrast": "portal"}]), "did you mean 'portal venous'?"),
        (selection_of(where=[{"plane": "Axial"}]), "did you mean 'axial'?"),
        (selection_of(where=[{"present": "PatentName"}]), "did you mean 'PatientName'?"),
        (selection_of(where={"slices": 3}, prefer=[{"kernle": "soft"}]), "did you mean 'kernel'?"),
    ],
)
def test_a_misspelt_word_names_the_nearest_known_one(rules, meant):
    with pytest.raises(RulesError) as caught:
        parse_rules(rules)
    assert meant in str(caught.value)


@pytest.mark.parametrize(
    ("keyword", "wanted"),
    [
        ("SeriesDecription", "x"),
        ("10", "x"),
        ("TransferSyntaxUID", "x"),
        ("Modality", "(CT"),
        ("Modality", "C{99999999999}"),
        ("Modality", {"is": "CT"}),
        ("Modality", True),
        ("ReferencedImageSequence", "x"),
        ("ImageOrientationPatient", "Oblique"),
        ("ImageOrientationPatient", [1, 0, 0, 0, 1, 0]),
        ("SliceThickness", [5, 3]),
        ("SliceThickness", [1, 2, 3]),
        ("SliceThickness", [1]),
        ("SliceThickness", ["x", ">"]),
        ("SliceThickness", [float("nan"), 5]),
        ("SliceThickness", 10**400),
        ("ImageType", ["PRIMARY", 3]),
    ],
)
@pytest.mark.parametrize("conditions", ["conditions", "where"])
def test_conditions_that_cannot_be_understood_name_the_place(keyword, wanted, conditions):
    with pytest.raises(RulesError) as caught:
        parse_rules(selection_of(**{conditions: {keyword: wanted}}))
    assert str(caught.value).startswith(f"selections[0].{conditions}.{keyword}: ")


@pytest.mark.parametrize(
    ("clause", "problem"),
    [
        ({"any": []}, "any: expected a list of clauses"),
        ({"any": {"slices": 3}}, "any: expected a list of clauses"),
        ({"all": "CT"}, "all: expected a list of clauses"),
        ({"any": [{"slices": 3}, {}]}, "any[1]: expected a clause"),
        ({"not": []}, "not: expected a clause"),
        ({"not": {"Modality": "CT", "slices": 3}}, "not: expected one clause, found 2; write"),
        ({"present": []}, "present: expected a DICOM keyword"),
        ({"present": [3]}, "present: expected a DICOM keyword, found 3"),
        ({"absent": {}}, "absent: expected a DICOM keyword"),
        ({"plane": {}}, "plane: expected a plane"),
        ({"plane": {"axial": 91}}, "plane.axial: expected degrees from 0 to 90, found 91"),
        ({"plane": {"axial": "20"}}, "plane.axial: expected degrees"),
        ({"plane": {"axial": True}}, "plane.axial: expected degrees"),
        ({"plane": []}, "plane: expected axial, coronal, sagittal, found an empty list"),
        ({"kernel": "hard"}, 'kernel: expected soft, sharp, found "hard"'),
        ({"kernel": None}, "kernel: expected soft, sharp, found null"),
        ({"contrast": ["arterial", {}]}, "contrast: expected non-contrast, arterial"),
        ({"regular": "yes"}, 'regular: expected true or false, found "yes"'),
        ({"slices": "many"}, 'slices: expected a comparison such as "<= 5"'),
        ({"slices": ">"}, "slices: expected a comparison"),
        ({"slices": "3.."}, "slices: expected a comparison"),
        ({"slices": None}, "slices: expected text, a number or a list"),
        ({"slices": True}, "slices: expected text, a number or a list"),
        ({"slices": ["3", "5"]}, "slices: expected a comparison"),
        ({"coverage_mm": "5..3"}, "coverage_mm: expected the least number first"),
        ({"coverage_mm": ">= 150 mm"}, "coverage_mm: expected a comparison"),
        ({"coverage_mm": "<= 1e999"}, "coverage_mm: expected a comparison"),
        ({"SliceThickness": "<= thin"}, 'SliceThickness: expected a comparison such as "<= 5"'),
        ({"SliceThickness": "3.."}, "SliceThickness: expected a comparison"),
        ({"SliceThickness": "5..3"}, "SliceThickness: expected the least number first"),
        ({"SeriesDescription": "<= 5"}, "SeriesDescription: text has no order"),
        ({"SeriesDescription": None}, "SeriesDescription: expected a value; for none at all"),
        ({"SeriesDescription": ""}, "SeriesDescription: expected a value"),
        ({"SeriesDescription": []}, "SeriesDescription: expected a value"),
        ({"ImageOrientationPatient": "<= 5"}, "ImageOrientationPatient: expected Axial"),
    ],
)
def test_clauses_that_cannot_be_understood_name_the_place(clause, problem):
    with pytest.raises(RulesError) as caught:
        parse_rules(selection_of(where=[{"slices": 3}, clause]))
    assert str(caught.value).startswith(f"selections[0].where[1].{problem}")


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("kernel", "prefer[0]: expected one criterion"),
        ({}, "prefer[0]: expected one criterion"),
        ({"slices": "most", "kernel": "soft"}, "prefer[0]: expected one criterion"),
        ({"slices": "mots"}, "prefer[0].slices: expected a comparison"),
        ({"slices": "nearest"}, "prefer[0].slices: expected a comparison"),
        ({"slices": "nearest 1e999"}, "prefer[0].slices: expected a comparison"),
        ({"AcquisitionTime": "nearest 5"}, "prefer[0].AcquisitionTime: expected earliest or"),
        ({"SeriesNumber": "latest"}, "prefer[0].SeriesNumber: expected most, least"),
        ({"ImageOrientationPatient": "most"}, "prefer[0].ImageOrientationPatient: expected a"),
        ({"kernel": "most"}, "prefer[0].kernel: expected soft, sharp"),
        ({3: "most"}, "prefer[0].3: expected text as a key"),
    ],
)
def test_preferences_that_cannot_be_understood_name_the_place(entry, problem):
    with pytest.raises(RulesError) as caught:
        parse_rules(selection_of(conditions={"Modality": "CT"}, prefer=[entry]))
    assert str(caught.value).startswith(f"selections[0].{problem}")


def test_not_is_moved_to_the_tests():
    def clause(where: object) -> object:
        return parse_rules(selection_of(where=[where])).selections[0].clauses[0]

    a, b = {"kernel": "soft"}, {"regular": True}
    not_a, not_b = {"not": a}, {"not": b}
    assert clause({"not": {"any": [a, b]}}) == clause({"all": [not_a, not_b]})
    assert clause({"not": {"all": [a, b]}}) == clause({"any": [not_a, not_b]})
    assert clause({"not": not_a}) == clause(a)
    assert clause({"not": {"present": ["KVP", "Exposure"]}}) == clause(
        {"any": [{"absent": "KVP"}, {"absent": "Exposure"}]}
    )
    assert clause({"not": {"absent": ["KVP", "Exposure"]}}) == clause(
        {"any": [{"present": "KVP"}, {"present": "Exposure"}]}
    )
    assert isinstance(clause({**a, **b}), AllOf)
    assert isinstance(clause({"not": {"all": [{**a, **b}]}}), AnyOf)


def test_comparisons_belong_to_clauses_and_stay_text_in_conditions():
    (in_where,) = parse_rules(selection_of(where={"SliceThickness": "<= 5"})).selections
    (in_conditions,) = parse_rules(selection_of(conditions={"SliceThickness": "<= 5"})).selections
    assert type(in_where.clauses[0].test.check).__name__ == "Relation"
    assert type(in_conditions.clauses[0].test.check).__name__ == "Text"
    (dots,) = parse_rules(selection_of(where={"SeriesDescription": "2..5"})).selections
    assert type(dots.clauses[0].test.check).__name__ == "Text"


@pytest.mark.parametrize("depth", [30, 500])
def test_rules_that_are_nested_too_deeply_are_refused(depth):
    clause: object = {"slices": 3}
    for _ in range(depth):
        clause = {"not": clause}
    with pytest.raises(RulesError, match="nested"):
        parse_rules(selection_of(where=[clause]))
    for text in ("[" * depth + "]" * depth, "{selections: " + "[" * depth + "]" * depth + "}"):
        with pytest.raises(RulesError):
            parse_rules(text)


def test_the_default_rules_are_rules():
    (selection,) = default_rules().selections
    assert selection.name == "Axial CT"
    assert len(selection.clauses) == 3
    assert (selection.prefer, selection.model) == ((), None)


WORDS = st.sampled_from(
    [
        *("selections", "name", "conditions", "where", "prefer", "model", "any", "all", "not"),
        *("present", "absent", "plane", "slices", "coverage_mm", "kernel", "contrast", "regular"),
        *("Modality", "SliceThickness", "ImageType", "AcquisitionTime", "0x00180050", "axial"),
        *("soft", "portal venous", "most", "nearest 2", "latest", "<= 5", "2..5", "> x", "!CT"),
        *("CT", "", ".*", "(", "NO", "010"),
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 200) | st.floats() | WORDS | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=12,
)
SELECTIONS = st.fixed_dictionaries(
    {"name": WORDS, "conditions": st.dictionaries(WORDS, VALUES, max_size=2)},
    optional={"where": VALUES, "prefer": VALUES, "model": VALUES},
)
DOCUMENTS = VALUES | st.builds(lambda s: {"selections": s}, st.lists(SELECTIONS, max_size=2))


@settings(deadline=None, max_examples=60)
@given(DOCUMENTS)
def test_any_document_is_rules_or_refused(document):
    for source in (document, json.dumps(document)):
        with suppress(RulesError):
            assert isinstance(parse_rules(source), Rules)


@settings(deadline=None, max_examples=200)
@given(st.text(st.sampled_from("abx01 \n\t:-,.[]{}!&*#|>%@`'\"\\?~<=") | st.characters()))
def test_any_text_is_rules_or_refused(text):
    for source in (text, f"selections:\n- {text}", '{"selections": [' + text):
        with suppress(RulesError):
            assert isinstance(parse_rules(source), Rules)
