"""From DCMTK's C-STORE through `viscera serve` to Orthanc."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import CTImageStorage, SegmentationStorage
from pynetdicom import AE

from operators.seg_reading import read_label_map


@pytest.fixture(scope="module")
def pacs(
    tmp_path_factory: pytest.TempPathFactory, start_orthanc: Any, new_port: Callable[[], int]
) -> Iterator[tuple[Any, int]]:
    """An Orthanc that knows where the node listens, and that port."""
    port = new_port()
    with start_orthanc(tmp_path_factory.mktemp("pacs"), {"VISCERA": port}) as orthanc:
        yield orthanc, port


@pytest.fixture(scope="module")
def node(serve: Any, pacs: tuple[Any, int]) -> Iterator[Any]:
    """Sends by C-STORE with storage commitment, and by STOW-RS."""
    orthanc, port = pacs
    destinations = {
        "pacs": {
            "kind": "dimse",
            "ae_title": "ORTHANC",
            "host": "127.0.0.1",
            "port": orthanc.port,
            "commitment": True,
            "rejection_notes": True,
        },
        "web": {
            "kind": "dicomweb",
            "url": orthanc.url,
            "user": orthanc.user,
            "password_file": str(orthanc.password_file),
        },
    }
    workflows = {
        "VISCERA": {"destinations": ["pacs"], "any_anatomy": True},
        "VISCERA_WEB": {"destinations": ["web"], "any_anatomy": True, "outputs": ["segmentation"]},
    }
    listener = {"port": port, "bind_address": "127.0.0.1"}
    with serve(destinations, workflows=workflows, listener=listener) as started:
        yield started


def seg_uids(orthanc: Any, study: Any) -> list[str]:
    found = orthanc.get(
        f"studies/{study.StudyInstanceUID}/instances?SOPClassUID={SegmentationStorage}"
    )
    return sorted(item["00080018"]["Value"][0] for item in found)


def test_a_study_sent_by_dcmtk_comes_back_as_a_segmentation_in_the_pacs(
    node: Any, pacs: tuple[Any, int], make_ct: Any, send: Any
) -> None:
    orthanc, _ = pacs
    study = make_ct("there and back")
    send(node.port, study.files)
    job = node.ended(study)
    assert (job.status, job.outcome) == ("delivered", "ok"), node.log
    (uid,) = seg_uids(orthanc, study)
    (series,) = orthanc.get(f"studies/{study.StudyInstanceUID}/series?Modality=SEG")
    assert series["0020000D"]["Value"] == [study.StudyInstanceUID]
    (made,) = (node.state / "work").glob(f"{job.folder}/*/segmentation.dcm")
    header = pydicom.dcmread(made)
    assert header.SOPInstanceUID == uid
    assert header.ReferencedSeriesSequence[0].SeriesInstanceUID == study.SeriesInstanceUID
    labels, names = read_label_map(made, study.geometry)
    numbers = {label: number for number, label in names.items()}
    for label, centroid in study.centroids_lps.items():
        np.testing.assert_allclose(labels.centroid_lps(numbers[label]), centroid, atol=1.5)


def test_each_step_is_in_the_audit_trail(
    node: Any, pacs: tuple[Any, int], make_ct: Any, send: Any
) -> None:
    study = make_ct("audit")
    send(node.port, study.files, "-aet", "SCANNER")
    node.ended(study)
    (received,) = node.events(study, "received")
    assert (received["calling_ae"], received["instances"]) == ("SCANNER", len(study.files))
    (complete,) = node.events(study, "complete")
    assert "have no gap" in complete["reason"]
    (segmented,) = node.events(study, "segmented")
    assert segmented["series"][0]["SeriesInstanceUID"] == study.SeriesInstanceUID
    assert len(segmented["models"][0]["sha256"]) == 64
    (sent,) = node.events(study, "sent")
    assert sent["destination"] == "pacs"
    (committed,) = node.events(study, "committed")
    assert committed["committed"] == seg_uids(pacs[0], study)


def test_the_same_study_sent_twice_is_worked_on_once(
    node: Any, pacs: tuple[Any, int], make_ct: Any, send: Any
) -> None:
    study = make_ct("twice")
    send(node.port, study.files)
    node.ended(study)
    send(node.port, study.files)
    time.sleep(2.0)  # longer than a complete study is waited for
    assert [job.status for job in node.jobs(study)] == ["delivered"]
    assert len(seg_uids(pacs[0], study)) == 1


def test_late_slices_make_a_new_version_with_a_result_of_its_own(
    node: Any, pacs: tuple[Any, int], make_ct: Any, send: Any
) -> None:
    study = make_ct("late")
    by_place = sorted(study.files, key=lambda f: pydicom.dcmread(f).ImagePositionPatient[2])
    send(node.port, by_place[:20])
    assert node.ended(study).status == "delivered"
    send(node.port, by_place[20:])
    assert node.ended(study, version=2).status == "delivered"
    assert len(seg_uids(pacs[0], study)) == 2
    old, new = (node.state / "work" / job.folder for job in node.jobs(study))
    (rejected,) = (path for path in old.rglob("segmentation.dcm"))
    note = pydicom.dcmread(new / "rejection.dcm")
    evidence = note.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    named = evidence.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    assert named == pydicom.dcmread(rejected).SOPInstanceUID
    assert note.SOPInstanceUID in pacs[0].instances(study.StudyInstanceUID)
    one, two = node.events(study, "complete")
    assert (one["instances"], two["instances"]) == (20, len(study.files))


def test_a_workflow_sends_to_its_own_destinations(
    node: Any, pacs: tuple[Any, int], make_ct: Any, send: Any
) -> None:
    study = make_ct("by web")
    send(node.port, study.files, called="VISCERA_WEB")
    job = node.ended(study, "VISCERA_WEB")
    assert job.status == "delivered"
    assert [delivery.destination for delivery in job.deliveries] == ["web"]
    assert len(seg_uids(pacs[0], study)) == 1
    assert not node.jobs(study)
    output = node.state / "work" / job.folder
    assert not list(output.rglob("preview.png")), "it was not asked for"


def test_four_senders_at_once_lose_nothing(
    node: Any, pacs: tuple[Any, int], make_ct: Any, storescu: Any
) -> None:
    studies = [make_ct(f"sender {n}") for n in range(4)]
    senders = [storescu(node.port, s.files, "-aet", f"CT{n}") for n, s in enumerate(studies)]
    assert [sender.wait(60) for sender in senders] == [0] * 4
    for study in studies:
        assert node.ended(study).status == "delivered"
        assert len(seg_uids(pacs[0], study)) == 1


def test_studies_that_come_interleaved_stay_apart(
    node: Any, pacs: tuple[Any, int], make_ct: Any, send: Any
) -> None:
    one, two = make_ct("interleaved 1"), make_ct("interleaved 2")
    send(node.port, [file for pair in zip(one.files, two.files, strict=True) for file in pair])
    for study in (one, two):
        job = node.ended(study)
        assert job.status == "delivered"
        (complete,) = node.events(study, "complete")
        assert complete["instances"] == len(study.files)
        assert len(seg_uids(pacs[0], study)) == 1


def test_after_an_aborted_association_the_rest_is_waited_for(
    node: Any, pacs: tuple[Any, int], make_ct: Any, send: Any
) -> None:
    study = make_ct("aborted")
    sender = AE("BROKEN")
    sender.add_requested_context(CTImageStorage)
    association = sender.associate("127.0.0.1", node.port, ae_title="VISCERA")
    for file in study.files[:9]:
        assert association.send_c_store(file).Status == 0
    association.abort()
    send(node.port, study.files[9:])
    job = node.ended(study)
    assert (job.status, job.job.version) == ("delivered", 1)
    assert node.events(study, "received")[0]["released"] is False
    assert len(seg_uids(pacs[0], study)) == 1


def test_a_person_can_call_a_study_complete(
    serve: Any, tmp_path: Path, make_ct: Any, send: Any
) -> None:
    (tmp_path / "share").mkdir()
    waits = {"closed_s": 600, "quiet_s": 600, "incomplete_s": 600, "max_wait_s": 6000}
    share = {"share": {"kind": "folder", "folder": str(tmp_path / "share")}}
    with serve(share, completion=waits) as node:
        study = make_ct("forced")
        send(node.port, study.files)
        assert not node.jobs(study)
        forced = node.run("complete", study.StudyInstanceUID)
        assert forced.returncode == 0, forced.stderr
        assert node.ended(study).status == "delivered"
        assert "a person said so" in node.events(study, "complete")[0]["reason"]
        assert len(list((tmp_path / "share").iterdir())) == 1


def test_what_is_no_volume_ends_as_rejected_with_the_reason(
    node: Any, pacs: tuple[Any, int], make_ct: Any, send: Any
) -> None:
    study = make_ct("one slice")
    send(node.port, study.files[:1])
    job = node.ended(study)
    assert (job.status, job.outcome) == ("rejected", "not_a_volume"), job
    assert job.reason
    assert seg_uids(pacs[0], study) == []


def test_a_stop_while_a_study_is_segmented_is_in_order_and_the_next_start_goes_on(
    serve: Any, tmp_path: Path, make_ct: Any, send: Any
) -> None:
    (tmp_path / "share").mkdir()
    share = {"share": {"kind": "folder", "folder": str(tmp_path / "share")}}
    with serve(share) as node:
        study = make_ct("stopped")
        send(node.port, study.files)
        node.until(lambda: node.jobs(study))
        assert node.stop(signal.SIGTERM) == 0
        assert not list((node.state / "incoming" / ".partial").iterdir())
        node.start()
        assert node.ended(study).status == "delivered"
        assert len(list((tmp_path / "share").iterdir())) == 1


def test_health_and_metrics_tell_what_happened(node: Any, make_ct: Any, send: Any) -> None:
    study = make_ct("numbers")
    send(node.port, study.files)
    node.ended(study)
    assert node.get("/healthz") == {"alive": True}
    assert node.get("/readyz")["ready"] is True

    def counted() -> dict[str, float]:
        lines = [line for line in node.get("/metrics").splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}

    numbers = node.until(
        lambda: found if (found := counted()).get('viscera_queue_jobs{status="delivered"}') else {}
    )
    assert numbers['viscera_instances_received_total{status="stored"}'] >= len(study.files)
    assert numbers['viscera_associations_total{result="released"}'] >= 1
    assert numbers['viscera_stage_seconds_count{stage="segment"}'] >= 1
    assert any(name.startswith("viscera_instances_sent_total") for name in numbers)
