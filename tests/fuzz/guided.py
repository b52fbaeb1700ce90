"""Bytes that reach new lines of the readers (pip install atheris): each is read, or refused by name.

python tests/fuzz/guided.py coco -max_total_time=60       # one of TARGETS; the other words are libFuzzer's
"""

import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris  # pyright: ignore[reportMissingImports] - in no extra
from PIL import Image

READERS = ["focalkit.data", "focalkit._config_io", "focalkit._files", "focalkit._runs", "focalkit.tasks.tabular"]
READERS += ["focalkit.losses._spec", "focalkit.detection.weights"]

with atheris.instrument_imports(include=READERS):
    from focalkit._config_io import load_config
    from focalkit._runs import RunDir
    from focalkit.data import open_detection_data
    from focalkit.data._division import read_division
    from focalkit.detection.weights import load_weights
    from focalkit.errors import FocalkitError
    from focalkit.losses import build
    from focalkit.tasks import Outputs
    from focalkit.tasks.tabular._read import read_frame

PLACE = Path(tempfile.mkdtemp())


def file(name: str, content: bytes) -> Path:
    path = PLACE / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def data_of(name: str, content: bytes, *images: str) -> None:
    for image in images:
        if not (PLACE / image).exists():
            picture = io.BytesIO()
            Image.new("RGB", (40, 30)).save(picture, "PNG")
            file(image, picture.getvalue())
    open_detection_data(file(name, content).parents[name.count("/")], "train")


def run(content: bytes) -> None:
    found = RunDir(file("run/run.json", content).parent)
    found.read_config()
    found.read_categories()


TARGETS: dict[str, Callable[[bytes], object]] = {
    "coco": lambda content: data_of("c/instances_train.json", content, "c/a.png"),
    "voc": lambda content: data_of("v/Annotations/a.xml", content, "v/JPEGImages/a.png"),
    "yolo": lambda content: data_of("y/data.yaml", content, "y/images/train/a.png"),
    "labels": lambda content: data_of("l/labels/train/a.txt", content, "l/images/train/a.png"),
    "boxes": lambda content: data_of("b/train.csv", content, "b/a.png"),
    "table": lambda content: read_frame(file("t.csv", content)),
    "npz": lambda content: Outputs.read(file("val.npz", content)),
    "toml": lambda content: load_config(file("c.toml", content)),
    "run": run,
    "division": lambda content: read_division(file("splits.json", content)),
    "weights": lambda content: load_weights(file("w.safetensors", content)),
    "spec": lambda content: spec(content.decode("utf-8", "ignore")),
}


def spec(text: str) -> None:
    with contextlib.suppress(ValueError, TypeError):
        build(text)


def main() -> None:
    target = TARGETS[sys.argv.pop(1)]

    def once(content: bytes) -> None:
        with contextlib.suppress(FocalkitError):
            target(content)

    os.chdir(PLACE)  # where libFuzzer writes what it finds
    atheris.Setup(sys.argv, once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
