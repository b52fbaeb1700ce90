"""From a call to its value: choose a backend, run it, and hang the result into autograd.

The forward pass has the gradient already, the backward pass hands it out. Kept for the backward pass: the gradient, in
the dtype of the logits. (The logits are referenced, not copied: for a second backward pass and for differentiating
twice.) Not so of float16: what a gradient scaler multiplies must not have vanished before. There the backward pass
computes the gradient, from the logits, with the factor in it.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .._numerics import computed_in
from . import chunked, cpu, dispatch, inductor
from .call import Call, count_labels, reference
from .dispatch import Choice, Explain
from .operands import Number, Result


def evaluate(call: Call, logits: tuple[Tensor, ...], backend: str | Explain) -> Tensor:
    """The loss, reduced. (The `Choice` where `backend` only asks for it.)

    Raises:
        ValueError: A target is out of range.
        BackendError: The backend asked for cannot run.
    """
    choice = dispatch.decide(call, logits, backend)
    if isinstance(backend, Explain):
        return choice  # pyright: ignore[reportReturnType]
    if choice.backend == "eager":
        call.check()
        return reference(call, *logits)
    job = _Job(call, choice, strict=backend == "compiled")
    if torch.is_grad_enabled() and any(x.requires_grad for x in logits):
        return FusedLoss.apply(job, *logits)  # pyright: ignore[reportReturnType]
    return job.run(logits, (False,) * len(logits), None)[0]


@dataclass(frozen=True)
class _Job:
    call: Call
    choice: Choice
    strict: bool

    def run(
        self, logits: tuple[Tensor, ...], wanted: tuple[bool, ...], upstream: Tensor | None
    ) -> tuple[Tensor, list[Tensor | None], Number]:
        """The value, the gradients (times `upstream` if given), and the factor that these still lack."""
        call, x = self.call, logits[0]
        # of dense targets counted by the pass, and the gradient divided by a guess: counting first is expensive; not in
        # half precision, whose gradient a second factor would round twice. The C++ divides by the labels it has counted
        native = self.choice.module == "cpu" and not call.dense
        found = call.mean and call.dense and computed_in(x) == x.dtype
        divisor = None if call.normalizer is None else _number(call.normalizer, x)
        if found:
            divisor = float(sum(t.numel() for t in logits))
        elif call.mean and not native:
            divisor = _number(count_labels(call, logits), x)
        scale = 1.0 if upstream is None else _number(upstream, x)
        result = self._backend(logits, wanted, scale if divisor is None else _divide(scale, divisor))
        if result.out_of_range:
            call.check()
        residual: Number = 1.0
        if call.mean and native:
            divisor = _at_least_one(result.num_valid)
        elif found:
            guess, divisor = divisor, _at_least_one(result.num_valid)
            residual = _divide(guess, divisor)  # pyright: ignore[reportArgumentType]
        value = result.total if divisor is None else _divide(result.total, divisor)
        dtype = computed_in(x)
        if isinstance(value, Tensor):
            return value.to(device=x.device, dtype=dtype), result.gradients, residual
        return torch.tensor(value, dtype=dtype, device=x.device), result.gradients, residual

    def _backend(self, logits: tuple[Tensor, ...], wanted: tuple[bool, ...], scale: Number) -> Result:
        module = self.choice.module
        if module == "cpu":
            result = cpu.run(self.call, logits, any(wanted), scale)  # pyright: ignore[reportArgumentType]
            gradients = [g if want else None for g, want in zip(result.gradients, wanted, strict=True)]
            return result._replace(gradients=gradients)
        self.call.check()
        if module == "chunked":
            return chunked.run(self.call, logits, wanted, scale)
        if module == "inductor":
            return inductor.run(self.call, logits, wanted, scale, self.strict)
        from . import cuda  # late: it imports Triton

        return cuda.run(self.call, logits, wanted, scale)


def _number(value: Number, x: Tensor) -> Number:
    """A float; of a tensor on the GPU of `x` a 0-d float64 tensor there, for which nothing waits."""
    if isinstance(value, Tensor) and value.is_cuda and value.device == x.device:
        return value.detach().double()
    return float(value)


def _divide(a: Number, b: Number) -> Number:
    """a / b, as tensors do it."""
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return a / b
    if b:
        return a / b
    return math.nan if not a or math.isnan(a) else math.copysign(math.inf, a) * math.copysign(1.0, b)


def _at_least_one(count: Number) -> Number:
    return count.clamp(min=1) if isinstance(count, Tensor) else max(count, 1.0)


class FusedLoss(torch.autograd.Function):
    """A sum of losses, computed together with its gradient."""

    @staticmethod
    def forward(ctx: Any, job: _Job, *logits: Tensor) -> Tensor:
        ctx.wanted = ctx.needs_input_grad[1:]
        ctx.late = logits[0].dtype == torch.float16
        value, gradients, ctx.residual = job.run(logits, (False,) * len(logits) if ctx.late else ctx.wanted, None)
        ctx.gradients = None if ctx.late else gradients
        ctx.job = job
        ctx.save_for_backward(*logits, *(job.call.tensors if ctx.late else ()))
        return value

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        (upstream_,) = upstream
        logits = ctx.saved_tensors[: len(ctx.wanted)]
        # create_graph=True, or forward over backward: the gradient itself is differentiated
        if torch.is_grad_enabled() or torch.autograd.forward_ad._current_level >= 0:
            return None, *_differentiable(ctx.job.call, logits, ctx.wanted, upstream_)
        batched = _is_batched(upstream_)
        if ctx.late and not batched:
            return None, *ctx.job.run(logits, ctx.wanted, upstream_)[1]
        gradients, residual = ctx.gradients, ctx.residual
        # another backward pass is to come: keep ours as it is and hand out copies
        kept = torch._C._autograd._get_current_graph_task_keep_graph()  # pyright: ignore[reportAttributeAccessIssue]
        if gradients is None:
            _, gradients, residual = ctx.job.run(logits, ctx.wanted, None)
        elif not kept:
            ctx.gradients = None
        factor = upstream_ if isinstance(residual, float) and residual == 1.0 else upstream_ * residual
        if batched:
            return None, *(None if g is None else (g * factor).to(g.dtype) for g in gradients)
        if kept:
            gradients = [None if g is None else g.clone() for g in gradients]
        _scale_in_place([g for g in gradients if g is not None], factor)
        return None, *gradients


def _is_batched(t: Tensor) -> bool:
    """Inside vmap, or the older one of `torch.autograd.grad(is_grads_batched=True)` and vectorised Jacobians."""
    functorch = torch._C._functorch  # pyright: ignore[reportAttributeAccessIssue]
    return functorch.is_functorch_wrapped_tensor(t) or functorch.is_legacy_batchedtensor(t)


def _scale_in_place(gradients: list[Tensor], factor: Tensor) -> None:
    """Multiplies by a 0-d tensor; where it is 1, the usual case, without touching the memory."""
    if factor.is_cpu:
        by = float(factor)
        if by != 1.0:
            for g in gradients:
                g.mul_(by)
    elif dispatch.machine().triton:
        from . import cuda

        cuda.scale_unless_one(gradients, factor)
    else:
        for g in gradients:
            g.mul_(factor)


def _differentiable(
    call: Call, logits: tuple[Tensor, ...], wanted: tuple[bool, ...], upstream: Tensor
) -> tuple[Tensor | None, ...]:
    inputs = [x for x, w in zip(logits, wanted, strict=True) if w]
    with torch.enable_grad():
        value = reference(call, *logits)
    found = iter(torch.autograd.grad(value, inputs, upstream, create_graph=True))
    return tuple(next(found) if w else None for w in wanted)
