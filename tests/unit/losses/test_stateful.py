"""Losses with a state: what they learn from a batch, by hand; what they save; what leaves them alone."""

import math

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F

from focalkit import losses as L
from focalkit.losses import _scheduled, _statistics
from reference import classification as truth


def train(loss, x, t):
    return loss(x.clone().requires_grad_(), t)


def test_ghm_weights_a_bin_by_how_full_it_is():
    # |p - t|: three easy negatives in the first of two bins, one hard one in the second
    x, t = torch.tensor([-2.0, -2.0, -2.0, 2.0]), torch.zeros(4)
    each = F.binary_cross_entropy_with_logits(x, t, reduction="none")
    want = each * torch.tensor([4 / 3 / 2] * 3 + [4 / 1 / 2])
    assert torch.allclose(L.GHMC(bins=2, reduction="none")(x, t), want)
    assert torch.allclose(L.GHMC(bins=4, valid_bins=False, reduction="none")(x, t), want / 2)
    assert torch.allclose(L.GHMC(bins=4, reduction="none")(x, t), want)


def test_ghm_momentum_has_no_start_up_bias():
    x, t = torch.randn(64), (torch.rand(64) > 0.5).float()
    plain, smooth = L.GHMC(), L.GHMC(momentum=0.75)
    for _ in range(3):  # the same batch again and again: the running mean must be that batch from the first step on
        assert torch.allclose(train(smooth, x, t), train(plain, x, t))


def test_ghm_running_mean_is_the_weighted_mean_of_the_histograms():
    loss = L.GHMC(bins=2, momentum=0.5)
    train(loss, torch.tensor([-2.0, -2.0]), torch.zeros(2))
    train(loss, torch.tensor([-2.0, 2.0]), torch.zeros(2))
    # S = 0.5 (0.5 (2, 0)) + 0.5 (1, 1) = (1, 0.5); weights 1.5 / (S 2)
    assert loss.density.mean.tolist() == [1.0, 0.5]
    each = F.binary_cross_entropy_with_logits(torch.tensor([-2.0, 2.0]), torch.zeros(2), reduction="none")
    loss.reduction = "none"
    assert torch.allclose(loss.eval()(torch.tensor([-2.0, 2.0]), torch.zeros(2)), each * torch.tensor([0.75, 1.5]))


def test_eqlv2_collects_weighted_gradients_and_turns_the_weights():
    loss = L.EQLv2(2, reduction="none")
    x = torch.tensor([[1.0, -1.0], [0.5, 2.0]], dtype=torch.float64)
    t = torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    train(loss, x, t)
    p = torch.sigmoid(x)
    assert torch.allclose(loss.pos_grad.double(), ((1 - p) * t).sum(0), rtol=1e-5)  # at ratio 100 all weights are 1
    assert torch.allclose(loss.neg_grad.double(), (p * (1 - t)).sum(0), rtol=1e-5)
    f = torch.sigmoid(12 * (loss.pos_grad / loss.neg_grad - 0.8)).double()
    each = F.binary_cross_entropy_with_logits(x, t, reduction="none")
    want = each * torch.where(t == 1, 1 + 4 * (1 - f), f)
    assert torch.allclose(loss.eval()(x, t), want, rtol=1e-5)


def test_equalized_focal_follows_its_gradient_ratio():
    loss = L.EqualizedFocalLoss(2, reduction="none")
    x = torch.tensor([[1.0, -1.0], [0.5, 2.0]], dtype=torch.float64)
    t = torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    leaf = x.clone().requires_grad_()
    first = loss(leaf, t)
    (gradient,) = torch.autograd.grad(first.sum(), leaf)
    assert torch.allclose(loss.pos_grad.double(), (gradient.abs() * t).sum(0), rtol=1e-5)
    assert torch.allclose(loss.neg_grad.double(), (gradient.abs() * (1 - t)).sum(0), rtol=1e-5)
    ratio = (loss.pos_grad / loss.neg_grad).clamp(0, 1).tolist()
    second = loss.eval()(x, t)
    for i in range(2):
        for c in range(2):
            want = truth.equalized_focal(x[i, c].item(), t[i, c].item(), ratio[c], 0.25, 2.0, 8.0)
            assert second[i, c].item() == pytest.approx(float(want), rel=1e-5)


def test_seesaw_counts_labels_and_shields_the_rarer():
    loss = L.SeesawLoss(3, reduction="none")
    x = torch.tensor([[2.0, 1.0, -1.0], [0.0, 1.0, 0.5], [1.0, 0.0, 0.0], [0.3, 0.1, 0.0]], dtype=torch.float64)
    y = torch.tensor([0, 0, 1, -100])
    got = train(loss, x, y)
    assert loss.cum_samples.tolist() == [2, 1, 0]
    for i in range(3):
        want = truth.seesaw(x[i].tolist(), y[i].item(), [2, 1, 0], 0.8, 2.0, 1e-2)
        assert got[i].item() == pytest.approx(float(want), rel=1e-10)


