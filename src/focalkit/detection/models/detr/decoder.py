"""The decoder of RT-DETRv2: proposals from the encoder's maps, refined layer by layer (Zhao et al., 2024, sec. 4)."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from focalkit.detection.models.detr.attention import DeformableAttention, Shapes
from focalkit.detection.models.detr.denoising import ContrastiveDenoising, NoisedQueries
from focalkit.detection.models.detr.groups import Proposer, apart, beside, unseen
from focalkit.detection.models.detr.layers import ConvNorm, Perceptron, inverse_sigmoid
from focalkit.losses import prior_bias

GRID = 0.05
"""Side of a proposal's first box on the finest level, as a share of the image; twice as much on each further one."""
MARGIN = 0.01
"""Cells whose first box has a centre or a side nearer to 0 or 1 than this are no proposals."""
NOTHING = -1e4
"""Logit of a query without a cell."""


class Layers(NamedTuple):
    """What every layer says, the first layer first.

    Of several groups of queries the rows of a layer are group after group, groups * b in the place of b.

    Attributes:
        logits: (layers, b, q, k).
        boxes: (layers, b, q, 4), centre and size as shares.
        scores: (fewer layers, b, q, 4 * bins): the distributions of the sides, where a decoder has some; those of the
            last layers.
        starts: (b, q, 4): the boxes that the distributions refine.
    """

    logits: Tensor
    boxes: Tensor
    scores: Tensor | None = None
    starts: Tensor | None = None


class Proposals(NamedTuple):
    """The best cells: features (b, q, channels), logits (b, q, k), box logits (b, q, 4); which only fill up (b, q).

    Of several groups the rows are group after group.
    """

    features: Tensor
    logits: Tensor
    boxes: Tensor
    idle: Tensor


class Queries(NamedTuple):
    """What the decoder starts from: content (b, d + groups * q, channels), boxes as logits, what each must not see.

    The first d are denoising queries.
    """

    content: Tensor
    boxes: Tensor
    hidden: Tensor | None
    noised: int


class DecoderLayer(nn.Module):
    """Queries look at each other, then at the maps around their boxes; each step normalised after it is added."""

    def __init__(self, channels: int, heads: int, feedforward: int, levels: int, points: int) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(channels, heads, batch_first=True)
        self.cross_attn = DeformableAttention(channels, heads, levels, points)
        self.linear1 = nn.Linear(channels, feedforward)
        self.linear2 = nn.Linear(feedforward, channels)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(channels) for _ in range(3))
        for layer in (self.linear1, self.linear2):
            nn.init.xavier_uniform_(layer.weight)

    def forward(
        self, x: Tensor, positions: Tensor, boxes: Tensor, memory: Tensor, shapes: Shapes, hidden: Tensor | None
    ) -> Tensor:
        at = x + positions
        x = self.norm1(x + self.self_attn(at, at, x, attn_mask=hidden, need_weights=False)[0])
        x = self.norm2(x + self.cross_attn(x + positions, boxes, memory, shapes))
        return self.norm3(x + self.linear2(F.relu(self.linear1(x))))


def check_counts(num_classes: int, layers: int, queries: int, groups: int) -> None:
    """Refuse a decoder without classes, layers, queries or groups of them."""
    if num_classes < 1:
        raise ValueError(f"num_classes counts foreground classes and must be at least 1, got {num_classes}")
    if layers < 1 or queries < 1 or groups < 1:
        raise ValueError(f"expected at least one layer, one query and one group, got {layers}, {queries} and {groups}")


def label_embedding(num_classes: int, channels: int) -> nn.Embedding:
    """Content of noised queries, by label; the last is of those that only fill up."""
    return nn.Embedding(num_classes + 1, channels, padding_idx=num_classes)


def begin_weights(
    classes: Iterable[nn.Module], boxes: Iterable[nn.Module], spread: Iterable[nn.Module], prior_prob: float | None
) -> None:
    """Classes begin at the prior, boxes where they are, and `spread` as Glorot and Bengio (2010) have it."""
    for output in classes:
        nn.init.constant_(cast(nn.Linear, output).bias, 0.0 if prior_prob is None else prior_bias(prior_prob))
    for perceptron in boxes:
        last = cast(nn.Linear, cast(Perceptron, perceptron).layers[-1])
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
    for layer in spread:
        nn.init.xavier_uniform_(cast(nn.Linear, layer).weight)


