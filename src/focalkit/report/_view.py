"""A run as the template shows it: each section with its data, or with a sentence that says why it has none."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from focalkit.metrics import ERROR_KINDS

from . import _autopsy, _classes, _curves, _decisions
from ._charts import Block, Chart, Charts, attempt, guarded
from ._format import DASH, METRICS, ap, count, duration, flatten, plural, setting
from ._plot import run_color, smoothed
from ._read import Json, Picture, RunRecord, number

GALLERY = {
    "best": ("Best images", "The highest F1 at IoU 0.5."),
    "worst": ("Worst images", "The lowest F1 at IoU 0.5."),
    "mistake": ("Most confident mistakes", "The wrong detections with the highest scores, and what is around them."),
    **{kind: (kind.capitalize(), f"{what[:1].upper()}{what[1:]}.") for kind, what in ERROR_KINDS.items()},
}
GROUPS = {
    "": "Training",
    "data": "Data",
    "runtime": "Training",
    "model": "Model",
    "criterion": "Matching and box loss",
    "augment": "Augmentation",
    "optim": "Optimiser",
}
DATA_KEYS = ("min_size", "max_size")


@dataclass(frozen=True)
class RunView:
    """One run, ready for the template."""

    id: str
    label: str
    name: str
    color: str
    summary: str
    tiles: list[tuple[str, str, str]]  # label, value, explanation; AP first
    rare: str  # AP of the rarest third of the classes, empty where there are too few classes
    metrics: list[tuple[str, str, str, float]]  # label, meaning, value, share of the bar
    own_rule: "OwnRule | None"
    metrics_note: str
    curves: Block
    classes: Block
    class_rows: list[_classes.ClassRow]
    recall: Block
    decisions: _decisions.DecisionsView
    gallery: list[tuple[str, str, list[Picture]]]
    gallery_note: str
    histogram: Block
    concentration: Block
    shares: list[tuple[str, list[tuple[float, str]]]]  # which examples, (gamma, share of their loss)
    command: str
    config: list[tuple[str, list[tuple[str, str]]]]
    config_json: str
    environment: list[tuple[str, str]]
    status: str
    autopsy: _autopsy.AutopsyView | None  # where training stopped at a loss or gradient that is not finite


def view_run(run: RunRecord, label: str, index: int, charts: Charts) -> RunView:
    """Build everything that the section of one run shows; `index` gives its colour."""
    rows, rows_note = attempt(lambda: _classes.class_rows(run), "AP per class")
    return RunView(
        id=f"run-{index + 1}",
        label=label,
        name=run.name,
        color=run_color(index),
        summary=_summary(run),
        tiles=_tiles(run),
        rare=next((ap(value) for title, _, value in _classes.thirds(rows or []) if title == "Rare"), ""),
        metrics=_metric_rows(run),
        own_rule=attempt(lambda: _own_rule(run), "")[0],
        metrics_note="" if run.metrics else "No AP yet: neither an evaluation nor a validation is recorded.",
        curves=guarded(lambda: _learning(run, index, charts), "Learning curves"),
        classes=guarded(lambda: _per_class(run, rows or [], rows_note, label, index, charts), "AP per class"),
        class_rows=rows or [],
        recall=guarded(lambda: _recall(run, label, index, charts), "Precision and recall"),
        decisions=_decisions.view(run, charts),
        gallery=list(_gallery(run)),
        gallery_note="" if run.pictures else unevaluated(run, "gallery"),
        histogram=guarded(lambda: _histogram(run, index, charts), "Class histogram"),
        concentration=guarded(lambda: _concentration(run, charts), "Concentration of the loss"),
        shares=attempt(lambda: _shares(run), "")[0] or [],
        command=str(run.info.get("command") or ""),
        config=_config_groups(run.config),
        config_json=json.dumps(run.config, indent=2, ensure_ascii=False, default=str),
        environment=_environment(run),
        status=_status(run),
        autopsy=attempt(lambda: _autopsy.view(run.autopsy), "")[0] if run.autopsy else None,
    )


def unevaluated(run: RunRecord, what: str) -> str:
    """Why a part that comes from evaluation.json is not there."""
    return run.notes.get("evaluation") or f"evaluation.json holds no {what}."


def _summary(run: RunRecord) -> str:
    images, split = run.evaluation.get("num_images"), run.evaluation.get("split", "val")
    where = {"val": "validation", "train": "training"}.get(str(split), str(split))
    on = f"on {plural(images, where + ' image')}" if isinstance(images, int) else f"on the {where} images"
    on += _elsewhere(run)
    if "AP" not in run.metrics:
        return "No AP yet."
    if run.evaluation.get("metrics") or run.result.get("metrics"):
        return f"{ap(run.metrics['AP'])} AP {on}"
    return f"{ap(run.metrics['AP'])} AP so far, the best validation while training"


def _elsewhere(run: RunRecord) -> str:
    """What to add where the evaluation is of other data than the run's own."""
    measured = run.evaluation.get("data")
    data = run.config.get("data") or {}
    own = [Path(place) for key in ("path", "val_json") if (place := data.get(key))]
    if not measured or not own or any(place in (Path(measured), *Path(measured).parents) for place in own):
        return ""
    return f" of {measured}"


