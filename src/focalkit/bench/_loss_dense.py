"""Sigmoid focal loss of a table of anchors x classes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from focalkit.losses import sigmoid_focal_loss

from ._calls import CLASSES, PEAK, POSITIVE, PRIOR_LOGIT, SPREAD, copy, value_and_gradient
from ._model import Bar, Call, Case, Row, Settings, no_answer


@dataclass(frozen=True)
class Dense:
    """Attributes:
    logits, targets: float32 (n, k).
    labels: int64 (n,), -1 background.
    """

    logits: Tensor
    targets: Tensor
    labels: Tensor

    def leaf(self, dtype: torch.dtype = torch.float32) -> Tensor:
        return self.logits.to(dtype).detach().clone().requires_grad_()


def dense(n: int, device: torch.device) -> Dense:
    """Logits and one-hot targets."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, CLASSES, generator=generator) * SPREAD + PRIOR_LOGIT
    chosen = torch.rand(n, generator=generator) < POSITIVE
    labels = torch.where(chosen, torch.randint(CLASSES, (n,), generator=generator), -1)
    targets = (labels[:, None] == torch.arange(CLASSES)).float()
    return Dense(x.to(device), targets.to(device), labels.to(device))


def ours_dense(backend: Any, dtype: torch.dtype = torch.float32) -> Callable[[Dense], Call]:
    def make(inputs: Dense) -> Call:
        x, y = inputs.leaf(dtype), inputs.targets.to(dtype)
        return value_and_gradient(lambda: sigmoid_focal_loss(x, y, reduction="sum", backend=backend), [x])

    return make


def ours_without_compiler(native: bool) -> Callable[[Dense], Call]:
    """What `auto` takes where there is no compiler now, and, unless `native`, was none when focalkit was installed."""

    def make(inputs: Dense) -> Call:
        from focalkit.kernels import dispatch

        call, usual = ours_dense("auto")(inputs), dispatch.machine
        here = usual()
        bare = dispatch.Machine(here.native if native else frozenset(), {"cpu": "left out for this row"}, here.triton)

        def run() -> Any:
            dispatch.machine = lambda: bare
            try:
                return call()
            finally:
                dispatch.machine = usual

        return run

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


def mmcv_dense(inputs: Dense) -> Call:
    from mmcv.ops import sigmoid_focal_loss as peer  # pyright: ignore[reportMissingImports]

    x, labels = inputs.leaf(), torch.where(inputs.labels < 0, CLASSES, inputs.labels)
    return value_and_gradient(lambda: peer(x, labels, 2.0, 0.25, None, "sum"), [x])


def apex_dense(inputs: Dense) -> Call:
    from apex.contrib.focal_loss import focal_loss as peer  # pyright: ignore[reportMissingImports]

    x, one = inputs.leaf(), inputs.logits.new_ones(1)
    return value_and_gradient(lambda: peer(x, inputs.labels, one, CLASSES, 0.25, 2.0, 0.0).squeeze(), [x])


def dense_case(n: int, settings: Settings) -> Case:
    ours, theirs, alone, pure = "focalkit", "torchvision", "focalkit, no compiler", "focalkit, in chunks"
    cuda = settings.device.type == "cuda"
    rows = [
        Row(ours, ours_dense("auto")),
        Row("focalkit bfloat16", ours_dense("auto", torch.bfloat16), tolerance=2e-2),
        Row("focalkit eager", ours_dense("eager")),
        Row(theirs, torchvision_dense, "peer", "torchvision"),
        Row("kornia", kornia_dense, "peer", "kornia"),
        Row("MONAI", monai_dense, "peer", "monai"),
        Row("copy", lambda i: copy([i.logits]), "floor", answer=no_answer),
    ]
    bars = [
        Bar("faster than torchvision", theirs, ours, 6 if cuda else 10),
        Bar(PEAK, ours, "", 1.2, "at most", "memory"),
    ]
    if cuda:
        note = "from class indices, as it has no other form"
        rows[-1:-1] = [
            Row("mmcv", mmcv_dense, "peer", "mmcv (built with its CUDA ops)", note=note),
            Row("apex", apex_dense, "peer", "apex (NVIDIA's, built with --focal_loss)", note=note),
        ]
    else:
        rows[1:1] = [
            Row(alone, ours_without_compiler(native=True), note="as from a wheel: its C++ kernels came compiled"),
            Row(
                pure,
                ours_without_compiler(native=False),
                note="focalkit installed without a C++ compiler",
            ),
        ]
        bars[1:1] = [
            Bar("faster than torchvision, without a compiler", theirs, alone, 5),
            Bar("faster than torchvision, in chunks", theirs, pure, 4 if n > 100_000 else 2),
            Bar(PEAK, pure, "", 1.3, "at most", "memory"),
        ]
    return Case(
        name=f"dense-{n}",
        title=f"sigmoid_focal_loss and gradient, {n:,} x {CLASSES} dense targets",
        inputs=lambda s: dense(n, s.device),
        rows=tuple(rows),
        reference=theirs,
        bars=tuple(bars),
        unit_bytes=lambda i: i.logits.nbytes,
    )
