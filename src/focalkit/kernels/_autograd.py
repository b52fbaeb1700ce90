"""The autograd function of a fused sum: the forward pass has the gradient already, the backward pass hands it out.

Kept for the backward pass: the gradient, in the dtype of the logits. (The logits are referenced, not copied: they are
needed for a second backward pass and for differentiating twice.) Not so of float16: what a gradient scaler multiplies
must not have vanished before. There the backward pass computes the gradient, from the logits, with the factor in it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ._choice import missing_triton

_BATCHED = torch._C._dispatch_key_parse("Batched")

Found: TypeAlias = tuple[Tensor, list[Tensor | None], float | Tensor]
"""The finished value, the gradient of each of the logits where wanted (else None), and the factor that the gradients
still lack (1.0, or a 0-d tensor)"""


@dataclass(frozen=True)
class Sum:
    """A sum of losses and how to get it.

    Attributes:
        compute: compute(logits, wanted, factor), the value and the gradients, these times a 0-d tensor if not None.
        plain: plain(*logits) -> the same value by the eager definition.
        tensors: What else the value depends on. A late backward pass refuses it if it was changed in place meanwhile.
    """

    compute: Callable[[tuple[Tensor, ...], tuple[bool, ...], Tensor | None], Found]
    plain: Callable[..., Tensor]
    tensors: tuple[Tensor, ...] = ()


def apply(job: Sum, logits: tuple[Tensor, ...]) -> Tensor:
    """The value, with its gradient where one is wanted."""
    if torch.is_grad_enabled() and any(x.requires_grad for x in logits):
        return _FusedSum.apply(job, *logits)  # pyright: ignore[reportReturnType]
    return job.compute(logits, (False,) * len(logits), None)[0]


class _FusedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, job: Sum, *logits: Tensor) -> Tensor:
        ctx.wanted = ctx.needs_input_grad[1:]
        ctx.late = logits[0].dtype == torch.float16
        value, gradients, ctx.residual = job.compute(logits, (False,) * len(logits) if ctx.late else ctx.wanted, None)
        ctx.gradients = None if ctx.late else gradients
        ctx.job = job
        ctx.save_for_backward(*logits, *(job.tensors if ctx.late else ()))
        return value

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        (upstream_,) = upstream
        logits = ctx.saved_tensors[: len(ctx.wanted)]
        # create_graph=True, or forward over backward: the gradient itself is differentiated
        if torch.is_grad_enabled() or torch.autograd.forward_ad._current_level >= 0:
            return None, *_differentiable(ctx.job, logits, ctx.wanted, upstream_)
        batched = _is_batched(upstream_)
        if ctx.late and not batched:
            return None, *ctx.job.compute(logits, ctx.wanted, upstream_)[1]
        gradients, residual = ctx.gradients, ctx.residual
        # another backward pass is to come: keep ours as it is and hand out copies
        kept = torch._C._autograd._get_current_graph_task_keep_graph()  # pyright: ignore[reportAttributeAccessIssue]
        if gradients is None:
            _, gradients, residual = ctx.job.compute(logits, ctx.wanted, None)
        elif not kept:
            ctx.gradients = None
        factor = upstream_ if isinstance(residual, float) else upstream_ * residual
        if batched:
            return None, *(None if g is None else (g * factor).to(g.dtype) for g in gradients)
        if kept:
            gradients = [None if g is None else g.clone() for g in gradients]
        scale_in_place([g for g in gradients if g is not None], factor)
        return None, *gradients


def _is_batched(t: Tensor) -> bool:
    """Inside vmap, or the older one of `torch.autograd.grad(is_grads_batched=True)` and vectorised Jacobians."""
    if torch._C._functorch.is_functorch_wrapped_tensor(t):  # pyright: ignore[reportAttributeAccessIssue]
        return True
    return torch._C._dispatch_keys(t).has(_BATCHED)


def scale_in_place(gradients: list[Tensor], factor: Tensor) -> None:
    """Multiplies by a 0-d tensor; where it is 1, the usual case, without touching the memory."""
    if factor.is_cpu:
        by = float(factor)
        if by != 1.0:
            for g in gradients:
                g.mul_(by)
        return
    if missing_triton():
        for g in gradients:
            g.mul_(factor)
        return
    from ._grids import scale_unless_one

    scale_unless_one(gradients, factor)


def _differentiable(
    job: Sum, logits: tuple[Tensor, ...], wanted: tuple[bool, ...], upstream: Tensor
) -> tuple[Tensor | None, ...]:
    inputs = [x for x, w in zip(logits, wanted, strict=True) if w]
    with torch.enable_grad():
        value = job.plain(*logits)
    found = iter(torch.autograd.grad(value, inputs, upstream, create_graph=True))
    return tuple(next(found) if w else None for w in wanted)
