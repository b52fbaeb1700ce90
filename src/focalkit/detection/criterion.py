"""What a dense detector is trained to minimise: classification over all priors, and boxes of the positive ones."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from focalkit import losses
from focalkit.config import TrainConfig
from focalkit.detection._types import Assignment, DenseOutputs, DetectionTarget, flatten_level
from focalkit.detection.assign import MaxIoUAssigner
from focalkit.detection.coder import DeltaXYWH
from focalkit.errors import ConfigError

EMA_MOMENTUM = 0.9
EMA_START = 100.0
"""detectron2's values for its running number of positives."""

Matching = Callable[[Sequence[Tensor], DetectionTarget], Assignment]
ElementLoss = Callable[[Tensor, Tensor], Tensor]


class DetectionCriterion(nn.Module):
    """Classification and box loss, both divided by the number of positive priors (Lin et al., 2017, sec. 4).

    The losses are arguments; nothing is decided by their names. In a multi-process run in training mode, "batch" and
    "ema" count the positives of all ranks: rank r divides its sum by (positives of all ranks) / (number of ranks), so
    that the mean of the ranks' gradients, which DistributedDataParallel takes, is the gradient of one process on the
    whole batch. In evaluation mode nothing is communicated.

    Args:
        assigner: (priors per level, target) -> Assignment.
        coder: Between deltas and boxes.
        cls_loss: (logits (b, n, k), labels int64 (b, n)) -> sum, 0-d, over the elements; label -1 is background, -100
            is not counted. For example `SigmoidFocalLoss(class_dim=-1, reduction="sum")`. Called once per level, which
            for a sum over elements is the same as once for all, without a copy of the logits.
        box_loss: (predicted (p, 4), true (p, 4)) -> sum, 0-d, over the positive priors.
        box_weight: Factor on the box loss.
        normalizer: The divisor. "batch": positives of the batch. "image": each image's own positives, then the mean
            over images. "ema": a running mean of the batch's positives, a buffer. All count at least 1.
        box_space: Whether `box_loss` compares encoded deltas or boxes in pixels.
        whole_images: Call `cls_loss` once, on all levels together: for losses that choose or weigh elements by looking
            at the others (hard negative mining, gradient histograms).
    """

    running_positives: Tensor

    def __init__(
        self,
        assigner: Matching,
        coder: DeltaXYWH,
        cls_loss: ElementLoss,
        box_loss: ElementLoss,
        box_weight: float = 1.0,
        normalizer: Literal["batch", "image", "ema"] = "batch",
        *,
        box_space: Literal["deltas", "boxes"] = "deltas",
        whole_images: bool = False,
    ) -> None:
        super().__init__()
        if normalizer not in ("batch", "image", "ema"):
            raise ValueError(f'normalizer must be "batch", "image" or "ema", got {normalizer!r}')
        if box_space not in ("deltas", "boxes"):
            raise ValueError(f'box_space must be "deltas" or "boxes", got {box_space!r}')
        self.assigner = assigner
        self.coder = coder
        self.cls_loss = cls_loss
        self.box_loss = box_loss
        self.box_weight = box_weight
        self.normalizer = normalizer
        self.box_space = box_space
        self.whole_images = whole_images
        if normalizer == "ema":
            self.register_buffer("running_positives", torch.tensor(EMA_START))

    def assign(self, outputs: DenseOutputs, targets: Sequence[DetectionTarget]) -> list[Assignment]:
        """Match every image of the batch."""
        b = len(outputs.logits[0])
        if len(targets) != b:
            raise ValueError(f"expected one target for each of the {b} images, got {len(targets)}")
        return [self.assigner(outputs.priors, target) for target in targets]

    def forward(self, outputs: DenseOutputs, targets: Sequence[DetectionTarget]) -> dict[str, Tensor]:
        """Losses of a batch, normalised and weighted; minimise their sum.

        Returns:
            {"classification": 0-d, "box": 0-d}, float32. An image without boxes counts as all background.
        """
        assignments = self.assign(outputs, targets)
        labels = torch.stack([a.labels for a in assignments])  # (b, n)
        gt_index = torch.stack([a.gt_index for a in assignments])
        positives = (gt_index >= 0).sum(dim=1)
        if self.normalizer == "image":
            scales = 1 / (positives.clamp(min=1) * len(targets))
            terms = [
                self._sums(_image(outputs, i), labels[i : i + 1], gt_index[i : i + 1], targets[i : i + 1])
                for i in range(len(targets))
            ]
            classification, box = ((torch.stack(sums) * scales).sum() for sums in zip(*terms, strict=True))
        else:
            divisor = self._divisor(positives.sum().float())
            classification, box = self._sums(outputs, labels, gt_index, targets)
            classification, box = classification / divisor, box / divisor
        return {"classification": classification, "box": box * self.box_weight}

    @torch.no_grad()
    def _divisor(self, positives: Tensor) -> Tensor:
        world = dist.get_world_size() if self.training and dist.is_available() and dist.is_initialized() else 1
        if world > 1:
            dist.all_reduce(positives)
        positives = positives.clamp(min=1) / world
        if self.normalizer == "ema":
            if self.training:
                self.running_positives.lerp_(positives, 1 - EMA_MOMENTUM)
            # a copy: autograd keeps the divisor, and the next step writes to the buffer
            return self.running_positives.clone()
        return positives

    def _sums(
        self, outputs: DenseOutputs, labels: Tensor, gt_index: Tensor, targets: Sequence[DetectionTarget]
    ) -> tuple[Tensor, Tensor]:
        """Classification and box loss summed over the batch."""
        classification = box = torch.zeros((), device=labels.device)
        if self.whole_images:
            scores = torch.cat([flatten_level(logits, outputs.num_classes) for logits in outputs.logits], dim=1)
            classification = self.cls_loss(scores, labels)
        # the last row stands for "none", so that index -1 finds one even where an image has no boxes
        truth = [torch.cat([t.boxes.float(), t.boxes.new_zeros(1, 4, dtype=torch.float32)]) for t in targets]
        start = 0
        for logits, deltas, priors in zip(outputs.logits, outputs.deltas, outputs.priors, strict=True):
            level = slice(start, start + len(priors))
            start += len(priors)
            if not self.whole_images:
                scores = flatten_level(logits, outputs.num_classes)
                classification = classification + self.cls_loss(scores, labels[:, level])
            box = box + self._box_sum(flatten_level(deltas, 4), gt_index[:, level], priors, truth)
        return classification, box

    def _box_sum(self, deltas: Tensor, gt_index: Tensor, priors: Tensor, truth: Sequence[Tensor]) -> Tensor:
        matched = torch.stack([boxes[rows] for boxes, rows in zip(truth, gt_index, strict=True)])  # (b, n, 4)
        positive = gt_index >= 0
        priors = priors.expand_as(matched)
        pick = _counts_are_free(deltas.device)
        if pick:
            image, row = positive.nonzero(as_tuple=True)
            deltas, matched, priors = deltas[image, row], matched[image, row], priors[image, row]
        if self.box_space == "boxes":
            predicted, true = self.coder.decode(deltas, priors), matched
        else:
            predicted, true = deltas.float(), self.coder.encode(matched, priors)
        if not pick:
            # the others stay in and compare a box with itself
            predicted, true = (torch.where(positive[..., None], x, priors).flatten(0, 1) for x in (predicted, true))
        return self.box_loss(predicted, true)


