"""Metrics of one class per item, as functions of (probabilities or decisions, targets): numpy alone, for resampling.

Two classes: of class 1, the rare one. More classes: the mean over the classes that occur among the targets.
"""

from collections.abc import Callable

import numpy as np

from ._task import Array, Metric


def average_precision(probabilities: Array, targets: Array) -> float:
    """Area under the precision-recall curve as a sum of steps, equal scores at once: sum (R_i - R_(i-1)) P_i."""
    return _over_classes(_average_precision, probabilities, targets)


def auroc(probabilities: Array, targets: Array) -> float:
    """Chance that a positive scores higher than a negative; equal scores count half."""
    return _over_classes(_auroc, probabilities, targets)


def recall_at_precision_90(probabilities: Array, targets: Array) -> float:
    """The largest recall at a threshold where precision is at least .9; 0 where there is none."""
    return _over_classes(lambda scores, positive: _recall_at_precision(scores, positive, 0.9), probabilities, targets)


def brier(probabilities: Array, targets: Array) -> float:
    """Mean squared error of the probabilities; two classes: of class 1, more: summed over the classes."""
    if probabilities.shape[1] == 2:
        return float(np.mean((probabilities[:, 1] - targets) ** 2))
    return float(((probabilities - _one_hot(targets, probabilities.shape[1])) ** 2).sum(1).mean())


def log_loss(probabilities: Array, targets: Array) -> float:
    """Mean of -log of the probability of the true class, which counts as at least 1e-15."""
    return float(-np.log(probabilities[np.arange(len(targets)), targets].clip(1e-15)).mean())


def accuracy(decisions: Array, targets: Array) -> float:
    """Share of items decided right."""
    return float(np.mean(decisions == targets))


def balanced_accuracy(decisions: Array, targets: Array) -> float:
    """Mean over the classes of the share of their items decided right."""
    correct = np.bincount(targets, decisions == targets)
    counts = np.bincount(targets)
    return float((correct[counts > 0] / counts[counts > 0]).mean())


def macro_f1(decisions: Array, targets: Array) -> float:
    """Mean of F1 over the classes that occur among targets or decisions."""
    k = int(max(decisions.max(initial=0), targets.max(initial=0))) + 1
    both = np.bincount(targets[decisions == targets], minlength=k)
    total = np.bincount(targets, minlength=k) + np.bincount(decisions, minlength=k)
    return float((2 * both[total > 0] / total[total > 0]).mean())


def f1(decisions: Array, targets: Array) -> float:
    """F1 of class 1 of two; NaN with more classes."""
    if max(decisions.max(initial=0), targets.max(initial=0)) > 1:
        return float("nan")
    total = int((decisions == 1).sum() + (targets == 1).sum())
    return float(2 * ((decisions == 1) & (targets == 1)).sum() / total) if total else 0.0


RANKING = (
    Metric("average_precision", average_precision, summary="area under the precision-recall curve"),
    Metric("auroc", auroc, summary="chance that a positive scores higher than a negative"),
    Metric("recall_at_precision_90", recall_at_precision_90, summary="largest recall where precision is at least .9"),
)
"""Metrics of the order of the scores."""
PROBABILITY = (
    Metric("brier", brier, higher_is_better=False, summary="mean squared error of the probabilities"),
    Metric("log_loss", log_loss, higher_is_better=False, summary="mean -log of the true class's probability"),
)
"""Metrics of the probabilities themselves."""
DECISION = (
    Metric("macro_f1", macro_f1, of="decisions", summary="mean of F1 over the classes"),
    Metric("f1", f1, of="decisions", summary="F1 of the rare class"),
    Metric("balanced_accuracy", balanced_accuracy, of="decisions", summary="mean recall over the classes"),
    Metric("accuracy", accuracy, of="decisions", summary="share decided right"),
)
"""Metrics that depend on thresholds."""


def _over_classes(one: Callable[[Array, Array], float], probabilities: Array, targets: Array) -> float:
    k = probabilities.shape[1]
    classes = [1] if k == 2 else [c for c in range(k) if (targets == c).any()]
    found = [one(probabilities[:, c], targets == c) for c in classes]
    return float(np.mean(found)) if found else float("nan")


def _curve(scores: Array, positive: Array) -> tuple[Array, Array]:
    """True positives and items at or above each different score, from the highest down."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    return np.cumsum(positive[order])[last], last + 1


def _average_precision(scores: Array, positive: Array) -> float:
    if not positive.any():
        return float("nan")
    true_positives, above = _curve(scores, positive)
    return float((np.diff(true_positives, prepend=0) * true_positives / above).sum() / true_positives[-1])


def _auroc(scores: Array, positive: Array) -> float:
    if positive.all() or not positive.any():
        return float("nan")
    true_positives, above = _curve(scores, positive)
    false_positives = above - true_positives
    middle = false_positives - np.diff(false_positives, prepend=0) / 2
    return float(1 - (np.diff(true_positives, prepend=0) * middle).sum() / (true_positives[-1] * false_positives[-1]))


def _recall_at_precision(scores: Array, positive: Array, precision: float) -> float:
    if not positive.any():
        return float("nan")
    true_positives, above = _curve(scores, positive)
    return float(np.where(true_positives / above >= precision, true_positives, 0).max() / true_positives[-1])


def _one_hot(targets: Array, k: int) -> Array:
    return np.eye(k)[targets]
