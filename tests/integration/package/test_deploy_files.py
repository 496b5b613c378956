"""compose.yaml and the manifests for Kubernetes: valid, and true of the node they start."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.node.job_statuses import OPEN_STATUSES
from app.node.metrics import NodeMetrics
from app.node.serving import STOP_TIMEOUT_S
from app.node.settings import NodeSettings
from app.node.settings_file import read_settings
from tests.integration.package.containers import ROOT

MANIFESTS = sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml"))
COMPOSE = ROOT / "compose.yaml"
NODES = ("viscera-one", "viscera-two")
SETS = ("viscera", "viscera-worker")


def documents() -> dict[tuple[str, str], Any]:
    """All manifests, by kind and name."""
    texts = (path.read_text("utf-8") for path in MANIFESTS)
    found = [document for text in texts for document in yaml.safe_load_all(text)]
    return {(document["kind"], document["metadata"]["name"]): document for document in found}


def pod_of(name: str) -> tuple[Any, Any]:
    """The pod of a stateful set, and its one container."""
    pod = documents()["StatefulSet", name]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    return pod, container


def settings_in(folder: Path, text: str, environment: Mapping[str, str]) -> NodeSettings:
    """As a node reads them there, but for the secret, which is a file of the test."""
    (folder / "node.yaml").write_text(text, "utf-8")
    (folder / "password").write_text("p", "utf-8")
    secret = {"VISCERA_NODE__DATABASE_PASSWORD_FILE": str(folder / "password")}
    return read_settings(folder / "node.yaml", {**environment, **secret})


def compose_settings(folder: Path, name: str) -> NodeSettings:
    service = yaml.safe_load(COMPOSE.read_text("utf-8"))["services"][name]
    text = (ROOT / "deploy" / "compose" / "node.yaml").read_text("utf-8")
    return settings_in(folder, text, service["environment"])


def pod_settings(folder: Path, name: str) -> NodeSettings:
    """Of the first pod of a set; Kubernetes puts the values of variables into others."""
    text = documents()["ConfigMap", "viscera"]["data"]["node.yaml"]
    variables = {v["name"]: v.get("value", "") for v in pod_of(name)[1]["env"]}
    threads = "VISCERA_NODE__WORKERS__THREADS"
    filled = {k: v.replace("$(POD_NAME)", f"{name}-0") for k, v in variables.items()}
    return settings_in(folder, text, {**filled, threads: "4"})


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_a_manifest_fits_the_schemas_of_kubernetes(path: Path) -> None:
    validator = pytest.importorskip("kubernetes_validate")
    for document in yaml.safe_load_all(path.read_text("utf-8")):
        for version in ("1.32", validator.latest_version()):
            validator.validate(document, version, strict=True)


def test_the_compose_file_fits_the_schema_of_the_specification() -> None:
    pytest.importorskip("check_jsonschema")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, str(COMPOSE)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_nodes_of_compose_share_the_database_and_what_both_must_see(tmp_path: Path) -> None:
    one, two = (compose_settings(tmp_path, name) for name in NODES)
    assert one.database_url == two.database_url == "postgresql://viscera@postgres/viscera"
    assert one.work_folder == two.work_folder
    assert one.state != two.state
    assert {one.jobs.node_name, two.jobs.node_name} == {"one", "two"}
    services = yaml.safe_load(COMPOSE.read_text("utf-8"))["services"]
    for name in NODES:
        mounts = [volume.split(":")[1] for volume in services[name]["volumes"]]
        for folder in (one.state, two.state, one.work_folder):
            assert [m for m in mounts if folder.is_relative_to(m)] == ["/var/lib/viscera"]


def test_the_peers_of_compose_know_each_other(tmp_path: Path) -> None:
    settings = compose_settings(tmp_path, "viscera-one")
    orthanc = json.loads((ROOT / "deploy" / "compose" / "orthanc.json").read_text("utf-8"))
    services = yaml.safe_load(COMPOSE.read_text("utf-8"))["services"]
    title, host, port = orthanc["DicomModalities"]["viscera"]
    assert title in settings.workflows
    assert host in services
    assert port == settings.listener.port
    for peer in (settings.destinations["orthanc"], settings.sources["orthanc"]):
        assert peer.host in services
        assert (peer.ae_title, peer.port) == (orthanc["DicomAet"], orthanc["DicomPort"])


def test_compose_gives_a_node_the_time_to_end(tmp_path: Path) -> None:
    services = yaml.safe_load(COMPOSE.read_text("utf-8"))["services"]
    for name in NODES:
        grace = re.fullmatch(r"(\d+)s", services[name]["stop_grace_period"])
        assert grace is not None
        assert int(grace[1]) > STOP_TIMEOUT_S


@pytest.mark.parametrize("name", SETS)
def test_a_pod_has_the_folders_its_settings_name(tmp_path: Path, name: str) -> None:
    settings = pod_settings(tmp_path, name)
    assert settings.jobs.node_name == f"{name}-0"
    pod, container = pod_of(name)
    claims = {v["name"] for v in pod["volumes"] if "persistentVolumeClaim" in v}
    templates = documents()["StatefulSet", name]["spec"].get("volumeClaimTemplates", [])
    claims |= {template["metadata"]["name"] for template in templates}
    mounts = {m["mountPath"]: m["name"] for m in container["volumeMounts"]}
    for folder in (settings.state, settings.work_folder):
        (held,) = (mounts[path] for path in mounts if folder.is_relative_to(path))
        assert held in claims
    known = {v["name"] for v in pod["volumes"]} | claims
    assert set(mounts.values()) <= known


def test_what_a_pod_receives_lies_where_the_workers_see_it(tmp_path: Path) -> None:
    received = pod_settings(tmp_path, "viscera").state
    worked_on = pod_settings(tmp_path, "viscera-worker").work_folder
    assert worked_on == pod_settings(tmp_path, "viscera").work_folder
    shared = [
        (m["mountPath"], v["persistentVolumeClaim"]["claimName"])
        for pod, container in map(pod_of, SETS)
        for m in container["volumeMounts"]
        for v in pod["volumes"]
        if v["name"] == m["name"] and "persistentVolumeClaim" in v
    ]
    (mount, claim), other = shared
    assert (mount, claim) == other
    assert ("PersistentVolumeClaim", claim) in documents()
    assert received.is_relative_to(mount)
    assert worked_on.is_relative_to(mount)


@pytest.mark.parametrize("name", SETS)
def test_a_pod_is_asked_where_it_answers_and_has_the_time_to_end(tmp_path: Path, name: str) -> None:
    settings = pod_settings(tmp_path, name)
    pod, container = pod_of(name)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"dicom": settings.listener.port, "health": settings.health.port}
    assert settings.health.bind == "0.0.0.0"
    paths = {k: container[f"{k}Probe"]["httpGet"]["path"] for k in ("liveness", "readiness")}
    assert paths == {"liveness": "/healthz", "readiness": "/readyz"}
    assert pod["terminationGracePeriodSeconds"] > STOP_TIMEOUT_S


def test_services_choose_the_pods_they_are_for() -> None:
    found = documents()
    labels = {
        name: found["StatefulSet", name]["spec"]["template"]["metadata"]["labels"] for name in SETS
    }

    def chosen(service: str) -> list[str]:
        selector = found["Service", service]["spec"]["selector"].items()
        return [name for name in SETS if selector <= labels[name].items()]

    assert chosen("viscera") == ["viscera"]
    assert chosen("viscera-pods") == list(SETS)
    for name in SETS:
        spec = found["StatefulSet", name]["spec"]
        assert spec["selector"]["matchLabels"] == labels[name]
        assert ("Service", spec["serviceName"]) in found


def test_the_autoscaler_reads_a_number_that_nodes_export(tmp_path: Path) -> None:
    spec = documents()["HorizontalPodAutoscaler", "viscera-worker"]["spec"]
    target = spec["scaleTargetRef"]
    assert (target["kind"], target["name"]) in documents()
    (metric,) = (entry["external"]["metric"] for entry in spec["metrics"])
    metrics = NodeMetrics(tmp_path)
    metrics.set_queue(dict.fromkeys(OPEN_STATUSES, 3))
    status = metric["selector"]["matchLabels"]["status"]
    line = f'{metric["name"]}{{status="{status}"}} 3.0'
    assert line in metrics.exposition()[0].decode().splitlines()
