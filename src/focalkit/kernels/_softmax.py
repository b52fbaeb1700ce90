"""The single pass of the losses on a softmax with class indices: each row is read, and its gradient written, once."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from .._reduce import not_ignored
from . import _cpp, _launch
from ._calls import SoftmaxLoss
from ._choice import is_small, obstacle, refuse
from ._divisor import Divisor
from ._single_pass import Plan, single_pass
from ._softmax_traced import trace_softmax

# the largest row of classes that a tile of the Triton kernel holds
TILE = 8192


def softmax_sum(
    loss: SoftmaxLoss,
    logits: Tensor,
    *,
    reduction: str,
    normalizer: float | Tensor | None,
    backend: str,
    plain: Callable[..., Tensor],
) -> Tensor | None:
    """The reduced loss, or None where the plain formula is the better or the only way; arguments as `sigmoid_sum`.

    Raises:
        BackendError: The backend asked for cannot run.
    """
    gamma = loss.gamma(logits.dtype)
    if is_small((logits,), backend) and (not _cpp.reads(logits.dtype) or gamma is None):
        return None
    if reduction == "none":
        return refuse('reduction="none" gives the unreduced loss, which a single pass has nothing to save on', backend)
    given = (loss.labels, *loss.params.values(), loss.shift, loss.factor, loss.weight, normalizer)
    others = tuple(t for t in given if isinstance(t, Tensor))
    why = obstacle((logits,), others)
    if why is not None:
        return refuse(why, backend)
    if loss.weight is not None and loss.weight.ndim > loss.labels.ndim:
        return refuse("a weight with more axes than the rows makes rows, which the plain formula does", backend)
    native = None
    fits = _launch.fits((logits,), (loss.labels,), loss.ignore_index)
    triton = fits and not loss.changed and logits.shape[loss.dim] <= TILE
    if gamma is not None:
        native = _cpp.softmax_focal(
            logits,
            loss.labels,
            gamma,
            ignore_index=loss.ignore_index,
            dim=loss.dim,
            shift=loss.shift,
            factor=loss.factor,
            weight=loss.weight,
        )
    plan = Plan(
        plain=plain,
        divisor=partial(_divisor, loss, normalizer, mean=reduction == "mean" and normalizer is None),
        traced=partial(trace_softmax, loss),
        native=native,
        triton=partial(_launch.softmax, loss, gamma) if triton and gamma is not None else None,
        tensors=others,
    )
    return single_pass(plan, (logits,), backend)


def _divisor(loss: SoftmaxLoss, normalizer: float | Tensor | None, _: tuple[Tensor, ...], *, mean: bool) -> Divisor:
    if not mean:
        return Divisor(normalizer)
    present = not_ignored(loss.labels, loss.ignore_index)
    present = present if loss.weight is None else present & (loss.weight != 0)
    return Divisor(present.sum().clamp(min=1))
