"""What a task is to the workbench: it reads data, fits one model under one method, and says what that model predicts.

A task knows nothing of seeds of a comparison, trials, statistics or reports; `focalkit.compare` knows nothing of
tables, images or boxes. Between them lie the types of this file and the files `val.npz` and `test.npz`:

    ids        (n,)      int64 or unicode: what item i is in the user's data (row number, file name, image id)
    targets    (n,)      int64 class index 0..k-1;  (n, k) of 0 and 1 where an item has several labels
    logits     (n, k)    float32. Two classes have two columns. A model that knows probabilities only gives their logs
    groups     (n,)      int64, optional: items of one group are not independent; they are resampled together
    link       ()        unicode: "softmax" or "sigmoid", how logits become probabilities (`Outputs.probabilities`)
    PART.NAME  (m, ...)  optional, ragged: m rows of a further table PART (detections, ground truth). PART.item (m,)
                         int64 names the item, 0..n-1, that each row belongs to

Logits are those of the method as it is used: an adjustment after training (`Method.adjust`) is already in them.
"""

import math
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from focalkit.data import Selection
from focalkit.errors import DataError
from focalkit.findings import Finding

from ._npz import open_arrays

if TYPE_CHECKING:
    from focalkit.compare.methods import Method

Array = NDArray[Any]
Link = Literal["softmax", "sigmoid"]


@dataclass(frozen=True)
class Outputs:
    """What a fitted model says about n items, beside the targets; the content of `val.npz` and `test.npz`.

    Attributes:
        ids: (n,), see above.
        targets: (n,) class indices, or (n, k) of 0 and 1.
        logits: (n, k) float32.
        groups: (n,) or None.
        link: How logits become probabilities.
        parts: "PART.NAME" -> (m, ...), with "PART.item" (m,) for every PART.
    """

    ids: Array
    targets: Array
    logits: Array
    groups: Array | None = None
    link: Link = "softmax"
    parts: Mapping[str, Array] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def multilabel(self) -> bool:
        """Whether an item may have several labels."""
        return self.targets.ndim == 2

    @property
    def probabilities(self) -> Array:
        """(n, k) float64. Rows of a single-label task sum to 1, also those of sigmoid scores."""
        z = self.logits.astype(np.float64)
        if self.link == "softmax":
            e = np.exp(z - z.max(1, keepdims=True, initial=-np.inf))
            return e / e.sum(1, keepdims=True)
        p = np.exp(-np.logaddexp(0, -z))
        # an item of all-zero scores is the same as one of all-equal ones
        return p if self.multilabel else (p + 1e-300) / (p + 1e-300).sum(1, keepdims=True)

    def take(self, index: Array) -> "Outputs":
        """The items `index` (m,), which may repeat; rows of ragged parts follow their items."""
        index = np.asarray(index)
        parts: dict[str, Array] = {}
        for name in {key.partition(".")[0] for key in self.parts}:
            item = self.parts[f"{name}.item"]
            order = np.argsort(item, kind="stable")
            counts = np.bincount(item, minlength=len(self))
            starts = np.cumsum(counts) - counts
            taken = counts[index]
            new_item = np.repeat(np.arange(len(index)), taken)
            within = np.arange(taken.sum()) - np.repeat(np.cumsum(taken) - taken, taken)
            rows = order[np.repeat(starts[index], taken) + within]
            columns = {key: value[rows] for key, value in self.parts.items() if key.startswith(f"{name}.")}
            parts |= columns | {f"{name}.item": new_item}
        groups = None if self.groups is None else self.groups[index]
        taken_items = (self.ids[index], self.targets[index], self.logits[index])
        return Outputs(*taken_items, groups=groups, link=self.link, parts=parts)

    def arrays(self) -> dict[str, Array]:
        """Name -> array, as the file holds them."""
        optional = {} if self.groups is None else {"groups": self.groups}
        fixed = {"ids": self.ids, "targets": self.targets, "logits": self.logits, "link": np.asarray(self.link)}
        return {**fixed, **optional, **self.parts}

    @staticmethod
    def read(file: Path) -> "Outputs":
        """A `val.npz` or `test.npz`.

        Raises:
            DataError: It is not one. (OSError where there is no such file.)
        """
        try:
            with open_arrays(file) as archive:
                arrays = dict(archive.items())
            link = str(arrays.pop("link"))
            known = [arrays.pop(name) for name in ("ids", "targets", "logits")]
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(file, [f"not the outputs of a cell ({error})"]) from error
        groups = arrays.pop("groups", None)
        return Outputs(*known, groups=groups, link="sigmoid" if link == "sigmoid" else "softmax", parts=arrays)


