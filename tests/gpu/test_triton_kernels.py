"""The kernels written in Triton: on a CUDA device, or on the CPU under Triton's interpreter (scripts/triton)."""

import os

import pytest
import torch

import focalkit.losses as L

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
pytest.importorskip("triton")
if not INTERPRETED and not torch.cuda.is_available():
    pytest.skip("needs a CUDA device, or TRITON_INTERPRET=1", allow_module_level=True)
from focalkit.kernels import cuda, triton_kernels  # noqa: E402
from focalkit.kernels.call import SigmoidCall  # noqa: E402
from focalkit.kernels.operands import Focal  # noqa: E402

DEVICE = "cpu" if INTERPRETED else "cuda"
GAMMAS = [(2.0, 2.0), (0.0, 0.0), (0.5, 0.5), (1.5, 3.0)]
# the interpreter cuts to bfloat16 where a GPU rounds: a whole unit instead of half of one
UNITS = {torch.float32: 16.0, torch.float16: 0.51, torch.bfloat16: 1.02 if INTERPRETED else 0.51}


def numbers(*shape, dtype=torch.float32, seed=0):
    return (torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 5).to(DEVICE, dtype)


def by_labels(x, labels, **numbers):
    """(sum, gradient) of one level."""
    focal = Focal(0.25, 0.75, **numbers)
    total, slopes = cuda.sigmoid_labels([x], [labels], focal, 1.0, ignore_index=-100, gradient=True)
    return total, slopes[0]


def close(out, loss, logits, targets, *, between=0.0, **arguments):
    """Against eager in float64: the value to float32's digits, the gradient to a few units of its own dtype."""
    exact = logits.detach().double().requires_grad_()
    value = loss(exact, targets, backend="eager", reduction="sum", **arguments)
    (slope,) = torch.autograd.grad(value, exact)
    assert abs(out[0] - value) <= 4e-7 * abs(value) + 1e-12
    info, units = torch.finfo(logits.dtype), UNITS[logits.dtype]
    if logits.dtype == torch.float32:
        # (1 - p)^gamma is exp(gamma log(1 - p)), whose error grows with the exponent, gamma |x|
        units = units + max(arguments.get("gamma", 0), arguments.get("gamma_neg", 0)) * exact.detach().abs()
    # between 0 and 1 the two sides cancel: there eager, too, is exact to units of 1 and not of the difference
    unit = info.eps * (slope.abs() if between == 0 else slope.abs().clamp(min=between)) + info.tiny
    assert ((out[-1].double() - slope).abs() <= units * unit).all()


@pytest.mark.parametrize("dtype", UNITS, ids=str)
@pytest.mark.parametrize(("gamma", "gamma_neg"), GAMMAS)
# in planes of a width that a vector divides and one that it does not, of one class, in strips of long and short rows
@pytest.mark.parametrize("shape", [(2, 10, 264), (1, 11, 301), (3, 1, 2048), (2, 5, 7), (150, 11, 1)])
def test_sigmoid_focal_with_labels(shape, gamma, gamma_neg, dtype):
    x = numbers(*shape, dtype=dtype)
    labels = torch.randint(-1, shape[1], (shape[0], 1, shape[2]), dtype=torch.int8).to(DEVICE)
    labels.view(-1)[2] = -100
    out = by_labels(x, labels, gamma=gamma, gamma_neg=gamma_neg)
    close(out, L.sigmoid_focal_loss, x, labels.squeeze(1), gamma=gamma, gamma_neg=gamma_neg)


@pytest.mark.parametrize("shape", [(2, 10, 264), (150, 11, 1)])
def test_unsigned_labels_have_no_ignored_ones(shape):
    x = numbers(*shape)
    labels = torch.randint(0, shape[1], (shape[0], 1, shape[2]), dtype=torch.uint8).to(DEVICE)
    close(by_labels(x, labels), L.sigmoid_focal_loss, x, labels.squeeze(1))


def test_an_ignored_target_is_rounded_as_the_targets_are():
    x, targets = numbers(4, 4), torch.zeros(4, 4, dtype=torch.bfloat16, device=DEVICE)
    targets[1] = -999.0  # -1000 in bfloat16
    focal = Focal(0.25, 0.75)
    call = SigmoidCall(
        targets=(targets,),
        positive=None,
        negative=None,
        mixed=max,
        dense=True,
        dims=(1,),
        focal=focal,
        ignore_index=-999,
    )
    total, count, _, _ = cuda.run(call, (x,), (True,), 1.0)
    assert count == 12
    plain = L.sigmoid_focal_loss(x.double(), targets, ignore_index=-999, reduction="sum", backend="eager")
    torch.testing.assert_close(total, plain, rtol=1e-6, atol=0)


