"""A fit whose loss or gradient is not finite stops, and its cell says at which step, on what, and why perhaps."""

import json
from dataclasses import replace

import numpy as np
import pytest

from focalkit.compare import Method, compare
from focalkit.config import ModelConfig, cpu_small
from focalkit.data import write_demo_scenes
from focalkit.errors import DivergedError
from focalkit.tasks import Budget, Source
from focalkit.tasks.detection import Detection
from focalkit.tasks.image import TASK as IMAGES

BREAKS = """
import torch
from torch import nn

class Breaks(nn.Module):
    '''Cross-entropy; in its third call not a number, or finite with a gradient that is not.'''
    elementwise = True

    def __init__(self, gradient: bool = False):
        super().__init__()
        self.gradient, self.calls = gradient, 0

    def forward(self, logits, labels, weight=None):
        self.calls += 1
        value = nn.functional.cross_entropy(logits, labels)
        if self.calls != 3:
            return value
        return value + (logits.sum() * 0).abs().sqrt() if self.gradient else value * float("nan")
"""


@pytest.fixture
def breaks(tmp_path, monkeypatch):
    (tmp_path / "breaks.py").write_text(BREAKS)
    monkeypatch.syspath_prepend(tmp_path)
    return "breaks:Breaks"


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for part, counts in (("train", (24, 12)), ("test", (6, 6))):
        labels = np.repeat([0, 1], counts)
        images = rng.integers(0, 256, (len(labels), 8, 8, 3), dtype=np.uint8)
        np.savez(folder / f"{part}.npz", images=images, labels=labels, classes=["a", "b"])
    return folder


def failure(data, loss, out):
    """What the cell of a method says, and its autopsy."""
    found = compare(data, [Method("broken", loss=loss)], out=out, seeds=1, budget=Budget(steps=5))
    cell = found.store.cell("broken", 0)
    assert cell.status == "failed"
    said = cell.record["error"]
    assert said in (cell.folder / "error.txt").read_text()
    return said, json.loads((cell.folder / "autopsy.json").read_text())


def test_a_cell_of_a_table_names_the_step_and_the_rows(breaks, csv, tmp_path):
    said, autopsy = failure(csv, breaks, tmp_path / "out")
    assert "the loss of step 3 is not finite (classification nan; learning rate 0.002)" in said
    assert "1. the classification loss is not finite although every logit is" in said
    rows = [row["id"] for row in autopsy["images"]]
    assert f"rows: {', '.join(map(str, rows[:4]))} and {len(rows) - 4} more" in said
    assert set(rows) <= set(range(400))


def test_a_cell_of_images_names_the_step_and_the_images(breaks, arrays, tmp_path):
    said, autopsy = failure(arrays, f"{breaks}(gradient=True)", tmp_path / "out")
    assert "the gradient of step 3 is not finite" in said
    assert "the loss is finite and its gradient alone is not" in said
    assert f"images: {autopsy['images'][0]['id']}, " in said
    assert autopsy["images"][0]["id"].startswith("train/")
    assert len(autopsy["history"]) == 2


def test_images_that_learn_too_fast_are_told_so(arrays, tmp_path):
    with pytest.raises(DivergedError, match=r"of step \d+ is not finite.*\n.*\n  1\. the learning rate") as caught:
        IMAGES.fit(
            Method("ce", loss="ce", settings={"lr": 1e18}), IMAGES.read(Source(arrays), 0), Budget(9), 0, tmp_path
        )
    assert caught.value.autopsy["step"] > 1


def test_boxes_that_learn_too_fast_are_told_so_with_the_names_of_the_images(tmp_path):
    scenes = write_demo_scenes(tmp_path / "scenes", train=4, val=2, size=96, classes=2, imbalance=2)
    model = ModelConfig("tiny", "batch", 0, 8, 8, 1)
    task = Detection(config=lambda: replace(cpu_small(), min_size=96, max_size=96, batch_size=2, model=model))
    fast = Method("focal", loss="focal", settings={"lr": 1e18}, tasks=None)
    with pytest.raises(DivergedError, match=r"images: .*\.jpg(.*\n)*.*the learning rate"):
        task.fit(fast, task.read(Source(scenes), 0), Budget(4), 0, tmp_path)
