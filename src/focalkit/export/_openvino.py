"""OpenVINO files (.xml beside .bin): converted from ONNX, run by OpenVINO on the CPU."""

import functools
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from focalkit._files import replacing_all
from focalkit.export import _packages
from focalkit.export._metadata import KEY, parse


@functools.cache
def core() -> Any:
    """The one core of this process, which is never closed.

    Subtle: OpenVINO's CPU plugin sets a signal stack when it is created and puts the earlier one back when it is
    destroyed. Of two cores that are not destroyed in reverse order, one leaves a stack that has been freed, and then
    the next signal (of a loading process that ends, say) is a segmentation fault: seen with OpenVINO 2026.4.
    """
    return _packages.openvino().Core()


def convert(model: Any) -> Any:
    """An ONNX model in memory as an OpenVINO one."""
    return core().read_model(model.SerializeToString())


def join(raw: Any, post: Any) -> Any:
    """One model: `images`, `sizes` -> boxes, scores, labels, counts."""
    openvino = _packages.openvino()
    sources = {output.get_any_name(): output.get_node().input_value(0) for output in raw.outputs}
    parameters = {p.get_friendly_name(): p for p in post.get_parameters()}
    for name, source in sources.items():
        parameters[f"in_{name}"].output(0).replace(source)
    return openvino.Model(post.get_results(), [*raw.get_parameters(), parameters["sizes"]], "focalkit")


def save(model: Any, info: Mapping[str, Any], path: Path, *, half: bool) -> list[Path]:
    """Write two files, weights in float16 with `half`; the one that is opened comes last."""
    openvino = _packages.openvino()
    model.set_rt_info(json.dumps(info), KEY)
    weights = path.with_suffix(".bin")
    with replacing_all([path, weights]) as places:
        written = path.with_name(f".{path.stem}.tmp.xml")  # OpenVINO chooses the second name by itself
        halves = (written, written.with_suffix(".bin"))
        try:
            openvino.save_model(model, written, compress_to_fp16=half)
            for part, place in zip(halves, places, strict=True):
                os.replace(part, place)
        finally:
            for part in halves:
                part.unlink(missing_ok=True)
    return [path, weights]


def load(path: Path) -> tuple[dict[str, Any], Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]]:
    """Metadata and the function that runs the file."""
    model = core().read_model(path)
    info = parse(str(model.get_rt_info(KEY).value) if model.has_rt_info(KEY) else None, path)
    # subtle: on processors with bfloat16, OpenVINO takes it unless told otherwise, and scores move by .01
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    compiled = core().compile_model(model, "CPU", settings)
    request = compiled.create_infer_request()

    def run(inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        found = request.infer(dict(inputs))
        return [np.array(found[output]) for output in compiled.outputs]

    return info, run
