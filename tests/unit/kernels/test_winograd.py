"""Large 3x3 convolutions: right to a millionth, their gradients too; left to PyTorch wherever that is wanted."""

import threading

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from focalkit.detection.models.fast_conv import FastConv2d
from focalkit.kernels import cpu, winograd
from focalkit.kernels.winograd import conv3x3

pytestmark = pytest.mark.skipif(cpu.library(torch.float32, True) is None, reason="focalkit was installed without C++")


def some(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def layer(c: int = 128, k: int = 144, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    return some(k, c, 3, 3, seed=seed) / (9 * c) ** 0.5, some(k, seed=seed + 1)


def taken(y: torch.Tensor) -> bool:
    return type(y.grad_fn).__name__ == "_ConvolutionBackward"


def error(found: torch.Tensor, exact: torch.Tensor) -> float:
    found, exact = found.detach().double(), exact.detach()
    return float((found - exact).square().mean().sqrt() / exact.square().mean().sqrt())


@pytest.mark.parametrize("shape", [(1, 128, 64, 64), (2, 128, 47, 50), (3, 128, 41, 33), (1, 128, 3, 1400)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_values_and_gradients_are_right_to_a_millionth(shape, layout):
    weight, bias = layer()
    x = some(*shape).contiguous(memory_format=layout)
    inputs = x, weight, bias = tuple(t.requires_grad_() for t in (x, weight, bias))
    exact_inputs = x64, weight64, bias64 = tuple(t.detach().double().requires_grad_() for t in inputs)
    y, direct = conv3x3(x, weight, bias), F.conv2d(x, weight, bias, padding=1)
    exact = F.conv2d(x64, weight64, bias64, padding=1)
    assert taken(y)
    assert y.shape == direct.shape
    assert y.is_contiguous(memory_format=torch.channels_last)
    outer = some(*y.shape, seed=5)
    found = [y, *torch.autograd.grad(y, inputs, outer)]
    usual = [direct, *torch.autograd.grad(direct, inputs, outer)]
    truth = [exact, *torch.autograd.grad(exact, exact_inputs, outer.double())]
    for ours, theirs, true in zip(found, usual, truth, strict=True):
        assert error(ours, true) < 2e-6
        assert error(theirs, true) < 2e-6


def test_what_lies_outside_of_the_image_is_zero():
    x, weight = torch.ones(1, 128, 67, 66), torch.ones(128, 128, 3, 3)
    y = conv3x3(x, weight.requires_grad_())
    assert taken(y)
    expected = 128 * F.conv2d(torch.ones(1, 1, 67, 66), torch.ones(1, 1, 3, 3), padding=1).expand(1, 128, -1, -1)
    assert torch.allclose(y, expected, rtol=1e-5)


def test_a_large_image_has_the_same_answer_in_any_batch_and_with_any_number_of_threads(monkeypatch):
    weight, bias = layer()
    x = some(5, 128, 64, 64)
    whole = conv3x3(x, weight, bias)
    assert torch.equal(conv3x3(x[3:4], weight, bias), whole[3:4])
    monkeypatch.setattr(winograd, "BAND", 2**20)
    assert torch.equal(conv3x3(x, weight, bias), whole)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert torch.equal(conv3x3(x, weight, bias), whole)
    finally:
        torch.set_num_threads(threads)


def test_only_gradients_that_are_wanted_are_computed(monkeypatch):
    weight, _ = layer()
    monkeypatch.setattr(winograd, "_by_weight", None)
    x = some(1, 128, 64, 64).requires_grad_()
    (found,) = torch.autograd.grad(conv3x3(x, weight).sum(), x)
    assert found.shape == x.shape


@pytest.mark.parametrize(
    ("x", "c", "k", "why"),
    [
        (some(1, 128, 20, 20), 128, 128, "few tiles"),
        (some(1, 64, 80, 80), 64, 128, "few inputs"),
        (some(1, 128, 80, 80), 128, 36, "few outputs"),
        (some(1, 136, 80, 80), 136, 128, "no multiple of what a vector holds"),
        (some(1, 128, 80, 80).double(), 128, 128, "float64"),
        (some(0, 128, 80, 80), 128, 128, "no image"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_convolutions_are_pytorchs_own(x, c, k, why):
    weight, bias = (t.to(x.dtype).requires_grad_() for t in layer(c, k))
    y = conv3x3(x, weight, bias)
    assert not taken(y)
    assert torch.equal(y, F.conv2d(x, weight, bias, padding=1))


def test_where_somebody_watches_the_operations_are_pytorchs():
    weight, bias = layer()
    x = some(1, 128, 64, 64)
    exact = F.conv2d(x, weight, bias, padding=1)
    with torch.autocast("cpu", torch.bfloat16):
        assert conv3x3(x, weight, bias).dtype == torch.bfloat16
    assert torch.equal(torch.func.vmap(lambda one: conv3x3(one[None], weight, bias)[0])(x), exact)
    with FlopCounterMode(display=False) as counted:
        assert torch.equal(conv3x3(x, weight, bias), exact)
    assert counted.get_total_flops() == 2 * 9 * 128 * 144 * 64 * 64


def test_what_does_not_fit_together_is_an_error_as_in_conv2d():
    weight, bias = layer()
    for x, w, b in [
        (some(1, 256, 64, 64), weight, bias),
        (some(1, 128, 64, 64), weight, some(128)),
        (some(1, 128, 64, 64), weight, bias.double()),
    ]:
        with pytest.raises(RuntimeError):
            conv3x3(x, w, b)
    conv = FastConv2d(128, 144, 3, padding=1)
    x = some(128, 64, 64)
    assert conv(x).shape == (144, 64, 64)


@pytest.mark.parametrize("default", [torch.float16, torch.float64])
def test_defaults_of_torch_do_not_matter(default, monkeypatch):
    weight, bias = layer()
    x, usual = some(1, 128, 64, 64), torch.get_default_dtype()
    expected = conv3x3(x, weight, bias)
    winograd._weights.cache_clear()
    monkeypatch.setattr(winograd, "_kept", threading.local())
    try:
        torch.set_default_dtype(default)
        with torch.device("meta"):
            assert conv3x3(x, weight, bias).device.type == "cpu"
        assert torch.equal(conv3x3(x, weight, bias), expected)
    finally:
        torch.set_default_dtype(usual)
        winograd._weights.cache_clear()


@pytest.mark.parametrize("how", [{"stride": 2}, {"dilation": 2}, {"padding": 0}, {"groups": 2}])
def test_a_layer_that_is_not_3x3_of_stride_1_is_pytorchs(how):
    torch.manual_seed(0)
    conv = FastConv2d(128, 128, 3, **{"padding": 1} | how)
    x = some(1, 128, 64, 64)
    assert not taken(conv(x))
    assert taken(FastConv2d(128, 128, 3, padding=1)(x))
