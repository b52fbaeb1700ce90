"""Where predictions are NaN or infinite and nothing can be matched: a loss that is NaN in the place of an exception.

An exception would end one of several processes, and leave the others waiting for its messages. Instead everything is
background, every process exchanges what it always does, and all of them see that the step is not finite.
"""

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from focalkit.detection.types import BACKGROUND, Assignment, DenseOutputs


def all_background(outputs: DenseOutputs) -> list[Assignment]:
    """An assignment without positives for every row of the batch axis."""
    n, device = sum(len(priors) for priors in outputs.priors), outputs.logits[0].device
    nothing = Assignment(
        labels=torch.full((n,), BACKGROUND, device=device),
        gt_index=torch.full((n,), -1, device=device),
        quality=torch.zeros(n, device=device),
    )
    return [nothing] * len(outputs.logits[0])


def not_a_number(losses: Mapping[str, Tensor], outputs: DenseOutputs) -> dict[str, Tensor]:
    """The losses as NaN that depends on every output, so that every weight has a gradient, which is NaN as well."""
    nan = torch.stack([level.float().sum() for level in _levels(outputs)]).sum() * math.nan
    return {name: loss + nan for name, loss in losses.items()}


def _levels(outputs: DenseOutputs) -> Iterator[Tensor]:
    yield from (*outputs.logits, *outputs.deltas, *(outputs.quality or ()))
    for others in (outputs.earlier, outputs.denoising and outputs.denoising.outputs):
        if others is not None:
            yield from _levels(others)
