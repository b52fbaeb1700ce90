"""Contrastive denoising (Zhang et al., 2023, arXiv 2203.03605, sec. 3.3): noised ground truth to restore."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from focalkit.detection.models.detr.layers import inverse_sigmoid
from focalkit.detection.types import BACKGROUND, IGNORE, Assignment, DetectionTarget


@dataclass(frozen=True)
class NoisedQueries:
    """Queries made of ground truth. Image by image of a batch, in groups of equal size.

    Attributes:
        labels: int64 (b, d): class, or K for a query that stands for nothing.
        boxes: float32 (b, d, 4): logits of centre and size as shares of the image.
        hidden: Bool (d, d): which other denoising query (column) each (row) must not see: those of other groups.
        assignments: Which box each query was made of, and its true class; background where the noise was too large.
    """

    labels: Tensor
    boxes: Tensor
    hidden: Tensor
    assignments: tuple[Assignment, ...]


@dataclass(frozen=True)
class ContrastiveDenoising:
    """Make queries of ground truth.

    A group has two queries for each box: one whose sides are moved by less than `box_noise` times half the box's size,
    to be mended, and one moved by one to two times as much, to be called background. Of all labels a share of
    `label_noise` / 2 is drawn anew.

    Attributes:
        queries: About how many to make, half of them to be mended; the number of groups follows from the image with
            the most boxes, and is at least one.
        label_noise: In [0, 1].
        box_noise: At least 0.
    """

    queries: int = 100
    label_noise: float = 0.5
    box_noise: float = 1.0

    @torch.no_grad()
    def __call__(
        self, targets: Sequence[DetectionTarget], image_size: tuple[int, int], num_classes: int
    ) -> NoisedQueries:
        """Noised queries for a batch whose padded images have the given (height, width).

        A batch without boxes gets a pair of queries that do not count, so that every process of a training uses the
        same weights.
        """
        most = max([1, *(len(target.labels) for target in targets)])
        groups = max(1, self.queries // most)
        labels, boxes, index = _padded(targets, image_size, num_classes, most)
        labels, boxes, index = (x.repeat(1, 2 * groups, *[1] * (x.ndim - 2)) for x in (labels, boxes, index))
        real = index >= 0
        far = torch.arange(2 * most, device=boxes.device).ge(most).repeat(groups)  # the second half of each group
        drawn = torch.rand(labels.shape, device=boxes.device) < self.label_noise / 2
        anew = torch.randint(0, num_classes, labels.shape, device=boxes.device)
        group = torch.arange(len(far), device=boxes.device) // (2 * most)
        index = index.masked_fill(far, -1)
        nothing = BACKGROUND if real.any() else IGNORE
        return NoisedQueries(
            labels=torch.where(drawn & real, anew, labels),
            boxes=inverse_sigmoid(self._moved(boxes, far)),
            hidden=group[:, None] != group[None],
            assignments=tuple(_assignment(row, target, nothing) for row, target in zip(index, targets, strict=True)),
        )

    def _moved(self, boxes: Tensor, far: Tensor) -> Tensor:
        """Boxes (b, d, 4), centre and size, with each of their four sides moved on its own, cut at the image's edge."""
        centre, half = boxes[..., :2], boxes[..., 2:] / 2
        sign = torch.randint_like(boxes, 0, 2) * 2 - 1
        share = (torch.rand_like(boxes) + far[:, None]) * sign
        reach = torch.cat([half, half], dim=-1) * self.box_noise
        low, high = (torch.cat([centre - half, centre + half], dim=-1) + share * reach).clamp(0, 1).split(2, dim=-1)
        return torch.cat([(low + high) / 2, high - low], dim=-1)


def _padded(
    targets: Sequence[DetectionTarget], image_size: tuple[int, int], num_classes: int, most: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Labels (b, most), boxes (b, most, 4) and row numbers (b, most); K, zeros and -1 where there is no box."""
    device = targets[0].boxes.device
    labels = torch.full((len(targets), most), num_classes, device=device)
    boxes = torch.zeros(len(targets), most, 4, device=device)
    index = torch.full((len(targets), most), -1, device=device)
    height, width = image_size
    scale = torch.tensor([width, height, width, height], device=device)
    for i, target in enumerate(targets):
        m = len(target.labels)
        low, high = (target.boxes / scale).split(2, dim=1)
        labels[i, :m], index[i, :m] = target.labels, torch.arange(m, device=device)
        boxes[i, :m] = torch.cat([(low + high) / 2, high - low], dim=1)
    return labels, boxes, index


def _assignment(index: Tensor, target: DetectionTarget, nothing: int) -> Assignment:
    """The true class of the box in row `index` of the target, `nothing` where that is -1."""
    return Assignment(torch.cat([target.labels, target.labels.new_tensor([nothing])])[index], index)
