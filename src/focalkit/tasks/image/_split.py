"""Train, validation and test parts of images: the data's own, or made with the seed 0, which every cell shares."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from focalkit._files import read_json
from focalkit.errors import DataError

from .._task import Source
from ._read import Pictures

Indices = NDArray[np.int64]
VAL_SHARE, TEST_SHARE = 0.15, 0.2
PROFILES = "lt_counts.json"


def split(
    pictures: Pictures,
    source: Source,
    imbalance: float | None = None,
    val_from: str = "train",
    profile: Sequence[int] | None = None,
) -> tuple[Indices, Indices, Indices]:
    """Indices of the parts, each in the order of the data. Copies of one image stay in one made part.

    Args:
        pictures: All of them.
        source: For messages.
        imbalance: Of the training images, before validation images are held out of them; see `Images`.
        val_from: The part that validation images are held out of, where the data have none.
        profile: Training images per class to keep, the first ones; None for all.

    Raises:
        DataError: A class with too few images to be in every part.
    """
    counts = np.bincount(pictures.labels, minlength=len(pictures.classes))
    if (counts < 3).any():
        few = ", ".join(f"{c!r} ({n})" for c, n in zip(pictures.classes, counts.tolist(), strict=True) if n < 3)
        raise DataError(source.path, [f"expected at least 3 images of every class, got {few}"])
    random = np.random.default_rng(0)
    rest = np.flatnonzero(pictures.part == 0)
    val, test = np.flatnonzero(pictures.part == 1), np.flatnonzero(pictures.part == 2)
    if not len(test):
        rest, test = _hold_out(pictures, rest, TEST_SHARE, random)
    if imbalance is not None:
        rest = long_tail(rest, pictures.labels, len(pictures.classes), imbalance)
    if profile is not None:
        rest = first_of_each(rest, pictures.labels, profile)
    if not len(val) and val_from == "test":
        test, val = _hold_out(pictures, test, 0.5, random)
    elif not len(val):
        rest, val = _hold_out(pictures, rest, VAL_SHARE, random)
    return rest, val, test


def _hold_out(pictures: Pictures, rows: Indices, share: float, random: np.random.Generator) -> tuple[Indices, Indices]:
    """The rows that stay and those held out: the share of every class, at least one; equal images go together."""
    _, same = np.unique([hashlib.blake2b(x.tobytes()).digest() for x in pictures.images[rows]], return_inverse=True)
    held = np.zeros(len(rows), dtype=bool)
    for c in np.unique(pictures.labels[rows]):
        groups = np.unique(same[pictures.labels[rows] == c])
        held |= np.isin(same, random.permutation(groups)[: max(1, round(share * len(groups)))])
    return rows[~held], rows[held]


def long_tail(rows: Indices, labels: Indices, k: int, ratio: float) -> Indices:
    """The rows left of an exponential profile: of class c the first n_max ratio^(-c / (k - 1)), in the data's order.

    n_max is what the most frequent class has (Cui et al., 2019, sec. 5.1).
    """
    most = np.bincount(labels[rows], minlength=k).max()
    return first_of_each(rows, labels, np.maximum(1, (most * ratio ** (-np.arange(k) / (k - 1))).astype(int)))


def first_of_each(rows: Indices, labels: Indices, counts: Sequence[int] | Indices) -> Indices:
    """The first rows of every class, as many as `counts` says, in the data's order."""
    kept = np.zeros(len(rows), dtype=bool)
    for c, n in enumerate(counts):
        kept[np.flatnonzero(labels[rows] == c)[:n]] = True
    return rows[kept]


def nested_profile(folder: Path, k: int) -> tuple[str, list[int]] | None:
    """Name and counts of the steepest profile in `lt_counts.json`, or None where a folder has no such file.

    The file belongs to a training part whose long tails are nested: {"IF100": [5000, 2997, ...], ...} says how many
    images of each class, the first in the data's order, are which long tail. Other keys are passed over.

    Raises:
        DataError: It cannot be read, or holds no profile of k classes.
    """
    file = Path(folder) / PROFILES
    if not file.is_file():
        return None
    try:
        found = read_json(file)
        profiles = {
            str(name): [int(n) for n in counts]
            for name, counts in found.items()
            if isinstance(counts, list) and len(counts) == k and min(counts) > 0
        }
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(file, [f"not the profiles of nested long tails ({error})"]) from error
    if not profiles:
        raise DataError(file, [f'expected {{"IF100": [images of each of the {k} classes], ...}}, found no such list'])
    return max(profiles.items(), key=lambda item: max(item[1]) / min(item[1]))
