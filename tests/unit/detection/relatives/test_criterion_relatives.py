"""What the criterion does with a sampler, a quality, a distribution loss and a heat map."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from focalkit import losses
from focalkit.config import PRESETS, CriterionConfig, ModelConfig, TrainConfig, with_detector
from focalkit.detection import (
    BoxTerm,
    ClassTerm,
    DenseOutputs,
    DetectionCriterion,
    DetectionTarget,
    DistributionTerm,
    PredictedIoU,
    QualityTerm,
    Sampled,
    build_criterion,
    criterion,
    flatten_level,
    matches,
)
from focalkit.detection.boxes import quality
from focalkit.detection.boxes.points import DistanceCoder, PointGrid, square_grid
from focalkit.detection.build import with_own_losses
from focalkit.detection.matching.atss import ATSSAssigner
from focalkit.detection.matching.sample import BalancedSampler
from focalkit.errors import ConfigError

K, BINS = 3, 17
NO_BOXES = DetectionTarget(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
ONE = DetectionTarget(torch.tensor([[10.0, 12.0, 50.0, 60.0]]), torch.tensor([1]))
TWO = DetectionTarget(
    torch.tensor([[2.0, 2.0, 20.0, 30.0], [30.0, 8.0, 62.0, 60.0]]),
    torch.tensor([0, 2]),
    torch.tensor([[0.0, 40, 24, 64]]),
)
RELATIVES = ("fcos", "atss", "gfl", "vfnet", "centernet")


def outputs(detector, b, seed=0, size=64):
    generator = torch.Generator().manual_seed(seed)
    strides = (4,) if detector == "centernet" else (8, 16, 32, 64, 128)
    shapes = [(-(-size // s), -(-size // s)) for s in strides]
    grid = PointGrid(strides) if detector in ("fcos", "centernet") else square_grid([8.0 * s for s in strides])

    def maps(width, bias=0.0):
        return tuple((torch.randn(b, width, h, w, generator=generator) + bias).requires_grad_() for h, w in shapes)

    deltas = maps(4 * BINS if detector == "gfl" else 4, 1.0)
    return DenseOutputs(maps(K, -2.0), deltas, grid(shapes), K, maps(1) if detector in ("fcos", "atss") else None)


def config(detector, **criterion):
    return with_own_losses(TrainConfig(model=ModelConfig(detector=detector), criterion=CriterionConfig(**criterion)))


def values(result):
    return {name: float(value.detach()) for name, value in result.items()}


def pick(out, rows):
    logits, deltas, quality = (x and tuple(level[rows] for level in x) for x in (out.logits, out.deltas, out.quality))
    return DenseOutputs(logits, deltas, out.priors, K, quality)


def flat(levels, n):
    return torch.cat([x.detach().permute(0, 2, 3, 1).flatten(1, 2) for x in levels], dim=1).view(len(levels[0]), n, -1)


def by_hand(detector, out, targets):
    """The papers' sums, over the whole batch at once."""
    rule = build_criterion(config(detector))
    found = rule.assign(out, targets)
    labels, index = torch.stack([a.labels for a in found]), torch.stack([a.gt_index for a in found])
    priors = torch.cat(out.priors)
    n = len(priors)
    logits, deltas = flat(out.logits, n), flat(out.deltas, n)
    image, row = (index >= 0).nonzero(as_tuple=True)
    true = torch.stack([targets[i].boxes[index[i, r]] for i, r in zip(image.tolist(), row.tolist(), strict=True)])
    coder, weight = rule.terms["box"].coder, rule.terms["box"].weight
    boxes = coder.decode(deltas[image, row], priors[row])
    q = quality.centerness(priors[row], true) if detector in ("fcos", "atss") else quality.iou(boxes, true)
    counted = labels != -100
    result = {"box": weight * float((losses.giou_loss(boxes, true, reduction="none") * q).sum() / q.sum())}
    if detector in ("fcos", "atss"):
        own = flat(out.quality, n)[image, row, 0]
        result["quality"] = float(F.binary_cross_entropy_with_logits(own, q))
        soft = (labels[..., None] == torch.arange(K)).float()
        p, focus = logits.sigmoid(), losses.sigmoid_focal_loss(logits, soft, alpha=0.25, gamma=2.0, reduction="none")
    else:
        soft = torch.zeros_like(logits)
        soft[image, row, labels[image, row]] = q
        p, bce = logits.sigmoid(), F.binary_cross_entropy_with_logits(logits, soft, reduction="none")
        if detector == "gfl":
            focus = (soft - p) ** 2 * bce
            scores, y = deltas[image, row].view(-1, 4, BINS).log_softmax(2), coder.encode(true, priors[row])
            low = y.floor().clamp(max=BINS - 2)
            left, right = (scores.gather(2, i.long()[..., None])[..., 0] for i in (low, low + 1))
            dfl = -((low + 1 - y) * left + (y - low) * right).mean(dim=1)
            result["distribution"] = 0.25 * float((dfl * q).sum() / q.sum())
        else:
            focus = torch.where(soft > 0, soft * bce, 0.75 * p**2 * -F.logsigmoid(-logits))
    result["classification"] = float(focus[counted].sum() / len(row))
    return result


