"""From class counts to class weights of mean 1.

`class_weight` of a softmax loss weighs each row by its label. In a sigmoid loss it weighs the columns; class-balanced
sigmoid losses (Cui et al., 2019) weigh whole rows by their label: pass `weight=of_labels(class_weight, labels)`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def effective_number(counts: Sequence[float] | Tensor, beta: float = 0.9999) -> Tensor:
    r"""Inverse effective number of examples, $w_c \propto (1 - \beta) / (1 - \beta^{n_c})$ (Cui et al., 2019, eq. 4).

    Args:
        counts: Training examples per class, at least 0; a class without examples is taken to have one.
        beta: In [0, 1); 0 gives equal weights, towards 1 it becomes `inverse_frequency`.

    Returns:
        float64 vector of mean 1.

    Example:
        >>> [round(w, 4) for w in effective_number([1000, 10], beta=0.99).tolist()]
        [0.1746, 1.8254]
    """
    if not 0 <= beta < 1:
        raise ValueError(f"beta must be at least 0 and below 1, got {beta!r}; the paper uses 0.9 to 0.9999")
    n = _counts(counts)
    # subtle: expm1 keeps 1 - beta^n exact for beta near 1.
    log_beta = torch.log(torch.tensor(beta, dtype=torch.float64)) if beta else torch.tensor(-torch.inf)
    return _mean_one((1 - beta) / -torch.expm1(n * log_beta.to(n)))


def inverse_frequency(counts: Sequence[float] | Tensor, power: float = 1.0) -> Tensor:
    r"""$w_c \propto n_c^{-power}$.

    Args:
        counts: Training examples per class, at least 0; a class without examples is taken to have one.
        power: 1 for the inverse, 1/2 for the square root, 0 for equal weights.

    Returns:
        float64 vector of mean 1.

    Example:
        >>> inverse_frequency([3, 1]).tolist()
        [0.5, 1.5]
    """
    return _mean_one(_counts(counts) ** -power)


def of_labels(
    class_weight: Sequence[float] | Tensor,
    labels: Tensor,
    *,
    ignore_index: int | None = -100,
    class_dim: int | None = -1,
) -> Tensor:
    """The weight of each row by its label; 1 for background, 0 where a row is ignored.

    With its class axis of size 1 it is the `weight` of every loss, on sigmoids and on a softmax alike.

    Args:
        class_weight: Vector over the classes.
        labels: Class indices, of any integer dtype; negative for background.
        ignore_index: Label of ignored rows, which weigh 0; `None` for no such label.
        class_dim: Where the logits have their class axis; `None` leaves the shape of `labels`.

    Raises:
        ValueError, TypeError: Labels that are no class indices, or beyond the last class.

    Example:
        >>> of_labels([1.0, 3.0], torch.tensor([1, -1, -100])).tolist()
        [[3.0], [1.0], [0.0]]
    """
    table = torch.as_tensor(class_weight, device=labels.device)
    table = table if table.is_floating_point() else table.float()
    if table.ndim != 1 or not len(table):
        raise ValueError(f"class_weight must be a vector over the classes, got shape {tuple(table.shape)}")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(f"labels must be class indices, got {labels.dtype}; for dense targets weigh with class_weight")
    index = labels.long()  # subtle: first of all, uint8 would index as a mask and takes -100 for 156
    ignored = torch.zeros_like(index, dtype=torch.bool) if ignore_index is None else index == ignore_index
    if index.is_cpu and bool(((index >= len(table)) & ~ignored).any()):
        largest = int(index.masked_fill(ignored, 0).max())
        raise ValueError(f"labels must be below {len(table)}, the number of class weights, got {largest}")
    chosen = torch.where(index >= 0, table[index.clamp(0, len(table) - 1)], 1.0)
    chosen = torch.where(ignored, 0.0, chosen)
    return chosen if class_dim is None else chosen.unsqueeze(class_dim)


def _counts(counts: Sequence[float] | Tensor) -> Tensor:
    n = torch.as_tensor(counts, dtype=torch.float64)
    if n.ndim != 1 or not len(n):
        raise ValueError(f"counts must be a vector over the classes, got shape {tuple(n.shape)}")
    if not bool((n >= 0).all()):
        raise ValueError(f"counts must be at least 0, got {n.tolist()}")
    return n.clamp(min=1)


def _mean_one(weights: Tensor) -> Tensor:
    return weights / weights.mean()
