"""Items that occur more than once, in one split or across splits: rows of a table, pictures, texts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from focalkit.findings._catalog import Finding

Array = NDArray[Any]


def hash_rows(columns: Sequence[Array]) -> Array:
    """A 64-bit hash of every row, uint64 (n,). Equal rows have equal hashes; NaN equals NaN, and -0 equals 0.

    Two different rows of a million share a hash with a probability of 3e-8.

    Args:
        columns: Each (n,), of numbers or strings; or (n, ...) of numbers, such as the bytes of pictures.

    Example:
        >>> first, second, third = hash_rows([np.array([1.0, 2.0, 1.0]), np.array(["a", "a", "a"])])
        >>> bool(first == third), bool(first == second)
        (True, False)
    """
    if not columns:
        raise ValueError("no columns to compare rows by")
    state = np.zeros(len(columns[0]), dtype=np.uint64)
    for column in columns:
        column = np.asarray(column)
        flat = column.reshape(len(column), -1)
        for part in flat.T:
            state = _mix(state + np.uint64(0x9E3779B97F4A7C15) ^ _codes(part))
    return state


def _codes(values: Array) -> Array:
    if values.dtype.kind in "fiub":
        number = values.astype(np.float64) + 0.0  # -0 becomes 0
        return np.where(np.isnan(number), np.nan, number).view(np.uint64)
    text = np.asarray(["" if v is None else str(v) for v in values.tolist()])
    unique, inverse = np.unique(text, return_inverse=True)
    import zlib

    keys = [zlib.crc32(t.encode()) << 32 | zlib.adler32(t[::-1].encode()) for t in unique.tolist()]
    return np.asarray(keys, dtype=np.uint64)[inverse]


def _mix(x: Array) -> Array:
    """The finaliser of SplitMix64 (Steele et al., 2014): every input bit moves every output bit."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def check_duplicates(
    hashes: Array,
    targets: Array | None = None,
    splits: Mapping[str, Array] | None = None,
    what: str = "rows",
    ids: Array | None = None,
) -> list[Finding]:
    """Findings about copies.

    Args:
        hashes: uint64 (n,), from `hash_rows`: of the features alone, without the target.
        targets: (n,), to tell whether copies agree.
        splits: Name -> indices; copies across "train" and any other are leaks.
        what: The word for items.
        ids: (n,), what items are called, such as file names; with them some are named.
    """
    unique, inverse, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    copies = len(hashes) - len(unique)
    found = []
    if copies:
        largest = int(counts.max())
        found.append(
            Finding(
                "FK111",
                f"{copies:,} of {len(hashes):,} {what} are copies of an earlier one"
                f" ({copies / len(hashes):.1%}; the most frequent occurs {largest:,} times)"
                + _named(ids, inverse, np.flatnonzero(counts > 1)),
                {"copies": copies, "items": len(hashes), "most": largest},
            )
        )
        if targets is not None:
            labels = np.unique(np.asarray(targets), return_inverse=True)[1]
            pairs = np.unique(np.stack([inverse, labels]), axis=1)
            torn = np.flatnonzero(np.bincount(pairs[0]) > 1)
            if len(torn):
                rows = int(counts[torn].sum())
                found.append(
                    Finding(
                        "FK112",
                        f"{rows:,} {what} equal another one that has another label" + _named(ids, inverse, torn),
                        {"groups": len(torn), "items": rows},
                    )
                )
    if splits and "train" in splits:
        trained = np.unique(hashes[splits["train"]])
        for name, index in splits.items():
            if name != "train" and (shared := int(np.isin(hashes[index], trained).sum())):
                found.append(
                    Finding(
                        "FK113",
                        f"{shared:,} of {len(index):,} {what} of {name} are also in train ({shared / len(index):.1%})",
                        {"split": name, "shared": shared, "items": len(index)},
                    )
                )
    return found


def _named(ids: Array | None, inverse: Array, groups: Array) -> str:
    """The first three groups of equal items by what they are called; nothing where they have no names."""
    if ids is None:
        return ""
    shown = [" = ".join(map(str, ids[np.flatnonzero(inverse == group)][:3])) for group in groups[:3]]
    return f": {'; '.join(shown)}" + (f"; and {len(groups) - 3} more" if len(groups) > 3 else "")
