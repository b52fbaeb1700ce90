"""The parts of a training step: parameter groups, the loss window, averaged weights, the checkpoint file."""

import math
import tempfile
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from focalkit._runs import RunDir
from focalkit.config import OptimConfig, RuntimeConfig, TrainConfig
from focalkit.errors import ConfigError
from focalkit.training import module
from focalkit.training.callbacks import AveragedWeights
from focalkit.training.checkpoint import WholeFiles, complete_best, last_step, read_checkpoint, write_weights
from focalkit.training.launch import is_first_process, several_to_start
from focalkit.training.losses import LossWindow, NotFiniteError
from focalkit.training.optim import build_optimizer, parameter_groups


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))


def test_biases_and_norm_scales_do_not_decay():
    decayed, free = parameter_groups(network(), 0.1)
    assert [p.ndim for p in decayed["params"]] == [4, 4]
    assert [p.ndim for p in free["params"]] == [1, 1, 1, 1]
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0.0)


def test_frozen_parameters_are_not_optimised():
    model = network()
    model[0].requires_grad_(False)
    assert sum(len(group["params"]) for group in parameter_groups(model, 0.1)) == 4


@pytest.mark.parametrize(("name", "kind"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_the_optimiser_takes_the_scaled_rate(name, kind):
    optimizer = build_optimizer(network(), OptimConfig(optimizer=name, lr=1.0, momentum=0.7), lr=0.25)
    assert type(optimizer) is kind
    assert {group["lr"] for group in optimizer.param_groups} == {0.25}
    if name == "sgd":
        assert {group["momentum"] for group in optimizer.param_groups} == {0.7}


def drawn(monkeypatch, seed, step, one_of, rank):
    """A number that the losses of one forward pass draw, whatever was drawn before."""
    monkeypatch.setattr(module, "predict_to_learn", lambda *_: None)
    here = SimpleNamespace(seed=seed, global_step=step, global_rank=rank, model=None, window=LossWindow())
    here.trainer = SimpleNamespace(accumulate_grad_batches=2)
    here._losses, here._seen = lambda *_: {"noise": torch.rand(())}, lambda *_: None
    return module.DetectionModule.training_step(here, SimpleNamespace(targets=()), 6 + one_of).item()


def test_each_pass_of_each_process_draws_numbers_of_its_own(monkeypatch):
    passes = [(seed, step, p, rank) for seed in (0, 1) for step in range(3) for p in range(2) for rank in range(4)]
    first = [drawn(monkeypatch, *one) for one in passes]
    assert len(set(first)) == len(passes)
    assert [drawn(monkeypatch, *one) for one in reversed(passes)] == first[::-1]


def test_the_window_gives_means_once():
    window = LossWindow()
    window.add(1, {"classification": torch.tensor(1.0), "box": torch.tensor(0.5)})
    window.add(2, {"classification": torch.tensor(3.0), "box": torch.tensor(0.5)})
    assert window.read() == pytest.approx({"loss": 2.5, "classification": 2.0, "box": 0.5})
    assert window.read() == {}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_the_window_names_the_first_step_that_is_not_finite(bad):
    window = LossWindow()
    for step, value in ((7, 1.0), (8, bad), (9, bad)):
        window.add(step, {"classification": torch.tensor(value), "box": torch.tensor(0.5)})
    with pytest.raises(NotFiniteError) as caught:
        window.read()
    assert caught.value.step == 8
    assert caught.value.values["box"] == 0.5


def test_the_window_holds_no_graph():
    window = LossWindow()
    window.add(1, {"box": (torch.ones(1, requires_grad=True) * 2).sum()})
    assert not window.rows[0].requires_grad


def test_the_average_follows_quickly_at_first_and_slowly_later():
    ema = AveragedWeights(0.99)
    average, count = [torch.zeros(1), torch.zeros(1)], [torch.tensor([1])]
    assert ema.should_update(step_idx=0)
    ema._average(average, [torch.ones(1), torch.ones(1)], None)
    assert average[0].item() == pytest.approx(0.9)  # 1 - 1/10
    assert ema.should_update(step_idx=100_000)
    ema._average(average, [torch.zeros(1), torch.zeros(1)], None)
    assert average[1].item() == pytest.approx(0.9 * 0.99)
    ema._average(count, [torch.tensor([5])], None)
    assert count[0].item() == 5
    assert not ema.should_update(epoch_idx=3)


def checkpoint(run: RunDir, step: int) -> None:
    run.checkpoint("last").parent.mkdir(parents=True, exist_ok=True)
    torch.save(
        {"focalkit": {"schema": 1}, "model": {"w": torch.full((2,), float(step))}, "epoch": 0, "global_step": step}
        | {"optimizer_states": [torch.zeros(1000)]},
        run.checkpoint("last"),
    )


def test_the_best_checkpoint_is_the_weights_alone(tmp_path):
    run = RunDir(tmp_path)
    checkpoint(run, 3)
    write_weights(run.checkpoint("last"), run.checkpoint("best"))
    best = torch.load(run.checkpoint("best"), weights_only=True)
    assert set(best) == {"focalkit", "model", "epoch", "global_step"}
    assert best["model"]["w"].tolist() == [3.0, 3.0]
    assert sorted(p.name for p in tmp_path.rglob("*.*")) == ["best.ckpt", "last.ckpt"]


def test_a_checkpoint_needs_no_room_but_beside_its_place(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "full"))  # TMPDIR, where nothing can be made
    WholeFiles().save_checkpoint({"focalkit": {}, "w": torch.ones(2)}, tmp_path / "last.ckpt")
    assert read_checkpoint(tmp_path / "last.ckpt")["w"].tolist() == [1.0, 1.0]
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_best_checkpoint_that_a_kill_prevented_is_written_on_resuming(tmp_path):
    run = RunDir(tmp_path)
    assert last_step(run) == 0
    checkpoint(run, 5)
    write_weights(run.checkpoint("last"), run.checkpoint("best"))
    run.append_metrics({"kind": "val", "step": 5, "AP": 0.1})
    checkpoint(run, 10)
    run.append_metrics({"kind": "val", "step": 10, "AP": 0.2})
    complete_best(run)
    assert read_checkpoint(run.checkpoint("best"))["global_step"] == 10
    checkpoint(run, 15)
    run.append_metrics({"kind": "val", "step": 15, "AP": 0.15})
    complete_best(run)
    assert read_checkpoint(run.checkpoint("best"))["global_step"] == 10


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", "cut", "code", "tensor", "other"])
def test_a_damaged_checkpoint_is_named_with_what_to_do(tmp_path, content):
    file = tmp_path / "last.ckpt"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        values = {"code": {"focalkit": test_a_damaged_checkpoint_is_named_with_what_to_do}, "tensor": torch.zeros(9)}
        torch.save(values.get(content, {"model": {"w": torch.zeros(999)}}), file)
        if content == "cut":
            file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(ConfigError, match=r"last\.ckpt is damaged or not a checkpoint of focalkit \(.+\);") as caught:
        read_checkpoint(file)
    assert "with --force" in str(caught.value)
    assert "weights_only" not in str(caught.value)


@pytest.mark.parametrize(
    ("environment", "first"),
    [
        ({}, True),
        ({"RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"RANK": "2", "LOCAL_RANK": "0"}, False),
        ({"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2"}, False),
        ({"SLURM_PROCID": "0", "LOCAL_RANK": "1"}, False),  # a batch script has started this one's launcher
        ({"LOCAL_RANK": "1"}, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
    ],
)
def test_the_first_process_is_the_first_of_all_machines(environment, first, monkeypatch):
    for name in ("RANK", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_first_process() == first


def test_a_launchers_processes_are_not_started_again(monkeypatch):
    for name in ("LOCAL_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    assert several_to_start(TrainConfig(runtime=RuntimeConfig(devices=2)))
    assert not several_to_start(TrainConfig(runtime=RuntimeConfig(devices=1)))
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert not several_to_start(TrainConfig(runtime=RuntimeConfig(devices=2)))


@pytest.mark.parametrize(
    ("environment", "own"),
    [
        ({}, True),  # a batch script: its processes are no tasks
        ({"SLURM_STEP_NUM_TASKS": "1", "SLURM_JOB_NAME": "bash"}, True),  # `srun --pty bash`
        ({"SLURM_STEP_NUM_TASKS": "2"}, False),
    ],
)
def test_a_job_of_slurm_without_srun_starts_its_own_processes(environment, own, monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    for name, value in {"SLURM_PROCID": "0", "SLURM_JOB_NAME": "train", **environment}.items():
        monkeypatch.setenv(name, value)
    assert several_to_start(TrainConfig(runtime=RuntimeConfig(devices=2))) == own
