"""The ways that know a loss by its maths: PyTorch's operations in pieces, and Inductor."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from ._autograd import Found
from ._choice import SMALL, Choice, Progress, machine
from ._divisor import Divisor
from ._engine import Kernel, kernel, pattern
from ._joint import Maths
from ._sparse import Background, Few, sparse_pass


@dataclass(frozen=True)
class Placed:
    """Logits and what goes with them in the form a kernel takes, and the way back for their gradient."""

    x: Tensor
    others: tuple[Tensor, ...]
    restore: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Traced:
    """A loss call by its maths.

    Attributes:
        key: Of the maths: equal keys, equal operations.
        maths: maths(x, *others) -> the unreduced loss, or (loss, counted) where the pass finds the divisor.
        place: place(i, logits) -> the i-th logits in the form of the kernel; raises `NoSinglePass`.
        rows: The maths needs whole rows of classes.
        sparse: The same by background and exceptions, where that fits.
        by_row: by_row(logits, gradient, scale) -> (sum, gradient times scale), the way of "auto" on the CPU.
    """

    key: Hashable
    maths: Maths
    place: Callable[[int, Tensor], Placed]
    rows: bool = False
    sparse: Background | None = None
    by_row: Callable[[Tensor, bool, Tensor], tuple[Tensor, Tensor | None]] | None = None

    def kernel(self, placed: Placed, gradient: bool) -> Kernel:
        form = (placed.x.device.type, placed.x.device.index, pattern(placed.x), *map(pattern, placed.others))
        return kernel((self.key, form), gradient=gradient, rows=self.rows)

    def progress(self, logits: tuple[Tensor, ...]) -> Progress:
        """What the kernel of the largest of the logits has been through."""
        gradient = torch.is_grad_enabled() and any(x.requires_grad for x in logits)
        largest = max(range(len(logits)), key=lambda i: logits[i].numel())
        return self.kernel(self.place(largest, logits[largest].detach()), gradient).progress


@dataclass(frozen=True)
class TracedPass:
    """Computes a loss call in the way that was chosen.

    Attributes:
        check: Raises where a target is out of range.
        progress: Takes note of the work.
        by_row: Goes by the rows of a softmax.
        strict: A compilation that fails is an error.
    """

    job: Traced
    choice: Choice
    divisor: Callable[[tuple[Tensor, ...]], Divisor]
    check: Callable[[], None]
    progress: Progress
    by_row: bool
    strict: bool

    def __call__(self, logits: tuple[Tensor, ...], wanted: tuple[bool, ...], factor: Tensor | None) -> Found:
        logits = tuple(x.detach() for x in logits)
        found = self._exceptions(logits)
        if found is None or any(f.odd() for f in found):
            self.check()
        divisor, work = self.divisor(logits), self.progress.work + sum(x.numel() for x in logits)
        scale = divisor.scale_like(logits[0], factor)
        if self.by_row:
            assert self.job.by_row is not None
            total, gradient = self.job.by_row(logits[0], wanted[0], scale)
            count, gradients = total, [gradient]
        else:
            done = None if found is None else self._sparse(found, wanted, scale)
            total, count, gradients = done or self._levels(logits, wanted, scale)
        self.progress.work = max(self.progress.work, work)  # subtle: a kernel of the engine counts for itself
        value, residual = divisor.finish(total, count, scale.dtype)
        return value, gradients, residual

    def _exceptions(self, logits: tuple[Tensor, ...]) -> list[Few] | None:
        """Where background is not all there is; None where that is no way to go."""
        sparse = self.job.sparse
        if self.by_row or sparse is None or (sparse.dense and self.choice.backend != "chunked"):
            return None
        return sparse.exceptions(logits)

    def _sparse(
        self, found: list[Few], wanted: tuple[bool, ...], scale: Tensor
    ) -> tuple[Tensor, Tensor, list[Tensor | None]] | None:
        assert self.job.sparse is not None
        done = sparse_pass(self.job.sparse, found, wanted, scale, self.choice, strict=self.strict)
        if done is not None:
            kind = found[0].x.device.type
            self.progress.compiled |= self.choice.backend == "compiled" and kind not in machine.broken
        return done

    def _levels(
        self, logits: tuple[Tensor, ...], wanted: tuple[bool, ...], scale: Tensor
    ) -> tuple[Tensor, Tensor, list[Tensor | None]]:
        sums: list[tuple[Tensor, ...]] = []
        gradients: list[Tensor | None] = []
        for i, (x, want) in enumerate(zip(logits, wanted, strict=True)):
            if not x.numel():
                gradients.append(torch.zeros_like(x) if want else None)
                continue
            placed = self.job.place(i, x)
            total, count, *slope = self._level(placed, scale, want, first=i == 0)
            sums.append((total, count))
            gradients.append(placed.restore(slope[0]) if want else None)
        total, count = sums[0]
        for more in sums[1:]:
            total, count = total + more[0], count + more[1]
        return total, count, gradients

    def _level(self, placed: Placed, scale: Tensor, gradient: bool, *, first: bool) -> tuple[Tensor, ...]:
        code = self.job.kernel(placed, gradient)
        small = placed.x.numel() < SMALL and self.choice.backend == "compiled" and not code.progress.compiled
        way = Choice("chunked", "a small level of its own form") if small and not first else self.choice
        return code.run(way, self.job.maths, placed.x, scale, placed.others, strict=self.strict)