class SetHead(nn.Module):
    """Maps to a set of predictions.

    Every cell of the maps proposes a box and its classes; the best become queries, which the layers of the decoder
    refine. Layer 0 below are the proposals.

    Args:
        in_channels: Channels of the maps.
        num_classes: K foreground classes.
        channels: Width of the decoder.
        layers: Of the decoder.
        queries: Predictions per image; in one of fewer cells the rest say that there is nothing.
        heads, feedforward: Of the attention.
        levels, points: Maps, and points that a head looks at on each.
        denoising: Makes further queries of the ground truth in training; None does without.
        prior_prob: Foreground probability at initialisation; None leaves the class biases at 0.
        groups: Of queries in training, each matched by itself; prediction uses the first alone. See `detr.groups`.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        channels: int = 256,
        layers: int = 6,
        queries: int = 300,
        heads: int = 8,
        feedforward: int = 1024,
        levels: int = 3,
        points: int = 4,
        denoising: ContrastiveDenoising | None = None,
        prior_prob: float | None = 0.01,
        groups: int = 1,
    ) -> None:
        super().__init__()
        check_counts(num_classes, layers, queries, groups)
        self.num_classes, self.queries, self.denoising = num_classes, queries, denoising
        self.input_proj = nn.ModuleList(ConvNorm(in_channels, channels) for _ in range(levels))
        self.proposal = nn.Sequential(nn.Linear(channels, channels), nn.LayerNorm(channels))
        self.query_position = Perceptron(4, 2 * channels, channels, 2)
        self.layers = nn.ModuleList(DecoderLayer(channels, heads, feedforward, levels, points) for _ in range(layers))
        # [0] is that of the proposals
        self.class_output = nn.ModuleList(nn.Linear(channels, num_classes) for _ in range(layers + 1))
        self.box_output = nn.ModuleList(Perceptron(channels, channels, 4, 3) for _ in range(layers + 1))
        self.label_embedding = label_embedding(num_classes, channels) if denoising is not None else None
        self.further = nn.ModuleList(Proposer(channels, num_classes) for _ in range(groups - 1))
        projections = [cast(ConvNorm, projection).conv for projection in self.input_proj]
        makers = proposers(self)
        begin_weights(
            [*self.class_output, *(classes for _, classes, _ in makers[1:])],
            [*self.box_output, *(boxes for _, _, boxes in makers[1:])],
            [*(proposal[0] for proposal, _, _ in makers), *self.query_position.layers, *projections],
            prior_prob,
        )

    def forward(self, features: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Maps -> logits (b, K, q, 1) and boxes (b, 4, q, 1) of the last layer, as a dense head gives its one level."""
        found, _ = self.every_layer(features)
        return (as_level(found.logits[-1]),), (as_level(found.boxes[-1]),)

    def every_layer(
        self, features: Sequence[Tensor], noised: NoisedQueries | None = None, groups: int = 1
    ) -> tuple[Layers, Layers | None]:
        """What the proposals and all layers say, and what the layers make of noised ground truth.

        Args:
            features: The maps.
            noised: Made of ground truth.
            groups: How many groups of queries to decode, the first ones.
        """
        memory, shapes = cells([conv(x) for conv, x in zip(self.input_proj, features, strict=True)])
        found = propose(memory, shapes, proposers(self)[:groups], self.queries)
        begin = begin_with(found, noised, self.label_embedding, groups)
        logits, boxes = self._decode(begin.content, begin.boxes.sigmoid(), memory, shapes, begin.hidden)
        return divided(found, begin.noised, Layers(torch.stack(logits), torch.stack(boxes)), groups)

    def _decode(
        self, x: Tensor, reference: Tensor, memory: Tensor, shapes: Shapes, hidden: Tensor | None
    ) -> tuple[list[Tensor], list[Tensor]]:
        logits, boxes, before = [], [], reference
        for layer, classes, change in zip(self.layers, self.class_output[1:], self.box_output[1:], strict=True):
            x = layer(x, self.query_position(reference.to(x.dtype)), reference, memory, shapes, hidden)
            logits.append(classes(x))
            move = change(x).float()
            # the box of a layer teaches the one before it too ("look forward twice", Zhang et al., 2023, sec. 3.5)
            boxes.append((move + inverse_sigmoid(before)).sigmoid())
            before = (move + inverse_sigmoid(reference)).sigmoid()
            reference = before.detach()
        return logits, boxes


def cells(maps: Sequence[Tensor]) -> tuple[Tensor, Shapes]:
    """The cells of all levels (b, n, channels), and the levels' sizes."""
    shapes = [(x.shape[-2], x.shape[-1]) for x in maps]
    # the maps are channels_last, so each is joined as it lies in memory
    return torch.cat([x.permute(0, 2, 3, 1).flatten(1, 2) for x in maps], dim=1), shapes


