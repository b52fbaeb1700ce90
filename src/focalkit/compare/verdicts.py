"""The verdicts of a comparison: from the cells' outputs to what can be said of every method."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from focalkit.compare.comparison import Comparison, Sample
from focalkit.compare.evaluate import TUNED, value_of
from focalkit.compare.statistics import Verdict, compare_methods, item_bootstrap
from focalkit.tasks import Array, Metric, Outputs

DRAWS = 200
MOST = 2_000_000
"""Items drawn in all: with many test items fewer draws do, since each says more."""


def verdicts(
    comparison: Comparison,
    metric: str | None = None,
    *,
    yardstick: str | None = None,
    methods: Sequence[str] | None = None,
) -> list[Verdict]:
    """What can be said of every method beside the yardstick, in the plan's order.

    Where all seeds have the same test items these are resampled beside the seeds; where every seed splits the data
    anew, the differences between seeds hold both kinds of chance, and the overlap of the splits is allowed for.

    Args:
        comparison: The yardstick must have finished at least once.
        metric: Name of a metric; None takes the plan's.
        yardstick: What the others are compared with; None takes the plan's.
        methods: Which are compared, the yardstick among them; None takes all. The fewer, the weaker the correction.
    """
    plan, wanted = comparison.plan, comparison.metric(metric or comparison.plan.metric)
    sign = 1 if wanted.higher_is_better else -1
    names = [m.name for m in plan.methods if methods is None or m.name in methods]
    base, values = yardstick or plan.yardstick, comparison.values(wanted.name)
    scores = {name: np.array([sign * values.get(name, {}).get(seed, np.nan) for seed in plan.seeds]) for name in names}
    if plan.resplits:
        return compare_methods(scores, base, rope=plan.rope, overlap=_overlap(comparison))
    samples = {name: {s.seed: s for s in comparison.samples().get(name, [])} for name in names}
    some = next((s for found in samples.values() for s in found.values()), None)
    if some is None:
        return compare_methods(scores, base, rope=plan.rope)
    cells = {name: [_scorer(found.get(seed), wanted, sign) for seed in plan.seeds] for name, found in samples.items()}
    n = len(some.test)
    draws = max(50, min(DRAWS, MOST // max(n, 1)))
    resampled = item_bootstrap(cells, n, draws, groups=some.test.groups)
    return compare_methods(scores, base, resampled, plan.rope)


def in_units(verdict: Verdict, higher_is_better: bool) -> Verdict:
    """The verdict with method minus yardstick as the metric counts: negative is better where lower is."""
    if higher_is_better:
        return verdict
    low, high = -verdict.high, -verdict.low
    return replace(verdict, difference=-verdict.difference, low=low, high=high)


def _overlap(comparison: Comparison) -> float:
    """Test items over training items, of any finished cell."""
    sizes = next((c.record["sizes"] for c in comparison.cells.values() if c.status == "done"), None)
    return sizes["test"] / max(sizes["train"], 1) if sizes else 0.0


def _scorer(sample: Sample | None, metric: Metric, sign: int) -> Callable[[Array], float]:
    return (lambda counts: float("nan")) if sample is None else partial(_score, sample, metric, sign)


def _score(sample: Sample, metric: Metric, sign: int, counts: Array) -> float:
    drawn: Outputs = sample.test.take(np.repeat(np.arange(len(counts)), counts.astype(np.int64)))
    rule = TUNED if TUNED in sample.thresholds else next(iter(sample.thresholds))
    return sign * value_of(metric, drawn, sample.thresholds[rule])
