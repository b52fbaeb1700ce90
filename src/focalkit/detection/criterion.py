"""What a dense detector is trained to minimise: classification over all priors, and boxes of the positive ones."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from focalkit.detection.types import IGNORE, Assignment, BoxCoder, DenseOutputs, DetectionTarget, flatten_level

EMA_MOMENTUM = 0.9
EMA_START = 100.0
"""detectron2's values for its running number of positives."""

Matching = Callable[[Sequence[Tensor], DetectionTarget], Assignment]
Sampling = Callable[[Assignment], Assignment]
Quality = Callable[[Tensor, Tensor, Tensor], Tensor]
HeatMap = Callable[[Sequence[Tensor], DetectionTarget, int], Tensor]
ElementLoss = Callable[..., Tensor]


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
        sampler: Assignment -> Assignment, such as `BalancedSampler`; None trains on all priors.
        quality: (predicted boxes, true boxes, priors), (p, 4) each -> (p,) in [0, 1], such as `quality.iou` or
            `quality.centerness`: how good each positive prior is. It weighs the positives' box losses, which are called
            with `weight` then and are divided by the sum of the qualities.
        quality_to: What else the quality teaches: with "classes" it takes the place of the 1 at the true class, and
            `cls_loss` gets floating targets (b, n, k), -100 where they do not count (quality focal, varifocal loss).
            With "branch" it is the target of `outputs.quality` under cross-entropy, a loss "quality" of its own.
        distribution_loss: (scores (p, 4 * bins), positions (p, 4), weight=(p,) or None) -> sum, 0-d: a second loss on
            the raw box outputs, "distribution" (GFL).
        distribution_weight: Factor on it (Li et al., 2020: 1/4).
        heat_map: (priors per level, target, k) -> (n, k) in [0, 1]: class targets instead of the labels, of which
            only "ignored" counts (CenterNet).
    """

    running_positives: Tensor

    def __init__(
        self,
        assigner: Matching,
        coder: BoxCoder,
        cls_loss: ElementLoss,
        box_loss: ElementLoss,
        box_weight: float = 1.0,
        normalizer: Literal["batch", "image", "ema"] = "batch",
        *,
        box_space: Literal["deltas", "boxes"] = "deltas",
        whole_images: bool = False,
        sampler: Sampling | None = None,
        quality: Quality | None = None,
        quality_to: Literal["classes", "branch"] = "classes",
        distribution_loss: ElementLoss | None = None,
        distribution_weight: float = 0.25,
        heat_map: HeatMap | None = None,
    ) -> None:
        super().__init__()
        if normalizer not in ("batch", "image", "ema"):
            raise ValueError(f'normalizer must be "batch", "image" or "ema", got {normalizer!r}')
        if box_space not in ("deltas", "boxes"):
            raise ValueError(f'box_space must be "deltas" or "boxes", got {box_space!r}')
        if quality_to not in ("classes", "branch"):
            raise ValueError(f'quality_to must be "classes" or "branch", got {quality_to!r}')
        if heat_map is not None and quality is not None and quality_to == "classes":
            raise ValueError('a heat map gives the class targets, so the quality cannot: choose quality_to="branch"')
        self.assigner = assigner
        self.coder = coder
        self.cls_loss = cls_loss
        self.box_loss = box_loss
        self.box_weight = box_weight
        self.normalizer = normalizer
        self.box_space = box_space
        self.whole_images = whole_images
        self.sampler = sampler
        self.quality = quality
        self.quality_to = quality_to
        self.distribution_loss = distribution_loss
        self.distribution_weight = distribution_weight
        self.heat_map = heat_map
        if normalizer == "ema":
            self.register_buffer("running_positives", torch.tensor(EMA_START))

    def assign(self, outputs: DenseOutputs, targets: Sequence[DetectionTarget]) -> list[Assignment]:
        """Match every image of the batch, and draw the sample where there is a sampler."""
        b = len(outputs.logits[0])
        if len(targets) != b:
            raise ValueError(f"expected one target for each of the {b} images, got {len(targets)}")
        found = [self.assigner(outputs.priors, target) for target in targets]
        return found if self.sampler is None else [self.sampler(assignment) for assignment in found]

    def forward(self, outputs: DenseOutputs, targets: Sequence[DetectionTarget]) -> dict[str, Tensor]:
        """Losses of a batch, normalised and weighted; minimise their sum.

        Returns:
            {"classification": 0-d, "box": 0-d}, and "quality" and "distribution" where the arguments ask for them; all
            float32. An image without boxes counts as all background.
        """
        assignments = self.assign(outputs, targets)
        labels = torch.stack([a.labels for a in assignments])  # (b, n)
        gt_index = torch.stack([a.gt_index for a in assignments])
        positives = (gt_index >= 0).sum(dim=1)
        if self.normalizer == "image":
            parts = []
            for i in range(len(targets)):
                one = slice(i, i + 1)
                sums, goodness = self._sums(_image(outputs, i), labels[one], gt_index[one], targets[one])
                divisor = positives[i].clamp(min=1) * len(targets)
                parts.append(self._divide(sums, divisor, positives[i], goodness))
            result = {name: torch.stack([part[name] for part in parts]).sum() for name in parts[0]}
        else:
            sums, goodness = self._sums(outputs, labels, gt_index, targets)
            result = self._divide(sums, *self._divisor(positives.sum().float(), goodness))
        weights = {"box": self.box_weight, "distribution": self.distribution_weight}
        return {name: value * weights[name] if name in weights else value for name, value in result.items()}

    def _divide(
        self, sums: dict[str, Tensor], divisor: Tensor, positives: Tensor, goodness: Tensor
    ) -> dict[str, Tensor]:
        """Sums / divisor; those that are weighed by quality also by the positives' mean quality."""
        by_quality = divisor
        if self.quality is not None:
            by_quality = divisor * (goodness.clamp(min=1) / positives.clamp(min=1))
        return {
            name: value / (by_quality if name in ("box", "distribution") else divisor) for name, value in sums.items()
        }

    @torch.no_grad()
    def _divisor(self, positives: Tensor, goodness: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What to divide by, the positives of all ranks, and the sum of their qualities."""
        world = dist.get_world_size() if self.training and dist.is_available() and dist.is_initialized() else 1
        if world > 1:
            counts = torch.stack([positives, goodness])
            dist.all_reduce(counts)
            positives, goodness = counts
        divisor = positives.clamp(min=1) / world
        if self.normalizer == "ema":
            if self.training:
                self.running_positives.lerp_(divisor, 1 - EMA_MOMENTUM)
            # a copy: autograd keeps the divisor, and the next step writes to the buffer
            divisor = self.running_positives.clone()
        return divisor, positives, goodness

    def _sums(
        self, outputs: DenseOutputs, labels: Tensor, gt_index: Tensor, targets: Sequence[DetectionTarget]
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Every loss summed over the batch, and the sum of the positives' qualities."""
        sums: dict[str, Tensor] = {"classification": torch.zeros((), device=labels.device)}
        # the last row stands for "none", so that index -1 finds one even where an image has no boxes
        truth = [torch.cat([t.boxes.float(), t.boxes.new_zeros(1, 4, dtype=torch.float32)]) for t in targets]
        lengths = [len(priors) for priors in outputs.priors]
        qualities = []
        branch = outputs.quality or (None,) * len(lengths)
        by_level = zip(outputs.deltas, outputs.priors, branch, gt_index.split(lengths, dim=1), strict=True)
        for deltas, priors, own, index in by_level:
            terms, quality = self._box_terms(deltas, priors, own, index, truth)
            sums |= {name: sums[name] + term if name in sums else term for name, term in terms.items()}
            qualities.append(quality)
        quality = torch.cat(qualities, dim=1)
        class_targets = self._class_targets(outputs, labels, quality, targets)
        scores = (flatten_level(logits, outputs.num_classes) for logits in outputs.logits)
        if self.whole_images:
            sums["classification"] = self.cls_loss(torch.cat(list(scores), dim=1), class_targets)
        else:
            for level, wanted in zip(scores, class_targets.split(lengths, dim=1), strict=True):
                sums["classification"] = sums["classification"] + self.cls_loss(level, wanted)
        return sums, quality.sum()

    @torch.no_grad()
    def _class_targets(
        self, outputs: DenseOutputs, labels: Tensor, quality: Tensor, targets: Sequence[DetectionTarget]
    ) -> Tensor:
        """Labels (b, n), or floating targets (b, n, k) that are -100 where a prior is ignored."""
        k = outputs.num_classes
        if self.heat_map is not None:
            soft = torch.stack([self.heat_map(outputs.priors, target, k) for target in targets])
        elif self.quality is not None and self.quality_to == "classes":
            soft = quality.new_zeros(*labels.shape, k).scatter(2, labels.clamp(min=0)[..., None], quality[..., None])
        else:
            return labels
        return torch.where((labels == IGNORE)[..., None], float(IGNORE), soft)

    def _box_terms(
        self, deltas: Tensor, priors: Tensor, branch: Tensor | None, gt_index: Tensor, truth: Sequence[Tensor]
    ) -> tuple[dict[str, Tensor], Tensor]:
        """One level's sums over its positives, and their qualities (b, n_l), 0 for the others."""
        matched = torch.stack([boxes[rows] for boxes, rows in zip(truth, gt_index, strict=True)])  # (b, n_l, 4)
        positive = gt_index >= 0
        rows = positive.nonzero(as_tuple=True) if _counts_are_free(deltas.device) else None
        deltas, matched, priors, counts = (
            x.flatten(0, 1) if rows is None else x[rows]
            for x in (_by_prior(deltas, priors), matched, priors.expand_as(matched), positive[..., None])
        )

        decoded = self.coder.decode(deltas, priors) if self.box_space == "boxes" or self.quality else deltas
        boxes = self.box_space == "boxes"
        predicted, true = (decoded, matched) if boxes else (deltas.float(), self.coder.encode(matched, priors))
        if rows is None:
            # the others stay in and compare a box with itself
            predicted, true = (torch.where(counts, x, priors) for x in (predicted, true))
        if self.quality is None:
            weight = counts[:, 0].float()
            terms = {"box": self.box_loss(predicted, true)}
        else:
            weight = torch.where(counts[:, 0], self.quality(decoded.detach(), matched, priors), 0.0)
            terms = {"box": self.box_loss(predicted, true, weight=weight if boxes else weight[:, None])}
        if self.distribution_loss is not None:
            terms["distribution"] = self.distribution_loss(deltas, self.coder.encode(matched, priors), weight=weight)
        quality = weight.view_as(gt_index) if rows is None else weight.new_zeros(gt_index.shape).index_put(rows, weight)
        if self.quality is not None and self.quality_to == "branch":
            if branch is None:
                raise ValueError(
                    'the model predicts no quality to teach: PointHead(quality=True), or quality_to="classes"'
                )
            logits = flatten_level(branch, 1)[..., 0].to(quality.dtype)
            entropy = F.binary_cross_entropy_with_logits(logits, quality, reduction="none")
            terms["quality"] = torch.where(positive, entropy, 0.0).sum()
        return terms, quality


def _by_prior(level: Tensor, priors: Tensor) -> Tensor:
    """(b, a*width, h, w) -> (b, n_l, width), whatever the width; a view when `level` is channels_last."""
    return level.permute(0, 2, 3, 1).reshape(len(level), len(priors), -1)


def _counts_are_free(device: torch.device) -> bool:
    """Whether taking the positives out, whose number the host must know, does not make it wait for the device."""
    return device.type == "cpu"


def _image(outputs: DenseOutputs, i: int) -> DenseOutputs:
    one = slice(i, i + 1)
    logits, deltas = (tuple(x[one] for x in levels) for levels in (outputs.logits, outputs.deltas))
    quality = None if outputs.quality is None else tuple(x[one] for x in outputs.quality)
    return DenseOutputs(logits, deltas, outputs.priors, outputs.num_classes, quality)
