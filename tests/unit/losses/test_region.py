"""Region losses: hand values, absent classes, ignored pixels, what the batch switch sums."""

import math

import pytest
import torch

from focalkit import losses as L


def hard(mask: torch.Tensor) -> torch.Tensor:
    """Logits of a prediction that is certain."""
    return torch.where(mask > 0, 50.0, -50.0)


def test_dice_by_hand():
    pred, truth = torch.tensor([[[1.0, 1, 0, 0]]]), torch.tensor([[[1.0, 0, 0, 1]]])
    assert L.dice_loss(hard(pred), truth, smooth=0.0).item() == pytest.approx(1 - 2 / 4)
    assert L.dice_loss(hard(pred), truth).item() == pytest.approx(1 - 3 / 5)
    # one false positive at 0.3, one false negative at 0.7
    assert L.tversky_loss(hard(pred), truth, smooth=0.0).item() == pytest.approx(1 - 1 / 2)
    lopsided = L.tversky_loss(hard(torch.tensor([[[1.0, 0, 0, 0]]])), truth, smooth=0.0)
    assert lopsided.item() == pytest.approx(1 - 1 / 1.7)


def test_a_perfect_prediction_has_no_loss_and_a_finite_gradient():
    x = (hard(torch.tensor([[[1.0, 0, 1]]])) * 10).requires_grad_()
    for function in (L.dice_loss, L.tversky_loss, L.focal_tversky_loss):
        loss = function(x, torch.tensor([[[1.0, 0, 1]]]))
        (gradient,) = torch.autograd.grad(loss, x)
        assert loss.item() == pytest.approx(0, abs=1e-6)
        assert torch.isfinite(gradient).all()


def test_absent_classes_are_counted_or_skipped_as_said():
    truth = torch.tensor([[[1.0, 0], [0.0, 0]]])
    x = torch.zeros(1, 2, 2)
    each = L.dice_loss(x, truth, reduction="none")[0]
    assert L.dice_loss(x, truth).item() == pytest.approx(each.mean().item())
    assert L.dice_loss(x, truth, absent="skip").item() == pytest.approx(each[0].item())
    empty = L.dice_loss(x, torch.zeros(1, 2, 2), absent="skip")
    assert empty == 0


def test_nothing_at_all_without_smoothing_is_no_loss():
    x = torch.full((1, 1, 3), -200.0, dtype=torch.float64, requires_grad=True)
    loss = L.dice_loss(x, torch.zeros(1, 1, 3), smooth=0.0)
    (gradient,) = torch.autograd.grad(loss, x)
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()


def test_batch_sums_over_the_images_too():
    x, t = torch.randn(3, 2, 5), (torch.rand(3, 2, 5) > 0.5).float()
    together = L.dice_loss(x, t, batch=True, reduction="none")
    joined = L.dice_loss(x.movedim(0, 1).reshape(1, 2, 15), t.movedim(0, 1).reshape(1, 2, 15), reduction="none")
    assert torch.allclose(together, joined[0])


def test_ignored_pixels_are_in_no_sum():
    x, y = torch.randn(1, 3, 6), torch.randint(0, 3, (1, 6))
    cut = y.clone()
    cut[0, 4:] = -100
    for function in (L.dice_loss, L.tversky_loss, L.unified_focal_loss):
        assert torch.allclose(function(x, cut), function(x[:, :, :4], y[:, :4]))


def test_softmax_classes_exclude_each_other():
    x, y = torch.randn(2, 3, 4), torch.randint(0, 3, (2, 4))
    p = x.softmax(1)
    hot = torch.nn.functional.one_hot(y, 3).movedim(-1, 1).float()
    want = 1 - (2 * (p * hot).sum(2) + 1) / (p.sum(2) + hot.sum(2) + 1)
    assert torch.allclose(L.dice_loss(x, y, activation="softmax", reduction="none"), want, atol=1e-6)


def test_one_channel_of_unified_focal_is_two_classes():
    x, t = torch.randn(2, 1, 5), (torch.rand(2, 1, 5) > 0.5).float()
    two = torch.cat([torch.zeros_like(x), x], 1)
    assert torch.allclose(L.unified_focal_loss(x, t), L.unified_focal_loss(two, t.squeeze(1).long()))


REGIONS = ["dice", "dice(batch=True)", "tversky", "focal_tversky", "dice(activation='softmax')"]


@pytest.mark.parametrize("name", REGIONS)
def test_a_weight_of_pixels_is_that_many_pixels(name):
    x, t = torch.randn(2, 3, 4, dtype=torch.float64), torch.randint(-1, 3, (2, 4))
    times = torch.tensor([1, 3, 0, 2])
    loss = L.build(name, reduction="none")
    want = loss(x.repeat_interleave(times, 2), t.repeat_interleave(times, 1))
    torch.testing.assert_close(loss(x, t, weight=times.double().view(1, 1, 4)), want)
    # a pixel of weight 0 takes no part, whatever its logit is
    x[..., 2] = math.nan
    torch.testing.assert_close(loss(x, t, weight=times.double().view(1, 1, 4)), want)


@pytest.mark.parametrize("symmetric", [True, False])
def test_weights_of_pixels_in_the_unified_loss(symmetric):
    x, t = torch.randn(2, 3, 4, dtype=torch.float64), torch.randint(0, 3, (2, 4))
    loss = L.build("unified_focal", symmetric=symmetric, reduction="none")
    keep = torch.tensor([1.0, 1.0, 0.0, 1.0], dtype=torch.float64).view(1, 1, 4)
    torch.testing.assert_close(loss(x, t, weight=keep), loss(x, torch.where(keep.view(1, 4) > 0, t, -100)))
    region, focal = (L.build(f"unified_focal(lambda_={s})", symmetric=symmetric, reduction="none") for s in (1.0, 0.0))
    torch.testing.assert_close(focal(x, t, weight=3 * keep), 3 * focal(x, t, weight=keep))
    times = torch.tensor([1, 3, 0, 2])
    want = region(x.repeat_interleave(times, 2), t.repeat_interleave(times, 1))
    torch.testing.assert_close(region(x, t, weight=times.double().view(1, 1, 4)), want)
    with pytest.raises(ValueError, match="class axis of size 1 on axis 1"):
        loss(x, t, weight=torch.ones(2, 3, 4))


def test_a_weight_of_pixels_goes_through_a_sum_to_all_losses():
    x, t = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 4, 4))
    w = torch.rand(2, 1, 4, 4)
    parts = [L.build(name)(x, t, weight=w) for name in ("dice", "ce", "focal")]
    torch.testing.assert_close(L.Sum({"dice": 1.0, "ce": 1.0, "focal": 1.0})(x, t, weight=w), sum(parts))


def test_a_weight_of_images_and_classes_stays_one():
    x, t = torch.randn(2, 3, 4), torch.randint(-1, 3, (2, 4))
    w = torch.rand(2, 3)
    each = L.dice_loss(x, t, reduction="none")
    torch.testing.assert_close(L.dice_loss(x, t, weight=w, reduction="none"), each * w)
