"""Suite `loss`: value and gradient of focal losses against other libraries', at the sizes of real training steps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from focalkit.losses import dense_sigmoid_focal_loss, sigmoid_focal_loss, softmax_focal_loss

from ._model import Bar, Call, Case, Row, Settings, no_answer

STRIDES = (8, 16, 32, 64, 128)
ANCHORS, CLASSES = 9, 80
PEAK = "the logits' bytes at the peak, the gradient included"
PRIOR_LOGIT, SPREAD = -4.6, 1.5
POSITIVE = 5e-4
"""Of the anchors, about what an image of COCO has."""


@dataclass(frozen=True)
class Levels:
    """Attributes:
    logits: Per level (1, a*k, h, w).
    labels: Per level (1, a, h, w), -1 background.
    flat_labels: (n,), in the order of torchvision's head: cell, then anchor.
    """

    logits: tuple[Tensor, ...]
    labels: tuple[Tensor, ...]
    flat_labels: Tensor

    def cast(self, dtype: torch.dtype, memory_format: torch.memory_format = torch.contiguous_format) -> list[Tensor]:
        """Leaves of another type or layout."""
        return [x.to(dtype).contiguous(memory_format=memory_format).detach().requires_grad_() for x in self.logits]


def levels(side: int, device: torch.device) -> Levels:
    """A square image of this side: what a RetinaNet with 9 anchors and 80 classes gives for it, and labels."""
    generator = torch.Generator().manual_seed(0)
    logits, labels = [], []
    for stride in STRIDES:
        s = -(-side // stride)
        x = torch.randn(1, ANCHORS * CLASSES, s, s, generator=generator) * SPREAD + PRIOR_LOGIT
        chosen = torch.rand(1, ANCHORS, s, s, generator=generator) < POSITIVE
        label = torch.where(chosen, torch.randint(CLASSES, chosen.shape, generator=generator), -1)
        logits.append(x.to(device))
        labels.append(label.to(device))
    flat = torch.cat([label.permute(0, 2, 3, 1).reshape(-1) for label in labels])
    return Levels(tuple(logits), tuple(labels), flat)


def value_and_gradient(loss: Callable[[], Tensor], leaves: Sequence[Tensor]) -> Call:
    """The call that is timed: (loss, gradient of each leaf)."""

    def call() -> tuple[Tensor, ...]:
        value = loss()
        return (value.detach(), *torch.autograd.grad(value, leaves))

    return call


def copy(leaves: Sequence[Tensor]) -> Call:
    """Each tensor once into memory that is there already: the floor of anything that reads and writes them once."""
    buffers = [torch.empty_like(x) for x in leaves]

    def call() -> None:
        for buffer, x in zip(buffers, leaves, strict=True):
            buffer.copy_(x)

    return call


def native(backend: Any, dtype: torch.dtype = torch.float32, layout: torch.memory_format = torch.contiguous_format):
    """Our loss on the levels as the head gives them."""

    def make(inputs: Levels) -> Call:
        leaves = inputs.cast(dtype, layout)
        return value_and_gradient(
            lambda: dense_sigmoid_focal_loss(leaves, inputs.labels, num_classes=CLASSES, backend=backend), leaves
        )

    return make


def torchvision_levels(inputs: Levels) -> Call:
    """What torchvision's RetinaNet does with the same levels: permute, concatenate, one-hot, loss."""
    from torchvision.ops import sigmoid_focal_loss as peer

    leaves = inputs.cast(torch.float32)

    def loss() -> Tensor:
        flat = [
            x.view(1, ANCHORS, CLASSES, *x.shape[-2:]).permute(0, 3, 4, 1, 2).reshape(1, -1, CLASSES) for x in leaves
        ]
        scores = torch.cat(flat, dim=1)[0]
        foreground = inputs.flat_labels >= 0
        targets = torch.zeros_like(scores)
        targets[foreground, inputs.flat_labels[foreground]] = 1.0
        return peer(scores, targets, reduction="sum")

    return value_and_gradient(loss, leaves)


