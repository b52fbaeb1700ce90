"""`fuse` computes what the function says now, not what it said at the first call."""

import math
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
