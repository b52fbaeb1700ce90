"""LightGBM and XGBoost as arrays predict what the libraries predict."""

import numpy as np
import pytest

from focalkit.compare import METHODS, Method
from focalkit.errors import ConfigError
from focalkit.tasks.tabular._boosters import fit_booster, of_booster
from focalkit.trees import FocalObjective, boost


@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("focal", [False, True])
def test_boosters_as_arrays_give_the_same_scores(library: str, classes: int, gaps: bool, focal: bool):
    pytest.importorskip(library)
    random = np.random.default_rng(0)
    x = np.concatenate([random.integers(0, 6, (600, 1)), random.normal(size=(600, 3)).round(2)], 1)
    y = ((x[:, 0] % 3 == 1) * 1 + (x[:, 1] > 0.5)) % classes
    train = x.copy()
    if gaps:
        train[random.random(x.shape) < 0.1] = np.nan
    objective = FocalObjective(2.0) if focal else None
    found = boost(library, train, y, objective=objective, classes=classes, rounds=12)
    x[random.random(x.shape) < 0.1] = np.nan  # also where training had none
    x = x.astype(np.float32 if library == "xgboost" else np.float64)
    scores = found.scores(x)
    expected = np.stack([np.zeros(len(x)), scores], 1) if classes == 2 else scores
    np.testing.assert_allclose(of_booster(found).logits(x), expected, atol=1e-5)


def test_a_loss_that_trees_do_not_have_is_refused():
    x, y = np.zeros((4, 1)), np.array([0, 1, 0, 1])
    method = Method("mine", model="lightgbm", loss="asl(gamma_neg=2)")
    with pytest.raises(ConfigError, match=r"mine: the model 'lightgbm' has its own log loss and focal"):
        fit_booster(method, x, y, None, 2, 1, 0)


def test_the_rows_of_the_table_are_plain_weighted_and_focal():
    for library in ("lightgbm", "xgboost"):
        plain, weighted, focal = (METHODS[library + end] for end in ("", "_balanced", "_focal"))
        assert (plain.loss, plain.class_weight) == ("default", None)
        assert weighted.class_weight == "inverse"
        assert focal.loss.startswith("focal(")
