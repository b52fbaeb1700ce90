from dataclasses import replace

import pytest
import torch

from focalkit import losses
from focalkit.detection import (
    Assignment,
    BoxTerm,
    ClassTerm,
    Denoising,
    DetectionCriterion,
    HungarianMatcher,
    PredictedIoU,
    QualityClassTerm,
    SetCriterion,
)
from focalkit.detection.analysis import LossConcentration

from .conftest import K, as_dense, predictions, truths


def terms(coder, loss=None):
    loss = losses.VarifocalLoss() if loss is None else loss
    quality = isinstance(loss, losses.VarifocalLoss | losses.QualityFocalLoss)
    return {
        "classification": QualityClassTerm(loss, PredictedIoU(coder)) if quality else ClassTerm(loss),
        "box": BoxTerm(losses.L1Loss(), coder, "deltas", 5.0),
        "giou": BoxTerm(losses.GIoULoss(), coder, "boxes", 2.0),
    }


def layers(b, q, count):
    """Predictions of `count` layers: one list of (logits, boxes), and earlier ones stacked as a decoder gives them."""
    given = [predictions(b, q, seed) for seed in range(10, 10 + count)]
    stacked = as_dense(*(torch.cat(parts) for parts in zip(*given, strict=True)))
    return given, stacked


def noised(counts, groups):
    """For each image the box that each query of the denoising part was made of: groups of positives, then negatives."""
    most = max(counts)
    ours, theirs = [], []
    for count in counts:
        index = torch.full((groups, 2 * most), -1)
        index[:, :count] = torch.arange(count)
        ours.append(index.flatten())
        theirs.append((ours[-1] >= 0).nonzero()[:, 0])
    return ours, theirs


@pytest.mark.parametrize("counts", [(5, 0, 2), (1, 1, 1), (0, 0, 0)])
def test_losses_are_transformers_own_with_layers_and_denoising(peer, coder, counts):
    b, q, groups = 3, 25, 2
    logits, boxes = predictions(b, q)
    ours, theirs = truths(counts)
    earlier, stacked = layers(b, q, 3)
    given = {
        "logits": logits,
        "pred_boxes": boxes,
        "auxiliary_outputs": [{"logits": x, "pred_boxes": y} for x, y in earlier],
    }
    out = replace(as_dense(logits, boxes), earlier=stacked)
    if max(counts):
        index, positives = noised(counts, groups)
        seen, stacked = layers(b, len(index[0]), 2)
        given["dn_auxiliary_outputs"] = [{"logits": x, "pred_boxes": y} for x, y in seen]
        given["denoising_meta_values"] = {"dn_positive_idx": positives, "dn_num_group": groups}
        labels = [torch.cat([t.labels, torch.tensor([-1])])[i] for t, i in zip(ours, index, strict=True)]
        assignments = tuple(Assignment(*pair) for pair in zip(labels, index, strict=True))
        out = replace(out, denoising=Denoising(stacked, assignments))
    expected = peer.losses(given, theirs)
    found = SetCriterion(HungarianMatcher(coder), terms(coder))(out, ours)
    for name, theirs_name in (("classification", "vfl"), ("box", "bbox"), ("giou", "giou")):
        whole = sum(v for n, v in expected.items() if n.startswith(f"loss_{theirs_name}") and "_dn_" not in n)
        torch.testing.assert_close(found[name], torch.as_tensor(whole), atol=1e-5, rtol=1e-5)
    denoising = torch.as_tensor(sum(v for n, v in expected.items() if "_dn_" in n))
    torch.testing.assert_close(
        found.get("denoising", torch.tensor(0)), denoising, atol=1e-5, rtol=1e-5, check_dtype=False
    )


