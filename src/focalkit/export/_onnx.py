"""ONNX files: written by torch's exporter, run by ONNX Runtime on the CPU."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from focalkit._files import replacing
from focalkit.detection import Detector
from focalkit.export._form import Form
from focalkit.export._metadata import KEY, NMS_OUTPUTS, outputs_of, parse
from focalkit.export._packages import needs
from focalkit.export._postprocess import suppress_in_torch
from focalkit.export._trace import quietly, trace_network, trace_postprocess


def network(detector: Detector, form: Form) -> Any:
    """`images` -> `outputs_of` the detector, as an ONNX model in memory."""
    needs("onnx", "onnxscript")
    with quietly():
        program = torch.onnx.export(
            trace_network(detector, form.shape),
            input_names=["images"],
            output_names=outputs_of(detector),
            opset_version=form.opset,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    return program.model_proto


def postprocess(detector: Detector, form: Form) -> Any:
    """`in_<name>` for each of `outputs_of` the detector, and `sizes` -> `NMS_OUTPUTS`, as an ONNX model in memory."""
    needs("onnx", "onnxscript")
    with quietly():
        program = torch.onnx.export(
            trace_postprocess(detector, _suppress, form.shape),
            input_names=[*(f"in_{name}" for name in outputs_of(detector)), "sizes"],
            output_names=list(NMS_OUTPUTS),
            opset_version=form.opset,
            dynamo=True,
            verbose=False,
            custom_translation_table={torch.ops.focalkit.suppress.default: _suppress_in_onnx},
        )
    assert program is not None
    return program.model_proto


def halved(model: Any) -> Any:
    """The network with float16 inside; inputs and outputs stay float32."""
    needs("onnxruntime")
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    with quietly():
        half = OnnxModel(convert_float_to_float16(model, keep_io_types=True))
        half.topological_sort()  # the casts stand behind what they feed, which joining refuses
        return half.model


def join(raw: Any, post: Any) -> Any:
    """One model: `images`, `sizes` -> `NMS_OUTPUTS`."""
    import onnx

    post = onnx.compose.add_prefix(post, "post_", rename_inputs=False, rename_outputs=False)
    post.ir_version = raw.ir_version
    names = [output.name for output in raw.graph.output]
    return onnx.compose.merge_models(raw, post, io_map=[(name, f"in_{name}") for name in names])


def save(model: Any, info: Mapping[str, Any], path: Path) -> list[Path]:
    """Write one file, whole or not at all."""
    import onnx

    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {KEY: json.dumps(info)})
    model.producer_name, model.producer_version = "focalkit", info["version"]
    with replacing(path) as temporary:
        onnx.save(model, temporary)
    return [path]


def load(path: Path) -> tuple[dict[str, Any], Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]]:
    """Metadata and the function that runs the file."""
    needs("onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    # subtle: its threads would spin while torch resizes images and suppresses boxes, on the cores that torch wants
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    info = parse(session.get_modelmeta().custom_metadata_map.get(KEY), path)

    def run(inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        return [np.asarray(output) for output in session.run(None, dict(inputs))]

    return info, run


@torch.library.custom_op("focalkit::suppress", mutates_args=())
def _suppress(
    boxes: Tensor, scores: Tensor, labels: Tensor, num_classes: int, iou_threshold: float, most: int
) -> Tensor:
    """Stands in the traced graph where ONNX's NonMaxSuppression comes; torch's translation of it takes no batch."""
    return suppress_in_torch(boxes, scores, labels, num_classes, iou_threshold, most)


@_suppress.register_fake
def _(boxes: Tensor, scores: Tensor, labels: Tensor, num_classes: int, iou_threshold: float, most: int) -> Tensor:
    return torch.empty_like(scores, dtype=torch.bool)


def _suppress_in_onnx(boxes: Any, scores: Any, labels: Any, num_classes: int, iou_threshold: float, most: int) -> Any:
    """NonMaxSuppression takes a score per class and box: a box has its own score in its class and -1 in the others."""
    import onnxscript

    op: Any = onnxscript.opset20
    is_class = op.Equal(
        op.Unsqueeze(labels, [1]), op.Unsqueeze(op.Constant(value_ints=list(range(num_classes))), [0, 2])
    )
    per_class = op.Where(is_class, op.Unsqueeze(scores, [1]), op.Constant(value_float=-1.0))
    limits = (
        op.Constant(value_ints=[most]),
        op.Constant(value_floats=[iou_threshold]),
        op.Constant(value_floats=[0.0]),
    )
    found = op.NonMaxSuppression(boxes, per_class, *limits)  # rows of (image, class, box)
    places = op.Gather(found, op.Constant(value_ints=[0, 2]), axis=1)
    ones = op.Expand(op.Constant(value_ints=[1]), op.Shape(places, start=0, end=1))
    nowhere = op.Cast(op.Less(scores, op.Constant(value_float=-2.0)), to=7)  # int64 zeros
    return op.Cast(op.ScatterND(nowhere, places, ones), to=9)  # bool
