"""The terms of D-FINE's criterion that judge distributions over the sides of boxes (Peng et al., 2024, sec. 4).

    SideTerm           the distributions of the positives with where the true sides lie (fine-grained localisation)
    DistillationTerm   every layer's distributions with those of the last one (decoupled distillation focal)

What this file does not do: it neither matches nor divides.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from focalkit.detection.boxes.quality import PredictedIoU
from focalkit.detection.boxes.side_scale import SideScale
from focalkit.detection.matches import Matches
from focalkit.detection.terms import TermSum, side_distribution_loss
from focalkit.detection.types import BoxCoder, DenseOutputs, Refinement, flatten_level


class SideTerm(nn.Module):
    """Fine-grained localisation loss (eq. 6): cross-entropy with the bins beside each true side, weighted by the IoU.

    Args:
        coder: Of the outputs' boxes, centre and size as shares of the image.
        scale: Where the bins lie.
        weight: Factor on the term.
    """

    of_batches = True

    def __init__(self, coder: BoxCoder, scale: SideScale, weight: float = 0.15) -> None:
        super().__init__()
        self.coder, self.scale, self.weight = coder, scale, weight
        self.quality = PredictedIoU(coder)

    def forward(self, outputs: DenseOutputs, matches: Matches) -> TermSum:
        refinement, positives = _refinement(outputs), matches.positives
        missing = (0, 0, 0, 0, 0, positives.shape[0] - len(refinement.scores))  # rows without distributions
        scores, starts = (positives.pick(F.pad(x.float(), missing)) for x in (refinement.scores, refinement.starts))
        positions = self.scale.positions(starts, self.coder.encode(positives.boxes, positives.priors))
        weight = torch.where(starts.any(dim=-1), positives.measure(self.quality), 0.0)
        # the mean over the sides, of which there are four
        return TermSum(4 * side_distribution_loss(scores, positions, weight=weight) * self.weight)


class DistillationTerm(nn.Module):
    """Decoupled distillation focal loss (eq. 7): the last layer teaches the layers before it.

    The divergence of the softened distributions is weighted by the IoU of a positive's box with its true one, and of
    any other query by the last layer's confidence; the two kinds are averaged by themselves, and joined in proportion
    to the square roots of their numbers. Nothing divides the result.

    Args:
        coder: Of the outputs' boxes.
        weight: Factor on the term.
        temperature: Of the softening.
    """

    of_batches = True

    def __init__(self, coder: BoxCoder, weight: float = 1.5, temperature: float = 5.0) -> None:
        super().__init__()
        self.weight, self.temperature = weight, temperature
        self.quality = PredictedIoU(coder)

    def forward(self, outputs: DenseOutputs, matches: Matches) -> TermSum:
        refinement, positives, t = _refinement(outputs), matches.positives, self.temperature
        by_layer = (-1, refinement.images, refinement.scores.shape[1])
        scores = refinement.scores.float().unflatten(-1, (4, -1)).unflatten(0, by_layer[:2])
        logits = torch.cat([flatten_level(level, outputs.num_classes) for level in outputs.logits], dim=1)
        sure = logits[: refinement.images].detach().float().sigmoid().amax(dim=-1)
        matched = positives.spread(positives.counts).view(by_layer)
        weight = torch.where(matched, positives.spread(positives.measure(self.quality)).view(by_layer), sure)
        teacher = (scores[0].detach() / t).softmax(dim=-1)
        losses = [scores.new_zeros(())]
        for student, counts, weights in zip(scores[1:], matched[1:], weight[1:], strict=False):
            divergence = F.kl_div((student / t).log_softmax(dim=-1), teacher, reduction="none").sum(dim=-1).mean(dim=-1)
            losses.append(_joined(divergence * weights * t**2, counts))
        return TermSum(torch.stack(losses).sum() * self.weight, is_mean=True)


def _joined(values: Tensor, matched: Tensor) -> Tensor:
    """The means of the matched and of the others, weighted by the roots of their numbers."""
    positives = matched.sum().float()
    others = matched.numel() - positives
    kept, rest = torch.where(matched, values, 0.0).sum(), torch.where(matched, 0.0, values).sum()
    # mean * root of the number is the sum / root of the number
    joined = kept / positives.clamp(min=1).sqrt() + rest / others.clamp(min=1).sqrt()
    return joined / (positives.sqrt() + others.sqrt())


def _refinement(outputs: DenseOutputs) -> Refinement:
    if outputs.refinement is None:
        raise ValueError(
            'the outputs have no distributions of sides: D-FINE\'s have, of whole batches (normalizer "batch")'
        )
    return outputs.refinement
