"""Operating points: the cut-offs of scores that reach a precision or a recall, or are best by F-beta or by cost."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .._arrays import ArrayLike, Labelled, as_tensor, labelled
from ._costs import class_factors
from ._guarantee import guaranteed_precision, guaranteed_recall
from ._sweep import Aim, Sweep, best_f, least_cost, precision_at_least, recall_at_least, resampled, resampled_groups
from ._sweep import sweep as sweep_all


@dataclass(frozen=True)
class Thresholds:
    """Cut-offs: a row is taken for positive where its score is at least the value.

    Attributes:
        values: float64, () for one or (k,) per class; NaN where none can be determined.
        interval: (2,) or (k, 2): bootstrap interval of the value; NaN where there is none.
        reason: What was reached on the given rows, or why nothing was; one text or one per class.
        precision: On the given rows, shaped like `values`.
        recall: Likewise.
    """

    values: Tensor
    interval: Tensor
    reason: str | tuple[str, ...]
    precision: Tensor
    recall: Tensor

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, for JSON."""
        numbers = {name: getattr(self, name).tolist() for name in ("values", "interval", "precision", "recall")}
        return {**numbers, "reason": self.reason if isinstance(self.reason, str) else list(self.reason)}


def choose_thresholds(
    scores: ArrayLike,
    labels: ArrayLike,
    *,
    target_precision: float | None = None,
    target_recall: float | None = None,
    f_beta: float | None = None,
    costs: ArrayLike | None = None,
    confidence: float | None = None,
    num_positives: int | Sequence[int] | None = None,
    groups: ArrayLike | None = None,
    min_positives: int = 0,
    level: float = 0.95,
    bootstrap: int = 200,
    seed: int = 0,
) -> Thresholds:
    """Choose one cut-off of (n,) scores, or one per class of (n, k) scores, among all cuts between different scores.

    Exactly one aim is given:

    - `target_precision`: the cut of the largest recall whose precision is at least the target;
    - `target_recall`: the highest cut whose recall is at least the target;
    - `f_beta`: the largest F-beta; 2 weighs recall twice as much as precision;
    - `costs`: the least total cost, `costs[truth][decision]`, 2 x 2. For class indices with a k x k matrix see below.

    Equal scores are kept or cut together; of equally good cuts the highest is taken. Where an aim cannot be reached the
    value is NaN and the reason says why. An empirical target holds on the given rows; on new ones it is met half of the
    time or less. With `confidence`, a target of precision or recall is a **guarantee**: on new rows like these it holds
    with at least that confidence, by an exact test (Learn-then-Test; `focalkit.calibration._guarantee` has the
    argument). It says so when the rows are too few to show it.

    Class indices (n,) with scores (n, k) are judged one class against the rest. With a k x k cost matrix the values are
    factors instead: decide for the class of the largest `values * probability`; they start at 1 and are swept exactly
    class by class until no single change lowers the cost.

    Args:
        scores: (n,) or (n, k): probabilities or any score that grows with them.
        labels: 0 and 1 shaped like the scores, or class indices (n,).
        confidence: Of the guarantee, in (0, 1); None chooses empirically.
        num_positives: All positives, where some have no score (boxes that no detection found): one number, or one per
            class. They count in recall.
        groups: (n,) integers: rows drawn together by the bootstrap, such as the detections of one image.
        min_positives: Classes with fewer take the cut of all classes pooled, and say so.
        level: Of the bootstrap interval.
        bootstrap: Resamples; 0 leaves the interval NaN.
        seed: Of the resampling.

    Raises:
        ValueError: No aim or two, a target out of range, NaN among the scores, no rows, shapes that do not fit, fewer
            `num_positives` than labels that are 1.

    Example:
        >>> scores, labels = [0.9, 0.8, 0.7, 0.6, 0.2], [1, 1, 0, 1, 0]
        >>> float(choose_thresholds(scores, labels, target_precision=0.75).values)
        0.6
        >>> float(choose_thresholds(scores, labels, f_beta=0.5).values)
        0.8
        >>> choose_thresholds(scores, labels, target_precision=0.9, confidence=0.95).reason
        '5 rows cannot show a precision of 0.9 with 95% confidence: 62 are needed even if all are right'
    """
    data = labelled(scores, labels, name="scores")
    if data.kind == "multi-class" and costs is not None:
        _one_aim(target_precision, target_recall, f_beta, costs, confidence)
        return _by_factors(data, torch.as_tensor(costs, dtype=torch.float64))
    if costs is not None and torch.as_tensor(costs).shape != (2, 2):
        raise ValueError(f"costs must be 2 x 2 for {data.kind} labels, got shape {tuple(torch.as_tensor(costs).shape)}")
    aim, words = _one_aim(target_precision, target_recall, f_beta, costs, confidence)
    of = None if groups is None else as_tensor(groups, "groups").long()
    if of is not None and of.shape != data.scores.shape[:1]:
        raise ValueError(f"expected groups of shape ({len(data.scores)},), got {tuple(of.shape)}")
    choose = partial(
        _one_threshold,
        aim=aim,
        words=words,
        guarantee=(target_precision, target_recall, confidence) if confidence is not None else None,
        level=level,
        bootstrap=bootstrap,
        seed=seed,
    )
    if data.kind == "binary":
        total = None if num_positives is None else int(torch.as_tensor(num_positives))
        given, positive = data.scores, data.labels.bool()
        del data  # of 10^7 rows eight bytes each are much
        value, low, high, precision, recall, reason = choose(given, positive, of, total)
        t = partial(torch.tensor, dtype=torch.float64)
        return Thresholds(t(value), t([low, high]), reason, t(precision), t(recall))

    k = data.scores.shape[1]
    one_hot = data.one_hot
    totals = _totals(num_positives, k)
    counts = [int(one_hot[:, c].sum()) if totals is None else totals[c] for c in range(k)]
    rare = [count < min_positives for count in counts]
    pooled = None
    if any(rare):
        flat_groups = None if of is None else of[:, None].expand(-1, k).flatten()
        pooled = choose(data.scores.flatten(), one_hot.flatten(), flat_groups, None if totals is None else sum(totals))
    rows = []
    for c in range(k):
        if pooled is not None and rare[c]:
            why = f"{counts[c]} positives, fewer than {min_positives}: the cut of all classes pooled; {pooled[5]}"
            rows.append((*pooled[:3], math.nan, math.nan, why))
        else:
            rows.append(choose(data.scores[:, c], one_hot[:, c], of, None if totals is None else totals[c]))
    table = torch.tensor([row[:5] for row in rows], dtype=torch.float64)
    return Thresholds(table[:, 0], table[:, 1:3], tuple(row[5] for row in rows), table[:, 3], table[:, 4])


