"""Groups of queries in training (Group DETR: Chen et al., 2023, arXiv 2207.13085): each is matched by itself.

Every group makes proposals of its own, and in the decoder, whose weights all share, sees no query of another one. Each
object has one positive query in each group: more of them to learn from, and at prediction, where the first group alone
is used, nothing to pay for them. Of a batch of b images the groups lie along the batch axis as more images would: group
after group, (groups * b, ...).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from focalkit.detection.models.detr.layers import Activation, Perceptron


class Proposer(nn.Module):
    """What makes the proposals of one more group: as the first group's in `SetHead`.

    Args:
        channels: Of the decoder.
        num_classes: K.
        activation: Of what makes the boxes.
    """

    def __init__(self, channels: int, num_classes: int, activation: Activation = F.relu) -> None:
        super().__init__()
        self.proposal = nn.Sequential(nn.Linear(channels, channels), nn.LayerNorm(channels))
        self.class_output = nn.Linear(channels, num_classes)
        self.box_output = Perceptron(channels, channels, 4, 3, activation)


def beside(x: Tensor, groups: int) -> Tensor:
    """The groups' queries one behind the other, as the decoder has them: (groups * b, q, ...) -> (b, groups * q, ...).

    Example:
        >>> beside(torch.tensor([[[1]], [[2]], [[3]], [[4]]]), 2).flatten(1)     # two images, groups (1, 2) and (3, 4)
        tensor([[1, 3],
                [2, 4]])
    """
    return x.unflatten(0, (groups, -1)).transpose(0, 1).flatten(1, 2)


def apart(x: Tensor, groups: int) -> Tensor:
    """The reverse of `beside`, of every layer: (layers, b, groups * q, ...) -> (layers, groups * b, q, ...)."""
    return x.unflatten(2, (groups, -1)).transpose(1, 2).flatten(1, 2)


def unseen(groups: int, queries: int, noised: Tensor | None, device: torch.device) -> Tensor | None:
    """Which other query (column) each (row) must not see, bool; None where each may see all.

    Args:
        groups: Of `queries` each.
        queries: In a group.
        noised: The same of the d denoising queries (d, d), which come first. They see the first group and no further
            one, and no query of a group sees them: it would copy the truth.
        device: Of the result.
    """
    if noised is None and groups == 1:
        return None
    group = torch.arange(groups, device=device).repeat_interleave(queries)
    hidden = group[:, None] != group[None]
    if noised is None:
        return hidden
    to_groups = (group > 0).expand(len(noised), -1)
    return torch.cat([torch.cat([noised, to_groups], dim=1), F.pad(hidden, (len(noised), 0), value=True)])
