"""Scores and labels as calibration and its measures take them: tensors, NumPy arrays or lists, told apart by shape.

| scores | labels | kind |
|---|---|---|
| (n,) | (n,) of 0 and 1 | binary |
| (n, k) | (n,) of 0..k-1 | multi-class: softmax over the k classes |
| (n, k) | (n, k) of 0 and 1 | multi-label: k independent sigmoids |
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

ArrayLike: TypeAlias = Any
"""A tensor, a NumPy array, or nested lists of numbers."""

Kind: TypeAlias = Literal["binary", "multi-class", "multi-label"]


@dataclass(frozen=True)
class Labelled:
    """Scores with their labels, checked.

    Attributes:
        scores: float32 or float64, (n,) or (n, k), on the CPU.
        labels: int64: (n,) for binary and multi-class, (n, k) for multi-label.
        kind: See the table of this module.
    """

    scores: Tensor
    labels: Tensor
    kind: Kind

    @property
    def one_hot(self) -> Tensor:
        """Labels shaped like the scores, bool."""
        if self.kind != "multi-class":
            return self.labels.bool()
        return torch.nn.functional.one_hot(self.labels, self.scores.shape[1]).bool()


def labelled(scores: ArrayLike, labels: ArrayLike, *, name: str = "logits", probabilities: bool = False) -> Labelled:
    """Check scores and labels against each other.

    Args:
        scores: See the table of this module; finite, but for logits of -inf (classes that were masked out).
        labels: Integers, booleans, or floats that are whole numbers.
        name: What the messages call the scores.
        probabilities: The scores must lie in [0, 1].

    Raises:
        ValueError: No rows, shapes that do not fit, NaN, a label or a probability out of range.
        TypeError: Not numbers.
    """
    s, y = as_float(scores, name), as_tensor(labels, "labels")
    if s.ndim not in (1, 2) or (s.ndim == 2 and s.shape[1] < 2):
        raise ValueError(f"expected {name} of shape (n,), or (n, k) with k at least 2, got {tuple(s.shape)}")
    fits = y.shape == s.shape or (s.ndim == 2 and y.shape == s.shape[:1])
    if not fits:
        wanted = f"{tuple(s.shape)}" + (f" or class indices ({s.shape[0]},)" if s.ndim == 2 else "")
        raise ValueError(f"expected labels of shape {wanted} for {name} {tuple(s.shape)}, got {tuple(y.shape)}")
    if not len(s):
        raise ValueError(f"there are no rows: {name} of shape {tuple(s.shape)}")
    _check_numbers(s, name, probabilities)
    kind: Kind = "binary" if s.ndim == 1 else "multi-label" if y.ndim == 2 else "multi-class"
    return Labelled(s, _whole_labels(y, 1 if kind != "multi-class" else s.shape[1] - 1), kind)


def as_tensor(values: ArrayLike, name: str) -> Tensor:
    """`values` as a tensor on the CPU, without a gradient."""
    try:
        return torch.as_tensor(values).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"expected {name} to be a tensor or an array of numbers, got {type(values).__name__}"
        ) from error


def as_float(values: ArrayLike, name: str) -> Tensor:
    """`as_tensor` in float32 or float64; NumPy arrays and tensors keep their precision, half precision is widened."""
    t = as_tensor(values, name)
    if t.is_complex():
        raise TypeError(f"expected {name} to be real numbers, got {t.dtype}")
    if isinstance(values, Sequence):  # lists hold Python floats
        return torch.as_tensor(values, dtype=torch.float64)
    return t if t.dtype in (torch.float32, torch.float64) else t.double() if not t.is_floating_point() else t.float()


def like(result: Tensor, values: ArrayLike) -> Any:
    """`result` in the form of `values`: a tensor on its device for a tensor, an array for an array, else a tensor."""
    if isinstance(values, Tensor):
        return result.to(values.device)
    return result.numpy() if type(values).__module__ == "numpy" else result


def _check_numbers(s: Tensor, name: str, probabilities: bool) -> None:
    bad = s.isnan() if probabilities else s.isnan() | (s == torch.inf)
    if bool(bad.any()):
        row = int(bad.flatten(1).any(1).nonzero()[0]) if s.ndim == 2 else int(bad.nonzero()[0])
        raise ValueError(f"{name} hold NaN or infinity, first in row {row}")
    if probabilities:
        low, high = float(s.min()), float(s.max())
        if low < 0 or high > 1:
            raise ValueError(
                f"expected {name} in [0, 1], got values from {low:g} to {high:g}; "
                "logits become probabilities with torch.sigmoid or torch.softmax"
            )


def _whole_labels(y: Tensor, most: int) -> Tensor:
    if y.is_floating_point() and bool((y != y.round()).any()):
        raise ValueError("expected whole-number labels, got fractions or NaN")
    whole = y.long()
    low, high = int(whole.min()), int(whole.max())
    if low < 0 or high > most:
        raise ValueError(f"expected labels from 0 to {most}, got values from {low} to {high}")
    return whole
