"""Kernels written by hand in C++, for the CPU: focal losses on sigmoids (labels of all levels, or dense targets) and on
a softmax; with an exponent of 0 cross-entropy.

`native/` was compiled when focalkit was installed (`_build.py`). It works on the threads that PyTorch has. Where it
could not be compiled, or this processor is another, `library` gives None and the losses take other ways. Computed in
float32; float64 and float16 are left to Inductor.
"""

import ctypes
import functools
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import _build
from ._layout import Layout
from ._numbers import as_stored

LABELS = {torch.uint8: 0, torch.int8: 1, torch.int16: 2, torch.int32: 4, torch.int64: 8}
LOGITS = (torch.float32, torch.bfloat16)
DENSE = {torch.bool: 1, torch.bfloat16: 2, torch.float32: 4}

log = logging.getLogger("focalkit.kernels")


class _Level(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("x", "labels", "gradient")),
        *((name, ctypes.c_int64) for name in ("outer", "classes", "inner")),
    )


class _Weights(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_float) for name in ("on", "off", "gamma", "gamma_neg", "scale"))


class _Classes(ctypes.Structure):
    _fields_ = (*((name, ctypes.c_void_p) for name in ("on", "off", "skip")), ("classes", ctypes.c_int64))


class _Changes(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_void_p) for name in ("shift", "factor", "weight"))


class _Team(ctypes.Structure):
    _fields_ = (("fork", ctypes.c_void_p), ("threads", ctypes.c_int))


@dataclass(frozen=True)
class Weights:
    """The weight of each side of a focal loss, and its exponent.

    Attributes:
        on, off: Numbers, or vectors over the classes.
        skip: Vector over the classes, true where one is absent.
    """

    on: float | Tensor = 1.0
    off: float | Tensor = 1.0
    gamma: float = 2.0
    gamma_neg: float = 2.0
    skip: Tensor | None = None

    @property
    def by_class(self) -> bool:
        return self.skip is not None or isinstance(self.on, Tensor) or isinstance(self.off, Tensor)

    @property
    def squared(self) -> bool:
        """Whether code has been built for the exponents."""
        return self.gamma == self.gamma_neg == 2


@dataclass(frozen=True)
class Done:
    """What the code found.

    Attributes:
        gradients: Times scale, in the memory order of their logits; none where none are wanted.
        total: The sum.
        count: How many elements count, where it counts them.
        odd: How many targets are out of range; not 0 also where it does not look.
    """

    gradients: list[Tensor]
    total: float
    count: float
    odd: float


@dataclass(frozen=True)
class Native:
    """A loss call that the code can do.

    Attributes:
        code: Which library it needs, as `library` takes it.
        run: run(library, logits, scale, gradient wanted).
    """

    code: tuple[bool, bool]
    run: Callable[[ctypes.CDLL, Sequence[Tensor], float, bool], Done]


def sigmoid_focal_labels(
    logits: Sequence[Tensor],
    labels: Sequence[Tensor],
    weights: Weights,
    *,
    ignore_index: int,
    dims: Sequence[int],
    classes: int | None = None,
) -> Native | None:
    """The loss of all levels together; None where the code does not read such tensors.

    Args:
        logits: Of any layout.
        labels: For each, integers without the class axis.
        dims, classes: As in `SigmoidLoss`.
    """
    if not _readable(logits, labels, LABELS, ignore_index):
        return None

    def run(code: ctypes.CDLL, logits: Sequence[Tensor], scale: float, gradient: bool) -> Done:
        seen = [_Seen(*given, classes, gradient) for given in zip(logits, labels, dims, strict=True)]
        levels = (_Level * len(seen))(*(s.level for s in seen))
        given = levels, len(seen), LABELS[labels[0].dtype], int(ignore_index)
        slopes = [s.slope for s in seen if s.slope is not None]
        return _by_class(code.sigmoid_focal_labels, given, weights, seen[0].level.classes, scale, slopes)

    return Native((logits[0].dtype == torch.bfloat16, weights.squared), run)


def sigmoid_focal_dense(
    logits: Tensor, targets: Tensor, weights: Weights, *, ignore_index: int, dim: int
) -> Native | None:
    """As `sigmoid_focal_labels`, for one tensor and dense targets; `dim` matters to vectors over the classes alone."""
    if not _readable((logits,), (targets,), DENSE, ignore_index):
        return None

    def run(code: ctypes.CDLL, logits: Sequence[Tensor], scale: float, gradient: bool) -> Done:
        layout, x = Layout.of(logits[0], dim)
        _, classes, inner = layout.sizes if weights.by_class else (1, 1, 1)
        t, slopes = layout.full(targets), [_like(logits[0], x)] if gradient else []
        memory = (ctypes.c_void_p(a.data_ptr()) for a in (x, t, *(slopes or [x])))
        absent = math.nan if targets.dtype == torch.bool else as_stored(ignore_index, targets.dtype)
        sizes = ctypes.c_int64(x.numel()), ctypes.c_int64(inner)
        given = *memory, *sizes, DENSE[targets.dtype], ctypes.c_float(absent)
        return _by_class(code.sigmoid_focal_dense, given, weights, classes, scale, slopes)

    return Native((logits.dtype == torch.bfloat16, weights.squared), run)


