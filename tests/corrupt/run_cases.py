"""Damaged run directories, configurations, weights and exported files, and places that cannot be written to."""

# ruff: noqa: E501  a table, a case each

import json
import os
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from corrupt.base import IMAGES, Case, coco, png
from focalkit._config_io import config_to_dict
from focalkit.config import ModelConfig, TrainConfig
from focalkit.detection import build_detector, save_weights

MODEL = ModelConfig("tiny", fpn_channels=8, head_channels=8, head_depth=1)
CONFIG = replace(TrainConfig(data=Path("data"), min_size=32, max_size=32, batch_size=2), model=MODEL)
CATEGORIES = [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}]
BINARY = bytes(range(256))
PREDICT = ("predict", "run", "a.png", "--out", "out", "--device", "cpu")
TRAIN = ("train", "--data", "data", "--out", "out", "--accelerator", "cpu")


class Payload:
    """Unpickling it makes a folder."""

    def __reduce__(self):
        return os.mkdir, ("code-has-run",)


def model() -> Any:
    torch.manual_seed(0)
    return build_detector(MODEL, len(CATEGORIES)).eval()


def tensors() -> dict[str, Any]:
    return {name: tensor.contiguous().clone() for name, tensor in model().state_dict().items()}


def save(value: Any):
    """Writes what `torch.save` makes of a value."""
    return lambda path: torch.save(value, path)


def record(**changes: Any) -> dict[str, Any]:
    sound = {"schema": 1, "config": config_to_dict(CONFIG), "categories": CATEGORIES}
    return {key: value for key, value in {**sound, **changes}.items() if value is not ...}


def run(**changes: Any) -> dict[str, Any]:
    """A sound run, an image and a data set, with files replaced."""
    data = {f"data/{name}": content for name, content in IMAGES.items()}
    files = {
        "a.png": png(),
        "run/run.json": record(),
        "run/checkpoints/best.ckpt": save({"model": model().state_dict()}),
    }
    files |= {"data/instances_train.json": coco(), "data/instances_val.json": coco(), **data}
    return {key: value for key, value in {**files, **changes}.items() if value is not ...}


def config(**changes: Any) -> dict[str, Any]:
    return record(config={**config_to_dict(CONFIG), **changes})


def runs() -> Iterator[Case]:
    yield Case("run: sound", PREDICT, run(), 0, ("detections above",))
    for name, content in {
        "missing": ..., "empty": b"", "binary": BINARY, "cut off": b'{"schema": 1', "a list": [], "null": None,
        "nested beyond bounds": b"[" * 100_000, "of another schema": record(schema=9), "without schema": record(schema=...),
        "without configuration": record(config=...), "of a configuration in a list": record(config=[]),
        "without categories": record(categories=...), "of no categories": record(categories=[]),
        "of categories as numbers": record(categories=[1, 2]), "of categories as text": record(categories="cat"),
        "of categories without names": record(categories=[{"id": 1}, {"id": 2}]),
        "of categories with a list for a name": record(categories=[{"id": 1, "name": []}, {"id": 2, "name": "x"}]),
        "of a negative size": config(min_size=-5), "of text for a size": config(min_size="big"),
        "of a boolean for a size": config(min_size=True), "of a key that nobody knows": config(sizes=3),
        "of no size": config(max_size=0), "of channels beyond bounds": config(model={"fpn_channels": 10**9}),
        "of a backbone that nobody knows": config(model={"backbone": "resnet19"}),
        "of a model as a list": config(model=[]), "of NaN": config(optim={"lr": float("nan")}),
        "of one category too many": record(categories=[*CATEGORIES, {"id": 9, "name": "cow"}]),
    }.items():  # fmt: skip
        yield Case(f"run.json is {name}", PREDICT, run(**{"run/run.json": content}), 2, ("run",))
    for name, content in {
        "missing": ..., "empty": b"", "binary": BINARY, "text": "weights", "a list": save([1]),
        "a pickle that runs code": pickle.dumps(Payload()), "torch's pickle that runs code": save({"model": Payload()}),
        "without weights": save({"epoch": 1}), "of other weights": save({"model": {"w": torch.zeros(1)}}),
        "of weights in a list": save({"model": [1, 2]}),
    }.items():  # fmt: skip
        yield Case(f"best.ckpt is {name}", PREDICT, run(**{"run/checkpoints/best.ckpt": content}), 2, ("best.ckpt",))
    for file in ("metrics.jsonl", "evaluation.json", "result.json"):
        for name, content in {
            "binary": BINARY,
            "a number": b"5\n",
            "cut off": b'{"kind": "tr',
            "a list": b"[1]",
        }.items():
            if file != "result.json":
                files = run(**{f"run/{file}": content})
                yield Case(f"{file} is {name}: report", ("report", "run"), files, 0, ("report.html",))
    for name, content in {"binary": BINARY, "a number": b"5", "cut off": b'{"fin'}.items():
        words = ("train", "--out", "run", "--resume")
        yield Case(f"result.json is {name}: resume", words, run(**{"run/result.json": content}), 2, ("result.json",))


