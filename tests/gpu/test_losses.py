"""Every fused loss on a GPU, by every backend, is eager in float64 on the CPU."""

import pytest
import torch

import focalkit.losses as L
from focalkit.errors import BackendError
from focalkit.losses import LOSSES

pytestmark = pytest.mark.gpu

N, K = 700, 24
# the size of a unit in the last place, or of what float32 functions and a few products lose
UNITS = {torch.float32: 2e-5, torch.bfloat16: 2**-8, torch.float16: 2**-10}
FUSED = [line.name for line in LOSSES.values() if line.fused]
BY_HAND = ("bce", "ce", "focal", "softmax_focal")
LEVELS = (33, 16, 9, 4, 1)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def targets_of(name):
    """Class indices with and without background, dense targets between 0 and 1, hard ones, bools: what a loss takes."""
    kind = LOSSES[name].targets
    labels = torch.randint(K, (N,), generator=generator())
    dense = torch.rand(N, K, generator=generator(1)) * (torch.rand(N, K, generator=generator(2)) < 0.1)
    if kind == "binary":
        labels[labels > K // 2] = -1
    labels[::50] = -100
    hard = (dense > 0.5).float()
    hard[::40] = -100
    return {"binary": [labels, hard, dense > 0.5], "classes": [labels, labels.to(torch.uint8).clamp(max=K - 1)]}.get(
        kind, [dense]
    )


def near(got, exact, eager, unit):
    """Within a unit of float64, or as wrong as eager in the same dtype on the CPU."""
    got, eager, exact = got.detach().cpu().double(), eager.detach().double(), exact.detach()
    allowed = unit * exact.abs() + 2 * (eager - exact).abs().max() + 1e-9
    assert ((got - exact).abs() <= allowed).all(), float(((got - exact).abs() / allowed).max())


def check(loss, x, unit):
    """loss(logits, whether on the GPU) against eager in float64."""
    value = loss(x, True)
    runs = []
    for dtype in (torch.float64, x.dtype):
        leaf = x.detach().cpu().to(dtype).requires_grad_()
        runs.append((leaf, loss(leaf, False)))
    near(value, runs[0][1], runs[1][1], 1e-6)
    gradient, exact, eager = (torch.autograd.grad(v, leaf)[0] for leaf, v in ((x, value), *runs))
    assert gradient.dtype == x.dtype
    near(gradient, exact, eager, unit)


@pytest.mark.parametrize("dtype", UNITS, ids=str)
@pytest.mark.parametrize("backend", ["auto", "triton", "compiled"])
@pytest.mark.parametrize("name", FUSED)
def test_a_fused_loss_is_exact(device, name, backend, dtype):
    more = {"class_counts": torch.arange(1.0, K + 1)} if name in ("balanced_softmax", "logit_adjusted") else {}
    for targets in targets_of(name):
        for reduction in ("sum", "mean"):

            def loss(x, here, targets=targets, reduction=reduction):
                way = backend if here else "eager"
                given = {key: value.to(x.device) for key, value in more.items()}
                function = LOSSES[name].function
                return function(x, targets.to(x.device), reduction=reduction, backend=way, **given)

            x = (torch.randn(N, K, generator=generator(3)) * 3).to(device, dtype).requires_grad_()
            if backend == "triton" and name not in BY_HAND:
                with pytest.raises(BackendError, match="no handwritten kernel"):
                    loss(x, True)
            else:
                check(loss, x, UNITS[dtype])


@pytest.mark.parametrize("dtype", UNITS, ids=str)
@pytest.mark.parametrize("kind", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_levels_are_exact_in_both_layouts(device, layout, kind, dtype):
    maps = [(torch.randn(2, 3 * K, s, s, generator=generator(s)) * 2 - 3).to(dtype) for s in LEVELS]
    labels = [torch.randint(-1 if kind != torch.uint8 else 0, K, (2, 3, s, s), generator=generator(s)) for s in LEVELS]
    labels = [y.to(kind) for y in labels]

    def loss(given, where, backend):
        normalizer = torch.tensor(37.0, device=where)
        return L.dense_sigmoid_focal_loss(
            given, [y.to(where) for y in labels], num_classes=K, normalizer=normalizer, backend=backend
        )

    x = [t.to(device).contiguous(memory_format=layout).requires_grad_() for t in maps]
    exact = [t.double().requires_grad_() for t in maps]
    value, wanted = loss(x, device, "auto"), loss(exact, "cpu", "eager")
    torch.testing.assert_close(value.detach().cpu().double(), wanted.detach(), rtol=2e-6, atol=0)
    slopes = torch.autograd.grad(wanted, exact)
    for t, got, slope in zip(x, torch.autograd.grad(value, x), slopes, strict=True):
        assert got.stride() == t.stride()
        least = 2.0**-24 if dtype == torch.float16 else float(slope.abs().max()) * 1e-6
        torch.testing.assert_close(got.cpu().double(), slope, rtol=UNITS[dtype], atol=least)


@pytest.mark.parametrize("name", ["focal", "softmax_focal"])
@pytest.mark.parametrize("shape", [(3, K, 40, 50), (2, K, 3), (K,)])
def test_classes_may_stand_on_any_axis_of_any_layout(device, name, shape):
    x = torch.randn(shape, generator=generator()).to(device)
    x = x.to(memory_format=torch.channels_last) if x.ndim == 4 else x
    labels = torch.randint(K, shape[:1] + shape[2:] if len(shape) > 1 else (), generator=generator())

    def loss(x, here):
        return LOSSES[name].function(x, labels.to(x.device), reduction="sum", backend="auto" if here else "eager")

    check(loss, x.requires_grad_(), 2e-5)


@pytest.mark.parametrize("name", ["focal", "softmax_focal", "asl"])
def test_logits_that_are_not_finite_do_what_they_do_in_eager(device, name):
    x = torch.randn(500, K, generator=generator())
    x[3], x[7, 2], x[9, 1], x[11, 5] = torch.nan, torch.inf, -torch.inf, 3e38
    labels = torch.randint(K, (500,), generator=generator())
    labels[3] = -100
    given = x.to(device).requires_grad_()
    value = LOSSES[name].function(given, labels.to(device), reduction="sum")
    x.requires_grad_()
    wanted = LOSSES[name].function(x, labels, reduction="sum", backend="eager")
    torch.testing.assert_close(value.detach().cpu(), wanted.detach())
    got, slope = torch.autograd.grad(value, given)[0].cpu(), torch.autograd.grad(wanted, x)[0]
    torch.testing.assert_close(got, slope, rtol=2e-5, atol=1e-6)
    with torch.no_grad():
        given[20, 0] = torch.nan
        assert LOSSES[name].function(given, labels.to(device), reduction="sum").isnan()


@pytest.mark.parametrize("name", ["focal", "softmax_focal", "asl"])
def test_results_repeat_bit_for_bit(device, name):
    x = torch.randn(50_000, K, generator=generator()).to(device).requires_grad_()
    labels = torch.randint(K, (50_000,), generator=generator()).to(device)
    runs = []
    for _ in range(3):
        value = LOSSES[name].function(x, labels)
        runs.append((value.detach(), *torch.autograd.grad(value, x)))
    assert all(torch.equal(a, b) for run in runs[1:] for a, b in zip(run, runs[0], strict=True))