def _counts_are_free(device: torch.device) -> bool:
    """Whether taking the positives out, whose number the host must know, does not make it wait for the device."""
    return device.type == "cpu"


def _image(outputs: DenseOutputs, i: int) -> DenseOutputs:
    one = slice(i, i + 1)
    logits, deltas = (tuple(x[one] for x in levels) for levels in (outputs.logits, outputs.deltas))
    return DenseOutputs(logits, deltas, outputs.priors, outputs.num_classes)


def build_criterion(config: TrainConfig) -> DetectionCriterion:
    """The criterion that a training configuration describes. A box loss of your own gets encoded deltas.

    Classification losses that keep a state, and your own, see whole images at once.

    Raises:
        ConfigError: A classification loss that is not one of independent sigmoids, or a box loss that is none.
    """
    c = config.criterion
    cls_name, box_name = losses.parse(config.loss)[0], losses.parse(c.box_loss)[0]
    sigmoid = sorted(name for name, line in losses.LOSSES.items() if line.targets == "binary")
    if cls_name in losses.LOSSES and cls_name not in sigmoid:
        raise ConfigError(
            f"the loss {cls_name!r} is not one of independent sigmoids, which a dense detector needs;"
            f" expected one of {', '.join(sigmoid)}, or your own as my_pkg.mod:MyLoss"
        )
    spaces = {name: line.targets for name, line in losses.LOSSES.items() if line.targets in ("boxes", "deltas")}
    if ":" not in box_name and box_name not in spaces:
        raise ConfigError(f"unknown box loss {c.box_loss!r}; expected one of {', '.join(sorted(spaces))}")
    return DetectionCriterion(
        assigner=MaxIoUAssigner(c.fg_iou, c.bg_iou, c.min_pos_iou),
        coder=DeltaXYWH(),
        cls_loss=losses.build(config.loss, class_dim=-1, reduction="sum"),
        box_loss=losses.build(c.box_loss, reduction="sum"),
        box_weight=c.box_weight,
        normalizer=c.normalizer,
        box_space="boxes" if spaces.get(box_name) == "boxes" else "deltas",
        whole_images=cls_name not in losses.LOSSES or losses.LOSSES[cls_name].function is None,
    )
