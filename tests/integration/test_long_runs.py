"""After thousands of steps memory is as before, and no process, thread, file or piece of shared memory is left."""

import gc
import os
import random
import statistics
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import focalkit.training.module as module
from disturbed import found_in
from focalkit.cli import main
from focalkit.config import AugmentConfig, DataConfig, ModelConfig, OptimConfig, RuntimeConfig, TrainConfig
from focalkit.data import write_demo_scenes
from focalkit.detection import Detector, retinanet
from focalkit.detection.models.card import ModelCard
from focalkit.training import train

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="reads /proc"),
]
BAR = 1.05


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def held() -> dict[str, object]:
    """What a program can forget to give back."""
    gc.collect()
    me = Path("/proc/self")
    return {
        "threads": (threading.active_count(), len(list((me / "task").iterdir()))),
        "files": len(list((me / "fd").iterdir())),
        "processes": sorted((me / "task" / str(os.getpid()) / "children").read_text().split()),
        "shared memory": sorted(path.name for path in Path("/dev/shm").iterdir() if path.name.startswith("torch_")),
    }


def growth(sizes: list[int]) -> float:
    """Memory at the end over memory after the first fifth."""
    tenth = len(sizes) // 10
    return statistics.median(sizes[-tenth:]) / statistics.median(sizes[2 * tenth : 3 * tenth])


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    return write_demo_scenes(folder / "scenes", train=40, val=8, size=128, classes=2, imbalance=3)


def test_two_thousand_steps_of_training_keep_memory_flat(data, tmp_path, monkeypatch, reliability):
    config = TrainConfig(
        data=DataConfig(data),
        max_steps=2000,
        batch_size=4,
        min_size=64,
        max_size=96,
        evaluate_every=20,
        runtime=RuntimeConfig(workers=2, accelerator="cpu", logger="none", checkpoint_seconds=10),
        model=ModelConfig("tiny", fpn_channels=8, head_channels=8, head_depth=1),
        augment=AugmentConfig(scale=(0.5, 1.5), crop=0.3, color=0.2),
        optim=OptimConfig("sgd", lr=1e-3, warmup_steps=0),
    )
    train(replace(config, max_steps=20), tmp_path / "warm")
    before, sizes = held(), []
    real = module.DetectionModule.training_step

    def measured(self, batch, batch_idx):
        sizes.append(resident())
        return real(self, batch, batch_idx)

    monkeypatch.setattr(module.DetectionModule, "training_step", measured)
    train(config, tmp_path / "long")
    assert len(sizes) == 2000
    assert growth(sizes) < BAR
    assert held() == before
    reliability("long runs", "training steps", len(sizes))


def test_a_thousand_predictions_of_any_size_keep_memory_flat(reliability):
    torch.manual_seed(0)
    model = retinanet(3, "tiny", fpn_channels=16, head_channels=16, head_depth=1)
    model.card = replace(ModelCard(ModelConfig()), min_size=320, max_size=533)  # as of a run
    detector = Detector(model, score_threshold=0.0, device="cpu")
    rng = random.Random(0)
    before, sizes = None, []
    for i in range(1000):
        detector.predict(torch.rand(3, rng.randint(20, 500), rng.randint(20, 500)))
        sizes.append(resident())
        if i == 10:
            before = held()
    assert growth(sizes) < BAR
    assert held() == before
    reliability("long runs", "predictions on images of any size", len(sizes))


def test_commands_in_one_process_give_everything_back(data, tmp_path, reliability, capsys):
    import json

    import numpy as np

    truth = data / "annotations" / "instances_val.json"
    found = tmp_path / "found.json"
    found.write_text(json.dumps(found_in(truth, np.random.default_rng(0))))
    before, sizes = None, []
    for i in range(60):
        out = str(tmp_path / f"out{i}")
        assert main(["calibrate", str(found), "--truth", str(truth), "--out", out]) == 0
        assert main(["inspect", str(data)]) == 0
        sizes.append(resident())
        before = held() if i == 2 else before
    assert growth(sizes) < BAR
    assert held() == before
    reliability("long runs", "commands one after another", 2 * len(sizes))
