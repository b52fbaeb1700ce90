"""The record of a training run: `run.json`, the summary before the first step, the numbers at the end."""

import platform
import shlex
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from focalkit._config_io import config_to_dict
from focalkit._text import printable
from focalkit.config import TrainConfig
from focalkit.data import DetectionData
from focalkit.data.find import find_layout
from focalkit.data.own_pipeline import content_of
from focalkit.detection import DETECTORS
from focalkit.training.continuing import data_record
from focalkit.training.schedule import Plan

PACKAGES = ("focalkit", "torch", "torchvision", "lightning", "faster-coco-eval", "numpy")


def run_record(
    config: TrainConfig, data: DetectionData, val: DetectionData, *, command: str, device: str
) -> dict[str, Any]:
    """The contents of `run.json`."""
    return {
        "config": config_to_dict(config),
        "categories": [{"id": c.id, "name": c.name} for c in data.categories],
        **({"class_map": data.class_map} if data.class_map else {}),
        "data": data_record(data, val),
        **({"pipeline": content} if (content := content_of(config.augment.pipeline or "")) else {}),
        "seed": config.seed,
        "command": command,
        "commit": commit(),
        "versions": {"python": platform.python_version()} | {p: v for p in PACKAGES if (v := _version(p)) is not None},
        "device": device,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def commit() -> str | None:
    """The git commit of focalkit where it runs from a checkout, else of the working directory; "+" marks changes."""
    package = Path(__file__).parents[1]
    inside = _git(package, "ls-files", "--error-unmatch", "__init__.py") is not None
    where = package if inside else Path.cwd()
    head = _git(where, "rev-parse", "HEAD")
    return None if head is None else head + ("+" if _git(where, "status", "--porcelain", "-uno") else "")


def device_name(device: torch.device, count: int) -> str:
    """Such as "CPU (2 threads)" or "2 x NVIDIA H200"."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        return name if count == 1 else f"{count} x {name}"
    threads = torch.get_num_threads()
    name = f"CPU ({threads} thread{'s' * (threads > 1)})" if device.type == "cpu" else device.type
    return name if count == 1 else f"{count} processes on {name}"


def summary(
    config: TrainConfig,
    train: DetectionData,
    val: DetectionData,
    model: torch.nn.Module,
    plan: Plan,
    *,
    device: str,
    out: Path,
    terms: Mapping[str, torch.nn.Module],
) -> str:
    """What is about to happen, one line a subject; `terms` are the criterion's."""
    m, o = config.model, config.optim
    total = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    weights = config.backbone_weights or (
        "torchvision's ImageNet weights" if config.pretrained_backbone else "random weights"
    )
    origin = f"from {weights}" if config.init is None else f"and all from {config.init}"
    passes = f" in {config.accumulate} passes" if config.accumulate > 1 else ""
    rows = {
        "data": f"{train.source} ({_format(config)})",
        "train": _split(train),
        "val": _split(val),
        **_test_row(train, out),
        "classes": _classes(train),
        "model": f"{DETECTORS[m.detector].title}, {m.backbone} {origin}, {m.fpn_channels} channels;"
        f" {total / 1e6:.1f} M parameters, {trained / 1e6:.1f} M of them trained",
        "loss": loss_line(config, terms),
        "steps": f"{plan.steps} of {config.batch_size} images{passes}, {plan.steps_per_epoch} an epoch;"
        f" images up to {config.min_size} x {config.max_size} px",
        "rate": f"{o.optimizer}, {o.schedule}, {plan.lr:g}"
        f" ({o.lr:g} per {o.lr_batch} images, batch of {config.batch_size})",
        "device": f"{device}, precision {config.runtime.precision}, {config.runtime.workers} loader workers",
        "run": str(out),
    }
    lines = [f"{name:<8}{text}" for name, text in rows.items()]
    for data in (train, val):
        lines += [f"warning: {data.split}: {text}" for text in data.warnings]
    return printable("\n".join(lines))


def _format(config: TrainConfig) -> str:
    data = config.data
    return "COCO" if data.path is None or (data.train_json and data.val_json) else find_layout(data.path).format


def _test_row(train: DetectionData, out: Path) -> dict[str, str]:
    """A line on the test part of a made split, where there is one."""
    count = len((train.division or {}).get("test", ()))
    how = f"focalkit evaluate {shlex.quote(str(out))} --split test"
    return {"test": f"{count} images, held out; afterwards: {how}"} if count else {}


def loss_line(config: TrainConfig, terms: Mapping[str, torch.nn.Module]) -> str:
    """The losses that are added: those that the configuration names, then the detector's others by their names.

    Example:
        >>> from focalkit.config import ModelConfig
        >>> from focalkit.detection.build import build_criterion, with_own_losses
        >>> config = with_own_losses(TrainConfig(model=ModelConfig(detector="rtdetrv2")))
        >>> loss_line(config, build_criterion(config).terms)
        'varifocal + 5 x l1 for boxes + 2 x giou'
    """
    line = f"{config.loss} + {config.criterion.box_weight:g} x {config.criterion.box_loss} for boxes"
    for name, term in terms.items():
        if name not in ("classification", "box"):
            weight = getattr(term, "weight", None)
            line += f" + {weight:g} x {name}" if isinstance(weight, float) else f" + {name}"
    return line


def _split(data: DetectionData) -> str:
    counts = data.class_counts()
    empty = sum(not image.labels for image in data.images)
    return f"{len(data.images)} images ({empty} without boxes), {sum(counts)} boxes"


def _classes(data: DetectionData) -> str:
    counts = sorted(zip(data.class_counts(), data.names, strict=True), reverse=True)
    shown = ", ".join(f"{name} {count}" for count, name in counts[:5])
    more = f", ... {counts[-1][1]} {counts[-1][0]}" if len(counts) > 5 else ""
    return f"{len(counts)} ({shown}{more} boxes)"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(where: Path, *args: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(where), *args], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
