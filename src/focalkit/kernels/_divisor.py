"""What divides a sum of losses: a number, or how many elements count, known before the pass or found by it."""

from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from .._numerics import computed_in

Scale: TypeAlias = tuple[float, Tensor | None]
"""What gradients are multiplied with: the number, or 1 / the 0-d tensor if there is one"""


@dataclass(frozen=True)
class Divisor:
    """Attributes:
    value: A number or 0-d tensor; None leaves the sum. If `found`, the number of all elements stands in for it.
    found: The divisor is the number of elements that count, which only the pass itself finds out.
    """

    value: float | Tensor | None
    found: bool = False

    @property
    def scale(self) -> float:
        """What the gradients are multiplied with in the pass. Reads the value."""
        if self.value is None:
            return 1.0
        value = float(self.value)
        return 1 / value if value else float("inf")

    def scale_on(self, device: torch.device, factor: Tensor | None) -> Scale:
        """The same times `factor` for a kernel, which reads a tensor of its device for itself: nothing waits there."""
        mine = self.value.detach() if isinstance(self.value, Tensor) and self.value.device == device else None
        if factor is None:
            return (self.scale, None) if mine is None else (1.0, mine)
        if mine is None:
            return 1.0, (1.0 if self.value is None else float(self.value)) / factor.double()
        return 1.0, mine.double() / factor.double()

    def scale_like(self, x: Tensor, factor: Tensor | None = None) -> Tensor:
        """The same as a 0-d tensor on the device of `x`, in the dtype it is computed in. Waits for nothing."""
        if isinstance(self.value, Tensor):
            scale = self.value.detach().to(device=x.device, dtype=torch.float64).reciprocal()
        else:
            scale = torch.full((), self.scale, dtype=torch.float64, device=x.device)
        scale = scale if factor is None else scale * factor
        return scale.to(computed_in(x))  # beyond the range it is infinite

    def finish(self, total: Tensor, count: Tensor, dtype: torch.dtype) -> tuple[Tensor, float | Tensor]:
        """The value, from sums in float64, and the factor that the gradients still lack."""
        if self.found:
            assert self.value is not None
            present = count.clamp(min=1)
            return (total / present).to(dtype), (self.value / present).to(dtype)
        return (total if self.value is None else total / self.value).to(dtype), 1.0
