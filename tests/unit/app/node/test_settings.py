from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

import app.node.settings
from app.errors import SettingsError
from app.node.destinations import DimseDestination, FolderDestination, WebPeer
from app.node.settings import NodeSettings
from app.node.settings_file import read_secret, read_settings
from operators.errors import RulesError

PACS = {"kind": "dimse", "ae_title": "PACS", "host": "10.0.0.5", "port": 11112}
LEAST = {
    "state": "state",
    "workflows": {"VISCERA": {"destinations": ["pacs"]}},
    "destinations": {"pacs": PACS},
}


def example() -> str:
    """The configuration in the text above the settings."""
    text = app.node.settings.__doc__ or ""
    lines = [line for line in text.splitlines() if line.startswith("    ") or not line]
    return textwrap.dedent("\n".join(lines))


def changed(**changes: Any) -> dict[str, Any]:
    """The least settings with other values; a `__` in a name leads one level down."""
    document: dict[str, Any] = json.loads(json.dumps(LEAST))
    for name, value in changes.items():
        *outer, last = name.split("__")
        place = document
        for key in outer:
            place = place.setdefault(key, {})
        place[last] = value
    return document


def write(folder: Path, document: object) -> Path:
    path = folder / "node.yaml"
    path.write_text(document if isinstance(document, str) else json.dumps(document), "utf-8")
    return path


def read(folder: Path, document: object, environ: Mapping[str, str] | None = None) -> NodeSettings:
    return read_settings(write(folder, document), environ or {})


def problem(folder: Path, document: object, environ: Mapping[str, str] | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        read(folder, document, environ)
    return str(caught.value).replace(str(folder / "node.yaml"), "FILE")


# --- what is read


def test_the_example_is_read_and_every_part_of_it_counts(tmp_path: Path) -> None:
    text = example()
    for name in ("/etc/viscera/", "/run/secrets/"):
        text = text.replace(name, f"{tmp_path}/")
    for name in ("node.crt", "node.key", "hospital-ca.crt", "archive-token", "database"):
        (tmp_path / name).write_text("x", "utf-8")
    settings = read(tmp_path, text)
    assert set(yaml.safe_load(text)["node"]) <= set(NodeSettings.model_fields)
    assert settings.state == Path("/var/lib/viscera")
    assert settings.listener.ae_titles == ("VISCERA", "VISCERA_LIVER")
    assert settings.listener.tls is not None
    assert settings.listener.tls.key_file == tmp_path / "node.key"
    liver = settings.workflows["VISCERA_LIVER"]
    assert liver.read_rules().selections[0].name == "liver, portal venous"
    kinds = [type(peer) for peer in settings.destinations.values()]
    assert kinds == [DimseDestination] * 3 + [WebPeer, FolderDestination]
    assert [d.name for d in settings.destinations_of("VISCERA_LIVER", "CT2")] == ["ct2"]
    assert settings.completion.incomplete_s == 300
    assert settings.retention.longest_age_s == 3 * 86400


def test_a_few_lines_are_enough(tmp_path: Path) -> None:
    settings = read(tmp_path, LEAST)
    assert settings.state == tmp_path / "state"  # beside the file, wherever the node starts
    assert settings.listener.port == 11112
    assert settings.database_url is None
    assert settings.workflows["VISCERA"].read_rules().selections
    (pacs,) = settings.destinations_of("VISCERA", "ANY")
    assert str(pacs) == "PACS@10.0.0.5:11112"
    assert pacs.name == "pacs"


def test_the_settings_may_be_a_section_of_an_app_yaml(tmp_path: Path) -> None:
    document = {"application": {"title": "viscera"}, "selections": [], "node": LEAST}
    assert read(tmp_path, document) == read(tmp_path, LEAST)


def test_what_explain_prints_is_the_same_settings_again(tmp_path: Path) -> None:
    document = changed(
        workflows={
            "1E5": {"destinations": ["no"], "any_anatomy": True, "allow_addresses": ["10.1.0.0/16"]}
        },
        destinations={"no": {**PACS, "ae_title": "0777"}},
    )
    settings = read(tmp_path, document)
    told = settings.explain()
    assert "quiet_s: 60.0" in told
    assert read(tmp_path, told) == settings


# --- the environment


def test_variables_change_single_values_below_the_file(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("x", "utf-8")
    document = changed(destinations__web={"kind": "dicomweb", "url": "http://127.0.0.1/"})
    settings = read(
        tmp_path,
        document,
        {
            "VISCERA_NODE__LISTENER__PORT": "11113",
            "VISCERA_NODE__WORKFLOWS__VISCERA__MODEL": "abdomen_vnet_3mm",
            "VISCERA_NODE__WORKFLOWS__VISCERA__DESTINATIONS": '["pacs", "web"]',
            "VISCERA_NODE__WORKFLOWS__Liver__DESTINATIONS": '["pacs"]',
            "VISCERA_NODE__DESTINATIONS__PACS__COMMITMENT": "true",
            "VISCERA_NODE__DESTINATIONS__WEB__TOKEN_FILE": str(token),
            "VISCERA_NODE__STATE": "NO",
            "VISCERA_MODE__STATE": "another program's",
        },
    )
    assert settings.listener.port == 11113
    assert settings.workflows["VISCERA"].destinations == ("pacs", "web")
    assert set(settings.workflows) == {"VISCERA", "Liver"}
    pacs, web = settings.destinations["pacs"], settings.destinations["web"]
    assert isinstance(pacs, DimseDestination)
    assert pacs.commitment
    assert isinstance(web, WebPeer)
    assert web.token_file == token
    assert settings.state == tmp_path / "NO"


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("LISTENER__PROT", "1", "node.listener.prot: unknown key; did you mean 'port'?"),
        ("LISTENER__PORT", "many", 'node.listener.port: expected a valid integer, found "many"'),
        ("STATE__X", "1", "state holds no keys"),
        ("LISTENER____PORT", "1", "expected names of keys between two underscores"),
        ("LISTENER", '{"port": 1, "port": 2}', "the key 'port' comes twice in one object"),
        ("DATABASE_PASSWORD", "hunter2", "node.database_password: holds a secret"),
    ],
)
def test_errors_name_the_variable_that_they_come_from(
    tmp_path: Path, variable: str, value: str, told: str
) -> None:
    found = problem(tmp_path, LEAST, {f"VISCERA_NODE__{variable}": value})
    assert f"VISCERA_NODE__{variable}: " in found
    assert told in found
    assert "hunter2" not in found


