"""The default network for tables: an MLP over piecewise-linear codes of the numbers and embeddings of the categories.

Piecewise-linear encoding (Gorishniy et al., 2022, arXiv 2203.05556, sec. 3.2) on bins that are the same for all
numbers, since these come as normal deviates. What is left out of that paper: bins from the targets, periodic codes.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

BINS = 12
Factory = Callable[[int, Sequence[int], int], nn.Module]
"""Makes a network: (columns of numbers, codes of each category column, classes) -> a module that takes numbers (b, d),
which are normal deviates, and codes int64 (b, c), and returns logits (b, classes)."""


class TableNetwork(nn.Module):
    """Logits of rows.

    Args:
        numbers: Columns of numbers, normal deviates.
        levels: Codes of each category column.
        classes: Number of classes.
        width: Of each hidden layer.
        depth: Hidden layers.
        dropout: In [0, 1).
        bins: Of the piecewise-linear code.
    """

    edges: Tensor

    def __init__(
        self,
        numbers: int,
        levels: Sequence[int],
        classes: int,
        *,
        width: int = 192,
        depth: int = 2,
        dropout: float = 0.1,
        bins: int = BINS,
    ) -> None:
        super().__init__()
        inner = torch.linspace(0, 1, bins + 1, dtype=torch.float64)[1:-1]
        edges = torch.special.ndtri(inner)
        self.register_buffer("edges", torch.cat([torch.tensor([-3.0]), edges, torch.tensor([3.0])]).float())
        self.embeddings = nn.ModuleList(nn.Embedding(n, _size(n)) for n in levels)
        inputs = numbers * (bins + 1) + sum(_size(n) for n in levels)
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers += [nn.Linear(inputs, width), nn.ReLU(), nn.Dropout(dropout)]
            inputs = width
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(inputs, classes)

    def encode(self, numbers: Tensor, codes: Tensor) -> Tensor:
        """(b, inputs) of (b, d) deviates and (b, c) codes."""
        width = self.edges[1:] - self.edges[:-1]
        steps = ((numbers.unsqueeze(2) - self.edges[:-1]) / width).clamp(0, 1).flatten(1)
        parts = [numbers, steps, *(table(codes[:, j]) for j, table in enumerate(self.embeddings))]
        return torch.cat(parts, 1)

    def forward(self, numbers: Tensor, codes: Tensor) -> Tensor:
        """(b, k) logits."""
        return self.classify(self.encode(numbers, codes))

    def classify(self, encoded: Tensor) -> Tensor:
        """(b, k) logits of encoded rows, which mixup mixes."""
        return self.head(self.body(encoded))


def _size(levels: int) -> int:
    return min(16, max(2, math.ceil(levels**0.5)))
