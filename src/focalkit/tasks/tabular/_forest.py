"""Trees as arrays: what boosted trees and forests of scikit-learn predict, stored without pickles, computed in numpy.

A row walks every tree from its root to a leaf. The leaves of a member (one boosting, or one tree of a forest) are
summed; what the members say is averaged.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Combine = Literal["logits", "binary_logit", "probabilities", "softmax"]


@dataclass(frozen=True)
class Forest:
    """All nodes of all trees, one after another.

    Attributes:
        feature: (m,) column that a node looks at; -1 at a leaf.
        threshold: (m,) to the left where the value is at most this.
        left, right: (m,) numbers of the next nodes.
        value: (m, k) at leaves.
        missing_left: (m,) whether NaN goes to the left.
        choice: (m,) row of `choices` where a node splits categories, else -1.
        choices: (s, codes) whether a code goes to the left.
        roots: (t,) first node of every tree.
        member: (t,) which member a tree belongs to.
        start: (k,) added to every member's sum.
        combine: (1,) index in `COMBINES`: what sums are, and how members are averaged.
    """

    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    value: NDArray[np.float64]
    missing_left: NDArray[np.bool_]
    choice: NDArray[np.int64]
    choices: NDArray[np.bool_]
    roots: NDArray[np.int64]
    member: NDArray[np.int64]
    start: NDArray[np.float64]
    combine: NDArray[np.int64]

    def logits(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """(n, classes) of rows (n, d)."""
        members = int(self.member.max()) + 1
        sums = np.zeros((members, len(x), self.value.shape[1])) + self.start
        for root, member in zip(self.roots, self.member, strict=True):
            sums[member] += self.value[self._leaves(x, int(root))]
        how = COMBINES[int(self.combine[0])]
        if how == "logits":
            return sums[0].astype(np.float32)
        if how == "binary_logit":
            return np.concatenate([np.zeros_like(sums[0]), sums[0]], 1).astype(np.float32)
        if how == "softmax":
            sums = np.exp(sums - sums.max(2, keepdims=True))
            sums /= sums.sum(2, keepdims=True)
        return logits_of(sums.mean(0))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Name -> array, to be stored."""
        return {f"forest.{name}": np.ascontiguousarray(value) for name, value in vars(self).items()}

    @staticmethod
    def from_arrays(arrays: dict[str, NDArray[Any]]) -> "Forest":
        """The inverse; other names are passed over."""
        return Forest(**{k.partition(".")[2]: v for k, v in arrays.items() if k.startswith("forest.")})

    def _leaves(self, x: NDArray[Any], root: int) -> NDArray[np.int64]:
        node = np.full(len(x), root)
        walking = np.arange(len(x))
        while True:
            walking = walking[self.feature[node[walking]] >= 0]
            if not len(walking):
                return node
            at = node[walking]
            value = x[walking, self.feature[at]]
            with np.errstate(invalid="ignore"):
                to_left = value <= self.threshold[at]
            absent = np.isnan(value)
            chosen = self.choice[at] >= 0
            if chosen.any():
                absent |= chosen & (value >= self.choices.shape[1])  # a code beyond all that training knew
                code = np.where(absent | ~chosen, 0, value).astype(np.int64)
                to_left = np.where(chosen, self.choices[self.choice[at], code], to_left)
            to_left = np.where(absent, self.missing_left[at], to_left)
            node[walking] = np.where(to_left, self.left[at], self.right[at])


COMBINES: tuple[Combine, ...] = ("logits", "binary_logit", "probabilities", "softmax")


def logits_of(probabilities: NDArray[np.float64]) -> NDArray[np.float32]:
    """Log probabilities, which `softmax` turns back; 0 counts as 1e-12."""
    return np.log(probabilities.clip(1e-12)).astype(np.float32)


