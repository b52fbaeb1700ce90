"""Box losses: hand values, agreement with torchvision, and degenerate boxes."""

import pytest
import torch
import torch.nn.functional as F

from focalkit import losses as L


def boxes(n: int) -> torch.Tensor:
    corner, side = torch.rand(n, 2, dtype=torch.float64) * 50, torch.rand(n, 2, dtype=torch.float64) * 40 + 1
    return torch.cat([corner, corner + side], 1)


def test_hand_values():
    a, b = torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 1.0, 3.0, 3.0]])
    # intersection 1, union 7, enclosing 9; centres sqrt(2) apart, diagonal^2 18
    assert L.giou_loss(a, b).item() == pytest.approx(1 - 1 / 7 + 2 / 9)
    assert L.diou_loss(a, b).item() == pytest.approx(1 - 1 / 7 + 2 / 18)
    assert L.ciou_loss(a, b).item() == pytest.approx(1 - 1 / 7 + 2 / 18)
    assert L.smooth_l1_loss(torch.tensor([0.05, 2.0]), torch.zeros(2), reduction="none").tolist() == pytest.approx(
        [0.05**2 * 4.5, 2 - 1 / 18]
    )


def test_iou_losses_agree_with_torchvision():
    ops = pytest.importorskip("torchvision.ops", reason="needs torchvision")
    p, t = boxes(64).requires_grad_(), boxes(64)
    for name, ours, theirs in (
        ("giou", L.giou_loss, ops.generalized_box_iou_loss),
        ("diou", L.diou_loss, ops.distance_box_iou_loss),
        ("ciou", L.ciou_loss, ops.complete_box_iou_loss),
    ):
        a, b = ours(p, t, reduction="none"), theirs(p, t, reduction="none")
        assert torch.allclose(a, b, atol=1e-6), name  # torchvision adds 1e-7 to its denominators
        (ga,), (gb,) = torch.autograd.grad(a.sum(), p), torch.autograd.grad(b.sum(), p)
        assert torch.allclose(ga, gb, atol=1e-6), name


def test_smooth_l1_is_torchs_and_beta_zero_is_l1():
    a, b = torch.randn(50, 4), torch.randn(50, 4)
    assert torch.allclose(L.smooth_l1_loss(a, b), F.smooth_l1_loss(a, b, beta=1 / 9))
    assert torch.allclose(L.smooth_l1_loss(a, b, beta=0.0), F.l1_loss(a, b))
    assert torch.equal(L.l1_loss(a, b), L.smooth_l1_loss(a, b, beta=0.0))


def test_boxes_without_area_have_finite_values_and_gradients():
    kinds = [[5.0, 5, 5, 5], [5.0, 5, 9, 5], [5.0, 5, 5, 9], [9.0, 9, 5, 5], [0.0, 0, 10, 10]]
    for function in (L.giou_loss, L.diou_loss, L.ciou_loss):
        for a in kinds:
            for b in kinds:
                p = torch.tensor([a], requires_grad=True)
                loss = function(p, torch.tensor([b]))
                loss.backward()
                assert torch.isfinite(loss), (function.__name__, a, b)
                assert torch.isfinite(p.grad).all(), (function.__name__, a, b)


def test_equal_boxes_lose_nothing():
    p = boxes(8)
    for function in (L.giou_loss, L.diou_loss, L.ciou_loss):
        assert function(p, p).item() == pytest.approx(0, abs=1e-12)


def test_gradients_are_those_of_the_value():
    p, t = boxes(6).requires_grad_(), boxes(6)
    for function in (L.giou_loss, L.diou_loss, L.smooth_l1_loss):
        assert torch.autograd.gradcheck(lambda p, f=function: f(p, t), p)


def test_weight_zero_is_absence():
    p, t = boxes(6), boxes(6)
    weight = torch.tensor([1.0, 0, 1, 1, 0, 1], dtype=torch.float64)
    assert torch.allclose(L.giou_loss(p, t, weight=weight), L.giou_loss(p[weight > 0], t[weight > 0]))


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"pred \(3, 4\) and target \(4, 4\) must have the same shape"):
        L.giou_loss(torch.zeros(3, 4), torch.zeros(4, 4))
    with pytest.raises(ValueError, match=r"expected xyxy boxes \(..., 4\), got \(3, 5\)"):
        L.giou_loss(torch.zeros(3, 5), torch.zeros(3, 5))
