"""The single pass of the losses on independent sigmoids: dense targets and class indices, any memory layout."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from .._reduce import not_ignored
from . import _cpp, _launch
from ._calls import SigmoidLoss
from ._choice import is_small, obstacle, refuse
from ._divisor import Divisor
from ._sigmoid_traced import trace_sigmoid
from ._single_pass import Plan, single_pass


def sigmoid_sum(
    loss: SigmoidLoss,
    logits: tuple[Tensor, ...],
    *,
    reduction: str,
    normalizer: float | Tensor | None,
    backend: str,
    plain: Callable[..., Tensor],
    check: Callable[[], None],
) -> Tensor | None:
    """The reduced loss, or None where the plain formula is the better or the only way.

    Args:
        reduction: "mean" divides by the elements that count; `normalizer` takes its place.
        plain: plain(*logits), the same by the eager definition.
        check: Raises where a target is out of range; left to the caller where the result is None.

    Raises:
        BackendError: The backend asked for cannot run.
    """
    dtype = logits[0].dtype
    if is_small(logits, backend) and (not _cpp.reads(dtype) or loss.by_hand(dtype) is None):
        return None
    if reduction == "none":
        return refuse('reduction="none" gives the unreduced loss, which a single pass has nothing to save on', backend)
    others = (*loss.targets, *loss.tensors.values(), *((normalizer,) if isinstance(normalizer, Tensor) else ()))
    why = obstacle(logits, others)
    if why is not None:
        return refuse(why, backend)
    mean = reduction == "mean" and normalizer is None
    # subtle: counted first for low precision, so that the gradient is rounded once; a factor after the pass would
    # round it again
    counts = mean and (loss.weighted or (loss.dense and not loss.boolean))
    counts = counts and dtype not in (torch.float16, torch.bfloat16)
    weights = loss.by_hand(dtype)
    plan = Plan(
        plain=plain,
        divisor=partial(_divisor, loss, normalizer, mean=mean, counts=counts),
        check=check,
        traced=partial(trace_sigmoid, loss, counts=counts),
        native=None if weights is None else _native(loss, logits, weights),
        triton=None if weights is None else _launched(loss, weights, logits, counts=counts),
        tensors=others,
    )
    return single_pass(plan, logits, backend)


def _launched(
    loss: SigmoidLoss, weights: _cpp.Weights, logits: tuple[Tensor, ...], *, counts: bool
) -> _launch.Launch | None:
    if weights.by_class or not _launch.fits(logits, () if loss.dense else loss.targets, loss.ignore_index):
        return None
    if loss.dense:
        return partial(_launch.sigmoid_dense, loss, weights, counts)
    return partial(_launch.sigmoid_labels, loss, weights)


def _native(loss: SigmoidLoss, logits: tuple[Tensor, ...], weights: _cpp.Weights) -> _cpp.Native | None:
    if loss.dense:
        dim = loss.dims[0]
        return _cpp.sigmoid_focal_dense(logits[0], loss.targets[0], weights, ignore_index=loss.ignore_index, dim=dim)
    return _cpp.sigmoid_focal_labels(
        logits, loss.targets, weights, ignore_index=loss.ignore_index, dims=loss.dims, classes=loss.classes
    )


def _divisor(
    loss: SigmoidLoss,
    normalizer: float | Tensor | None,
    logits: tuple[Tensor, ...],
    *,
    mean: bool,
    counts: bool,
) -> Divisor:
    if not mean:
        return Divisor(normalizer)
    if counts or (loss.boolean and not loss.weighted):
        return Divisor(sum(x.numel() for x in logits), found=counts)
    return Divisor(_count(loss, logits))


def _count(loss: SigmoidLoss, logits: tuple[Tensor, ...]) -> Tensor:
    """How many elements count, at least 1. Takes no more memory than bools of the shape of the logits."""
    total: Tensor | int = 0
    for x, t, dim in zip(logits, loss.targets, loss.dims, strict=True):
        present = t != loss.ignore_index if loss.dense else not_ignored(t, loss.ignore_index).unsqueeze(dim)
        present = present if loss.weight is None else present & (loss.weight != 0)
        if loss.class_weight is not None:
            present = present & (loss.class_weight != 0).view([-1 if d == dim else 1 for d in range(x.ndim)])
        # subtle: the sum of bools would make them int64 first
        total = total + present.count_nonzero() * (x.numel() // max(present.numel(), 1))
    assert isinstance(total, Tensor)
    return total.clamp(min=1)
