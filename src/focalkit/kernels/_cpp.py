"""Kernels written by hand in C++, for the CPU: sigmoid focal (labels of all levels, or dense targets), softmax focal.

`focal.cpp` is compiled when first needed, once for each dtype and exponent, and kept in the user's cache folder. It
needs g++ or clang++ with OpenMP, whose threads it shares with PyTorch. Where that is missing, `library` gives None and
Inductor does the work. Computed in float32; float64 and float16 are left to Inductor.
"""

import ctypes
import functools
import hashlib
import logging
import math
import os
import platform
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ._choice import announce, cpp_compiler, machine

SOURCE = Path(__file__).with_name("focal.cpp")
# no -ffast-math: NaN and infinities are part of the contract
FLAGS = (
    *("-O3", "-march=native", "-std=c++17", "-shared", "-fPIC", "-fopenmp"),
    *("-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"),
)
LABELS = {torch.uint8: 0, torch.int8: 1, torch.int16: 2, torch.int32: 4, torch.int64: 8}
DENSE = {torch.bool: 1, torch.bfloat16: 2, torch.float32: 4}

Done: TypeAlias = tuple[Tensor, Tensor, list[Tensor]]
"""(sum, count, gradients times scale), the first two in float64; no gradients where none are wanted."""

log = logging.getLogger("focalkit.kernels")


class _Level(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("x", "labels", "gradient")),
        *((name, ctypes.c_int64) for name in ("outer", "classes", "inner")),
    )


class _Weights(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_float) for name in ("on", "off", "gamma", "gamma_neg", "scale"))


@dataclass(frozen=True)
class Weights:
    """The numbers of a focal loss: the weight of each side, and its exponent."""

    on: float = 1.0
    off: float = 1.0
    gamma: float = 2.0
    gamma_neg: float = 2.0

    @property
    def twice(self) -> int:
        """Twice the exponent where it becomes part of the code, else -1."""
        baked = self.gamma == self.gamma_neg and self.gamma in (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
        return int(2 * self.gamma) if baked else -1


def fits(logits: Sequence[Tensor], targets: Sequence[Tensor], ignore_index: int, *, dense: bool) -> bool:
    """Whether the code reads such tensors."""
    kinds = {t.dtype for t in targets}
    return (
        logits[0].dtype in (torch.float32, torch.bfloat16)
        and len(kinds) == 1
        and kinds <= (DENSE if dense else LABELS).keys()
        and abs(int(ignore_index)) < 2**31 - 1
    )


def sigmoid_focal_labels(
    xs: Sequence[Tensor],
    labels: Sequence[Tensor],
    weights: Weights,
    scale: Tensor,
    *,
    ignore_index: int,
    gradient: bool,
) -> Done | None:
    """The loss of all levels together; None where the code cannot be compiled.

    Args:
        xs: Per level, (outer, classes, inner), contiguous, of one dtype.
        labels: Per level, integers of one dtype, (outer, 1, inner), contiguous.
        scale: 0-d; multiplies the gradients.
    """
    slopes = [torch.empty_like(x) for x in xs] if gradient else []
    levels = (_Level * len(xs))(*map(_level, xs, labels, slopes or xs))
    given = levels, len(xs), LABELS[labels[0].dtype], int(ignore_index)
    return _call("sigmoid_focal_labels", xs[0].dtype, given, weights, scale, slopes)


def sigmoid_focal_dense(
    x: Tensor, targets: Tensor, weights: Weights, scale: Tensor, *, ignore_index: int, gradient: bool
) -> Done | None:
    """As `sigmoid_focal_labels`, for flat logits and targets of the same length."""
    slopes = [torch.empty_like(x)] if gradient else []
    memory = (ctypes.c_void_p(t.data_ptr()) for t in (x, targets, slopes[0] if gradient else x))
    absent = math.nan if targets.dtype == torch.bool else ignore_index
    given = *memory, ctypes.c_int64(x.numel()), DENSE[targets.dtype], ctypes.c_float(absent)
    return _call("sigmoid_focal_dense", x.dtype, given, weights, scale, slopes)


def softmax_focal(
    x: Tensor, labels: Tensor, weights: Weights, scale: Tensor, *, ignore_index: int, gradient: bool
) -> Done | None:
    """As `sigmoid_focal_labels`, for one level; the count is not taken (0)."""
    slopes = [torch.empty_like(x)] if gradient else []
    level = _level(x, labels, slopes[0] if gradient else x)
    given = ctypes.byref(level), LABELS[labels.dtype], int(ignore_index)
    return _call("softmax_focal", x.dtype, given, weights, scale, slopes)


def _call(
    name: str, dtype: torch.dtype, given: tuple[Any, ...], weights: Weights, scale: Tensor, slopes: list[Tensor]
) -> Done | None:
    code = library(dtype == torch.bfloat16, weights.twice)
    if code is None:
        return None
    numbers = _Weights(weights.on, weights.off, weights.gamma, weights.gamma_neg, float(scale))
    out = (ctypes.c_double * 2)()
    getattr(code, name)(*given, int(bool(slopes)), ctypes.byref(numbers), torch.get_num_threads(), out)
    total, count = (torch.tensor(value, dtype=torch.float64) for value in out)
    return total, count, slopes


@functools.cache
def library(bfloat16: bool, twice_gamma: int) -> ctypes.CDLL | None:
    """The compiled code for logits of one dtype and one exponent; None where it cannot be had, which is logged."""
    compiler = cpp_compiler()
    if compiler is None or compiler == "cl":
        return None
    command = [compiler, *FLAGS, f"-DLOGIT_BF16={int(bfloat16)}", f"-DTWICE_GAMMA={twice_gamma}"]
    try:
        return ctypes.CDLL(str(_built(command)))
    except (OSError, RuntimeError, subprocess.SubprocessError) as failure:  # RuntimeError: there is no home folder
        said = str(getattr(failure, "stderr", None) or failure).strip() or type(failure).__name__
        machine.broken["c++"] = f"compiling the C++ kernel failed: {said.splitlines()[0]}"
        log.info("%s; Inductor takes its place", machine.broken["c++"])
        return None


def _built(command: list[str]) -> Path:
    """The shared library that this command makes here, from the cache where it is there already."""
    version = subprocess.run([command[0], "--version"], capture_output=True, text=True, check=True).stdout
    parts = (SOURCE.read_text(encoding="utf-8"), " ".join(command), version, _processor())
    name = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "focalkit" / "kernels"
    kept = folder / f"{name}.so"
    if kept.is_file():
        return kept
    announce("cpu")
    folder.mkdir(parents=True, exist_ok=True)
    # another process may be at the same: each writes a file of its own, and the last one stays
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made = Path(scratch) / kept.name
        subprocess.run([*command, "-o", str(made), str(SOURCE)], capture_output=True, text=True, check=True)
        made.replace(kept)
    return kept


def _processor() -> str:
    """What -march=native looks at: a home folder may be shared by machines of several kinds."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    return "\n".join(sorted({line for line in lines if line.startswith(("flags", "Features", "model"))}))


def _level(x: Tensor, labels: Tensor, gradient: Tensor) -> _Level:
    return _Level(x.data_ptr(), labels.data_ptr(), gradient.data_ptr(), *x.shape)