def _status(run: RunRecord) -> str:
    if run.finished:
        return ""
    last = max((s for r in (*run.train, *run.val) if (s := number(r.get("step"))) is not None), default=None)
    where = f" It stopped or stands at step {last:,.0f}." if last is not None else ""
    note = run.notes.get("result", "This run has not finished.")
    if run.autopsy:
        return f"Training stopped: a loss or a gradient became NaN or infinite.{where}"
    return f"{note}{where} Continue it with focalkit train --resume."


def _tiles(run: RunRecord) -> list[tuple[str, str, str]]:
    keys = ("AP", "AP50", "AP75", "APs")
    tiles = [(METRICS[k][0], ap(run.metrics.get(k)), METRICS[k][1]) for k in keys]
    epochs = number(run.result.get("epochs"))
    length = plural(round(epochs), "epoch") if epochs else ""
    speed = number(run.evaluated("speed").get("images_per_second"))
    tiles.append(("Training time", duration(run.result.get("seconds")), length))
    return [*tiles, ("Images / s", f"{speed:.1f}" if speed else DASH, "when predicting")]


def _metric_rows(run: RunRecord) -> list[tuple[str, str, str, float]]:
    found = run.metrics
    return [(*METRICS[k], ap(found.get(k)), max(0.0, found.get(k, 0.0))) for k in METRICS] if found else []


@dataclass(frozen=True)
class OwnRule:
    """AP by a rule other than COCO's: in words, thresholds with a column each, and (size, boxes, AP, AR, ...) rows."""

    text: str
    ious: list[str]
    rows: list[tuple[str, str, list[str]]]


def _own_rule(run: RunRecord) -> OwnRule | None:
    found = run.evaluation.get("by_rule")
    if not found:
        return None
    rows = [
        (str(row["size"]), count(row["count"]), [ap(value) for value in (row["AP"], row["AR"], *row["AP_at"])])
        for row in found["sizes"]
    ]
    return OwnRule(str(found["rule"]), [f"{iou:g}" for iou in found["ious"]], rows)


def _learning(run: RunRecord, index: int, charts: Charts) -> Block:
    split = {"classification": "classification", "box": "box"}
    total, parted = _curves.loss_curve(run, index, {"loss": "total"}), _curves.loss_curve(run, index, split)
    smooth = "Thick: running mean." if smoothed(total) else ""
    parts = charts.add(_curves.ap_curve(run, index), "Average precision", "On the validation set while training.")
    parts += charts.add(total, "Total loss", smooth)
    parts += charts.add(parted, "Classification and box loss", smooth)
    parts += charts.add(_curves.rate_curve(run, index), "Learning rate")
    note = run.notes.get("metrics", "")
    if not note and not run.val:
        note = "No validation has been recorded yet."
    return Block(parts, note)


