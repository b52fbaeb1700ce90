"""The losses of the last few steps, kept on the device, and the check that they are finite."""

import torch
from torch import Tensor


class NotFiniteError(Exception):
    """Which step's loss is not finite; `RunLog` makes a `DivergedError` of it."""

    def __init__(self, step: int, values: dict[str, float]) -> None:
        super().__init__(step, values)
        self.step, self.values = step, values


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
        self.steps: list[int] = []
        self.rows: list[Tensor] = []
        self.names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, step: int, losses: dict[str, Tensor]) -> None:
        """Remember the 0-d losses of optimiser step `step` (several forward passes may share one)."""
        self.names = tuple(losses)
        self.steps.append(step)
        self.rows.append(torch.stack([v.detach().float() for v in losses.values()]))

    def read(self) -> dict[str, float]:
        """Mean of each loss since the last read, over the passes and over all processes; empty where there were none.

        Every process must call it at the same step.

        Raises:
            NotFiniteError: With the first step whose loss is not finite.
        """
        if not self.rows:
            return {}
        table = torch.stack(self.rows)
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(table)
            table /= torch.distributed.get_world_size()
        table = table.cpu()
        steps, self.steps, self.rows = self.steps, [], []
        finite = table.isfinite().all(dim=1)
        if not finite.all():
            first = int((~finite).nonzero()[0, 0])
            raise NotFiniteError(steps[first], dict(zip(self.names, table[first].tolist(), strict=True)))
        means = dict(zip(self.names, table.mean(dim=0).tolist(), strict=True))
        return {"loss": sum(means.values()), **means}
