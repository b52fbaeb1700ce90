"""Figures over training steps, precision against recall, and the concentration of the loss."""

from collections.abc import Sequence

from ._plot import NEUTRAL, Figure, axis, figure, line, noisy_line, run_color, run_dash
from ._read import Json, RunRecord, number

STEP = "optimiser step"
FROM_ZERO = {"rangemode": "tozero"}
GAMMA_COLORS = ("#7a8694", "#2fa3c9", "#4f7be0", "#b04fc0")  # ordered: gamma grows from grey to purple
GAMMA_DASHES = ("dot", "dashdot", "dash", "solid")


def has(records: Sequence[Json], key: str) -> bool:
    """Whether any record carries a number under this key."""
    return any(number(r.get(key)) is not None for r in records)


def column(records: Sequence[Json], key: str) -> list[object]:
    """One value per record, None where it is missing."""
    return [r.get(key) for r in records]


def ap_curve(run: RunRecord, index: int) -> Figure | None:
    """AP, AP50 and AP75 on the validation set while training."""
    dashes = {"AP": "solid", "AP50": "dash", "AP75": "dot"}
    traces = [
        line(column(run.val, "step"), column(run.val, key), key, run_color(index), dash=dash, markers=True)
        for key, dash in dashes.items()
        if has(run.val, key)
    ]
    return figure(traces, axis(STEP) | FROM_ZERO, axis("average precision") | FROM_ZERO) if traces else None


def loss_curve(run: RunRecord, index: int, keys: dict[str, str]) -> Figure | None:
    """Losses while training, solid, and on the validation set, dashed. `keys`: record key -> name in the legend."""
    traces: list[Json] = []
    for i, (key, name) in enumerate(keys.items()):
        color = run_color(index) if i == 0 else NEUTRAL
        if has(run.train, key):
            traces += noisy_line(column(run.train, "step"), column(run.train, key), f"{name}, training", color)
        if has(run.val, key):
            x, y = column(run.val, "step"), column(run.val, key)
            traces.append(line(x, y, f"{name}, validation", color, dash="dot", markers=True))
    return figure(traces, axis(STEP) | FROM_ZERO, axis("loss")) if traces else None


def rate_curve(run: RunRecord, index: int) -> Figure | None:
    """The learning rate of every training record."""
    if not has(run.train, "lr"):
        return None
    trace = line(column(run.train, "step"), column(run.train, "lr"), "learning rate", run_color(index), form=".3g")
    return figure([trace], axis(STEP) | FROM_ZERO, axis("learning rate", form="~g"))


def overlay(
    runs: Sequence[RunRecord], labels: Sequence[str], split: str, key: str, y_title: str, *, log: bool = False
) -> Figure | None:
    """The same series of several runs; `split` is "train" or "val"."""
    traces: list[Json] = []
    for i, (run, label) in enumerate(zip(runs, labels, strict=True)):
        records = run.train if split == "train" else run.val
        if not has(records, key):
            continue
        x, y = column(records, "step"), column(records, key)
        if split == "train":
            traces += noisy_line(x, y, label, run_color(i), dash=run_dash(i))
        else:
            traces.append(line(x, y, label, run_color(i), dash=run_dash(i), markers=True))
    y = axis(f"{y_title} (log)", kind="log") if log else axis(y_title) | FROM_ZERO
    return figure(traces, axis(STEP) | FROM_ZERO, y) if traces else None


def precision_recall(runs: Sequence[RunRecord], labels: Sequence[str], colors: Sequence[int]) -> Figure | None:
    """Precision over recall at each IoU. `meta` of a trace is its class; the page shows one class at a time."""
    traces: list[Json] = []
    for run, label, place in zip(runs, labels, colors, strict=True):
        pr = run.evaluation.get("pr") or {}
        for curve in pr.get("curves", ()):
            name, iou = str(curve["name"]), float(curve["iou"])
            legend = f"{label}, IoU {iou:.2f}" if len(runs) > 1 else f"IoU {iou:.2f}"
            dash = "solid" if iou < 0.6 else "dot"
            trace = line(pr["recall"], curve["precision"], legend, run_color(place), dash=dash)
            trace |= {"meta": name, "visible": name == "all"}
            traces.append(trace)
    if not traces:
        return None
    if not any(t["visible"] for t in traces):
        for trace in traces:
            trace["visible"] = trace["meta"] == traces[0]["meta"]
    span = (0, 1.02)
    shape = figure(traces, axis("recall", span=span), axis("precision", span=span), height=340)
    shape["layout"]["showlegend"] = True
    return shape


def curve_names(shape: Figure) -> list[str]:
    """The classes of a precision-recall figure in the order of their curves, without repetition."""
    return list(dict.fromkeys(t["meta"] for t in shape["data"]))


def _concentrations(source: Json, part: str) -> tuple[list[float], list[tuple[float, list[float]]]]:
    """Positions on the x axis, and (gamma, cumulative share) for "positives" or "negatives"; a group may be empty."""
    pairs = zip(source["gammas"], source[part], strict=True) if source.get(part) else ()
    return list(source.get("fraction") or ()), [(float(gamma), curve) for gamma, curve in pairs if curve]


def concentration(source: Json, part: str) -> Figure | None:
    """Cumulative share of the classification loss over "positives" or "negatives" at several gamma.

    `source` is what `focalkit.detection.analysis.concentration_curves` returns.
    """
    fraction, curves = _concentrations(source, part)
    traces: list[Json] = []
    for i, (gamma, curve) in enumerate(curves):
        color, dash = GAMMA_COLORS[i % len(GAMMA_COLORS)], GAMMA_DASHES[i % len(GAMMA_DASHES)]
        traces.append(line(fraction, curve, f"\u03b3 = {gamma:g}", color, dash=dash, form=".1%"))
    x = axis(f"share of the {part}, easiest first", span=(0, 1), form=".0%")
    y = axis("share of their loss", span=(0, 1.02), form=".0%")
    return figure(traces, x, y, height=320) if traces else None


def hardest_share(source: Json, part: str, top: float) -> list[tuple[float, float]]:
    """(gamma, share of the loss carried by the hardest `top` of the examples), read off the cumulative curves."""
    fraction, curves = _concentrations(source, part)
    return [(gamma, 1 - _at(fraction, curve, 1 - top)) for gamma, curve in curves]


def _at(x: Sequence[float], y: Sequence[float], point: float) -> float:
    """Linear interpolation of y over the ascending x."""
    for x0, x1, y0, y1 in zip(x, x[1:], y, y[1:], strict=False):
        if x0 <= point <= x1:
            return y0 if x1 == x0 else y0 + (y1 - y0) * (point - x0) / (x1 - x0)
    raise ValueError(f"the curve does not reach {point}: it covers {x[0]} to {x[-1]}")