# --- what is refused


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"listner": {}}, "node.listner: unknown key; did you mean 'listener'?"),
        (
            {"workflows__VISCERA__destination": []},
            "node.workflows.VISCERA.destination: unknown key; did you mean 'destinations'?",
        ),
        (
            {"destinations__pacs__adress": "x"},
            "node.destinations.pacs.adress: unknown key; known are kind, name, ae_title, host,",
        ),
        ({"destinations__pacs__prot": 104}, "node.destinations.pacs.prot: unknown key; did you"),
        ({"listener__port": 70000}, "port: expected less than or equal to 65535, found 70000"),
        ({"listener__port": "104"}, 'node.listener.port: expected a valid integer, found "104"'),
        ({"listener__port": True}, "node.listener.port: expected a valid integer, found true"),
        ({"workflows__VISCERA__model": 3}, "model: expected a valid string, found 3; put it in"),
        ({"workflows": {}}, "node.workflows: "),
        ({"workflows__VISCERA__destinations": []}, "node.workflows.VISCERA.destinations: "),
        ({"workflows__VISCERA": {}}, "node.workflows.VISCERA.destinations: expected, but not"),
        (
            {"workflows__VISCERA__destinations": ["pasc"]},
            "node.workflows.VISCERA.destinations[0]: there is no destination 'pasc'; did you mean "
            "'pacs'?",
        ),
        (
            {"workflows__VISCERA__destinations": ["pacs", "pacs"]},
            "node.workflows.VISCERA.destinations[1]: 'pacs' comes twice",
        ),
        (
            {"workflows": {"A_TITLE_FAR_TOO_LONG": {"destinations": ["pacs"]}}},
            "node.workflows.A_TITLE_FAR_TOO_LONG: expected an AE title of 1 to 16 ASCII",
        ),
        (
            {"workflows__VISCERA__allow_calling": ["CT\\1"]},
            "node.workflows.VISCERA.allow_calling[0]: expected an AE title",
        ),
        (
            {"workflows__VISCERA__allow_addresses": ["10.1.0.7/16"]},
            "node.workflows.VISCERA.allow_addresses[0]: expected an address or a range such as",
        ),
        (
            {"destinations__pacs__ae_title": "Ä"},
            "node.destinations.pacs.ae_title: expected an AE title of 1 to 16 ASCII",
        ),
        ({"listener__networks": ["here"]}, "node.listener.networks[0]: "),
        ({"destinations__pacs__kind": "ftp"}, "node.destinations.pacs: input tag 'ftp' found"),
        ({"destinations": {"../pacs": PACS}}, "node.destinations.../pacs: expected a name of"),
        ({"destinations__sender": PACS}, "node.destinations.sender: this name stands for where"),
        ({"destinations__pacs__name": "x"}, "node.destinations.pacs.name: this is the key"),
        ({"listener__ae_titles": ["X"]}, "node.listener.ae_titles: these are the keys of"),
        ({"health__port": 11112}, "node.health.port: 11112 is the port of the listener"),
        (
            {"destinations__self": {**PACS, "ae_title": "VISCERA", "host": "localhost"}},
            "node.destinations.self: VISCERA@localhost:11112 is the node itself",
        ),
        ({"completion": {"quiet_s": 1}}, "node.completion: expected closed_s <= quiet_s <="),
        ({"workers": {"devices": ["cuda"]}}, "node.workers.devices[0]: expected auto, cpu, gpu or"),
        ({"logging": {"level": "loud"}}, "node.logging.level: expected 'debug', 'info', "),
        ({"database_url": "mysql://db/x"}, "node.database_url: expected a URL that begins with"),
        (
            {"database_url": "postgresql://db/x", "database_password_file": "x"},
            "node.database_url: expected a user that the password is for",
        ),
        ({"jobs": {"database_url": "sqlite://"}}, "node.jobs.database_url: expected database_url"),
        ({"database_password_file": "x"}, "node.database_password_file: there is no database_url"),
        (
            {"workflows__VISCERA__selections": [{"where": [{"slcies": "> 3"}]}]},
            "node.workflows.VISCERA: selections[0].where[0].slcies: ",
        ),
        (
            {"workflows__VISCERA": {"destinations": ["pacs"], "rules": "r", "selections": []}},
            "node.workflows.VISCERA: expected rules or selections, found both",
        ),
        (
            {"workflows__VISCERA__destinations": ["sender"]},
            "node.workflows.VISCERA.destinations[0]: expected allow_calling to say who the senders",
        ),
        (
            {"workflows__VISCERA": {"destinations": ["sender"], "allow_calling": ["CT1", "PACS"]}},
            "destinations[0]: expected one destination of the sender CT1, found 0",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_place_and_what_was_expected(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    found = problem(tmp_path, changed(**changes))
    assert found.startswith("FILE: node.")
    assert told in found


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    document = changed(listener__port=-1, helth={}, workflows__VISCERA__destinations=["x y"])
    places = [line.split(": ")[1] for line in problem(tmp_path, document).splitlines()]
    assert sorted(places) == [
        "node.helth",
        "node.listener.port",
        "node.workflows.VISCERA.destinations[0]",
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"destinations__pacs__password": "hunter2"},
        {"destinations__pacs__api_key": 123456},
        {"destinations__web": {"kind": "dicomweb", "url": "https://me:hunter2@archive/x"}},
        {"destinations__web": {"kind": "dicomweb", "url": "https://archive/x", "token": "hunter2"}},
        {"listener__tls__key_file": "-----BEGIN PRIVATE KEY-----\nhunter2"},
        {"database_url": "postgresql://me:hunter2@db/viscera"},
        {"database_url": "postgresql://me@db/viscera?password=hunter2"},
        {"database_password": "hunter2"},
    ],
)
def test_a_secret_in_the_settings_is_refused_and_not_repeated(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    found = problem(tmp_path, changed(**changes))
    assert "secret" in found or "password is in it" in found
    assert "_file" in found
    assert "hunter2" not in found
    assert "123456" not in found


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("state: on", "FILE: line 1, column 8: 'on' is not text but of type bool"),
        ("state: x\nstate: y", "FILE: line 2, column 1: the key 'state' comes twice"),
        ("a: [", "FILE: the settings are not YAML: line 1"),
        ("- a", "FILE: expected a mapping of settings"),
        ("", "FILE: expected a mapping of settings"),
        ("application: {}\nnod: {}", "FILE: expected a section 'node', found none; did you mean"),
        ("node: 3", "FILE: expected a mapping of settings"),
    ],
)
def test_text_that_is_no_mapping_or_ambiguous_is_refused(
    tmp_path: Path, text: str, told: str
) -> None:
    assert problem(tmp_path, text).startswith(told)


