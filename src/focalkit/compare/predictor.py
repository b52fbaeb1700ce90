"""The winner as a model: new data in, decisions out; preprocessing, adjustment and threshold are in the cell."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from focalkit.compare.adjust import adjusted, without_focal
from focalkit.compare.evaluate import Thresholds, default_thresholds, tuned_thresholds
from focalkit.compare.store import Cell
from focalkit.errors import ConfigError
from focalkit.tasks import Array, Finder, Model, Outputs, Task, is_built_in, open_task


class Predictor:
    """A model of a comparison, ready to use.

    Attributes:
        classes: Names of the classes.
        thresholds: With which probabilities become decisions; tuned on the cell's validation data.

    Example:
        predictor = Predictor.from_run("runs/fraud/best")
        predictor.predict("new_transactions.csv")
    """

    def __init__(self, model: Model, record: Mapping[str, Any], thresholds: Thresholds) -> None:
        self.model, self.record, self.thresholds = model, record, thresholds
        self.classes = model.classes

    @staticmethod
    def from_run(run: str | Path, *, task: str | None = None) -> "Predictor":
        """The model of a cell, or the best one of a comparison.

        Args:
            run: `OUT/best`, `OUT/cells/METHOD/seedN`, or `OUT`.
            task: A task of your own by import path, where the comparison used one.

        Raises:
            ConfigError: There is no finished cell.
        """
        folder = cell_folder(Path(run))
        cell = Cell(folder)
        if cell.status != "done":
            why = f"the cell failed: {cell.record['error']}" if cell.status == "failed" else "there is no finished cell"
            raise ConfigError(f"{run}: {why}; expected OUT/best or OUT/cells/METHOD/seedN of `focalkit compare`")
        name = cell.record["task"]
        if not is_built_in(name) and name != task:
            raise ConfigError(f"{run}: its task {name!r} is not focalkit's; give task={name!r} too")
        the_task: Task = open_task(name)
        metric = next((m for m in the_task.metrics if m.name == the_task.decision_metric), None)
        thresholds = tuned_thresholds(cell.val, metric) if metric else default_thresholds(cell.val)
        return Predictor(the_task.load(folder), cell.record, thresholds)

    def outputs(self, source: Any) -> Outputs:
        """Logits of new data as the method uses them; targets are -1."""
        found = self.model.predict(source)
        method = self.record["method"]
        return adjusted(found, method["adjust"], self.record["class_counts"], self.record["facts"])

    def predict_proba(self, source: Any, *, posterior: bool = False) -> Array:
        """(n, k) probabilities of new data: a path, or what the task takes in memory.

        Args:
            posterior: Undo what training with focal loss did to them. Thresholds are not of these.

        Raises:
            ConfigError: `posterior` of another loss than focal, or of one with class weights.
        """
        found = self.outputs(source)
        return (self.posterior(found) if posterior else found).probabilities

    def posterior(self, outputs: Outputs) -> Outputs:
        """The outputs with what training with focal loss did to probabilities undone.

        Raises:
            ConfigError: The method has another loss, or class weights.
        """
        method = self.record["method"]
        if str(method["adjust"]).startswith("focal_posterior"):
            return outputs
        return without_focal(outputs, method["loss"], method.get("class_weight"))

    def predict(self, source: Any) -> Array | Sequence[Any]:
        """(n,) names of the classes decided on, at the tuned thresholds; of a detector, what it finds in each image."""
        if isinstance(self.model, Finder):
            return self.model.find(source)
        return np.array(self.classes)[self.decide(self.predict_proba(source))]

    def decide(self, probabilities: Array) -> Array:
        """(n,) class indices at the tuned thresholds."""
        return self.thresholds.decide(probabilities)


def cell_folder(run: Path) -> Path:
    """The folder of the cell that a path means: itself, what `best` names, or the best of a comparison."""
    if (run / "plan.json").is_file():
        run = run / "best"
    if run.is_file():  # where links could not be made, `best` is a file with the name of the cell
        named = run.parent / run.read_text(encoding="utf-8").strip()
        if named.resolve().is_relative_to(run.parent.resolve()):
            return named
    return run
