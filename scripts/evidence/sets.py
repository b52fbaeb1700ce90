"""The sections on today's detectors, from detr_losses.json and equal_time.json."""

from statistics import mean
from typing import Any

from evidence import Section, table, verdicts

LOSSES = "Boxes: the losses of set predictors"
ABOUT = """A small RT-DETRv2 (two layers, 30 queries, 128 px, drawn digits, from random weights), trained with each
classification loss of its family for 900 steps of 8 images, {seeds} seeds, COCO AP. The matching is the same for all.
These are short trainings of a small model: the published ones take hundreds of epochs.
"""
EQUAL = "Boxes: four detectors for about the same time"
NAMES = {"retinanet": "RetinaNet", "rtmdet": "RTMDet", "rtdetrv2": "RT-DETRv2", "dfine": "D-FINE"}
TIME = """Drawn digits at 256 px, 600 training and 200 validation images, the backbone `tiny` from random weights, each
for about as long on one thread, {shortest:.0f} to {longest:.0f} s; {seeds} seeds, AP on the validation images. Set
predictors learn slowly at first: minutes are few for them.
"""


def losses(result: dict[str, Any]) -> Section:
    """Every loss against cross-entropy."""
    told = ", ".join(f"{row['method']} {row['verdict']}" for row in result["rows"] if row["verdict"] != "yardstick")
    short = f"**{LOSSES}**: against cross-entropy on a small RT-DETRv2: {told}."
    return Section(LOSSES, short, "\n".join([ABOUT.format(seeds=result["seeds"]), verdicts(result["rows"], "AP")]))


def equal_time(result: dict[str, Any]) -> Section:
    """Every detector's AP of each seed."""
    found = {name: [row for row in result["rows"] if row["detector"] == name] for name in NAMES}
    rates = result["cpu_seconds_of_a_step"]
    rows = [
        (
            NAMES[name],
            f"{runs[0]['steps']:,} x {rates[name]:.2f} s",
            ", ".join(f"{run['AP']:.3f}" for run in runs),
            f"{mean(run['AP'] for run in runs):.3f}",
            f"{mean(run['AP50'] for run in runs):.3f}",
        )
        for name, runs in found.items()
    ]
    order = sorted(NAMES, key=lambda name: -mean(run["AP"] for run in found[name]))
    short = f"**{EQUAL}**: by mean AP {', '.join(NAMES[name] for name in order)}."
    seconds = [rates[name] * runs[0]["steps"] for name, runs in found.items()]
    text = [
        TIME.format(seeds=len(found["retinanet"]), shortest=min(seconds), longest=max(seconds)),
        table(("detector", "steps x CPU time", "AP of each seed", "mean AP", "mean AP50"), rows),
    ]
    if "large" in result:
        text.append(
            "On a larger backbone, a ResNet-18 (RT-DETRv2: ResNet-18-vd), for 23 to 25 minutes of two cores that other"
            " work shared, one seed each:\n"
        )
        text.append(_single_runs(result["large"]))
    if "faces" in result:
        text.append(
            "Face masks (photographs), MobileNetV2 with ImageNet weights, one seed each; minutes of the clock, on cores"
            " that other work shared:\n"
        )
        text.append(_single_runs(result["faces"]))
    return Section(EQUAL, short, "\n".join(text))


def _single_runs(runs: list[dict[str, Any]]) -> str:
    rows = [
        (
            NAMES[run["detector"]],
            f"{run['steps']:,} at {run['pixels']} px, {run['minutes']:.0f} min",
            f"{run['AP']:.3f}",
            f"{run['AP50']:.3f}",
        )
        for run in runs
    ]
    return table(("detector", "steps", "AP", "AP50"), rows)
