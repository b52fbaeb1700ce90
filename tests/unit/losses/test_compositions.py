"""Losses of losses: sums, deferred weights, mining; class weights; the detector's own layout."""

import pytest
import torch
import torch.nn.functional as F

from focalkit import losses as L
from focalkit import weights


def test_sum_adds_its_weighted_parts():
    x, t = torch.randn(2, 3, 4, 4), (torch.rand(2, 3, 4, 4) > 0.7).float()
    total = L.Sum({"dice": 2.0, "focal(gamma=1)": 0.5, L.BinaryCrossEntropy(): 1.0})
    want = 2 * L.dice_loss(x, t) + 0.5 * L.sigmoid_focal_loss(x, t, gamma=1) + L.binary_cross_entropy(x, t)
    assert torch.allclose(total(x, t), want)
    last = L.Sum({"dice": 2.0, "focal": 0.5}, class_dim=-1)
    assert torch.allclose(last(x.movedim(1, -1), t.movedim(1, -1)), L.Sum({"dice": 2.0, "focal": 0.5})(x, t))
    with pytest.raises(ValueError, match="at least one loss"):
        L.Sum({})


def test_deferred_weights_begin_at_their_epoch_and_survive_a_checkpoint():
    x, y = torch.randn(6, 3), torch.randint(0, 3, (6,))
    weight = weights.effective_number([1000, 100, 10])
    loss = L.DeferredReweighting(L.CrossEntropy(), weight, start_epoch=2)
    for epoch, want in ((0, None), (1, None), (2, weight), (5, weight)):
        loss.set_epoch(epoch)
        assert torch.allclose(loss(x, y), L.cross_entropy(x, y, class_weight=want))
    again = L.DeferredReweighting(L.CrossEntropy(), [1.0, 1.0, 1.0], start_epoch=2)
    again.load_state_dict(loss.state_dict())
    assert torch.allclose(again(x, y), loss(x, y))
    with pytest.raises(TypeError, match="needs a loss with class_weight"):
        L.DeferredReweighting(L.SmoothL1Loss(), weight, 2)


def ssd_by_hand(rows, labels, background, ratio, fewest):
    """Image by image, as SSD describes it."""
    total, positives = 0.0, 0
    for values, image in zip(rows, labels, strict=True):
        hit = [v for v, y in zip(values, image, strict=True) if y not in (background, -100)]
        easy = sorted((v for v, y in zip(values, image, strict=True) if y == background), reverse=True)
        total += sum(hit) + sum(easy[: max(int(ratio * len(hit)), fewest)])
        positives += len(hit)
    return total / max(positives, 1)


@pytest.mark.parametrize("fewest", [0, 4])
def test_hard_negative_mining_is_ssds(fewest):
    labels = torch.randint(-1, 3, (3, 40))
    labels[torch.rand(3, 40) < 0.8] = -1
    labels[0], labels[1, :5] = -1, -100
    x = torch.randn(3, 40, 3)
    mined = L.HardNegativeMining(L.BinaryCrossEntropy(class_dim=-1), ratio=3, min_negatives=fewest)
    rows = L.binary_cross_entropy(x, labels, class_dim=-1, reduction="none").sum(-1)
    want = ssd_by_hand(rows.tolist(), labels.tolist(), -1, 3, fewest)
    assert mined(x, labels).item() == pytest.approx(want, rel=1e-5)
    softmax = L.HardNegativeMining(L.CrossEntropy(class_dim=-1), background=0)
    y = (labels + 1).clamp(min=0, max=2)
    rows = L.cross_entropy(x, y, class_dim=-1, reduction="none")
    assert softmax(x, y).item() == pytest.approx(ssd_by_hand(rows.tolist(), y.tolist(), 0, 3, 0), rel=1e-5)


def test_mining_sends_gradients_to_the_chosen_only():
    x = torch.tensor([[[0.0], [-1.0], [3.0]]], requires_grad=True)
    L.HardNegativeMining(L.BinaryCrossEntropy(class_dim=-1), ratio=1)(x, torch.tensor([[0, -1, -1]])).backward()
    assert (x.grad.flatten() != 0).tolist() == [True, False, True]


