"""Calibration errors and proper scores against torchmetrics, scikit-learn, netcal, and definitions written out."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss
from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

from focalkit.metrics import (
    brier_decomposition,
    brier_score,
    classwise_calibration_error,
    expected_calibration_error,
    negative_log_likelihood,
    reliability_curve,
    smooth_calibration_error,
)
from reference import calibration as reference


def binary(n: int = 500, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    p = torch.rand(n, generator=g, dtype=torch.float64)
    return p, (torch.rand(n, generator=g, dtype=torch.float64) < p**2).long()


def softmax(n: int = 400, k: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    p = (2 * torch.randn(n, k, generator=g, dtype=torch.float64)).softmax(1)
    return p, torch.randint(k, (n,), generator=g)


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
def test_ece_is_torchmetrics(norm: str):
    p, y = binary()
    theirs = float(binary_calibration_error(p, y, n_bins=15, norm=norm))
    assert expected_calibration_error(p, y, norm=norm) == pytest.approx(theirs, abs=1e-7)
    p, y = softmax()
    theirs = float(multiclass_calibration_error(p, y, num_classes=5, n_bins=15, norm=norm))
    assert expected_calibration_error(p, y, norm=norm) == pytest.approx(theirs, abs=1e-7)


@pytest.mark.parametrize("closed", ["right", "left"])
def test_ece_is_its_definition_also_on_edges_and_at_the_ends(closed: str):
    p = torch.tensor([0.0, 0.2, 0.2, 0.4, 0.6, 0.8, 0.8, 1.0, 1.0, 0.5], dtype=torch.float64)
    y = torch.tensor([0, 1, 0, 0, 1, 1, 0, 1, 0, 1])
    l1, largest = reference.expected_calibration_error(p.tolist(), y.tolist(), 5, closed == "left")
    assert expected_calibration_error(p, y, bins=5, closed=closed) == pytest.approx(l1)
    assert expected_calibration_error(p, y, bins=5, closed=closed, norm="max") == pytest.approx(largest)


def test_ece_and_class_wise_and_equal_mass_are_netcal():
    netcal = pytest.importorskip("netcal.metrics")
    p, y = softmax(600)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert expected_calibration_error(p, y, closed="left") == pytest.approx(
            netcal.ECE(15).measure(p.numpy(), y.numpy()), abs=1e-8
        )
        for c in range(3):
            theirs = netcal.ECE(10).measure(p[:, c].numpy(), (y == c).long().numpy())
            ours = expected_calibration_error(p[:, c], (y == c).long(), bins=10, closed="left")
            assert ours == pytest.approx(theirs, abs=1e-8)


def test_class_wise_is_the_mean_of_the_classes():
    p, y = softmax()
    each = [expected_calibration_error(p[:, c], y == c) for c in range(5)]
    assert classwise_calibration_error(p, y, reduction="none").tolist() == pytest.approx(each)
    assert classwise_calibration_error(p, y) == pytest.approx(sum(each) / 5)
    one_hot = torch.nn.functional.one_hot(y, 5)
    assert expected_calibration_error(p, one_hot) == pytest.approx(sum(each) / 5), "multi-label"


def test_equal_mass_bins_hold_the_same_number_and_ties_share_one():
    p, y = binary(1000)
    assert set(reliability_curve(p, y, 10, "quantile", bootstrap=0).counts.tolist()) == {100}
    tied = torch.cat([torch.full((900,), 0.3), torch.linspace(0.4, 0.9, 100)])
    curve = reliability_curve(tied, torch.ones(1000), 10, "quantile", bootstrap=0)
    assert curve.counts.tolist() == [900, 100]


@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_the_curve_is_scikit_learns(strategy: str):
    p, y = binary(1000)
    theirs = calibration_curve(y.numpy(), p.numpy(), n_bins=10, strategy=strategy)
    curve = reliability_curve(p, y, 10, strategy, bootstrap=0)
    some = curve.counts > 0
    tolerance = 1e-12 if strategy == "uniform" else 0.02  # their quantiles lie between scores
    np.testing.assert_allclose(curve.accuracy[some].numpy(), theirs[0], atol=tolerance)
    np.testing.assert_allclose(curve.confidence[some].numpy(), theirs[1], atol=tolerance)


def test_smooth_ece_is_its_definition():
    for p, y in (binary(200), binary(40, 3)):
        assert smooth_calibration_error(p, y) == pytest.approx(reference.smooth_calibration_error(p, y), abs=2e-4)


def test_smooth_ece_is_continuous_where_ece_jumps():
    y = [0, 1] * 50
    near, far = [0.5 - 1e-6, 0.5 + 1e-6] * 50, [0.5 + 1e-6, 0.5 - 1e-6] * 50
    assert abs(expected_calibration_error(near, y, 2) - expected_calibration_error(far, y, 2)) < 0.1
    assert expected_calibration_error(near, y, 2) == pytest.approx(0.5, abs=1e-3)
    assert smooth_calibration_error(near, y) < 1e-3


def test_brier_and_nll_are_scikit_learns():
    p, y = binary()
    assert brier_score(p, y) == pytest.approx(brier_score_loss(y, p))
    assert negative_log_likelihood(p, y) == pytest.approx(log_loss(y, p))
    p, y = softmax()
    assert brier_score(p, y) == pytest.approx(brier_score_loss(y, p, scale_by_half=False, labels=range(5)))
    assert negative_log_likelihood(p, y) == pytest.approx(log_loss(y, p))
    assert negative_log_likelihood([[1.0, 0.0]], [1]) == np.inf


@pytest.mark.parametrize("bins", [None, 1, 10])
def test_the_parts_of_brier_add_up(bins: int | None):
    for p, y in (binary(), softmax(), (softmax()[0], torch.nn.functional.one_hot(softmax()[1]))):
        parts = brier_decomposition(p, y, bins)
        total = parts.reliability - parts.resolution + parts.uncertainty + parts.within
        assert total == pytest.approx(parts.score, abs=1e-12)
        assert parts.score == pytest.approx(brier_score(p, y))
        if bins is None:
            assert parts.within == pytest.approx(0, abs=1e-12)


def test_murphys_worked_example():
    # forecasts 0.8 (3 of 4 happen) and 0.2 (1 of 4): REL (.05^2 + .05^2) / 2, base rate 1/2, RES .25^2, UNC .25
    parts = brier_decomposition([0.8] * 4 + [0.2] * 4, [1, 1, 1, 0, 1, 0, 0, 0])
    assert (parts.reliability, parts.resolution, parts.uncertainty) == pytest.approx((0.0025, 0.0625, 0.25))


def test_bands_cover_the_truth_about_as_often_as_they_say():
    inside, all_ = 0, 0
    for seed in range(30):
        g = torch.Generator().manual_seed(seed)
        p = torch.rand(400, generator=g)
        curve = reliability_curve(p, torch.rand(400, generator=g) < p, 5, bootstrap=300, seed=seed)
        ok = (curve.low <= curve.confidence) & (curve.confidence <= curve.high)
        inside, all_ = inside + int(ok.sum()), all_ + 5
    assert 0.88 <= inside / all_ <= 0.99


def test_bands_of_groups_are_wider_where_groups_agree():
    g = torch.Generator().manual_seed(0)
    y = (torch.rand(40, generator=g) < 0.5).repeat_interleave(25)
    p, groups = torch.full((1000,), 0.5), torch.arange(40).repeat_interleave(25)
    alone, together = reliability_curve(p, y, 1), reliability_curve(p, y, 1, groups=groups)
    assert float(together.high - together.low) > 3 * float(alone.high - alone.low)
    assert torch.equal(together.low, reliability_curve(p, y, 1, groups=groups).low), "the seed decides"


@pytest.mark.parametrize("measure", [expected_calibration_error, smooth_calibration_error, brier_score])
@pytest.mark.parametrize(
    ("p", "y", "words"),
    [
        ([1.5, 0.2], [1, 0], r"expected probabilities in \[0, 1\], got values from 0.2 to 1.5; logits become"),
        ([float("nan"), 0.2], [1, 0], "NaN"),
        ([], [], "no rows"),
        ([0.5, 0.2], [2, 0], "labels from 0 to 1"),
        ([[0.5, 0.5]], [[1, 0, 0]], "expected labels of shape"),
    ],
)
def test_bad_input_is_refused(measure, p: list, y: list, words: str):
    with pytest.raises(ValueError, match=words):
        measure(p, y)


@pytest.mark.parametrize(
    "words", [{"bins": 0}, {"scheme": "equal"}, {"norm": "l3"}, {"closed": "both"}], ids=lambda w: next(iter(w))
)
def test_unknown_words_are_refused(words: dict):
    with pytest.raises(ValueError, match=r"must be|at least 1 bin"):
        expected_calibration_error([0.5, 0.2], [1, 0], **words)
