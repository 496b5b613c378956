"""The sender of a study is asked how much belongs to it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_a_study_waits_for_what_its_sender_says_that_it_has(
    serve: Any,
    tmp_path: Path,
    start_orthanc: Any,
    make_ct: Any,
    send: Any,
    new_port: Callable[[], int],
) -> None:
    (tmp_path / "share").mkdir()
    study = make_ct("stated by the sender")
    with start_orthanc(tmp_path / "orthanc", {"VISCERA": new_port()}) as orthanc:
        send(orthanc.port, study.files, called="ORTHANC")
        source = {"ae_title": "ORTHANC", "host": "127.0.0.1", "port": orthanc.port}
        with serve(
            {"share": {"kind": "folder", "folder": str(tmp_path / "share")}},
            sources={"pacs": {"kind": "dimse", **source}},
            completion={"closed_s": 1.0, "quiet_s": 1.0, "incomplete_s": 60.0, "max_wait_s": 90.0},
        ) as node:
            send(node.port, study.files[:20], "-aet", "ORTHANC")
            time.sleep(3.0)
            assert node.jobs(study) == []
            send(node.port, study.files[20:], "-aet", "ORTHANC")
            job = node.ended(study)
            assert (job.status, job.job.version) == ("delivered", 1)
            (complete,) = node.events(study, "complete")
            assert f"all {len(study.files)} stated instances are there" in complete["reason"]
