"""What a call of a fused loss does, and what it leaves, on each of its ways."""

import weakref

import pytest
import torch

import focalkit.losses as L
from focalkit.kernels import chunked, cpu, inductor
from focalkit.kernels.operands import Focal

BY_HAND = pytest.mark.skipif(
    cpu.library(torch.float32, True) is None, reason="focalkit was installed without a compiler"
)
LABELS = torch.arange(40) % 7 - 1


def levels(x, labels, **arguments):
    maps, places = x.view(2, 20, 6, 1).transpose(1, 2), labels.view(2, 1, 20)
    return L.dense_sigmoid_focal_loss(
        [maps.reshape(2, 6, 20, 1)], [places.reshape(2, 1, 20, 1)], num_classes=6, **arguments
    )


CALLS = {
    "labels": (L.sigmoid_focal_loss, LABELS),
    "levels": (levels, LABELS),
    "dense": (L.sigmoid_focal_loss, torch.linspace(0, 1, 240).view(40, 6)),
    "softmax": (L.softmax_focal_loss, LABELS.clamp(min=0)),
}


@pytest.fixture(params=["compiled", pytest.param("auto", id="chunked")])
def way(request):
    """C++ written by hand, or what is left without it."""
    if request.param == "auto":
        request.getfixturevalue("no_compiler")
    elif cpu.library(torch.float32, True) is None:
        pytest.skip("focalkit was installed without a compiler")
    return request.param


@BY_HAND
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_where_the_code_is_written_by_hand_nothing_is_traced(monkeypatch, call, reduction):
    def never(*_, **__):
        raise AssertionError("traced")

    monkeypatch.setattr(chunked, "run", never)
    monkeypatch.setattr(inductor, "run", never)
    function, targets = CALLS[call]
    x = torch.randn(40, 6, requires_grad=True)
    arguments = {} if call == "levels" else {"reduction": reduction}
    function(x, targets, backend="compiled", **arguments).backward()
    assert x.grad is not None


@pytest.mark.parametrize("bad", [-3, 6, 300])
@pytest.mark.parametrize("call", ["labels", "levels", "softmax"])
@pytest.mark.parametrize("kind", [torch.int16, torch.int64])
def test_a_label_out_of_range_is_refused_on_every_way(way, call, bad, kind):
    function, labels = CALLS[call]
    labels = labels.to(kind)
    labels[[3, 17]], labels[20] = -100, bad  # those that are ignored hide nothing
    for x in (torch.randn(40, 6), torch.randn(40, 6, requires_grad=True)):
        for backend in (way, "eager"):
            with pytest.raises(ValueError, match=rf"0\.\.5 for 6 classes.*got {bad}"):
                function(x, labels, backend=backend)
    labels[20] = -100
    assert function(x, labels, backend=way).isfinite()


@pytest.mark.parametrize("bad", [-0.5, 1.5, torch.nan])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_a_dense_target_out_of_range_is_refused_on_every_way(way, bad, kind):
    targets = torch.zeros(400, 6, dtype=kind)
    targets[3], targets[390, 2] = -100, bad
    for backend in (way, "eager"):
        with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
            L.sigmoid_focal_loss(torch.randn(400, 6, requires_grad=True), targets, backend=backend)
    targets[390, 2] = 1
    assert L.sigmoid_focal_loss(torch.randn(400, 6), targets, backend=way).isfinite()


@pytest.mark.parametrize("call", CALLS)
def test_the_usual_backward_pass_writes_nothing(way, call):
    function, targets = CALLS[call]
    x = torch.randn(40, 6, requires_grad=True)
    value = function(x, targets, backend=way)
    fused = value.grad_fn
    assert fused is not None
    (gradient,) = fused.gradients
    before = gradient._version
    value.backward()
    assert gradient._version == before


@BY_HAND
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 8.5])
def test_every_exponent_is_exact(gamma):
    assert Focal(gamma=gamma, gamma_neg=gamma).squared == (gamma == 2)
    x = torch.linspace(-9, 9, 240).view(40, 6)
    value = L.sigmoid_focal_loss(x, LABELS, gamma=gamma, backend="compiled")
    exact = L.sigmoid_focal_loss(x.double(), LABELS, gamma=gamma, backend="eager")
    torch.testing.assert_close(value.double(), exact, rtol=1e-6, atol=0)


@pytest.mark.parametrize("call", CALLS)
def test_the_value_does_not_keep_the_logits_once_the_gradient_is_out(way, call):
    function, targets = CALLS[call]
    leaf = torch.randn(40, 6, requires_grad=True)
    x = leaf * 1
    gone = weakref.ref(x)
    value = function(x, targets, backend=way)
    value.backward()
    del x
    assert gone() is None
    assert value.isfinite()