def test_adafocal_raises_gamma_where_the_model_is_overconfident():
    loss = L.AdaFocalLoss(bins=2)
    logits = torch.tensor([[0.2, 0.0], [0.2, 0.0], [4.0, 0.0], [4.0, 0.0]])
    loss.update(logits, torch.tensor([0, 0, 1, 0]))  # bin 0: right and unsure; bin 1: half wrong and sure
    p = torch.softmax(logits, 1)[:, 0]
    assert torch.allclose(loss.gammas, torch.exp(torch.stack([p[0] - 1, p[2] - 0.5])), rtol=1e-5)
    assert loss.edges.tolist() == pytest.approx([p[2].item()])


def test_adafocal_switches_to_the_inverse_loss_below_the_threshold():
    loss = L.AdaFocalLoss(bins=1, rate=10.0, reduction="none")
    x, y = torch.zeros(4, 2), torch.zeros(4, dtype=torch.long)
    loss.update(x, y)  # confidence 0.5, accuracy 1: gamma e^-5 < 0.2
    assert loss.gammas.tolist() == pytest.approx([-0.2])
    assert loss(x, y)[0].item() == pytest.approx(1.5**0.2 * 0.693147, rel=1e-5)
    loss.update(x, y)  # negative gamma moves the other way: still more negative, up to the bound
    assert loss.gammas.tolist() == pytest.approx([-2.0])


@pytest.mark.parametrize("epoch", [0, 1, 2, 5, 8])
def test_cyclical_focal_follows_its_schedule(epoch):
    loss = L.CyclicalFocalLoss(9)
    loss.set_epoch(epoch)
    x = torch.randn(3, dtype=torch.float64)
    want = truth.cyclical(x.tolist(), 1, epoch, 9, 3.0, 2.0, 2.0, 4.0, 0.1)
    assert loss(x.unsqueeze(0), torch.tensor([1])).item() == pytest.approx(float(want), rel=1e-6)


def test_processes_add_up_their_statistics(tmp_path, monkeypatch):
    # one process that is told there are two: the sum is taken, and doubled by the stand-in for the other process
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        monkeypatch.setattr(dist, "get_world_size", lambda: 2)
        monkeypatch.setattr(dist, "all_reduce", lambda x: x.mul_(2))
        loss = L.SeesawLoss(2)
        train(loss, torch.zeros(3, 2), torch.tensor([0, 1, 1]))
        assert loss.cum_samples.tolist() == [2, 4]
        ghm = L.GHMC(bins=1)
        train(ghm, torch.zeros(3), torch.zeros(3))
        assert ghm.density.mean.tolist() == [6]
    finally:
        dist.destroy_process_group()


def test_a_loss_for_other_classes_is_refused():
    for loss in (L.EQLv2(3), L.EqualizedFocalLoss(3), L.SeesawLoss(3)):
        with pytest.raises(ValueError, match=r"made for 3 classes, got logits \(2, 4\) with 4 on axis 1"):
            loss(torch.zeros(2, 4), torch.zeros(2, dtype=torch.long))


def test_evaluation_waits_for_no_other_process(monkeypatch):
    # one process may evaluate while the others do something else
    def refuse(x):
        raise AssertionError("summed over processes in evaluation")

    monkeypatch.setattr(_statistics, "all_sum", refuse)
    x, y = torch.zeros(3, 2), torch.tensor([0, 1, 1])
    for loss in (L.GHMC(), L.EQLv2(2), L.EqualizedFocalLoss(2), L.SeesawLoss(2)):
        loss.eval()(x, y)
    L.GHMR().eval()(x, x)


def test_adafocal_without_validation_rows_stays_as_it_is():
    loss = L.AdaFocalLoss(bins=3)
    before = loss.edges.clone(), loss.gammas.clone()
    loss.update(torch.zeros(2, 4), torch.tensor([-100, -100]))
    assert torch.equal(loss.edges, before[0])
    assert torch.equal(loss.gammas, before[1])


def test_adafocal_has_the_same_bins_in_every_process(monkeypatch):
    # the stand-in for the other process: three times the rows, whose only edge is at 0.9; no calibration gap
    def with_other(x):
        return x + (torch.tensor([0.9 * 6, 6.0]) if x.ndim == 1 else torch.zeros(2, 2))

    monkeypatch.setattr(_scheduled, "all_sum", with_other)
    loss = L.AdaFocalLoss(bins=2)
    loss.update(torch.tensor([[0.0, 0.0], [4.0, 0.0]]), torch.tensor([0, 0]))
    own = torch.sigmoid(torch.tensor(4.0)).item()
    assert loss.edges.tolist() == pytest.approx([(2 * own + 6 * 0.9) / 8])


