"""`fuse` computes what the function says now, not what it said at the first call."""

import math
import pickle
import sys
import types

import pytest
import torch

from focalkit.kernels import build, dispatch, fuse

GAMMA = 2.0
BACKENDS = [
    "eager",
    "auto",
    pytest.param(
        "compiled",
        marks=[
            pytest.mark.skipif(build.compiler() is None, reason="needs a C++ compiler"),
            # torch's own, on machines with a toolkit and no GPU
            pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
        ],
    ),
]


def focal(x, t, gamma):
    p = torch.sigmoid(x)
    p_t = p * t + (1 - p) * (1 - t)
    return -((1 - p_t) ** gamma) * torch.log(p_t)


class Holder(torch.nn.Module):
    gamma = 2.0

    def forward(self, logits, targets):
        return focal(logits, targets, self.gamma)


def by_global(logits, targets):
    return focal(logits, targets, GAMMA)


def holders():
    """By kind: the loss, and what sets its gamma."""
    captured = 2.0

    def by_closure(logits, targets):
        return focal(logits, targets, captured)

    def set_captured(value):
        nonlocal captured
        captured = value

    def set_global(value):
        global GAMMA
        GAMMA = value

    holder = Holder()
    return {
        "closure": (fuse(by_closure), set_captured),
        "global": (fuse(by_global), set_global),
        "attribute": (fuse(holder), lambda value: setattr(holder, "gamma", value)),
    }


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["closure", "global", "attribute"])
def test_numbers_that_the_function_reads_are_those_of_the_call(kind, backend, monkeypatch):
    if backend == "auto":
        monkeypatch.setattr(
            dispatch, "machine", lambda: dispatch.Machine(frozenset(), {"cpu": "left out"})
        )  # in chunks
    loss, set_gamma = holders()[kind]
    x, t = torch.ones(2**18, requires_grad=True), torch.ones(2**18)
    try:
        for gamma, exact, slope in ((2.0, 5939.6747, -0.0525811), (0.0, 82119.671812777, -0.268941421)):
            set_gamma(gamma)
            value = loss(x, t, backend=backend)
            assert value.item() == pytest.approx(exact, rel=1e-6)
            (gradient,) = torch.autograd.grad(value, x)
            assert gradient[:: 2**17].tolist() == pytest.approx([slope] * 2, rel=1e-5)
    finally:
        set_gamma(2.0)


@pytest.mark.usefixtures("no_compiler")
def test_a_captured_tensor_that_comes_to_require_a_gradient_gets_it():
    holder = types.SimpleNamespace(gamma=torch.tensor(2.0))
    loss = fuse(lambda x, t: focal(x, t, holder.gamma))
    x, t = torch.ones(2**18, requires_grad=True), torch.ones(2**18)
    loss(x, t).backward()
    holder.gamma = torch.nn.Parameter(torch.tensor(2.0))
    loss(x, t).backward()
    assert holder.gamma.grad is not None
    assert holder.gamma.grad.item() == pytest.approx(5939.6747 * math.log(0.268941421), rel=1e-5)


@fuse
def hinge(logits, targets, margin=1.0):
    return (margin - (2 * targets - 1) * logits).clamp(min=0) ** 2


@pytest.mark.usefixtures("no_compiler")
@pytest.mark.parametrize("given", ["dense", "labels", "labels last"])
def test_weights_ignored_elements_and_class_indices_mean_what_they_mean_everywhere(given):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 3, 5, generator=generator, dtype=torch.float64).requires_grad_()
    labels = torch.randint(-1, 3, (6, 5), generator=generator)
    labels[2, 1] = -100
    weight = torch.rand(6, 1, 5, generator=generator)
    weight[0, 0, 3] = 0.0
    hot = torch.nn.functional.one_hot(labels.clamp(min=-1) + 1, 4)[..., 1:].movedim(-1, 1).double()
    valid = (weight != 0) & (labels != -100).unsqueeze(1)
    losses = torch.where(valid, weight * (1 - (2 * hot - 1) * x).clamp(min=0) ** 2, 0.0)
    targets, dim, axes = labels, 1, x
    if given == "dense":
        targets = torch.where((labels == -100).unsqueeze(1), -100.0, hot)
    elif given == "labels last":
        axes, weight, dim = x.movedim(1, -1), weight.movedim(1, -1), -1
        losses = losses.movedim(1, -1)
    call = {"weight": weight, "ignore_index": -100, "class_dim": dim}
    torch.testing.assert_close(hinge(axes, targets, reduction="none", **call), losses)
    for reduction, exact in (("sum", losses.sum()), ("mean", losses.sum() / (3 * valid.sum()))):
        value = hinge(axes, targets, reduction=reduction, **call)
        assert "Fused" in value.grad_fn.name()
        torch.testing.assert_close(value, exact)
        torch.testing.assert_close(torch.autograd.grad(value, x), torch.autograd.grad(exact, x, retain_graph=True))


@pytest.mark.usefixtures("no_compiler")
@pytest.mark.parametrize("weight", [torch.tensor(3.0), torch.tensor([[1.0], [0.0], [3.0], [0.5]]), torch.ones(4, 3)])
@pytest.mark.parametrize("target", [torch.tensor(1.0), torch.tensor([1.0]), torch.tensor([1.0, 0.0, 1.0])])
def test_targets_and_weights_broadcast_whatever_their_axes(target, weight):
    x = torch.linspace(-2, 2, 12).view(4, 3).requires_grad_()
    losses = weight * (1 - (2 * target - 1) * x).clamp(min=0) ** 2
    for reduction, exact in (("sum", losses.sum()), ("mean", losses.sum() / ((weight != 0).expand_as(x).sum()))):
        value = hinge(x, target, weight=weight, reduction=reduction)
        assert "Fused" in value.grad_fn.name()
        torch.testing.assert_close(value, exact)
        torch.testing.assert_close(torch.autograd.grad(value, x), torch.autograd.grad(exact, x, retain_graph=True))


def test_a_class_index_out_of_range_and_a_weight_that_enlarges_are_refused():
    x = torch.zeros(4, 3)
    with pytest.raises(ValueError, match=r"0\.\.2, -1 for background"):
        hinge(x, torch.tensor([0, 1, 2, 3]))
    with pytest.raises(ValueError, match="weight of shape"):
        hinge(x, torch.zeros(4, 3), weight=torch.ones(4))


def test_a_fused_loss_can_be_pickled():
    module = types.ModuleType("somewhere")
    module.__dict__.update(hinge=hinge.maths, fuse=fuse)
    exec("@fuse\ndef twice(logits, targets):\n    return 2 * (logits - targets)", module.__dict__)
    sys.modules["somewhere"] = module
    try:
        again = pickle.loads(pickle.dumps(module.twice))
    finally:
        del sys.modules["somewhere"]
    assert again is module.twice
    wrapped = pickle.loads(pickle.dumps(fuse(focal)))
    x, t = torch.ones(3), torch.ones(3)
    assert wrapped(x, t, gamma=2.0) == fuse(focal)(x, t, gamma=2.0)
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(fuse(lambda logits, targets: logits - targets))
