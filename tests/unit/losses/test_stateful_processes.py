"""Stateful losses in two real processes (gloo): what they learn is what one process learns from the whole batch."""

import subprocess
import sys
import textwrap
from pathlib import Path

import torch

from focalkit import losses as L

STEPS = """
def losses():
    ghm_r = L.GHMR(momentum=0.5)
    return [L.GHMC(momentum=0.5), ghm_r, L.EQLv2(3), L.EqualizedFocalLoss(3), L.SeesawLoss(3)]


def batch(step):
    rng = torch.Generator().manual_seed(step)
    x = torch.randn(8, 3, generator=rng)
    return x, torch.randint(0, 3, (8,), generator=rng)


def learn(loss, step, rows):
    x, y = batch(step)
    x, y = x[rows].requires_grad_(), y[rows]
    loss(x, torch.zeros_like(x) if isinstance(loss, L.GHMR) else y)
"""

WORKER = """
import sys, torch
import torch.distributed as dist
from focalkit import losses as L
{steps}
rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{{folder}}/meet", rank=rank, world_size=2)
trained = losses()
for step in range(2):
    for loss in trained:
        learn(loss, step, slice(4 * rank, 4 * rank + 4))
torch.save([loss.state_dict() for loss in trained], f"{{folder}}/rank{{rank}}.pt")
dist.destroy_process_group()
"""


def test_two_processes_learn_what_one_learns_from_the_whole_batch(tmp_path: Path) -> None:
    code = textwrap.dedent(WORKER).format(steps=STEPS)
    workers = [
        subprocess.Popen([sys.executable, "-c", code, str(rank), str(tmp_path)], stderr=subprocess.PIPE, text=True)
        for rank in (0, 1)
    ]
    for worker in workers:
        _, stderr = worker.communicate(timeout=120)
        assert worker.returncode == 0, stderr
    here: dict = {"torch": torch, "L": L}
    exec(STEPS, here)  # the same lines as the workers run
    alone = here["losses"]()
    for step in range(2):
        for loss in alone:
            here["learn"](loss, step, slice(None))
    for rank in (0, 1):
        learned = torch.load(tmp_path / f"rank{rank}.pt", weights_only=True)
        for loss, theirs in zip(alone, learned, strict=True):
            ours = loss.state_dict()
            assert ours.keys() == theirs.keys()
            assert all(torch.allclose(ours[k], theirs[k], rtol=1e-5) for k in ours), type(loss).__name__
            assert any(ours[k].abs().sum() > 0 for k in ours), f"{type(loss).__name__} learned nothing"
