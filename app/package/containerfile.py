"""The Containerfile of a MAP; `install_steps` and `last_steps` also finish the packager's."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from app.package import layout

#: Debian with the Python that runs this, so that the wheels fit.
BASE_IMAGE = f"docker.io/library/python:{sys.version_info[0]}.{sys.version_info[1]}-slim-bookworm"
#: Never read at run time: headers, tests and programs of PyTorch.
REMOVED = ("torch/include", "torch/share", "torch/test", "torch/bin/[!t]*", "torch/bin/test*")


def containerfile(labels: Mapping[str, str], pip_wheel: str, *, gpu: bool) -> str:
    """The whole file, for the context that `app.package.context` writes."""
    return "\n".join(
        (
            f"ARG BASE_IMAGE={BASE_IMAGE}",
            "FROM ${BASE_IMAGE}",
            _instruction("LABEL", {name: f'"{value}"' for name, value in labels.items()}),
            _instruction("ENV", layout.ENVIRONMENT),
            f"RUN groupadd -o -g {layout.USER_ID} holoscan \\",
            f"    && useradd -o -m -u {layout.USER_ID} -g {layout.USER_ID} holoscan \\",
            f"    && mkdir -p {layout.INPUT} {layout.OUTPUT}",
            *install_steps(pip_wheel),
            f"WORKDIR {layout.WORK}",
            f"COPY ./tools {layout.ENTRY_POINT}",
            f"COPY ./models {layout.MODELS}",
            f"COPY ./docs {layout.DOCS}",
            f"COPY ./map/app.json {layout.APP_MANIFEST}",
            f"COPY ./app.yaml {layout.CONFIG}",
            f"COPY ./map/pkg.json {layout.PACKAGE_MANIFEST}",
            f"COPY ./app {layout.APP}",
            *last_steps(gpu=gpu),
            "",
        )
    )


def _instruction(word: str, values: Mapping[str, str]) -> str:
    return f"{word} " + " \\\n    ".join(f"{name}={value}" for name, value in values.items())


def install_steps(pip_wheel: str) -> list[str]:
    """Install the wheels of the context into an environment that every user can read."""
    version = f"{sys.version_info[0]}, {sys.version_info[1]}"
    python = f"{layout.PYTHON}/bin/python"
    check = f"import sys; assert sys.version_info[:2] == ({version}), sys.version"
    return [
        "RUN --mount=type=bind,source=wheels,target=/wheels \\",
        f'    python3 -c "{check}" \\',
        f"    && python3 -m venv --without-pip {layout.PYTHON} \\",
        f"    && {python} /wheels/{pip_wheel}/pip install --quiet --no-cache-dir --no-index \\",
        "        --no-deps --disable-pip-version-check --root-user-action=ignore /wheels/*.whl \\",
        # Holoscan's wheel links its libraries when Python next starts
        f'    && {python} -c "" \\',
        f"    && cd {layout.PYTHON}/lib/python3*/site-packages && rm -rf {' '.join(REMOVED)}",
    ]


def last_steps(*, gpu: bool) -> list[str]:
    """What comes after all files: the environment, who may write where, and what is started."""
    variables = {
        "PATH": f"{layout.PYTHON}/bin:$PATH",
        # a user without an entry in /etc/passwd has neither home nor name
        "HOME": "/tmp",
        "USER": "holoscan",
        "PYTHONUNBUFFERED": "1",
        "HOLOSCAN_DOCS": layout.DOCS,
        "HOLOSCAN_LOGS": layout.LOGS,
    }
    if gpu:
        variables["NVIDIA_VISIBLE_DEVICES"] = "all"
        variables["NVIDIA_DRIVER_CAPABILITIES"] = "compute,utility"
    return [
        f"COPY ./map/monai.json {layout.MONAI_MANIFEST}",
        f"RUN mkdir -p {layout.LOGS} && chmod 0777 {layout.OUTPUT} {layout.LOGS} \\",
        f"    && chmod 0755 {layout.ENTRY_POINT} \\",
        f"    && {layout.PYTHON}/bin/python -m compileall -q {layout.APP}",
        _instruction("ENV", variables),
        f"USER {layout.USER_ID}:{layout.USER_ID}",
        f'ENTRYPOINT ["{layout.ENTRY_POINT}"]',
    ]