def _per_class(
    run: RunRecord, rows: list[_classes.ClassRow], note: str, label: str, index: int, charts: Charts
) -> Block:
    if note or not rows:
        return Block(note=note or unevaluated(run, "AP per class"))
    return Block(charts.add(_classes.per_class([rows], [label], [index]), _classes.per_class_title(rows)))


def _recall(run: RunRecord, label: str, index: int, charts: Charts) -> Block:
    shape = _curves.precision_recall([run], [label], [index])
    if shape is None:
        return Block(note=unevaluated(run, "precision-recall curves"))
    return Block(charts.add(shape, "Precision over recall"), options=_curves.curve_names(shape))


def _gallery(run: RunRecord) -> Iterator[tuple[str, str, list[Picture]]]:
    kinds = [*GALLERY, *sorted({p.kind for p in run.pictures} - set(GALLERY))]
    for kind in kinds:
        pictures = [p for p in run.pictures if p.kind == kind]
        if pictures:
            title, what = GALLERY.get(kind, (kind or "Others", ""))
            yield title, what, pictures


def _histogram(run: RunRecord, index: int, charts: Charts) -> Block:
    shape = _classes.histogram(run, index)
    if shape is None:
        return Block(note=unevaluated(run, "class histogram"))
    unread = "" if run.evaluation["class_histogram"].get("train") else "The training data could not be read."
    return Block(charts.add(shape, "Boxes per class"), unread)


def _concentration(run: RunRecord, charts: Charts) -> Block:
    source = run.evaluation.get("loss_concentration") or {}
    if not source:
        why = unevaluated(run, "concentration of the loss: that takes positives and negatives")
        return Block(note=why)
    parts: list[Chart] = []
    for part in ("positives", "negatives"):
        total = count(source.get(f"num_{part}"))
        parts += charts.add(_curves.concentration(source, part), f"{part.capitalize()} ({total})")
    return Block(parts, "" if parts else "The evaluated images hold no examples to show.")


def _shares(run: RunRecord) -> list[tuple[str, list[tuple[float, str]]]]:
    rows, source = [], run.evaluation.get("loss_concentration") or {}
    for part, top in (("positives", 0.1), ("negatives", 0.1), ("negatives", 0.01)):
        shares = _curves.hardest_share(source, part, top)
        if shares:
            rows.append((f"the hardest {top:.0%} of the {part}", [(g, f"{share:.1%}") for g, share in shares]))
    return rows


def _config_groups(config: Json) -> list[tuple[str, list[tuple[str, str]]]]:
    groups: dict[str, list[tuple[str, str]]] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            groups.setdefault(GROUPS.get(key, key), []).extend((k, setting(v)) for k, v in flatten(value).items())
        else:
            groups.setdefault(GROUPS["data" if key in DATA_KEYS else ""], []).append((key, setting(value)))
    order = ["Training", "Data", "Model", "Matching and box loss", "Optimiser", "Augmentation"]
    return [(t, groups[t]) for t in [*order, *(g for g in groups if g not in order)] if t in groups]


def _environment(run: RunRecord) -> list[tuple[str, str]]:
    info = run.info
    versions = info.get("versions") if isinstance(info.get("versions"), dict) else {}
    rows = [
        ("Run directory", run.name),
        ("Started", info.get("created")),
        ("Training time", duration(run.result.get("seconds"))),
        ("Device", info.get("device")),
        ("Seed", info.get("seed")),
        ("Commit", info.get("commit")),
        *sorted((versions or {}).items()),
    ]
    return [(key, "unknown" if value in (None, "", DASH) else str(value)) for key, value in rows]