def configurations() -> Iterator[Case]:
    for name, text in {
        "no TOML": "epochs = ", "binary": BINARY, "an unknown key": "epoch = 3", "text for a number": 'epochs = "many"',
        "NaN": "[optim]\nlr = nan", "infinity": "[optim]\nlr = inf", "a negative count": "epochs = -1",
        "a negative seed": "seed = -1", "a boolean for a count": "epochs = true", "a table for a number": "[epochs]\na = 1", "a number for a table": "model = 3",
        "a loss that nobody knows": 'loss = "fokal"', "a loss that cannot be read": 'loss = "focal(gamma="',
        "a loss of many brackets": f'loss = "focal(gamma={"(" * 5000}"', "a loss that runs code": "loss = \"os:mkdir(path='code-has-run')\"",
        "a loss with an unknown argument": 'loss = "focal(gama=2)"', "an unknown backbone": '[model]\nbackbone = "resnet19"',
        "a key twice": "epochs = 1\nepochs = 2", "a date": "epochs = 2020-01-01",
    }.items():  # fmt: skip
        named = {"negative": " must be ", "backbone": "unknown backbone 'resnet19'", "loss with": "'gama'"}
        named |= {"loss that nobody": "unknown loss 'fokal'", "loss": "cannot read the loss"}
        says = next((word for part, word in named.items() if part in name and "code" not in name), "c.toml")
        yield Case(f"config: {name}", (*TRAIN, "--config", "c.toml"), {**run(), "c.toml": text}, 2, (says,))
    yield Case("config: absent", (*TRAIN, "--config", "c.toml"), run(), 2, ("c.toml",))
    yield Case("config: a folder", (*TRAIN, "--config", "data"), run(), 2, ("data",))
    yield Case("config: a pipe", (*TRAIN, "--config", "p"), {**run(), "p": os.mkfifo}, 2, ("p",))


def weights() -> Iterator[Case]:
    def metadata(text: str):
        from safetensors.torch import save_file

        return lambda path: save_file(tensors(), path, {"focalkit": text})

    def without_header(path: Path) -> None:
        from safetensors.torch import save_file

        save_file(tensors(), path)

    for suffix in ("pth", "pt", "ckpt", "pkl", "safetensors", "onnx", "xml", "pt2"):
        for name, content in {
            "empty": b"",
            "binary": BINARY,
            "a pickle that runs code": pickle.dumps(Payload()),
        }.items():
            words = ("predict", f"w.{suffix}", "a.png", "--out", "out", "--device", "cpu")
            yield Case(f"{suffix}: {name}", words, {"a.png": png(), f"w.{suffix}": content}, 2, (f"w.{suffix}",))
    words = ("predict", "w.safetensors", "a.png", "--out", "out", "--device", "cpu")
    for name, content in {
        "no description": without_header, "a description that is no JSON": metadata("{"), "a list": metadata("[]"),
        "a description without configuration": metadata('{"schema": 1}'),
        "categories as numbers": metadata(json.dumps(record(categories=[1, 2]))),
        "a number of classes in text": metadata(json.dumps(record(num_classes="two"))),
        "a backbone that nobody knows": metadata(json.dumps(config(model={"backbone": "resnet19"}))),
    }.items():  # fmt: skip
        yield Case(f"safetensors: {name}", words, {"a.png": png(), "w.safetensors": content}, 2, ("w.safetensors",))
    sound = {"a.png": png(), "w.pth": lambda path: save_weights(named(), path)}
    yield Case(
        "pth: sound", ("predict", "w.pth", "a.png", "--out", "out", "--device", "cpu"), sound, 0, ("detections",)
    )


