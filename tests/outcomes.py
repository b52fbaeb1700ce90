"""What a command left in a folder: whether it is whole, and the same as what another left."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from PIL import Image
from safetensors.torch import load_file

VOLATILE = re.compile(
    r"seconds|speed|images_per_second|memory|began|created|written|started|version|command|date|time|path|latency"
)


def assert_whole(folder: Path) -> None:
    """Every file under its own name can be read."""
    for path in folder.rglob("*"):
        if path.name.startswith(".") or not path.is_file():
            continue
        match path.suffix:
            case ".json":
                json.loads(path.read_text())
            case ".ckpt":
                torch.load(path, weights_only=True)
            case ".safetensors":
                load_file(path)
            case ".npz":
                np.load(path).close()
            case ".onnx":
                onnx.load(path)
            case ".jpg" | ".png":
                Image.open(path).load()
            case ".html":
                assert path.read_text().rstrip().endswith("</html>"), path


def stable(value: Any) -> Any:
    """JSON without what differs from one run to the next: times, places."""
    if isinstance(value, dict):
        return {k: stable(v) for k, v in value.items() if not VOLATILE.search(k)}
    return [stable(v) for v in value] if isinstance(value, list) else value


def result(folder: Path) -> dict[str, Any]:
    """What a command left, comparable with what another left."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        match path.suffix:
            case ".json":
                found[name] = stable(json.loads(path.read_text().replace(str(folder), "")))
            case ".jsonl":
                found[name] = [stable(json.loads(line)) for line in path.read_text().splitlines()]
            case ".ckpt":
                weights = torch.load(path, weights_only=True)["model"]
                found[name] = {key: value.numpy().tobytes() for key, value in weights.items()}
            case ".html" | ".tmp":
                found[name] = path.is_file()  # it carries the time of its writing
            case _ if path.is_file():
                found[name] = path.read_bytes()
    return found


def assert_old_or_new(found: dict[str, Any], old: dict[str, Any], new: dict[str, Any]) -> None:
    """Each file is that of the earlier result or that of the next; no file of the earlier one is lost.

    What a file names is there: an evaluation its pictures.
    """
    for name, content in found.items():
        assert content in (old.get(name), new.get(name)) or name.endswith(".tmp"), name
    assert old.keys() & new.keys() <= found.keys()
    for shown in found.get("evaluation/evaluation.json", {}).get("gallery", []):
        assert f"evaluation/{shown['file']}" in found
