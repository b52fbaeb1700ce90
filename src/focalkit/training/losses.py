"""Losses, positives, logits and gradients of the last steps, kept on the device; find the first that is not finite."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Seen:
    """What one forward pass saw.

    Attributes:
        images: Ids of the images, or of what else a batch is made of.
        extremes: (levels, 2): smallest and largest class logit of each level, None where a model has no levels.
        counts: 0-d values of the matching, such as "positives" and "ignored".
    """

    images: Sequence[Any] = ()
    extremes: Tensor | None = None
    counts: dict[str, Tensor] = field(default_factory=dict)


class NotFiniteError(Exception):
    """The first step whose loss or gradient is not finite; `RunLog` makes a `DivergedError` of it.

    Attributes:
        step: Counted from 1.
        values: Its losses, the mean over the processes.
        facts: What that step saw: "images", "logits" (per level), the matching, "gradient_norm" where it is known.
        before: "step", "loss" and perhaps "gradient_norm" of the steps before it, as far as they had not been read.
    """

    def __init__(
        self, step: int, values: dict[str, float], facts: dict[str, Any], before: list[dict[str, float]]
    ) -> None:
        super().__init__(step, values, facts, before)
        self.step, self.values, self.facts, self.before = step, values, facts, before


class LossWindow:
    """Collects each step's losses as tensors and reads them to the host only when asked: no sync per step.

    Example:
        >>> window = LossWindow()
        >>> window.add(1, {"classification": torch.tensor(0.5), "box": torch.tensor(0.25)})
        >>> window.read()
        {'loss': 0.75, 'classification': 0.5, 'box': 0.25}
        >>> window.read()
        {}
    """

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self.facts: dict[str, float] = {}
        """Of the last read: means of what the matching counted, and of the gradient's norm."""
        self.skipped = 0
        self._start_over()

    def _start_over(self) -> None:
        self.steps: list[int] = []
        self.rows: list[Tensor] = []
        self.seen: list[Seen] = []
        self.norms: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, step: int, losses: dict[str, Tensor], seen: Seen | None = None) -> None:
        """Remember the 0-d losses of optimiser step `step` (several forward passes may share one)."""
        self.names = tuple(losses)
        self.steps.append(step)
        self.rows.append(torch.stack([v.detach().float() for v in losses.values()]))
        self.seen.append(seen or Seen())

    def add_norm(self, step: int, norm: Tensor) -> None:
        """Remember the norm of the gradient of optimiser step `step`, before it was clipped."""
        self.norms[step] = norm.detach().float()

    def is_finite(self, step: int) -> bool:
        """Whether the losses of optimiser step `step` are finite here; it waits for the device."""
        return all(bool(row.isfinite().all()) for s, row in zip(self.steps, self.rows, strict=True) if s == step)

    def skip(self, step: int) -> None:
        """Forget optimiser step `step`, which was not taken."""
        kept = [i for i, s in enumerate(self.steps) if s != step]
        self.rows, self.seen = [self.rows[i] for i in kept], [self.seen[i] for i in kept]
        self.steps = [self.steps[i] for i in kept]
        self.norms.pop(step, None)
        self.skipped += 1

    def read(self) -> dict[str, float]:
        """Mean of each loss since the last read, over the passes and over all processes; empty where there were none.

        `facts` then has the other means: of what the matching counted, of the gradient's norm, and the number of steps
        that were skipped. Every process must call it at the same step.

        Raises:
            NotFiniteError: With the first step whose loss or gradient is not finite.
        """
        if not self.rows:
            return {}
        table, steps, seen = _mean_of_ranks(torch.stack(self.rows)), self.steps, self.seen
        values = torch.stack([*self.norms.values()]).cpu() if self.norms else torch.empty(0)  # one wait, not one each
        norms = dict(zip(self.norms, values, strict=True))
        self._start_over()
        good = table.isfinite().all(dim=1)
        good &= torch.tensor([bool(norms[s].isfinite()) if s in norms else True for s in steps])
        if not good.all():
            first = int((~good).nonzero()[0, 0])
            losses = dict(zip(self.names, table[first].tolist(), strict=True))
            before = [
                {"step": s, "loss": float(row.sum())} | ({"gradient_norm": float(norms[s])} if s in norms else {})
                for s, row in zip(steps[:first], table, strict=False)
            ]
            raise NotFiniteError(steps[first], losses, _facts(seen[first], norms.get(steps[first])), before)
        counted = {n for s in seen for n in s.counts}
        self.facts = {n: float(torch.stack([s.counts[n].float() for s in seen]).mean()) for n in sorted(counted)}
        if norms:
            self.facts["gradient_norm"] = float(values.mean())
        if self.skipped:
            self.facts["skipped"] = self.skipped
        means = dict(zip(self.names, table.mean(dim=0).tolist(), strict=True))
        return {"loss": sum(means.values()), **means}


def _mean_of_ranks(table: Tensor) -> Tensor:
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(table)
        table /= torch.distributed.get_world_size()
    return table.cpu()


def _facts(seen: Seen, norm: Tensor | None) -> dict[str, Any]:
    """What every process saw at a step, as plain values."""
    part: dict[str, Any] = {
        "images": list(seen.images),
        "logits": [] if seen.extremes is None else seen.extremes.tolist(),
        **{name: float(value) for name, value in seen.counts.items()},
    }
    if norm is not None:
        part["gradient_norm"] = float(norm)
    if not torch.distributed.is_initialized():
        return part
    parts: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, part)
    extremes = zip(*(p["logits"] for p in parts), strict=True)
    logits = [[_least(low for low, _ in level), _most(high for _, high in level)] for level in map(list, extremes)]
    return part | {"images": [i for p in parts for i in p["images"]], "logits": logits}


def _least(values: Any) -> float:
    return float(torch.tensor(list(values)).amin())  # unlike min, NaN where one is


def _most(values: Any) -> float:
    return float(torch.tensor(list(values)).amax())
