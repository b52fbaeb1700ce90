"""Detectron2's and MMDetection's RetinaNet in evaluation, as functions of a state dict with their names.

Written from a description of what they compute (names of weights, strides, anchors, decoding, order of steps), not from
their code, and not from ours. With `learn` the weights that are missing are drawn and the BatchNorm statistics set to
those of the input, so that a forward pass makes a network whose activations live.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import nms

RATIOS = (0.5, 1.0, 2.0)
OCTAVES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
MOST = math.log(1000 / 16)
State = dict[str, Tensor]


@dataclass(frozen=True)
class Library:
    """Names, as format strings, and the numbers that differ.

    `stage` counts from 1, `n` from 0 (C3), `c` from 0 in a tower.
    """

    stem: str
    stem_norm: str
    conv: str
    norm: str
    shortcut: str
    shortcut_norm: str
    lateral: str
    output: str
    p6: str
    p7: str
    class_tower: str
    box_tower: str
    class_output: str
    box_output: str
    p7_relu: bool
    scales_first: bool
    """Anchors are numbered scale * 3 + ratio, not ratio * 3 + scale."""
    shrink_bounded: bool


DETECTRON2 = Library(
    stem="backbone.bottom_up.stem.conv1",
    stem_norm="backbone.bottom_up.stem.conv1.norm",
    conv="backbone.bottom_up.res{next_stage}.{block}.conv{j}",
    norm="backbone.bottom_up.res{next_stage}.{block}.conv{j}.norm",
    shortcut="backbone.bottom_up.res{next_stage}.0.shortcut",
    shortcut_norm="backbone.bottom_up.res{next_stage}.0.shortcut.norm",
    lateral="backbone.fpn_lateral{level}",
    output="backbone.fpn_output{level}",
    p6="backbone.top_block.p6",
    p7="backbone.top_block.p7",
    class_tower="head.cls_subnet.{double}",
    box_tower="head.bbox_subnet.{double}",
    class_output="head.cls_score",
    box_output="head.bbox_pred",
    p7_relu=True,
    scales_first=True,
    shrink_bounded=False,
)

MMDETECTION = Library(
    stem="backbone.conv1",
    stem_norm="backbone.bn1",
    conv="backbone.layer{stage}.{block}.conv{j}",
    norm="backbone.layer{stage}.{block}.bn{j}",
    shortcut="backbone.layer{stage}.0.downsample.0",
    shortcut_norm="backbone.layer{stage}.0.downsample.1",
    lateral="neck.lateral_convs.{n}.conv",
    output="neck.fpn_convs.{n}.conv",
    p6="neck.fpn_convs.3.conv",
    p7="neck.fpn_convs.4.conv",
    class_tower="bbox_head.cls_convs.{c}.conv",
    box_tower="bbox_head.reg_convs.{c}.conv",
    class_output="bbox_head.retina_cls",
    box_output="bbox_head.retina_reg",
    p7_relu=False,
    scales_first=False,
    shrink_bounded=True,
)


@dataclass(frozen=True)
class Network:
    """A RetinaNet of one of the libraries, over a state dict."""

    library: Library
    state: State
    blocks: tuple[int, ...]
    bottleneck: bool
    stride_in_1x1: bool
    num_classes: int
    channels: int = 256
    learn: bool = False

    def forward(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Normalised images (b, 3, h, w) -> logits (b, h*w*9, k) and deltas (b, h*w*9, 4) per level."""
        lib, b = self.library, len(x)
        logits, deltas = [], []
        for p in self.pyramid(self.backbone(x)):
            for tower, output, width, found in (
                (lib.class_tower, lib.class_output, self.num_classes, logits),
                (lib.box_tower, lib.box_output, 4, deltas),
            ):
                y = p
                for c in range(4):
                    y = F.relu(self.convolve(y, tower.format(c=c, double=2 * c), self.channels, 3))
                y = self.convolve(y, output, 9 * width, 3)
                found.append(y.reshape(b, 9, width, *y.shape[2:]).permute(0, 3, 4, 1, 2).reshape(b, -1, width))
        return logits, deltas

    def backbone(self, x: Tensor) -> list[Tensor]:
        lib = self.library
        x = F.relu(self.batch_norm(self.convolve(x, lib.stem, 64, 7, 2, bias=False), lib.stem_norm))
        x = F.max_pool2d(x, 3, 2, 1)
        maps = []
        for stage, count in enumerate(self.blocks, 1):
            for block in range(count):
                x = self.residual(x, stage, block, 64 * 2 ** (stage - 1))
            maps.append(x)
        return maps[1:]

    def residual(self, x: Tensor, stage: int, block: int, width: int) -> Tensor:
        lib, place = self.library, {"stage": stage, "next_stage": stage + 1, "block": block}
        step = 2 if stage > 1 and block == 0 else 1
        first, second = (step, 1) if self.stride_in_1x1 else (1, step)
        layers = (
            [(width, 1, first), (width, 3, second), (width * 4, 1, 1)]
            if self.bottleneck
            else [(width, 3, step), (width, 3, 1)]
        )
        y = x
        for j, (out, size, stride) in enumerate(layers, 1):
            y = self.convolve(y, lib.conv.format(j=j, **place), out, size, stride, bias=False)
            y = self.batch_norm(y, lib.norm.format(j=j, **place), small=j == len(layers))
            y = F.relu(y) if j < len(layers) else y
        if block == 0 and (step > 1 or x.shape[1] != y.shape[1]):
            x = self.convolve(x, lib.shortcut.format(**place), y.shape[1], 1, step, bias=False)
            x = self.batch_norm(x, lib.shortcut_norm.format(**place))
        return F.relu(x + y)

    def pyramid(self, maps: list[Tensor]) -> list[Tensor]:
        lib = self.library
        merged = [self.convolve(x, lib.lateral.format(n=n, level=n + 3), self.channels, 1) for n, x in enumerate(maps)]
        for n in (1, 0):
            merged[n] = merged[n] + merged[n + 1].repeat_interleave(2, 2).repeat_interleave(2, 3)
        out = [self.convolve(x, lib.output.format(n=n, level=n + 3), self.channels, 3) for n, x in enumerate(merged)]
        p6 = self.convolve(maps[-1], lib.p6, self.channels, 3, 2)
        p7 = self.convolve(F.relu(p6) if lib.p7_relu else p6, lib.p7, self.channels, 3, 2)
        return [*out, p6, p7]

    def convolve(self, x: Tensor, name: str, out: int, size: int, stride: int = 1, bias: bool = True) -> Tensor:
        if self.learn and f"{name}.weight" not in self.state:
            spread = math.sqrt(2 / (x.shape[1] * size * size))
            self.state[f"{name}.weight"] = torch.randn(out, x.shape[1], size, size) * spread
            if bias:
                self.state[f"{name}.bias"] = torch.randn(out) * 0.1
        return F.conv2d(
            x, self.state[f"{name}.weight"], self.state[f"{name}.bias"] if bias else None, stride, size // 2
        )

    def batch_norm(self, x: Tensor, name: str, small: bool = False) -> Tensor:
        if self.learn:
            self.state[f"{name}.weight"] = torch.rand(x.shape[1]) * (0.2 if small else 0.5) + (0.1 if small else 0.5)
            self.state[f"{name}.bias"] = torch.randn(x.shape[1]) * 0.1
            self.state[f"{name}.running_mean"] = x.mean((0, 2, 3))
            self.state[f"{name}.running_var"] = x.var((0, 2, 3))
        weight, bias, mean, var = (
            self.state[f"{name}.{part}"].view(1, -1, 1, 1) for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    def anchors(self, shapes: list[tuple[int, int]]) -> list[Tensor]:
        """Boxes around the upper left corners of the cells, row by row."""
        levels = []
        for level, (h, w) in enumerate(shapes):
            stride, side = 8 * 2**level, 32.0 * 2**level
            pairs = (
                [(o, r) for o in OCTAVES for r in RATIOS]
                if self.library.scales_first
                else [(o, r) for r in RATIOS for o in OCTAVES]
            )
            boxes = []
            for y in range(h):
                for x in range(w):
                    for octave, ratio in pairs:
                        width = math.sqrt((side * octave) ** 2 / ratio)
                        height = width * ratio
                        cx, cy = x * stride, y * stride
                        boxes.append((cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2))
            levels.append(torch.tensor(boxes))
        return levels

    def candidates(
        self, logits: list[Tensor], deltas: list[Tensor], shapes: list[tuple[int, int]], image: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes, scores and classes of what scores more than .05, the best 1000 of each level."""
        boxes, scores, labels = [], [], []
        for anchors, logit, delta in zip(self.anchors(shapes), logits, deltas, strict=True):
            score = logit[image].sigmoid().flatten()
            rows = (score > 0.05).nonzero()[:, 0]
            rows = rows[score[rows].argsort(descending=True)[:1000]]
            anchor, label = rows // self.num_classes, rows % self.num_classes
            boxes.append(self.decode(anchors[anchor], delta[image][anchor]))
            scores.append(score[rows])
            labels.append(label)
        return torch.cat(boxes), torch.cat(scores), torch.cat(labels)

    def decode(self, anchors: Tensor, deltas: Tensor) -> Tensor:
        size = anchors[:, 2:] - anchors[:, :2]
        centre = (anchors[:, :2] + anchors[:, 2:]) / 2 + deltas[:, :2] * size
        grown = deltas[:, 2:].clamp(-MOST if self.library.shrink_bounded else None, MOST).exp() * size
        return torch.cat([centre - grown / 2, centre + grown / 2], 1)


def by_class(boxes: Tensor, scores: Tensor, labels: Tensor, most: int = 100) -> Tensor:
    """Rows that are left after suppression at .5 within each class, the best scores first."""
    left = [(labels == k).nonzero()[:, 0] for k in labels.unique()]
    kept = torch.cat([rows[nms(boxes[rows].double(), scores[rows].double(), 0.5)] for rows in left])
    return kept[scores[kept].argsort(descending=True)][:most]


def clipped(boxes: Tensor, height: float, width: float) -> Tensor:
    return torch.stack([boxes[:, i].clamp(0, (width, height)[i % 2]) for i in range(4)], 1)


def detectron2_detections(
    net: Network,
    logits: list[Tensor],
    deltas: list[Tensor],
    shapes: list[tuple[int, int]],
    image: int,
    size: tuple[int, int],
    original: tuple[int, int],
) -> tuple[Tensor, Tensor, Tensor]:
    """Suppress and cut to 100 first; then bring to the original size, clip, and drop what is empty."""
    boxes, scores, labels = net.candidates(logits, deltas, shapes, image)
    kept = by_class(boxes, scores, labels)
    boxes, scores, labels = boxes[kept], scores[kept], labels[kept]
    y, x = original[0] / size[0], original[1] / size[1]
    boxes = clipped(boxes * torch.tensor([x, y, x, y]), *original)
    area = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return boxes[area], scores[area], labels[area]


def mmdetection_detections(
    net: Network,
    logits: list[Tensor],
    deltas: list[Tensor],
    shapes: list[tuple[int, int]],
    image: int,
    size: tuple[int, int],
    original: tuple[int, int],
) -> tuple[Tensor, Tensor, Tensor]:
    """Clip to the resized image, bring to the original size, drop what is empty; then suppress and cut to 100."""
    boxes, scores, labels = net.candidates(logits, deltas, shapes, image)
    boxes = clipped(boxes, *size)
    y, x = size[0] / original[0], size[1] / original[1]
    boxes = boxes / torch.tensor([x, y, x, y])
    area = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    boxes, scores, labels = boxes[area], scores[area], labels[area]
    kept = by_class(boxes, scores, labels)
    return boxes[kept], scores[kept], labels[kept]


def spread(net: Network, x: Tensor, share: float, score: float = 0.05) -> None:
    """Scale the last convolutions so that deltas are of size 1/2 and a `share` of the scores lies above `score`."""
    logits, deltas = (torch.cat([v.flatten() for v in found]) for found in net.forward(x))
    for name, size in ((net.library.class_output, logits.std()), (net.library.box_output, 2 * deltas.std())):
        net.state[f"{name}.weight"] /= size
        net.state[f"{name}.bias"] /= size
    wanted = math.log(score / (1 - score))
    net.state[f"{net.library.class_output}.bias"] += wanted - float((logits / logits.std()).quantile(1 - share))
