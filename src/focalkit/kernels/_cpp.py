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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ._choice import announce, cpp_compiler, machine
from ._layout import Layout
from ._numbers import in_code

SOURCE = Path(__file__).with_name("focal.cpp")
# no -ffast-math: NaN and infinities are part of the contract
FLAGS = (
    *("-O3", "-march=native", "-std=c++17", "-shared", "-fPIC", "-fopenmp"),
    *("-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"),
)
LABELS = {torch.uint8: 0, torch.int8: 1, torch.int16: 2, torch.int32: 4, torch.int64: 8}
DENSE = {torch.bool: 1, torch.bfloat16: 2, torch.float32: 4}

# what compiling ends in where it cannot be done; RuntimeError: there is no home folder
FAILURES = (OSError, RuntimeError, subprocess.SubprocessError)

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
        return int(2 * self.gamma) if self.gamma == self.gamma_neg and in_code(self.gamma) else -1


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

    code: tuple[bool, int]
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
        return _call(code.sigmoid_focal_labels, given, weights, scale, [s.slope for s in seen if s.slope is not None])

    return Native((logits[0].dtype == torch.bfloat16, weights.twice), run)


def sigmoid_focal_dense(logits: Tensor, targets: Tensor, weights: Weights, *, ignore_index: int) -> Native | None:
    """As `sigmoid_focal_labels`, for one tensor and dense targets."""
    if not _readable((logits,), (targets,), DENSE, ignore_index):
        return None

    def run(code: ctypes.CDLL, logits: Sequence[Tensor], scale: float, gradient: bool) -> Done:
        layout, x = Layout.of(logits[0], 0)
        t, slopes = layout.full(targets), [_like(logits[0], x)] if gradient else []
        memory = (ctypes.c_void_p(a.data_ptr()) for a in (x, t, *(slopes or [x])))
        absent = math.nan if targets.dtype == torch.bool else ignore_index
        given = *memory, ctypes.c_int64(x.numel()), DENSE[targets.dtype], ctypes.c_float(absent)
        return _call(code.sigmoid_focal_dense, given, weights, scale, slopes)

    return Native((logits.dtype == torch.bfloat16, weights.twice), run)


def softmax_focal(logits: Tensor, labels: Tensor, gamma: float, *, ignore_index: int, dim: int) -> Native | None:
    """As `sigmoid_focal_labels`, for one tensor; the count is not taken (0)."""
    if not _readable((logits,), (labels,), LABELS, ignore_index):
        return None
    weights = Weights(gamma=gamma, gamma_neg=gamma)

    def run(code: ctypes.CDLL, logits: Sequence[Tensor], scale: float, gradient: bool) -> Done:
        seen = _Seen(logits[0], labels, dim, None, gradient)
        given = ctypes.byref(seen.level), LABELS[labels.dtype], int(ignore_index)
        return _call(code.softmax_focal, given, weights, scale, [] if seen.slope is None else [seen.slope])

    return Native((logits.dtype == torch.bfloat16, weights.twice), run)


def _readable(
    logits: Sequence[Tensor], targets: Sequence[Tensor], kinds: Mapping[torch.dtype, int], ignore_index: int
) -> bool:
    return (
        logits[0].dtype in (torch.float32, torch.bfloat16)
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


def _call(
    function: Callable[..., None], given: tuple[Any, ...], weights: Weights, scale: float, slopes: list[Tensor]
) -> Done:
    numbers = _Weights(weights.on, weights.off, weights.gamma, weights.gamma_neg, scale)
    out = (ctypes.c_double * 3)(0.0, 0.0, 1.0)
    function(*given, int(bool(slopes)), ctypes.byref(numbers), torch.get_num_threads(), out)
    return Done(slopes, *out)


@functools.cache
def library(bfloat16: bool, twice_gamma: int) -> ctypes.CDLL | None:
    """The compiled code for logits of one dtype and one exponent; None where it cannot be had, which is logged."""
    command = _command(bfloat16, twice_gamma)
    if command is None:
        return None
    try:
        return ctypes.CDLL(str(_built(command)))
    except FAILURES as failure:
        said = str(getattr(failure, "stderr", None) or failure).strip() or type(failure).__name__
        machine.broken["c++"] = f"compiling the C++ kernel failed: {said.splitlines()[0]}"
        log.info("%s; Inductor takes its place", machine.broken["c++"])
        return None


@functools.cache
def is_kept(bfloat16: bool, twice_gamma: int) -> bool:
    """Whether an earlier process has compiled this code, so that it takes milliseconds to have it."""
    command = _command(bfloat16, twice_gamma)
    try:
        return command is not None and _place(command).is_file()
    except FAILURES:
        return False


def _command(bfloat16: bool, twice_gamma: int) -> list[str] | None:
    compiler = cpp_compiler()
    if compiler is None or compiler == "cl":
        return None
    return [compiler, *FLAGS, f"-DLOGIT_BF16={int(bfloat16)}", f"-DTWICE_GAMMA={twice_gamma}"]


def _place(command: list[str]) -> Path:
    """Where the shared library that this command makes here is kept."""
    version = subprocess.run([command[0], "--version"], capture_output=True, text=True, check=True).stdout
    parts = (SOURCE.read_text(encoding="utf-8"), " ".join(command), version, _processor())
    name = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "focalkit" / "kernels" / f"{name}.so"


def _built(command: list[str]) -> Path:
    """The shared library that this command makes here, from the cache where it is there already."""
    kept = _place(command)
    if kept.is_file():
        return kept
    announce("cpu")
    kept.parent.mkdir(parents=True, exist_ok=True)
    # another process may be at the same: each writes a file of its own, and the last one stays
    with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
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
