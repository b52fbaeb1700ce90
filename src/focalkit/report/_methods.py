"""Figures of a comparison of methods: differences, precision and recall, thresholds, reliability, loss by difficulty.

Every figure is drawn from the test outputs of finished cells; two classes are shown by the probability of the second.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from focalkit.compare.statistics import Verdict
from focalkit.tasks import Array, Outputs

from ._plot import NEUTRAL, Figure, axis, figure, line, plain, run_color, run_dash

OUTCOME_COLORS = {"better": "#1a9a78", "worse": "#c23b3b", "equivalent": "#2f82c4"}
POINTS = 400
FEWEST = 5
"""Items that a point of a reliability curve needs."""


def differences(verdicts: Sequence[Verdict], yardstick: str, metric: str) -> Figure | None:
    """Every method's difference to the yardstick with its interval, the largest on top."""
    rows = [v for v in verdicts if v.outcome != "yardstick" and np.isfinite(v.difference)]
    if not rows:
        return None
    rows = sorted(rows, key=lambda v: v.difference)
    known = [v if np.isfinite(v.low) else None for v in rows]
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": [v.difference for v in rows],
        "y": [plain(v.method) for v in rows],
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [v.high - v.difference if v else 0 for v in known],
            "arrayminus": [v.difference - v.low if v else 0 for v in known],
            "color": NEUTRAL,
            "thickness": 1.5,
            "width": 4,
        },
        "marker": {"size": 9, "color": [OUTCOME_COLORS.get(v.outcome, NEUTRAL) for v in rows]},
        "customdata": [v.outcome for v in rows],
        "hovertemplate": "%{y}: %{x:+.4f} (%{customdata})<extra></extra>",
        "showlegend": False,
    }
    rope = rows[0].rope
    found = figure(
        [trace],
        axis(f"{metric}, method minus {yardstick}", form="+.3f"),
        axis() | {"type": "category"},
        height=110 + 26 * len(rows),
        hover="closest",
    )
    found["layout"]["shapes"] = [
        {"type": "rect", "xref": "x", "yref": "paper", "x0": -rope, "x1": rope, "y0": 0, "y1": 1,
         "fillcolor": NEUTRAL, "opacity": 0.18, "line": {"width": 0}},
        {"type": "line", "xref": "x", "yref": "paper", "x0": 0, "x1": 0, "y0": 0, "y1": 1,
         "line": {"color": NEUTRAL, "width": 1}},
    ]  # fmt: skip
    return found


def precision_recall(outputs: Mapping[str, Outputs]) -> Figure | None:
    """Precision over recall of the second class, a line per method; None unless there are two classes."""
    if not outputs or any(o.multilabel or o.logits.shape[1] != 2 for o in outputs.values()):
        return None
    traces = []
    for i, (name, found) in enumerate(outputs.items()):
        hits, above, _ = _curve(found)
        if hits[-1]:
            keep = _thinned(len(hits))
            recall, precision = hits[keep] / hits[-1], hits[keep] / above[keep]
            traces.append(line(recall.tolist(), precision.tolist(), name, run_color(i), dash=run_dash(i)))
    if not traces:
        return None
    return figure(traces, axis("recall", span=(0, 1)), axis("precision", span=(0, 1.02)), hover="closest")


def over_thresholds(outputs: Outputs, chosen: float) -> Figure | None:
    """Precision, recall and F1 of the second class over the threshold, with the tuned one marked."""
    if outputs.multilabel or outputs.logits.shape[1] != 2:
        return None
    hits, above, score = _curve(outputs)
    if not hits[-1]:
        return None
    keep = _thinned(len(hits))
    hits, above, score = hits[keep], above[keep], score[keep]
    precision, recall = hits / above, hits / hits[-1]
    f1 = 2 * hits / (above + hits[-1])
    values = {"precision": precision, "recall": recall, "F1": f1}
    traces = [
        line(score.tolist(), v.tolist(), name, run_color(i), dash=run_dash(i))
        for i, (name, v) in enumerate(values.items())
    ]
    found = figure(traces, axis("threshold", span=(0, 1)), axis("", span=(0, 1.02)))
    found["layout"]["shapes"] = [
        {"type": "line", "xref": "x", "yref": "paper", "x0": chosen, "x1": chosen, "y0": 0, "y1": 1,
         "line": {"color": NEUTRAL, "width": 1.5, "dash": "dot"}}
    ]  # fmt: skip
    return found


