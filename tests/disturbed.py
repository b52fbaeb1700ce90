"""What the tests of full disks and of kills share: a small place to work on, a hook at every write below a folder."""

import errno
import hashlib
import json
import os
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from focalkit.cli import main
from focalkit.data import write_demo_scenes

AGAIN = ("evaluate again", "predict again")
"""Into a folder that holds the result of other images."""
COMMANDS = ("train", "evaluate", "predict", "export", "export onnx", "report", "calibrate", "compare", *AGAIN)


class Writes:
    """Counts the files that are opened for writing, renamed or made below a folder, and disturbs from a count on.

    `full` is a full disk, which stays full; a signal is sent to this process, once.
    """

    def __init__(self) -> None:
        self.root, self.count, self.at, self.hit = "", 0, 0, ""
        self.kind: Literal["full"] | signal.Signals = "full"
        sys.addaudithook(self)  # for good: Python has no way to take one away

    def __call__(self, event: str, args: tuple) -> None:
        if not self.root or event not in ("open", "os.rename", "os.mkdir"):
            return
        path = args[1] if event == "os.rename" else args[0]
        if not isinstance(path, str | bytes | os.PathLike) or not os.fsdecode(path).startswith(self.root):
            return
        reads = event == "open" and not args[2] & (os.O_WRONLY | os.O_RDWR)
        if reads or (event == "os.mkdir" and os.path.isdir(path)):
            return
        self.count += 1
        if self.at and self.count >= self.at:
            first, self.hit = not self.hit, self.hit or f"{event} {os.fsdecode(path)}"
            if self.kind != "full":
                if first:
                    os.kill(os.getpid(), self.kind)
                return
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fsdecode(path))

    def during(self, root: Path, at: int, words: list[str], kind: Literal["full"] | signal.Signals = "full") -> int:
        """The exit status of a command that is disturbed at write number `at` below `root` (from 1; 0 for never)."""
        self.root, self.count, self.at, self.hit, self.kind = str(root), 0, at, "", kind
        try:
            return main(words)
        except SystemExit as stop:
            return int(stop.code or 0)
        finally:
            self.root = ""


WRITES = Writes()


def alone(root: Path, at: int, words: list[str]) -> None:
    """The life of a process that runs a command, says nothing, and is killed at a write."""
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    status = 1
    try:
        status = WRITES.during(root, at, words, signal.SIGKILL)
    finally:
        os._exit(status)


@dataclass(frozen=True)
class Place:
    """Two data sets, a finished run, predictions and a table to work on."""

    data: Path
    other: Path
    run: Path
    table: Path
    found: Path


def make_place(root: Path) -> Place:
    data = write_demo_scenes(root / "scenes", train=8, val=8, size=96, classes=2, imbalance=3)
    other = write_demo_scenes(root / "other", train=1, val=5, size=96, classes=2, imbalance=3, seed=1)
    assert main(train_words(data, root / "run")) == 0
    rng = np.random.default_rng(0)
    y = (rng.random(240) < 0.2).astype(int)
    x = rng.standard_normal((240, 3)) + y[:, None]
    rows = [f"{a:.4f},{b:.4f},{c:.4f},{t}" for (a, b, c), t in zip(x, y, strict=True)]
    (root / "table.csv").write_text("\n".join(["a,b,c,target", *rows]) + "\n")
    (root / "found.json").write_text(json.dumps(found_in(data / "annotations" / "instances_val.json", rng)))
    return Place(data, other, root / "run", root / "table.csv", root / "found.json")


def found_in(truth: Path, rng: np.random.Generator) -> list[dict]:
    """COCO results: the boxes that are there, and as many that are not, all of them too sure."""
    found = []
    for box in json.loads(truth.read_text())["annotations"]:
        one = {"image_id": box["image_id"], "category_id": box["category_id"]}
        found.append({**one, "bbox": box["bbox"], "score": float(rng.uniform(0.6, 1.0))})
        elsewhere = [*rng.uniform(0, 60, 2).tolist(), 9.0, 9.0]
        found.append({**one, "bbox": elsewhere, "score": float(rng.uniform(0.3, 0.95))})
    return found


def train_words(data: Path, out: Path) -> list[str]:
    small = ["--model.backbone", "tiny", "--min-size", "32", "--max-size", "32", "--batch-size", "4", "--epochs", "2"]
    slim = ["--model.fpn-channels", "8", "--model.head-channels", "8", "--model.head-depth", "1", "--logger", "none"]
    where = ["--data", str(data), "--out", str(out), "--workers", "0", "--accelerator", "cpu", "--log-every", "1"]
    return ["train", "--preset", "cpu-small", *where, *small, *slim, "--checkpoint-seconds", "0"]


def make_earlier(name: str, place: Place, out: Path) -> None:
    """What is below `out` before a command begins."""
    out.mkdir()
    if name in AGAIN:
        assert main(words_of(name, replace(place, data=place.other), out)) == 0


def words_of(name: str, place: Place, out: Path) -> list[str]:
    """A command line that writes below `out`, and goes on where it was disturbed when it is given again."""
    run = str(place.run)
    return {
        "train": [*train_words(place.data, out / "new"), "--resume"],
        "predict": ["predict", run, str(place.data / "images" / "val"), "--out", str(out / "found")],
        "report": ["report", run, "--out", str(out / "report.html")],
        "export": ["export", run, "--format", "weights", "--out", str(out / "w.safetensors")],
        "evaluate": ["evaluate", run, "--data", str(place.data), "--out", str(out / "evaluation")],
        "calibrate": [
            *("calibrate", str(place.found), "--out", str(out / "calibration")),
            *("--truth", str(place.data / "annotations" / "instances_val.json")),
        ],
        "compare": [
            *("compare", str(place.table), "--out", str(out / "cmp")),
            *("--seeds", "1", "--engine", "serial", "--steps", "20", "--methods", "ce", "logistic"),
        ],
        "export onnx": ["export", run, "--format", "onnx", "--out", str(out / "m.onnx")],
    }[name.removesuffix(" again")]


def state(folder: Path) -> dict[str, str]:
    """Files below a folder and what they hold."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }
