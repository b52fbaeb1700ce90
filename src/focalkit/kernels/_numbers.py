"""Which numbers of a loss become part of its code, and which stay inputs of it."""

from collections.abc import Mapping

import torch
from torch import Tensor


def as_stored(number: int, dtype: torch.dtype) -> float:
    """As tensors of half precision hold it: 257 is 256 in bfloat16. Others round where they are compared."""
    return torch.tensor(number, dtype=dtype).item() if dtype in (torch.bfloat16, torch.float16) else number


def in_code(value: float) -> bool:
    """Halves up to 8 become part of the code: an exponent of 2 is a multiplication, a factor of 1 is nothing.

    Other numbers are inputs, so that a sweep over them compiles once.
    """
    return 0 <= value <= 8 and float(value * 2).is_integer()


def split(params: Mapping[str, float | Tensor]) -> tuple[dict[str, Tensor], dict[str, float], dict[str, float]]:
    """The tensors among the parameters, the numbers that stay inputs, and those that become part of the code."""
    tensors = {key: value for key, value in params.items() if isinstance(value, Tensor)}
    numbers = {key: float(value) for key, value in params.items() if not isinstance(value, Tensor)}
    loose = {key: value for key, value in numbers.items() if not in_code(value)}
    return tensors, loose, {key: value for key, value in numbers.items() if key not in loose}
