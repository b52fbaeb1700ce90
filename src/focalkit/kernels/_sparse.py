"""Labels on the CPU: every element is background, except a few. So the pass over memory knows no labels at all.

The same holds for dense targets that are nearly all 0, where no compiler makes reading them free.

    sum over all but the few (background loss) + (loss of the few)

The pass is a flat loop over memory, whatever the layout, and vectorises completely; the few are found with `nonzero`,
which on a CPU costs no waiting. The chunks leave them out of the sum. Compiled code adds them and takes them back, bit
for bit, because the same code computes them from the same numbers; the sums are float64, and where the subtraction
would still cost digits of a float32 result (or an ignored row holds a NaN) the pass with labels is taken instead.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ._choice import Choice, machine
from ._engine import kernel, pattern
from ._joint import Maths

# float64 sums of float32 numbers keep float32's digits through a cancellation of this ratio
CANCELLATION = 2.0**20
# the few are padded to whole vectors, so that no compiler computes them one by one
VECTOR = 64


@dataclass(frozen=True)
class Few:
    """One tensor of logits, flat in memory order, and where its exceptions lie.

    Attributes:
        positives: Positions of the elements whose truth is 1.
        ignored: Positions of the elements that do not count.
        targets: Dense targets, where they are not 0: then `positives` are these elements, whatever their truth.
        absent: The target that marks an element as ignored.
    """

    x: Tensor
    positives: Tensor
    ignored: Tensor
    restore: Callable[[Tensor], Tensor]
    targets: Tensor | None = None
    absent: float = math.nan

    def odd(self) -> bool:
        """Whether a target may be out of range; of labels that is not known."""
        if self.targets is None:
            return True
        t = self.targets
        return not bool(((t >= 0) & (t <= 1) | (t == self.absent)).all())


@dataclass(frozen=True)
class Background:
    """The two sides of a sigmoid loss, and how to find the exceptions.

    Attributes:
        key: Of the maths.
        negative: The loss where the truth is 0.
        positive: The loss of the few; takes their targets before `params` if `dense`.
        find: find(i, logits) -> where the few are, or None if they are many.
        dense: Targets are dense.
    """

    key: Hashable
    negative: Maths
    positive: Maths
    params: tuple[Tensor, ...]
    find: Callable[[int, Tensor], Few | None]
    dense: bool = False

    def exceptions(self, logits: Sequence[Tensor]) -> list[Few] | None:
        """Per tensor of logits, where the few are; None if they are many."""
        found = []
        for i, x in enumerate(logits):
            few = self.find(i, x)
            if few is None:
                return None
            found.append(few)
        return found


def sparse_pass(
    job: Background, found: list[Few], wanted: Sequence[bool], scale: Tensor, choice: Choice, *, strict: bool
) -> tuple[Tensor, Tensor, list[Tensor | None]] | None:
    """The sum and count in float64 and the gradients times `scale`; None where the pass with labels must be taken.

    The count is for dense targets whose maths counts.
    """
    compiled = choice.backend == "compiled"

    def run(
        name: str, maths: Maths, x: Tensor, want: bool, way: Choice, *targets: Tensor, skip: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        if not x.numel():  # an empty level
            zero = torch.zeros((), dtype=torch.float64)
            return zero, zero, torch.empty_like(x)
        others = (*targets, *job.params)
        key = (name, job.key, x.device.type, pattern(x), *map(pattern, others))
        return kernel(key, gradient=want, rows=False).run(way, maths, x, scale, others, strict=strict, skip=skip)

    exceptions = [torch.cat([f.positives, f.ignored]).sort()[0] for f in found]
    passes = [
        run("-", job.negative, f.x, w, choice, skip=None if compiled else at)
        for f, w, at in zip(found, wanted, exceptions, strict=True)
    ]
    if compiled and found[0].x.device.type in machine.broken:
        return sparse_pass(job, found, wanted, scale, Choice("chunked", "compiling failed"), strict=strict)
    total = sum(p[0] for p in passes)
    assert isinstance(total, Tensor)
    gradients = [p[2] if want else None for p, want in zip(passes, wanted, strict=True)]
    positives = torch.cat([f.x[f.positives] for f in found])
    count = total.new_tensor(sum(f.x.numel() for f in found) - positives.numel())
    minus = torch.zeros_like(total)
    few = torch.cat([f.x[at] for f, at in zip(found, exceptions, strict=True)])
    if compiled and few.numel():
        padding = few.new_full((-few.numel() % VECTOR,), float("-inf"))  # whose background loss is exactly 0
        minus = run("-", job.negative, torch.cat([few, padding]), any(wanted), choice)[0]
        total = total - minus
    plus = None
    if positives.numel():
        targets = [torch.cat([f.targets for f in found if f.targets is not None])] if job.dense else []
        plus = run("+", job.positive, positives, any(wanted), Choice("chunked", "the few"), *targets)
        total, count = total + plus[0], count + plus[1]
    if compiled and not float(minus) <= CANCELLATION * abs(float(total)) < float("inf"):
        return None
    start = 0
    for f, g in zip(found, gradients, strict=True):
        n = f.positives.numel()
        if g is not None:
            if f.ignored.numel():
                g[f.ignored] = 0
            if n and plus is not None:
                g[f.positives] = plus[2][start : start + n]
        start += n
    return total, count, [None if g is None else f.restore(g) for f, g in zip(found, gradients, strict=True)]
