"""Split rows into train, validation and test: stratified by class, with rows of one group on one side.

Copies of a row count as one: a fold that holds a row a thousand times is not full, or it would hold little else.

Seed s takes fold s mod 5 of shuffle s div 5 as the test part, so that five seeds test on every row once. A fifth of the
rest is for validation.
"""

import numpy as np
from numpy.typing import NDArray

FOLDS = 5
Indices = NDArray[np.int64]


def folds(labels: Indices, groups: Indices, copies: Indices, count: int, seed: int) -> Indices:
    """The fold 0..count-1 of every row: groups whole, classes spread evenly.

    Args:
        labels: (n,) class indices.
        groups: (n,) any integers; rows of one group are put in one fold.
        copies: (n,) any integers; rows of one number are equal, and in one group.
        count: Number of folds.
        seed: Fixes the shuffle.
    """
    random = np.random.default_rng(seed)
    _, group = np.unique(groups, return_inverse=True)
    k, n_groups = int(labels.max()) + 1, int(group.max()) + 1
    _, copy, times = np.unique(copies, return_inverse=True, return_counts=True)
    members = np.zeros((n_groups, k))
    np.add.at(members, (group, labels), 1 / times[copy])
    of_group = np.zeros(n_groups, dtype=np.int64)
    size = members.sum(1)
    # groups of several different rows, the largest first, go where their classes are rarest
    filled = np.zeros((count, k))
    rarity = 1 / members.sum(0).clip(1)
    large = np.flatnonzero(size > 1.5)
    large = random.permutation(large)
    for g in large[np.argsort(-size[large], kind="stable")]:
        load = (filled * rarity) @ (members[g] > 0) + 1e-9 * filled.sum(1)
        fold = int(load.argmin())
        of_group[g] = fold
        filled[fold] += members[g]
    # single rows, class by class, fill the folds up to the same height
    small = np.flatnonzero(size <= 1.5)
    label = members[small].argmax(1)
    for c in range(k):
        of_class = random.permutation(small[label == c])
        of_group[of_class] = _fill(filled[:, c], len(of_class), random)
    return of_group[group]


def split(labels: Indices, groups: Indices, copies: Indices, seed: int) -> tuple[Indices, Indices, Indices]:
    """Row numbers of train, validation and test, each in the order of the table."""
    shuffle, number = divmod(seed, FOLDS)
    test = folds(labels, groups, copies, FOLDS, shuffle) == number
    rest = np.flatnonzero(~test)
    val = rest[hold_out(labels[rest], groups[rest], copies[rest], seed)]
    train = np.setdiff1d(rest, val)
    return train, val, np.flatnonzero(test)


def hold_out(labels: Indices, groups: Indices, copies: Indices, seed: int) -> NDArray[np.bool_]:
    """Which fifth of the rows is for validation: the fold that has most of the rarest class."""
    fold = folds(labels, groups, copies, FOLDS, 1000 + seed)
    counts = np.bincount(labels)
    rarest = int(np.where(counts > 0, counts, counts.max() + 1).argmin())
    return fold == np.bincount(fold[labels == rarest], minlength=FOLDS).argmax()


def _fill(heights: NDArray[np.float64], count: int, random: np.random.Generator) -> Indices:
    """The folds of `count` rows, chosen so that the heights become as equal as they can; in random order."""
    low, high = 0.0, heights.max() + count + 1
    for _ in range(60):
        level = (low + high) / 2
        low, high = (level, high) if np.maximum(level - heights, 0).sum() < count else (low, level)
    room = np.floor(np.maximum(high - heights, 0) + 1e-6).astype(np.int64)
    while room.sum() > count:
        room[np.argmax(heights + room)] -= 1
    tie = random.permutation(len(heights))
    while room.sum() < count:
        room[tie[np.argmin((heights + room)[tie])]] += 1
    return random.permutation(np.repeat(np.arange(len(heights)), room))
