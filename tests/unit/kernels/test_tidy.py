"""Graphs are rewritten for running operation by operation, and what they compute stays what it was."""

import mpmath
import pytest
import torch
import torch.nn.functional as F

from focalkit._numerics import finite, focal_term
from focalkit.kernels import _chunks, fuse
from focalkit.kernels._chunks import run_chunks
from focalkit.kernels._joint import Guarded, aten, trace
from focalkit.kernels._memory import Room
from focalkit.kernels._tidy import ORDINARY

DEAR = {"where", "clamp", "ne", "eq", "gt", "ge", "lt", "le", "log_sigmoid_forward", "log_sigmoid_backward"}


def focal(x, t, alpha, bounded=finite):
    x = bounded(x)
    return t * alpha * focal_term(x, 2.0) + (1 - t) * focal_term(-x, 2.0)


def cross_entropy(x, t, alpha, bounded=finite):
    x = bounded(x)
    return -t * alpha * F.logsigmoid(x) - (1 - t) * F.logsigmoid(-x)


def graph_of(maths, *tensors, ordinary=False, gradient=True):
    x, *others = tensors
    return trace(maths, x, others, gradient=gradient, compiler=False, ordinary=ordinary)


def computed(module, *tensors, scale=1.0):
    """(sum, gradient), as the chunks give it."""
    x, *others = tensors
    room = Room()
    with torch.no_grad():
        total, _, slope = run_chunks(
            lambda x, rest: room.run(module, x, *rest), x, x.new_tensor(scale), others, width=1
        )
    return total, slope


def by_autograd(maths, *tensors):
    x = tensors[0].clone().requires_grad_()
    loss = maths(x, *tensors[1:])
    (slope,) = torch.autograd.grad(loss.sum(), x)
    return loss.detach().double().sum(), slope


def names(module):
    """Of the operations, in place or not."""
    return {
        node.target._schema.name.split("::")[1].rstrip("_")
        for node in module.graph.nodes
        if hasattr(node.target, "_schema")
    }


def example(dtype=torch.float32):
    x = torch.linspace(-40, 40, 321, dtype=dtype)
    return x, torch.linspace(0, 1, 321, dtype=dtype), torch.tensor(0.3, dtype=dtype)


@pytest.mark.parametrize("maths", [focal, cross_entropy])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_short_form_gives_what_autograd_gives(maths, dtype):
    tensors = example(dtype)
    short = graph_of(lambda *a: maths(*a, bounded=lambda x: x), *tensors, ordinary=True)
    assert not names(short) & DEAR
    unit = torch.finfo(dtype).eps
    (total, slope), (value, gradient) = computed(short, *tensors), by_autograd(maths, *tensors)
    torch.testing.assert_close(total, value, rtol=4 * unit, atol=0)
    torch.testing.assert_close(slope, gradient, rtol=0, atol=6 * unit)


def test_only_far_clamps_of_the_logits_themselves_are_idle():
    x = torch.linspace(-3, 3, 7)
    assert "clamp" in names(graph_of(lambda x: x.clamp(-1, 1) ** 2, x, ordinary=True))
    assert "clamp" in names(graph_of(lambda x: finite(1e33 * x).detach() * x, x, ordinary=True))
    assert "clamp" in names(graph_of(lambda x: finite(-x).detach() * x, x))
    assert "clamp" not in names(graph_of(lambda x: finite(-x).detach() * x, x, ordinary=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log_sigmoid_and_its_derivative_are_exact_far_out_and_near_zero(dtype):
    tiny = [0.0, 1e-30, 1e-9, 1e-3, 0.3, 1.0, 5.0, 17.0, 36.5, 39.9, 40.1, 80.0, 700.0, 9e3]
    x = torch.tensor([s * v for v in tiny for s in (1, -1)], dtype=dtype)
    short = graph_of(lambda x: F.logsigmoid(x) * x.detach().sign().abs(), x, ordinary=True)
    assert "softplus" in names(short)
    small = torch.finfo(dtype).tiny * 2**30  # nothing smaller matters beside the others
    with mpmath.workdps(60):
        for value in x:
            exact = -mpmath.log1p(mpmath.exp(-mpmath.mpf(value.item())))
            slope = 1 / (1 + mpmath.exp(mpmath.mpf(value.item())))
            total, gradient = computed(short, value.repeat(64))  # whole vectors
            if value:
                assert abs(total.item() / 64 - exact) <= 3 * torch.finfo(dtype).eps * abs(exact) + small
                assert abs(gradient[0].item() - slope) <= 3 * torch.finfo(dtype).eps * slope + small


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 3e4])
def test_numbers_out_of_the_ordinary_are_noticed(dtype, value):
    guard = Guarded(focal, focal, absent=-100.0)
    x, t = torch.linspace(-9e3, 9e3, 9).to(dtype), torch.linspace(0, 1, 9).to(dtype)
    assert ORDINARY > 9e3
    assert guard.ordinary(x, [t])
    for absent in (-100, torch.nan):
        other = t.clone()
        other[3] = absent
        assert not guard.ordinary(x, [other])
    x[4] = value
    assert not guard.ordinary(x, [t])
    assert Guarded(focal, focal, low=-torch.inf).ordinary(x, []) == (value == -torch.inf)


