"""Softmax focal loss of rows with class indices."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from focalkit.losses import cross_entropy, softmax_focal_loss

from ._calls import PEAK, copy, value_and_gradient
from ._model import Bar, Call, Case, Row, no_answer


@dataclass(frozen=True)
class Rows:
    """Attributes:
    logits: float32 (n, k).
    labels: int64 (n,).
    """

    logits: Tensor
    labels: Tensor


def softmax_rows(n: int, k: int, device: torch.device) -> Rows:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, k, generator=generator) * 2
    labels = torch.randint(k, (n,), generator=generator)
    return Rows(x.to(device), labels.to(device))


def softmax_row(loss: Callable[[Tensor, Tensor], Tensor], dtype: torch.dtype = torch.float32) -> Callable[[Rows], Call]:
    def make(inputs: Rows) -> Call:
        x = inputs.logits.to(dtype).detach().clone().requires_grad_()
        return value_and_gradient(lambda: loss(x, inputs.labels), [x])

    return make


def kornia_softmax(inputs: Rows) -> Call:
    from kornia.losses import focal_loss as peer

    x = inputs.logits.detach().clone().requires_grad_()
    return value_and_gradient(lambda: peer(x, inputs.labels, alpha=None, gamma=2.0, reduction="sum"), [x])


def softmax_case(n: int, k: int) -> Case:
    def ours(backend: Any) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda x, y: softmax_focal_loss(x, y, gamma=2.0, reduction="sum", backend=backend)

    return Case(
        name=f"softmax-{n}x{k}",
        title=f"softmax_focal_loss and gradient, {n:,} rows x {k:,} classes",
        inputs=lambda s: softmax_rows(n, k, s.device),
        rows=(
            Row("focalkit", softmax_row(ours("auto"))),
            Row("focalkit bfloat16", softmax_row(ours("auto"), torch.bfloat16), tolerance=2e-2),
            Row("focalkit eager", softmax_row(ours("eager"))),
            Row("kornia", kornia_softmax, "peer", "kornia"),
            Row(
                "F.cross_entropy",
                softmax_row(lambda x, y: F.cross_entropy(x, y, reduction="sum")),
                "peer",
                answer=no_answer,
                note="defines something else: no modulator",
            ),
            Row("copy", lambda i: copy([i.logits]), "floor", answer=no_answer),
        ),
        reference="focalkit eager",
        bars=(
            Bar("faster than kornia", "kornia", "focalkit", 3),
            Bar("the time of F.cross_entropy", "focalkit", "F.cross_entropy", 1.5, "at most"),
            Bar(PEAK, "focalkit", "", 1.2, "at most", "memory"),
        ),
        unit_bytes=lambda i: i.logits.nbytes,
    )


CALLS = 100
"""Calls of a sample, where one is too short to be timed"""


def many(make: Callable[[Rows], Call]) -> Callable[[Rows], Call]:
    """The same call, CALLS times."""

    def made(inputs: Rows) -> Call:
        call = make(inputs)

        def run() -> Any:
            for _ in range(CALLS - 1):
                call()
            return call()

        return run

    return made


def small_case(n: int, k: int) -> Case:
    """What a call costs beside its arithmetic: checks, the choice of a backend, autograd."""
    ours, focal, theirs = "focalkit cross_entropy", "focalkit softmax_focal_loss", "F.cross_entropy"
    return Case(
        name=f"small-{n}x{k}",
        title=f"{CALLS} calls of cross-entropy and its gradient, {n:,} rows x {k:,} classes",
        inputs=lambda s: softmax_rows(n, k, s.device),
        rows=(
            Row(ours, many(softmax_row(cross_entropy))),
            Row(focal, many(softmax_row(softmax_focal_loss)), answer=no_answer, note="with a modulator"),
            Row(theirs, many(softmax_row(F.cross_entropy)), "peer"),
        ),
        reference=theirs,
        bars=tuple(Bar("the time of F.cross_entropy", row, theirs, 2, "at most") for row in (ours, focal)),
    )
