"""The closed form undoes what focal loss does to posteriors; truth is the loss minimised in mpmath."""

import mpmath as mp
import numpy as np
import pytest
import torch

from focalkit.calibration import focal_to_posterior
from reference.calibration import focal_minimiser, softmax_focal_minimiser

ETAS = (1e-4, 0.3, 0.9, 0.999)


@pytest.mark.parametrize(("gamma", "alpha"), [(0.0, 0.9), (0.3, None), (2.0, None), (2.0, 0.25), (5.0, 0.9)])
def test_it_inverts_the_minimiser_of_binary_focal_loss(gamma: float, alpha: float | None):
    with mp.workdps(25):
        minimisers = [float(focal_minimiser(eta, gamma, alpha or 0.5)) for eta in ETAS]
    found = focal_to_posterior(torch.tensor(minimisers, dtype=torch.float64), gamma, alpha)
    torch.testing.assert_close(found, torch.tensor(ETAS, dtype=torch.float64), atol=1e-10, rtol=1e-9)


@pytest.mark.parametrize(("gamma", "eta"), [(2.0, (0.8, 0.15, 0.05)), (0.5, (0.4, 0.6)), (3.0, (0.98, 0.019, 0.001))])
def test_it_inverts_the_minimiser_of_softmax_focal_loss(gamma: float, eta: tuple[float, ...]):
    with mp.workdps(25):
        minimiser = [float(p) for p in softmax_focal_minimiser(eta, gamma)]
    found = focal_to_posterior(torch.tensor([minimiser], dtype=torch.float64), gamma, kind="softmax")
    torch.testing.assert_close(found, torch.tensor([eta], dtype=torch.float64), atol=1e-10, rtol=0)


def test_the_published_example_comes_back():
    assert float(focal_to_posterior(torch.tensor(0.6942, dtype=torch.float64), 2.0)) == pytest.approx(0.9, abs=2e-5)
    found = focal_to_posterior([0.601, 0.285, 0.114], 2.0)
    assert found.tolist() == pytest.approx([0.8, 0.15, 0.05], abs=5e-4)


@pytest.mark.parametrize("gamma", [0.5, 2.0, 7.0])
def test_two_classes_are_one_sigmoid(gamma: float):
    p = torch.linspace(0, 1, 101, dtype=torch.float64)
    both = torch.stack([p, 1 - p], 1)
    softmax = focal_to_posterior(both, gamma, kind="softmax")
    torch.testing.assert_close(softmax[:, 0], focal_to_posterior(p, gamma, kind="sigmoid"), atol=1e-14, rtol=1e-12)


def test_gamma_zero_changes_nothing():
    p = torch.tensor([0.0, 1e-30, 0.2, 1.0])
    torch.testing.assert_close(focal_to_posterior(p, 0.0, kind="sigmoid"), p, rtol=1e-6, atol=0)
    rows = torch.rand(5, 4).softmax(-1)
    torch.testing.assert_close(focal_to_posterior(rows, 0.0), rows)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 50.0, 1000.0])
def test_value_and_gradient_are_finite_at_the_ends(gamma: float):
    p = torch.tensor([0.0, 1e-45, 1e-8, 0.5, 1 - 6e-8, 1.0], requires_grad=True)
    found = focal_to_posterior(p, gamma, kind="sigmoid")
    found.sum().backward()
    assert found[[0, -1]].tolist() == [0.0, 1.0]
    assert bool(found.isfinite().all() and p.grad.isfinite().all())
    assert bool((found.diff() >= 0).all())

    logits = torch.tensor([[1000.0, 0, 0], [100.0, 0, 0], [20.0, 0, 0], [0, 0, 0]], requires_grad=True)
    rows = focal_to_posterior(logits.softmax(-1), gamma)
    rows[:, 0].sum().backward()
    assert bool(rows.isfinite().all() and logits.grad.isfinite().all())
    torch.testing.assert_close(rows.sum(-1), torch.ones(4))


def test_the_gradient_is_the_derivative():
    p = torch.tensor([0.01, 0.3, 0.8, 0.99], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: focal_to_posterior(p, 1.7, 0.25, kind="sigmoid"), p)
    z = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    alpha = torch.tensor([1.0, 2.0, 0.5, 1.0])
    assert torch.autograd.gradcheck(lambda z: focal_to_posterior(z.softmax(-1), 1.7, alpha), z)


def test_softmax_alpha_undoes_the_weights_of_the_classes():
    # with gamma 0 the minimiser of a weighted cross-entropy is eta_c alpha_c, normalised
    eta, alpha = torch.tensor([[0.7, 0.2, 0.1]]), torch.tensor([1.0, 5.0, 10.0])
    weighted = eta * alpha / (eta * alpha).sum()
    torch.testing.assert_close(focal_to_posterior(weighted, 0.0, alpha), eta)


def test_it_takes_gammas_per_class_and_gives_back_the_form_it_got():
    p = np.array([[0.2, 0.7, 0.6], [0.1, 0.3, 0.9]], dtype=np.float32)
    found = focal_to_posterior(p, [0.0, 2.0, 5.0])
    assert isinstance(found, np.ndarray)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:, 0], p[:, 0], rtol=1e-6)
    np.testing.assert_allclose(found[:, 1], focal_to_posterior(p[:, 1], 2.0, kind="sigmoid"), rtol=1e-6)
    assert focal_to_posterior(torch.rand(4).bfloat16(), 2.0).dtype == torch.float32


def test_a_softmax_of_half_precision_is_still_one():
    rows = torch.randn(20, 5).softmax(-1)
    found = focal_to_posterior(rows.half(), 2.0, kind="softmax")
    torch.testing.assert_close(found, focal_to_posterior(rows, 2.0), atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    ("p", "gamma", "alpha", "words"),
    [
        ([-1.0, 2.0], 2.0, None, "logits become probabilities"),
        ([0.2, float("nan")], 2.0, None, "expected probabilities"),
        ([0.2], -1.0, None, "gamma must be finite and at least 0"),
        ([0.2], 2.0, 1.0, "alpha must lie strictly between 0 and 1"),
        ([0.2, 0.8], 2.0, 0.25, "alpha of a softmax must be 2 positive numbers"),
    ],
)
def test_bad_arguments_are_named(p: list[float], gamma: float, alpha: float | None, words: str):
    with pytest.raises(ValueError, match=words):
        focal_to_posterior(torch.tensor(p), gamma, alpha)
