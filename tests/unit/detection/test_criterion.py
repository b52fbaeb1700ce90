import copy
import math

import pytest
import torch
from torch import nn

from focalkit import losses
from focalkit.config import CriterionConfig, TrainConfig
from focalkit.detection import (
    AnchorGrid,
    Assignment,
    BoxTerm,
    ClassTerm,
    DeltaXYWH,
    DenseOutputs,
    DetectionCriterion,
    DetectionTarget,
    DistributionCoder,
    MaxIoUAssigner,
    build_criterion,
    criterion,
    flatten_level,
    matches,
    retinanet,
)
from focalkit.detection.build import check_training
from focalkit.errors import ConfigError

K = 3
NO_BOXES = DetectionTarget(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
ONE = DetectionTarget(torch.tensor([[10.0, 12.0, 50.0, 60.0]]), torch.tensor([1]))
TWO = DetectionTarget(torch.tensor([[2.0, 2.0, 20.0, 30.0], [30.0, 8.0, 62.0, 60.0]]), torch.tensor([0, 2]))


def outputs(b, seed=0, size=64, bias=-2.0, channels_last=True):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(-(-size // s), -(-size // s)) for s in (8, 16, 32, 64, 128)]
    fmt = torch.channels_last if channels_last else torch.contiguous_format

    def maps(width):
        return tuple(
            (torch.randn(b, 9 * width, h, w, generator=generator) + (bias if width == K else 0))
            .contiguous(memory_format=fmt)
            .requires_grad_()
            for h, w in shapes
        )

    return DenseOutputs(maps(K), maps(4), AnchorGrid()(shapes), K)


def make(normalizer="batch", box_loss=None, space="deltas", *, cls_loss=None, box_weight=1.0):
    return DetectionCriterion(
        MaxIoUAssigner(),
        {
            "classification": ClassTerm(cls_loss or losses.SigmoidFocalLoss()),
            "box": BoxTerm(box_loss or losses.SmoothL1Loss(), DeltaXYWH(), space, box_weight),
        },
        normalizer,
    )


def values(result):
    return {name: float(value.detach()) for name, value in result.items()}


def pick(out, rows):
    return DenseOutputs(tuple(x[rows] for x in out.logits), tuple(x[rows] for x in out.deltas), out.priors, K)


def test_it_is_the_papers_sum_over_all_priors_divided_by_the_positives():
    out, targets = outputs(2), [ONE, TWO]
    assignments = make().assign(out, targets)
    labels = torch.stack([a.labels for a in assignments])
    logits = torch.cat([flatten_level(x, K) for x in out.logits], dim=1).double()
    deltas = torch.cat([flatten_level(x, 4) for x in out.deltas], dim=1)
    priors = torch.cat(out.priors)
    logits, deltas, total, box = logits.detach(), deltas.detach(), 0.0, 0.0
    for i in range(2):
        for k in range(K):
            y = labels[i] == k
            p_t = torch.where(y, logits[i, :, k].sigmoid(), 1 - logits[i, :, k].sigmoid())
            fl = -torch.where(y, 0.25, 0.75) * (1 - p_t) ** 2 * p_t.log()
            total += float(fl[labels[i] != -100].sum())
        for prior in (labels[i] >= 0).nonzero().squeeze(1):
            truth = DeltaXYWH().encode(targets[i].boxes[assignments[i].gt_index[prior]], priors[prior])
            d = (deltas[i, prior] - truth).abs()
            box += float(torch.where(d < 1 / 9, 4.5 * d * d, d - 1 / 18).sum())
    positives = int((labels >= 0).sum())
    got = values(make()(out, targets))
    assert got["classification"] == pytest.approx(total / positives, rel=1e-5)
    assert got["box"] == pytest.approx(box / positives, rel=1e-5)


def test_the_first_step_costs_what_the_prior_says():
    # detection at 800 x 1344: 201,600 priors x 80 classes of probability .01, all background: 12.16 in all
    shapes = [(100, 168), (50, 84), (25, 42), (13, 21), (7, 11)]
    out = DenseOutputs(
        tuple(torch.full((1, 720, h, w), losses.prior_bias(0.01)) for h, w in shapes),
        tuple(torch.zeros(1, 36, h, w) for h, w in shapes),
        AnchorGrid()(shapes),
        80,
    )
    got = values(make()(out, [NO_BOXES]))
    assert got["classification"] == pytest.approx(201_600 * 80 * 0.75 * 0.01**2 * -math.log(0.99), rel=1e-4)
    assert got["classification"] == pytest.approx(12.16, abs=5e-3)
    assert got["box"] == 0


def test_a_fresh_models_loss_is_that_of_the_prior():
    torch.manual_seed(0)
    model = retinanet(K, backbone="tiny", fpn_channels=16, head_channels=16, head_depth=1)
    with torch.no_grad():
        out = model(torch.rand(2, 3, 64, 64))
    positives = sum(int((a.labels >= 0).sum()) for a in make().assign(out, [ONE, TWO]))
    negatives = 2 * sum(len(p) for p in out.priors) * K - positives
    expected = 0.25 * 0.99**2 * -math.log(0.01) + negatives * 0.75 * 0.01**2 * -math.log(0.99) / positives
    assert values(make()(out, [ONE, TWO]))["classification"] == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("channels_last", [True, False])
def test_the_memory_format_of_the_outputs_does_not_matter(channels_last):
    got = values(make()(outputs(2, channels_last=channels_last), [ONE, TWO]))
    assert got == pytest.approx(values(make()(outputs(2), [ONE, TWO])), rel=1e-5)


def test_image_normaliser_is_the_mean_over_single_images():
    out, targets = outputs(3), [ONE, NO_BOXES, TWO]
    together = values(make("image")(out, targets))
    alone = [values(make("batch")(pick(out, slice(i, i + 1)), targets[i : i + 1])) for i in range(3)]
    for name in together:
        assert together[name] == pytest.approx(sum(a[name] for a in alone) / 3, rel=1e-5)


def test_an_image_without_boxes_has_a_background_loss():
    for normalizer in ("batch", "image", "ema"):
        out = outputs(1)
        result = make(normalizer)(out, [NO_BOXES])
        assert values(result)["classification"] > 0
        assert values(result)["box"] == 0
        sum(result.values()).backward()
        assert all(x.grad is not None and x.grad.abs().sum() > 0 for x in out.logits)


def test_gradients_reach_all_logits_but_the_ignored_and_only_positive_deltas():
    out = outputs(2)
    loss = make()
    sum(loss(out, [ONE, TWO]).values()).backward()
    labels = torch.stack([a.labels for a in loss.assign(out, [ONE, TWO])])
    assert (labels == -100).any()
    logits = torch.cat([flatten_level(x.grad, K) for x in out.logits], dim=1)
    deltas = torch.cat([flatten_level(x.grad, 4) for x in out.deltas], dim=1)
    assert torch.equal((logits != 0).all(dim=2), labels != -100)
    assert torch.equal((deltas != 0).any(dim=2), labels >= 0)


@pytest.mark.parametrize("name", ["giou", "diou", "ciou"])
def test_a_box_loss_in_pixels_vanishes_at_the_truth(name):
    out, target = outputs(1), [ONE]
    loss = make(box_loss=losses.build(name), space="boxes")
    assignment = loss.assign(out, target)[0]
    truth = torch.where((assignment.gt_index >= 0)[:, None], ONE.boxes[0], torch.cat(out.priors))
    exact = DeltaXYWH().encode(truth, torch.cat(out.priors)).split([len(p) for p in out.priors])
    deltas = tuple(
        d.view(1, x.shape[2], x.shape[3], 36).permute(0, 3, 1, 2) for d, x in zip(exact, out.deltas, strict=True)
    )
    assert values(loss(out, target))["box"] > 0.1
    perfect = DenseOutputs(out.logits, deltas, out.priors, K)
    assert values(loss(perfect, target))["box"] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize(("name", "space"), [("smooth_l1", "deltas"), ("giou", "boxes")])
def test_without_reading_counts_the_result_is_the_same(monkeypatch, name, space):
    # the way taken on a GPU, where the host must not wait for the number of positives
    out, targets = outputs(3), [ONE, NO_BOXES, TWO]
    loss = make(box_loss=losses.build(name), space=space)
    expected = loss(out, targets)["box"]
    expected.backward()
    gradients = [x.grad.clone() for x in out.deltas]
    for x in out.deltas:
        x.grad = None
    monkeypatch.setattr(matches, "counts_are_free", lambda device: False)
    got = loss(out, targets)["box"]
    got.backward()
    torch.testing.assert_close(got, expected)
    for x, gradient in zip(out.deltas, gradients, strict=True):
        torch.testing.assert_close(x.grad, gradient)


@pytest.mark.parametrize("normalizer", ["batch", "image", "ema"])
@pytest.mark.parametrize(("name", "space"), [("smooth_l1", "deltas"), ("giou", "boxes")])
def test_off_the_cpu_nothing_is_read_back(normalizer, name, space):
    # tensors on "meta" have no values: whatever needs one on the host raises
    out = outputs(3)
    there = DenseOutputs(
        *(tuple(x.detach().to("meta").requires_grad_() for x in level) for level in (out.logits, out.deltas)),
        tuple(p.to("meta") for p in out.priors),
        K,
    )
    crowd = DetectionTarget(ONE.boxes, ONE.labels, torch.rand(2, 4))
    loss = make(normalizer, losses.build(name), space).to("meta")
    sum(loss(there, [t.to("meta") for t in (crowd, NO_BOXES, TWO)]).values()).backward()
    assert all(x.grad is not None for x in there.logits)


def test_box_weight_multiplies_the_box_loss_only():
    one, five = values(make()(outputs(2), [ONE, TWO])), values(make(box_weight=5.0)(outputs(2), [ONE, TWO]))
    assert five["box"] == pytest.approx(5 * one["box"])
    assert five["classification"] == one["classification"]


def test_ema_is_a_buffer_that_moves_in_training_only():
    loss, out, targets = make("ema"), outputs(2), [ONE, TWO]
    assert loss.state_dict()["running_positives"] == 100
    positives = sum(int((a.labels >= 0).sum()) for a in loss.assign(out, targets))
    first = loss(out, targets)
    assert loss.running_positives.item() == pytest.approx(0.9 * 100 + 0.1 * positives)
    batch = values(make()(out, targets))
    assert values(first)["box"] * loss.running_positives.item() == pytest.approx(batch["box"] * positives, rel=1e-5)
    loss(out, targets)
    sum(first.values()).backward()  # the buffer has moved on since; the first graph is not hurt
    restored = make("ema")
    restored.load_state_dict(loss.state_dict())
    assert torch.equal(restored.running_positives, loss.running_positives)
    before = loss.eval().running_positives.clone()
    loss(out, targets)
    assert torch.equal(loss.running_positives, before)


def test_hard_negatives_are_mined_in_whole_images():
    out, targets = outputs(2), [ONE, TWO]
    bce = losses.build("bce", class_dim=-1, reduction="sum")
    mining = losses.HardNegativeMining(bce, ratio=3, reduction="sum")
    labels = torch.stack([a.labels for a in make().assign(out, targets)])
    logits = torch.cat([flatten_level(x, K) for x in out.logits], dim=1).detach()
    rows = torch.nn.functional.softplus(logits).sum(dim=2)
    total = 0.0
    for i in range(2):
        positive = labels[i] >= 0
        own = logits[i, positive, labels[i, positive]]
        hardest = rows[i, labels[i] == -1].sort(descending=True).values[: 3 * int(positive.sum())]
        total += float(rows[i, positive].sum() - own.sum() + hardest.sum())
    got = values(make(cls_loss=mining)(out, targets))["classification"]
    assert got == pytest.approx(total / int((labels >= 0).sum()), rel=1e-5)


class Recorded(nn.Module):
    """Focal loss that says of itself what it is told to, and remembers the shapes that it was called with."""

    def __init__(self, elementwise):
        super().__init__()
        self.elementwise, self.shapes = elementwise, []
        self.inner = losses.SigmoidFocalLoss(alpha=0.4, gamma=1.5, class_dim=-1, reduction="sum")

    def forward(self, logits, labels):
        self.shapes.append(tuple(logits.shape))
        return self.inner(logits, labels)


@pytest.mark.parametrize("channels_last", [True, False])
def test_a_loss_says_how_it_takes_the_levels_and_the_sum_is_the_same(channels_last):
    by_level, at_once = Recorded(True), Recorded(False)
    rules = [make(cls_loss=loss) for loss in (by_level.inner, by_level, at_once)]
    found = []
    for rule in rules:
        out = outputs(2, channels_last=channels_last)
        result = rule(out, [ONE, TWO])
        result["classification"].backward()
        found.append((values(result), [x.grad for x in out.logits]))
    n = [len(priors) for priors in outputs(1).priors]
    assert by_level.shapes == [(2, count, K) for count in n]
    assert at_once.shapes == [(2, sum(n), K)]
    (native, gradients), *others = found
    for value, other in others:
        assert value == pytest.approx(native, rel=1e-6)
        for one, two in zip(gradients, other, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "spec",
    ["focal(label_smoothing=0.1)", "focal(gamma_neg=3)", "focal(class_weight=[1.0, 2.0, 3.0])", "bce", "asl"],
)
def test_a_loss_without_a_native_layout_is_what_its_function_says(spec):
    out, loss = outputs(2), losses.build(spec, class_dim=-1, reduction="sum")
    rule = make(cls_loss=losses.build(spec))
    labels = torch.stack([a.labels for a in rule.assign(out, [ONE, TWO])])
    whole = loss(torch.cat([flatten_level(x, K) for x in out.logits], dim=1), labels) / int((labels >= 0).sum())
    assert values(rule(out, [ONE, TWO]))["classification"] == pytest.approx(float(whole.detach()), rel=1e-6)


def test_focal_loss_with_values_of_its_own_per_class_is_called_once_on_the_native_layout(monkeypatch):
    loss = losses.SigmoidFocalLoss(alpha=[0.2, 0.3, 0.4], gamma=[0.0, 1.0, 2.0])
    expected = values(make(cls_loss=loss)(outputs(2), [ONE, TWO]))
    monkeypatch.setattr(losses.SigmoidFocalLoss, "native_layout", lambda self, num_classes: None)
    assert values(make(cls_loss=loss)(outputs(2), [ONE, TWO])) == pytest.approx(expected, rel=1e-6)


def test_a_gamma_that_trains_gets_its_gradient():
    gamma = nn.Parameter(torch.tensor(2.0))
    loss = make(cls_loss=losses.SigmoidFocalLoss(gamma=gamma))
    loss(outputs(1), [ONE])["classification"].backward()
    assert gamma.grad is not None
    assert gamma.grad != 0


def test_a_loss_of_this_package_is_called_for_the_sum_whatever_it_remembers():
    summed = [losses.build(name, reduction="sum") for name in ("bce(class_dim=-1)", "giou")]
    meant = [losses.build(name) for name in ("bce", "giou")]
    one, other = (values(make("batch", box, "boxes", cls_loss=c)(outputs(2), [ONE, TWO])) for c, box in (summed, meant))
    assert one == other


@pytest.mark.parametrize(
    "around",
    [
        lambda loss: losses.FederatedLoss(loss, [0.5] * K, classes=K),
        lambda loss: losses.DeferredReweighting(loss, [1.0, 2.0, 3.0], start_epoch=0),
        lambda loss: losses.Sum({losses.FederatedLoss(loss, [0.5] * K): 2.0}),
    ],
)
def test_a_loss_around_a_loss_is_called_for_the_sum_too(around):
    summed, meant = losses.SigmoidFocalLoss(class_dim=-1, reduction="sum"), losses.SigmoidFocalLoss(class_dim=-1)
    one, other = (values(make(cls_loss=around(loss))(outputs(1), [ONE])) for loss in (summed, meant))
    assert one == other
    assert one == values(make(cls_loss=around(losses.SigmoidFocalLoss()))(outputs(1), [ONE]))


def test_a_loss_that_cannot_be_called_for_the_sum_is_refused():
    with pytest.raises(ValueError, match="build it with class_dim=-1"):
        make(cls_loss=losses.HardNegativeMining(losses.BinaryCrossEntropy(), reduction="sum"))
    for loss in (nn.SmoothL1Loss(), losses.GHMR()):
        with pytest.raises(ValueError, match="build it with reduction='sum'"):
            make(box_loss=loss)
    assert values(make(box_loss=nn.SmoothL1Loss(reduction="sum"))(outputs(1), [ONE]))["box"] > 0


def test_other_normalisers_keep_no_state():
    assert not make("batch").state_dict()


class TwoRanks:
    """torch.distributed as one of two ranks sees it; the other rank has so many positives."""

    def __init__(self, other):
        self.other = other

    def is_available(self):
        return True

    is_initialized = is_available

    def get_world_size(self):
        return 2

    def all_reduce(self, tensor):
        tensor += self.other


def test_the_mean_over_ranks_is_the_loss_of_the_whole_batch(monkeypatch):
    out, targets = outputs(3), [ONE, NO_BOXES, TWO]
    whole = values(make()(out, targets))
    counts = [int((a.labels >= 0).sum()) for a in make().assign(out, targets)]
    ranks = []
    for rows, other in ((slice(0, 2), counts[2]), (slice(2, 3), counts[0])):
        monkeypatch.setattr(criterion, "dist", TwoRanks(float(other)))
        ranks.append(values(make()(pick(out, rows), targets[rows])))
    for name in whole:
        assert (ranks[0][name] + ranks[1][name]) / 2 == pytest.approx(whole[name], rel=1e-5)


def test_the_mean_over_ranks_is_that_of_the_batch_also_without_any_positive(monkeypatch):
    out = outputs(2)
    whole = values(make()(out, [NO_BOXES] * 2))
    monkeypatch.setattr(criterion, "dist", TwoRanks(0.0))
    ranks = [values(make()(pick(out, slice(i, i + 1)), [NO_BOXES])) for i in range(2)]
    assert sum(rank["classification"] for rank in ranks) / 2 == pytest.approx(whole["classification"], rel=1e-5)


def test_evaluation_talks_to_no_other_rank(monkeypatch):
    out = outputs(1)
    expected = values(make().eval()(out, [ONE]))
    monkeypatch.setattr(criterion, "dist", TwoRanks(1e9))
    assert values(make().eval()(out, [ONE])) == expected


def test_half_precision_outputs_give_a_float32_loss():
    out = outputs(1)
    half = DenseOutputs(tuple(x.half() for x in out.logits), tuple(x.half() for x in out.deltas), out.priors, K)
    result = make()(half, [ONE])
    assert {x.dtype for x in result.values()} == {torch.float32}
    assert values(result) == pytest.approx(values(make()(out, [ONE])), rel=1e-3)


def test_any_assigner_serves():
    def none_at_all(priors, target):
        n = sum(len(p) for p in priors)
        return Assignment(torch.full((n,), -100), torch.full((n,), -1))

    loss = make()
    loss.matcher = none_at_all
    assert values(loss(outputs(1), [ONE])) == {"classification": 0, "box": 0}


def test_it_can_be_copied():
    loss = copy.deepcopy(make("ema"))
    assert values(loss(outputs(1), [ONE])) == values(make("ema")(outputs(1), [ONE]))


def test_wrong_arguments_say_what_is_expected():
    with pytest.raises(ValueError, match='"batch", "image" or "ema"'):
        make("mean")
    with pytest.raises(ValueError, match='"deltas" or "boxes"'):
        make(space="pixels")
    with pytest.raises(ValueError, match="a criterion needs terms"):
        DetectionCriterion(MaxIoUAssigner(), {})
    with pytest.raises(ValueError, match='encodes 4 numbers and decodes 68: it needs space="boxes"'):
        BoxTerm(losses.SmoothL1Loss(), DistributionCoder(17))
    with pytest.raises(ValueError, match="one target for each of the 2 images, got 1"):
        make()(outputs(2), [ONE])


def test_a_configuration_becomes_a_criterion():
    config = TrainConfig(
        loss="focal(gamma=0.5)",
        criterion=CriterionConfig(fg_iou=0.6, min_pos_iou=0.1, box_loss="giou", box_weight=2.0, normalizer="ema"),
    )
    loss = build_criterion(config)
    assert loss.matcher == MaxIoUAssigner(0.6, 0.4, 0.1)
    assert (loss.terms["box"].space, loss.terms["box"].weight, loss.normalizer) == ("boxes", 2.0, "ema")
    assert values(loss(outputs(1), [ONE]))["classification"] > 0


@pytest.mark.parametrize("box_loss", ["smooth_l1", "l1", "smooth_l1(beta=0.5)", "giou", "diou", "ciou"])
def test_every_box_loss_trains(box_loss):
    loss = build_criterion(TrainConfig(criterion=CriterionConfig(box_loss=box_loss)))
    out = outputs(2)
    loss(out, [ONE, TWO])["box"].backward()
    assert all(x.grad.isfinite().all() for x in out.deltas)
    assert sum(x.grad.abs().sum() for x in out.deltas) > 0


SIGMOID_LOSSES = sorted(name for name, line in losses.LOSSES.items() if line.targets == "binary")


def test_the_catalog_has_sigmoid_losses():
    assert {"bce", "focal", "eql", "eqlv2", "efl"} <= set(SIGMOID_LOSSES)


@pytest.mark.parametrize("loss", SIGMOID_LOSSES)
def test_every_sigmoid_loss_trains_with_what_the_data_says(loss):
    out = outputs(1)
    facts = {"num_classes": K, "class_counts": [5] * K, "frequency": [0.5] * K}
    build_criterion(TrainConfig(loss=loss), facts)(out, [ONE])["classification"].backward()
    assert all(x.grad.isfinite().all() for x in out.logits)
    assert sum(x.grad.abs().sum() for x in out.logits) > 0


class Asking(nn.Module):
    """A loss of one's own that wants to know the data."""

    def __init__(self, class_counts, frequency=None, gain=1.0, *, class_dim=1, reduction="mean"):
        super().__init__()
        self.class_counts, self.frequency, self.gain = class_counts, frequency, gain


def test_a_loss_gets_what_it_asks_the_data_for_and_keeps_what_was_given():
    facts = {"num_classes": 2, "class_counts": [5, 1], "frequency": [0.5, 0.1]}
    mine = f"{__name__}:Asking"
    loss = build_criterion(TrainConfig(loss=f"{mine}(gain=3)"), facts).terms["classification"].loss
    assert (loss.class_counts, loss.frequency, loss.gain) == ([5, 1], [0.5, 0.1], 3)
    loss = build_criterion(TrainConfig(loss=f"{mine}(class_counts=[7, 7])"), facts).terms["classification"].loss
    assert (loss.class_counts, loss.frequency) == ([7, 7], [0.5, 0.1])
    assert build_criterion(TrainConfig(loss="efl(num_classes=4)"), facts).terms["classification"].loss.num_classes == 4
    with pytest.raises(ConfigError, match=r"cannot build the loss 'efl'.*num_classes"):
        build_criterion(TrainConfig(loss="efl"))


@pytest.mark.parametrize("loss", ["efl", "eql(threshold=0.01)", f"{__name__}:Asking", "focal(gamma=1)"])
def test_losses_that_can_serve_pass_the_check_without_data(loss):
    check_training(TrainConfig(loss=loss))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (TrainConfig(loss="eqlv2(gama=1)"), "no argument 'gama' .did you mean \"gamma\""),
        (TrainConfig(loss="focal(reduction='avg')"), "cannot build the loss"),
        (TrainConfig(loss="softmax_focal"), "independent sigmoids"),
        (TrainConfig(loss="fcoal"), "focal"),
        (TrainConfig(criterion=CriterionConfig(box_loss="iou")), "expected one of ciou"),
        (TrainConfig(criterion=CriterionConfig(box_loss="focal")), "expected one of ciou"),
    ],
)
@pytest.mark.parametrize("use", [build_criterion, check_training])
def test_a_loss_that_cannot_serve_is_refused(config, message, use):
    with pytest.raises(ConfigError, match=message):
        use(config)


class Hundredfold(losses.SigmoidFocalLoss):
    def forward(self, logits, targets, **call):
        return 100 * super().forward(logits, targets, **call)


def test_a_subclass_of_focal_loss_trains_with_its_own_call():
    assert Hundredfold().native_layout(K) is None
    found, plain = outputs(1), [TWO]
    hundred = make(cls_loss=Hundredfold())(found, plain)["classification"]
    one = make(cls_loss=losses.SigmoidFocalLoss())(found, plain)["classification"]
    torch.testing.assert_close(hundred, 100 * one)


def test_a_sum_of_losses_is_called_for_the_sum_over_rows():
    found = outputs(1)
    whole = make(cls_loss=losses.Sum({"focal": 1.0}))(found, [TWO])["classification"]
    torch.testing.assert_close(whole, make(cls_loss=losses.SigmoidFocalLoss())(found, [TWO])["classification"])
