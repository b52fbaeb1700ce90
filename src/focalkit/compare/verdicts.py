"""The verdicts of a comparison: from values and outputs on the test part to what can be said of every method."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from focalkit.compare.evaluate import TUNED, Sample, value_of
from focalkit.compare.plan import Plan
from focalkit.compare.statistics import Verdict, compare_methods, item_bootstrap
from focalkit.tasks import Array, Metric, Outputs

DRAWS = 200
MOST = 2_000_000
"""Items drawn in all: with many test items fewer draws do, since each says more."""


def verdicts_of(
    plan: Plan,
    metric: Metric,
    values: Mapping[str, Mapping[int, float]],
    samples: Mapping[str, Sequence[Sample]],
    *,
    overlap: float = 0.0,
    yardstick: str | None = None,
    methods: Sequence[str] | None = None,
) -> list[Verdict]:
    """What can be said of every method beside the yardstick, in the plan's order; higher is better in all of it.

    Where all seeds have the same test items these are resampled beside the seeds; where every seed splits the data
    anew, the differences between seeds hold both kinds of chance, and the overlap of the splits is allowed for.

    Args:
        plan: Its methods, seeds, yardstick and smallest difference that matters.
        metric: What is compared.
        values: Method -> seed -> its value on test.
        samples: Method -> its finished cells; not needed where every seed has its own split.
        overlap: Test items over training items, where every seed has its own split.
        yardstick: What the others are compared with; None takes the plan's.
        methods: Which are compared, the yardstick among them; None takes all. The fewer, the weaker the correction.
    """
    sign = 1 if metric.higher_is_better else -1
    names = [m.name for m in plan.methods if methods is None or m.name in methods]
    base = yardstick or plan.yardstick
    scores = {name: np.array([sign * values.get(name, {}).get(seed, np.nan) for seed in plan.seeds]) for name in names}
    if plan.resplits:
        return compare_methods(scores, base, rope=plan.rope, overlap=overlap)
    by_seed = {name: {s.seed: s for s in samples.get(name, [])} for name in names}
    some = next((s for found in by_seed.values() for s in found.values()), None)
    if some is None:
        return compare_methods(scores, base, rope=plan.rope)
    cells = {name: [_scorer(found.get(seed), metric, sign) for seed in plan.seeds] for name, found in by_seed.items()}
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


def _scorer(sample: Sample | None, metric: Metric, sign: int) -> Callable[[Array], float]:
    return (lambda counts: float("nan")) if sample is None else partial(_score, sample, metric, sign)


def _score(sample: Sample, metric: Metric, sign: int, counts: Array) -> float:
    drawn: Outputs = sample.test.take(np.repeat(np.arange(len(counts)), counts.astype(np.int64)))
    rule = TUNED if TUNED in sample.thresholds else next(iter(sample.thresholds))
    return sign * value_of(metric, drawn, sample.thresholds[rule])
