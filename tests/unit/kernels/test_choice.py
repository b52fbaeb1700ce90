"""What "auto" takes, and that it says why."""

import re

import pytest
import torch

import focalkit.losses as L
from focalkit.errors import BackendError
from focalkit.kernels import _choice, _cpp, _engine, _sigmoid, _softmax, explain
from focalkit.losses._checks import FUSED


@pytest.fixture(autouse=True)
def usual(monkeypatch):
    monkeypatch.setattr(_choice, "SMALL", 2**14)
    monkeypatch.setattr(_choice, "_cpp_compiler", lambda cxx: "g++")
    monkeypatch.setattr(_engine, "_kernels", {})


def ask(size, **arguments):
    return explain("asl", (size,), (size,), targets_dtype=torch.float32, **arguments)


def test_auto_goes_by_size():
    assert ask(100).backend == "eager"
    assert ask(2**15).backend == "chunked"
    assert ask(2**20).backend == "compiled"
    assert "2,097,152 elements" in str(ask(2**21))


def test_work_adds_up_to_a_compilation(monkeypatch):
    x, t = torch.randn(2**15), torch.zeros(2**15)
    monkeypatch.setattr(_choice, "WORK", 2**17)
    seen = []
    for _ in range(4):
        seen.append(explain(L.quality_focal_loss, x, t).backend)
        if seen[-1] == "chunked":
            L.quality_focal_loss(x.requires_grad_(), t)
    assert seen == ["chunked", "chunked", "chunked", "compiled"]


def test_a_gpu_takes_the_kernel_written_for_it():
    pytest.importorskip("triton")
    given = {"targets_dtype": torch.float32, "device": "cuda"}
    assert explain("focal", (2**20,), (2**20,), **given).backend == "triton"
    assert explain("focal", (2**20,), (2**20,), dtype=torch.float64, **given).backend == "compiled"
    levels = [torch.zeros(2, 18, 50, 50)]
    labels = [torch.zeros(2, 9, 50, 50, dtype=torch.int8)]
    assert explain(L.dense_sigmoid_focal_loss, levels, labels, num_classes=2, device="cuda").backend == "triton"
    assert explain("softmax_focal", (10_000, 20), (10_000,), device="cuda").backend == "triton"
    assert explain("asl", (2**21,), (2**21,), targets_dtype=torch.float32, device="cuda").backend == "compiled"


def test_no_compiler_is_the_reason_for_chunks(monkeypatch):
    monkeypatch.setenv("CXX", "/no/such/compiler")
    monkeypatch.setattr(_choice, "_cpp_compiler", lambda cxx: None)
    choice = ask(2**21)
    assert choice.backend == "chunked"
    assert "no C++ compiler found (/no/such/compiler" in choice.reason
    with pytest.raises(BackendError, match="no C\\+\\+ compiler"):
        L.asymmetric_loss(torch.zeros(4), torch.zeros(4), backend="compiled")


@pytest.mark.parametrize(
    ("loss", "logits", "targets", "arguments", "why"),
    [
        ("dice", torch.zeros(2, 3, 8), torch.zeros(2, 8).long(), {}, "no single pass"),
        ("focal", torch.zeros(2, 3), torch.zeros(2, 3), {"reduction": "none"}, "nothing to save"),
        ("focal", torch.zeros(2, 3), torch.zeros(2, 3, requires_grad=True), {}, "requires a gradient"),
        ("ce", torch.zeros(2, 3), torch.full((2, 3), 1 / 3), {}, "dense rows"),
        (
            "focal",
            torch.zeros(20_000, 3),
            torch.zeros(20_000, 3),
            {"weight": torch.ones(20_000, 1)},
            "waiting|passed",
        ),
    ],
)
def test_it_says_why_not(loss, logits, targets, arguments, why):
    choice = explain(L.LOSSES[loss].function, logits, targets, **arguments)
    assert re.search(why, choice.reason)


def test_what_eager_alone_can_do_is_refused_when_demanded():
    x = torch.zeros(20, 3)
    with pytest.raises(BackendError, match="nothing to save"):
        L.sigmoid_focal_loss(x, x, reduction="none", backend="compiled")
    with pytest.raises(BackendError, match="smoothed labels"):
        L.softmax_focal_loss(x, torch.zeros(20).long(), label_smoothing=0.1, backend="compiled")
    with pytest.raises(BackendError, match="requires a gradient"):
        L.sigmoid_focal_loss(x, torch.zeros(20, 3, requires_grad=True), backend="compiled")
    with pytest.raises(BackendError, match="runs on CUDA devices"):
        L.sigmoid_focal_loss(x, x, backend="triton")


