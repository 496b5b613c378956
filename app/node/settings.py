"""Settings of the node: one YAML, a file of its own or the section `node` of an `app.yaml`.

    node:
      state: /var/lib/viscera          # everything the node keeps; other paths are beside the file

      listener:
        port: 11112
        bind_address: 0.0.0.0          # all addresses of this machine
        max_associations: 32
        networks: [10.0.0.0/8]         # who may connect; without it, anybody
        tls:                           # senders need a certificate, too
          certificate_file: /etc/viscera/node.crt
          key_file: /etc/viscera/node.key
          ca_file: /etc/viscera/hospital-ca.crt

      store:
        min_free_bytes: 5368709120     # with less, associations are rejected

      workflows:                       # one for each AE title that senders may call
        VISCERA:
          model: abdomen_vnet_3mm
          destinations: [pacs, research]
        VISCERA_LIVER:
          priority: 50                 # 100 without it; lower numbers come first
          outputs: [segmentation]      # without it, also preview and volumes
          allow_calling: [CT1, CT2]    # without it, any AE title
          allow_addresses: [10.1.0.0/16]
          largest_gap_mm: 10
          selections:                  # as in operators/rules.py; or `rules: liver.yaml`
            - name: liver, portal venous
              model: abdomen_vnet_3mm
              where:
                - SliceThickness: "<= 5"
              prefer:
                - contrast: portal venous
          destinations: [sender]       # the destination with the AE title of the sender

      destinations:
        pacs: {kind: dimse, ae_title: PACS, host: pacs.example, port: 11112, commitment: true,
               rejection_notes: true}
        ct1: {kind: dimse, ae_title: CT1, host: 10.1.0.11, port: 104}
        ct2: {kind: dimse, ae_title: CT2, host: 10.1.0.12, port: 104}
        research:
          kind: dicomweb
          url: https://archive.example/dicom-web
          token_file: /run/secrets/archive-token
        share: {kind: folder, folder: /srv/results}

      sources:                         # for `viscera fetch`
        pacs: {kind: dimse, ae_title: PACS, host: pacs.example, port: 11112, retrieve: move}

      completion:                      # how long to wait for more of a study, in seconds
        closed_s: 5                    # the association was closed and nothing lacks
        quiet_s: 60                    # nothing more is known
        incomplete_s: 300              # slices or stated instances lack
        max_wait_s: 3600               # from the first instance on, in any case

      workers: {count: 2, at_once: 1, devices: [auto]}   # one infers, the other reads or writes
      database_url: postgresql://viscera@db.example/viscera   # default: SQLite in `state`
      database_password_file: /run/secrets/database
      work: /srv/viscera-work          # nodes that share a database share it; default: in `state`
      retention: {longest_age_s: 259200, largest_bytes: 200000000000}   # 3 days
      health: {bind: 127.0.0.1, port: 11114}
      logging: {level: info, format: json}

A secret is never part of the settings; a file that holds it is. Environment variables change single
values, the names of keys joined by two underscores: `VISCERA_NODE__LISTENER__PORT=11113`,
`VISCERA_NODE__DATABASE_PASSWORD_FILE=/run/secrets/other`. `app.node.settings_file` reads both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import yaml
from pydantic import Field, SecretStr, model_validator
from pydantic_core import PydanticCustomError

from app.node.access import ListenerSettings
from app.node.circuit import CircuitSettings
from app.node.completion import CompletionSettings
from app.node.destinations import Destination, DimseDestination, Source, is_sender
from app.node.health import HealthSettings
from app.node.job_settings import JobSettings
from app.node.json_logs import LoggingSettings
from app.node.retention import RetentionSettings
from app.node.settings_types import AETitle, DatabaseURL, Name, check_ae_title, check_device
from app.node.settings_workflow import SENDER, SettingsModel, WorkflowSettings
from app.node.store_disk import StoreSettings
from app.node.workers import WorkerSettings
from operators.rules_sdk import nearest

#: Type of the error that holds what is wrong between parts, as pairs of place and sentence.
ACROSS_PARTS = "across_parts"


class NodeSettings(SettingsModel):
    """All that `viscera serve` is told; the text above shows every part.

    Parameters
    ----------
    state
        Folder of everything the node keeps.
    work
        Folder of the jobs; None is `work` in `state`. Nodes that share a database share this
        folder, and see each other's `state` under the same path.
    models
        Folder of bundles, or one bundle; None is those that come with the package.
    workflows
        By the AE title that senders call.
    destinations, sources
        By name.
    database_url
        Where the jobs are; None is a SQLite file below `state`.
    database_password_file
        File that holds the password for it.

    Notes
    -----
    `with_names` completes a document to what these models expect.
    """

    state: Path
    work: Path | None = None
    models: Path | None = None
    listener: ListenerSettings = Field(default_factory=ListenerSettings)
    store: StoreSettings = Field(default_factory=StoreSettings)
    workflows: dict[AETitle, WorkflowSettings] = Field(min_length=1)
    destinations: dict[Name, Destination] = Field(min_length=1)
    sources: dict[Name, Source] = Field(default_factory=dict)
    circuit: CircuitSettings = Field(default_factory=CircuitSettings)
    completion: CompletionSettings = Field(default_factory=CompletionSettings)
    workers: WorkerSettings = Field(default_factory=WorkerSettings)
    jobs: JobSettings = Field(default_factory=JobSettings)
    database_url: DatabaseURL | None = None
    database_password_file: Path | None = None
    retention: RetentionSettings = Field(default_factory=RetentionSettings)
    health: HealthSettings = Field(default_factory=HealthSettings)
    logging: LoggingSettings = Field(default_factory=LoggingSettings)

    @model_validator(mode="after")
    def _check_across_parts(self) -> NodeSettings:
        checks = (
            self._wrong_names(),
            self._wrong_destinations(),
            self._wrong_ports(),
            self._wrong_database(),
            self._wrong_devices(),
        )
        problems = [problem for check in checks for problem in check]
        if problems:
            told = "; ".join(f"{place}: {problem}" for place, problem in problems)
            raise PydanticCustomError(ACROSS_PARTS, "{told}", {"told": told, "pairs": problems})
        return self

    @property
    def work_folder(self) -> Path:
        """Where the jobs' folders are."""
        return self.work or self.state / "work"

    def destinations_of(self, workflow: str, calling_ae: str) -> tuple[Destination, ...]:
        """Where the results of a workflow go, for a study of this sender; each place once."""
        names = self.workflows[workflow].destinations
        found = {name: self.destinations[name] for name in names if name != SENDER}
        if SENDER in names:
            found.update({peer.name: peer for peer in self._peers_called(calling_ae)[:1]})
        return tuple(found.values())

    def _peers_called(self, ae_title: str) -> list[Destination]:
        return [peer for peer in self.destinations.values() if is_sender(peer, ae_title)]

    def _wrong_names(self) -> Iterator[tuple[str, str]]:
        if set(self.listener.ae_titles) != set(self.workflows):
            yield "listener.ae_titles", "these are the keys of workflows, and need no list"
        for part, peers in (("destinations", self.destinations), ("sources", self.sources)):
            for name, peer in peers.items():
                if peer.name != name:
                    yield f"{part}.{name}.name", "this is the key, and need not be repeated"
        if SENDER in self.destinations:
            yield f"destinations.{SENDER}", "this name stands for where a study came from"

    def _wrong_destinations(self) -> Iterator[tuple[str, str]]:
        for title, workflow in self.workflows.items():
            for n, name in enumerate(workflow.destinations):
                place = f"workflows.{title}.destinations[{n}]"
                if name in workflow.destinations[:n]:
                    yield place, f"{name!r} comes twice"
                elif name == SENDER:
                    yield from self._wrong_senders(workflow, place)
                elif name not in self.destinations:
                    hint = nearest(name, [*self.destinations, SENDER])
                    yield place, f"there is no destination {name!r}{hint}"

    def _wrong_senders(self, workflow: WorkflowSettings, place: str) -> Iterator[tuple[str, str]]:
        if not workflow.allow_calling:
            yield place, "expected allow_calling to say who the senders are"
        for title in workflow.allow_calling:
            if (count := len(self._peers_called(title))) != 1:
                yield place, f"expected one destination of the sender {title}, found {count}"

    def _wrong_ports(self) -> Iterator[tuple[str, str]]:
        port, bind = self.listener.port, self.listener.bind_address
        if port and port == self.health.port and _overlap(bind, self.health.bind):
            yield "health.port", f"{port} is the port of the listener"
        for name, peer in self.destinations.items():
            if not isinstance(peer, DimseDestination) or peer.port != port:
                continue
            if peer.ae_title in self.workflows and _is_here(peer.host, bind):
                yield (
                    f"destinations.{name}",
                    f"{peer} is the node itself, which would send results to itself",
                )

    def _wrong_database(self) -> Iterator[tuple[str, str]]:
        if self.database_password_file is not None and self.database_url is None:
            yield "database_password_file", "there is no database_url that it is for"
        elif self.database_password_file is not None and not urlsplit(self.database_url).username:
            yield "database_url", "expected a user that the password is for, user@host"
        if self.jobs.database_url is not None:
            yield "jobs.database_url", "expected database_url beside jobs, not in it"

    def _wrong_devices(self) -> Iterator[tuple[str, str]]:
        for n, device in enumerate(self.workers.devices):
            try:
                check_device(device)
            except ValueError as exc:
                yield f"workers.devices[{n}]", str(exc)

    def job_settings(self, password: str = "") -> JobSettings:
        """The settings of the job engine, whose URL holds the password."""
        if self.database_url is None:
            return self.jobs
        url = self.database_url
        if password:
            start, _, rest = url.partition("://")
            user, _, place = rest.rpartition("@")
            url = f"{start}://{user}:{quote(password, safe='')}@{place}"
        return self.jobs.model_copy(update={"database_url": SecretStr(url)})

    def explain(self) -> str:
        """The settings in effect, defaults included, as YAML that can be read again.

        Secrets are not in it: the settings hold the names of their files only.
        """
        plain = self.model_dump(mode="json", exclude_none=True)
        return yaml.dump({"node": plain}, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def with_names(document: Mapping[str, Any]) -> dict[str, Any]:
    """Tell peers their names, and the listener its AE titles; both are keys of the document."""
    filled = dict(document)
    for part in ("destinations", "sources"):
        if isinstance(peers := document.get(part), Mapping):
            filled[part] = {name: _with(peer, "name", name) for name, peer in peers.items()}
    if isinstance(workflows := document.get("workflows"), Mapping):
        listener = document.get("listener", {})
        if workflows and all(
            map(_is_ae_title, workflows)
        ):  # else the workflows are told to be wrong, once
            filled["listener"] = _with(listener, "ae_titles", list(workflows))
    return filled


def _is_ae_title(text: str) -> bool:
    try:
        return bool(check_ae_title(text))
    except ValueError:
        return False


def _with(values: Any, key: str, value: Any) -> Any:
    return {key: value, **values} if isinstance(values, Mapping) else values


def _overlap(bind: str, other: str) -> bool:
    return bind == other or "0.0.0.0" in (bind, other) or "::" in (bind, other)


def _is_here(host: str, bind: str) -> bool:
    try:
        return ip_address(host).is_loopback or host == bind
    except ValueError:  # a name
        return host.lower() == "localhost"


class _Dumper(yaml.SafeDumper):
    """Puts quotes around every text, so that no reader of YAML takes it for something else."""


def _quoted(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    is_word = text.replace("_", "").isalpha() and text.isascii() and text.islower()
    style = None if is_word else '"'  # words such as `on` get their quotes from PyYAML
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _quoted)
