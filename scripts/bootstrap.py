#!/usr/bin/env python3
"""Create the virtual environment and install viscera into it: bootstrap.py [options]

--dev    with the tools that `make test` needs
--train  with what reads data sets, draws reports and exports models
--wheel  as a user gets it, not in place

Needs a bare Python 3.10 to 3.13 only: standard library, no pip, no ensurepip. Does nothing when the
environment is up to date. Reads from the environment:

VENV    folder of the environment (default: .venv beside this project)
PYTHON  rebuild the environment if it has another version than this interpreter
TORCH   cpu or cuda (default: cuda where there is an NVIDIA driver)

and pip's own settings (PIP_INDEX_URL, pip.conf, ...).
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SUPPORTED = ((3, 10), (3, 13))
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PIP_WHEEL = os.path.join(ROOT, "scripts", "pip-26.3-py3-none-any.whl")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dev", action="store_true", help="with the tools of `make test`")
    parser.add_argument("--train", action="store_true", help="with what training needs")
    parser.add_argument("--wheel", action="store_true", help="as a user gets it, not in place")
    options = parser.parse_args()
    venv = os.path.abspath(os.environ.get("VENV") or os.path.join(ROOT, ".venv"))
    stamp = os.path.join(venv, "viscera-installed")
    wanted = wanted_stamp(options)
    if is_current(venv, stamp, wanted):
        return
    python = make_environment(venv)
    if os.path.exists(stamp):
        os.remove(stamp)
    say(f"installing viscera into {venv}: the first time, some minutes and about 2 GB")
    install_torch(python)
    source = ROOT + "[train,export]" if options.train else ROOT
    command = [source] if options.wheel else ["-e", source]
    if options.dev:
        command += ["--group", os.path.join(ROOT, "pyproject.toml") + ":dev"]
    # setuptools warns of every installation in place, at length
    os.environ.setdefault("PYTHONWARNINGS", "ignore:Editable installation")
    run(python, "-m", "pip", "install", "-q", *command)
    # Holoscan's wheel links its libraries when Python next starts, which must be able to write here
    run(python, "-c", "")
    with open(stamp, "w") as file:
        file.write("\n".join(wanted))


def say(text):
    print("viscera: " + text, file=sys.stderr, flush=True)


def run(*command, stdout=None):
    code = subprocess.call(command, stdout=stdout)
    if code:
        sys.exit(f"viscera: `{' '.join(command)}` ended with {code}")


# --- what is there already


def wanted_stamp(options):
    """What the environment has to hold, one fact a line."""
    with open(os.path.join(ROOT, "pyproject.toml"), "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    facts = [ROOT, digest, "wheel" if options.wheel else "in place"]
    return [*facts, *(part for part in ("dev", "train") if getattr(options, part))]


def is_current(venv, stamp, wanted):
    if not os.path.exists(stamp) or other_version_asked_for(venv):
        return False
    with open(stamp) as file:
        return set(wanted) <= set(file.read().splitlines())


def version_of(python):
    """(major, minor) of an interpreter that can make environments, or None."""
    try:
        answer = subprocess.run(
            [python, "-c", "import sys, venv; print(*sys.version_info[:2])"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=True,
        )
        return tuple(int(part) for part in answer.stdout.split())
    except (OSError, subprocess.CalledProcessError, ValueError):
        return None


def is_supported(version):
    return version is not None and SUPPORTED[0] <= version <= SUPPORTED[1]


def find_interpreter():
    """This interpreter, or else the first supported one on the PATH."""
    names = [sys.executable, *(f"python3.{minor}" for minor in (11, 12, 13, 10))]
    for name in names:
        if is_supported(version_of(name)):
            return name
    return sys.exit(
        f"viscera needs Python 3.10 to 3.13 with its venv module; tried {', '.join(names)}.\n"
        "Install one (Debian, Ubuntu: apt-get install python3), or name one: PYTHON=/path/python3"
    )


# --- the environment


def python_of(venv):
    return os.path.join(venv, "bin", "python")


def other_version_asked_for(venv):
    return bool(os.environ.get("PYTHON")) and version_of(python_of(venv)) != sys.version_info[:2]


def make_environment(venv):
    """Make the environment, with pip, unless a sound one is there; return its interpreter."""
    python = python_of(venv)
    sound = is_supported(version_of(python)) and not other_version_asked_for(venv)
    if not sound:
        held = os.listdir(venv) if os.path.exists(venv) else []
        if held and "pyvenv.cfg" not in held:
            sys.exit(f"viscera: {venv} holds files and is no virtual environment")
        base = find_interpreter()
        say(f"making {venv} with {base}")
        run(base, "-m", "venv", "--clear", "--without-pip", venv)
    if subprocess.call([python, "-c", "import pip"], stderr=subprocess.DEVNULL):
        add_pip(python)
    return python


def add_pip(python):
    """Install the pip that comes with the project, by running it from its own wheel.

    Debian's python3 has no ensurepip, and the pip of older Pythons knows no dependency groups.
    """
    run(python, os.path.join(PIP_WHEEL, "pip"), "install", "-q", "--no-index", PIP_WHEEL)


# --- torch


def install_torch(python):
    """Install the build of torch without CUDA, which is far smaller, where there is no GPU.

    PyPI's build for Linux is the CUDA build; the one without is on PyTorch's own index, perhaps on
    a local mirror, or nowhere in reach. Then the main installation takes what there is.
    """
    driver = shutil.which("nvidia-smi") or os.path.exists("/proc/driver/nvidia/version")
    if (os.environ.get("TORCH") or ("cuda" if driver else "cpu")) == "cuda":
        return
    with open(os.path.join(ROOT, "pyproject.toml")) as file:
        pin = re.search(r'"(torch==[\w.]+)"', file.read()).group(1)
    quick = ["--retries", "1", "--timeout", "15", "--extra-index-url", TORCH_CPU_INDEX]
    attempt = subprocess.run(
        [python, "-m", "pip", "install", "-q", *quick, pin + "+cpu"], stderr=subprocess.PIPE
    )
    if attempt.returncode:
        say(
            f"no CPU build of torch in reach ({TORCH_CPU_INDEX} asked); taking the package index's"
            " build, which may bring about 3 GB of CUDA libraries"
        )


if __name__ == "__main__":
    main()
