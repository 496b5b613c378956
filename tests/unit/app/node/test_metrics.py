from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.node.metrics import MOST_VALUES, NodeMetrics, status_name


@pytest.fixture
def metrics(tmp_path: Path) -> NodeMetrics:
    return NodeMetrics(tmp_path, clock=lambda: 1234.5)


def samples(metrics: NodeMetrics) -> dict[str, float]:
    """Values by `name{label}` of the text that Prometheus reads."""
    body, _ = metrics.exposition()
    return {
        sample.name + "".join(f"{{{value}}}" for _, value in sorted(sample.labels.items())): (
            sample.value
        )
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (0x0000, "stored"),
        (0xA700, "out_of_resources"),
        (0xA7FF, "out_of_resources"),
        (0xA900, "data_set_mismatch"),
        (0xB006, "warning"),
        (0xC123, "cannot_understand"),
        (0x0122, "refused"),
    ],
)
def test_statuses_of_c_store_are_counted_by_kind(
    metrics: NodeMetrics, status: int, name: str
) -> None:
    assert status_name(status) == name
    metrics.instance_received(status)
    metrics.instance_received(status)
    assert samples(metrics)[f"viscera_instances_received_total{{{name}}}"] == 2


def test_associations_are_counted_while_open_and_when_they_end(metrics: NodeMetrics) -> None:
    for _ in range(3):
        metrics.association_opened()
    metrics.association_ended("aborted")
    metrics.association_rejected("calling_ae")
    found = samples(metrics)
    assert found["viscera_associations_open"] == 2
    assert found["viscera_associations_total{aborted}"] == 1
    assert found["viscera_associations_rejected_total{calling_ae}"] == 1


def test_the_queue_shows_the_last_numbers_only(metrics: NodeMetrics) -> None:
    metrics.set_queue({"waiting": 4, "running": 1})
    metrics.set_queue({"waiting": 2})
    found = {name: value for name, value in samples(metrics).items() if "queue_jobs" in name}
    assert found == {"viscera_queue_jobs{waiting}": 2}


def test_jobs_stages_and_sending_are_counted(metrics: NodeMetrics) -> None:
    metrics.stage_took("segment", 3.0)
    metrics.stage_took("segment", 30.0)
    metrics.job_failed("not_a_volume")
    metrics.instances_sent("pacs", "stored", 5)
    metrics.worker_restarted()
    found = samples(metrics)
    assert found["viscera_stage_seconds_sum{segment}"] == 33.0
    assert found["viscera_stage_seconds_bucket{5.0}{segment}"] == 1
    assert found["viscera_stage_seconds_bucket{40.0}{segment}"] == 2
    assert found["viscera_failures_total{not_a_volume}"] == 1
    assert found["viscera_instances_sent_total{pacs}{stored}"] == 5
    assert found["viscera_worker_restarts_total"] == 1


def test_the_last_success_and_the_free_space_are_shown(
    metrics: NodeMetrics, tmp_path: Path
) -> None:
    assert samples(metrics)["viscera_last_success_timestamp_seconds"] == 0
    metrics.job_succeeded()
    found = samples(metrics)
    assert found["viscera_last_success_timestamp_seconds"] == 1234.5
    assert found["viscera_disk_free_bytes"] > 0


def test_a_folder_that_is_gone_spoils_no_other_number(tmp_path: Path) -> None:
    found = samples(NodeMetrics(tmp_path / "gone"))
    assert found["viscera_disk_free_bytes"] != found["viscera_disk_free_bytes"]  # NaN
    assert found["viscera_associations_open"] == 0


def test_labels_stay_few_and_printable_whatever_is_counted(metrics: NodeMetrics) -> None:
    for n in range(MOST_VALUES + 50):
        metrics.job_failed(f"reason {n}")
    metrics.association_rejected("two\nlines")
    metrics.association_rejected("x" * 1000)
    metrics.stage_took("reason 1", 1.0)  # each label has a count of its own
    found = samples(metrics)
    failures = [name for name in found if name.startswith("viscera_failures_total")]
    assert len(failures) == MOST_VALUES + 1
    assert found["viscera_failures_total{other}"] == 50
    assert found["viscera_associations_rejected_total{other}"] == 2
    assert found["viscera_stage_seconds_count{reason 1}"] == 1


def test_two_nodes_in_one_process_count_apart(tmp_path: Path) -> None:
    first, second = NodeMetrics(tmp_path), NodeMetrics(tmp_path)
    first.worker_restarted()
    assert samples(second)["viscera_worker_restarts_total"] == 0


def test_open_metrics_is_spoken_where_it_is_asked_for(metrics: NodeMetrics) -> None:
    plain, plain_type = metrics.exposition("")
    body, content_type = metrics.exposition("application/openmetrics-text; version=1.0.0")
    assert plain_type.startswith("text/plain")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")
    assert not plain.endswith(b"# EOF\n")
