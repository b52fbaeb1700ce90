"""Focal loss of a detector's levels as its head gives them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from focalkit.losses import dense_sigmoid_focal_loss

from ._calls import CLASSES, PEAK, POSITIVE, PRIOR_LOGIT, SPREAD, copy, value_and_gradient
from ._model import Bar, Call, Case, Row, Settings, no_answer

STRIDES = (8, 16, 32, 64, 128)
ANCHORS = 9


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


def native(
    backend: Any, dtype: torch.dtype = torch.float32, layout: torch.memory_format = torch.contiguous_format
) -> Callable[[Levels], Call]:
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