def test_a_label_loss_sees_a_one_at_the_class_of_each_matched_query(peer, coder):
    from torchvision.ops import sigmoid_focal_loss

    logits, boxes = predictions(2, 20)
    ours, theirs = truths([4, 3])
    focal = losses.SigmoidFocalLoss(alpha=0.75)
    found = SetCriterion(HungarianMatcher(coder), terms(coder, focal))(as_dense(logits, boxes), ours)
    wanted = torch.zeros_like(logits)
    for i, (queries, rows) in enumerate(peer.matcher({"logits": logits, "pred_boxes": boxes}, theirs)):
        wanted[i, queries, theirs[i]["class_labels"][rows]] = 1
    expected = sigmoid_focal_loss(logits, wanted, alpha=0.75, gamma=2, reduction="sum") / 7
    torch.testing.assert_close(found["classification"], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("normalizer", ["batch", "image"])
def test_every_layer_is_judged_by_itself(coder, normalizer):
    ours, _ = truths([4, 2])
    given, stacked = layers(2, 15, 3)
    out = replace(as_dense(*given[0]), earlier=as_dense(*(torch.cat(p) for p in zip(*given[1:], strict=True))))
    found = SetCriterion(HungarianMatcher(coder), terms(coder), normalizer)(out, ours)
    one = DetectionCriterion(HungarianMatcher(coder), terms(coder), normalizer)
    each = [one(as_dense(*layer), ours) for layer in given]
    for name, value in found.items():
        torch.testing.assert_close(value, sum(layer[name] for layer in each))
    assert len(stacked.logits[0]) == 6


SIGMOID = sorted(n for n, line in losses.LOSSES.items() if line.targets in ("binary", "quality"))


@pytest.mark.parametrize("name", SIGMOID)
def test_any_catalogue_loss_of_labels_or_qualities_drops_in(coder, name):
    facts = {"num_classes": K, "class_counts": [5, 3, 2, 1], "frequency": [0.5, 0.3, 0.2, 0.1]}
    known = {n: v for n, v in facts.items() if n in losses.argument_names(name)}
    loss = losses.build(name, class_dim=-1, reduction="sum", **known)
    quality = losses.LOSSES[name].targets == "quality"
    class_term = QualityClassTerm(loss, PredictedIoU(coder)) if quality else ClassTerm(loss)
    criterion = SetCriterion(HungarianMatcher(coder), {**terms(coder), "classification": class_term})
    logits, boxes = predictions(2, 12)
    logits.requires_grad_()
    ours, _ = truths([3, 2])
    found = criterion(replace(as_dense(logits, boxes), earlier=layers(2, 12, 2)[1]), ours)
    found["classification"].backward()
    assert torch.isfinite(found["classification"])
    assert found["classification"] > 0
    assert torch.isfinite(logits.grad).all()
    assert logits.grad.abs().sum() > 0


def test_a_matched_box_that_misses_is_still_a_positive(coder):
    """Of quality 0, but not a negative: varifocal loss weighs it by 0 and does not push its score down."""
    logits, boxes = predictions(1, 1)
    boxes[0, 0] = torch.tensor([0.1, 0.1, 0.05, 0.05])
    ours, _ = truths([1])
    target = replace(ours[0], boxes=torch.tensor([[100.0, 70.0, 120.0, 90.0]]))
    logits.requires_grad_()
    SetCriterion(HungarianMatcher(coder), terms(coder))(as_dense(logits, boxes), [target])["classification"].backward()
    assert float(logits.grad[0, 0, target.labels].abs()) < 1e-30


def test_the_concentration_of_the_loss_sees_what_was_matched(coder):
    ours, _ = truths([3, 2])
    collected = LossConcentration(HungarianMatcher(coder))
    collected.add(as_dense(*predictions(2, 12)), ours)
    assert float(collected.histogram.positives.sum()) == 5
    assert float(collected.histogram.negatives.sum()) == 2 * 12 * K - 5


def test_what_cannot_be_is_refused(coder):
    with pytest.raises(ValueError, match='normalizer is "batch" or "image", got \'ema\''):
        SetCriterion(HungarianMatcher(coder), terms(coder), "ema")
    criterion = SetCriterion(HungarianMatcher(coder), terms(coder))
    with pytest.raises(ValueError, match="expected one target for each image, got 3 for 2 rows"):
        criterion(as_dense(*predictions(2, 5)), truths([1, 1, 1])[0])
