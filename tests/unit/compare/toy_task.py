"""A whole task in one file: points on a line, one in ten of them positive, and a logistic curve fitted by Newton steps.

Nothing in `focalkit.compare` knows of it; it stands for any task that somebody writes.
"""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from focalkit.compare import Range
from focalkit.errors import DataError
from focalkit.tasks import Inspection, Metric, Outputs, Splits

FITS: Counter[str] = Counter()
"""How often each method was fitted, in this process."""


def ranked(probabilities, targets):
    """Share of pairs of a positive and a negative that are in order."""
    positive, negative = probabilities[targets == 1, 1], probabilities[targets == 0, 1]
    return float((positive[:, None] > negative).mean())


def accuracy(decisions, targets):
    return float((decisions == targets).mean())


@dataclass(frozen=True)
class ToyFitted:
    slope: float
    shift: float
    splits: Splits

    @property
    def facts(self):
        return {"training_prior": [0.9, 0.1]}

    def outputs(self, part):
        ids, x, y = getattr(self.splits, part)
        logits = np.stack([np.zeros(len(x)), self.slope * x + self.shift], 1).astype(np.float32)
        return Outputs(ids, y, logits)

    def save(self, folder):
        save_file({"weights": np.array([self.slope, self.shift])}, folder / "model.safetensors")
        (folder / "model.json").write_text(json.dumps({"classes": ["no", "yes"]}))


@dataclass(frozen=True)
class ToyModel:
    slope: float
    shift: float
    classes: tuple[str, ...]

    def predict(self, source):
        x = np.asarray(source, dtype=float)
        logits = np.stack([np.zeros(len(x)), self.slope * x + self.shift], 1).astype(np.float32)
        return Outputs(np.arange(len(x)), np.full(len(x), -1), logits)


class Toy:
    name = "toy"
    kinds = frozenset({"points"})
    metrics = (Metric("ranked", ranked), Metric("accuracy", accuracy, of="decisions"))
    decision_metric = "accuracy"
    models = ("constant",)
    default_methods = ("ce",)
    resplits = True

    def recognises(self, path):
        return path.suffix == ".toy"

    def inspect(self, source, labels=True):
        return Inspection({}, ())

    def read(self, source, seed):
        if not source.path.read_text().strip().isdigit():
            raise DataError(source.path, ["expected a number of points"])
        n = int(source.path.read_text())
        random = np.random.default_rng(7)
        y = (random.random(n) < 0.1).astype(np.int64)
        x = random.normal(size=n) + 2 * y
        part = np.random.default_rng(seed).integers(0, 3, n)
        parts = [(np.flatnonzero(part == i), x[part == i], y[part == i]) for i in range(3)]
        counts = tuple(np.bincount(parts[0][2], minlength=2).tolist())
        sizes = {name: len(p[0]) for name, p in zip(("train", "val", "test"), parts, strict=True)}
        return Splits(*parts, classes=("no", "yes"), class_counts=counts, sizes=sizes, fingerprint=str(n))

    def space(self, model):
        return {"lr": Range(1e-3, 1.0, log=True)}

    def fit(self, method, splits, budget, seed, out):
        FITS[method.name] += 1
        if method.loss == "bce":
            raise ArithmeticError("this loss always fails here")
        slope, shift = 0.0, 0.0
        _, x, y = splits.train
        for _ in range(budget.steps or 20):
            p = 1 / (1 + np.exp(-(slope * x + shift)))
            design, w = np.stack([x, np.ones_like(x)], 1), p * (1 - p)
            change = np.linalg.solve(design.T @ (design * w[:, None]) + 1e-3 * np.eye(2), design.T @ (y - p))
            slope, shift = slope + change[0], shift + change[1]
        return ToyFitted(slope * method.settings.get("lr", 1.0) + 0.01 * seed, shift, splits)

    def load(self, folder):
        slope, shift = load_file(Path(folder) / "model.safetensors")["weights"]
        return ToyModel(slope, shift, ("no", "yes"))


TASK = Toy()
