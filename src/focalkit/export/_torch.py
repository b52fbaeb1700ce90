"""torch.export files (.pt2): run by torch, without focalkit; with post-processing inside, import torchvision first."""

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from focalkit._files import write_bytes_atomic
from focalkit.detection import Detector
from focalkit.export._metadata import KEY, parse
from focalkit.export._trace import quietly, trace_all, trace_network


def program(detector: Detector, *, with_nms: bool, shape: tuple[int, int, int] | None) -> torch.export.ExportedProgram:
    """The traced network, or network and post-processing."""
    with quietly():
        return trace_all(detector, shape) if with_nms else trace_network(detector, shape)


def save(model: torch.export.ExportedProgram, info: Mapping[str, Any], path: Path) -> list[Path]:
    """Write one file, whole or not at all."""
    buffer = io.BytesIO()  # subtle: where the disk is full, torch's own writer ends the process
    with quietly():
        torch.export.save(model, buffer, extra_files={f"{KEY}.json": json.dumps(info)})
    write_bytes_atomic(path, buffer.getbuffer())
    return [path]


def load(path: Path) -> tuple[dict[str, Any], Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]]:
    """Metadata and the function that runs the file."""
    import torchvision.ops  # noqa: F401  registers the operator that suppresses boxes

    extra = {f"{KEY}.json": ""}
    with quietly():
        # subtle: the example's maps had several cells; the graph holds for maps of one cell too, its guards do not
        module = torch.export.load(path, extra_files=extra).module(check_guards=False)
    text = extra[f"{KEY}.json"]
    info = parse(text.decode() if isinstance(text, bytes) else text, path)

    def run(inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        with torch.no_grad():
            return [output.numpy() for output in module(*map(_as_tensor, inputs.values()))]

    return info, run


def _as_tensor(value: np.ndarray) -> torch.Tensor:
    """Images in the memory format in which the model itself computes: in the other, convolutions are slower on CPUs."""
    tensor = torch.from_numpy(value)
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
