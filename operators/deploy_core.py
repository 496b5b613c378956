"""What we use of MONAI Deploy, imported in the one order that works on every machine."""

from __future__ import annotations

import os

from operators.holoscan_runtime import prepare

prepare()
# what an operator raises comes out of `run()` itself; the engine's own words about it are noise
os.environ.setdefault("HOLOSCAN_LOG_LEVEL", "OFF")

from holoscan.conditions import CountCondition  # noqa: E402
from holoscan.core import IOSpec  # noqa: E402
from monai.deploy.core import Application, Fragment, Operator, OperatorSpec  # noqa: E402

__all__ = ["Application", "CountCondition", "Fragment", "IOSpec", "Operator", "OperatorSpec"]
