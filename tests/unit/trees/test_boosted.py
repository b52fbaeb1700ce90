"""Boosted trees with focal loss in LightGBM and XGBoost, against the libraries themselves."""

import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import log_loss
from sklearn.model_selection import cross_val_score

from focalkit.errors import ConfigError, DataError
from focalkit.trees import FocalObjective, FocalTreesClassifier, boost

LIBRARIES = ("lightgbm", "xgboost")


@pytest.fixture(scope="module")
def rows():
    """3,000 rows, 4 in 100 positive, whose true probabilities are known."""
    random = np.random.default_rng(0)
    x = random.normal(size=(3000, 4))
    p = 1 / (1 + np.exp(-(1.5 * x[:, 0] + x[:, 1] - 4.5)))
    x[random.random(x.shape) < 0.02] = np.nan
    return x, (random.random(3000) < p).astype(int), p


@pytest.mark.parametrize("library", LIBRARIES)
def test_without_focusing_it_is_the_library_s_own_log_loss(library: str, rows):
    pytest.importorskip(library)
    x, y, _ = rows
    own, ours = (boost(library, x, y, objective=o, rounds=20) for o in (None, FocalObjective(0.0)))
    np.testing.assert_allclose(own.scores(x), ours.scores(x), atol=2e-4)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("alpha", [None, 0.9])
def test_probabilities_are_posteriors(library: str, alpha, rows):
    pytest.importorskip(library)
    x, y, p = rows
    params = {"learning_rate": 0.1, **({"num_leaves": 4} if library == "lightgbm" else {"max_depth": 2})}
    model = FocalTreesClassifier(library, gamma=2.0, alpha=alpha, rounds=60, params=params).fit(x, y)
    found = model.predict_proba(x)
    np.testing.assert_allclose(found.sum(1), 1)
    assert found[:, 1].mean() == pytest.approx(y.mean(), rel=0.15)
    assert log_loss(y, found[:, 1]) < 1.1 * log_loss(y, p)
    trained = clone(model).set_params(posterior=False).fit(x, y).predict_proba(x)
    assert trained[:, 1].mean() > 2 * y.mean()  # what focal loss makes of rare probabilities


@pytest.mark.parametrize("library", LIBRARIES)
def test_few_positives_are_learnt_under_the_library_s_own_limits(library: str):
    """min_child_weight is in units of the Hessian, which focal loss makes small: unscaled, XGBoost splits nothing."""
    pytest.importorskip(library)
    random = np.random.default_rng(1)
    y = (np.arange(4000) < 40).astype(int)
    x = random.normal(size=(4000, 2)) + 3 * y[:, None]
    found = boost(library, x, y, objective=FocalObjective(2.0), rounds=10).scores(x)
    assert found[y == 1].mean() > found[y == 0].mean() + 1


@pytest.mark.parametrize("library", LIBRARIES)
def test_several_classes_and_names(library: str, rows):
    pytest.importorskip(library)
    x = np.nan_to_num(rows[0])
    y = np.array(["a", "b", "c"])[(x[:, 0] > 1).astype(int) + (x[:, 0] > 2)]
    model = FocalTreesClassifier(library, gamma=1.0, alpha=[1, 1, 2], rounds=15).fit(x, y)
    assert model.classes_.tolist() == ["a", "b", "c"]
    assert (model.predict(x) == y).mean() > 0.99
    np.testing.assert_allclose(model.predict_proba(x).sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_objective_serves_the_library_s_own_interface(library: str, rows):
    module = pytest.importorskip(library)
    x, y, _ = rows
    objective = FocalObjective(2.0, alpha=0.7)
    start = np.full(len(y), objective.start(y))
    if library == "lightgbm":
        history: dict = {}
        data = module.Dataset(x, y, init_score=start, weight=np.ones(len(y)))
        booster = module.train(
            {"objective": objective.lightgbm, "verbosity": -1, "num_threads": 1}, data, 10, valid_sets=[data],
            feval=objective.lightgbm_metric, callbacks=[module.record_evaluation(history)],
        )  # fmt: skip
        scores, curve = booster.predict(x, raw_score=True) + start, history["training"]["focal"]
    else:
        history = {}
        data = module.DMatrix(x, y, base_margin=start, nthread=1)
        booster = module.train(
            {"disable_default_eval_metric": True, "nthread": 1, "min_child_weight": 0.01}, data, 10,
            obj=objective.xgboost, custom_metric=objective.xgboost_metric, evals=[(data, "training")],
            evals_result=history, verbose_eval=False,
        )  # fmt: skip
        scores, curve = booster.predict(data, output_margin=True), history["training"]["focal"]
    assert curve == sorted(curve, reverse=True)
    assert curve[-1] == pytest.approx(objective.loss(y, scores).mean(), rel=1e-4)


def test_it_is_a_classifier_of_scikit_learn(rows):
    pytest.importorskip("lightgbm")
    x, y, _ = rows
    model = FocalTreesClassifier(rounds=20, params={"num_leaves": 4})
    assert cross_val_score(model, x, y, cv=2, scoring="roc_auc").min() > 0.8
    assert clone(model).get_params() == model.get_params()


def test_a_library_that_is_absent_is_named_with_its_extra(monkeypatch, rows):
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(ConfigError, match=r"needs the package lightgbm: pip install 'focalkit\[trees\]'"):
        boost("lightgbm", rows[0], rows[1])
    with pytest.raises(ConfigError, match="no tree library 'catboost'; expected lightgbm or xgboost"):
        boost("catboost", rows[0], rows[1])


def test_what_cannot_be_used_is_named(rows):
    x, y, _ = rows
    with pytest.raises(ConfigError, match="'objective' of lightgbm follows"):
        boost("lightgbm", x, y, params={"objective": "binary"})
    with pytest.raises(DataError, match="at least two classes are needed"):
        FocalTreesClassifier().fit(x, np.zeros(len(x)))
    with pytest.raises(DataError, match="3000 rows, but 2 labels"):
        FocalTreesClassifier().fit(x, [0, 1])
    with pytest.raises(DataError, match="expected numbers, with categories as codes"):
        FocalTreesClassifier().fit([["a"], ["b"]], [0, 1])


@pytest.mark.parametrize(("library", "name"), [("lightgbm", "is_unbalance"), ("xgboost", "scale_pos_weight")])
def test_what_a_library_leaves_out_beside_an_objective_is_refused(library: str, name: str, rows):
    pytest.importorskip(library)
    x, y, _ = rows
    with pytest.raises(ConfigError, match=f"leaves '{name}' out with an objective of one's own: use alpha or weights"):
        boost(library, x, y, objective=FocalObjective(), params={name: 9}, rounds=1)