@pytest.mark.parametrize("detector", ["fcos", "atss", "gfl", "vfnet"])
def test_each_relatives_loss_is_its_papers(detector):
    out, targets = outputs(detector, 3), [ONE, NO_BOXES, TWO]
    got = values(build_criterion(config(detector))(out, targets))
    assert got == pytest.approx(by_hand(detector, out, targets), rel=1e-4)


def test_centernets_loss_is_its_papers():
    out, targets = outputs("centernet", 2), [ONE, TWO]
    rule = build_criterion(config("centernet"))
    total = box = 0.0
    for i, target in enumerate(targets):
        heat = rule.terms["classification"].heat_map(out.priors, target, K)
        p = flat(out.logits, len(heat))[i].sigmoid()
        loss = torch.where(heat == 1, (1 - p) ** 2 * -p.log(), (1 - heat) ** 4 * p**2 * -(1 - p).log())
        hidden = rule.matcher(out.priors, target).labels == -100
        assert hidden.any() == bool(len(target.ignore_boxes))
        total += float(loss[~hidden].sum())
        for truth in target.boxes:
            centre = (truth[:2] + truth[2:]) / 8
            x, y = centre.int().tolist()
            wanted = torch.cat([centre % 1, (truth[2:] - truth[:2]) / 40])
            box += float((out.deltas[0][i, :, y, x].detach() - wanted).abs().sum())
    got = values(rule(out, targets))
    assert got == pytest.approx({"classification": total / 3, "box": box / 3}, rel=1e-4)


@pytest.mark.parametrize("detector", RELATIVES)
def test_without_reading_counts_the_result_is_the_same(monkeypatch, detector):
    out, targets, rule = outputs(detector, 3), [ONE, NO_BOXES, TWO], build_criterion(config(detector))
    leaves = [*out.logits, *out.deltas, *(out.quality or ())]
    results = []
    for free in (True, False):
        monkeypatch.setattr(matches, "counts_are_free", lambda device, free=free: free)
        result = rule(out, targets)
        results.append((values(result), torch.autograd.grad(sum(result.values()), leaves)))
    (first, gradients), (second, others) = results
    assert first == pytest.approx(second, rel=1e-5)
    for one, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("detector", RELATIVES)
def test_off_the_cpu_nothing_is_read_back(detector):
    # tensors on "meta" have no values: whatever needs one on the host raises
    out = outputs(detector, 3)
    logits, deltas, own = (
        x and tuple(level.detach().to("meta").requires_grad_() for level in x)
        for x in (out.logits, out.deltas, out.quality)
    )
    there = DenseOutputs(logits, deltas, tuple(p.to("meta") for p in out.priors), K, own)
    rule = build_criterion(config(detector, sample=64))
    sum(rule(there, [t.to("meta") for t in (ONE, NO_BOXES, TWO)]).values()).backward()
    assert all(x.grad is not None for x in (*logits, *deltas, *(own or ())))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("detector", RELATIVES)
def test_the_precision_of_the_outputs_changes_the_losses_by_its_rounding_only(detector, dtype):
    out, targets, rule = outputs(detector, 2), [ONE, TWO], build_criterion(config(detector))
    logits, deltas, own = (x and tuple(m.detach().to(dtype) for m in x) for x in (out.logits, out.deltas, out.quality))
    result = rule(DenseOutputs(logits, deltas, out.priors, K, own), targets)
    assert all(value.dtype in (torch.float32, dtype) for value in result.values())
    assert dtype == torch.float64 or {value.dtype for value in result.values()} == {torch.float32}
    tolerance = 0.05 if dtype == torch.bfloat16 else 5e-3
    assert values(result) == pytest.approx(values(rule(out, targets)), rel=tolerance)


