"""Focal loss for boosting: its derivatives are those of the paper's formula, its start is the minimum."""

import mpmath as mp
import numpy as np
import pytest
import torch

from focalkit.calibration import focal_to_posterior
from focalkit.losses import sigmoid_focal_loss, softmax_focal_loss
from focalkit.trees import FocalObjective

GAMMAS = (0.0, 0.5, 1.0, 2.0, 5.0)
SCORES = np.array([-30.0, -6.0, -2.0, -0.3, 0.0, 0.7, 3.0, 12.0, 40.0])


def transcribed(score, label: int, alpha, gamma):
    """Lin et al., 2017, eqs. 2 to 5, in 60 digits."""
    p = 1 / (1 + mp.exp(-score))
    p_t, alpha_t = (p, alpha) if label else (1 - p, 1 - alpha)
    return -alpha_t * (1 - p_t) ** gamma * mp.log(p_t)


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("gamma", GAMMAS)
def test_value_and_derivatives_are_those_of_the_formula(gamma: float, label: int):
    objective = FocalObjective(gamma, alpha=0.3)
    labels = np.full(len(SCORES), label)
    loss, (g, h) = objective.loss(labels, SCORES), objective.gradients(labels, SCORES)
    with mp.workdps(60):
        alpha = mp.mpf(0.3)
        for i, z in enumerate(SCORES):
            of = [mp.diff(lambda t: transcribed(t, label, alpha, gamma), mp.mpf(z), order) for order in (0, 1, 2)]
            p = 1 / (1 + mp.exp(-mp.mpf(z)))
            p_t = p if label else 1 - p
            assert loss[i] == pytest.approx(float(of[0]), rel=1e-11, abs=1e-300)
            assert g[i] == pytest.approx(float(of[1]), rel=1e-11, abs=1e-300)
            # the Gauss-Newton part: |gradient| / (1 - p_t) times p_t (1 - p_t)
            assert h[i] == pytest.approx(float(max(of[2], abs(of[1]) * p_t)), rel=1e-10, abs=1e-300)


@pytest.mark.parametrize("alpha", [None, 0.25])
def test_the_loss_is_the_package_s(alpha):
    labels = np.tile([0, 1], 20)[: len(SCORES)]
    z, y = torch.from_numpy(SCORES), torch.from_numpy(labels).double()
    expected = sigmoid_focal_loss(z, y, alpha=alpha, gamma=2.0, reduction="none")
    np.testing.assert_allclose(FocalObjective(2.0, alpha).loss(labels, SCORES), expected.numpy(), rtol=1e-12)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_several_classes_are_a_softmax(gamma: float):
    random = np.random.default_rng(0)
    z, y, alpha = random.normal(0, 3, (30, 4)), random.integers(0, 4, 30), [1.0, 2.0, 0.5, 3.0]
    objective = FocalObjective(gamma, alpha)
    scores, labels = torch.from_numpy(z).requires_grad_(), torch.from_numpy(y)
    weights = torch.tensor(alpha, dtype=torch.float64)[labels]
    loss = softmax_focal_loss(scores, labels, gamma=gamma, reduction="none") * weights
    (g,) = torch.autograd.grad(loss.sum(), scores)
    np.testing.assert_allclose(objective.loss(y, z), loss.detach().numpy(), rtol=1e-10)
    found, h = objective.gradients(y, z)
    np.testing.assert_allclose(found, g.numpy(), rtol=1e-8, atol=1e-14)
    step = 1e-5
    for k in range(4):
        away = np.eye(4)[k] * step
        twice = (objective.gradients(y, z + away)[0] - objective.gradients(y, z - away)[0])[:, k] / (2 * step)
        assert (h[:, k] >= 2 * twice - 1e-7).all()
        assert (h[:, k] > 0).all()
    if gamma == 0:
        p = objective.probabilities(z)
        np.testing.assert_allclose(h, 2 * weights.numpy()[:, None] * p * (1 - p), rtol=1e-10)


def test_two_columns_are_one_score():
    z, y = np.array([-2.0, 0.5, 3.0]), np.array([1, 0, 1])
    one, two = FocalObjective(2.0), FocalObjective(2.0).gradients(y, np.stack([np.zeros(3), z], 1))
    for single, both in zip(one.gradients(y, z), two, strict=True):
        np.testing.assert_allclose(both[:, 1], single, rtol=1e-12)


def test_scores_far_out_stay_finite():
    for gamma in GAMMAS:
        g, h = FocalObjective(gamma).gradients([0, 1, 0, 1], np.array([800.0, 800.0, -800.0, -800.0]))
        assert np.isfinite([g, h]).all()
        np.testing.assert_allclose(np.abs(g)[[0, 3]] > 0.99, True)


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("alpha", [None, 0.8])
def test_the_start_is_what_focal_loss_makes_of_the_base_rate(gamma: float, alpha):
    labels = np.repeat([0, 1], [970, 30])
    objective = FocalObjective(gamma, alpha)
    start = objective.start(labels)
    posterior = focal_to_posterior(torch.tensor(1 / (1 + np.exp(-start))).double(), gamma, alpha)
    assert float(posterior) == pytest.approx(0.03, rel=1e-9)
    at = [objective.loss(labels, np.full(1000, start + d)).mean() for d in (-1e-3, 0, 1e-3)]
    assert at[1] == min(at)
    assert objective.start([0, 1], weight=[970, 30]) == pytest.approx(start)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_the_start_of_several_classes_has_no_gradient(gamma: float):
    labels, alpha = np.repeat([0, 1, 2], [900, 90, 10]), [1.0, 2.0, 5.0]
    start = FocalObjective(gamma, alpha).start(labels, classes=3)
    g, _ = FocalObjective(gamma, alpha).gradients(labels, np.tile(start, (1000, 1)))
    np.testing.assert_allclose(g.mean(0), 0, atol=1e-9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FocalObjective(-1.0), "gamma must be at least 0, got -1.0"),
        (lambda: FocalObjective(2.0, 1.5), r"alpha must be in \(0, 1\)"),
        (lambda: FocalObjective(2.0, [1.0, 0.0]), "every alpha must be above 0"),
        (lambda: FocalObjective(2.0, 0.25).loss([0], np.zeros((1, 3))), "with 3 classes alpha is one positive number"),
        (lambda: FocalObjective(2.0, [1.0, 1.0]).loss([0], np.zeros((1, 3))), "one alpha for each of 3 classes, got 2"),
        (lambda: FocalObjective().start([0, 0]), "every class needs rows"),
    ],
)
def test_what_cannot_be_is_refused(make, message: str):
    with pytest.raises(ValueError, match=message):
        make()


def test_numbers_of_numpy_are_numbers():
    assert FocalObjective(alpha=np.float32(0.25)) == FocalObjective(alpha=0.25)
