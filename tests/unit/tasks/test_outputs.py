"""Outputs and metrics of one class per item."""

from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as theirs

from focalkit.compare.store import write_outputs
from focalkit.errors import DataError
from focalkit.tasks import Outputs
from focalkit.tasks import _scores as scores

RANDOM = np.random.default_rng(0)


def outputs(n: int = 6, k: int = 3, **more) -> Outputs:
    return Outputs(np.arange(n), RANDOM.integers(0, k, n), RANDOM.normal(size=(n, k)).astype(np.float32), **more)


@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
def test_files_hold_everything(tmp_path: Path, link):
    parts = {"boxes.item": np.array([0, 0, 3]), "boxes.xyxy": RANDOM.normal(size=(3, 4))}
    before = outputs(groups=np.arange(6) // 2, link=link, parts=parts)
    write_outputs(tmp_path / "val.npz", before)
    after = Outputs.read(tmp_path / "val.npz")
    assert after.link == link
    for name, value in before.arrays().items():
        np.testing.assert_array_equal(after.arrays()[name], value)


def test_a_file_that_holds_something_else_is_named(tmp_path: Path):
    np.savez(tmp_path / "val.npz", x=np.zeros(3))
    with pytest.raises(DataError, match=r"val\.npz.*\n.*not the outputs"):
        Outputs.read(tmp_path / "val.npz")


def test_rows_of_parts_follow_their_items():
    parts = {"det.item": np.array([2, 0, 2]), "det.score": np.array([0.1, 0.2, 0.3])}
    taken = outputs(parts=parts).take(np.array([2, 1, 2]))
    assert taken.parts["det.item"].tolist() == [0, 0, 2, 2]
    assert taken.parts["det.score"].tolist() == [0.1, 0.3, 0.1, 0.3]


@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
def test_probabilities_of_one_label_sum_to_one_whatever_the_logits(link):
    extreme = Outputs(np.arange(2), np.zeros(2, int), np.array([[900, -900], [-900, -900]], np.float32), link=link)
    np.testing.assert_allclose(extreme.probabilities, [[1, 0], [0.5, 0.5]], atol=1e-12)


@pytest.mark.parametrize("levels", [5, 10_000])
def test_metrics_of_two_classes_are_those_of_scikit_learn(levels: int):
    y = (RANDOM.random(500) < 0.1).astype(int)
    p = RANDOM.integers(0, levels + 1, 500) / levels
    both, decided = np.stack([1 - p, p], 1), (p > 0.7).astype(int)
    assert scores.average_precision(both, y) == pytest.approx(theirs.average_precision_score(y, p))
    assert scores.auroc(both, y) == pytest.approx(theirs.roc_auc_score(y, p))
    assert scores.brier(both, y) == pytest.approx(theirs.brier_score_loss(y, p))
    assert scores.f1(decided, y) == pytest.approx(theirs.f1_score(y, decided))
    precision, recall, _ = theirs.precision_recall_curve(y, p)
    assert scores.recall_at_precision_90(both, y) == pytest.approx(recall[precision >= 0.9].max())


def test_metrics_of_many_classes_are_those_of_scikit_learn():
    y = RANDOM.integers(0, 4, 300)
    p = RANDOM.dirichlet(np.ones(4), 300)
    decided = p.argmax(1)
    assert scores.average_precision(p, y) == pytest.approx(theirs.average_precision_score(y, p))
    assert scores.auroc(p, y) == pytest.approx(theirs.roc_auc_score(y, p, multi_class="ovr"))
    assert scores.log_loss(p, y) == pytest.approx(theirs.log_loss(y, p))
    assert scores.macro_f1(decided, y) == pytest.approx(theirs.f1_score(y, decided, average="macro"))
    assert scores.balanced_accuracy(decided, y) == pytest.approx(theirs.balanced_accuracy_score(y, decided))
    assert scores.accuracy(decided, y) == pytest.approx(theirs.accuracy_score(y, decided))


def test_a_metric_without_positives_does_not_exist():
    p = np.full((5, 2), 0.5)
    for metric in (scores.average_precision, scores.auroc, scores.recall_at_precision_90):
        assert np.isnan(metric(p, np.zeros(5, int)))
