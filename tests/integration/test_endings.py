"""How runs end that cannot succeed: with a sentence, a code of their own and a report."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless

from app import start
from app.cli import main
from models.bundle import Bundle

ROOT = Path(__file__).parents[2]

#: Runs once in peace, then twice with an output folder on a disk that has no room left or little.
ON_A_FULL_DISK = """
import hashlib, json, subprocess, sys
from pathlib import Path
from app.cli import main

folder, models, out = sys.argv[1:]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", out], check=True)
root = Path(out, "results")

def run():
    code = main(["segment", folder, "-o", str(root), "-m", models, "--device", "cpu", "-q"])
    files = sorted(path for path in root.rglob("*") if path.is_file())
    digests = {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
    return {"code": code, "files": digests, "report": json.loads(Path(root, "report.json").read_text())}

def fill(left):
    filler = Path(out, "filler")
    with filler.open("wb", buffering=0) as stream:
        try:
            while stream.write(bytes(4096)):
                pass
        except OSError:
            pass
        stream.truncate(stream.tell() - left)

told = [run()]
for left in (0, 16384):
    fill(left)
    told.append(run())
print(json.dumps(told))
"""  # noqa: E501

#: Runs once in peace, then with little more address space than that took.
WITH_LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
from app.cli import main

folder, out, peaceful, *greedy = sys.argv[1:]

def run(model):
    name = str(Path(out, Path(model).name))
    return main(["segment", folder, "-o", name, "-m", model, "--device", "cpu", "-q"])

codes = [run(peaceful)]
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (600 << 20), resource.RLIM_INFINITY))
codes += [run(model) for model in greedy]
codes.append(run(peaceful))
print(codes)
"""


def run(folder: Path, out: Path, models: Path, *options: str) -> int:
    arguments = ["segment", str(folder), "-o", str(out), "-m", str(models), "--device", "cpu"]
    return main([*arguments, *options])


def check_report(out: Path, status: str, code: int) -> dict[str, Any]:
    """The report names the ending, and no segmentation or remainder lies beside it."""
    report: dict[str, Any] = json.loads((out / "report.json").read_text("utf-8"))
    assert (report["status"], report["exit_code"]) == (status, code)
    assert report["message"]
    assert not list(out.rglob("*.part"))
    assert not list(out.rglob("*.dcm"))
    return report


# --- input


def test_a_series_that_no_rule_chooses_has_its_reason_in_the_report(
    tmp_path: Path, patient_folder: Path, tent_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = tmp_path / "rules.json"
    thick = {"name": "thick", "conditions": {"Modality": "CT", "SliceThickness": [9, 99]}}
    rules.write_text(json.dumps({"selections": [thick]}))
    assert run(patient_folder, tmp_path / "out", tent_bundle.folder, "--rules", str(rules)) == 11
    report = check_report(tmp_path / "out", "nothing_selected", 11)
    (decision,) = report["selection"]
    assert decision["chosen"] is False
    assert "SliceThickness" in decision["reason"]
    assert report["series"] == []
    streams = capsys.readouterr()
    assert "SliceThickness" in streams.out
    assert decision["SeriesInstanceUID"] in streams.err


@pytest.mark.parametrize("content", ["nothing", "junk", "no folder"])
def test_a_folder_without_dicom_is_unreadable(
    content: str, tmp_path: Path, tent_bundle: Bundle
) -> None:
    folder = tmp_path / "in"
    if content != "no folder":
        folder.mkdir()
    if content == "junk":
        (folder / "notes.txt").write_text("no image")
        (folder / "empty.dcm").touch()
    assert run(folder, tmp_path / "out", tent_bundle.folder) == 10
    report = check_report(tmp_path / "out", "unreadable_input", 10)
    skipped = {Path(file["path"]).name: file["reason"] for file in report["skipped_files"]}
    junk = {"notes.txt": "not DICOM", "empty.dcm": "empty file"}
    assert skipped == (junk if content == "junk" else {})


def test_pixels_that_no_decoder_reads(
    tmp_path: Path, write_patient: Callable[..., Any], tent_bundle: Bundle
) -> None:
    write_patient(tmp_path / "in")
    for file in (tmp_path / "in").iterdir():
        dataset = pydicom.dcmread(file)
        dataset.PixelData = encapsulate([b"\xff\x4f\xff\x51 no codestream"])
        dataset["PixelData"].VR = "OB"
        dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
        dataset.save_as(file)
    assert run(tmp_path / "in", tmp_path / "out", tent_bundle.folder) == 13
    report = check_report(tmp_path / "out", "undecodable_pixels", 13)
    assert report["series"][0]["status"] == "undecodable_pixels"


def test_a_patient_without_organs_gets_no_segmentation_but_a_table(
    tmp_path: Path, write_patient: Callable[..., Any], tent_bundle: Bundle
) -> None:
    write_patient(tmp_path / "in", with_organs=False)
    out, models = tmp_path / "out", tent_bundle.folder
    assert run(tmp_path / "in", out, models) == 22
    check_report(out, "not_this_anatomy", 22)
    assert run(tmp_path / "in", out, models, "--any-anatomy") == 17
    (series,) = check_report(out, "no_organ_found", 17)["series"]
    assert set(series["outputs"]) == {"preview", "volumes_json", "volumes_csv"}
    assert set(series["volumes_ml"].values()) == {0.0}


# --- settings


@pytest.mark.parametrize(
    "rules", ["{", '{"selections": []}', None], ids=["no JSON", "none", "no file"]
)
def test_rules_that_cannot_be_understood(
    rules: str | None, tmp_path: Path, patient_folder: Path, tent_bundle: Bundle
) -> None:  # fmt: skip
    file = tmp_path / "rules.json"
    if rules is not None:
        file.write_text(rules)
    assert run(patient_folder, tmp_path / "out", tent_bundle.folder, "--rules", str(file)) == 2
    report = check_report(tmp_path / "out", "bad_rules", 2)
    assert report["selection"] == []


@pytest.mark.parametrize("fault", ["no folder", "no weights", "altered", "other name", "no device"])
def test_a_model_that_cannot_be_used(
    fault: str,
    tmp_path: Path,
    patient_folder: Path,
    make_tent_bundle: Callable[..., Bundle],
) -> None:
    bundle = make_tent_bundle(tmp_path / "models" / "tents")
    models, options = tmp_path / "models", ["--model", "tents"]
    if fault == "no folder":
        models = tmp_path / "nowhere"
    elif fault == "no weights":
        bundle.weights.unlink()
    elif fault == "altered":
        weights = bytearray(bundle.weights.read_bytes())
        weights[-1] ^= 1
        bundle.weights.write_bytes(weights)
    elif fault == "other name":
        options = ["--model", "tends"]
    else:
        options += ["--device", "gpu:99"]
    assert run(patient_folder, tmp_path / "out", models, *options) == 14
    report = check_report(tmp_path / "out", "bad_model", 14)
    assert report["models"] == []
    if fault == "other name":
        assert "found tents" in report["message"]


def test_a_package_of_our_name_is_told_before_anything_runs(
    tmp_path: Path,
    patient_folder: Path,
    tent_bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    info = tmp_path / "installed" / "culprit-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: culprit\nVersion: 1.0\n")
    (info / "top_level.txt").write_text("models\n")
    monkeypatch.syspath_prepend(tmp_path / "installed")
    out = tmp_path / "out"
    models = str(tent_bundle.folder)
    monkeypatch.setattr(
        sys, "argv", ["viscera", "segment", str(patient_folder), "-o", str(out), "-m", models]
    )
    assert start.main() == 18
    assert "'models' from 'culprit'" in capsys.readouterr().err
    monkeypatch.setattr(
        sys, "argv", ["app", "-i", str(patient_folder), "-o", str(out), "-m", models]
    )
    assert start.main_map() == 18
    assert not out.exists()  # what could write a report may be the culprit's


# --- resources


def test_an_output_folder_that_cannot_be_made(
    tmp_path: Path, patient_folder: Path, tent_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    assert run(patient_folder, tmp_path / "file" / "out", tent_bundle.folder) == 16
    assert (tmp_path / "file").read_text() == "mine"
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"viscera: {tmp_path / 'file'}")
    assert error.endswith("Not a directory")


def in_own_mounts(*command: str) -> list[str]:
    return ["unshare", "--user", "--map-root-user", "--mount", *command]


def may_mount(folder: Path) -> bool:
    if shutil.which("unshare") is None:
        return False
    command = in_own_mounts("mount", "-t", "tmpfs", "none", str(folder))
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_a_full_disk_leaves_earlier_results_whole_and_nothing_else(
    tmp_path: Path, patient_folder: Path, tent_bundle: Bundle, lean_environment: dict[str, str]
) -> None:
    if not may_mount(tmp_path):
        pytest.skip("this user may not mount a small disk in a namespace of its own")
    disk = tmp_path / "disk"
    disk.mkdir()
    paths = (str(patient_folder), str(tent_bundle.folder), str(disk))
    done = subprocess.run(
        in_own_mounts(sys.executable, "-c", ON_A_FULL_DISK, *paths),
        cwd=ROOT,
        env=lean_environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    peace, full, tight = json.loads(done.stdout)
    assert peace["code"] == 0
    assert len(peace["files"]) == 5
    assert any(name.endswith("segmentation.dcm") for name in peace["files"])
    # no room for anything: every file is the earlier run's own, and no remainder lies beside
    assert full["code"] == 16
    assert full["files"] == peace["files"]
    assert done.stderr.count("No space left on device") >= 2
    # room for the report, not for the segmentation
    assert tight["code"] == 16
    assert tight["files"].keys() == peace["files"].keys()
    assert (tight["report"]["status"], tight["report"]["exit_code"]) == ("output_failed", 16)
    assert "No space left on device" in tight["report"]["message"]
    (series,) = tight["report"]["series"]
    assert series["status"] == "output_failed"
    assert "seg" not in series["outputs"]
    seg = next(name for name in peace["files"] if name.endswith("segmentation.dcm"))
    assert tight["files"][seg] == peace["files"][seg]


def test_too_little_memory_ends_with_its_own_code_and_the_process_goes_on(
    tmp_path: Path,
    patient_folder: Path,
    make_tent_bundle: Callable[..., Bundle],
    lean_environment: dict[str, str],
) -> None:
    """Once for the volume at the network's spacing, once for one of its windows."""
    hu = {"low_hu": -200, "high_hu": 600}
    models = [
        make_tent_bundle(tmp_path / "peaceful"),
        make_tent_bundle(tmp_path / "fine", preprocessing={"spacing_mm": 0.15, **hu}),
        make_tent_bundle(
            tmp_path / "wide", sliding_window={"size": [512] * 3, "overlap": 0.25, "batch": 1}
        ),
    ]
    folders = [str(model.folder) for model in models]
    done = subprocess.run(
        [sys.executable, "-c", WITH_LITTLE_MEMORY, str(patient_folder), str(tmp_path), *folders],
        cwd=ROOT,
        env=lean_environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "[0, 15, 15, 0]", done.stderr
    for name in ("fine", "wide"):
        check_report(tmp_path / name, "out_of_memory", 15)


# --- interruption
