"""The words that appear in many signatures."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

from torch import Tensor

Reduction: TypeAlias = Literal["none", "sum", "mean"]
SoftTargets: TypeAlias = Literal["split", "mix", "exp", "qfl"]
Backend: TypeAlias = Literal["auto", "eager", "compiled", "triton"]

PerClass: TypeAlias = float | Sequence[float] | Tensor
"""One number for all classes, or a vector with one entry per class."""

Vector: TypeAlias = Sequence[float] | Tensor
"""One entry per class."""
