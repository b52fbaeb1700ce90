"""What a loss call refuses, with what came, what was expected and what to do.

Checks of shape, dtype and Python numbers always run. Checks that read values run on CPU tensors only, never inside
`torch.compile` or `vmap`: no check makes a GPU wait.
"""

import difflib
import numbers
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeGuard

import torch
from torch import Tensor

from .._numerics import computed_in
from .._reduce import NEVER, REDUCTIONS
from ..errors import BackendError
from ..kernels.dispatch import BACKENDS, Explain

# autograd's names of operations whose result is made of probabilities where their (first) input is
_KEEPS_PROBABILITIES = re.compile(
    "(View|UnsafeView|ReshapeAlias|Permute|Transpose|T|MT|Squeeze|Unsqueeze|Expand|Clone|ToCopy|Clamp|ClampMin|ClampMax|"
    "Index|IndexSelect|Select|Slice|Split|Chunk|Unbind|Gather|MaskedSelect|MaskedFill|Cat|Stack|Flip|Roll|Repeat|"
    r"Upsample\w+|\w*AvgPool\w+|\w*MaxPool\w+|Mean)Backward\d*(Exact)?"
)

INF = float("inf")
TINY = 1e-300
"""Stands for "greater than 0" in ranges."""

# those that have extremes
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def nearest(word: str, known: Iterable[str]) -> str:
    """' (did you mean "mean"?)' or the empty string."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f' (did you mean "{found[0]}"?)' if found else ""


def check_choice(name: str, value: object, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ValueError(
            f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}{nearest(str(value), allowed)}"
        )


def check_reduction(reduction: str, normalizer: float | Tensor | None) -> None:
    check_choice("reduction", reduction, REDUCTIONS)
    if normalizer is None:
        return
    if reduction == "none":
        raise ValueError(
            'normalizer divides the sum, so it does not go with reduction="none"; divide the result yourself'
        )
    if isinstance(normalizer, Tensor) and normalizer.ndim != 0:
        raise ValueError(
            f"normalizer must be a number or a 0-d tensor, got a tensor of shape {tuple(normalizer.shape)}"
        )
    check_range(
        "normalizer", normalizer, TINY, hint="the sum is divided by it; a count that may be 0 needs clamp(min=1)"
    )


def check_smoothing(label_smoothing: object) -> None:
    check_range("label_smoothing", label_smoothing, 0, 1, "it is the share of the target that is spread; 0.1 is usual")


def check_backend(backend: "str | Explain", loss: str | None = None) -> None:
    """Every loss has the eager definition; `loss` names one that has no other."""
    if isinstance(backend, Explain):
        return
    check_choice("backend", backend, BACKENDS)
    if backend not in ("auto", "eager") and loss is not None:
        raise BackendError(f'{loss} has no "{backend}" implementation; use backend="auto" or "eager"')


def check_range(name: str, value: object, low: float, high: float = INF, hint: str = "") -> None:
    """Checks a number, or the numbers of a list, an array or a tensor: real, not NaN, within [low, high].

    Tensors are checked where they can be read without waiting.
    """
    if isinstance(value, Tensor):
        if value.is_complex():
            raise TypeError(f"{name} must be real, got {value.dtype}")
        outside = readable_any(lambda: ~((value.double() >= low) & (value.double() <= high)), value)
    else:
        outside = any(not low <= v <= high for v in _numbers(name, value))
    if outside:
        # subtle: only now, because torch.compile cannot trace the repr of a number that it treats as an input
        shown = "a tensor with values outside it" if isinstance(value, Tensor) else repr(value)
        least = "greater than 0" if low == TINY else "a number" if low == -INF else f"at least {low:g}"
        wanted = least if high == INF else f"between {low:g} and {high:g}"
        raise ValueError(f"{name} must be {wanted}, got {shown}{'; ' + hint if hint else ''}")


def _numbers(name: str, value: Any) -> list[float]:
    if isinstance(value, int | float):
        return [value]
    items = value if isinstance(value, Sequence) and not isinstance(value, str) else _of_array(value)
    if items is None or not all(isinstance(v, numbers.Real) for v in items):
        raise TypeError(f"{name} must be a number, or one per class where the loss takes that, got {value!r}")
    return [float(v) for v in items]


def _of_array(value: Any) -> "Sequence[Any] | None":
    """The numbers of a numpy number or vector, without importing numpy."""
    if isinstance(value, numbers.Real):
        return [float(value)]
    if hasattr(value, "__array__") and hasattr(value, "tolist"):
        found = value.tolist()
        return found if isinstance(found, list) else [found]
    return None


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is one number outside a tensor: Python's or numpy's."""
    if isinstance(value, int | float):  # subtle: asking numbers.Real is slow
        return True
    return isinstance(value, numbers.Real) or (not isinstance(value, Tensor) and getattr(value, "ndim", None) == 0)


