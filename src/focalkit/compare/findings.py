"""Findings about results: optima at the edge, methods that lose, thresholds and probabilities not to trust."""

from collections import Counter

import numpy as np

from focalkit.compare.comparison import Comparison
from focalkit.compare.evaluate import DEFAULT, TUNED, rules_of
from focalkit.compare.summary import learnt_little, words
from focalkit.compare.tune import edges
from focalkit.compare.verdicts import in_units
from focalkit.findings import Finding

FEWEST_POSITIVES = 30
"""Test items of the rare class below which its share says little."""
OFF = 1.5
"""Mean probability over observed share, either way, from which on probabilities are called off."""


def findings(comparison: Comparison) -> list[Finding]:
    """What is worth knowing about the results of a comparison, the gravest first."""
    parts = (_nothing_learnt, _edges, _worse, _thresholds, _probabilities)
    return [finding for part in parts for finding in part(comparison)]


def _nothing_learnt(comparison: Comparison) -> list[Finding]:
    little = learnt_little(comparison)
    if little is None:
        return []
    name, best, least = little
    seen = f"the best mean {words(name)} on test is {best:.3f}, below {least:g}"
    return [Finding("FK307", seen, {"metric": name, "best": best, "least": least})]


def _edges(comparison: Comparison) -> list[Finding]:
    plan, found = comparison.plan, []
    # where the seeds share their split they share one search, which the first of them that is done stands for
    for method in plan.methods:
        space = {**comparison.task.space(method.model), **method.space}
        cells = [comparison.store.cell(method.name, seed) for seed in plan.seeds]
        searched = [c.record["tuned"]["values"] for c in cells if c.status == "done" and c.record.get("tuned")]
        searched = searched if plan.resplits else searched[:1]
        at = Counter(name for values in searched for name in edges(space, values))
        for name, count in at.items():
            low, high = space[name].low, space[name].high
            edge = f"the best {name} lies at the edge of {low:g} to {high:g}"
            seen = f"{method.name}: {edge}" + (f" in {count} of {len(searched)} searches" if plan.resplits else "")
            values = {"method": method.name, "parameter": name, "low": low, "high": high, "searches": count}
            found.append(Finding("FK301", seen, values))
    return found


def _worse(comparison: Comparison) -> list[Finding]:
    plan = comparison.plan
    higher = comparison.metric(plan.metric).higher_is_better
    worse = {v.method: in_units(v, higher).difference for v in comparison.verdicts if v.outcome == "worse"}
    if not worse:
        return []
    listed = ", ".join(f"{method} ({difference:+.3f})" for method, difference in worse.items())
    tuned = ", although tuned" if plan.tune else ""
    seen = f"{listed} in {words(plan.metric)} against {plan.yardstick}{tuned}"
    return [Finding("FK302", seen, {"methods": worse})]


def _thresholds(comparison: Comparison) -> list[Finding]:
    """Thresholds that could not be tuned, and those whose tuning did not carry over to the test part."""
    name = comparison.task.decision_metric
    if not name:
        return []
    done = next((cell for cell in comparison.cells.values() if cell.status == "done"), None)
    if done is None:
        return []
    note = rules_of(done, comparison.metrics, name)[TUNED].note
    if note:
        return [Finding("FK304", note.removeprefix("not tuned: "), {"items": len(done.val)})]
    sign = 1 if comparison.metric(name).higher_is_better else -1
    at = {rule: comparison.values(name, rule) for rule in (TUNED, DEFAULT)}
    means = {
        method: tuple(float(np.mean(list(at[rule][method].values()))) for rule in (TUNED, DEFAULT))
        for method in at[TUNED]
    }
    lost = {method: pair for method, pair in means.items() if sign * pair[0] < sign * pair[1] - 0.0005}
    if not lost:
        return []
    listed = ", ".join(f"{method} ({a:.3f} tuned, {b:.3f} not)" for method, (a, b) in lost.items())
    seen = f"{len(lost)} of {len(means)} methods have less {name.replace('_', ' ')} on test: {listed}"
    return [Finding("FK305", seen, {"methods": lost})]


def _probabilities(comparison: Comparison) -> list[Finding]:
    if not comparison.ranking:
        return []
    name = comparison.ranking[0]
    tests = [comparison.store.cell(name, seed).test for seed in comparison.plan.seeds]
    if tests[0].multilabel or tests[0].logits.shape[1] != 2:
        return []
    positives = np.concatenate([test.ids[test.targets == 1] for test in tests])
    if len(np.unique(positives)) < FEWEST_POSITIVES:  # seeds may share their test items
        return []
    mean = float(np.mean(np.concatenate([t.probabilities[:, 1] for t in tests])))
    share = len(positives) / sum(len(test) for test in tests)
    if 1 / OFF <= mean / share <= OFF:
        return []
    seen = f"{name} gives the rare class a mean probability of {mean:.3f}; {share:.3f} of the test items are of it"
    return [Finding("FK306", seen, {"method": name, "mean": mean, "share": share})]