def test_ohem_keeps_the_hardest_and_all_below_the_threshold():
    x, y = torch.randn(2, 4, 8, 8), torch.randint(0, 4, (2, 8, 8))
    y[0, 0] = -100
    each = F.cross_entropy(x, y, reduction="none").flatten()
    hardest = each.sort(descending=True).values
    assert torch.allclose(L.OHEM(L.CrossEntropy(), keep=10)(x, y), hardest[:10].mean())
    assert torch.allclose(L.OHEM(L.CrossEntropy(), keep=0.25)(x, y), hardest[:30].mean())  # of 120 that count
    unsure = each[(each >= -torch.log(torch.tensor(0.7))) & (y.flatten() != -100)]
    assert torch.allclose(L.OHEM(L.CrossEntropy(), keep=1, threshold=0.7)(x, y), unsure.mean())
    assert torch.allclose(L.OHEM(L.CrossEntropy(), keep=10**6)(x, y), F.cross_entropy(x, y))
    assert L.OHEM(L.CrossEntropy(), keep=3)(x, torch.full_like(y, -100)) == 0
    assert L.OHEM(L.CrossEntropy(), keep=3)(x[:0], y[:0]) == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: L.OHEM(L.CrossEntropy(), keep=0), "keep must be"),
        (lambda: L.OHEM(L.CrossEntropy(), keep=1.5), "keep must be"),
        (lambda: L.OHEM(L.CrossEntropy(), keep=1, threshold=2.0), "threshold must be"),
        (lambda: L.OHEM(L.CrossEntropy(), keep=1, reduction="none"), 'must be "mean" or "sum"'),
        (lambda: L.HardNegativeMining(L.CrossEntropy(), ratio=-1), "at least 0"),
        (lambda: L.HardNegativeMining(L.CrossEntropy(), reduction="none"), 'must be "mean" or "sum"'),
    ],
)
def test_mining_refuses_what_it_cannot_do(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_mining_needs_labels_and_a_loss_that_can_be_unreduced():
    with pytest.raises(ValueError, match="class indices"):
        L.OHEM(L.BinaryCrossEntropy(), keep=1)(torch.zeros(2, 3), torch.zeros(2, 3).long())
    with pytest.raises(TypeError, match="reduction, ignore_index and class_dim"):
        L.OHEM(torch.nn.CrossEntropyLoss(), keep=1)


def test_effective_numbers_are_the_papers():
    # (1 - beta) / (1 - beta^n) at beta = 0.9: 1 for n = 1, 0.1 / 0.19 for n = 2; then scaled to mean 1
    raw = torch.tensor([1.0, 0.1 / 0.19], dtype=torch.float64)
    assert torch.allclose(weights.effective_number([1, 2], beta=0.9), raw / raw.mean())
    assert torch.allclose(weights.effective_number([5, 50], beta=0.0), torch.ones(2, dtype=torch.float64))
    near = weights.effective_number([3, 1], beta=1 - 1e-12)
    assert torch.allclose(near, weights.inverse_frequency([3, 1]), rtol=1e-3)
    assert torch.allclose(weights.inverse_frequency([4, 1], power=0.5), torch.tensor([2 / 3, 4 / 3]).double())
    assert weights.inverse_frequency([0, 1]).tolist() == [1, 1]
    with pytest.raises(ValueError, match="beta must be"):
        weights.effective_number([1, 2], beta=1.0)
    with pytest.raises(ValueError, match="at least 0"):
        weights.inverse_frequency([1, -2])
    with pytest.raises(ValueError, match="vector over the classes"):
        weights.inverse_frequency(torch.ones(2, 2))


def test_class_balanced_focal_is_the_official_one():
    # Cui et al.: w_y times the row's sum of (1 - p_t)^gamma BCE, over the number of rows
    x, y = torch.randn(8, 3, dtype=torch.float64), torch.randint(0, 3, (8,))
    table = weights.effective_number([100, 10, 2])
    ours = L.sigmoid_focal_loss(
        x, y, alpha=None, gamma=1.0, weight=weights.of_labels(table, y), reduction="sum", normalizer=len(x)
    )
    t = F.one_hot(y, 3).double()
    p_t = torch.where(t == 1, x.sigmoid(), 1 - x.sigmoid())
    want = (table[y, None] * (1 - p_t) * -p_t.log()).sum() / 8
    assert torch.allclose(ours, want)


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_the_native_layout_is_the_flattened_loss(memory):
    a, k = 3, 5
    logits = [torch.randn(2, a * k, s, s, dtype=torch.float64).to(memory_format=memory) for s in (4, 2, 1)]
    labels = [torch.randint(-1, k, (2, a, s, s)) for s in (4, 2, 1)]
    labels[0][0] = -100
    leaves = [x.requires_grad_() for x in logits]
    ours = L.dense_sigmoid_focal_loss(leaves, labels, num_classes=k, normalizer=7.0)
    flat = torch.cat([x.unflatten(1, (a, k)).permute(0, 3, 4, 1, 2).reshape(2, -1, k) for x in leaves], 1)
    rows = torch.cat([y.permute(0, 2, 3, 1).reshape(2, -1) for y in labels], 1)
    want = L.sigmoid_focal_loss(flat, rows, class_dim=-1, reduction="sum") / 7
    assert torch.allclose(ours, want)
    for g, w in zip(torch.autograd.grad(ours, leaves), torch.autograd.grad(want, leaves), strict=True):
        assert torch.allclose(g, w)


def test_the_native_layout_names_the_level_that_does_not_fit():
    with pytest.raises(ValueError, match=r"level 0: logits \(1, 6, 2, 2\) with 3 classes need labels \(1, 2, 2, 2\)"):
        L.dense_sigmoid_focal_loss([torch.zeros(1, 6, 2, 2)], [torch.zeros(1, 3, 2, 2).long()], num_classes=3)
    with pytest.raises(ValueError, match="as many levels"):
        L.dense_sigmoid_focal_loss([], [], num_classes=3)


def test_ohem_takes_its_share_of_the_examples_that_count():
    x = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [3.0, 0.0]] + [[0.0, 9.0]] * 4)
    y = torch.tensor([0] * 4 + [-100] * 4)
    assert torch.equal(L.OHEM(L.CrossEntropy(), keep=0.25)(x, y), L.CrossEntropy()(x[:1], y[:1]))
    assert L.OHEM(L.CrossEntropy(), keep=0.25)(x, torch.full_like(y, -100)) == 0


