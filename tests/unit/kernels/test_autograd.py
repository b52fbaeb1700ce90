"""What autograd may ask of a loss whose gradient is computed with its value."""

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

import focalkit.losses as L
from focalkit.kernels import explain

pytestmark = pytest.mark.usefixtures("no_compiler")


@pytest.fixture
def x():
    return torch.randn(30, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()


LABELS = torch.arange(30) % 7 - 1


def fused(x, **arguments):
    return L.sigmoid_focal_loss(x, LABELS, **arguments)


def test_the_graph_can_be_gone_through_again_and_again(x):
    value = fused(x)
    passes = [torch.autograd.grad(value, x, retain_graph=True)[0] for _ in range(3)]
    last = torch.autograd.grad(value, x, torch.tensor(5.0, dtype=torch.float64))[0]
    plain = torch.autograd.grad(fused(x, backend="eager"), x)[0]
    for gradient in (*passes, last / 5):
        torch.testing.assert_close(gradient, plain)


def test_the_result_of_a_retained_pass_is_not_touched_by_the_next(x):
    value = fused(x)
    first = torch.autograd.grad(value, x, retain_graph=True)[0]
    kept = first.clone()
    torch.autograd.grad(value * 3, x)
    assert torch.equal(first, kept)


def test_it_can_be_differentiated_twice(x):
    assert torch.autograd.gradcheck(fused, (x,))
    assert torch.autograd.gradgradcheck(fused, (x,))


def test_gradients_of_part_of_the_levels_are_enough():
    levels = [torch.randn(1, 4, 3, 3, requires_grad=i == 1) for i in range(3)]
    labels = [torch.zeros(1, 2, 3, 3, dtype=torch.int32) for _ in levels]
    L.dense_sigmoid_focal_loss(levels, labels, num_classes=2).backward()
    assert [level.grad is not None for level in levels] == [False, True, False]


def test_kept_for_backward_are_one_gradient_and_a_reference():
    x = torch.randn(1000, 80, requires_grad=True)
    kept = []

    def pack(t):
        kept.append(t)
        return t

    with saved_tensors_hooks(pack, lambda t: t):
        value = L.sigmoid_focal_loss(x, torch.zeros(1000, 80))
    own = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in [*kept, *value.grad_fn.gradients]}
    own.pop(x.untyped_storage().data_ptr())
    assert sum(own.values()) <= 1.05 * x.untyped_storage().nbytes()


@pytest.mark.parametrize("name", ["focal", "softmax_focal"])
def test_the_peak_is_the_gradient_and_little_more(name):
    x = torch.randn(40_000, 80, requires_grad=True)  # 12.8 MB: much less would be less than the chunks of one thread
    labels = torch.full((len(x),), -1 if name == "focal" else 0, dtype=torch.int8)
    function = L.LOSSES[name].function
    assert explain(function, x, labels).backend == "chunked"
    function(x, labels).backward()  # traced once
    x.grad = None
    with torch.profiler.profile(profile_memory=True, record_shapes=False) as profile:
        function(x, labels).backward()
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    level = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        level += event.nbytes()
        peak = max(peak, level)
    assert 1.0 * x.nbytes <= peak <= 1.3 * x.nbytes


@pytest.mark.parametrize("changed", ["normalizer", "targets"])
def test_a_late_backward_pass_refuses_what_was_changed_in_between(x, changed):
    given = {"normalizer": torch.tensor(100.0), "targets": LABELS.clone()}
    half = x.detach().half().requires_grad_()
    value = L.sigmoid_focal_loss(half, given["targets"], reduction="sum", normalizer=given["normalizer"])
    given[changed].fill_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        value.backward()


# torch's own, where it first meets a dual number
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_forward_over_backward(x):
    ad = torch.autograd.forward_ad
    tangents = []
    for backend in ("auto", "eager"):
        value = L.sigmoid_focal_loss(x, torch.zeros(30, 6), backend=backend)
        with ad.dual_level():
            upstream = ad.make_dual(torch.ones((), dtype=x.dtype), torch.tensor(3.0, dtype=x.dtype))
            (gradient,) = torch.autograd.grad(value, x, upstream)
            tangents.append(ad.unpack_dual(gradient).tangent)
    torch.testing.assert_close(*tangents)


def test_the_first_backward_hands_its_memory_out(x):
    value = fused(x)
    stored = value.grad_fn.gradients[0].data_ptr()
    value.backward()
    assert x.grad.data_ptr() == stored


def test_inside_function_transforms_the_plain_formula_is_used(x):
    per_row = torch.func.vmap(lambda row: L.sigmoid_focal_loss(row, torch.zeros(6)))(x.detach())
    assert per_row.shape == (30,)
    slope = torch.func.grad(lambda v: fused(v))(x.detach())
    torch.testing.assert_close(slope, torch.autograd.grad(fused(x), x)[0])


def test_without_a_gradient_only_the_value_is_computed(x):
    with torch.no_grad():
        value = fused(x)
    assert not value.requires_grad
    torch.testing.assert_close(value, fused(x).detach())


def test_autocast_changes_nothing(x):
    low = x.detach().bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = fused(low)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, fused(low), rtol=0, atol=0)


def test_vectorised_jacobians_see_every_row(x):
    x, targets = x.detach().float().requires_grad_(), torch.rand(30, 6)
    value = L.sigmoid_focal_loss(x, targets)
    plain = torch.autograd.grad(L.sigmoid_focal_loss(x, targets, backend="eager"), x)[0]
    rows = torch.autograd.grad(value, x, torch.tensor([1.0, 0.0, -3.0]), is_grads_batched=True)[0]
    torch.testing.assert_close(rows, torch.stack([plain, plain * 0, plain * -3]))
    whole = torch.autograd.functional.jacobian(lambda v: L.sigmoid_focal_loss(v, targets), x, vectorize=True)
    torch.testing.assert_close(whole, plain)


@pytest.mark.parametrize("way", ["sigmoid", "softmax", "levels"])
def test_what_a_gradient_scaler_multiplies_has_not_vanished_in_float16(way):
    x = (torch.randn(1, 40, 30, 2, generator=torch.Generator().manual_seed(0)) - 8).half().requires_grad_()
    labels = torch.arange(60).view(1, 30, 2) % 40

    def loss(x):
        if way == "levels":
            return L.dense_sigmoid_focal_loss([x], [labels.view(1, 1, 30, 2)], num_classes=40, normalizer=100.0)
        focal = L.sigmoid_focal_loss if way == "sigmoid" else L.softmax_focal_loss
        return focal(x, labels, reduction="sum", normalizer=100.0)

    (loss(x) * 65536.0).backward()
    exact = x.detach().double().requires_grad_()
    (loss(exact) * 65536.0).backward()
    unscaled = (exact.grad / 65536).half()
    assert (unscaled == 0).sum() > 500 or way == "softmax"
    torch.testing.assert_close(x.grad, exact.grad.half(), rtol=1e-3, atol=1e-7)
