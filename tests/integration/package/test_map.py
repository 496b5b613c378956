"""The MAP in a container: the results, the manifests, who may run it and how it ends."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pydicom

from app.package.context import make_readable
from models.bundle import Bundle
from tests.integration.package.containers import Podman

#: Of a SEG: when it was made.
TIMES = {
    "ContentDate",
    "ContentTime",
    "ContributionDateTime",
    "InstanceCreationDate",
    "InstanceCreationTime",
    "SeriesDate",
    "SeriesTime",
}


def content_without_times(file: Path) -> bytes:
    """The data set in bytes, without the moments at which it was made."""
    dataset = pydicom.dcmread(file)
    for element in [e for e in dataset.iterall() if e.keyword in TIMES]:
        element.value = ""
    buffer = pydicom.filebase.DicomBytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def folder_for_all(path: Path) -> Path:
    path.mkdir()
    path.chmod(0o777)
    return path


def copy_for_all(source: Path, target: Path) -> Path:
    """What other tests wrote can be read by its owner alone, weights among them."""
    shutil.copytree(source, target)
    make_readable(target)
    return target


def mounts(source: Path, output: Path) -> list[str]:
    read = ["-v", f"{source}:/var/holoscan/input:ro"]
    return [*read, "-v", f"{output}:/var/holoscan/output"]


def status(folder: Path) -> str:
    found: str = json.loads((folder / "report.json").read_text("utf-8"))["status"]
    return found


def test_the_seg_is_the_one_made_outside_apart_from_times(
    podman: Podman, image: str, outside: Path, tmp_path: Path
) -> None:
    """With the starter model, as a user who is not known in the image and without network."""
    out = folder_for_all(tmp_path / "out")
    options = [*mounts(outside / "phantom", out), "--user", "12345:54321", "--read-only"]
    done = podman.run(image, "-q", options=[*options, "--tmpfs", "/tmp"])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (inside,) = out.glob("*/segmentation.dcm")
    (expected,) = outside.glob("*/segmentation.dcm")
    assert inside.parent.name == expected.parent.name
    assert content_without_times(inside) == content_without_times(expected)
    for name in ("preview.png", "volumes.csv"):
        assert (inside.parent / name).read_bytes() == (expected.parent / name).read_bytes()


def test_an_empty_input_ends_the_container_with_our_exit_code(
    podman: Podman, image: str, tmp_path: Path
) -> None:
    source, out = folder_for_all(tmp_path / "in"), folder_for_all(tmp_path / "out")
    done = podman.run(image, options=mounts(source, out))
    assert done.returncode == 10, done.stderr
    assert status(out) == "unreadable_input"


def test_other_models_and_rules_can_be_mounted(
    podman: Podman, image: str, patient_folder: Path, tent_bundle: Bundle, tmp_path: Path
) -> None:
    """The configuration of the specification, which may hold rules: here ones that nothing fits."""
    out, config = folder_for_all(tmp_path / "out"), tmp_path / "app.yaml"
    config.write_text('selections: [{name: none, conditions: {Modality: "MR"}}]', "utf-8")
    series = copy_for_all(patient_folder, tmp_path / "ct")
    copy_for_all(tent_bundle.folder, folder_for_all(tmp_path / "models") / "tents")
    models = ["-v", f"{tmp_path}/models:/opt/holoscan/models:ro"]
    options = [*mounts(series, out), *models]
    done = podman.run(image, options=options)
    assert done.returncode == 0, done.stderr
    assert status(out) == "ok"
    done = podman.run(image, options=[*options, "-v", f"{config}:/var/holoscan/app.yaml:ro"])
    assert done.returncode == 11, done.stderr


def test_the_manifests_are_shown(podman: Podman, image: str) -> None:
    app, pkg = (json.loads(podman.run(image, "show", name).stdout) for name in ("app", "pkg"))
    assert app["type"] == "application"
    assert app["input"] == {"path": "input/", "formats": ["file"]}
    assert app["output"] == {"path": "output/", "format": "file", "formats": ["file"]}
    assert pkg["models"] == [{"name": "abdomen_vnet_3mm", "path": "abdomen_vnet_3mm"}]
    assert pkg["resources"]["gpu"] == 0
    both = podman.run(image, "show").stdout
    assert "app.json" in both
    assert "pkg.json" in both


def test_the_environment_is_shown(podman: Podman, image: str) -> None:
    lines = podman.run(image, "env").stdout.splitlines()
    shown = dict(line.split("=", 1) for line in lines)
    assert shown["HOLOSCAN_INPUT_PATH"].rstrip("/") == "/var/holoscan/input"
    assert shown["HOLOSCAN_DOCS"] == "/opt/holoscan/docs"
    assert shown["HOLOSCAN_LOGS_PATH"] == "/var/holoscan/logs"
    assert not [name for name in shown if name.startswith("MONAI_")]


def test_the_package_is_extracted(podman: Podman, image: str, tmp_path: Path) -> None:
    out = folder_for_all(tmp_path / "out")
    mount = ["-v", f"{out}:/var/run/holoscan/export"]
    done = podman.run(image, "extract", options=[*mount, "--user", "12345"])
    assert done.returncode == 0, done.stderr
    assert (out / "app" / "operators" / "default_rules.json").is_file()
    assert (out / "config" / "app.json").is_file()
    assert (out / "config" / "app.yaml").is_file()
    assert (out / "models" / "abdomen_vnet_3mm" / "models" / "model.safetensors").is_file()
    assert (out / "docs" / "README.md").is_file()


def test_nothing_mounted_to_extract_to_is_an_error(podman: Podman, image: str) -> None:
    done = podman.run(image, "extract")
    assert done.returncode == 1
    assert "/var/run/holoscan/export" in done.stderr


def test_mercure_finds_its_manifest_and_files_where_it_sends_from(
    podman: Podman, image: str, patient_folder: Path, tent_bundle: Bundle, tmp_path: Path
) -> None:
    """It runs the manifest's command as root, without entry point, with folders of its own."""
    out = folder_for_all(tmp_path / "out")
    shown = podman.run(image, "/etc/monai/app.json", options=["--entrypoint", "cat"])
    manifest: dict[str, Any] = json.loads(shown.stdout)
    program, *arguments = manifest["command"].split()
    options = ["--entrypoint", program, "--user", "0:0"]
    options += ["-v", f"{patient_folder}:/tmp/data", "-v", f"{out}:/tmp/output"]
    options += ["-v", f"{tent_bundle.folder.parent}:/tmp/models"]
    options += ["-e", "MONAI_INPUTPATH=/tmp/data", "-e", "MONAI_OUTPUTPATH=/tmp/output"]
    options += ["-e", "MONAI_MODELPATH=/tmp/models"]
    done = podman.run(image, *arguments, options=options)
    assert done.returncode == 0, done.stderr
    (sent,) = out.glob("*.dcm")
    assert pydicom.dcmread(sent, stop_before_pixels=True).Modality == "SEG"
    assert len(list(out.glob("*/segmentation.dcm"))) == 1


