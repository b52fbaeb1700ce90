"""Groups of queries (Chen et al., 2023): each as if it were alone, and none but the first at prediction."""

from dataclasses import replace

import pytest
import torch

from focalkit import losses
from focalkit.config import DecoderConfig, ModelConfig, TrainConfig
from focalkit.detection import (
    DenseOutputs,
    DetectionCriterion,
    HungarianMatcher,
    SetCriterion,
    build_criterion,
    build_detector,
)
from focalkit.detection.models.detr.groups import apart, beside, unseen
from focalkit.detection.set_criterion import unite
from focalkit.detection.weights.transfer import transfer
from focalkit.errors import ConfigError

from .conftest import SIZE, as_dense, predictions, truths
from .test_set_criterion import terms

B, Q, G, LAYERS = 2, 12, 3, 2
DECODER = DecoderConfig(layers=2, queries=10, expansion=0.5, feedforward=32, denoising=8, groups=G)
MODEL = ModelConfig("tiny", fpn_channels=16, detector="rtdetrv2", decoder=DECODER)


def grouped(given):
    """Predictions given[layer][group] as a decoder's outputs, the last layer first."""
    rows = [[torch.cat(parts) for parts in zip(*layer, strict=True)] for layer in given]
    logits, boxes = (torch.cat(parts) for parts in zip(*rows, strict=True))
    return replace(as_dense(logits[:B], boxes[:B]), earlier=as_dense(logits[B:], boxes[B:]), groups=G)


@pytest.fixture
def given():
    return [[predictions(B, Q, seed=10 * layer + group) for group in range(G)] for layer in range(LAYERS)]


@pytest.mark.parametrize("normalizer", ["batch", "image"])
@pytest.mark.parametrize("counts", [(4, 2), (0, 0), (3, 0)])
def test_the_loss_is_the_mean_over_groups_of_each_matched_alone(coder, given, counts, normalizer):
    ours, _ = truths(counts)
    found = SetCriterion(HungarianMatcher(coder), terms(coder), normalizer)(grouped(given), ours)
    one = DetectionCriterion(HungarianMatcher(coder), terms(coder), normalizer)
    alone = [[one(as_dense(*outputs), ours) for outputs in layer] for layer in given]
    for name, value in found.items():
        expected = sum(sum(group[name] for group in layer) / G for layer in alone)
        torch.testing.assert_close(value, torch.as_tensor(expected))


def test_matches_are_united_within_a_group(coder, given):
    ours, _ = truths((4, 2))
    found = SetCriterion(HungarianMatcher(coder), terms(coder), united=("box", "giou"))(grouped(given), ours)
    one, matcher = DetectionCriterion(HungarianMatcher(coder), terms(coder)), HungarianMatcher(coder)
    totals = {"box": [], "giou": []}
    counts = []
    for group in range(G):
        layers = [as_dense(*layer[group]) for layer in given]
        united = unite([found for layer in layers for found in matcher.match(layer, ours)], ours)
        counts.append(sum(int((a.gt_index >= 0).sum()) for a in united))
        for name, values in totals.items():  # the divisor is that of all groups, so sums are added
            values.append(sum(one.judge(layer, ours, united)[name] for layer in layers) * counts[-1])
    for name, values in totals.items():
        torch.testing.assert_close(found[name], sum(values) / sum(counts))


def test_a_group_sees_itself_alone_and_the_noised_see_the_first():
    hidden = unseen(2, 2, None, torch.device("cpu"))
    assert hidden.int().tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]]
    noised = unseen(2, 1, torch.tensor([[False, True], [True, False]]), torch.device("cpu"))
    assert noised.int().tolist() == [[0, 1, 0, 1], [1, 0, 0, 1], [1, 1, 0, 1], [1, 1, 1, 0]]
    assert unseen(1, 5, None, torch.device("cpu")) is None


def test_groups_lie_beside_each_other_and_come_apart_again():
    x = torch.arange(2 * 3 * 4).view(6, 4)  # three groups of two images
    assert beside(x, 3)[1].tolist() == [*x[1].tolist(), *x[3].tolist(), *x[5].tolist()]
    assert torch.equal(apart(beside(x, 3)[None], 3)[0], x)


def build(config, seed=0):
    torch.manual_seed(seed)
    return build_detector(config, 4)


def alike(one: DenseOutputs, other: DenseOutputs, rows=slice(None)):
    for a, b in zip((*one.logits, *one.deltas), (*other.logits, *other.deltas), strict=True):
        torch.testing.assert_close(a[rows], b, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("detector", ["rtdetrv2", "dfine"])
def test_the_first_group_and_the_noised_queries_are_as_without_groups(detector):
    model = build(replace(MODEL, detector=detector)).eval()
    alone = build_detector(replace(model.card.config, decoder=replace(DECODER, groups=1)), 4).eval()
    alone.load_state_dict(model.state_dict(), strict=False)
    images, (ours, _) = torch.rand(B, 3, *SIZE), truths((3, 1))
    assert torch.equal(model(images).logits[0], alone(images).logits[0])
    torch.manual_seed(3)
    found = model(images, ours)
    torch.manual_seed(3)
    expected = alone(images, ours)
    alike(found, expected)
    alike(found.denoising.outputs, expected.denoising.outputs)
    layers = len(expected.earlier.logits[0]) // B + 1
    assert len(found.earlier.logits[0]) == (layers * G - 1) * B
    before = slice((G - 1) * B, G * B)  # of the last layer's other groups; then the layer before begins
    alike(found.earlier, replace(expected, logits=(expected.earlier.logits[0][:B],),
                                 deltas=(expected.earlier.deltas[0][:B],)), before)  # fmt: skip
    assert not torch.equal(found.logits[0], found.earlier.logits[0][:B])


def test_every_weight_of_every_group_learns():
    model = build(replace(MODEL, detector="dfine")).train()
    ours, _ = truths((3, 1))
    found = build_criterion(TrainConfig(model=model.card.config))(model(torch.rand(B, 3, *SIZE), ours), ours)
    sum(found.values()).backward()
    assert len(model.head.further) == G - 1
    for name, weight in model.head.further.named_parameters():
        assert weight.grad is not None, name
    assert all(float(one.class_output.bias.grad.abs().sum()) > 0 for one in model.head.further)


def test_a_run_with_groups_starts_one_without_and_the_reverse():
    many, single = build(MODEL), build(replace(MODEL, decoder=replace(DECODER, groups=1)), seed=1)
    own = many.head.further[0].class_output.weight.clone()
    transfer(single, many, ["a", "b", "c", "d"], "file")
    assert torch.equal(single.head.class_output[0].weight, many.head.class_output[0].weight)
    transfer(many, single, ["a", "b", "c", "d"], "file")
    assert torch.equal(many.head.further[0].class_output.weight, own)


def test_no_group_is_refused():
    with pytest.raises(ConfigError, match=r"model\.decoder\.groups must be at least 1, got 0"):
        build_criterion(TrainConfig(model=replace(MODEL, decoder=replace(DECODER, groups=0))))


def test_the_positives_that_are_logged_are_those_of_the_first_group(coder, given):
    ours, _ = truths((4, 2))
    criterion = SetCriterion(HungarianMatcher(coder), terms(coder, losses.SigmoidFocalLoss()))
    criterion(grouped(given), ours)
    assert int(criterion.seen["positives"]) == 6