def number(value: float) -> float:
    """As Python has it; numpy has its own."""
    return value if isinstance(value, int | float) else float(value)


def readable_any(condition: Callable[[], Tensor], *tensors: Tensor) -> bool:
    """Whether `condition()` holds anywhere, or False where finding out would make a device wait or break a trace."""
    if torch.compiler.is_compiling() or any(t.device.type != "cpu" for t in tensors):
        return False
    try:
        with torch.no_grad():
            return bool(condition().any())
    except RuntimeError:  # inside vmap or with fake tensors there is no value to read
        return False


def check_logits(logits: Tensor, loss: str) -> None:
    if not isinstance(logits, Tensor):
        raise TypeError(f"{loss}: logits must be a tensor, got {type(logits).__name__}")
    if not logits.is_floating_point():
        raise TypeError(
            f"{loss}: logits must be floating point (float16, bfloat16, float32 or float64), got {logits.dtype}"
        )
    if torch.compiler.is_compiling():
        return
    made_by = logits.grad_fn
    while made_by is not None and _KEEPS_PROBABILITIES.fullmatch(made_by.name()):
        made_by = made_by.next_functions[0][0]
    if made_by is not None and made_by.name() in ("SigmoidBackward0", "SoftmaxBackward0"):
        function = made_by.name().removesuffix("Backward0").lower()
        raise ValueError(
            f"{loss} takes logits, but these come out of {function}(): they are probabilities. "
            f"Pass the scores before the {function}; the loss applies it itself, exactly."
        )


def class_axis(logits: Tensor, class_dim: int, loss: str) -> int:
    """`class_dim` as a number from 0; a 1-D `logits` is one row of classes, as in `F.cross_entropy`."""
    if logits.ndim == 1 and class_dim == 1:
        return 0
    if not -logits.ndim <= class_dim < logits.ndim:
        raise ValueError(
            f"{loss}: logits of shape {tuple(logits.shape)} have no class axis {class_dim}; "
            "pass logits with a class axis (one class: logits.unsqueeze(1)), or say where it is with class_dim"
        )
    return class_dim % logits.ndim


def labels_shape(logits: Tensor, dim: int) -> tuple[int, ...]:
    return tuple(logits.shape[:dim] + logits.shape[dim + 1 :])


def is_dense(logits: Tensor, targets: Tensor, class_dim: int, loss: str) -> bool:
    """Whether `targets` are dense (float or bool, shaped like `logits`), and not class indices (no class axis)."""
    if not isinstance(targets, Tensor):
        raise TypeError(f"{loss}: targets must be a tensor, got {type(targets).__name__}")
    shape, wanted = tuple(targets.shape), tuple(logits.shape)
    if targets.is_floating_point() or targets.dtype == torch.bool:
        if shape != wanted:
            kind = "bool" if targets.dtype == torch.bool else "floating"
            raise ValueError(
                f"{loss}: expected {kind} targets shaped like the logits {wanted}, got {shape}; for class indices "
                f"pass integers without the class axis (targets.long()), for dense targets the shape of the logits"
            )
        return True
    if targets.is_complex():
        raise TypeError(f"{loss}: targets must be real, got {targets.dtype}")
    dim = class_axis(logits, class_dim, loss)
    if shape == labels_shape(logits, dim):
        return False
    if shape == wanted:
        raise TypeError(
            f"{loss}: {targets.dtype} targets shaped like the logits {wanted} are ambiguous; "
            f"dense 0/1 targets must be floating or bool (targets.float()), class indices have no class axis"
        )
    raise ValueError(
        f"{loss}: expected class indices of shape {labels_shape(logits, dim)} (the logits {wanted} without class axis "
        f"{dim}) or dense floating targets of shape {wanted}, got {targets.dtype} {shape}"
    )


