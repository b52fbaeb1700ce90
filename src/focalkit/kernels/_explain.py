"""What "auto" would take, told by asking the loss itself."""

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ._choice import Choice, Explained, explaining


def explain(
    loss: str | Callable[..., Tensor],
    logits: Tensor | Sequence[Tensor] | Sequence[int] | Sequence[Sequence[int]],
    targets: Tensor | Sequence[Tensor] | Sequence[int] | Sequence[Sequence[int]],
    *,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device | None = None,
    targets_dtype: torch.dtype = torch.int64,
    **arguments: Any,
) -> Choice:
    """Which way a loss would take for these inputs, and why. Nothing is computed.

    Args:
        loss: A catalog name ("focal"), a loss function or module of focalkit, or a loss made by `fuse`.
        logits: A tensor, or a shape; of losses on levels, one for each level.
        targets: The same.
        dtype: Of the logits, where a shape is given.
        device: To explain for; None takes that of the logits (of a shape: the CPU). The device need not be there.
        targets_dtype: Of the targets, where a shape is given.
        arguments: What else the loss would be called with.

    Example:
        >>> from focalkit.losses import asymmetric_loss
        >>> print(explain(asymmetric_loss, (4, 3), (4, 3), targets_dtype=torch.float32))
        eager: 12 elements; below 16,384 the single pass saves nothing
    """

    def stand_in(thing: Any, kind: torch.dtype) -> Any:
        if isinstance(thing, Tensor):
            return thing
        if all(isinstance(t, int) for t in thing):
            return torch.empty(tuple(thing), dtype=kind, device="meta")
        return tuple(stand_in(t, kind) for t in thing)

    if isinstance(loss, str):
        # by name and late: the losses stand above this package
        loss = importlib.import_module("focalkit.losses").build(loss)
        assert not isinstance(loss, str)
    if arguments.get("backend") == "eager":
        return Choice("eager", "asked for")
    x, t = stand_in(logits, dtype), stand_in(targets, targets_dtype)
    first = x if isinstance(x, Tensor) else x[0]
    where = torch.device(device) if device is not None else first.device
    where = torch.device("cpu") if where.type == "meta" else where
    if first.device.type == "meta":  # the other tensors have to meet it
        arguments = {k: v.to("meta") if isinstance(v, Tensor) else v for k, v in arguments.items()}
    token = explaining.set(where)
    try:
        with torch.enable_grad():
            loss(_wanting(x), _valid(t), **arguments)
    except Explained as told:
        return told.choice
    finally:
        explaining.reset(token)
    return Choice("eager", "this loss has no single pass")


def _wanting(x: Any) -> Any:
    return x.detach().requires_grad_() if isinstance(x, Tensor) else tuple(t.detach().requires_grad_() for t in x)


def _valid(t: Any) -> Any:
    """Zeros, which are targets of every kind: nobody looks at the given ones, which may be out of range."""
    return torch.zeros_like(t, requires_grad=t.requires_grad) if isinstance(t, Tensor) else tuple(map(_valid, t))
