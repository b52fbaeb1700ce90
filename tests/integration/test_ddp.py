"""Several processes on the CPU train as one does, and end together."""

import json
import os
import re
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.nn import functional as F

import focalkit.evaluation  # noqa: F401  loaded once, and not in every process
import focalkit.training.module as module
from focalkit._runs import RunDir
from focalkit.config import (
    AugmentConfig,
    DataConfig,
    DecoderConfig,
    ModelConfig,
    OptimConfig,
    RuntimeConfig,
    TrainConfig,
)
from focalkit.data import write_demo_scenes
from focalkit.detection.models.synced_norm import CpuSyncedNorm
from focalkit.errors import FocalkitError, InputError
from focalkit.training import train
from focalkit.training.checkpoint import last_step
from focalkit.training.launch import in_every_process
from launched import one_refuses
from ranks import Failed, in_ranks, slurm, torchrun

STEPS = 20
SET = ModelConfig(
    "tiny",
    fpn_channels=16,
    detector="rtdetrv2",
    decoder=DecoderConfig(layers=2, queries=20, heads=2, feedforward=32, expansion=0.5, denoising=10),
)


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
        evaluate_every=4,
        model=ModelConfig(
            "mobilenet_v2_tf", fpn_channels=16, head_channels=16, head_depth=1, anchor_sizes=(8, 16, 32, 64, 128)
        ),
        augment=AugmentConfig(color=0.2),
        optim=OptimConfig("sgd", lr=0.05, lr_batch=4, warmup_steps=0),
    )


def of_detector(config: TrainConfig, model: ModelConfig) -> TrainConfig:
    return replace(config, model=model, optim=OptimConfig("adamw", lr=1e-3, lr_batch=4, warmup_steps=0))


def set_predictor(config: TrainConfig) -> TrainConfig:
    """Without denoising, whose noise depends on the images that share a process; and by SGD, for AdamW divides a
    gradient of rounding errors by itself."""
    model = replace(SET, decoder=replace(SET.decoder, denoising=0))
    return replace(config, model=model, optim=OptimConfig("sgd", lr=0.01, lr_batch=4, warmup_steps=0, clip_norm=1.0))


def trained(config: TrainConfig, out: Path, ranks: int, launcher: Any = torchrun) -> RunDir:
    """A run by one process, or by several."""
    asked = replace(config, runtime=replace(config.runtime, devices=ranks))
    if ranks == 1:
        train(asked, out)
        return RunDir(out)
    ends = in_ranks(ranks, lambda rank: bool(train(asked, out)), launcher, within=300)
    assert ends == [True] + [False] * (ranks - 1)  # the first process has the result
    return RunDir(out)


@pytest.fixture(scope="module")
def runs(config, tmp_path_factory) -> tuple[RunDir, RunDir]:
    """20 steps of 4 images by one process, and by two with 2 images each."""
    folder = tmp_path_factory.mktemp("runs")
    return trained(config, folder / "1", 1), trained(config, folder / "2", 2)


def losses(run: RunDir) -> list[float]:
    return [row["loss"] for row in run.read_metrics() if row["kind"] == "train"]


def weights(run: RunDir) -> dict[str, torch.Tensor]:
    return torch.load(run.checkpoint("last"), weights_only=True)["state_dict"]


def furthest(one: RunDir, other: RunDir) -> float:
    """The largest difference of a weight or a buffer; of those above 1, which sums are, relative to them."""
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    pairs = [(ours[n].double(), theirs[n].double()) for n in ours]
    return max(((a - b).abs() / b.abs().clamp(min=1)).max().item() for a, b in pairs)


def test_two_processes_have_the_loss_of_one_in_every_step(runs):
    one, two = map(losses, runs)
    assert len(one) == STEPS
    assert two == pytest.approx(one, abs=1e-5)


def test_two_processes_have_the_weights_of_one_after_twenty_steps(runs):
    assert furthest(*runs) < 1e-5


def test_the_weights_compared_have_moved(runs, config, tmp_path):
    """Otherwise the test above would prove nothing."""
    assert furthest(trained(replace(config, max_steps=1), tmp_path / "r", 1), runs[0]) > 0.01


def test_two_processes_evaluate_every_image_once(runs):
    one, two = (run.read_metrics()[-1] for run in runs)
    assert (one["kind"], two["kind"]) == ("val", "val")
    assert two["AP"] == pytest.approx(one["AP"], abs=1e-3)
    assert runs[1].read_result()["steps"] == STEPS