def test_mining_takes_uint8_labels():
    x, y = torch.randn(1, 200, 2), torch.tensor([[156, 0]])
    for mined in (L.OHEM(L.CrossEntropy(), keep=2), L.HardNegativeMining(L.CrossEntropy(), background=0)):
        assert torch.equal(mined(x, y.to(torch.uint8)), mined(x, y))


def test_mining_takes_maps():
    x, y = torch.randn(2, 3, 4, 5), torch.randint(-1, 3, (2, 4, 5))
    flat = x.flatten(2), y.flatten(1)
    for loss in (L.HardNegativeMining(L.BinaryCrossEntropy(), ratio=1), L.OHEM(L.BinaryCrossEntropy(), keep=0.3)):
        torch.testing.assert_close(loss(x, y), loss(*flat))
    softmax = L.HardNegativeMining(L.CrossEntropy(), ratio=2, background=0)
    torch.testing.assert_close(softmax(x, y.clamp(min=0)), softmax(flat[0], flat[1].clamp(min=0)))


def test_mining_of_dense_targets_picks_elements():
    # image 0: one positive, so one negative, the hardest (2); image 1: no positive
    x = torch.tensor([[0.0, 2.0, 1.0], [3.0, 0.0, 0.0]])
    t = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, -100.0]])
    each = L.binary_cross_entropy(x, t, reduction="none")
    mined = L.HardNegativeMining(L.BinaryCrossEntropy(), ratio=1)
    torch.testing.assert_close(mined(x, t), each[0, 0] + each[0, 1])
    hardest = L.OHEM(L.BinaryCrossEntropy(), keep=2)
    torch.testing.assert_close(hardest(x, t), (each[1, 0] + each[0, 1]) / 2)
    share = L.OHEM(L.BinaryCrossEntropy(), keep=0.4)  # of five that are not ignored
    torch.testing.assert_close(share(x, t), (each[1, 0] + each[0, 1]) / 2)
    with pytest.raises(TypeError, match="dense targets with losses on sigmoids"):
        L.HardNegativeMining(L.CrossEntropy(), background=0)(x, t.clamp(min=0))


def test_ohem_of_dense_rows_picks_rows():
    x, q = torch.randn(6, 3), torch.rand(6, 3).softmax(1)
    q[2] = -100
    each = L.cross_entropy(x, q, reduction="none")
    torch.testing.assert_close(L.OHEM(L.CrossEntropy(), keep=2)(x, q), each.topk(2).values.mean())


def test_epochs_reach_the_losses_inside():
    cyclical, deferred = L.CyclicalFocalLoss(9), L.DeferredReweighting(L.CrossEntropy(), [1.0, 2.0], start_epoch=2)
    loss = L.Sum({cyclical: 1.0, deferred: 1.0})
    loss.set_epoch(3)
    assert cyclical.epoch == deferred.epoch == 3
    mined = L.OHEM(L.CyclicalFocalLoss(9), keep=1)
    mined.set_epoch(2)
    assert mined.loss.epoch == 2


def test_reweighting_is_deferred_in_compositions():
    x, y = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    table = [1.0, 2.0, 4.0]
    for build in (
        lambda w: L.Sum({L.CrossEntropy(class_weight=w): 1.0, L.SigmoidFocalLoss(class_weight=w): 2.0}),
        lambda w: L.OHEM(L.CrossEntropy(class_weight=w), keep=2),
        lambda w: L.HardNegativeMining(L.CrossEntropy(class_weight=w), background=0),
    ):
        loss = L.DeferredReweighting(build(None), table, start_epoch=1)
        torch.testing.assert_close(loss(x, y), build(None)(x, y))
        loss.set_epoch(1)
        torch.testing.assert_close(loss(x, y), build(table)(x, y))
    with pytest.raises(TypeError, match="needs a loss with class_weight, got UnifiedFocalLoss"):
        L.DeferredReweighting(L.Sum({"ce": 1.0, "unified_focal": 1.0}), table, start_epoch=1)