def native_case(side: int, settings: Settings) -> Case:
    cuda = settings.device.type == "cuda"
    ours, theirs, floor = "focalkit float32", "torchvision float32", "copy float32"
    bars = [
        Bar("faster than torchvision's path", theirs, ours, 10 if cuda else 20),
        Bar("one copy of the logits", ours, floor, 1.25 if cuda else 5, "at most"),
        Bar(PEAK, ours, "", 1.2, "at most", "memory"),
    ]
    if cuda:
        bars.append(Bar("faster in bfloat16 than in float32", ours, "focalkit bfloat16", 1.7))
    else:
        bars.append(Bar("the time of float32, in bfloat16", "focalkit bfloat16", ours, 1.0, "at most"))
    anchors = sum((-(-side // s)) ** 2 for s in STRIDES) * ANCHORS
    return Case(
        name=f"native-{side}",
        title=f"focal loss and gradient of the levels of one {side} px image, {anchors:,} anchors x {CLASSES} classes",
        inputs=lambda s: levels(side, s.device),
        rows=(
            Row(ours, native("auto")),
            Row("focalkit bfloat16", native("auto", torch.bfloat16), tolerance=2e-2),
            Row("focalkit channels_last", native("auto", layout=torch.channels_last)),
            Row("focalkit eager", native("eager")),
            Row(theirs, torchvision_levels, "peer", "torchvision", note="permute, cat, one-hot, focal loss, backward"),
            Row(floor, lambda i: copy(i.cast(torch.float32)), "floor", answer=no_answer),
            Row("copy bfloat16", lambda i: copy(i.cast(torch.bfloat16)), "floor", answer=no_answer),
            Row(
                "clone float32",
                lambda i: lambda: [x.clone() for x in i.logits],
                "floor",
                answer=no_answer,
                note="a copy into fresh memory, as a gradient is",
            ),
        ),
        reference=theirs,
        bars=tuple(bars),
        unit_bytes=lambda i: sum(x.nbytes for x in i.logits),
    )


@dataclass(frozen=True)
class Dense:
    """Attributes:
    logits, targets: float32 (n, k).
    """

    logits: Tensor
    targets: Tensor

    def leaf(self, dtype: torch.dtype = torch.float32) -> Tensor:
        return self.logits.to(dtype).detach().clone().requires_grad_()


def dense(n: int, device: torch.device) -> Dense:
    """Logits and one-hot targets."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, CLASSES, generator=generator) * SPREAD + PRIOR_LOGIT
    targets = torch.zeros(n, CLASSES)
    rows = (torch.rand(n, generator=generator) < POSITIVE).nonzero().squeeze(1)
    targets[rows, torch.randint(CLASSES, (len(rows),), generator=generator)] = 1.0
    return Dense(x.to(device), targets.to(device))


def ours_dense(backend: Any, dtype: torch.dtype = torch.float32) -> Callable[[Dense], Call]:
    def make(inputs: Dense) -> Call:
        x, y = inputs.leaf(dtype), inputs.targets.to(dtype)
        return value_and_gradient(lambda: sigmoid_focal_loss(x, y, reduction="sum", backend=backend), [x])

    return make


def torchvision_dense(inputs: Dense) -> Call:
    from torchvision.ops import sigmoid_focal_loss as peer

    x = inputs.leaf()
    return value_and_gradient(lambda: peer(x, inputs.targets, reduction="sum"), [x])


def kornia_dense(inputs: Dense) -> Call:
    from kornia.losses import binary_focal_loss_with_logits as peer

    x = inputs.leaf()
    return value_and_gradient(lambda: peer(x, inputs.targets, alpha=0.25, gamma=2.0, reduction="sum"), [x])


def monai_dense(inputs: Dense) -> Call:
    from monai.losses.focal_loss import FocalLoss

    # "none" and a sum: what it calls "sum" is a mean over the classes
    peer, x = FocalLoss(include_background=True, gamma=2.0, alpha=0.25, reduction="none"), inputs.leaf()
    return value_and_gradient(lambda: peer(x, inputs.targets).sum(), [x])


def dense_case(n: int, settings: Settings) -> Case:
    ours, theirs = "focalkit", "torchvision"
    bars = [
        Bar("faster than torchvision", theirs, ours, 6 if settings.device.type == "cuda" else 10),
        Bar(PEAK, ours, "", 1.2, "at most", "memory"),
    ]
    if settings.device.type == "cpu":
        bars.append(Bar("faster than torchvision, without a compiler", theirs, "focalkit, no compiler", 5))
    return Case(
        name=f"dense-{n}",
        title=f"sigmoid_focal_loss and gradient, {n:,} x {CLASSES} dense targets",
        inputs=lambda s: dense(n, s.device),
        rows=(
            Row(ours, ours_dense("auto")),
            Row("focalkit bfloat16", ours_dense("auto", torch.bfloat16), tolerance=2e-2),
            Row("focalkit, no compiler", without_compiler),
            Row("focalkit eager", ours_dense("eager")),
            Row(theirs, torchvision_dense, "peer", "torchvision"),
            Row("kornia", kornia_dense, "peer", "kornia"),
            Row("MONAI", monai_dense, "peer", "monai"),
            Row("copy", lambda i: copy([i.logits]), "floor", answer=no_answer),
        ),
        reference=theirs,
        bars=tuple(bars),
        unit_bytes=lambda i: i.logits.nbytes,
    )


def without_compiler(inputs: Dense) -> Call:
    """What `auto` takes where there is no C++ compiler."""
    return ours_dense("eager")(inputs)


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


def cases(settings: Settings) -> list[Case]:
    """Native levels, dense targets, softmax."""
    if settings.quick:
        return [native_case(128, settings), dense_case(2000, settings), softmax_case(5000, 20)]
    return [
        native_case(600, settings),
        native_case(1024, settings),
        dense_case(67_995, settings),
        dense_case(196_416, settings),
        softmax_case(1_000_000, 20),
        softmax_case(100_000, 1203),
    ]