@pytest.mark.parametrize("detector", RELATIVES)
def test_an_image_without_boxes_teaches_background_only(detector):
    out = outputs(detector, 1)
    result = build_criterion(config(detector))(out, [NO_BOXES])
    assert values(result)["classification"] > 0
    assert all(value == 0 for name, value in values(result).items() if name != "classification")
    sum(result.values()).backward()
    assert all(x.grad.abs().sum() > 0 for x in out.logits)


@pytest.mark.parametrize("detector", RELATIVES)
def test_image_normaliser_is_the_mean_over_single_images(detector):
    out, targets = outputs(detector, 3), [ONE, NO_BOXES, TWO]
    together = values(build_criterion(config(detector, normalizer="image"))(out, targets))
    rule = build_criterion(config(detector))
    alone = [values(rule(pick(out, slice(i, i + 1)), targets[i : i + 1])) for i in range(3)]
    for name in together:
        assert together[name] == pytest.approx(sum(a[name] for a in alone) / 3, rel=1e-4)


class TwoRanks:
    """torch.distributed as one of two ranks sees it; the other rank has these counts."""

    def __init__(self, other):
        self.other = torch.tensor(other)

    def is_available(self):
        return True

    is_initialized = is_available

    def get_world_size(self):
        return 2

    def all_reduce(self, tensor):
        tensor += self.other


@pytest.mark.parametrize("detector", ["fcos", "gfl"])
def test_the_mean_over_ranks_is_the_loss_of_the_whole_batch(monkeypatch, detector):
    out, targets, rule = outputs(detector, 3), [ONE, NO_BOXES, TWO], build_criterion(config(detector))
    whole = values(rule(out, targets))
    seen = []
    divisor = DetectionCriterion._divisor
    monkeypatch.setattr(
        DetectionCriterion,
        "_divisor",
        lambda self, counts, groups: seen.append(counts.clone()) or divisor(self, counts, groups),
    )
    halves = (slice(0, 2), slice(2, 3))
    for rows in halves:
        rule(pick(out, rows), targets[rows])
    ranks = []
    for rows, other in zip(halves, seen[::-1], strict=True):
        monkeypatch.setattr(criterion, "dist", TwoRanks(other.tolist()))
        ranks.append(values(rule(pick(out, rows), targets[rows])))
    for name in whole:
        assert (ranks[0][name] + ranks[1][name]) / 2 == pytest.approx(whole[name], rel=1e-4)


def test_with_a_sampler_only_the_sample_counts():
    out, target = outputs("atss", 1), [ONE]
    sampler = BalancedSampler(20, 0.25, torch.Generator().manual_seed(0))
    terms = {
        "classification": ClassTerm(losses.BinaryCrossEntropy()),
        "box": BoxTerm(losses.GIoULoss(), DistanceCoder(1 / 8), "boxes"),
    }
    rule = DetectionCriterion(Sampled(ATSSAssigner(), sampler), terms)
    labels = rule.assign(out, target)[0].labels
    assert int((labels >= 0).sum()) == 5 < int((ATSSAssigner()(out.priors, ONE).labels >= 0).sum())
    assert int((labels == -1).sum()) == 15
    sampler.generator.manual_seed(0)
    sum(rule(out, target).values()).backward()
    logits = torch.cat([flatten_level(x.grad, K) for x in out.logits], dim=1)[0]
    deltas = torch.cat([flatten_level(x.grad, 4) for x in out.deltas], dim=1)[0]
    assert torch.equal((logits != 0).all(dim=1), labels != -100)
    assert torch.equal((deltas != 0).any(dim=1), labels >= 0)


def test_quality_can_teach_a_branch_beside_a_regression_of_deltas():
    out = outputs("atss", 2)
    coder = DistanceCoder(1 / 8)
    iou = PredictedIoU(coder)
    terms = {
        "classification": ClassTerm(losses.SigmoidFocalLoss()),
        "box": BoxTerm(losses.SmoothL1Loss(), coder, quality=iou),
        "quality": QualityTerm(iou),
    }
    result = DetectionCriterion(ATSSAssigner(), terms)(out, [ONE, TWO])
    assert list(result) == ["classification", "box", "quality"]
    assert all(value > 0 for value in values(result).values())


def test_a_term_that_is_not_weighted_is_divided_by_the_number_of_positives():
    out, targets, coder = outputs("gfl", 2), [ONE, TWO], build_criterion(config("gfl")).terms["box"].coder
    plain, weighted = (
        values(DetectionCriterion(ATSSAssigner(), {"d": DistributionTerm(coder, quality=q)})(out, targets))["d"]
        for q in (None, lambda positives: torch.full_like(positives.counts, 0.5, dtype=torch.float32))
    )
    assert weighted == pytest.approx(plain, rel=1e-6)  # the weights cancel where all are the same


