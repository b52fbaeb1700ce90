r"""Is a method better than the yardstick? Paired differences, intervals, corrected p-values, verdicts.

Two things vary: the training (seeds) and the test set (items). The seeds of a method are few, the items many and the
same for every seed and method, so they are not resampled together: a percentile bootstrap over three or five seeds is
too narrow where training varies most (`benchmarks/comparison_statistics.py`). The half width of an interval at level
1 - a is instead put together from both (Howe, 1974),

$$ h^2 = t_{S-1}(a)^2 \, s_d^2 / S + z(a)^2 \, v_{items}, $$

s_d^2 the variance of the differences over the S seeds, t Student's and z the normal quantile, v_items the bootstrap
variance over items (or groups of items) of the mean over seeds, less the part that differs from seed to seed and is in
s_d^2 already. The p-value is the a at which the interval ends at 0.

Not here: which metric is compared, and how a cell's outputs become one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

Outcome = Literal["better", "worse", "equivalent", "not shown", "too few seeds", "yardstick"]
LEAST_ROPE = 0.001
LEAST_SEEDS = 3
"""With fewer seeds the spread of training is not known, and every verdict is "too few seeds"."""


@dataclass(frozen=True)
class Verdict:
    """What can be said of one method beside the yardstick.

    Attributes:
        method: Its name.
        outcome: "better" / "worse": the difference is not zero after Holm's correction, and it lies outside of the
            region of practical equivalence; "equivalent": the interval is within it; else "not shown".
        difference: Mean over the seeds of method minus yardstick, in the metric's units; positive is better.
        low, high: Its interval at the level asked for, not corrected for the number of methods.
        p: Two-sided, after Holm's correction over the methods; NaN where it is not known.
        seeds: Pairs that were compared.
        rope: Half the width of the region of practical equivalence.
    """

    method: str
    outcome: Outcome
    difference: float
    low: float
    high: float
    p: float
    seeds: int
    rope: float


def item_counts(n: int, draws: int, seed: int = 0, groups: "Sequence[int] | np.ndarray | None" = None) -> Iterator:
    """How often each of n items is drawn, `draws` times: float64 (n,), the bootstrap as weights.

    Args:
        n: Number of items.
        draws: Number of resamples.
        seed: Of the draws: the same seed gives every method the same resamples.
        groups: (n,), the group of each item (a patient, a video); whole groups are drawn then.
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    member = np.arange(n) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    if len(member) != n:
        raise ValueError(f"expected a group for each of the {n} items, got {len(member)}")
    units = int(member.max(initial=-1)) + 1
    for _ in range(draws):
        drawn = np.bincount(generator.integers(units, size=units), minlength=units)
        yield drawn[member].astype(np.float64)


def item_bootstrap(
    scores: "Mapping[str, Sequence[Callable[[np.ndarray], float]]]",
    n: int,
    draws: int = 200,
    seed: int = 0,
    groups: "Sequence[int] | np.ndarray | None" = None,
) -> "dict[str, np.ndarray]":
    """Every cell's metric on the same resampled test sets.

    Args:
        scores: Per method and seed, a function from counts (n,) to the metric of the items counted so often.
        n, draws, seed, groups: See `item_counts`.

    Returns:
        Per method (seeds, draws).
    """
    import numpy as np

    found = {method: np.empty((len(cells), draws)) for method, cells in scores.items()}
    for i, counts in enumerate(item_counts(n, draws, seed, groups)):
        for method, cells in scores.items():
            for s, score in enumerate(cells):
                found[method][s, i] = score(counts)
    return found


def compare_methods(
    scores: "Mapping[str, Sequence[float] | np.ndarray]",
    yardstick: str,
    resampled: "Mapping[str, np.ndarray] | None" = None,
    rope: float | None = None,
    level: float = 0.95,
    overlap: float = 0.0,
) -> list[Verdict]:
    """The verdict of every method, in the order given.

    Args:
        scores: Per method its metric of each seed, higher is better, the same seeds in the same order; NaN where a cell
            is missing or has failed.
        yardstick: The method that the others are compared with.
        resampled: What `item_bootstrap` gives for the same cells; None where the items are all there are (then only the
            training varies).
        rope: Differences up to this are of no practical importance; None takes a tenth of the yardstick's standard
            deviation over seeds, at least 0.001.
        level: Of the intervals.
        overlap: Test items over training items, where every seed has its own split of the same data: the differences
            are not independent then, and s_d^2 / S becomes s_d^2 (1 / S + overlap) (Nadeau and Bengio, 2003).

    Raises:
        KeyError: No scores of the yardstick.

    Example:
        >>> compare_methods({"ce": [0.50, 0.51, 0.49], "focal": [0.60, 0.62, 0.58]}, "ce")[1].outcome
        'better'
    """
    import numpy as np

    base = np.asarray(scores[yardstick], dtype=np.float64)
    if rope is None:
        known = base[np.isfinite(base)]
        rope = max(LEAST_ROPE, 0.1 * float(known.std(ddof=1)) if len(known) > 1 else 0.0)
    rows = []
    for method, values in scores.items():
        pair = np.asarray(values, dtype=np.float64) - base
        there = np.isfinite(pair)
        items = None if resampled is None else (resampled[method] - resampled[yardstick])[there]
        rows.append((method, *_difference(pair[there], items, level, overlap)))
    others = [row for row in rows if row[0] != yardstick]
    corrected = dict(zip([row[0] for row in others], holm([row[4] for row in others]), strict=True))
    return [
        Verdict(name, _outcome(name == yardstick, low, high, corrected.get(name, 1.0), n, rope, level), mean, low, high,
                corrected.get(name, float("nan")), n, rope)
        for name, mean, low, high, _, n in rows
    ]  # fmt: skip