def test_the_catalog_tells_which_losses_are_fused():
    functions = {spec.function.__name__ for spec in L.LOSSES.values() if spec.function}
    assert FUSED - functions == {"dense_sigmoid_focal_loss"}  # the native form of "focal" has no line of its own
    assert L.LOSSES["focal"].fused
    assert not L.LOSSES["dice"].fused


def test_a_fused_loss_takes_the_single_pass_and_no_other_does(monkeypatch):
    monkeypatch.setitem(_choice.machine.broken, "c++", "left out")
    wanted = {"regions", "boxes", "deltas", "embeddings", "teacher", "positions", "background + classes"}
    counts = {"balanced_softmax", "logit_adjusted", "vs", "ldam"}
    for spec in L.LOSSES.values():
        if spec.function is None or spec.targets in wanted:
            continue
        labels = spec.targets in ("classes", "labels")
        targets = torch.zeros(4000, dtype=torch.long) if labels else torch.zeros(4000, 8)
        arguments = {"class_counts": [3] * 8} if spec.name in counts else {}
        try:
            choice = explain(spec.function, torch.zeros(4000, 8), targets, **arguments)
        except TypeError:  # needs more than logits and targets
            assert not spec.fused
            continue
        assert (choice.backend == "chunked") == spec.fused, spec.name


def test_calls_with_labels_add_up_too(monkeypatch):
    monkeypatch.setattr(_choice, "WORK", 2**16)
    x, labels = torch.randn(2**13, 4, requires_grad=True), torch.full((2**13,), -1)
    assert explain(L.poly1_focal_loss, x, labels).backend == "chunked"
    L.poly1_focal_loss(x, labels)
    assert explain(L.poly1_focal_loss, x, labels).backend == "compiled"


@pytest.mark.skipif(_cpp.library(False, True) is None, reason="focalkit was installed without a compiler")
def test_what_came_compiled_is_taken_at_every_size(monkeypatch):
    monkeypatch.setattr(_choice, "_cpp_compiler", lambda cxx: None)
    for n in (1, 2**22):
        choice = explain("focal", (n,), (n,), targets_dtype=torch.float32)
        assert str(choice) == "compiled: C++ written for this loss, which came compiled with focalkit"
    monkeypatch.setitem(_choice.machine.broken, "c++", "left out")
    assert [explain("focal", (n, 4), (n,)).backend for n in (1, 2**22)] == ["eager", "chunked"]


def test_short_calls_without_a_compiler_are_eager(monkeypatch):
    monkeypatch.setattr(_choice, "PIECES", 2**16)
    monkeypatch.setattr(_choice, "_cpp_compiler", lambda cxx: None)
    choice = ask(2**15)
    assert choice.backend == "eager"
    assert "below 65,536 elements pieces are no faster" in choice.reason
    assert ask(2**16).backend == "chunked"


def test_short_calls_that_wait_for_a_compiler_are_eager_and_add_up(monkeypatch):
    monkeypatch.setattr(_choice, "PIECES", 2**16)
    monkeypatch.setattr(_choice, "WORK", 2**17)
    x, t = torch.randn(2**15, requires_grad=True), torch.zeros(2**15)
    seen = []
    for _ in range(4):
        seen.append(explain(L.quality_focal_loss, x, t).backend)
        if seen[-1] == "eager":
            L.quality_focal_loss(x, t)
    assert seen == ["eager", "eager", "eager", "compiled"]


def test_short_rows_of_a_softmax_are_eager(monkeypatch):
    monkeypatch.setattr(_choice, "PIECES", 2**16)
    assert explain("poly1_ce", (2**12, 8), (2**12,)).backend == "eager"
    assert explain("poly1_ce", (2**13, 8), (2**13,)).backend == "chunked"


@pytest.mark.parametrize(
    ("function", "dtype", "arguments"),
    [
        (L.sigmoid_focal_loss, torch.float32, {"label_smoothing": 0.1}),
        (L.sigmoid_focal_loss, torch.float64, {}),
        (L.sigmoid_focal_loss, torch.float16, {}),
        (L.softmax_focal_loss, torch.float64, {}),
        (L.cross_entropy, torch.float16, {}),
    ],
)
def test_small_calls_that_nothing_was_written_for_are_eager_without_a_further_look(
    function, dtype, arguments, monkeypatch
):
    def never(*_):
        raise AssertionError("looked further")

    monkeypatch.setattr(_sigmoid, "obstacle", never)
    monkeypatch.setattr(_softmax, "obstacle", never)
    function(torch.zeros(6, 4, dtype=dtype), torch.arange(6) % 4, **arguments)