def test_a_quality_of_ones_own_sees_the_positives():
    seen = []

    def left_half(positives):
        seen.append(positives.boxes.shape)
        return (positives.priors[:, 0] < 24).float()

    out = outputs("atss", 1)
    term = BoxTerm(losses.GIoULoss(), DistanceCoder(1 / 8), "boxes", quality=left_half)
    sum(DetectionCriterion(ATSSAssigner(), {"box": term})(out, [ONE]).values()).backward()
    deltas = torch.cat([flatten_level(x.grad, 4) for x in out.deltas], dim=1)[0]
    positive = ATSSAssigner()(out.priors, ONE).labels >= 0
    assert seen == [(int(positive.sum()), 4)]
    assert torch.equal((deltas != 0).any(dim=1), positive & (torch.cat(out.priors)[:, 0] < 24))


def test_teaching_a_quality_that_the_model_does_not_predict_is_an_error():
    with pytest.raises(ValueError, match="predicts no quality"):
        build_criterion(config("atss"))(outputs("vfnet", 1), [ONE])


def test_a_box_loss_of_ones_own_compares_where_the_coder_can():
    spaces = {}
    for detector in ("retinanet", *RELATIVES):
        changes = CriterionConfig(box_loss="torch.nn:SmoothL1Loss()")
        rule = build_criterion(TrainConfig(model=ModelConfig(detector=detector), criterion=changes))
        spaces[detector] = rule.terms["box"].space
    assert spaces == dict.fromkeys(("retinanet", "fcos", "atss", "vfnet", "centernet"), "deltas") | {"gfl": "boxes"}


@pytest.mark.parametrize(
    ("detector", "changes", "message"),
    [
        ("gfl", {"loss": "softmax_focal"}, "needs; expected one of .*qfl"),
        ("retinanet", {"loss": "qfl"}, "independent sigmoids with the targets that retinanet needs"),
        ("centernet", {"loss": "bce"}, "expected one of gaussian_focal"),
        ("gfl", {"criterion": CriterionConfig(box_loss="l1")}, "unfit box loss 'l1' for gfl; expected one of ciou"),
        (
            "centernet",
            {"loss": "gaussian_focal", "criterion": CriterionConfig(box_loss="giou")},
            "unfit box loss 'giou' for centernet; expected one of .*smooth_l1",
        ),
    ],
)
def test_a_loss_that_cannot_serve_is_refused(detector, changes, message):
    with pytest.raises(ConfigError, match=message):
        build_criterion(TrainConfig(model=ModelConfig(detector=detector), **changes))


def test_own_losses_stand_in_for_those_not_named_and_for_nothing_else():
    gfl = config("gfl")
    assert (gfl.loss, gfl.criterion.box_loss, gfl.criterion.box_weight) == ("qfl", "giou", 2.0)
    assert with_own_losses(gfl) == gfl
    chosen = TrainConfig(
        loss="bce", model=ModelConfig(detector="gfl"), criterion=CriterionConfig(box_loss="ciou", box_weight=5.0)
    )
    assert with_own_losses(chosen) == chosen
    one = with_own_losses(TrainConfig(model=ModelConfig(detector="gfl"), criterion=CriterionConfig(box_weight=1.0)))
    assert (one.loss, one.criterion.box_loss, one.criterion.box_weight) == ("qfl", "giou", 1.0)


@pytest.mark.parametrize("detector", ["gfl", "vfnet"])
def test_a_loss_that_is_named_is_what_trains_also_where_it_is_another_detectors_own(detector):
    focal = "focal(gamma=2.0, alpha=0.25)"
    rule = build_criterion(TrainConfig(loss=focal, model=ModelConfig(detector=detector)))
    assert isinstance(rule.terms["classification"].loss, losses.SigmoidFocalLoss)
    out = outputs(detector, 2)
    assert values(rule(out, [ONE, TWO])) != values(build_criterion(config(detector))(out, [ONE, TWO]))


def test_a_preset_keeps_its_losses_for_its_own_detector():
    for preset in PRESETS.values():
        assert with_detector(preset(), preset().model.detector) == preset()
        other = with_own_losses(with_detector(preset(), "centernet"))
        assert (other.loss, other.criterion.box_loss, other.criterion.box_weight) == ("gaussian_focal", "l1", 1.0)
        assert replace(other, loss=None, model=preset().model, criterion=CriterionConfig()) == replace(
            preset(), loss=None, criterion=CriterionConfig()
        )
