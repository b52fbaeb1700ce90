"""Softmax losses on the CPU: PyTorch's kernel in pieces, and maths on one number a row."""

import pytest
import torch

import focalkit.losses as L
from focalkit.kernels import _choice, _chunks, _cpp, _rows, explain

INF, NAN = torch.inf, torch.nan
CORNERS = {
    "the label underflows": ([-400.0, 3.0, 0.0, 1.0], 0),
    "the label is impossible": ([-INF, 3.0, 0.0, 1.0], 0),
    "another class is impossible": ([0.5, -INF, 0.0, 1.0], 0),
    "every other class is impossible": ([0.5, -INF, -INF, -INF], 0),
    "every other class underflows": ([900.0, 0.0, -3.0, 1.0], 0),
    "no class is possible": ([-INF, -INF, -INF, -INF], 1),
    "the label is certain": ([0.0, INF, 0.0, 1.0], 1),
    "another class is certain": ([0.0, INF, 0.0, 1.0], 0),
    "the ends of the range": ([3e38, -3e38, 0.0, 1.0], 1),
    "NaN": ([0.0, NAN, 0.0, 1.0], 0),
    "an ignored NaN": ([0.0, NAN, 0.0, 1.0], -100),
    "an ignored infinity": ([INF, -INF, 0.0, 1.0], -100),
}


@pytest.fixture(autouse=True)
def nothing_by_hand(monkeypatch):
    monkeypatch.setattr(_cpp, "library", lambda *_: None)


def both(name, logits, labels, **arguments):
    outcomes = []
    for backend in ("auto", "eager"):
        x = logits.detach().clone().requires_grad_()
        value = L.LOSSES[name].function(x, labels, backend=backend, **arguments)
        outcomes.append((value, *torch.autograd.grad(value, x)))
    return outcomes


@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("name", ["ce", "softmax_focal", "poly1_ce"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("short", [0, 64])
def test_a_row_out_of_range_is_as_eager_between_rows_in_range(monkeypatch, corner, name, dtype, last, short):
    monkeypatch.setattr(_rows, "SHORT", short)
    row, label = CORNERS[corner]
    usual = torch.linspace(-2, 2, 20).view(5, 4)
    logits = torch.cat([usual, torch.tensor([row]), usual.flip(1)]).to(dtype)
    labels = torch.tensor([0, 1, 2, 3, 0, label, 1, 2, 3, 0, 1])
    if not last:
        logits, labels = logits.T[None].contiguous(), labels[None]
    fused, plain = both(name, logits, labels, reduction="sum")
    bound = 1e-12 if dtype == torch.float64 else 1e-6
    for a, b in zip(fused, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=bound, atol=bound, equal_nan=True)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_the_gradient_of_sure_rows_keeps_its_digits(gamma):
    logits = torch.tensor([[0.0, 1.0, -2.0]]).repeat(6, 1)
    logits[:, 0] = torch.tensor([5.0, 10.0, 15.0, 20.0, 25.0, 30.0])
    labels = torch.zeros(6, dtype=torch.long)
    (_, fused), _ = both("softmax_focal", logits, labels, gamma=gamma, reduction="sum")
    _, (_, exact) = both("softmax_focal", logits.double(), labels, gamma=gamma, reduction="sum")
    torch.testing.assert_close(fused.double(), exact, rtol=1e-5, atol=0)


@pytest.mark.parametrize("grains", [1, 40, 1000])
@pytest.mark.parametrize("inner", [(), (5,), (3, 7)])
@pytest.mark.parametrize(
    "arguments",
    [
        {"class_weight": torch.linspace(0, 1, 6)},
        {"weight": True},
        {"alpha": torch.linspace(0.1, 0.9, 6), "gamma": torch.linspace(0, 3, 6)},
        {"normalizer": torch.tensor(3.0)},
    ],
    ids=lambda a: ",".join(a),
)
def test_what_goes_with_a_row_goes_with_it_in_every_piece(monkeypatch, grains, inner, arguments):
    monkeypatch.setattr(_chunks, "GRAIN", 1)
    monkeypatch.setattr(_rows, "GRAINS", grains)
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(9, 6, *inner, generator=generator, dtype=torch.float64) * 3
    labels = torch.randint(0, 6, (9, *inner), generator=generator).to(torch.uint8)
    labels[4] = 255
    if "weight" in arguments:
        arguments = {"weight": torch.rand(9, *inner, generator=generator) - 0.2}
    fused, plain = both("softmax_focal", logits, labels, ignore_index=255, **arguments)
    torch.testing.assert_close(fused, plain, rtol=1e-12, atol=1e-15)


def test_a_value_alone_is_the_value_with_a_gradient():
    x, y = torch.randn(50, 7), torch.arange(50) % 7
    assert torch.equal(L.cross_entropy(x, y), L.cross_entropy(x.requires_grad_(), y).detach())


def test_without_a_kernel_written_by_hand_no_size_is_worth_a_compilation(monkeypatch):
    def never(*_, **__):
        raise AssertionError("compiled")

    monkeypatch.setattr(torch, "compile", never)
    monkeypatch.setattr(_choice, "LARGE", 1)
    x, y = torch.randn(50, 7, requires_grad=True), torch.arange(50) % 7
    choice = explain(L.cross_entropy, x, y)
    assert choice.backend == "chunked"
    assert "rows of a softmax on the CPU" in choice.reason
    L.cross_entropy(x, y).backward()
    assert x.grad is not None


def test_an_ignored_label_of_a_narrow_type_is_told_from_a_class():
    x, y = torch.randn(300, 200), (torch.arange(300) % 200).to(torch.uint8)
    fused, plain = both("ce", x, y)  # -100 is 156 in uint8: a class here
    torch.testing.assert_close(fused, plain)
