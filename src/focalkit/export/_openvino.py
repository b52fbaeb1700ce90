"""OpenVINO files (.xml beside .bin): converted from ONNX, run by OpenVINO on the CPU."""

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from focalkit.export import _packages
from focalkit.export._metadata import KEY, parse


def convert(model: Any) -> Any:
    """An ONNX model in memory as an OpenVINO one."""
    openvino = _packages.openvino()

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        file.write_bytes(model.SerializeToString())
        return openvino.Core().read_model(file)


def join(raw: Any, post: Any) -> Any:
    """One model: `images`, `sizes` -> boxes, scores, labels, counts."""
    openvino = _packages.openvino()
    sources = {output.get_any_name(): output.get_node().input_value(0) for output in raw.outputs}
    parameters = {p.get_friendly_name(): p for p in post.get_parameters()}
    for name, source in sources.items():
        parameters[f"in_{name}"].output(0).replace(source)
    return openvino.Model(post.get_results(), [*raw.get_parameters(), parameters["sizes"]], "focalkit")


def save(model: Any, info: Mapping[str, Any], path: Path) -> list[Path]:
    """Write two files; the one that is opened comes last."""
    openvino = _packages.openvino()
    model.set_rt_info(json.dumps(info), KEY)
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = path.with_suffix(".bin")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}.") as folder:
        written = Path(folder) / path.name
        openvino.save_model(model, written, compress_to_fp16=False)
        os.replace(written.with_suffix(".bin"), weights)
        os.replace(written, path)
    return [path, weights]


def load(path: Path) -> tuple[dict[str, Any], Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]]:
    """Metadata and the function that runs the file."""
    openvino = _packages.openvino()

    core = openvino.Core()
    model = core.read_model(path)
    info = parse(str(model.get_rt_info(KEY).value) if model.has_rt_info(KEY) else None, path)
    # subtle: on processors with bfloat16, OpenVINO takes it unless told otherwise, and scores move by .01
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    compiled = core.compile_model(model, "CPU", settings)
    request = compiled.create_infer_request()

    def run(inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        found = request.infer(dict(inputs))
        return [np.array(found[output]) for output in compiled.outputs]

    return info, run
