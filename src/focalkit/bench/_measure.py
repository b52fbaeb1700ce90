"""Timing rows against each other, and comparing their answers."""

import gc
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ._model import Call, Settings

Say = Callable[[str], None]


@dataclass(frozen=True)
class Timing:
    """Attributes:
    samples: Name -> milliseconds, one per round; all lists have the same length.
    failed: Name -> what went wrong. A row that fails in any round has no samples.
    """

    samples: dict[str, list[float]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def interleave(calls: Mapping[str, Call], settings: Settings, say: Say = lambda text: None) -> Timing:
    """Time every call once per round, round after round, after untimed warm-up rounds.

    Every round has an order of its own (the same in every run), so that no row always runs behind the same neighbour:
    whoever comes after a row that freed much memory gets it warm. The collector of garbage runs between rounds, not in
    them.
    """
    alive, failed = dict(calls), {}
    for i in range(settings.warmup):
        say(f"warm-up {i + 1}/{settings.warmup}")
        for name in list(alive):
            _attempt(name, alive, failed, settings.device)
    rounds: list[dict[str, float]] = []
    start = time.monotonic()
    collecting = gc.isenabled()
    try:
        while alive and len(rounds) < settings.rounds:
            if len(rounds) >= settings.least and time.monotonic() - start > settings.seconds:
                break
            say(f"round {len(rounds) + 1}/{settings.rounds}")
            gc.collect()
            gc.disable()
            names = random.Random(len(rounds)).sample(list(alive), len(alive))
            taken = {name: _attempt(name, alive, failed, settings.device) for name in names}
            rounds.append({name: ms for name, ms in taken.items() if ms is not None})
            if collecting:
                gc.enable()
    finally:
        if collecting:
            gc.enable()
    return Timing({name: [r[name] for r in rounds] for name in alive if rounds}, failed)


def _attempt(name: str, alive: dict[str, Call], failed: dict[str, str], device: torch.device) -> float | None:
    try:
        return timed(alive[name], device)
    except Exception as error:  # a peer's failure is a finding, and the others go on
        failed[name] = explain(error)
        del alive[name]
        return None


def explain(error: Exception) -> str:
    """An error in one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def timed(call: Call, device: torch.device) -> float:
    """Milliseconds of one call: by CUDA events on a GPU, else by the clock. What it returns is freed outside."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        result = call()
        end.record()
        torch.cuda.synchronize(device)
        milliseconds = start.elapsed_time(end)
    else:
        began = time.perf_counter()
        result = call()
        milliseconds = (time.perf_counter() - began) * 1e3
    del result
    return milliseconds


def difference(answer: Sequence[Tensor], reference: Sequence[Tensor]) -> float:
    """Largest |a - r| relative to the largest |r|, over the tensors; infinite where shapes differ or NaN appears."""
    if len(answer) != len(reference):
        return float("inf")
    worst = 0.0
    for a, r in zip(answer, reference, strict=True):
        if a.shape != r.shape:
            return float("inf")
        if not r.numel():
            continue
        gap = _gap(a.detach(), r.detach())
        worst = max(worst, gap if gap == gap else float("inf"))
    return worst


def _gap(a: Tensor, r: Tensor) -> float:
    if not r.is_floating_point():
        return float((a != r).any())
    wide = torch.promote_types(torch.promote_types(a.dtype, r.dtype), torch.float32)
    scale = r.abs().amax().to(wide)
    # plane by plane, to need no further copies of the whole
    flat_a, flat_r = (x.reshape(-1).split(2**22) for x in (a, r))
    gaps = [(x.to(wide) - y.to(wide)).abs().amax() for x, y in zip(flat_a, flat_r, strict=True)]
    return float(torch.stack(gaps).amax() / scale.clamp(min=torch.finfo(wide).tiny))
