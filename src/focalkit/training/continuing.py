"""Going on with a run: what may be changed, and whether the data are still those that it began with."""

import hashlib
from array import array
from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from typing import Any

from focalkit._config_io import config_to_dict, differences
from focalkit._runs import RunDir
from focalkit.config import TrainConfig
from focalkit.data import DetectionData
from focalkit.data.own_pipeline import content_of
from focalkit.errors import ConfigError
from focalkit.training.schedule import Plan, lr_factor

MAY_CHANGE = (
    "data.path",
    "data.train_json",
    "data.val_json",
    "data.images",
    "runtime.workers",
    "runtime.accelerator",
    "runtime.logger",
    "runtime.log_every",
    "runtime.deterministic",
    "runtime.checkpoint_seconds",
    "runtime.cache",
)
"""Settings that a resumed run takes from the caller: they say where and how to run, not what."""
ON_PURPOSE = ("epochs", "max_steps", "optim.lr")
"""Settings that a run may go on with at another value, which is written down in run.json."""


def continued(run: RunDir, asked: TrainConfig) -> tuple[TrainConfig, dict[str, tuple[Any, Any]]]:
    """The configuration of the run that is there, with what the caller may change; and what is changed on purpose.

    Raises:
        ConfigError: The caller asks for another run than the one that is there.
    """
    stored = run.read_config()
    changes = differences(stored, asked)
    allowed = (*MAY_CHANGE, *ON_PURPOSE)
    conflicts = [f"{n}: {old!r} in run.json, now {new!r}" for n, (old, new) in changes.items() if n not in allowed]
    if conflicts:
        raise ConfigError(
            f"{run.path}: --resume continues the run as it was configured, but these settings differ\n  "
            + "\n  ".join(conflicts)
            + "\n  leave them out to continue, or start over with --force or another --out; of what is learnt,"
            f" {', '.join(ON_PURPOSE)} may be changed"
        )
    config = replace(
        stored,
        data=asked.data,
        runtime=asked.runtime,
        epochs=asked.epochs,
        max_steps=asked.max_steps,
        optim=replace(stored.optim, lr=asked.optim.lr),
    )
    return config, {name: values for name, values in changes.items() if name in ON_PURPOSE}


def changed_plan(
    run: RunDir, config: TrainConfig, changes: Mapping[str, tuple[Any, Any]], plan: Plan, step: int
) -> str:
    """A note on a length and a rate that are changed on purpose, for a run that goes on after `step`.

    Raises:
        ConfigError: The run has come so far already.
    """
    if plan.steps < step + run.finished:
        asked, flags = f"{plan.steps} are asked for", "--epochs or --max-steps"
        if config.max_steps and "epochs" in changes:
            asked = f"max_steps {config.max_steps} of the run ends it before {config.epochs} epochs"
            flags = "--max-steps N, lift that with --max-steps none"
        raise ConfigError(
            f"{run.path}: {step} steps are done, and {asked}; ask for more with {flags}, or start over with --force or "
            "another --out"
        )
    o = config.optim
    factor = lr_factor(step, total=plan.steps, schedule=o.schedule, warmup=o.warmup_steps, milestones=o.milestones)
    said = ", ".join(f"{name} {new} (before: {old})" for name, (old, new) in changes.items())
    rate = f"the rate goes on at {plan.lr * factor:g}, that of step {step} of {plan.steps}"
    return f"note: changed on purpose: {said}; {rate}"


def write_changes(run: RunDir, config: TrainConfig, changes: Mapping[str, tuple[Any, Any]], step: int) -> None:
    """Keep changed settings in run.json, so that the next resumption goes on with them; the run is unfinished again."""
    result, record = run.read_result(), run.read_run()
    if result.get("finished"):
        run.write_result({**result, "finished": False})
    said = {name: [old, new] for name, (old, new) in changes.items()}
    record |= {"config": config_to_dict(config), "changes": [*record.get("changes", []), {"step": step, **said}]}
    run.write_run(record)


def data_record(train: DetectionData, val: DetectionData) -> dict[str, dict[str, Any]]:
    """What `run.json` keeps of the data, to tell later whether they are the same."""
    return {data.split: _split_record(data) for data in (train, val)}


def compare_data(run: RunDir, train: DetectionData, val: DetectionData) -> list[str]:
    """Notes on what has changed since the run began.

    Raises:
        ConfigError: The classes, or the number of training images: the run could not go on where it was.
    """
    record = run.read_run()
    before, now = record.get("categories"), [{"id": c.id, "name": c.name} for c in train.categories]
    other = f"start another run from its weights instead: --init {run.path} --out NEW"
    if before is not None and before != now:
        old, new = ({(row.get("id"), row.get("name")) for row in rows} for rows in (before, now))
        gone, added = (", ".join(f"{i} {n!r}" for i, n in sorted(rows, key=str)[:5]) for rows in (old - new, new - old))
        raise ConfigError(
            f"{run.path}: the classes are not those that the run began with (gone: {gone or 'none'}; "
            f"new: {added or 'none'}); {other}, which keeps what is known of each class"
        )
    stored, notes = record.get("data") or {}, []
    for data in (train, val):
        was, current = stored.get(data.split), _split_record(data)
        if was is None or was == current:
            continue
        if data is train and was["images"] != current["images"]:
            raise ConfigError(
                f"{run.path}: train has {current['images']} images now, {was['images']} when the run began: the order "
                f"of images and the schedule would be others; {other}"
            )
        what = [name for name in ("images", "names", "boxes", "content") if was.get(name) != current[name]]
        said = {"images": f"{current['images']} images, {was['images']} before", "names": "other images",
                "boxes": f"{current['boxes']} boxes, {was['boxes']} before", "content": "other boxes"}  # fmt: skip
        after = "" if data is train else ": AP before and after cannot be compared"
        notes.append(f"note: {data.split} has changed since the run began ({said[what[0]]}){after}")
    return notes


def compare_pipeline(run: RunDir, config: TrainConfig) -> list[str]:
    """A note where the file of an augmentation of the user's own has changed since the run began."""
    was, spec = run.read_run().get("pipeline"), config.augment.pipeline
    if spec is None or not was or was == content_of(spec):
        return []
    return [f"note: augment.pipeline {spec} has changed since the run began: from here on it learns from other images"]


def _split_record(data: DetectionData) -> dict[str, Any]:
    images = sorted(data.images, key=lambda image: image.file_name)
    names, content = hashlib.blake2b(digest_size=8), hashlib.blake2b(digest_size=8)
    for image in images:
        names.update(image.file_name.encode("utf-8", "surrogateescape") + b"\0")
        content.update(array("d", chain.from_iterable(image.boxes)).tobytes())
        content.update(array("q", (*image.labels, -1)).tobytes())
    boxes = sum(len(image.boxes) for image in images)
    return {"images": len(images), "boxes": boxes, "names": names.hexdigest(), "content": content.hexdigest()}
