"""Calibrators against scikit-learn, against maximum likelihood found by scipy, and on sets that break others."""

import json
import warnings

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.isotonic import IsotonicRegression

from focalkit.calibration import (
    BetaCalibration,
    HistogramBinning,
    IsotonicCalibration,
    PlattScaling,
    TemperatureScaling,
    VectorScaling,
)

ALL = [TemperatureScaling, VectorScaling, PlattScaling, BetaCalibration, IsotonicCalibration, HistogramBinning]
SCORES = [PlattScaling, BetaCalibration, IsotonicCalibration, HistogramBinning]


def rows(kind: str, n: int = 3000, k: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """True log-odds and labels drawn from them."""
    g = torch.Generator().manual_seed(seed)
    z = torch.randn((n,) if kind == "binary" else (n, k), generator=g, dtype=torch.float64) * 2
    if kind == "multi-class":
        return z, torch.multinomial(z.softmax(-1), 1, generator=g)[:, 0]
    return z, (torch.rand(z.shape, generator=g, dtype=torch.float64) < z.sigmoid()).long()


def truth(z: torch.Tensor, kind: str) -> torch.Tensor:
    return z.softmax(-1) if kind == "multi-class" else z.sigmoid()


@pytest.mark.parametrize("kind", ["binary", "multi-class", "multi-label"])
@pytest.mark.parametrize("calibrator", ALL)
def test_every_calibrator_brings_over_confident_scores_back(calibrator: type, kind: str):
    z, labels = rows(kind, 6000)
    fitted = calibrator().fit(3 * z, labels)
    before, after = truth(3 * z, kind), fitted.transform(3 * z)
    error = (after - truth(z, kind)).abs().mean()
    assert error < 0.35 * (before - truth(z, kind)).abs().mean()
    if kind == "multi-class":
        torch.testing.assert_close(after.sum(-1), torch.ones(len(z), dtype=torch.float64))


@pytest.mark.parametrize("kind", ["binary", "multi-class", "multi-label"])
@pytest.mark.parametrize("calibrator", ALL)
def test_the_state_survives_json(calibrator: type, kind: str):
    z, labels = rows(kind)
    fitted = calibrator().fit(z, labels)
    state = json.loads(json.dumps(fitted.state_dict()))
    again = calibrator().load_state_dict(state)
    assert torch.equal(again.transform(z), fitted.transform(z))


@pytest.mark.parametrize("calibrator", ALL)
def test_forms_and_precision_are_kept(calibrator: type):
    z, labels = rows("binary")
    fitted = calibrator().fit(z.numpy().astype(np.float32), labels.numpy())
    found = fitted.transform(z.numpy().astype(np.float32))
    assert isinstance(found, np.ndarray)
    assert found.dtype == np.float32
    assert fitted.transform(z.bfloat16()).dtype == torch.float32


# --- against others ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-6, 0.3, 1.0, 40.0, 1e6])
def test_temperature_is_the_maximum_of_the_likelihood_at_any_scale(scale: float):
    z, labels = rows("multi-class")
    fitted = TemperatureScaling().fit(z * scale, labels)
    once = TemperatureScaling().fit(z, labels)
    assert fitted.temperature == pytest.approx(once.temperature * scale, rel=1e-9)

    def nll(log_t: np.ndarray) -> float:
        return float(torch.nn.functional.cross_entropy(z / float(np.exp(log_t[0])), labels))

    best = minimize(nll, [0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-15})
    assert once.temperature == pytest.approx(float(np.exp(best.x[0])), rel=1e-5)


def test_platt_is_scikit_learns():
    z, labels = rows("binary", 500)

    class Decision(ClassifierMixin, BaseEstimator):
        def fit(self, x: np.ndarray, y: np.ndarray) -> "Decision":
            self.classes_ = np.unique(y)
            return self

        def decision_function(self, x: np.ndarray) -> np.ndarray:
            return x[:, 0]

        def predict(self, x: np.ndarray) -> np.ndarray:
            return (x[:, 0] > 0).astype(int)

    x, y = z.numpy()[:, None], labels.numpy()
    peer = CalibratedClassifierCV(FrozenEstimator(Decision().fit(x, y)), method="sigmoid", ensemble=False).fit(x, y)
    ours = PlattScaling().fit(z, labels).transform(z).numpy()
    np.testing.assert_allclose(ours, peer.predict_proba(x)[:, 1], atol=1e-5)


def test_isotonic_is_scikit_learns():
    z, labels = rows("binary")
    p = z.sigmoid().numpy()
    peer = IsotonicRegression(out_of_bounds="clip").fit(p, labels.numpy())
    fitted = IsotonicCalibration().fit(z, labels)
    new = torch.linspace(-9, 9, 1001, dtype=torch.float64)
    np.testing.assert_allclose(fitted.transform(new).numpy(), peer.predict(new.sigmoid().numpy()), atol=1e-12)


def test_beta_and_vector_scaling_maximise_their_likelihoods():
    z, labels = rows("binary", 800)
    m = BetaCalibration().fit(z, labels).maps[0]
    s, y = z.sigmoid().numpy(), labels.numpy()

    def beta_nll(w: np.ndarray) -> float:
        u = w[0] * np.log(s) - w[1] * np.log1p(-s) + w[2]
        return float(np.mean(np.logaddexp(0, u) - y * u))

    best = minimize(beta_nll, [1, 1, 0], method="BFGS", options={"gtol": 1e-9})
    assert beta_nll(np.array([m.a, m.b, m.c])) == pytest.approx(best.fun, abs=1e-9)

    z, labels = rows("multi-class", 800, k=3)
    fitted = VectorScaling().fit(z * 2, labels)
    rows_ = torch.eye(3)[labels].numpy().astype(bool)

    def vector_nll(w: np.ndarray) -> float:
        u = 2 * z.numpy() * w[:3] + w[3:]
        return float(np.mean(np.logaddexp.reduce(u, 1) - u[rows_]))

    best = minimize(vector_nll, [0.5] * 3 + [0.0] * 3, method="BFGS")
    found = vector_nll(np.concatenate([fitted.weight.numpy(), fitted.bias.numpy()]))
    assert found == pytest.approx(best.fun, abs=1e-5)  # the faint pull towards temperature scaling


def test_histogram_bins_hold_their_share_of_positives():
    z, labels = rows("binary", 1000)
    values = HistogramBinning(bins=10).fit(z, labels).transform(z)
    for value in values.unique():
        assert float(labels[values == value].double().mean()) == pytest.approx(float(value))
        assert int((values == value).sum()) == 100
    uniform = HistogramBinning(bins=4, scheme="uniform").fit(torch.tensor([-9.0, 9.0]), torch.tensor([0, 1])).maps[0]
    assert uniform.values == (0.0, 0.375, 0.625, 1.0), "an empty bin keeps its middle"


# --- hard cases -------------------------------------------------------------------------------------------------------


def test_temperature_of_separated_rows_is_finite_and_noted():
    z = torch.tensor([[5.0, 0, 0], [0, 9.0, 0], [1, 2, 40.0]])
    with pytest.warns(UserWarning, match="separated"):
        fitted = TemperatureScaling().fit(z, torch.tensor([0, 1, 2]))
    assert 0 < fitted.temperature < np.inf
    assert fitted.notes


def test_temperature_of_useless_logits_is_infinite_and_noted():
    z = torch.tensor([[3.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    with pytest.warns(UserWarning, match="no better than chance"):
        fitted = TemperatureScaling().fit(z, torch.tensor([1, 1, 0]))
    assert fitted.temperature == np.inf
    assert fitted.transform(z).tolist() == [[0.5, 0.5]] * 3
    again = TemperatureScaling().load_state_dict(json.loads(json.dumps(fitted.state_dict())))
    assert torch.equal(again.transform(z), fitted.transform(z))


def test_temperature_takes_classes_masked_by_infinity():
    z, labels = rows("multi-class", 500, k=3)
    masked = torch.cat([z, torch.full((500, 1), -torch.inf, dtype=torch.float64)], 1)
    wide = TemperatureScaling().fit(masked, labels)
    assert wide.temperature == pytest.approx(TemperatureScaling().fit(z, labels).temperature, rel=1e-9)
    assert float(wide.transform(masked)[:, 3].max()) == 0
    with pytest.raises(ValueError, match="its own label is -inf"):
        TemperatureScaling().fit(masked, labels.clone().fill_(3).index_fill(0, torch.tensor([0]), 1))


@pytest.mark.parametrize("calibrator", [PlattScaling, BetaCalibration, VectorScaling])
def test_separable_scores_give_finite_maps(calibrator: type):
    z = torch.linspace(-3, 3, 200)
    fitted = calibrator().fit(z, z > 0)
    found = fitted.transform(torch.tensor([-1e30, -3.0, 3.0, 1e30]))
    assert bool(found.isfinite().all())
    assert bool((found.diff() >= 0).all())


@pytest.mark.parametrize("calibrator", SCORES)
def test_scores_of_exactly_zero_and_one_stay_probabilities(calibrator: type):
    z, labels = rows("binary")
    found = calibrator().fit(z, labels).transform(torch.tensor([-torch.inf, -800.0, 800.0]))
    assert bool(((found >= 0) & (found <= 1)).all())


@pytest.mark.parametrize("calibrator", [VectorScaling, *SCORES])
def test_rare_classes_take_the_pooled_map_and_say_so(calibrator: type):
    z, labels = rows("multi-label", 1500)
    labels[:, 2] = 0
    labels[:20, 2] = 1
    with pytest.warns(UserWarning, match=r"1 of 4 classes .* pooled: 2"):
        fitted = calibrator().fit(z, labels)
    assert fitted.notes
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        calibrator().fit(*rows("multi-label", 1500))


def test_isotonic_warns_of_few_rows():
    with pytest.warns(UserWarning, match="999 rows are few"):
        IsotonicCalibration().fit(*rows("binary", 999))


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("calibrator", ALL)
@pytest.mark.parametrize(
    ("logits", "labels", "words"),
    [
        (torch.empty(0), torch.empty(0), "there are no rows"),
        (torch.randn(9), torch.ones(9), "one class alone"),
        (torch.randn(9, 3), torch.full((9,), 2), "one class alone"),
        (torch.randn(9, 3), torch.arange(9) % 4, "labels from 0 to 2, got values from 0 to 3"),
        (torch.randn(9), torch.tensor([-1, 1] * 4 + [0]), "labels from 0 to 1"),
        (torch.randn(9), torch.full((9,), 0.5), "whole-number labels"),
        (torch.full((9,), torch.nan), torch.arange(9) % 2, "NaN or infinity, first in row 0"),
        (torch.randn(9, 3).softmax(-1), torch.arange(9) % 3, "look like probabilities.*torch.log"),
        (torch.rand(20), torch.arange(20) % 2, "look like probabilities.*torch.logit"),
        (torch.randn(9, 3), torch.zeros(8), "expected labels of shape"),
        (torch.randn(9, 1), torch.zeros(9), "k at least 2"),
    ],
)
def test_bad_sets_are_refused(calibrator: type, logits: torch.Tensor, labels: torch.Tensor, words: str):
    with pytest.raises(ValueError, match=words):
        calibrator().fit(logits, labels)
