"""Losses of set predictors: what is held constant in the gradient, worked values, and the losses they become."""

import pytest
import torch
from torch import Tensor

from focalkit import losses as L
from reference import classification as C


def gradient(loss, x: float, t: float, **arguments) -> float:
    logit = torch.tensor([x], dtype=torch.float64, requires_grad=True)
    loss(logit, torch.tensor([t], dtype=torch.float64), reduction="sum", **arguments).backward()
    return logit.grad.item()


def test_the_weight_of_a_negative_is_held_constant_or_not():
    # p = 1/2, gamma 2: p^2 * p = .125 where p^2 is held; with it another 2 p^2 (1 - p) log 2
    held, live = 0.125, 0.125 + 2 * 0.25 * 0.5 * torch.log(torch.tensor(2.0)).item()
    assert live == pytest.approx(0.2983, abs=5e-5)
    assert gradient(L.matchability_aware_loss, 0.0, 0.0, gamma=2.0) == pytest.approx(held)
    assert gradient(L.matchability_aware_loss, 0.0, 0.0, gamma=2.0, detach_modulator=False) == pytest.approx(live)
    assert gradient(L.iou_aware_bce_loss, 0.0, 0.0) == pytest.approx(live)
    assert gradient(L.varifocal_loss, 0.0, 0.0, alpha=1.0) == pytest.approx(live)
    assert gradient(L.varifocal_loss, 0.0, 0.0, alpha=1.0, detach_modulator=True) == pytest.approx(held)


def test_a_compiled_loss_holds_the_weight_too():
    x = torch.zeros(64, 8, requires_grad=True)
    L.matchability_aware_loss(x, torch.zeros(64, 8), gamma=2.0, reduction="sum", backend="compiled").backward()
    assert torch.allclose(x.grad, torch.full_like(x, 0.125))


def test_the_target_of_a_match_is_held_constant():
    # t = p^(1/4) q^(3/4): BCE with a constant target has gradient p - t
    p, q = 1 / (1 + torch.exp(torch.tensor(-1.0))).item(), 0.6
    assert gradient(L.iou_aware_bce_loss, 1.0, q) == pytest.approx(p - p**0.25 * q**0.75)
    assert gradient(L.iou_aware_bce_loss, -40.0, q) == pytest.approx(-0.01), "the floor"


def test_a_poor_match_keeps_its_gradient_in_mal_and_loses_it_in_varifocal():
    poor = 0.05
    assert gradient(L.varifocal_loss, 0.0, poor) == pytest.approx(poor * (0.5 - poor))
    assert gradient(L.matchability_aware_loss, 0.0, poor) == pytest.approx(0.5 - poor**1.5)


@pytest.mark.parametrize("gamma", [1.5, 2.0])
def test_toods_task_aligned_loss_is_quality_focal_on_aligned_targets(gamma):
    x, t = torch.tensor([-2.0, -0.5, 0.3, 4.0]), torch.tensor([0.0, 0.7, 1.0, 0.2])
    want = [float(C.task_aligned(a, b, gamma)) for a, b in zip(x.tolist(), t.tolist(), strict=True)]
    assert L.quality_focal_loss(x, t, beta=gamma, reduction="none").tolist() == pytest.approx(want)


def test_matches_are_counted_by_the_normalizer():
    x, t = torch.randn(2, 5, 3), torch.zeros(2, 5, 3)
    t[0, 1, 2], t[1, 3, 0] = 0.8, 0.4
    for loss in (L.matchability_aware_loss, L.iou_aware_bce_loss, L.position_supervised_focal_loss):
        total: Tensor = loss(x, t, class_dim=-1, reduction="sum")
        assert torch.allclose(loss(x, t, class_dim=-1, reduction="sum", normalizer=2), total / 2)


@pytest.mark.parametrize(
    ("loss", "arguments", "message"),
    [
        (L.matchability_aware_loss, {"alpha": -1.0}, "alpha"),
        (L.iou_aware_bce_loss, {"alpha": 1.5}, "share of the score"),
        (L.iou_aware_bce_loss, {"floor": 2.0}, "floor"),
        (L.position_supervised_focal_loss, {"alpha": 2.0}, "alpha"),
    ],
)
def test_what_cannot_be_meant_is_refused(loss, arguments, message):
    with pytest.raises(ValueError, match=message):
        loss(torch.zeros(2, 3), torch.zeros(2, 3), **arguments)
