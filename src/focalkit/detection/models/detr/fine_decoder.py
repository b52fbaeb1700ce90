"""The decoder of D-FINE (Peng et al., 2024, arXiv 2410.13842): sides of boxes as distributions, refined layer by layer.

What is left out: the wider layers behind the one that answers (`eval_idx`), which the published models do not have.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from focalkit.detection.boxes.side_scale import SideScale
from focalkit.detection.models.detr.attention import DeformableAttention, Shapes
from focalkit.detection.models.detr.decoder import (
    Layers,
    as_level,
    begin_weights,
    begin_with,
    cells,
    check_counts,
    divided,
    label_embedding,
    propose,
    proposers,
)
from focalkit.detection.models.detr.denoising import ContrastiveDenoising, NoisedQueries
from focalkit.detection.models.detr.groups import Proposer
from focalkit.detection.models.detr.layers import Activation, Perceptron, inverse_sigmoid

SCALE = SideScale()
"""Of all published models but the largest."""
BEST = 4
"""Probabilities of each side that the quality is estimated from."""
QUALITY_WIDTH = 64


class Gate(nn.Module):
    """A weighted sum of two inputs, normalised; the weights, of each channel, follow from both."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Linear(2 * channels, 2 * channels)
        self.norm = nn.LayerNorm(channels)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        first, second = self.gate(torch.cat([one, other], dim=-1)).sigmoid().chunk(2, dim=-1)
        return self.norm(first * one + second * other)


class FineLayer(nn.Module):
    """As RT-DETR's layer, with a gate in the place of the sum after cross-attention, which projects nothing."""

    def __init__(
        self, channels: int, heads: int, feedforward: int, points: Sequence[int], activation: Activation
    ) -> None:
        super().__init__()
        self.activation = activation
        self.self_attn = nn.MultiheadAttention(channels, heads, batch_first=True)
        self.cross_attn = DeformableAttention(channels, heads, len(points), points, projected=False)
        self.gateway = Gate(channels)
        self.linear1 = nn.Linear(channels, feedforward)
        self.linear2 = nn.Linear(feedforward, channels)
        self.norm1, self.norm3 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        for layer in (self.linear1, self.linear2):
            nn.init.xavier_uniform_(layer.weight)

    def forward(
        self, x: Tensor, positions: Tensor, boxes: Tensor, memory: Tensor, shapes: Shapes, hidden: Tensor | None
    ) -> Tensor:
        at = x + positions
        x = self.norm1(x + self.self_attn(at, at, x, attn_mask=hidden, need_weights=False)[0])
        x = self.gateway(x, self.cross_attn(x + positions, boxes, memory, shapes))
        return self.norm3(x + self.linear2(self.activation(self.linear1(x))))


class SideQuality(nn.Module):
    """Adds to the logits what the distributions say of the box's quality: sharp ones are sure."""

    def __init__(self, activation: Activation) -> None:
        super().__init__()
        self.estimate = Perceptron(4 * (BEST + 1), QUALITY_WIDTH, 1, 2, activation)
        last = cast(nn.Linear, self.estimate.layers[-1])
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, logits: Tensor, scores: Tensor) -> Tensor:
        best = scores.unflatten(-1, (4, -1)).softmax(dim=-1).topk(BEST, dim=-1).values
        return logits + self.estimate(torch.cat([best, best.mean(dim=-1, keepdim=True)], dim=-1).flatten(-2))


class FineHead(nn.Module):
    """Maps to a set of predictions, as `SetHead`.

    The first layer proposes a box anew; the layers' distributions, each added to that of the layer before, shift the
    sides of that box. Below, layer 0 are the encoder's proposals and layer 1 the first layer's box.

    Args:
        channels: Of the maps and of the decoder.
        num_classes: K foreground classes.
        layers, queries, heads, feedforward: As of `SetHead`.
        points: That a head looks at on each map.
        denoising, prior_prob, groups: As of `SetHead`.
        activation: Of every layer: ReLU in D-FINE, SiLU in DEIM.
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        *,
        layers: int = 6,
        queries: int = 300,
        heads: int = 8,
        feedforward: int = 1024,
        points: Sequence[int] = (3, 6, 3),
        denoising: ContrastiveDenoising | None = None,
        prior_prob: float | None = 0.01,
        groups: int = 1,
        activation: Activation = F.relu,
    ) -> None:
        super().__init__()
        check_counts(num_classes, layers, queries, groups)
        self.num_classes, self.queries, self.denoising = num_classes, queries, denoising
        self.proposal = nn.Sequential(nn.Linear(channels, channels), nn.LayerNorm(channels))
        self.query_position = Perceptron(4, 2 * channels, channels, 2, activation)
        self.layers = nn.ModuleList(FineLayer(channels, heads, feedforward, points, activation) for _ in range(layers))
        self.qualities = nn.ModuleList(SideQuality(activation) for _ in range(layers))
        # [0] are those of the proposals
        self.class_output = nn.ModuleList(nn.Linear(channels, num_classes) for _ in range(layers + 1))
        widths = [4, *[4 * (SCALE.bins + 1)] * layers]
        self.box_output = nn.ModuleList(Perceptron(channels, channels, width, 3, activation) for width in widths)
        self.first_box = Perceptron(channels, channels, 4, 3, activation)
        self.label_embedding = label_embedding(num_classes, channels) if denoising is not None else None
        self.further = nn.ModuleList(Proposer(channels, num_classes, activation) for _ in range(groups - 1))
        makers = proposers(self)
        begin_weights(
            [*self.class_output, *(classes for _, classes, _ in makers[1:])],
            [self.first_box, *self.box_output, *(boxes for _, _, boxes in makers[1:])],
            [*(proposal[0] for proposal, _, _ in makers), *self.query_position.layers],
            prior_prob,
        )

    def forward(self, features: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Maps -> logits (b, K, q, 1) and boxes (b, 4, q, 1) of the last layer, as a dense head gives its one level."""
        found, _ = self.every_layer(features)
        return (as_level(found.logits[-1]),), (as_level(found.boxes[-1]),)

    def every_layer(
        self, features: Sequence[Tensor], noised: NoisedQueries | None = None, groups: int = 1
    ) -> tuple[Layers, Layers | None]:
        """As of `SetHead`."""
        memory, shapes = cells(features)
        found = propose(memory, shapes, proposers(self)[:groups], self.queries)
        begin = begin_with(found, noised, self.label_embedding, groups)
        decoded = self._decode(begin.content, begin.boxes.sigmoid(), memory, shapes, begin.hidden)
        return divided(found, begin.noised, decoded, groups)

    def _decode(self, x: Tensor, reference: Tensor, memory: Tensor, shapes: Shapes, hidden: Tensor | None) -> Layers:
        logits, boxes, distributions = [], [], []
        start, scores, before = reference, 0.0, 0.0
        parts = zip(self.layers, self.class_output[1:], self.box_output[1:], self.qualities, strict=True)
        for number, (layer, classes, change, quality) in enumerate(parts):
            position = self.query_position(reference.to(x.dtype)).clamp(-10, 10)
            x = layer(x, position, reference, memory, shapes, hidden)
            said = classes(x)
            if number == 0:
                first = (self.first_box(x).float() + inverse_sigmoid(reference)).sigmoid()
                start = first.detach()
                logits.append(said)
                boxes.append(first)
            scores = change(x + before) + scores
            box = SCALE.decode(start, scores.float())
            logits.append(quality(said, scores))
            boxes.append(box)
            distributions.append(scores)
            reference, before = box.detach(), x.detach()
        return Layers(torch.stack(logits), torch.stack(boxes), torch.stack(distributions), start)