Maker: TypeAlias = tuple[nn.Sequential, nn.Module, nn.Module]
"""Of proposals: memory -> features, features -> logits, features -> box logits."""


def proposers(head: nn.Module) -> list[Maker]:
    """Those of all groups: the first is the head's own."""
    parts: Any = head
    own = (parts.proposal, parts.class_output[0], parts.box_output[0])
    return [own, *((one.proposal, one.class_output, one.box_output) for one in parts.further)]


def propose(memory: Tensor, shapes: Shapes, makers: Sequence[Maker], queries: int) -> Proposals:
    """For each group the cells whose best class is best; where there are fewer than queries, some only fill up."""
    first, valid = first_boxes(shapes, memory.device)
    memory = memory * valid.to(memory.dtype)
    groups = [_best(memory, first, maker, queries) for maker in makers]
    return groups[0] if len(groups) == 1 else Proposals(*map(torch.cat, zip(*groups, strict=True)))


def _best(memory: Tensor, first: Tensor, maker: Maker, queries: int) -> Proposals:
    proposal, class_output, box_output = maker
    features = proposal(memory)
    logits = class_output(features)
    best, index = F.pad(logits.amax(dim=-1), (0, queries), value=-math.inf).topk(queries, dim=1)
    index = index.clamp(max=logits.shape[1] - 1).unsqueeze(-1)  # where there are fewer cells, the last one fills up

    def chosen(x: Tensor) -> Tensor:
        return x.gather(1, index.expand(-1, -1, x.shape[-1]))

    features = chosen(features)
    boxes = box_output(features).float() + first[index.squeeze(-1)]
    return Proposals(features, chosen(logits), boxes, best.isneginf())


def begin_with(
    found: Proposals, noised: NoisedQueries | None, label_embedding: nn.Module | None, groups: int
) -> Queries:
    """The proposals as queries, behind those that were made of ground truth."""
    content, boxes = (beside(x.detach(), groups) for x in (found.features, found.boxes))
    queries, device = found.features.shape[1], content.device
    if noised is None:
        return Queries(content, boxes, unseen(groups, queries, None, device), 0)
    assert label_embedding is not None
    content = torch.cat([label_embedding(noised.labels), content], dim=1)
    boxes = torch.cat([noised.boxes, boxes], dim=1)
    return Queries(content, boxes, unseen(groups, queries, noised.hidden, device), noised.labels.shape[1])


def divided(found: Proposals, d: int, decoded: Layers, groups: int) -> tuple[Layers, Layers | None]:
    """What the proposals and the decoder's layers say; and the first `d` queries, if there are any, by themselves."""

    def part(of: slice, groups: int) -> Layers:
        starts = None if decoded.starts is None else apart(decoded.starts[None, :, of], groups)[0]
        scores = None if decoded.scores is None else apart(decoded.scores[:, :, of], groups)
        return Layers(apart(decoded.logits[:, :, of], groups), apart(decoded.boxes[:, :, of], groups), scores, starts)

    own = part(slice(d, None), groups)
    logits = torch.cat([found.logits[None], own.logits]).masked_fill(found.idle.unsqueeze(-1), NOTHING)
    boxes = torch.cat([found.boxes.sigmoid()[None], own.boxes])
    return Layers(logits, boxes, own.scores, own.starts), part(slice(d), 1) if d else None


def first_boxes(shapes: Shapes, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """A square in the middle of every cell: logits of centre and size (n, 4), and which cells may propose (n, 1)."""
    levels = []
    for level, (height, width) in enumerate(shapes):
        y = (torch.arange(height, device=device) + 0.5) / height
        x = (torch.arange(width, device=device) + 0.5) / width
        centre = torch.stack([x.expand(height, width), y[:, None].expand(height, width)], dim=-1)
        levels.append(F.pad(centre, (0, 2), value=GRID * 2.0**level).flatten(0, 1))
    boxes = torch.cat(levels)
    valid = ((boxes > MARGIN) & (boxes < 1 - MARGIN)).all(dim=1, keepdim=True)
    logits = torch.log(boxes / (1 - boxes))
    return torch.where(valid, logits, 1e4), valid  # of logit 1e4 the sigmoid is 1


def as_level(x: Tensor) -> Tensor:
    """(b, q, width) -> (b, width, q, 1), a view in channels_last."""
    return x.transpose(1, 2).unsqueeze(-1)
