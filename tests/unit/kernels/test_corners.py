"""Sizes, threads, memory, maths and arguments that nobody expects."""

import threading

import pytest
import torch

import focalkit.losses as L
from focalkit.kernels import build, explain, fuse, inductor


@pytest.mark.usefixtures("no_compiler")
def test_an_empty_level_among_others_has_an_empty_gradient():
    levels = [torch.randn(1, 6, h, 4, requires_grad=True) for h in (5, 0, 2)]
    labels = [torch.full((1, 2, *x.shape[2:]), -1) for x in levels]
    value = L.dense_sigmoid_focal_loss(levels, labels, num_classes=3)
    plain = L.dense_sigmoid_focal_loss(levels, labels, num_classes=3, backend="eager")
    torch.testing.assert_close(value, plain)
    for ours, theirs in zip(torch.autograd.grad(value, levels), torch.autograd.grad(plain, levels), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.usefixtures("no_compiler")
def test_nan_in_a_softmax_of_one_class_stays_nan():
    x = torch.zeros(4, 1).index_fill(0, torch.tensor([2]), float("nan")).requires_grad_()
    assert L.softmax_focal_loss(x, torch.zeros(4, dtype=torch.int64)).isnan()


def four_times_together(call):
    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.usefixtures("no_compiler")
def test_threads_may_call_a_loss_for_the_first_time_together():
    found = []

    def call():
        x = torch.linspace(-2, 2, 60).view(20, 3).requires_grad_()
        value = L.quality_focal_loss(x, torch.full((20, 3), 0.5))
        found.append(torch.autograd.grad(value, x)[0])

    four_times_together(call)
    assert len(found) == 4
    assert all(torch.equal(found[0], g) for g in found)


@pytest.mark.slow
@pytest.mark.skipif(build.compiler() is None, reason="needs a C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_sizes_that_happened_to_be_equal_at_first_do_not_compile_again_when_they_differ(monkeypatch, no_native):
    monkeypatch.setattr(inductor, "_code", {})
    counters = torch._dynamo.utils.counters["stats"]
    before = counters["unique_graphs"]
    for shape in ((16, 16), (40, 7), (3, 4, 5), (2, 3, 5, 7), (1, 9), (9, 1)):
        x = torch.zeros(shape, requires_grad=True)
        L.binary_cross_entropy(x, torch.full(shape, 0.5), backend="compiled").backward()
    assert counters["unique_graphs"] == before + 1


@pytest.mark.usefixtures("no_compiler")
@pytest.mark.parametrize(
    ("dtype", "arguments"),
    [(torch.float32, {}), (torch.bfloat16, {}), (torch.bfloat16, {"weight": torch.ones(9000, 1)})],
)
def test_soft_targets_and_the_count_of_a_mean_take_no_memory_to_speak_of(dtype, arguments):
    x, t = torch.zeros(9000, 800, dtype=dtype, requires_grad=True), torch.full((9000, 800), 0.5)  # 29 or 14 MB
    L.binary_cross_entropy(x, t, **arguments).backward()
    x.grad = None
    with torch.profiler.profile(profile_memory=True) as profile:
        L.binary_cross_entropy(x, t, **arguments).backward()
    level = peak = 0
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    for event in sorted(events, key=lambda e: e.start_ns()):
        level += event.nbytes()
        peak = max(peak, level)
    assert peak <= 1.3 * x.nbytes


@pytest.mark.usefixtures("no_compiler")
def test_maths_that_cannot_be_taken_apart_is_computed_as_it_is():
    x, t = torch.randn(60, 5, requires_grad=True), torch.rand(60, 5)
    memory = torch.rand(5, requires_grad=True)
    for maths in (
        lambda x, t: -t * x.log_softmax(1),
        lambda x, t: x * memory - t,
        lambda x, t: x if x.sum() > 0 else x - t,
    ):
        torch.testing.assert_close(fuse(maths)(x, t), maths(x, t).sum(), rtol=0, atol=0)


def test_fuse_says_what_is_wrong_with_what_it_is_given():
    @fuse
    def line(logits, targets, slope=1.0):
        return slope * logits - targets

    x = torch.zeros(4)
    for arguments, message in (
        ((x.long(), x), "floating"),
        (([0.0], x), "logits must be a tensor"),
        ((x, 1.0), "targets"),
    ):
        with pytest.raises(TypeError, match=message):
            line(*arguments)
    with pytest.raises(ValueError, match="backend must be"):
        line(x, x, backend="quick")
    with pytest.raises(TypeError, match="numbers or tensors"):
        line(x, x, slope=[1.0])
    with pytest.raises(TypeError, match="takes a function"):
        fuse(3)
    with pytest.raises(ValueError, match="rename it"):
        fuse(lambda logits, targets, reduction: logits)


def test_explain_takes_shapes_of_levels_weights_and_eager():
    levels, labels = [(2, 18, 8, 8), (2, 18, 4, 4)], [(2, 9, 8, 8), (2, 9, 4, 4)]
    assert explain(L.dense_sigmoid_focal_loss, levels, labels, num_classes=2).backend in ("chunked", "compiled")
    assert explain("softmax_focal", (200, 8), (200,), weight=torch.ones(200)).backend in ("chunked", "compiled")
    assert explain("focal", (200, 8), (200,), backend="eager").reason == "asked for"


@pytest.mark.parametrize("loss", ["softmax_focal", "ce", "focal", "bce"])
def test_explain_does_not_look_at_the_targets(loss):
    labels, rows = torch.full((200,), 8), torch.full((200, 8), 1.5)
    for targets in (labels, rows):
        with pytest.raises(ValueError, match="must"):
            L.LOSSES[loss].function(torch.zeros(200, 8), targets)
        assert explain(loss, torch.zeros(200, 8), targets) == explain(loss, torch.zeros(200, 8), targets * 0)
