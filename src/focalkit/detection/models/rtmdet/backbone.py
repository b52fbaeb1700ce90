"""CSPNeXt, the backbone of RTMDet (Lyu et al., 2022, sec. 3.2), in its sizes."""

from torch import nn

from focalkit.detection.models.rtmdet.layers import ConvNorm, CSPLayer, Norm, PoolPyramid
from focalkit.detection.models.staged import StagedBackbone

CSPNEXTS = {  # name -> factors on the depth and on the width
    "cspnext_tiny": (0.167, 0.375),
    "cspnext_s": (0.33, 0.5),
    "cspnext_m": (0.67, 0.75),
}
STAGES = ((64, 128, 3), (128, 256, 6), (256, 512, 6), (512, 1024, 3))
"""Channels in and out and blocks of each stage at depth and width 1."""


def cspnext(name: str, norm: Norm, freeze_at: int) -> StagedBackbone:
    """The backbone of that name; its stages end at strides 2 (stem), 4, 8, 16, 32.

    Weights are drawn as PyTorch draws those of convolutions, which is what the authors do.
    """
    depth, width = CSPNEXTS[name]
    first = int(STAGES[0][0] * width)
    layers: dict[str, nn.Module] = {
        "stem": nn.Sequential(
            ConvNorm(3, first // 2, 3, 2, norm=norm),
            ConvNorm(first // 2, first // 2, 3, norm=norm),
            ConvNorm(first // 2, first, 3, norm=norm),
        )
    }
    for number, (inside, outside, blocks) in enumerate(STAGES, 1):
        last = number == len(STAGES)
        channels, count = int(outside * width), max(round(blocks * depth), 1)
        layers[f"stage{number}"] = nn.Sequential(
            ConvNorm(int(inside * width), channels, 3, 2, norm=norm),
            *([PoolPyramid(channels, norm)] if last else []),
            CSPLayer(channels, channels, count, shortcut=not last, attention=True, norm=norm),
        )
    widths = [int(outside * width) for _, outside, _ in STAGES[1:]]
    return StagedBackbone(layers, [[key] for key in layers], widths, freeze_at=freeze_at)
