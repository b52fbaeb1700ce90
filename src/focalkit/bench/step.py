"""Suite `step`: how much of a training step of RetinaNet-R50 is the loss, and the step against torchvision's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from focalkit._types import to_memory_format
from focalkit.config import TrainConfig
from focalkit.detection import (
    Assignment,
    DenseOutputs,
    DetectionCriterion,
    DetectionTarget,
    build_criterion,
    build_retinanet,
)

from ._model import Bar, Call, Case, Row, Settings, no_answer

CLASSES = 80
BOXES = 8
"""Objects in an image; COCO has 7.3 on average."""


@dataclass(frozen=True)
class Batch:
    """Attributes:
    images: (b, 3, s, s) in [0, 1].
    targets: One per image.
    backbone: Name.
    """

    images: Tensor
    targets: list[DetectionTarget]
    backbone: str

    @property
    def device(self) -> torch.device:
        return self.images.device

    def autocast(self) -> torch.autocast:
        """bfloat16 on a GPU, as one trains there; float32 on a CPU."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")


def batch(b: int, side: int, backbone: str, device: torch.device) -> Batch:
    """Noise, and boxes with sides from 16 px to half the image."""
    generator = torch.Generator().manual_seed(0)
    targets = []
    for i in range(b):
        size = 16 + torch.rand(BOXES, 2, generator=generator) * (side / 2 - 16)
        corner = torch.rand(BOXES, 2, generator=generator) * (side - size)
        labels = torch.randint(CLASSES, (BOXES,), generator=generator)
        targets.append(DetectionTarget(torch.cat([corner, corner + size], 1), labels, image_id=i).to(device))
    return Batch(torch.rand(b, 3, side, side, generator=generator).to(device), targets, backbone)


def _model(inputs: Batch) -> nn.Module:
    torch.manual_seed(0)
    return build_retinanet(replace(TrainConfig().model, backbone=inputs.backbone), CLASSES).to(inputs.device)


def our_step(inputs: Batch) -> Call:
    """Forward, matching, losses, backward, SGD."""
    model, criterion = _model(inputs).train(), build_criterion(TrainConfig()).to(inputs.device)

    def loss() -> Tensor:
        return sum(criterion(model(inputs.images), inputs.targets).values(), torch.zeros((), device=inputs.device))

    return _training(model, loss, inputs)


def torchvision_step(inputs: Batch, memory_format: torch.memory_format = torch.contiguous_format) -> Call:
    """The same with torchvision's RetinaNet; frozen batch norm and three trainable stages, as ours."""
    from torchvision.models import resnet
    from torchvision.models.detection import RetinaNet
    from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
    from torchvision.ops.feature_pyramid_network import LastLevelP6P7
    from torchvision.ops.misc import FrozenBatchNorm2d

    torch.manual_seed(0)
    body = getattr(resnet, inputs.backbone)(weights=None, norm_layer=FrozenBatchNorm2d)
    side = inputs.images.shape[-1]
    pyramid = _resnet_fpn_extractor(body, 3, returned_layers=[2, 3, 4], extra_blocks=LastLevelP6P7(256, 256))
    model = RetinaNet(pyramid, CLASSES, min_size=side, max_size=side)
    model = to_memory_format(model.to(inputs.device), memory_format).train()
    images = list(inputs.images)
    targets = [{"boxes": t.boxes, "labels": t.labels} for t in inputs.targets]
    return _training(model, lambda: sum(model(images, targets).values(), images[0].new_zeros(())), inputs)


def _training(model: nn.Module, loss: Callable[[], Tensor], inputs: Batch) -> Call:
    # the rate is tiny: after any number of rounds the model is still where it was, and the loss finite
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-8, momentum=0.9)

    def call() -> None:
        optimizer.zero_grad(set_to_none=True)
        with inputs.autocast():
            value = loss()
        value.backward()
        optimizer.step()

    return call


@dataclass(frozen=True)
class Given:
    """An assigner that knows the answer already. Attributes: assignments by image id."""

    assignments: Sequence[Assignment]

    def __call__(self, priors: Sequence[Tensor], target: DetectionTarget) -> Assignment:
        return self.assignments[target.image_id]


def criterion_part(matched: bool) -> Callable[[Batch], Call]:
    """The losses of the step's own outputs and their gradients by the outputs, with or without the matching."""

    def make(inputs: Batch) -> Call:
        with torch.no_grad(), inputs.autocast():
            outputs: Any = _model(inputs)(inputs.images)
        criterion = build_criterion(TrainConfig()).to(inputs.device)
        if matched:
            assert isinstance(criterion, DetectionCriterion)
            criterion.matcher = Given(criterion.assign(outputs, inputs.targets))
        logits, deltas = (tuple(x.detach().requires_grad_() for x in xs) for xs in (outputs.logits, outputs.deltas))
        leaves: DenseOutputs = replace(outputs, logits=logits, deltas=deltas)

        def call() -> None:
            with inputs.autocast():
                value = sum(criterion(leaves, inputs.targets).values(), torch.zeros((), device=inputs.device))
            torch.autograd.grad(value, [*logits, *deltas])

        return call

    return make


def step_case(b: int, side: int, backbone: str = "resnet50") -> Case:
    step, losses = "focalkit: step", "focalkit: losses"
    return Case(
        name=f"step-{b}x{side}",
        title=f"training step of RetinaNet, {backbone}, batch {b}, {side} x {side} px, {CLASSES} classes",
        inputs=lambda s: batch(b, side, backbone, s.device),
        rows=(
            Row(step, our_step, answer=no_answer, note="forward, matching, losses, backward, SGD"),
            Row(losses, criterion_part(True), "part", answer=no_answer, note="both losses and their gradients"),
            Row(
                "focalkit: matching and losses",
                criterion_part(False),
                "part",
                answer=no_answer,
                note="the same after matching the anchors",
            ),
            Row("torchvision: step", torchvision_step, "peer", "torchvision", answer=no_answer),
            Row(
                "torchvision channels_last: step",
                lambda i: torchvision_step(i, torch.channels_last),
                "peer",
                "torchvision",
                answer=no_answer,
            ),
        ),
        bars=(
            Bar("of the step are the losses and their gradients", losses, step, 0.02, "at most", percent=True),
            *([Bar("the speed of torchvision", "torchvision: step", step, 2.0)] if b > 1 else []),
        ),
        note="On a GPU under bfloat16 autocast. Random weights: the losses are not compared.",
    )


def cases(settings: Settings) -> list[Case]:
    """Batch 8 at 800 px, of which a round takes minutes on a CPU; there also what one does there, an image of 416."""
    if settings.quick:
        return [step_case(1, 64, "resnet18")]
    if settings.device.type == "cuda":
        return [step_case(8, 800)]
    return [step_case(1, 416), step_case(8, 800)]
