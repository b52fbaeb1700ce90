"""Focal losses on the CPU by handwritten C++ (`native/`), on sigmoids (labels of all levels, or dense targets) and on a
softmax; with an exponent of 0 cross-entropy.

The C++ was compiled when focalkit was installed (`build.py`) and works on the threads that PyTorch has. Computed in
float32; float64 and float16 logits take other backends.
"""

import ctypes
import functools
import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from . import build
from .call import Call, SigmoidCall, SoftmaxCall
from .layout import Layout
from .operands import Focal, Result

LOGITS = (torch.float32, torch.bfloat16)
LABELS = {torch.uint8: 0, torch.int8: 1, torch.int16: 2, torch.int32: 4, torch.int64: 8}
DENSE = {torch.bool: 1, torch.bfloat16: 2, torch.float32: 4}

log = logging.getLogger("focalkit.kernels")


def structure(name: str, **fields: type) -> type[ctypes.Structure]:
    return type(name, (ctypes.Structure,), {"_fields_": list(fields.items())})


# as in native/weights.h, native/labels.h, native/softmax.h and native/threads.h
_POINTER, _FLOAT, _INT64 = ctypes.c_void_p, ctypes.c_float, ctypes.c_int64
_Level = structure("Level", x=_POINTER, labels=_POINTER, gradient=_POINTER, outer=_INT64, classes=_INT64, inner=_INT64)
_Focal = structure("Focal", **dict.fromkeys(Focal.__dataclass_fields__, _FLOAT), scale=_FLOAT)
_Classes = structure("Classes", pos_weight=_POINTER, neg_weight=_POINTER, absent=_POINTER, classes=_INT64)
_RowTerms = structure("RowTerms", shift=_POINTER, factor=_POINTER, weight=_POINTER)
_Team = structure("Team", fork=_POINTER, threads=ctypes.c_int)
_Out = ctypes.c_double * 3


def reads(call: Call, dtype: torch.dtype) -> bool:
    """Whether the code reads such logits and targets."""
    kinds = DENSE if call.dense else LABELS
    kind = call.targets[0].dtype
    return (
        dtype in LOGITS
        and kind in kinds
        and all(t.dtype == kind for t in call.targets)
        and abs(int(call.ignore_index or 0)) < 2**31 - 1
    )


def run(call: Call, logits: Sequence[Tensor], gradient: bool, scale: float) -> Result:
    """Value and gradient of all logits."""
    focal = call.handwritten(logits[0].dtype)
    assert focal is not None
    code = library(logits[0].dtype, focal.squared)
    assert code is not None
    if isinstance(call, SoftmaxCall):
        return _softmax(code, call, focal, logits[0], gradient, scale)
    if call.dense:
        return _sigmoid_dense(code, call, focal, logits[0], gradient, scale)
    return _sigmoid_labels(code, call, focal, logits, gradient, scale)


def _sigmoid_labels(
    code: ctypes.CDLL, call: SigmoidCall, focal: Focal, logits: Sequence[Tensor], gradient: bool, scale: float
) -> Result:
    memory = [
        _Memory(x, call.folded(x), y, dim, gradient) for x, y, dim in zip(logits, call.targets, call.dims, strict=True)
    ]
    levels = (_Level * len(memory))(*(m.level for m in memory))
    numbers, classes, kept = _by_class(focal, call.class_weight, memory[0].level.classes, scale)
    out = _Out()
    code.sigmoid_focal_labels(
        levels, len(memory), LABELS[call.targets[0].dtype], int(call.ignore_index or 0), int(gradient),
        int(call.mean), ctypes.byref(numbers), ctypes.byref(classes), ctypes.byref(team()), out,
    )  # fmt: skip
    del kept
    return Result(out[0], out[1], [m.result() for m in memory], out[2])


def _sigmoid_dense(
    code: ctypes.CDLL, call: SigmoidCall, focal: Focal, logits: Tensor, gradient: bool, scale: float
) -> Result:
    by_class = focal.by_class or call.class_weight is not None
    layout, x = Layout.of(logits, call.dims[0] if by_class else None)
    targets, result = layout.full(call.targets[0]), torch.empty_like(x) if gradient else x
    absent = math.nan if targets.dtype == torch.bool else as_stored(call.ignore_index or 0, targets.dtype)
    _, classes, inner = layout.sizes
    numbers, vectors, kept = _by_class(focal, call.class_weight, classes, scale)
    out = _Out()
    code.sigmoid_focal_dense(
        _POINTER(x.data_ptr()), _POINTER(targets.data_ptr()), _POINTER(result.data_ptr()), _INT64(x.numel()),
        _INT64(inner), DENSE[targets.dtype], _FLOAT(absent), int(gradient),
        ctypes.byref(numbers), ctypes.byref(vectors), ctypes.byref(team()), out,
    )  # fmt: skip
    del kept
    return Result(out[0], out[1], [layout.restore(result) if gradient else None], out[2])


