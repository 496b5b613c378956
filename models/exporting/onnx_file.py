"""ONNX: for ONNX Runtime, TensorRT, OpenVINO and browsers."""

from __future__ import annotations

import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.bundle import Bundle
from models.errors import BundleError
from models.exporting.comparison import Comparison, compare, example
from models.exporting.description import as_text, describe
from models.exporting.torchscript import traced
from models.exporting.writing import whole_file

#: Of ONNX's operators; ONNX Runtime 1.14 and later know it.
OPSET = 18
INPUT, OUTPUT = "image", "logits"


def export_onnx(bundle: Bundle, path: Path) -> Comparison:
    """Write a bundle's network as one ONNX file with its description in `metadata_props`.

    Input `image` `(N, 1, D, H, W)` and output `logits` `(N, classes, D, H, W)` are those of the
    TorchScript export; N is free. Each entry of the description is a property, as JSON.

    Returns
    -------
    How far ONNX Runtime's results are from the bundle's. The file is there only if that is near
    enough.

    Raises
    ------
    BundleError
        If the weights are missing or altered, the file's network gives something else, or ONNX or
        ONNX Runtime is not installed.
    """
    onnx, runtime = _packages()
    network = bundle.load_network()
    with whole_file(path) as partial:
        _write(bundle, network, partial)
        model = onnx.load(str(partial))
        properties = {
            key: value if isinstance(value, str) else as_text(value)
            for key, value in describe(bundle).items()
        }
        onnx.helper.set_model_props(model, properties)
        onnx.checker.check_model(model)
        onnx.save(model, str(partial))
        session = runtime.InferenceSession(str(partial), providers=["CPUExecutionProvider"])

        def run(windows: Tensor) -> Tensor:
            (logits,) = session.run([OUTPUT], {INPUT: windows.numpy()})
            return torch.from_numpy(logits)

        return compare(bundle, network, run)


def _write(bundle: Bundle, network: nn.Module, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # the exporter that traces: the newer one takes no TorchScript, which other makers'
        # bundles may be, and needs two to ten times as long for the same result
        torch.onnx.export(
            traced(bundle, network),
            (example(bundle),),
            str(path),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={INPUT: {0: "batch"}, OUTPUT: {0: "batch"}},
            opset_version=OPSET,
            dynamo=False,
        )


def _packages() -> tuple[Any, Any]:
    try:
        onnx, onnxruntime = import_module("onnx"), import_module("onnxruntime")
    except ImportError as exc:
        raise BundleError(
            f"exporting to ONNX needs the package {exc.name}; install it with "
            "`pip install '.[export]'` in viscera's sources"
        ) from exc
    onnxruntime.set_default_logger_severity(3)  # errors; its warnings are about this machine
    return onnx, onnxruntime