@pytest.mark.parametrize(("index", "dtype"), [(-1001, torch.bfloat16), (-(2**25) - 1, torch.float32), (-100, None)])
def test_the_absent_target_is_rounded_as_the_comparison_rounds_it(index, dtype):
    t = torch.tensor([0, index]).to(dtype) if dtype else torch.tensor([3, index], dtype=torch.int8)
    assert not bool((t.float() if dtype is None else t).ne(index).all())
    assert not Guarded(focal, focal, absent=float(index)).ordinary(torch.zeros(2), [t])


def test_repeated_operations_run_once_and_random_ones_each_time():
    x = torch.linspace(-3, 3, 64)
    module = graph_of(lambda x: x.exp() * x.exp() + torch.rand_like(x) - torch.rand_like(x), x)
    targets = [node.target for node in module.graph.nodes]
    assert targets.count(aten.exp.out) == 1
    assert sum("rand" in str(t) for t in targets) == 2
    assert computed(module, x)[0] != x.double().exp().square().sum()


def test_numbers_that_compare_equal_are_told_apart():
    def maths(x):
        return (
            x * (1 / (x.detach() * 0.0).abs().add(1e-9) - 1 / (x.detach() * -0.0).abs().add(1e-9)) + x / 0.0 - x / -0.0
        )

    x = torch.linspace(1, 3, 9)
    assert computed(graph_of(maths, x), x)[0] == by_autograd(maths, x)[0] == torch.inf


def test_maths_that_writes_keeps_its_operations():
    def maths(x, t):
        y = x * 2
        first = y * t
        y.mul_(t + 1)
        return first + y * t + y.clone().mul_(t)

    tensors = torch.linspace(-3, 3, 9), torch.linspace(0, 1, 9)
    for ours, theirs in zip(computed(graph_of(maths, *tensors), *tensors), by_autograd(maths, *tensors), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_what_is_read_before_a_write_stays_before_it():
    def maths(x, t):
        y = x * t
        before = -y
        y.mul_(3.0)
        return before * t + y.exp()

    tensors = torch.linspace(-3, 3, 9), torch.linspace(0, 1, 9)
    for ours, theirs in zip(computed(graph_of(maths, *tensors), *tensors), by_autograd(maths, *tensors), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("maths", [lambda x, s: -(s * x.exp()), lambda x, s: -x.exp(), lambda x, s: x.exp() * -s])
def test_signs_leave_the_graph(maths):
    x, s = torch.linspace(-3, 3, 9), torch.tensor(0.7)
    module = graph_of(maths, x, s)
    assert not [n for n in module.graph.nodes if n.target is aten.neg.out]
    for ours, theirs in zip(computed(module, x, s), by_autograd(maths, x, s), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_nothing_that_is_still_needed_is_written_over():
    def maths(x, t, s):
        a = x * t
        b = -a
        view = b.view(-1)
        c = b * s + a.sigmoid()
        d = torch.addcmul(c, a, b) - t
        return d * s + view * c + d.neg() * (x - t) ** 2.0 + (t * s) * (s * d)

    tensors = torch.linspace(-3, 3, 9), torch.linspace(0, 1, 9), torch.tensor(0.7)
    kept = [t.clone() for t in tensors]
    module = graph_of(maths, *tensors)
    assert 0 < len(module.meta["slots"]) < sum("out" in node.kwargs for node in module.graph.nodes)
    for ours, theirs in zip(computed(module, *tensors), by_autograd(maths, *tensors), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert all(torch.equal(a, b) for a, b in zip(tensors, kept, strict=True))


@pytest.mark.usefixtures("no_compiler")
@pytest.mark.parametrize(("number", "normalizer"), [(1e20, 1e-20), (1e-20, 1e20), (0.0, 1.0), (0.25, 8.0)])
def test_factors_are_multiplied_together_only_where_their_product_is_a_number(number, normalizer):
    near = 1e-20 if number > 1 else 1e20 if number else 1.0
    loss = fuse(lambda x, t, s: (x - t) ** 2 * near * s)
    x = torch.linspace(1, 2, 64, requires_grad=True)
    t, s = torch.full((64,), 0.5), torch.tensor(number)
    (fused,) = torch.autograd.grad(loss(x, t, s=s, normalizer=normalizer), x)
    exact = 2 * (x.detach().double() - 0.5) * near * number / normalizer
    torch.testing.assert_close(fused.double(), exact, rtol=1e-6, atol=0)


def test_a_chunk_is_a_whole_number_of_the_grains_of_aten():
    assert _chunks.GRAIN % 32_768 == 0