def _softmax(
    code: ctypes.CDLL, call: SoftmaxCall, focal: Focal, logits: Tensor, gradient: bool, scale: float
) -> Result:
    memory = _Memory(logits, logits, call.targets[0], call.dims[0], gradient)
    weight = call.row_weight(memory.level.classes)
    weight = None if weight is None else memory.layout.rows(weight.expand(call.targets[0].shape))
    kept = [None if t is None else t.float().contiguous() for t in (call.shift, call.factor, weight)]
    rows = _RowTerms(*(None if t is None else t.data_ptr() for t in kept))
    numbers = _numbers(replace(focal, pos_weight=1.0, neg_weight=1.0), scale)
    out = _Out()
    code.softmax_focal(
        ctypes.byref(memory.level), ctypes.byref(rows), LABELS[call.targets[0].dtype], int(call.ignore_index or 0),
        int(gradient), int(call.mean), ctypes.byref(numbers), ctypes.byref(team()), out,
    )  # fmt: skip
    return Result(out[0], out[1], [memory.result()], out[2])


class _Memory:
    """Logits and labels as the code sees them; holds on to the memory that it points to."""

    def __init__(self, x: Tensor, folded: Tensor, labels: Tensor, dim: int, gradient: bool) -> None:
        self.shape = x.shape
        self.layout, self.x = Layout.of(folded, dim)
        self.labels = self.layout.rows(labels)
        self.gradient = torch.empty_like(self.x) if gradient else None
        written = self.x if self.gradient is None else self.gradient
        self.level = _Level(self.x.data_ptr(), self.labels.data_ptr(), written.data_ptr(), *self.x.shape)

    def result(self) -> Tensor | None:
        if self.gradient is None:
            return None
        g = self.layout.restore(self.gradient)
        return g if g.shape == self.shape else g.reshape(self.shape)


def _numbers(focal: Focal, scale: float) -> ctypes.Structure:
    return _Focal(**vars(focal), scale=scale)


def _by_class(
    focal: Focal, class_weight: Tensor | None, classes: int, scale: float
) -> tuple[ctypes.Structure, ctypes.Structure, Tensor | None]:
    """The numbers, the vectors over the classes (null where there are none), and the memory that these point to."""
    if class_weight is None and not focal.by_class:
        return _numbers(focal, scale), _Classes(), None
    by = 1.0 if class_weight is None else class_weight
    vectors = focal.pos_weight * by, focal.neg_weight * by, 0.0 if class_weight is None else class_weight == 0
    kept = torch.stack([torch.as_tensor(t, dtype=torch.float32, device="cpu").expand(classes) for t in vectors])
    numbers = _numbers(replace(focal, pos_weight=1.0, neg_weight=1.0), scale)
    return numbers, _Classes(*(row.data_ptr() for row in kept), classes), kept


def as_stored(number: int, dtype: torch.dtype) -> float:
    """As tensors of half precision hold it: 257 is 256 in bfloat16. Others round where they are compared."""
    half = dtype in (torch.bfloat16, torch.float16)
    return torch.tensor(number, dtype=dtype, device="cpu").item() if half else number


@functools.cache
def library(dtype: torch.dtype, squared: bool) -> ctypes.CDLL | None:
    """The code for logits of one dtype and one exponent; None where there is none for this processor."""
    able = instructions()
    path = None if able is None else build.place(able, dtype == torch.bfloat16, squared)
    if path is None or not path.is_file():
        return None
    try:
        return ctypes.CDLL(str(path))
    except OSError as failure:
        log.warning("%s cannot be loaded (%s); focalkit goes on without. Installing it again may help.", path, failure)
        return None


def instructions() -> str | None:
    """The best set of instructions that there are libraries for and this processor has."""
    known = torch.backends.cpu.get_cpu_capability()
    return next((name for name in build.INSTRUCTIONS if name == "any" or known.startswith(name)), None)


def team() -> ctypes.Structure:
    return _Team(_fork(), torch.get_num_threads())


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
