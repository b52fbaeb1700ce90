"""Labels that look wrong: confident learning (Northcutt et al., 2021, arXiv 1911.00068) with a small model.

A class's threshold is the mean probability that the model gives that class on items labelled so (eq. 2). An item is
suspect if a class other than its label passes its threshold with the largest probability. Probabilities are out of
fold, so the model never saw the item. Three conditions are not the paper's: the other class leads by at least 0.5,
since near the border between classes nothing is sure; the model knows the class of the label (a threshold of at least
0.5), since it would otherwise call most items of a rare or difficult class wrong; and it is wrong about at most a fifth
of all items, since one that is wrong more often is wrong about these, too.

Not here: estimating the joint distribution of labels, pruning by its counts.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from focalkit.findings._catalog import Finding

Array = NDArray[Any]
LEAD = 0.5
KNOWN = 0.5
WRONG = 0.2
ITEMS = 20_000
"""At most so many items are looked at, drawn at random."""


def suspect_labels(
    features: Array, labels: Array, names: list[str], seed: int = 0, ids: Array | None = None
) -> list[Finding]:
    """The finding about labels, if there is one.

    Args:
        features: (n, d) numbers; NaN is allowed.
        labels: (n,), 0..k-1.
        names: Of the classes.
        seed: Of the folds and of the sample.
        ids: (n,), what items are called, such as file names; None for their numbers.
    """
    rows = np.arange(len(labels))
    if len(rows) > ITEMS:
        rows = np.random.default_rng(seed).choice(rows, ITEMS, replace=False)
    counts = np.bincount(labels[rows], minlength=len(names))
    rows = rows[counts[labels[rows]] >= 5]  # a rarer class cannot be in every fold
    if len(np.unique(labels[rows])) < 2:
        return []
    probabilities, classes = out_of_fold(features[rows], labels[rows], seed), np.unique(labels[rows])
    index, other, margin = find_suspects(probabilities, labels[rows])
    if not len(index) or (classes[probabilities.argmax(1)] != labels[rows]).mean() > WRONG:
        return []
    top = [
        {
            "item": int(rows[i]) if ids is None else str(ids[rows[i]]),
            "label": names[labels[rows[i]]],
            "looks_like": names[j],
            "margin": round(float(m), 3),
        }
        for i, j, m in zip(index[:20], other, margin, strict=False)
    ]
    looked = "" if len(rows) == len(labels) else f" of {len(rows):,} that were looked at"
    first = top[0]
    return [
        Finding(
            "FK118",
            f"{len(index):,} items{looked} ({len(index) / len(rows):.1%}); the surest is {'item ' * (ids is None)}"
            f"{first['item']}, labelled {first['label']!r}, which looks like {first['looks_like']!r}",
            {"items": len(index), "of": len(rows), "surest": top},
        )
    ]


def out_of_fold(features: Array, labels: Array, seed: int = 0, folds: int = 5) -> Array:
    """Probabilities (n, k) of a boosted-trees model that never saw the item it judges; classes in sorted order."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    model = HistGradientBoostingClassifier(max_iter=50, max_leaf_nodes=8, l2_regularization=1.0, random_state=seed)
    split = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return np.asarray(cross_val_predict(model, features, labels, cv=split, method="predict_proba"))


def find_suspects(probabilities: Array, labels: Array) -> tuple[Array, Array, Array]:
    """Suspect items, the class each looks like, and by how much that class is more probable; the surest first.

    Args:
        probabilities: (n, k) out of fold, over the classes that occur, in sorted order.
        labels: (n,).

    Example:
        >>> p = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.95, 0.05]])
        >>> find_suspects(p, np.array([0, 0, 1, 1, 1]))[0].tolist()     # the last one is labelled 1
        [4]
    """
    classes, own = np.unique(labels, return_inverse=True)
    threshold = np.array([probabilities[own == j, j].mean() for j in range(len(classes))])
    eligible = np.where(probabilities >= threshold, probabilities, -1)
    looks = eligible.argmax(axis=1)
    each = np.arange(len(own))
    margin = probabilities[each, looks] - probabilities[each, own]
    known = threshold[own] >= KNOWN
    index = np.flatnonzero(known & (eligible[each, looks] >= 0) & (looks != own) & (margin >= LEAD))
    index = index[np.argsort(-margin[index], kind="stable")]
    return index, classes[looks[index]], margin[index]