def test_files_that_the_node_needs_have_to_be_there(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("x", "utf-8")
    tls = {"certificate_file": "node.crt", "key_file": "/nowhere.key", "ca_file": "ca.crt"}
    document = changed(listener__tls=tls, workflows__VISCERA__rules="liver.yaml", models="models")
    assert problem(tmp_path, document).splitlines() == [
        f"FILE: node.models: cannot read {tmp_path}/models: No such file or directory",
        f"FILE: node.listener.tls.certificate_file: cannot read {tmp_path}/node.crt: "
        "No such file or directory",
        "FILE: node.listener.tls.key_file: cannot read /nowhere.key: No such file or directory",
        f"FILE: node.workflows.VISCERA.rules: cannot read {tmp_path}/liver.yaml: "
        "No such file or directory",
    ]


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot read the settings"):
        read_settings(tmp_path / "none.yaml", {})


# --- what the settings answer


def test_a_workflow_admits_the_senders_it_names(tmp_path: Path) -> None:
    document = changed(
        workflows__VISCERA__allow_calling=["CT1"],
        workflows__VISCERA__allow_addresses=["10.1.0.0/16", "fd00::/8", "192.0.2.7"],
    )
    workflow = read(tmp_path, document).workflows["VISCERA"]
    assert workflow.admits("CT1", "10.1.2.3")
    assert workflow.admits("CT1", "::ffff:10.1.2.3")
    assert workflow.admits("CT1", "fd00::1%eth0")
    assert workflow.admits("CT1", "192.0.2.7")
    assert not workflow.admits("CT1", "10.2.0.1")
    assert not workflow.admits("CT2", "10.1.2.3")
    assert read(tmp_path, LEAST).workflows["VISCERA"].admits("ANY", "203.0.113.9")


def test_the_sender_gets_its_results_once_beside_the_others(tmp_path: Path) -> None:
    document = changed(
        workflows__VISCERA={"destinations": ["pacs", "sender"], "allow_calling": ["CT1", "PACS"]},
        destinations__scanner={**PACS, "ae_title": "CT1"},
    )
    settings = read(tmp_path, document)
    names = {
        title: [peer.name for peer in settings.destinations_of("VISCERA", title)]
        for title in ("CT1", "PACS")
    }
    assert names == {"CT1": ["pacs", "scanner"], "PACS": ["pacs"]}


def test_rules_of_a_workflow_come_from_its_file(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("selections: [{name: thin, conditions: {Modality: CT}}]", "utf-8")
    workflow = read(tmp_path, changed(workflows__VISCERA__rules="rules.yaml")).workflows["VISCERA"]
    assert workflow.read_rules().selections[0].name == "thin"
    rules.unlink()
    with pytest.raises(RulesError, match="cannot read the rules"):
        workflow.read_rules()


def test_the_password_of_the_database_is_put_into_its_url_and_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("p@ss/word\n", "utf-8")
    document = changed(
        database_url="postgresql://me@db:5433/viscera?sslmode=require",
        database_password_file="password",
        jobs={"sends_per_destination": 2},
    )
    settings = read(tmp_path, document)
    assert settings.database_password_file is not None
    jobs = settings.job_settings(read_secret(settings.database_password_file))
    assert jobs.url(tmp_path) == "postgresql://me:p%40ss%2Fword@db:5433/viscera?sslmode=require"
    assert jobs.sends_per_destination == 2
    assert "word" not in repr(jobs)
    assert "p@ss" not in settings.explain()
    default = read(tmp_path, LEAST).job_settings()
    assert default.url(tmp_path) == f"sqlite:///{tmp_path}/dbos.sqlite"


def test_a_secret_is_the_text_of_its_file_without_the_end_of_the_line(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b" pass word \r\n")
    assert read_secret(secret) == " pass word "
    for content in (b"", b"\n", b"\xff"):
        secret.write_bytes(content)
        with pytest.raises(SettingsError, match="the secret"):
            read_secret(secret)
    with pytest.raises(SettingsError, match="cannot read the secret"):
        read_secret(tmp_path / "none")
