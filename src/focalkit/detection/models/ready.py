"""A network for prediction alone: what never changes is worked out once."""

import torch
from torch import nn

from focalkit.detection.models.detr.layers import ConvNorm, RepVGG
from focalkit.detection.models.frozen_norm import fold, pairs, with_norm
from focalkit.detection.models.rtmdet.layers import ConvNorm as NamedConvNorm
from focalkit.detection.models.staged import StagedBackbone


@torch.no_grad()
def make_ready(net: nn.Module) -> None:
    """Take every norm that follows one convolution into it, and merge `RepVGG` blocks, in place.

    What the network gives in evaluation stays the same but for rounding; it cannot be trained any more. Norms of each
    level's own behind a convolution that levels share stay, and those inside timm's models.
    """
    fold(net)
    for parent in list(net.modules()):
        for key, block in list(parent.named_children()):
            if isinstance(block, RepVGG):
                setattr(parent, key, block.merged())
    for known in [part for part in net.modules() if isinstance(part, StagedBackbone | ConvNorm | NamedConvNorm)]:
        for parent, key, conv, norm in pairs(known, nn.BatchNorm2d):
            setattr(parent, key, with_norm(conv, norm))
            setattr(parent, next(name for name, child in parent.named_children() if child is norm), nn.Identity())
    net.eval().requires_grad_(False)