def _outside(t: Tensor, least: int, most: int) -> bool:
    """Whether any element is: one read, where the exact checks make several temporaries; False where unknown."""
    if torch.compiler.is_compiling() or not t.is_cpu or not t.numel():
        return False
    try:
        low, high = torch.aminmax(t.detach())
        return not (low.item() >= least and high.item() <= most)
    except RuntimeError:
        return False


def or_ignored(ignore_index: int) -> str:
    """The end of a sentence on what targets may be."""
    return "" if ignore_index == NEVER else f" or ignore_index {ignore_index}"


def check_dense(targets: Tensor, ignore_index: int, loss: str) -> None:
    if targets.dtype == torch.bool:
        return
    if not _outside(targets, 0, 1):
        return
    if readable_any(lambda: ~(((targets >= 0) & (targets <= 1)) | (targets == ignore_index)), targets):
        bad = targets.detach()[~(((targets >= 0) & (targets <= 1)) | (targets == ignore_index))]
        nans = int(bad.isnan().sum())
        what = f"{nans} NaN" if nans else f"{bad[0].item():g}"
        raise ValueError(
            f"{loss}: dense targets must lie in [0, 1]{or_ignored(ignore_index)}, got {what} in targets "
            f"of shape {tuple(targets.shape)}; "
            f"look for it with {'targets.isnan()' if nans else '(targets < 0) | (targets > 1)'}"
        )


def check_labels(labels: Tensor, classes: int, ignore_index: int, lowest: int, loss: str) -> None:
    if not _outside(labels if labels.dtype in _INTEGERS else labels.long(), lowest, classes - 1):
        return
    labels = labels.long()  # subtle: before any comparison, in which uint8 takes -100 for 156
    if readable_any(lambda: ((labels < lowest) | (labels >= classes)) & (labels != ignore_index), labels):
        bad = labels[((labels < lowest) | (labels >= classes)) & (labels != ignore_index)]
        background = ", -1 for background" if lowest == -1 else ""
        raise ValueError(
            f"{loss}: labels must be 0..{classes - 1} for {classes} classes{background}{or_ignored(ignore_index)}, "
            f"got {int(bad[0])}; ids that start at 1 need labels - 1, and logits need one channel per class"
        )


def vector(name: str, value: Any, classes: int, like: Tensor, loss: str) -> Tensor:
    """`value` as a tensor over the classes, on the device of `like` and in the dtype that it is computed in."""
    has_dtype = isinstance(value, Tensor) or hasattr(value, "__array__")
    # subtle: on a device of its own, or a default device would take a tensor along
    device = value.device if isinstance(value, Tensor) else "cpu"
    out = torch.as_tensor(value, dtype=None if has_dtype else computed_in(like), device=device)
    if out.is_complex():
        raise TypeError(f"{loss}: {name} must be real, got {out.dtype}")
    out = out.to(like.device, computed_in(like))
    if out.ndim != 1 or out.shape[0] != classes:
        raise ValueError(
            f"{loss}: {name} must be a vector over the {classes} classes of the logits, got shape {tuple(out.shape)}; "
            "if the classes are on another axis, pass class_dim"
        )
    if readable_any(out.isnan, out):
        raise ValueError(f"{loss}: {name} has NaN in it: {out.tolist()}")
    return out


def ignored_value(ignore_index: object) -> int:
    """`ignore_index` as an integer; None stands for no value."""
    if ignore_index is None:
        return NEVER
    if isinstance(ignore_index, bool) or not isinstance(ignore_index, numbers.Integral):
        raise TypeError(f"ignore_index must be an integer, or None for no such target, got {ignore_index!r}")
    return int(ignore_index)


def warn_of_one_channel(labels: Tensor, ignore_index: int, loss: str) -> None:
    """With one class, label 0 is that class, and not the 0 of a binary target."""
    if readable_any(lambda: (labels.long() != ignore_index).any() & ~(labels.long() == -1).any(), labels):
        warnings.warn(
            f"{loss}: integer targets without the class axis are class indices: with one channel, label 0 is its class "
            "(a positive) and -1 is background, of which there is none here. For targets 0 and 1 pass dense ones, "
            "shaped like the logits: targets.unsqueeze(class_dim).float()",
            stacklevel=4,
        )
