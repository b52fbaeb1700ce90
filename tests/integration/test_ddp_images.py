"""Several processes that share the fits of images train as one does, and end together."""

import json
import os
import signal
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning.fabric.plugins.environments  # noqa: F401  # once, not in each of the copies of this process
import numpy as np
import pytest
import torch
from torch import nn

from focalkit.cli import compare, main
from focalkit.cli.compare import Args, in_group, run
from focalkit.compare import cell, together
from focalkit.compare.methods import METHODS
from focalkit.compare.run import compare as compare_api
from focalkit.compare.store import Store
from focalkit.detection.models.synced_norm import synced_norms
from focalkit.errors import ConfigError, DivergedError, InputError
from focalkit.losses._statistics import StatefulLoss
from focalkit.sampling import epoch_indices
from focalkit.tasks import Budget, Source, _ranks
from focalkit.tasks._diverged import Watch
from focalkit.tasks._losses import MethodLoss
from focalkit.tasks.image import TASK, _fit
from focalkit.tasks.image._network import ResidualNetwork
from focalkit.training.group import process_group
from focalkit.training.losses import Seen
from ranks import Failed, in_ranks, slurm, torchrun

STEPS, BATCH = 20, 25
LEARNING = ("ghm_c", "eqlv2", "seesaw")
"""Losses that keep statistics of their batches, in float32."""


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """103 images of 16 pixels, three classes of 60, 30 and 13, and 25 to test by: nothing divides by 2 or 4."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for part, counts in (("train", (60, 30, 13)), ("test", (9, 8, 8))):
        labels = np.repeat(np.arange(3), counts)
        images = rng.integers(0, 256, (len(labels), 16, 16, 3)) * 0.7 + 25 * labels[:, None, None, None]
        np.savez(folder / f"{part}.npz", images=images.astype(np.uint8), labels=labels, classes=list("abc"))
    return folder


class Doubled(ResidualNetwork):
    """In float64, where rounding does not grow over 20 steps: what differs then differs for a reason."""

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return super().features(images.double())


def doubled(classes: int, size: int) -> nn.Module:
    return Doubled(classes, (8, 16), 1, stem_stride=2).double()


def work(data: Path, method: Any, ranks: int) -> dict[str, Any]:
    """A fit by this process and its like: its losses, its weights and buffers, what it says of the parts."""
    with process_group(ranks):
        seen, state, real = [], {}, _fit._plain

        def plain(model, loss):
            of, state["loss"] = real(model, loss), loss

            def value(images, pairs, share):
                found = of(images, pairs, share)
                seen.append(float(found.detach()) * len(images) / BATCH)
                return found

            return value

        _fit._plain = plain
        try:
            task = replace(TASK, batch=BATCH, network=doubled)
            made = task.fit(method, task.read(Source(data), 0), Budget(steps=STEPS), 0, data)
        finally:
            _fit._plain = real
        weights = {**made.model.network.state_dict(), **state["loss"].state_dict()}
        said = {part: made.outputs(part).logits for part in ("val", "test")}
        return {"losses": seen, "weights": {n: v.double().numpy() for n, v in weights.items()}, **said}


def furthest(one: dict[str, Any], other: dict[str, Any]) -> float:
    """The largest difference of a weight or a buffer; of those above 1, which sums are, relative to them."""
    assert one.keys() == other.keys()
    return max(float((abs(one[n] - other[n]) / np.maximum(1, abs(one[n]))).max(initial=0)) for n in one)


def alike(data: Path, name: str, ranks: int, launcher: Any = torchrun) -> int:
    """Losses, weights, buffers and outputs of several processes are those of one; the number of comparisons."""
    method = METHODS[name] if name in METHODS else replace(METHODS["ce"], loss=name)
    one = work(data, method, 1)
    several = in_ranks(ranks, lambda rank: work(data, method, ranks), launcher, within=300)
    assert not any(isinstance(end, Failed) for end in several), several
    assert len(one["losses"]) >= 0.8 * STEPS  # without the second stage of crt
    close = 1e-5 if name in LEARNING else 1e-9
    assert np.sum([end["losses"] for end in several], axis=0) == pytest.approx(one["losses"], rel=close, abs=close)
    assert furthest(several[0]["weights"], one["weights"]) < close
    assert all(furthest(end["weights"], several[0]["weights"]) == 0 for end in several)
    for end in several:
        assert end["test"] == pytest.approx(one["test"], abs=1e-6)
    return 3


def test_two_tasks_of_slurm_fit_images_as_one_process_does(data):
    alike(data, "ce", 2, slurm)


@pytest.mark.soak
def test_four_processes_fit_images_as_one_does(data, reliability):
    names = ("ce", "focal", "ldam_drw", "mixup", "crt", *LEARNING)
    reliability("ranks", "images, 20 steps", sum(alike(data, name, n) for name in names for n in (2, 4)))


def test_the_norms_of_two_processes_are_those_of_one(tmp_path):
    torch.manual_seed(0)
    x, weights = torch.randn(6, 4, 3, 5, dtype=torch.float64) + 100, torch.randn(6, 4, 3, 5, dtype=torch.float64)

    def work(ranks: int) -> list[Any]:
        with process_group(ranks):
            norm = nn.Sequential(nn.BatchNorm2d(4).double())
            norm = synced_norms(norm, on_gpu=False) if ranks > 1 else norm
            part = slice(0, 1) if _ranks.rank() == 0 else slice(1, 6)  # of unequal size
            own = (x[part] if ranks > 1 else x).clone().requires_grad_()
            (norm(own).sin() * (weights[part] if ranks > 1 else weights)).sum().backward()
            _ranks.sum_gradients(norm)
            of_norm = [p.grad for p in norm.parameters()] + list(norm.buffers())
            return [own.grad.numpy(), *(v.numpy() for v in of_norm)]

    one, (first, second) = work(1), in_ranks(2, lambda rank: work(2))
    assert np.concatenate([first[0], second[0]]) == pytest.approx(one[0], abs=1e-9)
    for ours, theirs, alone in zip(first[1:], second[1:], one[1:], strict=True):
        assert ours == pytest.approx(alone, abs=1e-9)
        assert theirs == pytest.approx(alone, abs=1e-9)


def test_processes_stop_alike_where_the_loss_of_one_is_not_finite():
    def work(rank: int) -> str:
        with process_group(2):
            watch = Watch("images")
            for step in (1, 2):
                value = torch.tensor(float("nan") if (rank, step) == (1, 2) else 0.5)
                watch.step(step, {"classification": value}, Seen([f"{rank}/{step}"]), torch.tensor(1.0), 0.1)
            with pytest.raises(DivergedError) as caught:
                watch.look()
            return str(caught.value)

    one, other = in_ranks(2, work)
    assert one == other
    assert "the loss of step 2" in one
    assert "images: 0/2, 1/2" in one


def asked(data: Path, out: Path, **more: Any) -> Args:
    return Args(data=data, out=out, methods=("ce",), seeds=1, steps=8, devices=2, json=True, **more)


def test_two_processes_make_a_tuned_comparison_as_one_does(data, tmp_path, capfd):
    ends = in_ranks(2, lambda rank: in_group(asked(data, tmp_path / "two", tune=2)))
    assert ends == [0, 0]
    told = json.loads(capfd.readouterr().out)  # by one of them
    assert told["best"] == str(tmp_path / "two" / "cells" / "ce" / "seed0")
    assert run(replace(asked(data, tmp_path / "one", tune=2), devices=1)) == 0
    two, one = (Store(tmp_path / name).cell("ce", 0) for name in ("two", "one"))
    assert two.record["facts"]["processes"] == 2
    assert two.record["tuned"]["trials"] == 2
    assert two.test.logits == pytest.approx(one.test.logits, abs=1e-3)


def test_a_process_that_is_killed_ends_the_comparison_with_the_reason(data, tmp_path, capfd):
    def work(rank: int) -> int:
        if rank == 1:
            real = _ranks.sum_gradients
            _ranks.sum_gradients = lambda _: os.kill(os.getpid(), signal.SIGKILL) if _ranks.rank() else real(_)
        return in_group(asked(data, tmp_path / "c"))

    left, killed = in_ranks(2, work)
    assert killed == Failed("exit", "-9")
    assert left.kind == "ProcessDiedError"
    assert "another process of this job has ended" in left.message
    assert in_ranks(2, lambda rank: in_group(asked(data, tmp_path / "c"))) == [0, 0]


def test_a_process_that_finds_other_data_fails_the_cell_in_all(data, tmp_path):
    def work(rank: int) -> int:
        if rank == 1:
            cell.read = lambda *_: replace(TASK.read(Source(data), 0), fingerprint="other")
        return in_group(asked(data, tmp_path / "c"))

    assert in_ranks(2, work) == [1, 0]
    record = Store(tmp_path / "c").cell("ce", 0).record
    assert "process 1: " in record["error"]
    assert "other data than those of the first process" in record["error"]


def test_a_comparison_that_cannot_begin_ends_in_all_processes(data, tmp_path):
    def work(rank: int) -> Any:
        with process_group(2):
            return compare_api(data, ["ce", "focal"], out=tmp_path / "c", seeds=0)

    first, other = in_ranks(2, work)
    assert first.kind == "ConfigError"
    assert "seeds must be a number of at least 1" in first.message
    assert other == Failed("ProcessDiedError", f"process 0 of 2 could not go on: {first.message}")


def test_a_process_on_each_of_two_machines_joins_in(data, tmp_path):
    """`torchrun --nnodes 2 --nproc-per-node 1`: one process here is not one in all."""

    def launcher(rank: int, count: int, port: int) -> dict[str, str]:
        return torchrun(rank, count, port) | {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "GROUP_RANK": str(rank)}

    words = [str(data), "--methods", "ce", "--seeds", "1", "--steps", "2", "--out", str(tmp_path / "c")]
    assert in_ranks(2, lambda rank: compare.main(words), launcher) == [0, 0]
    assert Store(tmp_path / "c").cell("ce", 0).record["facts"]["processes"] == 2


def test_what_processes_cannot_share_is_refused(data, tmp_path, monkeypatch):
    words = [str(data), "--devices", "2", "--out", str(tmp_path / "c")]
    with pytest.raises(InputError, match="the task 'tabular' has no such fit"):
        compare.main([*words, "--task", "tabular"])
    with pytest.raises(InputError, match="leave out --jobs"):
        compare.main([*words, "--jobs", "2"])
    ends = in_ranks(2, lambda rank: in_group(replace(asked(data, tmp_path), jobs=2)))
    assert {end.kind for end in ends} == {"ConfigError"}
    for name, value in torchrun(0, 4, 1).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match="4 processes were started on this machine, and --devices is 2"):
        in_group(asked(data, tmp_path))


def test_a_batch_script_of_slurm_compares_what_it_is_given(tmp_path, monkeypatch, capsys):
    """It has Slurm's variables too, but those of a step."""
    for name, value in slurm(0, 8, 15000).items():
        if "STEP" not in name:
            monkeypatch.setenv(name, value)
    table = tmp_path / "t.csv"
    table.write_text("a,target\n" + "".join(f"{i % 7},{int(i % 4 == 0)}\n" for i in range(80)))
    words = [
        "compare",
        str(table),
        "--out",
        str(tmp_path / "c"),
        "--seeds",
        "1",
        "--methods",
        "logistic",
        "--yardstick",
    ]
    assert main([*words, "logistic"]) == 0
    assert "best     " in capsys.readouterr().out


