"""Variants of the IoU losses: worked values, degenerate boxes, and what is held constant."""

import math

import pytest
import torch

from focalkit import losses as L

A, B = torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 1.0, 3.0, 5.0]])
# intersection 1, union 4 + 8 - 1 = 11; enclosing 3 x 5, diagonal^2 34; centres (1, 1) and (2, 3), 5 apart squared
IOU = 1 / 11
VARIANTS = [L.eiou_loss, L.focaler_iou_loss, L.inner_iou_loss, L.wiou_loss, L.nwd_loss, L.WIoUv3Loss().eval()]


def boxes(n: int) -> torch.Tensor:
    corner, side = torch.rand(n, 2, dtype=torch.float64) * 50, torch.rand(n, 2, dtype=torch.float64) * 40 + 1
    return torch.cat([corner, corner + side], 1)


def test_worked_values():
    eiou = 1 - IOU + 5 / 34 + 0 + (2 / 5) ** 2
    assert L.eiou_loss(A, B).item() == pytest.approx(eiou)
    assert L.eiou_loss(A, B, gamma=0.5).item() == pytest.approx(math.sqrt(IOU) * eiou)
    assert L.focaler_iou_loss(A, B, low=0.05, high=0.1, base="iou").item() == pytest.approx(1 - (IOU - 0.05) / 0.05)
    assert L.focaler_iou_loss(A, B, low=0.5, base="iou").item() == 1.0
    # halved about their centres: (.5, .5, 1.5, 1.5) and (1.5, 2, 2.5, 4) only touch
    assert L.inner_iou_loss(A, B, ratio=0.5, base="iou").item() == 1.0
    assert L.wiou_loss(A, B).item() == pytest.approx(math.exp(5 / 34) * (1 - IOU))
    assert L.nwd_loss(A, B, constant=2.0).item() == pytest.approx(1 - math.exp(-math.sqrt(5 + 1) / 2))


def test_equal_boxes_lose_nothing_and_teach_nothing():
    p = boxes(8).requires_grad_()
    for loss in VARIANTS:
        value = loss(p, p.detach())
        assert value.item() == pytest.approx(0, abs=1e-12 if loss is not L.focaler_iou_loss else 0.06)
    (gradient,) = torch.autograd.grad(L.nwd_loss(p, p.detach()), p)
    assert torch.equal(gradient, torch.zeros_like(p))


def test_boxes_without_area_have_finite_values_and_gradients():
    kinds = [[5.0, 5, 5, 5], [5.0, 5, 9, 5], [5.0, 5, 5, 9], [9.0, 9, 5, 5], [0.0, 0, 10, 10], [1e5, 0, -1e5, 3]]
    for loss in [*VARIANTS, L.EIoULoss(gamma=0.5)]:
        for a in kinds:
            for b in kinds:
                p = torch.tensor([a], requires_grad=True)
                value = loss(p, torch.tensor([b]))
                value.backward()
                assert torch.isfinite(value), (loss, a, b)
                assert torch.isfinite(p.grad).all(), (loss, a, b)


def test_nan_is_not_hidden():
    for loss in [*VARIANTS, L.giou_loss, L.diou_loss, L.ciou_loss]:
        assert loss(torch.full_like(A, math.nan), B).isnan(), loss


def test_the_focal_factor_never_pushes_a_box_away():
    """With the factor's own gradient, a box of small IoU would lose by coming nearer."""
    p = torch.tensor([[0.0, 0.0, 10.0, 10.0]], requires_grad=True)
    L.eiou_loss(p, torch.tensor([[8.0, 0.0, 18.0, 10.0]]), gamma=0.5).backward()
    assert p.grad[0, 2] < 0, "its right side moves towards the ground truth"


def test_wise_iou_holds_the_enclosing_box_constant():
    p, t = boxes(5).requires_grad_(), boxes(5)
    (gradient,) = torch.autograd.grad(L.wiou_loss(p, t, reduction="sum"), p)
    q = p.detach()
    low, high = torch.minimum(q[:, :2], t[:, :2]), torch.maximum(q[:, 2:], t[:, 2:])
    diagonal = (high - low).square().sum(1)

    def held(p):
        apart = ((p[:, :2] + p[:, 2:] - t[:, :2] - t[:, 2:]) / 2).square().sum(1)
        return (torch.exp(apart / diagonal) * L.inner_iou_loss(p, t, ratio=1.0, base="iou", reduction="none")).sum()

    assert torch.allclose(gradient, torch.autograd.grad(held(p), p)[0])


def test_wise_iou_v3_counts_middling_boxes_most():
    loss = L.WIoUv3Loss(reduction="none").eval()
    loss.mean.fill_(0.2)
    target = torch.tensor([[0.0, 0.0, 100.0, 100.0]]).expand(100, 4)
    moved = target + torch.arange(100.0)[:, None] * torch.tensor([1.0, 0.0, 1.0, 0.0])
    factor = loss(moved, target)[1:] / L.wiou_loss(moved, target, reduction="none")[1:]
    best = factor.argmax().item()
    assert 0 < best < 98
    beta = L.inner_iou_loss(moved, target, ratio=1.0, base="iou", reduction="none")[1 + best] / 0.2
    assert beta.item() == pytest.approx(1 / math.log(1.9), abs=0.05), "where beta / alpha^beta is largest"


def test_wise_iou_v3_learns_its_mean_from_boxes_that_count():
    loss = L.WIoUv3Loss(momentum=0.25)
    p = torch.cat([A, B, A]).requires_grad_()
    t = torch.cat([B, B, torch.full_like(A, float("nan"))])
    loss(p[:2], t[:2])  # the second is equal to its target: padding
    assert loss.mean.item() == pytest.approx(0.75 + 0.25 * (1 - IOU))
    before = loss.mean.clone()
    loss(p, t)
    with torch.no_grad():
        loss(p[:2], t[:2])
    loss.eval()(p[:2], t[:2])
    loss.train()(p[:2], t[:2], weight=torch.zeros(2))
    assert torch.equal(loss.mean, before), "neither NaN, evaluation nor weight 0 moves it"


@pytest.mark.parametrize(
    ("loss", "arguments", "message"),
    [
        (L.eiou_loss, {"gamma": -1.0}, "gamma"),
        (L.focaler_iou_loss, {"low": 0.9, "high": 0.5}, "low must be below high"),
        (L.focaler_iou_loss, {"base": "siou"}, "base must be one of"),
        (L.inner_iou_loss, {"ratio": 0.0}, "ratio"),
        (L.inner_iou_loss, {"base": "gioU"}, 'did you mean "giou"'),
        (L.nwd_loss, {"constant": 0.0}, "mean size of the objects"),
    ],
)
def test_what_cannot_be_meant_is_refused(loss, arguments, message):
    with pytest.raises(ValueError, match=message):
        loss(A, B, **arguments)


def test_wise_iou_v3_refuses_an_alpha_that_favours_the_worst():
    for arguments in ({"alpha": 1.0}, {"delta": 0.0}, {"momentum": 0.0}, {"momentum": 1.5}):
        with pytest.raises(ValueError, match=next(iter(arguments))):
            L.WIoUv3Loss(**arguments)
