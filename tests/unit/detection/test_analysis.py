"""The concentration of the loss against sorting every single loss."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from focalkit.detection.analysis import (
    FRACTIONS,
    concentration_curves,
    easy_shares,
    logit_histogram,
    loss_concentration,
)
from focalkit.detection.types import Assignment, DenseOutputs


def exact_share(u, gamma, fraction):
    """Share of the focal loss in the easiest `fraction` of the signed logits, by sorting; whole examples only."""
    u = u.double()
    loss = ((1 - torch.sigmoid(u)) ** gamma * -torch.log(torch.sigmoid(u))).sort().values
    return float(loss[: round(fraction * len(loss))].sum() / loss.sum())


def random_level(seed=0, n=4000, k=3):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, n, k, generator=generator) * 3 - 4
    labels = torch.randint(-1, k, (2, n), generator=generator)
    labels[torch.rand(2, n, generator=generator) < 0.8] = -1
    labels[torch.rand(2, n, generator=generator) < 0.1] = -100
    return logits, labels


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_curves_equal_sorting_every_loss(gamma):
    logits, labels = random_level()
    positive = torch.zeros_like(logits, dtype=torch.bool)
    positive[labels >= 0] = nn.functional.one_hot(labels[labels >= 0], 3).bool()
    used = (labels != -100)[..., None].expand_as(logits)
    curves = concentration_curves(logit_histogram(logits, labels), (gamma,))
    assert curves["num_positives"] == int(positive.sum())
    assert curves["num_negatives"] == int((used & ~positive).sum())
    for group, u in (("positives", logits[positive]), ("negatives", -logits[used & ~positive])):
        for fraction, share in zip(FRACTIONS, curves[group][0], strict=True):
            assert share == pytest.approx(exact_share(u, gamma, fraction), abs=0.01 if fraction > 0.99 else 2e-3)


def test_curves_run_from_nothing_to_everything_and_never_fall():
    curves = concentration_curves(logit_histogram(*random_level(1)))
    for group in ("positives", "negatives"):
        for curve in curves[group]:
            assert len(curve) == len(FRACTIONS)
            assert curve[0] == 0
            assert curve[-1] == pytest.approx(1)
            assert all(a <= b for a, b in pairwise(curve))


def test_focusing_moves_the_loss_to_the_hard_negatives():
    negatives = concentration_curves(logit_histogram(*random_level(2)))["negatives"]
    easy_half = [curve[50] for curve in negatives]
    assert easy_half == sorted(easy_half, reverse=True)
    assert easy_half[0] > 10 * easy_half[-1]


def test_equal_logits_share_the_loss_equally():
    curves = concentration_curves(logit_histogram(torch.full((1, 50, 2), -4.6), torch.full((1, 50), -1)))
    assert curves["negatives"][0] == pytest.approx(list(FRACTIONS), abs=1e-9)
    assert curves["positives"] == [[], [], [], []]
    assert curves["num_positives"] == 0


def test_extreme_and_infinite_logits_are_counted():
    logits = torch.tensor([[[-math.inf], [300.0], [-300.0], [math.nan]]])
    histogram = logit_histogram(logits, torch.tensor([[-1, -1, 0, -1]]))
    assert float(histogram.negatives.sum()) == 3
    assert float(histogram.positives.sum()) == 1
    curve = concentration_curves(histogram)["negatives"][0]
    assert curve[33] == pytest.approx(0)  # -inf: no loss; 300 and NaN: equally wrong
    assert curve[50] == pytest.approx(0.25)


class OneNumber(nn.Module):
    """Each image's mean is every logit of it."""

    def forward(self, images):
        assert not self.training
        value = images.mean((1, 2, 3)).view(-1, 1, 1, 1)
        logits = tuple(value.expand(len(images), 4, side, side) for side in (2, 1))
        return DenseOutputs(logits, (), (torch.zeros(8, 4), torch.zeros(2, 4)), num_classes=2)


def first_prior_is_class_one(priors, target):
    labels = torch.full((sum(map(len, priors)),), -1)
    labels[0] = 1
    return Assignment(labels, labels)


def test_levels_and_batches_are_put_together_and_the_mode_is_restored():
    model = OneNumber().train()
    batches = [(torch.full((3, 3, 4, 4), 0.1), [None] * 3), (torch.full((1, 3, 4, 4), 0.2), [None])]
    curves = loss_concentration(model, first_prior_is_class_one, batches, gammas=(2.0,))
    assert model.training
    assert curves["num_positives"] == 4
    assert curves["num_negatives"] == 4 * (10 * 2 - 1)
    stopped = loss_concentration(model, first_prior_is_class_one, batches, max_negatives=1)
    assert stopped["num_positives"] == 3


def test_shares_are_sums_over_the_examples_and_their_gradients_those_of_autograd():
    logits, labels = random_level(3)
    rows = easy_shares(logit_histogram(logits, labels), (0.0, 2.0))
    positive = torch.zeros_like(logits, dtype=torch.bool)
    positive[labels >= 0] = nn.functional.one_hot(labels[labels >= 0], 3).bool()
    used = (labels != -100)[..., None].expand_as(logits)
    easy = ~positive & (torch.sigmoid(logits) < 0.1)
    groups = {"positives": positive, "hard negatives": ~positive & ~easy, "easy negatives": easy}
    for row, gamma in zip(rows, (0.0, 2.0), strict=True):
        x = logits.double().requires_grad_()
        u = torch.where(positive, x, -x)
        loss = (1 - torch.sigmoid(u)) ** gamma * -nn.functional.logsigmoid(u)
        loss.sum().backward()
        assert x.grad is not None
        for size, each in (("loss", loss.detach()), ("gradient", x.grad.abs())):
            total = float(each[used].sum())
            for group, members in groups.items():
                assert row[size][group] == pytest.approx(float(each[used & members].sum()) / total, abs=2e-3)
            assert sum(row[size].values()) == pytest.approx(1)


def test_focusing_takes_the_gradient_off_the_easy_negatives():
    shares = [row["gradient"]["easy negatives"] for row in easy_shares(logit_histogram(*random_level(2)))]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 5 * shares[-1]
