"""Where things lie in a MAP (MONAI Application Package specification 1.0.0, table of paths)."""

from __future__ import annotations

from typing import Final

APP: Final = "/opt/holoscan/app"
MODELS: Final = "/opt/holoscan/models"
DOCS: Final = "/opt/holoscan/docs"
#: The interpreter with all it needs, readable for every user.
PYTHON: Final = "/opt/holoscan/python"
WORK: Final = "/var/holoscan"
INPUT: Final = "/var/holoscan/input"
OUTPUT: Final = "/var/holoscan/output"
LOGS: Final = "/var/holoscan/logs"
CONFIG: Final = "/var/holoscan/app.yaml"
ENTRY_POINT: Final = "/var/holoscan/tools"
APP_MANIFEST: Final = "/etc/holoscan/app.json"
PACKAGE_MANIFEST: Final = "/etc/holoscan/pkg.json"
#: What orchestrators made for the first App SDK look for, mercure among them.
MONAI_MANIFEST: Final = "/etc/monai/app.json"
USER_ID: Final = 1000

#: The names of the specification, and those that the packager of holoscan-cli has instead.
ENVIRONMENT: Final = {
    "HOLOSCAN_INPUT_PATH": INPUT,
    "HOLOSCAN_OUTPUT_PATH": OUTPUT,
    "HOLOSCAN_WORKDIR": WORK,
    "HOLOSCAN_MODEL_PATH": MODELS,
    "HOLOSCAN_CONFIG_PATH": CONFIG,
    "HOLOSCAN_APP_MANIFEST_PATH": APP_MANIFEST,
    "HOLOSCAN_PKG_MANIFEST_PATH": PACKAGE_MANIFEST,
    "HOLOSCAN_APPLICATION": APP,
    "HOLOSCAN_DOCS": DOCS,
    "HOLOSCAN_DOCS_PATH": DOCS,
    "HOLOSCAN_LOGS": LOGS,
    "HOLOSCAN_LOGS_PATH": LOGS,
}
#: Told to orchestrators, but not set in the image: whoever sets one means it.
MONAI_ENVIRONMENT: Final = {
    "MONAI_INPUTPATH": INPUT,
    "MONAI_OUTPUTPATH": OUTPUT,
    "MONAI_MODELPATH": MODELS,
    "MONAI_WORKDIR": WORK,
    "MONAI_APPLICATION": APP,
}