def test_the_run_says_how_many_processes_trained(runs):
    assert runs[1].read_run()["device"].startswith("2 processes on CPU")


def alike(config: TrainConfig, out: Path, ranks: int, launcher: Any = torchrun) -> int:
    """Loss, weights and buffers of several processes are those of one; the number of comparisons."""
    one, several = trained(config, out / "one", 1), trained(config, out / "several", ranks, launcher)
    assert losses(several) == pytest.approx(losses(one), rel=1e-5, abs=1e-5)
    assert furthest(one, several) < 1e-5
    return 2


@pytest.fixture
def norms_at_rest(monkeypatch) -> None:
    """BatchNorm by its running statistics: live ones make so much of float32's rounding in 20 steps that a set
    predictor matches other queries in the end."""

    def rest(self, x):
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)

    for norm in (nn.BatchNorm2d, CpuSyncedNorm):
        monkeypatch.setattr(norm, "forward", rest)


def test_two_tasks_of_slurm_train_a_set_predictor_as_one_process_does(config, tmp_path):
    assert alike(replace(set_predictor(config), max_steps=4), tmp_path, 2, slurm)


@pytest.mark.soak
def test_four_processes_train_as_one_does(config, tmp_path, norms_at_rest, reliability):
    count = 0
    for name, one in {"retinanet": config, "rtdetrv2": set_predictor(config)}.items():
        for ranks in (2, 4):
            count += alike(one, tmp_path / f"{name}{ranks}", ranks)
    reliability("ranks", "detector, 20 steps", count)
    count = 0
    for loss in ("ghm_c", "eqlv2", "efl"):
        for ranks in (2, 4):
            count += alike(replace(config, loss=loss, max_steps=10), tmp_path / f"{loss}{ranks}", ranks)
    reliability("ranks", "loss that learns from its batches, 10 steps", count)


def evaluated(config: TrainConfig, out: Path, ranks: int) -> dict[str, float]:
    run = trained(replace(config, max_steps=1), out, ranks)
    return {name: value for name, value in run.read_metrics()[-1].items() if name.startswith("A")}


def nearly_right(model, postprocess, batches, observe=None):
    """Boxes near the true ones, which depend on the image alone: an AP between nothing and all."""
    from focalkit.detection import Detections

    for batch in batches:
        with torch.no_grad():
            observe(model.eval()(batch.images), batch.targets)
        for target in batch.targets:
            rng = torch.Generator().manual_seed(target.image_id)
            noise = torch.randn(target.boxes.shape, generator=rng)
            scores = torch.rand(len(target.boxes), generator=rng)
            found = Detections(target.boxes + noise, scores, target.labels)
            yield target.image_id, found.rescale(target.size, target.original_size)


@pytest.mark.parametrize("ranks", [2, pytest.param(4, marks=pytest.mark.soak)])
def test_shards_of_unequal_size_give_the_figures_of_one_process(config, tmp_path, ranks, monkeypatch, reliability):
    monkeypatch.setattr(module, "detect", nearly_right)
    one, several = evaluated(config, tmp_path / "one", 1), evaluated(config, tmp_path / "several", ranks)
    assert 0.05 < one["AP"] < 0.95
    assert several == pytest.approx(one, abs=1e-9)
    reliability("ranks", f"evaluation of 5 images by {ranks} processes", len(one))


def test_divided_weights_become_those_of_whole_ones(config, tmp_path):
    """FSDP2: after 5 steps, and an evaluation of shards of unequal size."""
    few = replace(config, max_steps=5)
    divided = replace(few, runtime=replace(few.runtime, strategy="fsdp"))
    whole = trained(few, tmp_path / "ddp", 2)
    run = trained(divided, tmp_path / "fsdp", 2)
    assert losses(run) == pytest.approx(losses(whole), abs=1e-5)
    assert furthest(whole, run) < 1e-5
    assert run.read_metrics()[-1]["AP"] == pytest.approx(whole.read_metrics()[-1]["AP"], abs=1e-3)