def _difference(
    pairs: "np.ndarray", items: "np.ndarray | None", level: float, overlap: float
) -> tuple[float, float, float, float, int]:
    """Mean difference, interval, two-sided p and number of pairs."""
    from scipy import optimize, stats

    n, nan = len(pairs), float("nan")
    if n == 0:
        return nan, nan, nan, nan, 0
    mean = float(pairs.mean())
    if n == 1:
        return mean, nan, nan, nan, 1
    of_seeds = float(pairs.var(ddof=1)) * (1 / n + overlap)
    of_items = 0.0 if items is None else _shared_variance(items)

    def half(level: float) -> float:
        by_seeds, by_items = stats.t.ppf(0.5 + level / 2, n - 1), stats.norm.ppf(0.5 + level / 2)
        return float(by_seeds**2 * of_seeds + by_items**2 * of_items) ** 0.5

    if of_seeds + of_items == 0:  # equal cells, or a difference that never varies
        return mean, mean, mean, float(mean == 0), n
    surest = 1 - 1e-12
    excluded = surest
    if half(surest) > abs(mean):
        root: Any = optimize.brentq(lambda level: half(level) - abs(mean), 0.0, surest)
        excluded = float(root)
    return mean, mean - half(level), mean + half(level), 1 - excluded, n


def _shared_variance(items: "np.ndarray") -> float:
    """Variance over resamples (seeds, draws) of what all seeds have in common, as in a model of random effects."""
    import numpy as np

    items = items[:, np.isfinite(items).all(axis=0)]  # a resample without positives has no average precision
    if items.shape[1] < 2:
        return 0.0
    mean = items.mean(axis=0)
    of_one = (items - mean).var(axis=1, ddof=1).mean() / (len(items) - 1)
    return max(0.0, float(mean.var(ddof=1) - of_one))


def _outcome(is_yardstick: bool, low: float, high: float, p: float, seeds: int, rope: float, level: float) -> Outcome:
    mean = (low + high) / 2
    if is_yardstick:
        return "yardstick"
    if seeds < LEAST_SEEDS:
        return "too few seeds"
    if -rope <= low and high <= rope:
        return "equivalent"
    if p < 1 - level and abs(mean) > rope:
        return "better" if mean > 0 else "worse"
    return "not shown"


def holm(p: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm, 1979); NaN stays NaN and does not count.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    known = sorted((value, i) for i, value in enumerate(p) if value == value)
    corrected, least = [float("nan")] * len(p), 0.0
    for rank, (value, i) in enumerate(known):
        least = max(least, min(1.0, value * (len(known) - rank)))
        corrected[i] = round(least, 15)
    return corrected


@dataclass(frozen=True)
class Ranking:
    """Methods over several data sets (Demsar, 2006).

    Attributes:
        ranks: Mean rank of each method, 1 is best; ties share.
        critical_difference: Mean ranks that differ by less are not told apart (Nemenyi, at the level asked for).
        p: Of Friedman's test that all methods rank alike.
    """

    ranks: Mapping[str, float]
    critical_difference: float
    p: float


def rank_methods(scores: "Mapping[str, Sequence[float] | np.ndarray]", level: float = 0.95) -> Ranking:
    """Rank methods over data sets.

    Args:
        scores: Per method one value of each data set, higher is better, none missing.
        level: Of the critical difference.

    Raises:
        ValueError: Fewer than two methods or data sets, or a missing value.
    """
    import numpy as np
    from scipy import stats

    table = np.asarray(list(scores.values()), dtype=np.float64)
    if table.ndim != 2 or min(table.shape) < 2 or not np.isfinite(table).all():
        raise ValueError(f"expected finite scores of at least 2 methods on at least 2 data sets, got {table.shape}")
    k, n = table.shape
    ranks = stats.rankdata(-table, axis=0).mean(axis=1)
    critical = float(stats.studentized_range.ppf(level, k, np.inf)) / 2**0.5 * (k * (k + 1) / (6 * n)) ** 0.5
    test: Any = stats.friedmanchisquare if k > 2 else stats.wilcoxon
    p = float(test(*table).pvalue)
    return Ranking(dict(zip(scores, ranks.tolist(), strict=True)), critical, p)
