from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from app.errors import AppError, PackageCollisionError
from app.packages import PACKAGES, check_packages

ROOT = Path(__file__).parents[3]
#: Runs the check with another folder of installed packages at the end of the path.
CHECK = """
import site, sys
site.addsitedir(sys.argv[1])
from app.packages import check_packages
check_packages()
"""


def install_culprit(folder: Path, files: dict[str, str], declared: str | None) -> Path:
    """Build a wheel of the distribution `culprit` and install it with pip into a folder."""
    info = "culprit-1.0.dist-info/"
    contents = {
        **files,
        info + "METADATA": "Metadata-Version: 2.1\nName: culprit\nVersion: 1.0\n",
        info + "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if declared is not None:
        contents[info + "top_level.txt"] = declared
    record = info + "RECORD,,\n"
    for name, text in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        record += f"{name},sha256={digest.decode()},{len(text)}\n"
    wheel = folder / "culprit-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in {**contents, info + "RECORD": record}.items():
            archive.writestr(name, text)
    target = folder / "installed"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", str(target), str(wheel)], check=True)
    return target


def run_check(
    folder: Path, cwd: Path = ROOT, options: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *options, "-c", CHECK, str(folder)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_this_environment_has_no_collision() -> None:
    check_packages()


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("is_declared", [True, False], ids=["top_level.txt", "files only"])
def test_the_distribution_that_holds_our_name_is_named(
    tmp_path: Path, package: str, is_declared: bool
) -> None:
    declared = f"innocent\n{package}\n" if is_declared else None
    folder = install_culprit(tmp_path, {f"{package}/__init__.py": ""}, declared)
    result = run_check(folder)
    assert result.returncode == 1
    assert "PackageCollisionError" in result.stderr
    assert f"found '{package}' from 'culprit'" in result.stderr


def test_a_single_module_with_our_name_is_a_collision_too(tmp_path: Path) -> None:
    result = run_check(install_culprit(tmp_path, {"models.py": ""}, None))
    assert "found 'models' from 'culprit'" in result.stderr


def test_names_that_only_resemble_ours_are_no_collision(tmp_path: Path) -> None:
    files = {"apps/__init__.py": "", "my/app/__init__.py": "", "models_data.py": ""}
    result = run_check(install_culprit(tmp_path, files, None))
    assert (result.returncode, result.stderr) == (0, "")


def test_code_in_a_folder_without_an_installed_distribution_passes(tmp_path: Path) -> None:
    """As in a MAP, where the application's folder alone holds the three packages."""
    for package in PACKAGES:
        (tmp_path / package).symlink_to(ROOT / package)
    # -S: without the environment's packages, so that nothing claims the names
    result = run_check(tmp_path / "nothing", cwd=tmp_path, options=("-S",))
    assert (result.returncode, result.stderr) == (0, "")


def test_the_error_belongs_to_the_application() -> None:
    assert issubclass(PackageCollisionError, AppError)