def test_a_method_that_no_process_can_fit_is_a_failed_cell_as_with_one(data, tmp_path):
    args = replace(asked(data, tmp_path / "c"), methods=("focal", "ce"))

    def refused(*_):
        raise ValueError("three classes are too many")

    def work(rank: int) -> int:
        real: Any = _fit.fit
        _fit.fit = lambda task, method, *more: real(task, method, *more) if method.name == "ce" else refused()
        return in_group(args)

    assert in_ranks(2, work) == [1, 0]
    refused_cell, done = (Store(tmp_path / "c").cell(name, 0) for name in ("focal", "ce"))
    assert refused_cell.record["error"] == "ValueError: three classes are too many"
    assert done.status == "done"


@pytest.mark.parametrize("error", [MemoryError("full"), ValueError("alone")])
def test_a_process_that_fails_alone_ends_the_comparison_with_its_reason(error, data, tmp_path):
    def work(rank: int) -> int:
        together.AGREED_WITHIN = timedelta(seconds=1)
        if rank == 0:
            _fit._plain = lambda *_: raising(error)
        return in_group(asked(data, tmp_path / "c"))

    alone, other = in_ranks(2, work)
    assert alone == Failed("LeavingError", f"process 0 of 2 has failed: {type(error).__name__}: {error}")
    assert other.kind == "ProcessDiedError"


