"""Checkpoint files: plain tensors and simple types, so that `torch.load(weights_only=True)` reads them.

`last.ckpt` is Lightning's file and has, beside what Lightning needs to continue, "model" (the detector's weights, the
averaged ones where weights are averaged) and "focalkit" (schema, categories, configuration). `best.ckpt` has these two,
"epoch" and "global_step" alone.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from focalkit._files import write_bytes_atomic
from focalkit._runs import RunDir
from focalkit.errors import ConfigError

KEPT = ("focalkit", "model", "epoch", "global_step")


def write_weights(source: Path, target: Path) -> None:
    """The weights, categories and configuration of a full checkpoint as a small file of their own."""
    full = read_checkpoint(source)
    save({name: full[name] for name in KEPT}, target)


def save(content: Mapping[str, Any], path: Path) -> None:
    """`torch.save`, whole or not at all."""
    # subtle: of a full disk torch's own writer gives no reason, or ends the process
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_bytes_atomic(path, buffer.getbuffer())


class WholeFiles(TorchCheckpointIO):
    """Lightning's checkpoints beside their place and renamed; its own way leads through TMPDIR."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        save(checkpoint, Path(path))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint with its tensors mapped from the file, on the CPU.

    Raises:
        ConfigError: The file is damaged or of another kind.
    """
    try:
        found = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
        if KEPT[0] in found:
            return found
        problem = f"it has no {KEPT[0]!r} entry"
    except Exception as error:  # a damaged file can raise anything, in words that are of no help here
        problem = type(error).__name__
    raise ConfigError(
        f"{path} is damaged or not a checkpoint of focalkit ({problem}); restore it from a copy, or start the run over "
        f"with --force"
    )


def last_step(run: RunDir) -> int:
    """The optimiser step that a run can continue from; 0 without a checkpoint."""
    path = run.checkpoint("last")
    return int(read_checkpoint(path)["global_step"]) if path.is_file() else 0


def stopped_early(path: Path) -> bool:
    """Whether the run of a checkpoint had lost its patience and only its result was not yet written."""
    states = read_checkpoint(path)["callbacks"]
    return any(name.startswith("EarlyStopping") and s["wait_count"] >= s["patience"] for name, s in states.items())


def best_row(run: RunDir) -> dict[str, Any] | None:
    """The evaluation with the highest AP, the later of equal ones."""
    rows = [row for row in run.read_metrics() if row["kind"] == "val"]
    return max(reversed(rows), key=lambda row: row["AP"], default=None)


def complete_best(run: RunDir) -> None:
    """Write the `best.ckpt` that a kill between the two files has prevented."""
    row, last, best = best_row(run), run.checkpoint("last"), run.checkpoint("best")
    if row is None or row["step"] != last_step(run):
        return
    if not best.is_file() or read_checkpoint(best)["global_step"] != row["step"]:
        write_weights(last, best)