def _one_threshold(
    scores: Tensor,
    labels: Tensor,
    groups: Tensor | None,
    positives: int | None,
    *,
    aim: Aim,
    words: str,
    guarantee: tuple[float | None, float | None, float] | None,
    level: float,
    bootstrap: int,
    seed: int,
) -> tuple[float, float, float, float, float, str]:
    """Value, interval, precision, recall, reason."""
    whole = sweep_all(scores, labels, positives)
    nothing = (math.nan, math.nan, math.nan, math.nan, math.nan)
    if not whole.positives:
        return *nothing, "there are no positives"
    if not int(whole.hits[-1]):
        return *nothing, "no positive has a score"
    if guarantee is not None:
        precision, recall, confidence = guarantee
        if precision is not None:
            value, reason = guaranteed_precision(whole, precision, confidence)
        elif whole.positives != int(whole.hits[-1]):
            below = torch.full((whole.positives - int(whole.hits[-1]),), -torch.inf, dtype=torch.float64)
            found = scores[labels == 1].double()
            value, reason = guaranteed_recall(torch.cat([found, below]), recall or 0.0, confidence)
            if value == -math.inf:
                value, reason = math.nan, "too many positives have no score: no cut keeps enough of them"
        else:
            value, reason = guaranteed_recall(scores[labels == 1], recall or 0.0, confidence)
        if math.isnan(value):
            return *nothing, reason
        at = int((whole.scores.double() >= value).sum()) - 1
        return (value, math.nan, math.nan, *_reached(whole, at), reason)
    index, there = aim(whole.cuts)
    if not bool(there):
        best = (whole.hits / whole.kept).max()
        most = int(whole.hits[-1]) / whole.positives
        return *nothing, f"no cut reaches {words}; the highest precision is {float(best):.3g}, recall {most:.3g}"
    at = int(index)
    if at < len(whole.scores):
        value, (precision, recall) = float(whole.scores[at]), _reached(whole, at)
    else:  # subtle: above the highest in the scores' own precision, so that comparing in it keeps nothing
        above = torch.nextafter(whole.scores[0], torch.tensor(math.inf, dtype=whole.scores.dtype))
        value, precision, recall = float(above), math.nan, 0.0
    reason = f"{words}: precision {precision:.3g}, recall {recall:.3g}"
    low = high = math.nan
    if bootstrap:
        generator = torch.Generator().manual_seed(seed)
        settings = {"times": bootstrap, "level": level, "generator": generator}
        if groups is None:
            ends, missing = resampled(whole, aim, **settings)
        else:
            ends, missing = resampled_groups(scores, labels, groups, whole, aim, **settings)
        low, high = ends.tolist()
        if missing > 0:
            reason += f"; not reached in {missing:.0%} of resamples"
    return value, low, high, precision, recall, reason


