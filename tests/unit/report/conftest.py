"""Run directories as training and evaluation leave them, made up: smooth curves, a long tail, small pictures."""

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

CLASSES = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "zero")
RECALL = [i / 100 for i in range(101)]
FRACTION = [*(i / 100 for i in range(100)), *(0.99 + i / 1000 for i in range(1, 10)), 0.9995, 0.9999, 1.0]


def fake_run(
    root: Path,
    name: str = "focal",
    *,
    loss: str = "focal(gamma=2.0, alpha=0.25)",
    level: float = 0.41,
    seed: int = 0,
    epochs: int = 12,
    classes: tuple[str, ...] = CLASSES,
    pictures: int = 3,
) -> Path:
    """Write a complete, finished run; `level` is its AP."""
    run = root / name
    (run / "gallery").mkdir(parents=True)
    rng = random.Random(f"{name}{seed}")
    counts = [max(3, round(900 * 50 ** (-i / max(1, len(classes) - 1)))) for i in range(len(classes))]
    _dump(run / "run.json", _run_json(name, loss, seed, epochs, classes))
    rows = _metrics(rng, level, epochs)
    (run / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    metrics = _coco(level)
    _dump(run / "result.json", {"metrics": metrics, "seconds": 141.3, "epochs": epochs, "finished": True})
    per_class = [
        {
            "name": c,
            "id": i + 1,
            "train_count": counts[i],
            "count": counts[i] // 4,
            "AP": max(0.0, level * 1.35 - 0.6 * level * i / len(classes) + rng.uniform(-0.06, 0.06)),
            "AP50": level * 1.5 - 0.02 * i,
            "AP75": level * 1.02 - 0.02 * i,
        }
        for i, c in enumerate(classes)
    ]
    evaluation = {
        "split": "val",
        "num_images": 120,
        "metrics": metrics,
        "per_class": per_class,
        "pr": _pr(level, classes),
        "gallery": _gallery(run, rng, classes, pictures),
        "loss_concentration": _concentration(),
        "class_histogram": {"names": list(classes), "train": counts, "val": [c // 4 for c in counts]},
        "score_threshold": 0.05,
        "speed": {"images_per_second": 38.2},
        "decisions": made_decisions(classes),
    }
    _dump(run / "evaluation.json", evaluation)
    return run


def made_decisions(classes: tuple[str, ...], bins: int = 10) -> dict[str, Any]:
    """What `focalkit.evaluation.decisions` finds: smooth curves, an empty bin, a class without detections."""
    k = len(classes)
    middles = [(i + 0.5) / bins for i in range(bins)]
    counts = [600 // (i + 1) for i in range(bins - 1)] + [0]
    accuracy = [m**1.5 if n else None for m, n in zip(middles, counts, strict=True)]
    rates = {"precision": 0.7, "recall": 0.6, "f1": 0.646, "true_positives": 60, "false_positives": 26, "missed": 40}
    last = {"precision": None, "recall": 0.0, "f1": 0.0, "true_positives": 0, "false_positives": 0, "missed": 4}
    reasons = ["largest F1: precision 0.7, recall 0.6"] * (k - 1)
    kinds = ("classification", "localisation", "both", "duplicate", "background", "missed")
    return {
        "D-ECE": 0.081,
        "LaECE_0": 0.12,
        "reliability": {
            "edges": [i / bins for i in range(bins + 1)],
            "confidence": [m if n else None for m, n in zip(middles, counts, strict=True)],
            "accuracy": accuracy,
            "counts": counts,
            "low": [None if a is None else a - 0.02 for a in accuracy],
            "high": [None if a is None else a + 0.02 for a in accuracy],
        },
        "over_thresholds": {
            "threshold": [0.0, 0.5, 1.0],
            "precision": [0.2, 0.7, None],
            "recall": [0.9, 0.6, 0.0],
            "f1": [0.33, 0.65, 0.0],
        },
        "thresholds": {
            "values": [0.5] * (k - 1) + [0.45],
            "interval": [[0.4, 0.6]] * (k - 1) + [[None, None]],
            "reason": [*reasons, "0 true positives, fewer than 20: the cut-off of all classes pooled"],
            "pooled": {"values": 0.45},
        },
        "operating": {
            "all": rates,
            "classes": [{"name": c, **(rates if i < k - 1 else last)} for i, c in enumerate(classes)],
        },
        "confusion": [[60 if r == c else (26 if c == k or r == k else 1) for c in range(k + 1)] for r in range(k + 1)],
        "errors": {kind: {"count": 10 * i, "cost": 0.02 * i} for i, kind in enumerate(kinds)},
    }


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """`make_run("name", loss=..., level=..., ...)` -> a finished run directory under tmp_path."""

    def make(name: str = "focal", **options: Any) -> Path:
        return fake_run(tmp_path, name, **options)

    return make


@pytest.fixture
def edit() -> Callable[..., None]:
    """`edit(run / "evaluation.json", pr=None, split="train")`: replace keys of a JSON file; None deletes."""

    def change(path: Path, **values: Any) -> None:
        merged = json.loads(path.read_text()) | values
        _dump(path, {k: v for k, v in merged.items() if v is not None})

    return change


def _dump(path: Path, value: object) -> None:
    path.write_text(json.dumps(value))


def _run_json(name: str, loss: str, seed: int, epochs: int, classes: tuple[str, ...]) -> dict[str, Any]:
    config = {
        "data": "demo/scenes",
        "train_json": None,
        "loss": loss,
        "epochs": epochs,
        "batch_size": 8,
        "min_size": 256,
        "max_size": 256,
        "precision": "32",
        "seed": seed,
        "pretrained_backbone": False,
        "model": {
            "backbone": "tiny",
            "fpn_channels": 64,
            "anchor_sizes": [16.0, 32.0, 64.0, 128.0, 256.0],
            "anchor_scales": [1.0, 2 ** (1 / 3), 2 ** (2 / 3)],
            "prior_prob": 0.01,
        },
        "criterion": {"fg_iou": 0.5, "bg_iou": 0.4, "box_loss": "smooth_l1", "normalizer": "batch"},
        "augment": {"flip": 0.0, "scale": [0.8, 1.2], "crop": 0.0, "color": 0.2},
        "optim": {"optimizer": "adamw", "lr": 5e-4, "schedule": "onecycle", "ema_decay": None},
    }
    return {
        "schema": 1,
        "config": config,
        "categories": [{"id": i + 1, "name": c} for i, c in enumerate(classes)],
        "seed": seed,
        "command": f'focalkit train --data demo/scenes --loss "{loss}" --out demo/{name}',
        "commit": "f1f8c9f",
        "versions": {"focalkit": "0.1.0", "torch": "2.15.0", "torchvision": "0.29.2", "python": "3.11.2"},
        "device": "cpu (2 threads)",
        "created": "2026-11-22T08:00:00+00:00",
    }


def _metrics(rng: random.Random, level: float, epochs: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for step in range(5, 50 * epochs + 1, 5):
        done = step / (50 * epochs)
        cls = 0.25 + 0.9 * math.exp(-4 * done) + rng.uniform(-0.08, 0.08)
        box = 0.2 + 0.5 * math.exp(-3 * done) + rng.uniform(-0.05, 0.05)
        lr = 5e-4 * (done / 0.3 if done < 0.3 else 0.5 * (1 + math.cos(math.pi * (done - 0.3) / 0.7)))
        row = {"kind": "train", "step": step, "epoch": (step - 1) // 50, "loss": cls + box, "classification": cls}
        rows.append(row | {"box": box, "lr": lr, "images_per_second": 41.0})
        if step % 50 == 0:
            found = _coco(level * (1 - math.exp(-4.5 * done)))
            losses = {"loss": cls + box + 0.1, "classification": cls + 0.06, "box": box + 0.04}
            rows.append({"kind": "val", "step": step, "epoch": step // 50 - 1, **losses, **found})
    return rows


def _coco(level: float) -> dict[str, float]:
    share = {"AP": 1, "AP50": 1.62, "AP75": 1.04, "APs": 0.55, "APm": 1.2, "APl": -1}
    share |= {"AR1": 0.9, "AR10": 1.3, "AR100": 1.33, "ARs": 0.9, "ARm": 1.5, "ARl": -1}
    return {k: (min(0.99, level * v) if v > 0 else -1) for k, v in share.items()}


def _pr(level: float, classes: tuple[str, ...]) -> dict[str, Any]:
    def curve(strength: float) -> list[float]:
        return [max(0.0, 1 - 0.15 * r - (r / max(strength, 0.05)) ** 8) for r in RECALL]

    curves = []
    for i, name in enumerate(("all", *classes)):
        strength = min(1.0, 2 * level - 0.03 * i)
        curves.append({"name": name, "iou": 0.5, "precision": curve(strength)})
        curves.append({"name": name, "iou": 0.75, "precision": curve(0.7 * strength)})
    return {"recall": RECALL, "iou": [0.5, 0.75], "curves": curves}


def _concentration() -> dict[str, Any]:
    gammas = (0.0, 0.5, 1.0, 2.0)
    return {
        "gammas": list(gammas),
        "fraction": FRACTION,
        "positives": [[f ** (2 + g) for f in FRACTION] for g in gammas],
        "negatives": [[f ** (4 + 60 * g) for f in FRACTION] for g in gammas],
        "num_positives": 2874,
        "num_negatives": 6_894_126,
    }


def _gallery(run: Path, rng: random.Random, classes: tuple[str, ...], n: int) -> list[dict[str, Any]]:
    entries = []
    for kind in ("best", "worst", "mistake"):
        for i in range(n):
            file = f"gallery/{kind}-{i}.jpg"
            _picture(rng).save(run / file, quality=80)
            name, other = rng.sample(classes, 2) if len(classes) > 1 else (classes[0], classes[0])
            caption = f"{name} with score 0.{90 - i} where the truth is {other}"
            if kind != "mistake":
                caption = f"{3 + i} objects, {2 + i} found, {i} false"
            entry = {"kind": kind, "file": file, "image_id": i, "file_name": f"scene_{rng.randrange(120):04d}.png"}
            entries.append(entry | {"caption": caption, "score": 0.9 - i / 100})
    return entries


def _picture(rng: random.Random) -> Image.Image:
    ground = rng.randrange(60, 170), rng.randrange(60, 170), rng.randrange(60, 170)
    image = Image.new("RGB", (rng.choice((256, 256, 320)), 256), ground)
    pen = ImageDraw.Draw(image)
    for _ in range(25):
        x, y = rng.randrange(256), rng.randrange(256)
        pen.line([x, y, x + rng.randrange(-60, 60), y + rng.randrange(-60, 60)], fill=(120, 130, 120), width=3)
    for _ in range(4):
        x, y, s = rng.randrange(200), rng.randrange(200), rng.randrange(18, 60)
        pen.text((x, y), str(rng.randrange(10)), fill=(240, 240, 240), font_size=s)
        pen.rectangle([x - 3, y, x + s * 0.7, y + s * 1.15], outline=(40, 150, 255), width=2)
    return image
