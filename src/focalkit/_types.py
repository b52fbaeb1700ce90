"""The words that appear in many signatures, and what PyTorch's own types lack."""

from collections.abc import Sequence
from typing import Literal, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

Reduction: TypeAlias = Literal["none", "sum", "mean"]
SoftTargets: TypeAlias = Literal["split", "mix", "exp", "qfl"]
Backend: TypeAlias = Literal["auto", "eager", "compiled", "triton"]

PerClass: TypeAlias = float | Sequence[float] | Tensor
"""One number for all classes, or a vector with one entry per class."""

Vector: TypeAlias = Sequence[float] | Tensor
"""One entry per class."""

M = TypeVar("M", bound=nn.Module)


def to_memory_format(module: M, memory_format: torch.memory_format) -> M:
    """`module.to(memory_format=...)`, in place, which PyTorch has for modules and its types do not."""
    return module.to(memory_format=memory_format)  # pyright: ignore[reportCallIssue]
