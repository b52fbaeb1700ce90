"""Models for tables: they learn, they are stored without pickles, and they treat new data as they treated the old."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.preprocessing import QuantileTransformer

from focalkit.compare import METHODS, Method
from focalkit.errors import ConfigError, DataError
from focalkit.sampling import under_bagging
from focalkit.tasks import Budget, Source, open_task
from focalkit.tasks._losses import MethodLoss, class_weights, training_prior
from focalkit.tasks._scores import average_precision
from focalkit.tasks.tabular import _train as training
from focalkit.tasks.tabular._columns import Rows
from focalkit.tasks.tabular._encode import Encoder
from focalkit.tasks.tabular._forest import averaged, of_hist_gb, of_trees
from focalkit.tasks.tabular._network import TableNetwork

TABLES = open_task("tabular")
SHORT = Budget(steps=60)
OURS = [method for method in METHODS.values() if method.fits("tabular")]


@pytest.fixture(scope="module")
def splits(csv: Path):
    return TABLES.read(Source(csv), 0)


@pytest.mark.parametrize("method", OURS, ids=lambda method: method.name)
def test_every_method_fits(splits, tmp_path: Path, method: Method):
    if method.model == "easy_ensemble":
        method = replace(method, settings={"n_estimators": 2})
    fitted = TABLES.fit(method, splits, Budget(steps=15), 0, tmp_path)
    outputs = fitted.outputs("test")
    assert outputs.logits.shape == (80, 2)
    assert np.isfinite(outputs.logits).all()
    np.testing.assert_array_equal(outputs.ids, splits.test.ids)
    assert sum(fitted.facts["training_prior"]) == pytest.approx(1)


@pytest.mark.parametrize("name", ["ce", "focal", "logistic", "hist_gb"])
def test_models_learn(splits, tmp_path: Path, name: str):
    outputs = TABLES.fit(METHODS[name], splits, SHORT, 0, tmp_path).outputs("test")
    assert average_precision(outputs.probabilities, outputs.targets) > 0.5  # by chance .15


@pytest.mark.parametrize(
    "name", ["ce", "logistic", "hist_gb", "hist_gb_under_bagging", "balanced_forest", "rus_boost", "easy_ensemble"]
)
def test_a_stored_model_says_the_same(csv: Path, splits, tmp_path: Path, name: str):
    fitted = TABLES.fit(METHODS[name], splits, Budget(steps=10), 0, tmp_path)
    fitted.save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.json", "model.safetensors"]
    found = TABLES.load(tmp_path).predict(csv)
    np.testing.assert_allclose(found.logits[splits.test.ids], fitted.outputs("test").logits, rtol=1e-5, atol=1e-6)
    assert (found.targets == -1).all()


class OwnNetwork(torch.nn.Module):
    """Of somebody who knows nothing of focalkit: a line through the numbers."""

    def __init__(self, numbers: int, levels: list[int], classes: int) -> None:
        super().__init__()
        self.line = torch.nn.Linear(numbers, classes)

    def forward(self, numbers, codes):
        return self.line(numbers)


def test_a_network_of_ones_own_trains_and_its_files_are_read_by_its_task_alone(csv: Path, splits, tmp_path: Path):
    task = replace(TABLES, network=OwnNetwork)
    fitted = task.fit(METHODS["focal"], splits, SHORT, 0, tmp_path)
    outputs = fitted.outputs("test")
    assert average_precision(outputs.probabilities, outputs.targets) > 0.3  # by chance .15
    fitted.save(tmp_path)
    found = task.load(tmp_path).predict(csv)
    np.testing.assert_allclose(found.logits[splits.test.ids], outputs.logits, rtol=1e-5, atol=1e-6)
    with pytest.raises(DataError, match="OwnNetwork' is not focalkit's"):
        TABLES.load(tmp_path)
    with pytest.raises(ConfigError, match="mixup mixes encoded rows"):
        task.fit(METHODS["mixup"], splits, SHORT, 0, tmp_path)


def test_new_data_may_have_gaps_new_categories_and_other_columns(frame, splits, tmp_path: Path):
    fitted = TABLES.fit(METHODS["hist_gb"], splits, SHORT, 0, tmp_path)
    new = frame.drop("outcome", "name", "country").with_columns(
        polars.lit("cheque").alias("kind"), polars.lit(None, dtype=polars.Float64).alias("amount"), extra=1
    )
    assert len(fitted.model.predict(new)) == 400
    with pytest.raises(DataError, match="there is no column 'kind'"):
        fitted.model.predict(new.drop("kind"))
    with pytest.raises(DataError, match="column 'age' should hold numbers, got 'old'"):
        fitted.model.predict(new.with_columns(polars.lit("old").alias("age")))
    with pytest.raises(DataError, match=r"column 'day' should hold dates .*'someday'"):
        fitted.model.predict(new.with_columns(polars.lit("someday").alias("day")))


def test_a_broken_model_is_named(splits, tmp_path: Path):
    TABLES.fit(METHODS["logistic"], splits, SHORT, 0, tmp_path).save(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(DataError, match="no model for tables"):
        TABLES.load(tmp_path)
    (tmp_path / "model.json").write_text(json.dumps({"schema": 99}))
    with pytest.raises(DataError, match="no model for tables"):
        TABLES.load(tmp_path)


def test_a_seed_fixes_the_network_for_every_method(splits, tmp_path: Path, monkeypatch):
    seen = []
    usual = TableNetwork.__init__

    def remembering(self, *args, **kwargs):
        usual(self, *args, **kwargs)
        seen.append([p.detach().clone() for p in self.parameters()])

    monkeypatch.setattr(training.TableNetwork, "__init__", remembering)
    for name in ("ce", "focal", "smote", "mixup"):
        TABLES.fit(METHODS[name], splits, Budget(steps=1), 3, tmp_path)
    assert all(torch.equal(a, b) for other in seen[1:] for a, b in zip(seen[0], other, strict=True))


def test_a_large_table_is_passed_over_twenty_times_at_most(splits, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(training, "LARGEST_BATCH", 64)  # the batch of a table as small as this one
    fitted = TABLES.fit(METHODS["ce"], splits, Budget(), 0, tmp_path)
    assert fitted.facts["steps"] == -(-20 * len(splits.train.labels) // 64)


def test_the_same_seed_gives_the_same_logits(splits, tmp_path: Path):
    a, b = (TABLES.fit(METHODS["mixup"], splits, SHORT, 1, tmp_path).outputs("val").logits for _ in range(2))
    np.testing.assert_array_equal(a, b)


def test_a_peer_refuses_what_it_does_not_have(splits, tmp_path: Path):
    with pytest.raises(ConfigError, match="the model 'hist_gb' has no loss"):
        TABLES.fit(Method("x", model="hist_gb", loss="focal"), splits, SHORT, 0, tmp_path)
    with pytest.raises(ConfigError, match="samples by itself"):
        TABLES.fit(Method("x", model="rus_boost", sampler="under"), splits, SHORT, 0, tmp_path)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("gaps", [False, True])
def test_boosted_trees_as_arrays_predict_as_scikit_learn(classes: int, gaps: bool):
    random = np.random.default_rng(0)
    x = np.concatenate([random.integers(0, 6, (500, 2)), random.normal(size=(500, 3))], 1).astype(float)
    y = ((x[:, 0] % 3 == 1) * 1 + (x[:, 2] > 0.5)) % classes
    if gaps:
        x[random.random(x.shape) < 0.1] = np.nan
    model = HistGradientBoostingClassifier(max_iter=20, categorical_features=[0, 1], random_state=0)
    model.fit(x[x[:, 0] != 4][:300], y[x[:, 0] != 4][:300])  # code 4 is new at prediction
    found = of_hist_gb(model).logits(x).astype(float)
    p = np.exp(found) / np.exp(found).sum(1, keepdims=True)
    np.testing.assert_allclose(p, model.predict_proba(x), atol=1e-6)


@pytest.mark.parametrize("classes", [2, 3])
def test_averaged_boostings_are_the_mean_of_their_probabilities(classes: int):
    random = np.random.default_rng(3)
    x = np.concatenate([random.integers(0, 6, (400, 1)), random.normal(size=(400, 2))], 1).astype(float)
    x[random.random(x.shape) < 0.05] = np.nan
    y = ((x[:, 0] % 3 == 1) * 1 + (x[:, 1] > 0.5)) % classes
    models = [
        HistGradientBoostingClassifier(max_iter=8, categorical_features=[0]).fit(x[rows], y[rows])
        for rows in (x[:, 0] < 3, np.arange(400) < 200)  # the first never saw codes 3 to 5
    ]
    found = averaged([of_hist_gb(model) for model in models]).logits(x)
    mean = np.mean([model.predict_proba(x) for model in models], 0)
    np.testing.assert_allclose(np.exp(found.astype(float)), mean, atol=1e-6)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", ["balanced_forest", "rus_boost", "easy_ensemble"])
def test_ensembles_as_arrays_predict_as_imbalanced_learn(name: str, classes: int):
    random = np.random.default_rng(1)
    y = random.choice(classes, 400, p=[0.8, 0.2] if classes == 2 else [0.7, 0.2, 0.1])
    x = (random.normal(size=(400, 4)) + 2 * y[:, None]).astype(np.float32)
    model = under_bagging(name, n_estimators=4).fit(x, y)
    if name == "balanced_forest":
        forest = of_trees([(tree, 1.0, 0) for tree in model.estimators_], "probabilities", classes)
    elif name == "rus_boost":
        pairs = zip(model.estimators_, model.estimator_weights_, strict=False)
        forest = of_trees([(tree, float(w), 0) for tree, w in pairs], "softmax", classes)
    else:
        bags = [bag.steps[-1][1] for bag in model.estimators_]
        trees = [
            (t, float(w), m)
            for m, b in enumerate(bags)
            for t, w in zip(b.estimators_, b.estimator_weights_, strict=False)
        ]
        forest = of_trees(trees, "softmax", classes)
    p = np.exp(forest.logits(x).astype(float))
    np.testing.assert_allclose(p / p.sum(1, keepdims=True), model.predict_proba(x), atol=2e-6)


def test_normal_deviates_are_those_of_the_quantiles():
    random = np.random.default_rng(0)
    x = random.lognormal(size=(4000, 1))
    ours = Encoder.of(Rows(x, np.zeros((4000, 0), dtype=np.int64))).normal(Rows(x, np.zeros((4000, 0), dtype=np.int64)))
    theirs = QuantileTransformer(n_quantiles=256, output_distribution="normal", subsample=None).fit_transform(x)
    inside = np.abs(theirs[:, 0]) < 2.5
    np.testing.assert_allclose(ours[inside, 0], theirs[inside, 0], atol=0.02)


def test_gaps_become_the_median_and_a_flag():
    x = np.array([[1.0, np.nan], [2.0, 5.0], [9.0, 6.0]])
    rows = Rows(x, np.zeros((3, 0), dtype=np.int64))
    encoder = Encoder.of(rows)
    standard = encoder.standard(rows)
    assert standard.shape == (3, 3)
    assert standard[:, 2].tolist() == [1, 0, 0]
    assert standard[0, 1] == pytest.approx((5.5 - 5.5) / 0.5)


def test_the_binary_sigmoid_is_the_softmax_of_two_logits():
    logits = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(50) % 2
    ours = MethodLoss(Method("bce", loss="bce"), [25, 25])(logits, labels)
    torch.testing.assert_close(ours, torch.nn.functional.cross_entropy(logits, labels))


def test_weights_are_those_of_scikit_learn_up_to_a_factor():
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.repeat([0, 1, 2], [70, 20, 10])
    theirs = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(class_weights("inverse", [70, 20, 10]), theirs)


def test_deferred_weights_begin_at_their_share_of_the_training():
    loss = MethodLoss(METHODS["drw"], [90, 10])
    logits, labels = torch.zeros(10, 2), torch.ones(10, dtype=torch.long)
    early, late = (loss(logits, labels, share).item() for share in (0.79, 0.8))
    assert early == pytest.approx(np.log(2))
    assert late == pytest.approx(np.log(2) * class_weights("effective_number(beta=0.999)", [90, 10])[1], rel=1e-5)


def test_what_training_teaches_is_known():
    assert training_prior(METHODS["weighted"], [90, 10]) == pytest.approx([0.5, 0.5])
    assert training_prior(METHODS["sqrt_sampling"], [90, 10]) == pytest.approx([0.75, 0.25])
    assert training_prior(METHODS["ce"], [90, 10]) == pytest.approx([0.9, 0.1])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"loss": "giou"}, "takes boxes, not classes"),
        ({"class_weight": "invers"}, "no class weight 'invers'; did you mean \"inverse\""),
        ({"class_weight": "effective_number(beta=2)"}, "beta must be"),
        ({"schedule": "crt"}, "expected drw"),
        ({"augment": "cutmix"}, "expected mixup"),
        ({"sampler": "ovr"}, "no sampler"),
    ],
)
def test_a_method_that_cannot_be_is_said(splits, tmp_path: Path, row: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        TABLES.fit(Method("x", **row), splits, Budget(steps=1), 0, tmp_path)