@pytest.mark.parametrize("side", [48, 3])
def test_levels_of_one_launch_are_the_levels_alone(side):
    x = [numbers(2, 5, max(side >> i, 1) ** 2, seed=i) for i in range(5)]
    labels = [torch.randint(-1, 5, (2, 1, t.shape[2]), dtype=torch.int16).to(DEVICE) for t in x]
    scale = torch.tensor(1 / 3, device=DEVICE, dtype=torch.float64)
    total, slopes = cuda.sigmoid_labels(x, labels, Focal(0.25, 0.75), scale, ignore_index=-100, gradient=True)
    alone = [by_labels(*level) for level in zip(x, labels, strict=True)]
    torch.testing.assert_close(total, sum(value for value, _ in alone), rtol=1e-7, atol=0)
    for slope, (_, undivided) in zip(slopes, alone, strict=True):
        torch.testing.assert_close(slope, undivided / 3, rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", ["hard", "soft", "bool"])
def test_sigmoid_focal_with_dense_targets(kind):
    x, t = numbers(80, 33), numbers(80, 33, seed=1)
    targets = t > 4 if kind == "bool" else (t > 4).float() if kind == "hard" else torch.sigmoid(t)
    if kind != "bool":
        targets[3] = -100
    out = cuda.sigmoid_dense(x, targets, Focal(0.25, 0.75), 1.0, ignore_index=-100, gradient=True, count=True)
    close(out, L.sigmoid_focal_loss, x, targets, between=1.0 if kind == "soft" else 0.0)
    assert out[1] == (x.numel() if kind == "bool" else x.numel() - 33)


@pytest.mark.parametrize("dtype", UNITS, ids=str)
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 3.0])
@pytest.mark.parametrize("shape", [(90, 20, 1), (2, 7, 30), (2, 20, 70), (5, 1203, 1)])
def test_softmax_focal(shape, gamma, dtype):
    x = numbers(*shape, dtype=dtype)
    labels = torch.randint(0, shape[1], (shape[0], 1, shape[2])).to(DEVICE)
    labels.view(-1)[2] = -100
    total, slopes = cuda.softmax(x, labels, Focal(gamma=gamma, gamma_neg=gamma), 1.0, ignore_index=-100, gradient=True)
    exact = x.detach().double().requires_grad_()
    value = L.softmax_focal_loss(exact, labels.squeeze(1), gamma=gamma, reduction="sum", backend="eager")
    (slope,) = torch.autograd.grad(value, exact)
    assert abs(total - value) <= 4e-7 * value
    assert (slopes.double() - slope).abs().max() <= 2 * UNITS[dtype] * torch.finfo(dtype).eps * slope.abs().max()


def test_ignored_infinite_and_missing_logits_leave_the_rest_alone():
    x = numbers(8, 4, 1)
    x[0], x[1, 2], x[2, 0], x[3, 1] = torch.nan, -torch.inf, torch.inf, 3e38
    labels = torch.tensor([-100, 1, 2, 1, -1, 0, 3, 2], device=DEVICE).view(8, 1, 1)
    total, slopes = by_labels(x, labels)
    leaf = x.clone().requires_grad_()
    value = L.sigmoid_focal_loss(leaf, labels.view(8, 1), reduction="sum", backend="eager")
    torch.testing.assert_close(slopes, torch.autograd.grad(value, leaf)[0], rtol=2e-6, atol=1e-9)
    torch.testing.assert_close(total.float(), value.detach())


def test_a_logit_that_is_nan_makes_the_value_nan_and_no_other_gradient():
    x = numbers(8, 4, 1)
    labels = torch.zeros(8, 1, 1, dtype=torch.int64, device=DEVICE)
    wanted = by_labels(x, labels)[1]
    x[1, 2] = torch.nan
    wanted[1, 2] = 0
    total, slopes = by_labels(x, labels)
    assert total.isnan()
    assert torch.equal(slopes, wanted)
    assert cuda.softmax(x, labels, Focal(), 1.0, ignore_index=-100, gradient=False)[0].isnan()


def test_results_repeat_bit_for_bit():
    x, labels = numbers(3000, 3, 1), torch.zeros(3000, 1, 1, dtype=torch.int32, device=DEVICE)
    for run in (by_labels, lambda *of: cuda.softmax(*of, Focal(), 1.0, ignore_index=-100, gradient=True)):
        (first, slopes), (second, again) = run(x, labels), run(x, labels)
        assert torch.equal(first, second)
        assert torch.equal(slopes, again)


@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_scaling_by_one_touches_nothing(factor):
    values = [numbers(5, 7, 3, 2).to(memory_format=torch.channels_last), numbers(4096), numbers(3)]
    wanted = [v * factor for v in values]
    cuda.scale_unless_one(values, torch.tensor(factor, device=DEVICE))
    assert all(map(torch.equal, values, wanted))


def test_log1p_is_exact_to_two_units():
    import triton
    import triton.language as tl

    @triton.jit
    def kernel(e, out, SIZE: tl.constexpr):
        at = tl.arange(0, SIZE)
        tl.store(out + at, triton_kernels.log1p_unit(tl.load(e + at)))

    e = torch.cat([torch.linspace(0, 1, 2048), torch.logspace(-38, 0, 2048)]).to(DEVICE)
    out = torch.empty_like(e)
    kernel[1,](e, out, SIZE=4096)
    exact = torch.log1p(e.double())
    assert ((out.double() - exact).abs() <= 2 * torch.finfo(torch.float32).eps * exact).all()
