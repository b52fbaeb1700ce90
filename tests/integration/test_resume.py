"""A training that was killed goes on as if nothing had happened."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

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
from focalkit.errors import ConfigError
from focalkit.training import train
from focalkit.training.module import DetectionModule

STEPS = 5  # per epoch


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> TrainConfig:
    data = write_demo_scenes(tmp_path_factory.mktemp("scenes"), train=21, val=4, size=96, classes=3, imbalance=4)
    return TrainConfig(
        data=DataConfig(data),
        epochs=3,
        batch_size=4,
        min_size=64,
        max_size=64,
        runtime=RuntimeConfig(workers=0, accelerator="cpu", log_every=2, checkpoint_seconds=0.0, logger="none"),
        model=ModelConfig("tiny", fpn_channels=16, head_channels=16, head_depth=1, anchor_sizes=(8, 16, 32, 64, 128)),
        augment=AugmentConfig(scale=(0.7, 1.0), color=0.2),
        optim=OptimConfig("adamw", lr=1e-3, lr_batch=4, schedule="cosine", warmup_steps=1, ema_decay=0.9),
    )


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory) -> RunDir:
    out = tmp_path_factory.mktemp("runs") / "whole"
    train(config, out)
    return RunDir(out)


def weights(run: RunDir) -> dict[str, torch.Tensor]:
    checkpoint = torch.load(run.checkpoint("last"), weights_only=True)
    return checkpoint["model"] | {f"current.{n}": v for n, v in checkpoint["current_model_state"].items()}


def test_deterministic_runs_are_bit_equal_whatever_the_number_of_workers(config, tmp_path):
    found = []
    for workers in (0, 2):
        runtime = replace(config.runtime, deterministic=True, workers=workers, checkpoint_seconds=60.0)
        train(replace(config, epochs=1, runtime=runtime), tmp_path / str(workers))
        found.append(weights(RunDir(tmp_path / str(workers))))
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())
    assert not torch.are_deterministic_algorithms_enabled()


def assert_equal(resumed: RunDir, whole: RunDir) -> None:
    ours, theirs = weights(resumed), weights(whole)
    assert {n: v.shape for n, v in ours.items()} == {n: v.shape for n, v in theirs.items()}
    worst = max((ours[n].double() - theirs[n].double()).abs().max().item() for n in ours)
    assert worst < 1e-6
    rows = [[(r["kind"], r["step"], r["epoch"]) for r in run.read_metrics()] for run in (resumed, whole)]
    assert [r for r in rows[0] if r[0] == "val"] == [r for r in rows[1] if r[0] == "val"]
    assert len(rows[0]) == len(set(rows[0]))
    assert resumed.read_result()["finished"]


class Killed(BaseException):
    """Leaves the training from within a step, as a kill does."""


def die_in_pass(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    passes, step = iter(range(1, 10**6)), DetectionModule.training_step

    def training_step(self, batch, batch_idx):
        if next(passes) == number:
            raise Killed
        return step(self, batch, batch_idx)

    monkeypatch.setattr(DetectionModule, "training_step", training_step)


# before any checkpoint; in the first epoch; in the last step of an epoch; at the start of one; in the last step of all
@pytest.mark.parametrize("step", [1, 3, STEPS, STEPS + 1, 3 * STEPS])
def test_a_resumed_run_ends_with_the_same_weights(config, whole, tmp_path, step):
    with pytest.MonkeyPatch.context() as patch:
        die_in_pass(step, patch)
        with pytest.raises(Killed):
            train(config, tmp_path / "cut")
    run = RunDir(tmp_path / "cut")
    assert not run.finished
    train(config, run.path, resume=True)
    assert_equal(run, whole)


def test_a_run_killed_before_its_last_evaluation_makes_up_for_it(config, tmp_path):
    config = replace(config, max_steps=STEPS + 2)
    train(config, tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch:
        evaluate, count = DetectionModule.on_validation_epoch_start, iter(range(1, 9))

        def start(self):
            if next(count) == 2:  # after the second epoch's two steps, each with a checkpoint if it is due
                raise Killed
            evaluate(self)

        patch.setattr(DetectionModule, "on_validation_epoch_start", start)
        with pytest.raises(Killed):
            train(config, tmp_path / "cut")
    train(config, tmp_path / "cut", resume=True)
    assert_equal(RunDir(tmp_path / "cut"), RunDir(tmp_path / "whole"))
    steps = [r["step"] for r in RunDir(tmp_path / "cut").read_metrics() if r["kind"] == "val"]
    assert steps == [STEPS, STEPS + 2]


def test_a_run_that_lost_its_patience_has_done_so_when_it_resumes(config, tmp_path):
    config = replace(config, patience=2, epochs=6, optim=replace(config.optim, lr=1e-12))
    train(config, tmp_path / "run")
    run = RunDir(tmp_path / "run")
    before = run.read_metrics()
    assert before[-1]["epoch"] < 6
    (run.path / "result.json").unlink()
    train(config, run.path, resume=True)
    assert run.read_metrics() == before
    assert run.finished
    train(replace(config, epochs=9), run.path, resume=True)  # more was asked for: its patience begins anew
    assert run.read_metrics()[-1]["epoch"] == before[-1]["epoch"] + 2


def test_a_run_killed_before_its_result_has_the_time_of_its_training(config, whole, tmp_path):
    run = RunDir(tmp_path / "cut")
    shutil.copytree(whole.path, run.path)
    (run.path / "result.json").unlink()
    last = torch.load(run.checkpoint("last"), weights_only=True)
    last["callbacks"]["Checkpoints"]["seconds"] = 5000.0
    torch.save(last, run.checkpoint("last"))
    result = train(config, run.path, resume=True)
    assert result == whole.read_result() | {"seconds": result["seconds"]}
    assert 5000 <= result["seconds"] < 5060


def test_accumulated_passes_resume_at_the_step(config, tmp_path):
    config = replace(config, accumulate=2, epochs=2, runtime=replace(config.runtime, logger="tensorboard"))
    train(config, tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch:
        die_in_pass(2 * 7, patch)  # the second pass of step 7
        with pytest.raises(Killed):
            train(config, tmp_path / "cut")
    train(config, tmp_path / "cut", resume=True)
    assert_equal(RunDir(tmp_path / "cut"), RunDir(tmp_path / "whole"))


def test_a_resumed_set_predictor_draws_the_noise_that_was_next(config, tmp_path):
    decoder = DecoderConfig(layers=1, queries=12, heads=2, feedforward=16, expansion=0.5, denoising=8)
    model = ModelConfig("tiny", fpn_channels=16, detector="rtdetrv2", decoder=decoder)
    config = replace(config, epochs=1, model=model)
    train(config, tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch:
        die_in_pass(3, patch)
        with pytest.raises(Killed):
            train(config, tmp_path / "cut")
    train(config, tmp_path / "cut", resume=True)
    assert_equal(RunDir(tmp_path / "cut"), RunDir(tmp_path / "whole"))


def test_an_unfinished_run_is_not_overwritten_by_accident(config, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        die_in_pass(2, patch)
        with pytest.raises(Killed):
            train(config, tmp_path / "cut")
    with pytest.raises(ConfigError, match="--resume continues it"):
        train(config, tmp_path / "cut")
    with pytest.raises(ConfigError, match=r"batch_size: 4 in run\.json, now 2"):
        train(replace(config, batch_size=2), tmp_path / "cut", resume=True)


def test_a_process_killed_in_mid_epoch_resumes_from_the_command_line(config, whole, tmp_path):
    run = RunDir(tmp_path / "run")
    file = tmp_path / "config.json"
    file.write_text((whole.path / "run.json").read_text())
    command = [sys.executable, "-m", "focalkit", "train", "--config", str(file), "--out", str(run.path)]
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment)
    try:
        # the second epoch: its third of five steps
        until = time.monotonic() + 120
        while (run.read_metrics() or [{"step": 0}])[-1]["step"] < STEPS + 3:
            assert process.poll() is None, process.communicate()[1].decode()
            assert time.monotonic() < until
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.communicate()
    assert not run.finished
    train(run.read_config(), run.path, resume=True)
    assert_equal(run, whole)
