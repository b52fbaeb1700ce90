"""Stateful losses in two real processes (gloo): what they learn is what one process learns from the whole batch."""

from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from focalkit import losses as L
from ranks import Failed, in_ranks


def stateful() -> list[nn.Module]:
    return [L.GHMC(momentum=0.5), L.GHMR(momentum=0.5), L.EQLv2(3), L.EqualizedFocalLoss(3), L.SeesawLoss(3)]


def learned(rows: slice) -> list[dict[str, Tensor]]:
    """Buffers after two batches."""
    losses = stateful()
    for step in range(2):
        rng = torch.Generator().manual_seed(step)
        x, y = torch.randn(8, 3, generator=rng), torch.randint(0, 3, (8,), generator=rng)
        x, y = x[rows].requires_grad_(), y[rows]
        for loss in losses:
            loss(x, torch.zeros_like(x) if isinstance(loss, L.GHMR) else y)
    return [loss.state_dict() for loss in losses]


def test_two_processes_learn_what_one_learns_from_the_whole_batch(tmp_path: Path) -> None:
    def work(rank: int) -> list[dict[str, Tensor]]:
        dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=rank, world_size=2)
        return [{k: v.tolist() for k, v in state.items()} for state in learned(slice(4 * rank, 4 * rank + 4))]

    alone = learned(slice(None))
    for theirs in in_ranks(2, work):
        assert not isinstance(theirs, Failed), theirs
        for loss, ours, state in zip(stateful(), alone, theirs, strict=True):
            name = type(loss).__name__
            assert ours.keys() == state.keys()
            for k, value in ours.items():
                torch.testing.assert_close(torch.tensor(state[k], dtype=value.dtype), value, rtol=1e-5, atol=1e-6)
            assert any(value.abs().sum() > 0 for value in ours.values()), f"{name} learned nothing"