def raising(error: Exception) -> Any:
    raise error


def test_processes_without_an_image_of_a_small_batch_add_nothing(data):
    def fit(ranks: int) -> dict[str, Any]:
        whole = TASK.read(Source(data), 0)
        a, b, c = (np.flatnonzero(whole.train.labels == label) for label in range(3))
        few = replace(whole, train=whole.train.take(np.array([*a[:3], b[0], c[0]])), class_counts=(3, 1, 1))
        assert len(epoch_indices("under", few.train.labels, 0, 0)) == 3  # of 4 processes
        with process_group(ranks):
            made = replace(TASK, network=doubled).fit(METHODS["undersample"], few, Budget(steps=3), 0, data)
        return {name: value.double().numpy() for name, value in made.model.network.state_dict().items()}

    one = fit(1)
    for end in in_ranks(4, lambda rank: fit(4)):
        assert furthest(end, one) < 1e-9


@pytest.mark.parametrize("name", ["hard_negatives", "ohem_items"])
def test_losses_that_pick_images_of_a_batch_are_not_shared(name, data, monkeypatch):
    monkeypatch.setattr(_fit._ranks, "count", lambda: 2)
    with pytest.raises(ConfigError, match=f"{name}: processes cannot share"):
        TASK.fit(METHODS[name], TASK.read(Source(data), 0), Budget(steps=1), 0, data)


def test_a_loss_that_is_shared_is_the_weighted_mean_of_its_parts():
    torch.manual_seed(0)
    x, y, checked = torch.randn(9, 2, dtype=torch.float64), torch.tensor([0, 0, 1, 0, 1, 0, 0, 0, 1]), 0
    for method in METHODS.values():
        if not method.fits("image"):
            continue
        loss = MethodLoss(method, (6, 3), schedules=_fit.SCHEDULES)
        if loss.of_parts and not isinstance(loss.loss, StatefulLoss):
            parts = (4 * loss(x[:4], y[:4]) + 5 * loss(x[4:], y[4:])) / 9
            assert float(parts) == pytest.approx(float(loss(x, y)), rel=1e-6), method.name
            checked += 1
    assert checked > 20


@pytest.mark.soak
def test_the_command_starts_its_processes(data, tmp_path, capfd):
    words = ["compare", str(data), "--methods", "ce", "--seeds", "1", "--steps", "2", "--devices", "2"]
    assert main([*words, "--out", str(tmp_path / "c")]) == 0
    assert "best     " in capfd.readouterr().out
    assert Store(tmp_path / "c").cell("ce", 0).record["facts"]["processes"] == 2
