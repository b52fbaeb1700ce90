"""int8 networks: weights and activations of the convolutions in 8 bits, ranges measured on images of the data set.

Post-processing is joined afterwards and stays in float32. So does the last convolution of the class tower: its outputs
lie around -4.6 (the prior), and one scale for all of them would leave the few confident ones coarse steps. Of a set
predictor the convolutions alone are quantised, those of the backbone and the encoder: attention, the choice of the
queries and the decoder stay in float32.

Not here: quantisation-aware training; int8 for torch.export files.
"""

import contextlib
import logging
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from focalkit.export import _packages
from focalkit.export._metadata import LOGITS
from focalkit.export._packages import needs

CONVOLUTIONS = {"Convolution", "GroupConvolution"}
"""Of OpenVINO's operations."""
Batches = Sequence[np.ndarray]
"""float32 (b, 3, H, W) in [0, 1], padded: what the network takes."""


def quantize_onnx(model: Any, batches: Batches, convolutions: bool = False) -> Any:
    """An ONNX model with QDQ nodes around what ONNX Runtime computes in int8; `convolutions`: around these alone."""
    needs("onnxruntime")
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(batches)

        def get_next(self) -> Any:
            batch = next(self.left, None)
            return None if batch is None else {"images": batch}

    with tempfile.TemporaryDirectory() as folder, _quiet():
        plain, simple, done = (str(Path(folder) / f"{name}.onnx") for name in ("plain", "simple", "int8"))
        onnx.save(model, plain)
        quant_pre_process(plain, simple, skip_symbolic_shape=True)
        quantize_static(
            simple,
            done,
            Reader(),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            op_types_to_quantize=["Conv"] if convolutions else None,
            nodes_to_exclude=_makers(onnx.load(simple).graph),
        )
        return onnx.load(done)


def quantize_openvino(model: Any, batches: Batches, convolutions: bool = False) -> Any:
    """An OpenVINO model with fake quantisation where the CPU computes in int8 (NNCF); as `quantize_onnx`."""
    with _quiet():
        nncf = _packages.nncf()
        if convolutions:
            types = {node.get_type_name() for node in model.get_ops()} - CONVOLUTIONS
            left = nncf.IgnoredScope(types=sorted(types), validate=False)
        else:
            logits = [output.get_node() for output in model.outputs if output.get_any_name().startswith(LOGITS)]
            left = nncf.IgnoredScope(
                [_convolution(node.input_value(0).get_node()).get_friendly_name() for node in logits]
            )
        return nncf.quantize(
            model,
            nncf.Dataset(list(batches)),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(batches),
            ignored_scope=left,
        )


def _makers(graph: Any) -> list[str]:
    """Names of the nodes that compute the logits."""
    wanted = {output.name for output in graph.output if output.name.startswith(LOGITS)}
    return [node.name for node in graph.node if wanted & set(node.output)]


def _convolution(node: Any) -> Any:
    """The convolution that a node is, or adds a bias to."""
    while node.get_type_name() not in ("Convolution", "Result", "Parameter"):
        node = node.input_value(0).get_node()
    return node


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the packages' notes, and their progress bars on stderr: stdout is for results."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