def of_hist_gb(model: Any) -> Forest:
    """A fitted `HistGradientBoostingClassifier`, whose category columns come first and hold codes 0, 1, ..."""
    trees = [(tree, k) for round_ in model._predictors for k, tree in enumerate(round_)]
    per_round = len(model._predictors[0])
    encoder = None if model._preprocessor is None else model._preprocessor.named_transformers_["encoder"]
    levels = [] if encoder is None else [np.asarray(c, dtype=np.float64) for c in encoder.categories_]
    known = [np.where(np.isnan(c), -1, c).astype(np.int64) for c in levels]
    width = max((int(c.max(initial=-1)) + 1 for c in known), default=0)
    parts: dict[str, list[Any]] = {name: [] for name in _NODE}
    choices: list[NDArray[np.bool_]] = []
    roots, offset = [], 0
    for tree, k in trees:
        nodes = tree.nodes
        leaf, cat = nodes["is_leaf"].astype(bool), nodes["is_categorical"].astype(bool) & ~nodes["is_leaf"].astype(bool)
        choice = np.full(len(nodes), -1)
        for i in np.flatnonzero(cat):
            row = np.full(width, bool(nodes["missing_go_to_left"][i]))  # where codes that training did not see go
            bits = tree.raw_left_cat_bitsets[nodes["bitset_idx"][i]]
            for code, original in enumerate(known[nodes["feature_idx"][i]]):
                if original >= 0:
                    row[original] = bool(bits[code // 32] >> (code % 32) & 1)
            choice[i] = len(choices)
            choices.append(row)
        value = np.zeros((len(nodes), per_round))
        value[:, k] = np.where(leaf, nodes["value"], 0)
        parts["feature"].append(np.where(leaf, -1, nodes["feature_idx"].astype(np.int64)))
        parts["threshold"].append(np.where(cat | leaf, 0, nodes["num_threshold"]))
        parts["left"].append(nodes["left"].astype(np.int64) + offset)
        parts["right"].append(nodes["right"].astype(np.int64) + offset)
        parts["value"].append(value)
        parts["missing_left"].append(nodes["missing_go_to_left"].astype(bool))
        parts["choice"].append(choice)
        roots.append(offset)
        offset += len(nodes)
    joined = {name: np.concatenate(values) for name, values in parts.items()}
    table = np.stack(choices) if choices else np.zeros((0, max(width, 1)), dtype=bool)
    start = np.asarray(model._baseline_prediction, dtype=np.float64).reshape(-1)
    how: Combine = "binary_logit" if per_round == 1 else "logits"
    one = np.zeros(len(roots), dtype=np.int64)
    return Forest(**joined, choices=table, roots=np.array(roots), member=one, start=start, combine=_index(how))


def of_trees(trees: list[tuple[Any, float, int]], how: Combine, classes: int) -> Forest:
    """Decision trees of scikit-learn, each with a weight and the number of its member.

    For "probabilities" a leaf says its shares of the classes, of which the mean is taken. For "softmax" (AdaBoost, the
    SAMME rule of Zhu et al., 2009) it votes: its weight for the class it decides on, and minus weight / (k - 1) for the
    others.
    """
    total = {m: sum(w for _, w, n in trees if n == m) for m in {n for _, _, n in trees}}
    parts: dict[str, list[Any]] = {name: [] for name in _NODE}
    roots, offset = [], 0
    for model, weight, member in trees:
        tree = model.tree_
        leaf = tree.children_left < 0
        share = tree.value[:, 0, :] / tree.value[:, 0, :].sum(1, keepdims=True)
        value = np.zeros((len(leaf), classes))
        value[:, model.classes_.astype(np.int64)] = share * weight / total[member]
        if how == "softmax":
            vote = np.eye(classes)[value.argmax(1)]
            value = (vote - (1 - vote) / (classes - 1)) * weight / total[member] / (classes - 1)
        parts["feature"].append(np.where(leaf, -1, tree.feature))
        parts["threshold"].append(tree.threshold)
        parts["left"].append(tree.children_left + offset)
        parts["right"].append(tree.children_right + offset)
        parts["value"].append(value)
        parts["missing_left"].append(np.zeros(len(leaf), dtype=bool))
        parts["choice"].append(np.full(len(leaf), -1))
        roots.append(offset)
        offset += len(leaf)
    joined = {name: np.concatenate(values) for name, values in parts.items()}
    members = np.array([member for _, _, member in trees])
    empty = np.zeros((0, 1), dtype=bool)
    start = np.zeros(classes)
    return Forest(**joined, choices=empty, roots=np.array(roots), member=members, start=start, combine=_index(how))


def of_nodes(trees: list[list[tuple[int, float, bool, int, int, float]]], k: int, start: NDArray[np.float64]) -> Forest:
    """Boosted trees of numbers alone, tree t of class t mod k; k is 1 for two classes.

    Args:
        trees: Per node its feature (-1 at a leaf), threshold, whether NaN goes to the left, left, right, value.
        k: Scores of a row.
        start: (k,) what the trees' values are added to.
    """
    sizes = [len(tree) for tree in trees]
    roots = np.cumsum([0, *sizes])[:-1]
    first = np.repeat(roots, sizes)
    feature, threshold, missing_left, left, right, value = (
        np.array(column) for column in zip(*(node for tree in trees for node in tree), strict=True)
    )
    values = np.zeros((len(value), k))
    values[np.arange(len(value)), np.repeat(np.arange(len(trees)) % k, sizes)] = value
    return Forest(
        feature=feature.astype(np.int64),
        threshold=threshold,
        left=left + first,
        right=right + first,
        value=values,
        missing_left=missing_left,
        choice=np.full(len(feature), -1),
        choices=np.zeros((0, 1), dtype=bool),
        roots=roots,
        member=np.zeros(len(trees), dtype=np.int64),
        start=np.asarray(start, dtype=np.float64),
        combine=_index("binary_logit" if k == 1 else "logits"),
    )


def averaged(boosted: list[Forest]) -> Forest:
    """One forest whose members are whole boostings; what they say as probabilities is averaged."""
    offset = np.cumsum([0, *(len(forest.feature) for forest in boosted)])
    rows = np.cumsum([0, *(len(forest.choices) for forest in boosted)])
    width = max(forest.choices.shape[1] for forest in boosted)
    parts: dict[str, list[Any]] = {name: [] for name in (*_NODE, "choices", "roots")}
    for forest, first, row in zip(boosted, offset, rows, strict=False):
        binary = COMBINES[int(forest.combine[0])] == "binary_logit"
        value = forest.value.copy()
        begin = forest.roots[0], forest.roots[1] if len(forest.roots) > 1 else len(forest.feature)
        value[slice(*begin)] += np.where(forest.feature[slice(*begin), None] < 0, forest.start, 0)
        # subtle: a code beyond what one member knew goes where its missing values go, in the widened table as before
        known = forest.choices.shape[1]
        wide = np.zeros((len(forest.choices), width), dtype=bool)
        wide[:, :known] = forest.choices
        for node in np.flatnonzero(forest.choice >= 0):
            wide[forest.choice[node], known:] = forest.missing_left[node]
        parts["choices"].append(wide)
        parts["value"].append(np.concatenate([np.zeros_like(value), value], 1) if binary else value)
        parts["choice"].append(np.where(forest.choice >= 0, forest.choice + row, -1))
        for name in ("left", "right", "roots"):
            parts[name].append(getattr(forest, name) + first)
        for name in ("feature", "threshold", "missing_left"):
            parts[name].append(getattr(forest, name))
    joined = {name: np.concatenate(values) for name, values in parts.items()}
    member = np.repeat(np.arange(len(boosted)), [len(forest.roots) for forest in boosted])
    return Forest(**joined, member=member, start=np.zeros(joined["value"].shape[1]), combine=_index("softmax"))


_NODE = ("feature", "threshold", "left", "right", "value", "missing_left", "choice")


def _index(how: Combine) -> NDArray[np.int64]:
    return np.array([COMBINES.index(how)])