@dataclass(frozen=True)
class Metric:
    """A number about outputs: computed after fitting, from the files of a cell.

    Attributes:
        name: As in tables and results.csv.
        function: Takes what `of` says and returns a float, or NaN where the number does not exist for the data.
        of: "probabilities": (probabilities (n, k), targets); "decisions": (decisions, targets), class indices (n,) or
            0/1 (n, k), which depend on thresholds; "outputs": (Outputs), for tasks with ragged parts.
        higher_is_better: Otherwise lower is.
        summary: What it is, in one line.
    """

    name: str
    function: Callable[..., float]
    of: Literal["probabilities", "decisions", "outputs"] = "probabilities"
    higher_is_better: bool = True
    summary: str = ""


@dataclass(frozen=True)
class Source:
    """Where the data are, and how to look at them.

    Attributes:
        path: A file or folder.
        target: Name of the target column, where the data have columns; None lets the task guess.
        group: Name of the column whose equal values must stay in one split.
        cache: A folder that may keep decoded data for as long as the comparison exists, or None.
        selection: Of boxes: how the data are divided, and which classes are used.
        leave_out: Of a table: columns that no model sees.
    """

    path: Path
    target: str | None = None
    group: str | None = None
    cache: Path | None = None
    selection: Selection | None = None
    leave_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Splits:
    """Data in three parts, in whatever form their task likes, with what everybody else needs to know about them.

    Attributes:
        train, val, test: The task's own.
        classes: Names of the classes, by index. Two classes: the second one is the rare one, the one to be found.
        class_counts: Training items per class.
        sizes: Items in "train", "val", "test".
        facts: JSON-ready: what was found and decided while reading (columns left out, duplicates, the split).
        notes: Sentences for the user about what may be wrong with the data.
        fingerprint: Hash of the content of the data; a comparison refuses to go on with other data.
        own_test: The test part is the data's own, the same for every seed.
    """

    train: Any
    val: Any
    test: Any
    classes: tuple[str, ...]
    class_counts: tuple[int, ...]
    sizes: Mapping[str, int]
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    fingerprint: str = ""
    own_test: bool = False

    def without_test(self) -> "Splits":
        """For tuning, which must not see the test part."""
        return replace(self, test=None)