def reliability(outputs: Mapping[str, Outputs], bins: int = 10) -> Figure | None:
    """Share of right predictions over the probability of the predicted class (or of class 1 of two)."""
    traces = []
    for i, (name, found) in enumerate(outputs.items()):
        if found.multilabel:
            return None
        p, true = _confidence(found)
        place = np.minimum((p * bins).astype(int), bins - 1)
        count = np.bincount(place, minlength=bins)
        there = count >= FEWEST
        mean = np.bincount(place, p, bins)[there] / count[there]
        rate = np.bincount(place, true, bins)[there] / count[there]
        traces.append(line(mean.tolist(), rate.tolist(), name, run_color(i), dash=run_dash(i), markers=True))
    if not traces:
        return None
    ideal = line([0, 1], [0, 1], "calibrated", NEUTRAL, dash="dot") | {"hoverinfo": "skip"}
    return figure(
        [ideal, *traces], axis("probability", span=(0, 1)), axis("observed share", span=(0, 1)), hover="closest"
    )


def recalls(outputs: Mapping[str, tuple[Array, Array]], classes: Sequence[str], counts: Sequence[int]) -> Figure | None:
    """Recall of every class, the most frequent first: a bar per method, of (decisions, targets)."""
    if len(classes) < 3 or not outputs:
        return None
    order = np.argsort(-np.asarray(counts), kind="stable")[:60]
    traces = []
    for i, (name, (decided, targets)) in enumerate(outputs.items()):
        hits = np.bincount(targets[decided == targets], minlength=len(classes))
        total = np.bincount(targets, minlength=len(classes))
        recall = [float(hits[c] / total[c]) if total[c] else None for c in order]
        traces.append(
            {
                "type": "bar",
                "name": plain(name),
                "x": [plain(f"{classes[c]} ({counts[c]:,})", 40) for c in order],
                "y": recall,
                "marker": {"color": run_color(i)},
                "hovertemplate": "%{y:.1%}",
            }
        )
    return figure(traces, axis() | {"type": "category"}, axis("recall", span=(0, 1.02)), height=330)


def loss_concentration(outputs: Outputs, gammas: Sequence[float] = (0, 0.5, 1, 2, 5)) -> Figure | None:
    """How much of the loss the hardest background items carry (Lin et al., 2017, figure 4), by gamma.

    Background: the items of the most frequent class. x is their share, the easiest first; y the share of their loss.
    """
    if outputs.multilabel or not len(outputs):
        return None
    common = int(np.bincount(outputs.targets).argmax())
    p = outputs.probabilities[outputs.targets == common, common].clip(1e-12, 1.0)
    if len(p) < 20:
        return None
    traces = []
    for i, gamma in enumerate(gammas):
        loss = np.sort((1 - p) ** gamma * -np.log(p))
        total = loss.sum()
        if total > 0:
            keep = _thinned(len(loss))
            share = (np.arange(1, len(loss) + 1) / len(loss))[keep]
            part = (np.cumsum(loss) / total)[keep]
            traces.append(line(share.tolist(), part.tolist(), f"gamma {gamma:g}", run_color(i), dash=run_dash(i)))
    return figure(
        traces, axis("share of the items", span=(0, 1)), axis("share of their loss", span=(0, 1.02)), hover="closest"
    )


def _curve(outputs: Outputs) -> tuple[Array, Array, Array]:
    """True positives and items at or above each different score of class 1, and the scores, from the highest down."""
    score, positive = outputs.probabilities[:, 1], outputs.targets == 1
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    return np.cumsum(positive[order])[last], last + 1, ranked[last]


def _confidence(outputs: Outputs) -> tuple[Array, Array]:
    p = outputs.probabilities
    if p.shape[1] == 2:
        return p[:, 1], (outputs.targets == 1).astype(float)
    return p.max(1), (p.argmax(1) == outputs.targets).astype(float)


def _thinned(n: int) -> Array:
    """At most POINTS places of n, the first and the last among them; denser at the start."""
    if n <= POINTS:
        return np.arange(n)
    even, first = np.linspace(0, n - 1, POINTS // 2), np.geomspace(1, n, POINTS // 2) - 1
    return np.unique(np.concatenate([even, first]).round().astype(int))