def _reached(whole: Sweep, at: int) -> tuple[float, float]:
    """Precision and recall of a cut."""
    hits = int(whole.hits[at])
    return hits / int(whole.kept[at]), hits / whole.positives


def _one_aim(
    precision: float | None,
    recall: float | None,
    f_beta: float | None,
    costs: ArrayLike | None,
    confidence: float | None,
) -> tuple[Aim, str]:
    given = {"target_precision": precision, "target_recall": recall, "f_beta": f_beta, "costs": costs}
    named = [name for name, value in given.items() if value is not None]
    if len(named) != 1:
        raise ValueError(f"expected exactly one of {', '.join(given)}, got {', '.join(named) or 'none'}")
    if confidence is not None and not (named[0].startswith("target") and 0 < confidence < 1):
        raise ValueError(
            f"confidence must lie between 0 and 1 and needs target_precision or target_recall, got {confidence!r} with "
            f"{named[0]}"
        )
    for name, value in (("target_precision", precision), ("target_recall", recall)):
        if value is not None and not (0 < value <= 1 and (confidence is None or value < 1)):
            raise ValueError(f"{name} must be above 0 and {'below' if confidence else 'at most'} 1, got {value!r}")
    if precision is not None:
        return precision_at_least(precision), f"precision {precision:g}"
    if recall is not None:
        return recall_at_least(recall), f"recall {recall:g}"
    if f_beta is not None:
        if not 0 < f_beta < math.inf:
            raise ValueError(f"f_beta must be positive, got {f_beta!r}")
        return best_f(f_beta), f"largest F{f_beta:g}"
    matrix = torch.as_tensor(costs, dtype=torch.float64)
    if not bool(matrix.isfinite().all()):
        raise ValueError(f"costs must be finite numbers, got {matrix.tolist()}")
    if matrix.shape != (2, 2):
        if matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1]:
            return least_cost(matrix[:2, :2]), "least cost"  # of class indices: the shape is checked with the classes
        raise ValueError(f"costs must be 2 x 2, costs[truth][decision], got shape {tuple(matrix.shape)}")
    return least_cost(matrix), "least cost"


def _totals(num_positives: int | Sequence[int] | None, k: int) -> list[int] | None:
    if num_positives is None:
        return None
    totals = torch.as_tensor(num_positives).tolist()
    if not isinstance(totals, list) or len(totals) != k:
        raise ValueError(f"expected num_positives for {k} classes, got {totals!r}")
    return totals


def _by_factors(data: Labelled, costs: Tensor) -> Thresholds:
    k = data.scores.shape[1]
    if costs.shape != (k, k):
        raise ValueError(f"costs must be {k} x {k} for {k} classes, costs[truth][decision], got {tuple(costs.shape)}")
    values, before, after = class_factors(data.scores.double(), data.labels, costs)
    decided = (data.scores.double() * values).argmax(1)
    hit = (decided == data.labels).double()
    precision, recall = (
        torch.bincount(of, weights=hit, minlength=k) / torch.bincount(of, minlength=k) for of in (decided, data.labels)
    )
    reason = f"factors of the probabilities: mean cost {after:.4g}, with the most probable class {before:.4g}"
    nan = torch.full((k, 2), torch.nan, dtype=torch.float64)
    return Thresholds(values, nan, (reason,) * k, precision, recall)