@dataclass(frozen=True)
class Inspection:
    """What data look like before any training.

    Attributes:
        classes: Name -> number of items, all parts together.
        findings: Numbered checks that had something to say.
        facts: JSON-ready, as in `Splits`.
        notes: Sentences for the user, as in `Splits`.
    """

    classes: Mapping[str, int]
    findings: tuple[Finding, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Budget:
    """What every method may spend on one fit.

    Attributes:
        steps: At most so many optimiser steps (trees and other peers: their own number of rounds); None: the task's.
        seconds: At most so many seconds; None: no limit. Time limits make results depend on the machine.
        threads: CPU threads.
        beside: Fits at the same time, this one included, which share the machine's memory.
    """

    steps: int | None = None
    seconds: float | None = None
    threads: int = 1
    beside: int = 1


@dataclass(frozen=True)
class Range:
    """Values that tuning may try, ends included.

    Example:
        >>> Range(1e-4, 1e-1, log=True).holds(0.01)
        True
    """

    low: float
    high: float
    log: bool = False
    integer: bool = False

    def holds(self, value: float) -> bool:
        """Whether `value` lies in the range."""
        return self.low <= value <= self.high

    def at_edge(self, value: float, share: float = 0.02) -> bool:
        """Whether `value` lies in the outer `share` of the range, on its own scale."""
        scale = math.log if self.log else float
        low, high, v = scale(self.low), scale(self.high), scale(value)
        return min(v - low, high - v) <= share * (high - low)


class Fitted(Protocol):
    """A model after training."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """JSON-ready, for `cell.json`: steps taken, the best step, parameters, ...

        "training_prior": list of k floats, is what `Method.adjust` needs: the share of each class as the model was
        taught it, after sampling and weighting.
        """
        ...

    def outputs(self, part: Literal["val", "test"]) -> Outputs:
        """What the model says about a part of the splits."""
        ...

    def save(self, folder: Path) -> None:
        """Write `model.safetensors` and `model.json`: everything that `Task.load` needs. No pickles."""
        ...


class Model(Protocol):
    """A model that was saved, for data without targets."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, by index."""
        ...

    def predict(self, source: Any) -> Outputs:
        """Logits of new data (a path, or what the task takes in memory); targets are -1."""
        ...


@runtime_checkable
class Finder(Protocol):
    """A model that says more of an item than its class: where things are in it."""

    def find(self, source: Any) -> Sequence[Any]:
        """What is found in every item, at the threshold that is best on validation data."""
        ...


@dataclass(frozen=True)
class Picture:
    """Something to look at in a report.

    Attributes:
        group: Pictures of a group are shown together, under this title.
        about: What the group is, a sentence.
        caption: Of this picture, a sentence.
        item: What it shows in the user's data.
        jpeg: The file.
    """

    group: str
    about: str
    caption: str
    item: str
    jpeg: bytes


@runtime_checkable
class Illustrator(Protocol):
    """A task whose results can be looked at, and whose errors are of kinds."""

    def error_costs(self, outputs: Outputs, classes: Sequence[str]) -> Mapping[str, float]:
        """Kind of error -> how much a metric would rise if it alone were mended, the metric first, under its name."""
        ...

    def pictures(self, source: Source, outputs: Outputs) -> Sequence[Picture]:
        """The hardest items of the test part and errors of every kind.

        Raises:
            InputError: The data are not there any more.
        """
        ...


class Task(Protocol):
    """One kind of data with a default model. A new task is a folder that has this, and a line in `TASKS`."""

    name: str
    kinds: frozenset[str]
    """What its data are, which says what methods it takes: "classes" (one of k per item), "rows", "pixels", "boxes"."""
    metrics: Sequence[Metric]
    """The first ranks the methods; thresholds are tuned for `decision_metric`."""
    decision_metric: str
    """Name of the metric of decisions that thresholds maximise on validation data; "" where nothing is decided."""
    models: Sequence[str]
    """Values of `Method.model` that `fit` knows beside "default"."""
    default_methods: Sequence[str]
    """What `focalkit compare` runs unless told otherwise."""
    resplits: bool
    """Whether `read` with another seed gives another split (folds); otherwise the split is the data's own."""

    def recognises(self, path: Path) -> bool:
        """Whether the data there look like this task's, by file names and not by content."""
        ...

    def inspect(self, source: Source, labels: bool = True) -> Inspection:
        """The data before any training; `labels` also looks for wrong ones, for which a small model is trained."""
        ...

    def read(self, source: Source, seed: int) -> Splits:
        """The data of a cell of this seed: the same for every method."""
        ...

    def space(self, model: str) -> Mapping[str, Range]:
        """What tuning moves for this model whatever the method: learning rate, weight decay, ..."""
        ...

    def fit(self, method: "Method", splits: Splits, budget: Budget, seed: int, out: Path) -> Fitted:
        """Train. The same seed gives the same initial weights for every method; `out` is a folder for own files."""
        ...

    def load(self, folder: Path) -> Model:
        """What `Fitted.save` wrote."""
        ...
