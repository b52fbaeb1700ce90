"""A loss of the catalog in a training loop of your own, on points of which one in 200 is positive.

python examples/loss_in_your_own_loop.py [LOSS...]      for example "focal(gamma=2, alpha=None)" bce
"""

import sys

import torch
from torch import Tensor, nn

from focalkit import build, prior_bias

STEPS, BATCH, RARE = 200, 1024, 1 / 200


def sample(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Points (n, 2) and targets (n, 1): positives on a ring, negatives all over the plane and so on the ring too."""
    targets = (torch.rand(n, 1, generator=generator) < RARE).float()
    angle = torch.rand(n, 1, generator=generator) * 2 * torch.pi
    ring = torch.cat([angle.cos(), angle.sin()], dim=1) + 0.05 * torch.randn(n, 2, generator=generator)
    cloud = 2 * torch.randn(n, 2, generator=generator)
    return torch.where(targets.bool(), ring, cloud), targets


def average_precision(loss: str) -> float:
    """Train with `loss`, then rank fresh points."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    criterion = build(loss, reduction="sum")
    last = nn.Linear(32, 1)
    nn.init.constant_(last.bias, prior_bias(RARE))  # start where positives are rare (Lin et al., 2017, sec. 4.1)
    model = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), last)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(STEPS):
        points, targets = sample(BATCH, generator)
        value = criterion(model(points), targets) / targets.sum().clamp(min=1)  # by the positives, as in the paper
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    with torch.no_grad():
        points, targets = sample(50_000, generator)
        ranked = targets[model(points).squeeze(1).argsort(descending=True), 0]
    precision = ranked.cumsum(0) / torch.arange(1, len(ranked) + 1)
    return ((precision * ranked).sum() / ranked.sum()).item()


if __name__ == "__main__":
    for loss in sys.argv[1:] or ["focal", "focal(gamma=2, alpha=None)", "bce"]:
        print(f"{loss:<28} average precision {average_precision(loss):.3f}   (by chance {RARE})")
