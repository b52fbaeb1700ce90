"""The pass that Inductor compiles. Compilations are dear, so there are few, shared by the tests of this module."""

import functools
import logging

import pytest
import torch

import focalkit.losses as L
from focalkit.errors import BackendError
from focalkit.kernels import build, dispatch, explain, fuse, inductor

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(build.compiler() is None, reason="needs a C++ compiler"),
    # torch's own, on machines with a toolkit and no GPU
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]


@pytest.fixture(autouse=True)
def nothing_by_hand(no_native):
    """Calls must reach Inductor."""


def levels(size, *, batch=2, layout=torch.contiguous_format, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits, labels = [], []
    for h, w in ((size, size + 3), (size // 2 + 1, size // 2), (1, 1)):
        x = torch.randn(batch, 9 * 8, h, w, generator=generator) * 3 - 2
        y = torch.full((batch, 9, h, w), -1)
        y.view(-1)[:: max(y.numel() // 5, 1)] = 3
        y.view(-1)[1 :: max(y.numel() // 3, 2)] = -100
        logits.append(x.to(memory_format=layout).requires_grad_())
        labels.append(y)
    return logits, labels


def outcome(backend, logits, labels, **arguments):
    value = L.dense_sigmoid_focal_loss(logits, labels, num_classes=8, normalizer=7.0, backend=backend, **arguments)
    return value, torch.autograd.grad(value, logits)


def test_native_levels_of_every_size_layout_and_batch_share_one_compilation():
    logits, labels = levels(20)
    outcome("compiled", logits, labels)
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    for size, batch in ((17, 1), (33, 3), (16, 2), (9, 1)):
        for layout in (torch.contiguous_format, torch.channels_last):
            for kind in (torch.int64, torch.int32, torch.int16, torch.int8):
                logits, labels = levels(size, batch=batch, layout=layout, seed=size)
                labels = [y.to(kind) for y in labels]
                value, gradients = outcome("compiled", logits, labels)
                truth, exact = outcome("eager", [x.detach().double().requires_grad_() for x in logits], labels)
                plain, _ = outcome("eager", logits, labels)
                assert abs(value - truth) <= abs(plain - truth) + 3e-7 * truth
                for g, e, x in zip(gradients, exact, logits, strict=True):
                    assert all(a == b for a, b, n in zip(g.stride(), x.stride(), x.shape, strict=True) if n > 1)
                    torch.testing.assert_close(g.double(), e, rtol=2e-6, atol=1e-7 * e.abs().max().item())
    outcome("compiled", logits, labels, alpha=0.4)  # a number that is an input, not code: compiles no more
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == before


def test_results_repeat_bit_for_bit():
    logits, labels = levels(40)
    first, second = outcome("compiled", logits, labels), outcome("compiled", logits, labels)
    assert torch.equal(first[0], second[0])
    assert all(torch.equal(a, b) for a, b in zip(first[1], second[1], strict=True))


def test_rows_of_a_softmax_are_as_exact_as_eager():
    for rows, seed in ((300, 0), (57, 1)):
        x = (torch.randn(rows, 37, generator=torch.Generator().manual_seed(seed)) * 5).requires_grad_()
        y = torch.arange(rows) % 37
        y[3] = -100
        value = L.softmax_focal_loss(x, y, backend="compiled")
        plain = L.softmax_focal_loss(x, y, backend="eager")
        double = x.detach().double().requires_grad_()
        truth = L.softmax_focal_loss(double, y, backend="eager")
        assert abs(value - truth) <= abs(plain - truth) + 3e-7 * truth
        (g,), (s,), (e,) = (torch.autograd.grad(v, t) for v, t in ((value, x), (plain, x), (truth, double)))
        assert (g - e).abs().max() <= (s - e).abs().max() + 4 * 1.2e-7 * e.abs().max()


def test_a_users_loss_is_compiled_with_its_derivative():
    @fuse
    def squared_hinge(logits, targets, margin=1.0):
        return (margin - (2 * targets - 1) * logits).clamp(min=0) ** 2

    x, t = torch.randn(50, 33).bfloat16().requires_grad_(), (torch.rand(50, 33) > 0.5).float()
    fused = squared_hinge(x, t, margin=0.5, backend="compiled")
    plain = squared_hinge(x, t, margin=0.5, backend="eager")
    torch.testing.assert_close(fused, plain)
    torch.testing.assert_close(torch.autograd.grad(fused, x), torch.autograd.grad(plain, x))


def broken(*_, **__):
    raise RuntimeError("the compiler is on holiday")


def test_a_failing_compiler_is_noted_once_and_done_without(monkeypatch, caplog):
    monkeypatch.setattr(torch, "compile", broken)
    monkeypatch.setattr(inductor, "_code", {})
    monkeypatch.setattr(dispatch, "LARGE", 1)
    x, t = torch.randn(50, 3, requires_grad=True), torch.zeros(50, 3)
    assert explain(L.binary_cross_entropy, x, t).backend == "compiled"
    with caplog.at_level(logging.WARNING):
        fused = [L.binary_cross_entropy(x, t) for _ in range(2)]
    assert sum("on holiday" in r.message for r in caplog.records) == 1
    assert explain(L.binary_cross_entropy, x, t).backend == "chunked"
    torch.testing.assert_close(fused[0], L.binary_cross_entropy(x, t, backend="eager"))
    assert explain(L.asymmetric_loss, x, t).backend == "compiled"  # which has not failed
    dispatch.failed.clear()
    with pytest.raises(BackendError, match="on holiday"):
        L.binary_cross_entropy(x, t, backend="compiled")


def test_losses_of_fuse_do_not_share_a_limit_of_recompilations(monkeypatch):
    monkeypatch.setattr(inductor, "_code", {})
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    x, t = torch.linspace(-2, 2, 24).view(8, 3), torch.ones(8, 3)
    maths = (lambda x, t: (t - x) ** 2, lambda x, t: (t - x).abs(), lambda x, t: t - x, lambda x, t: t * x.exp())
    with torch._dynamo.config.patch(recompile_limit=1):
        for function in maths:
            torch.testing.assert_close(fuse(function)(x, t, backend="compiled"), function(x, t).sum())
        before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        for function in maths:  # decorated anew, it is the same code
            fuse(function)(x, t, backend="compiled")
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == before
