"""Two processes on the CPU train as one does."""

from dataclasses import replace

import pytest
import torch

from focalkit._runs import RunDir
from focalkit.config import AugmentConfig, DataConfig, ModelConfig, OptimConfig, RuntimeConfig, TrainConfig
from focalkit.data import write_demo_scenes
from focalkit.errors import FocalkitError
from focalkit.training import train

STEPS = 20


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> TrainConfig:
    data = write_demo_scenes(tmp_path_factory.mktemp("scenes"), train=21, val=5, size=96, classes=3, imbalance=4)
    return TrainConfig(
        data=DataConfig(data),
        max_steps=STEPS,
        batch_size=4,
        min_size=64,
        max_size=64,
        runtime=RuntimeConfig(workers=0, accelerator="cpu", log_every=1, logger="none"),
        evaluate_every=2,
        model=ModelConfig(
            "mobilenet_v2_tf", fpn_channels=16, head_channels=16, head_depth=1, anchor_sizes=(8, 16, 32, 64, 128)
        ),
        augment=AugmentConfig(color=0.2),
        optim=OptimConfig("sgd", lr=0.05, lr_batch=4, warmup_steps=0),
    )


@pytest.fixture(scope="module")
def runs(config, tmp_path_factory) -> tuple[RunDir, RunDir]:
    """20 steps of 4 images by one process, and by two with 2 images each."""
    folder = tmp_path_factory.mktemp("runs")
    for devices in (1, 2):
        train(replace(config, runtime=replace(config.runtime, devices=devices)), folder / str(devices))
    return RunDir(folder / "1"), RunDir(folder / "2")


def losses(run: RunDir) -> list[float]:
    return [row["loss"] for row in run.read_metrics() if row["kind"] == "train"]


def test_two_processes_have_the_loss_of_one_in_every_step(runs):
    one, two = map(losses, runs)
    assert len(one) == STEPS
    assert two == pytest.approx(one, abs=1e-5)


def test_two_processes_have_the_weights_of_one_after_twenty_steps(runs):
    one, two = (torch.load(run.checkpoint("last"), weights_only=True)["model"] for run in runs)
    assert max((one[n] - two[n]).abs().max().item() for n in one) < 1e-5


def test_the_weights_compared_have_moved(runs, config, tmp_path):
    """Otherwise the test above would prove nothing."""
    train(replace(config, max_steps=1), tmp_path / "r")
    early, late = (
        torch.load(r.checkpoint("last"), weights_only=True)["model"] for r in (RunDir(tmp_path / "r"), runs[0])
    )
    assert max((early[n] - late[n]).abs().max().item() for n in early) > 0.01


def test_two_processes_evaluate_every_image_once(runs):
    one, two = (run.read_metrics()[-1] for run in runs)
    assert (one["kind"], two["kind"]) == ("val", "val")
    assert two["AP"] == pytest.approx(one["AP"], abs=1e-3)
    assert runs[1].read_result()["steps"] == STEPS


def test_the_run_says_how_many_processes_trained(runs):
    assert runs[1].read_run()["device"].startswith("2 processes on CPU")


def test_what_goes_wrong_in_a_process_is_said_as_in_one(config, tmp_path):
    wild = replace(config.optim, lr=1e30, clip_norm=None)
    with pytest.raises(FocalkitError, match="training diverged: the loss of step"):
        train(replace(config, runtime=replace(config.runtime, devices=2), optim=wild), tmp_path / "r")