def softmax_focal(
    logits: Tensor,
    labels: Tensor,
    gamma: float,
    *,
    ignore_index: int,
    dim: int,
    shift: Tensor | None = None,
    factor: Tensor | None = None,
    weight: Tensor | None = None,
) -> Native | None:
    """As `sigmoid_focal_labels`, for one tensor; the count is not taken (0).

    Args:
        shift, factor, weight: As in `SoftmaxLoss`.
    """
    if not _readable((logits,), (labels,), LABELS, ignore_index):
        return None
    weights = Weights(gamma=gamma, gamma_neg=gamma)

    def run(code: ctypes.CDLL, logits: Sequence[Tensor], scale: float, gradient: bool) -> Done:
        seen = _Seen(logits[0], labels, dim, None, gradient)
        rows = None if weight is None else Layout.of(logits[0], dim)[0].without_classes(weight.expand(labels.shape))
        kept = [None if t is None else t.float().contiguous() for t in (shift, factor, rows)]
        changes = _Changes(*(None if t is None else t.data_ptr() for t in kept))
        given = ctypes.byref(seen.level), ctypes.byref(changes), LABELS[labels.dtype], int(ignore_index)
        numbers = _Weights(gamma=gamma, scale=scale)
        return _call(code.softmax_focal, given, (numbers,), [] if seen.slope is None else [seen.slope])

    return Native((logits.dtype == torch.bfloat16, weights.squared), run)


def _readable(
    logits: Sequence[Tensor], targets: Sequence[Tensor], kinds: Mapping[torch.dtype, int], ignore_index: int
) -> bool:
    return (
        logits[0].dtype in LOGITS
        and targets[0].dtype in kinds
        and all(t.dtype == targets[0].dtype for t in targets)
        and abs(int(ignore_index)) < 2**31 - 1
    )


class _Seen:
    """Logits and labels as the code sees them; holds on to the memory that it points to."""

    def __init__(self, x: Tensor, labels: Tensor, dim: int, classes: int | None, gradient: bool) -> None:
        layout, self.x = Layout.of(x if classes is None else x.unflatten(1, (-1, classes)), dim)
        self.labels = layout.without_classes(labels)
        self.slope = _like(x, self.x) if gradient else None
        slope = self.x if self.slope is None else self.slope
        self.level = _Level(self.x.data_ptr(), self.labels.data_ptr(), slope.data_ptr(), *layout.sizes)


def _like(x: Tensor, ordered: Tensor) -> Tensor:
    """Room for the gradient of `x` with the memory order of `ordered`, which is a view of it, or a contiguous copy."""
    dense = ordered.data_ptr() == x.data_ptr()
    return torch.empty_like(x, memory_format=torch.preserve_format if dense else torch.contiguous_format)


def _by_class(
    function: Callable[..., None],
    given: tuple[Any, ...],
    w: Weights,
    classes: int,
    scale: float,
    slopes: list[Tensor],
) -> Done:
    if not w.by_class:
        return _call(function, given, (_Weights(w.on, w.off, w.gamma, w.gamma_neg, scale), _Classes()), slopes)
    numbers = _Weights(gamma=w.gamma, gamma_neg=w.gamma_neg, scale=scale)
    skip = 0.0 if w.skip is None else w.skip
    kept = torch.stack([torch.as_tensor(t, dtype=torch.float32).expand(classes) for t in (w.on, w.off, skip)])
    return _call(function, given, (numbers, _Classes(*(row.data_ptr() for row in kept), classes)), slopes)


def _call(
    function: Callable[..., None], given: tuple[Any, ...], numbers: tuple[ctypes.Structure, ...], slopes: list[Tensor]
) -> Done:
    out = (ctypes.c_double * 3)(0.0, 0.0, 1.0)
    team = _Team(_fork(), torch.get_num_threads())
    function(*given, int(bool(slopes)), *map(ctypes.byref, numbers), ctypes.byref(team), out)
    return Done(slopes, *out)


@functools.cache
def library(bfloat16: bool, squared: bool) -> ctypes.CDLL | None:
    """The code for logits of one dtype and one exponent; None where there is none for this processor."""
    able = instructions()
    path = None if able is None else _build.place(able, bfloat16, squared)
    if path is None or not path.is_file():
        return None
    try:
        return ctypes.CDLL(str(path))
    except OSError as failure:
        log.warning("%s cannot be loaded (%s); focalkit goes on without. Installing it again may help.", path, failure)
        return None


def reads(dtype: torch.dtype) -> bool:
    """Whether there is code for logits of this dtype."""
    return dtype in LOGITS and library(dtype == torch.bfloat16, False) is not None


def instructions() -> str | None:
    """The best set of instructions that there are libraries for and this processor has."""
    known = torch.backends.cpu.get_cpu_capability()
    return next((name for name in _build.INSTRUCTIONS if name == "any" or known.startswith(name)), None)


@functools.cache
def _fork() -> int | None:
    """Where the function is that starts PyTorch's threads (OpenMP); None: there are none."""
    try:
        folder = Path(torch.__file__).parent / "lib"
        found = next(path for path in folder.glob("libtorch_cpu.*") if path.suffix in (".so", ".dylib"))
        # a name is looked for in the libraries that this one needs, too
        return ctypes.cast(ctypes.CDLL(str(found)).GOMP_parallel, ctypes.c_void_p).value
    except (StopIteration, OSError, AttributeError):
        return None