def exports() -> Iterator[Case]:
    """What damages a run or a weights file for prediction damages it for `export`, whatever it writes."""
    for case in [*runs(), *weights()]:
        source = case.words[1]
        if case.words[0] == "predict" and case.status == 2:
            for kind in ("onnx", "weights"):
                words = ("export", source, "--format", kind, "--out", "out.file")
                yield replace(case, name=f"{case.name}: export --format {kind}", words=words)


def others() -> Iterator[Case]:
    """Commands that read no file: what their arguments can be, and where they write."""
    files, long = {"file": "x", "folder": lambda path: path.mkdir()}, "x" * 5000
    for words, says in (
        (("losses", "fokal"), "focal"), (("losses", "os:mkdir"), "os:mkdir"), (("losses", long), "xxx"), (("losses", "\x1b[2J"), "\\x1b"),
        (("bench", "los"), "loss"), (("bench", "loss", "--rounds", "0"), "--rounds"), (("bench", "loss", "--threads", "-1"), "--threads"),
        (("bench", "loss", "--rounds", "many"), "many"), (("bench", "loss", "--device", "tpu"), "tpu"), (("bench", "--json", "loss"), "--json"),
        (("bench", "loss", "--json", "folder"), "folder"), (("bench", "loss", "--json", "file/x"), "file: cannot be written"),
        (("bench", "loss", "--plot", "folder"), "folder"), (("bench", "loss", "--plot", "/proc/nowhere/x"), "/proc/nowhere"),
        (("demo", "--size", "64"), "--scenes-only"), (("demo", "--size", "8", "--scenes-only", "--out", "d"), "96"),
        (("demo", "--size", "big", "--out", "d"), "big"), (("demo", "--seed", "-1", "--scenes-only", "--quick", "--out", "d"), "seed"),
        (("demo", "--out", "file"), "file"), (("demo", "--out", "/proc/nowhere"), "/proc/nowhere"), (("demo", "--out", long), "xxx"),
    ):  # fmt: skip
        yield Case(" ".join(words)[:60], words, files, 2, (says,))


def named() -> Any:
    from focalkit.detection import retinanet

    return retinanet(2, "tiny", fpn_channels=8, head_channels=8, head_depth=1)


def places() -> Iterator[Case]:
    files = {**run(), "file": "x"}
    for name, out in {
        "a file": "file", "below a file": "file/below", "in /proc": "/proc/nowhere", "of 5,000 characters": "x" * 5000,
    }.items():  # fmt: skip
        yield Case(f"predict: --out is {name}", ("predict", "run", "a.png", "--out", out), files, 2, ())
        yield Case(f"evaluate: --out is {name}", ("evaluate", "run", "--out", out), files, 2, ())
        yield Case(f"train: --out is {name}", ("train", "--data", "data", "--out", out), files, 2, ())
        if name != "a file":
            yield Case(f"report: --out is {name}", ("report", "run", "--out", f"{out}/r.html"), files, 2, ())
    for name, words in {
        "an absent image": ("predict", "run", "none.png", "--out", "out"),
        "a folder without images": ("predict", "run", "run", "--out", "out"),
        "an address": ("predict", "run", "https://example.org/a.png", "--out", "out"),
        "a threshold of NaN": (*PREDICT, "--score-threshold", "nan"),
        "a threshold of 2": (*PREDICT, "--score-threshold", "2"),
        "a batch of none": (*PREDICT, "--batch-size", "0"),
        "a device that is not here": ("predict", "run", "a.png", "--out", "out", "--device", "tpu:9"),
    }.items():
        yield Case(f"predict: {name}", words, run(), 2, ())
    for name, content in {"a pipe": os.mkfifo, "binary": BINARY, "empty": b"", "cut off": png()[:50]}.items():
        files = run(**{"b.png": content})
        yield Case(f"predict: an image is {name}", ("predict", "run", "b.png", "--out", "out"), files, 2, ("b.png",))


CASES = [*runs(), *configurations(), *weights(), *exports(), *places(), *others()]