def stream():
    torch.manual_seed(0)
    return [
        (torch.randn(64, 2) * 2, torch.where(torch.rand(64) < 0.9, torch.where(torch.rand(64) < 0.9, 0, 1), -1))
        for _ in range(20)
    ]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize(("loss", "last"), [("eqlv2", 0.9580506682), ("efl", 0.6883770823), ("seesaw", None)])
def test_a_batch_that_the_gradient_scaler_skips_moves_no_statistic(loss, last, bad):
    def run(with_bad):
        module, value = L.build(loss, num_classes=2), None
        for i, (x, y) in enumerate(stream()):
            if with_bad and i == 5:
                train(
                    module, torch.tensor([[bad, 0.0], [0.0, 0.0], [1.0, bad], [0.0, 0.0]]), torch.tensor([0, 1, -1, 0])
                )
            value = train(module, x, y).item()
        return value

    if loss == "seesaw":  # -1 is no class of a softmax
        x, y = torch.full((2, 2), bad), torch.tensor([0, 1])
        module = L.SeesawLoss(2)
        train(module, x, y)
        assert module.cum_samples.tolist() == [0, 0]
        return
    assert run(True) == run(False) == pytest.approx(last, abs=1e-6)


@pytest.mark.parametrize("loss", [L.GHMC(momentum=0.5), L.GHMR(momentum=0.5)])
def test_a_batch_with_nan_leaves_the_histogram(loss):
    x, t = torch.tensor([-2.0, 1.0, 0.3]), torch.tensor([0.0, 1.0, 0.0])
    train(loss, x, t)
    before = loss.density.mean.clone()
    train(loss, torch.tensor([math.nan, 1.0, 0.3]), t)
    assert torch.equal(loss.density.mean, before)


@pytest.mark.parametrize("name", ["eqlv2", "efl", "ghm_c"])
def test_a_row_of_weight_zero_moves_no_statistic_even_with_nan(name):
    given = {} if name == "ghm_c" else {"num_classes": 2}
    x, y = torch.tensor([[1.0, 0.0], [math.nan, 0.0], [0.0, 2.0]]), torch.tensor([0, 1, -1])
    with_row, without = L.build(name, **given), L.build(name, **given)
    a = with_row(x.clone().requires_grad_(), y, weight=torch.tensor([[1.0], [0.0], [1.0]]))
    b = without(x[[0, 2]].clone().requires_grad_(), y[[0, 2]])
    assert a.item() == pytest.approx(b.item())
    for one, other in zip(with_row.buffers(), without.buffers(), strict=True):
        assert torch.equal(one, other)


def test_validation_rows_with_nan_do_not_steer_adafocal():
    logits, labels = torch.tensor([[0.2, 0.0], [4.0, 0.0]]), torch.tensor([0, 1])
    clean, dirty = L.AdaFocalLoss(bins=2), L.AdaFocalLoss(bins=2)
    clean.update(logits, labels)
    dirty.update(torch.cat([logits, torch.full((1, 2), math.nan)]), torch.tensor([0, 1, 0]))
    assert torch.equal(clean.gammas, dirty.gammas)
    assert torch.equal(clean.edges, dirty.edges)


def test_statistics_survive_half_precision():
    t = torch.zeros(200_000)
    t[:100] = 1
    # |p - t| of 199,900 negatives and of 100 positives: two bins, each with half of the weight
    easy, hard = (F.softplus(torch.tensor(u, dtype=torch.float64)).item() for u in (-3.0, 3.0))
    loss = L.GHMC().half()
    value = loss(torch.full((200_000,), -3.0).requires_grad_(), t)
    assert value.item() == pytest.approx((easy + hard) / 2, rel=1e-6)
    assert value.item() == pytest.approx(1.5485873516, rel=1e-6)
    assert loss.density.mean.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_numbers_of_a_loss_stay_in_float32_in_a_model_of_half_precision(dtype):
    counts = [200_000.0, 70_001.0]
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), L.BalancedSoftmaxLoss(class_counts=counts)).to(dtype)
    assert model[1].class_counts.tolist() == counts
    assert model[0].weight.dtype == dtype
    assert model.double()[1].class_counts.dtype == torch.float64


def test_equalized_losses_add_what_every_process_has_and_skip_what_one_cannot_use(monkeypatch):
    loss = L.EQLv2(2)
    x, y = torch.zeros(3, 2), torch.tensor([0, 1, 1])
    monkeypatch.setattr(_statistics, "all_sum", lambda total: total * 2)
    train(loss, x, y)
    assert loss.pos_grad.tolist() == [1.0, 2.0]
    before = loss.pos_grad.clone()
    # the other process met a NaN: its sums and its flag arrive here
    monkeypatch.setattr(_statistics, "all_sum", lambda total: torch.cat([total[:-1] * math.nan, total[-1:] + 1]))
    train(loss, x, y)
    assert torch.equal(loss.pos_grad, before)
