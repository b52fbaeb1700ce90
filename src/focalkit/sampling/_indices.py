"""Which items an epoch sees: over- and under-sampling, class-balanced and repeat-factor sampling, as functions.

All of them choose among the items there are, so they serve every kind of data. New items (SMOTE) are for tables alone.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from focalkit._config_io import nearest
from focalkit.errors import ConfigError

SAMPLERS: dict[str, dict[str, float]] = {
    "class_balanced": {"power": 1.0},
    "over": {"ratio": 1.0},
    "repeat_factor": {"t": 0.01, "power": 0.5},
    "smote": {"k": 5, "ratio": 1.0},
    "sqrt": {},
    "under": {"ratio": 1.0},
}
"""Name -> its arguments with their defaults."""

Labels = NDArray[Any]


def read_sampler(spec: str | None) -> tuple[str, dict[str, float]]:
    """The name and all arguments of "over(ratio=0.5)"; None is ("none", {}).

    Raises:
        ConfigError: There is no such sampler, or an argument it does not have, or one out of range.

    Example:
        >>> read_sampler("repeat_factor(t=0.1)")
        ('repeat_factor', {'t': 0.1, 'power': 0.5})
    """
    if spec is None:
        return "none", {}
    from focalkit.losses import parse

    name, given = parse(spec)
    if name not in SAMPLERS:
        raise ConfigError(f"there is no sampler {name!r}{nearest(name, list(SAMPLERS))}")
    known = SAMPLERS[name]
    for key, value in given.items():
        if key not in known:
            raise ConfigError(f"the sampler {name!r} has no argument {key!r}{nearest(key, list(known))}")
        if not isinstance(value, int | float) or value <= 0 or (key in ("ratio", "t") and value > 1):
            bound = "above 0 and at most 1" if key in ("ratio", "t") else "above 0"
            raise ConfigError(f"{key} of the sampler {name!r} must be a number {bound}, got {value!r}")
    return name, {**known, **given}


def epoch_indices(spec: str | None, labels: Labels, seed: int, epoch: int) -> NDArray[np.int64]:
    """The items of one epoch, in random order.

    Args:
        spec: "over(ratio=1.0)": items of rarer classes repeated until a class has `ratio` of the most frequent one's;
            "under(ratio=1.0)": items of frequent classes dropped until the rarest has `ratio` of each;
            "class_balanced(power=1.0)": as many draws as there are items, with replacement, class c drawn in
            proportion to n_c^(1 - power); "sqrt": the same with power 1/2 (Mahajan et al., 2018);
            "repeat_factor(t=0.01, power=0.5)": an item of class c repeated max(1, (t / f_c)^power) times, the fraction
            by chance (Gupta et al., 2019, sec. 3); None: every item once.
        labels: (n,) class indices.
        seed: What `over` and `under` choose once and for all.
        epoch: What changes from epoch to epoch.

    Example:
        >>> labels = np.array([0, 0, 0, 0, 1])
        >>> np.bincount(labels[epoch_indices("over", labels, seed=0, epoch=0)]).tolist()
        [4, 4]
    """
    name, arguments = read_sampler(spec)
    random = np.random.default_rng([seed, epoch, 1])
    once = np.random.default_rng([seed, 0, 2])
    if name == "none":
        chosen = np.arange(len(labels))
    elif name in ("over", "under"):
        chosen = _resized(labels, _wanted(name, _counts(labels), arguments["ratio"]), once)
    elif name == "repeat_factor":
        factors = _repeat_factors(_counts(labels), arguments["t"], arguments["power"])[labels]
        repeats = np.floor(factors) + (random.random(len(labels)) < factors % 1)
        chosen = np.repeat(np.arange(len(labels)), repeats.astype(np.int64))
    elif name in ("class_balanced", "sqrt"):
        weights = draw_weights(labels, arguments.get("power", 0.5))
        chosen = random.choice(len(labels), size=len(labels), p=weights / weights.sum())
    else:
        raise ConfigError(f"the sampler {name!r} makes new rows, which only tables can have")
    return random.permutation(chosen).astype(np.int64)


def draw_weights(labels: Labels, power: float = 1.0) -> NDArray[np.float64]:
    """Chance of each item to be drawn, up to a factor: n_c^-power, so that class c has n_c^(1 - power) of the draws.

    Example:
        >>> draw_weights(np.array([0, 0, 1])).tolist()
        [0.5, 0.5, 1.0]
    """
    return (_counts(labels).clip(1) ** -power)[labels]


def item_repeat_factors(labels: Sequence[Sequence[int]], t: float, power: float = 0.5) -> NDArray[np.float64]:
    """How often each of (n,) items that show several classes is repeated (Gupta et al., 2019, sec. 3).

    That of its rarest class: max(1, (t / f)^power) with f the share of the items that show the class.

    Args:
        labels: The classes that each item shows; an item may show none.
        t: Classes that a smaller share of the items shows are repeated.
        power: 1/2 in the paper.

    Example:
        >>> item_repeat_factors([[0], [0, 1], [0], [0]], t=1.0).tolist()
        [1.0, 2.0, 1.0, 1.0]
    """
    shown = [frozenset(item) for item in labels]
    counts = np.bincount([c for item in shown for c in item], minlength=1)
    factors = np.maximum(1.0, (t * len(shown) / counts.clip(1)) ** power)
    return np.array([max((float(factors[c]) for c in item), default=1.0) for item in shown], dtype=np.float64)


def taught_prior(spec: str | None, counts: Sequence[int]) -> NDArray[np.float64]:
    """The share of each class in what the training sees, of classes with so many items.

    Example:
        >>> taught_prior("sqrt", [400, 100]).round(3).tolist()
        [0.667, 0.333]
    """
    name, arguments = read_sampler(spec)
    n = np.asarray(counts, dtype=np.float64)
    if name in ("over", "smote", "under"):
        n = _wanted("over" if name == "smote" else name, n, arguments["ratio"])
    elif name in ("class_balanced", "sqrt"):
        n = np.where(n > 0, n.clip(1) ** (1 - arguments.get("power", 0.5)), 0.0)
    elif name == "repeat_factor":
        n = n * _repeat_factors(n, arguments["t"], arguments["power"])
    return n / n.sum()


def _counts(labels: Labels) -> NDArray[np.float64]:
    return np.bincount(labels).astype(np.float64)


def _repeat_factors(counts: NDArray[np.float64], t: float, power: float) -> NDArray[np.float64]:
    share = counts.clip(1) / counts.sum()
    return np.maximum(1.0, (t / share) ** power)


def _wanted(name: str, counts: NDArray[np.float64], ratio: float) -> NDArray[np.float64]:
    """Items that each class should have."""
    there = counts > 0
    if name == "over":
        return np.where(there, np.maximum(counts, np.floor(ratio * counts.max())), 0)
    return np.where(there, np.minimum(counts, np.ceil(counts[there].min() / ratio)), 0)


def _resized(labels: Labels, wanted: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.int64]:
    """Every class with as many items as wanted: all of them and repeats by chance, or some by chance."""
    parts = []
    for c, count in enumerate(wanted.astype(int)):
        items = np.flatnonzero(labels == c)
        if count > len(items):
            items = np.concatenate([items, random.choice(items, count - len(items))])
        elif count < len(items):
            items = random.choice(items, count, replace=False)
        parts.append(items)
    return np.concatenate(parts)
