"""The task of tables: csv, tsv, parquet or npz; an MLP with embeddings; linear models and trees as peers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from focalkit.errors import DataError

from .._npz import holds_images
from .._scores import DECISION, PROBABILITY, RANKING
from .._task import Budget, Inspection, Range, Source, Splits
from ._columns import Part
from ._read import format_of
from ._space import SPACES
from ._split import hold_out, split

if TYPE_CHECKING:
    from focalkit.compare.methods import Method

    from ._fitted import TableFitted, TableModel
    from ._network import Factory
    from ._table import Table


@dataclass(frozen=True)
class Tabular:
    """A table with a target column, or a folder with train.csv and test.csv (and perhaps val.csv).

    Attributes:
        network: A function of yours that makes the network: (columns of numbers, codes of each category column,
            classes) -> a module from numbers (b, d) and codes (b, c) to logits. None takes focalkit's.
    """

    name: str = "tabular"
    network: "Factory | None" = None
    kinds = frozenset({"classes", "rows"})
    metrics = (*RANKING, *DECISION, *PROBABILITY)
    decision_metric: str = "macro_f1"
    models: tuple[str, ...] = (
        "logistic",
        "hist_gb",
        "bagged_hist_gb",
        "lightgbm",
        "xgboost",
        "balanced_forest",
        "easy_ensemble",
        "rus_boost",
    )
    default_methods: tuple[str, ...] = (
        "ce",
        "focal",
        "weighted",
        "oversample",
        "balanced_softmax",
        "logistic",
        "hist_gb",
        "hist_gb_balanced",
        "hist_gb_oversample",
        "balanced_forest",
    )
    resplits: bool = True

    def recognises(self, path: Path) -> bool:
        """A file that ends like a table, or a folder with train and test tables; npz files of images are none."""
        files = [f for f in path.glob("train.*") if f.name == f"train{format_of(f)}"] if path.is_dir() else [path]
        return any(format_of(f) is not None and not holds_images(f) for f in files)

    def inspect(self, source: Source, labels: bool = True) -> Inspection:
        """Classes, copies, columns, and labels that look wrong."""
        from ._inspect import inspect

        return inspect(source, labels)

    def read(self, source: Source, seed: int) -> Splits:
        """The table, split; see `_split` for how."""
        from ._table import read_table

        table = read_table(source)
        train, val, test = _parts(table, seed)
        counts = np.bincount(table.labels[train], minlength=len(table.classes))
        for name, part in (("train", train), ("val", val), ("test", test)):
            present = np.bincount(table.labels[part], minlength=len(table.classes)) > 0
            if not present.all() and (name == "train" or len(table.classes) == 2):
                lacking = ", ".join(repr(c) for c, there in zip(table.classes, present, strict=True) if not there)
                raise DataError(source.path, [f"the {name} part has no row of class {lacking}"])
        return Splits(
            train=_part(table, train),
            val=_part(table, val),
            test=_part(table, test),
            classes=table.classes,
            class_counts=tuple(counts.tolist()),
            sizes={"train": len(train), "val": len(val), "test": len(test)},
            facts=table.facts,
            notes=table.notes,
            fingerprint=table.fingerprint,
            own_test=table.part is not None,
        )

    def space(self, model: str) -> Mapping[str, Range]:
        """Learning rate and weight decay of the network; the usual ones of the peers."""
        return SPACES[model]

    def fit(self, method: "Method", splits: Splits, budget: Budget, seed: int, out: Path) -> "TableFitted":
        """Train the network or a peer."""
        from ._fit import fit
        from ._network import TableNetwork

        return fit(method, splits, budget, seed, self.metrics[0], self.network or TableNetwork)

    def load(self, folder: Path) -> "TableModel":
        """A stored model."""
        from ._fitted import TableModel

        return TableModel.load(Path(folder), self.network)


def _parts(table: "Table", seed: int) -> tuple[Any, Any, Any]:
    if table.part is None:
        return split(table.labels, table.groups, table.copies, seed)
    rest, test = np.flatnonzero(table.part != 2), np.flatnonzero(table.part == 2)
    if (table.part == 1).any():
        return np.flatnonzero(table.part == 0), np.flatnonzero(table.part == 1), test
    held = hold_out(table.labels[rest], table.groups[rest], table.copies[rest], seed)
    return rest[~held], rest[held], test


def _part(table: "Table", rows: Any) -> Part:
    return Part(table.schema, table.rows.take(rows), table.labels[rows], rows, table.groups[rows])


TASK = Tabular()