def test_the_image_is_labelled_unprivileged_and_below_2_gb(podman: Podman, image: str) -> None:
    (found,) = json.loads(podman("image", "inspect", image).stdout)
    assert found["Labels"]["org.opencontainers.image.title"] == "viscera"
    app = json.loads(podman.run(image, "show", "app").stdout)
    assert found["Labels"]["org.opencontainers.image.version"] == app["version"]
    assert found["Config"]["User"] == "1000:1000"
    assert found["Size"] < 2e9


def test_both_ways_lead_to_the_same_files(
    podman: Podman, own_map: tuple[str, Path], packager_map: str
) -> None:
    """Manifests apart, in which only the order and the spelling of paths differ."""
    command = "cd / && find opt/holoscan/app opt/holoscan/models etc/monai var/holoscan/tools"
    command += " -type f ! -name '*.pyc' | sort | xargs sha256sum"
    shell = ["--entrypoint", "/bin/sh"]
    own, packaged = (
        podman.run(image, "-c", command, options=shell).stdout.splitlines()
        for image in (own_map[0], packager_map)
    )
    assert own == packaged
    assert len(own) > 50
    keys = [
        set(json.loads(podman.run(image, "show", "app").stdout))
        for image in (own_map[0], packager_map)
    ]
    assert keys[0] == keys[1]