@pytest.mark.soak
def test_a_killed_run_of_divided_weights_ends_as_the_undisturbed_one(config, tmp_path, reliability):
    often = replace(config.runtime, strategy="fsdp", checkpoint_seconds=0.0)
    asked = with_two(replace(config, max_steps=5, runtime=often))
    whole = trained(asked, tmp_path / "whole", 2)

    def work(rank: int) -> object:
        unlike_in_rank_1(4, lambda _: os.kill(os.getpid(), signal.SIGKILL))
        return train(asked, tmp_path / "cut")

    assert all(isinstance(end, Failed) for end in in_ranks(2, work))
    assert last_step(RunDir(tmp_path / "cut")) == 3
    assert in_ranks(2, lambda rank: bool(train(asked, tmp_path / "cut", resume=True))) == [True, False]
    assert furthest(whole, RunDir(tmp_path / "cut")) == 0
    reliability("kills", "train --strategy fsdp, one of 2 processes", 1)


def unlike_in_rank_1(step: int, change: Callable[[Any], None]) -> None:
    """In the process that calls it, `change` is done to the batch of a step."""
    real = module.DetectionModule.training_step

    def changed(self, batch, batch_idx):
        if self.global_rank == 1 and self.global_step + 1 == step:
            change(batch)
        return real(self, batch, batch_idx)

    module.DetectionModule.training_step = changed


def with_two(config: TrainConfig) -> TrainConfig:
    return replace(config, runtime=replace(config.runtime, devices=2))


@pytest.mark.parametrize("detector", ["vfnet", "rtmdet", "rtdetrv2"])
def test_an_image_of_nan_in_one_process_ends_all_with_the_autopsy(config, tmp_path, detector):
    """Matchers that look at predictions cannot match then, and all processes still exchange the same messages."""
    small = ModelConfig("tiny", fpn_channels=16, head_channels=16, head_depth=1, detector=detector)
    model = SET if detector == "rtdetrv2" else small
    asked = with_two(replace(of_detector(config, model), max_steps=4))

    def work(rank: int) -> object:
        unlike_in_rank_1(2, lambda batch: batch.images.fill_(torch.nan))
        return train(asked, tmp_path / "r")

    for end in in_ranks(2, work, within=30):
        assert isinstance(end, Failed)
        assert end.kind == "DivergedError"
        assert re.search("the (loss|gradient) of step 2 is not finite", end.message)
    found = json.loads((tmp_path / "r" / "autopsy.json").read_text())
    assert (found["step"], len(found["images"])) == (2, asked.batch_size)


def test_processes_leave_a_step_out_together(config, tmp_path):
    """Also where one alone sees a loss that is not finite, and every gradient is finite."""
    asked = with_two(replace(config, max_steps=4, optim=replace(config.optim, not_finite="skip")))

    def work(rank: int) -> object:
        real = module.DetectionModule._losses

        def losses(self, outputs, targets):
            bad = rank == 1 and self.training and self.global_step + 1 == 2
            return {n: v + torch.inf if bad else v for n, v in real(self, outputs, targets).items()}

        module.DetectionModule._losses = losses
        return train(asked, tmp_path / "r").get("finished")

    assert in_ranks(2, work) == [True, None]
    assert [row for row in RunDir(tmp_path / "r").read_metrics() if row.get("skipped") == 1]


def test_a_process_that_is_killed_ends_the_other_with_the_reason(config, tmp_path):
    def work(rank: int) -> object:
        unlike_in_rank_1(2, lambda _: os.kill(os.getpid(), signal.SIGKILL))
        return train(with_two(config), tmp_path / "r")

    left, killed = in_ranks(2, work)
    assert killed == Failed("exit", "-9")
    assert left.kind == "ProcessDiedError"
    assert re.search("another process of this job has ended.*--resume continues", left.message)


def test_a_refusal_in_one_of_the_processes_started_here_ends_all():
    began = time.monotonic()
    with pytest.raises(InputError, match="data: no such file, says process 1"):
        in_every_process(one_refuses, "data", 2)
    assert time.monotonic() - began < 60


@pytest.mark.soak
def test_what_goes_wrong_in_a_process_is_said_as_in_one(config, tmp_path):
    wild = replace(config.optim, lr=1e30, clip_norm=None)
    with pytest.raises(FocalkitError, match="training diverged: the loss of step"):
        train(replace(config, runtime=replace(config.runtime, devices=2), optim=wild), tmp_path / "r")


def test_copies_of_this_process_differentiate_after_fake_tensors():
    def work(rank: int) -> float:
        x = torch.tensor(3.0, requires_grad=True)
        (x * x).backward()
        return float(x.grad)

    with FakeTensorMode():
        torch.ones(1)
    work(0)
    assert in_ranks(2, work) == [6.0, 6.0]
