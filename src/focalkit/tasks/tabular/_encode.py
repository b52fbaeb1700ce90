"""From rows to what models take: learned from the training rows alone, stored with the model.

Networks get numbers mapped to a normal distribution by their quantiles; linear models standardised ones; trees the
numbers as they are. Missing numbers become the median, beside a column that says so.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._columns import Rows

QUANTILES = 256
REACH = 3.0
"""Normalised numbers end at so many standard deviations."""


@dataclass(frozen=True)
class Encoder:
    """What was learned from the training rows.

    Attributes:
        median, mean, scale: (d,) of the numbers.
        quantiles: (d, q) at the even levels 0..1.
        flagged: (m,) numbers that were missing somewhere and get a column for it.
        levels: (c,) codes of each category column.
        seen: (c, most) whether a code occurred; others become 0.
    """

    median: NDArray[np.float64]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    quantiles: NDArray[np.float64]
    flagged: NDArray[np.int64]
    levels: NDArray[np.int64]
    seen: NDArray[np.bool_]

    @staticmethod
    def of(rows: Rows) -> "Encoder":
        """Learn from training rows."""
        x = rows.numbers
        absent = np.isnan(x)
        empty = absent.all(0)
        known = np.where(empty, 0.0, x)
        median = np.nanmedian(known, 0) if x.shape[1] else np.zeros(0)
        mean = np.nanmean(known, 0) if x.shape[1] else np.zeros(0)
        scale = np.nanstd(known, 0) if x.shape[1] else np.zeros(0)
        levels = np.linspace(0, 1, QUANTILES)
        quantiles = np.nanquantile(known, levels, axis=0).T if x.shape[1] else np.zeros((0, QUANTILES))
        sizes = rows.codes.max(0, initial=0) + 1
        seen = np.zeros((rows.codes.shape[1], int(sizes.max(initial=1))), dtype=bool)
        for j in range(rows.codes.shape[1]):
            seen[j, np.unique(rows.codes[:, j])] = True
        seen[:, 0] = True
        # a column that is constant in training says nothing: its scale is 1, its value 0
        scale = np.where(scale > 1e-12 * np.maximum(1, np.abs(mean)), scale, 1.0)
        return Encoder(median, mean, scale, quantiles, np.flatnonzero(absent.any(0)), sizes, seen)

    def codes(self, rows: Rows) -> NDArray[np.int64]:
        """(n, c) codes; those that training never saw are 0."""
        c = rows.codes
        known = c < self.seen.shape[1]
        return np.where(known & self.seen[np.arange(c.shape[1]), np.where(known, c, 0)], c, 0)

    def normal(self, rows: Rows) -> NDArray[np.float32]:
        """(n, d + m): numbers by their quantiles as normal deviates, and flags of missing ones."""
        from scipy.special import ndtri

        x = np.where(np.isnan(rows.numbers), self.median, rows.numbers)
        levels = np.linspace(0, 1, QUANTILES)
        place = np.empty_like(x)
        for j, quantiles in enumerate(self.quantiles):
            # subtle: of a value that many rows share, the middle of its quantiles and not their end
            below = np.interp(x[:, j], quantiles, levels)
            above = 1 - np.interp(-x[:, j], -quantiles[::-1], levels)
            place[:, j] = (below + above) / 2
        edge = 0.5 - 0.5 * 0.9973  # the normal share beyond three standard deviations, on one side
        deviates = ndtri(place.clip(edge, 1 - edge)).clip(-REACH, REACH)
        return np.concatenate([deviates, self._flags(rows)], 1).astype(np.float32)

    def standard(self, rows: Rows) -> NDArray[np.float32]:
        """(n, d + m + one-hot): numbers standardised, flags, categories as columns."""
        x = np.where(np.isnan(rows.numbers), self.median, rows.numbers)
        parts = [((x - self.mean) / self.scale).clip(-1e3, 1e3), self._flags(rows)]
        codes = self.codes(rows)
        parts += [np.eye(int(size))[codes[:, j]] for j, size in enumerate(self.levels)]
        return np.concatenate(parts, 1).astype(np.float32)

    def plain(self, rows: Rows) -> NDArray[np.float64]:
        """(n, c + d): codes, with NaN for missing and unknown ones, then numbers with NaN."""
        codes = self.codes(rows).astype(np.float64)
        return np.concatenate([np.where(codes == 0, np.nan, codes - 1), rows.numbers], 1)

    def filled(self, rows: Rows) -> NDArray[np.float32]:
        """(n, d + m + c): numbers with the median for missing ones, flags, codes: for what knows no NaN."""
        x = np.where(np.isnan(rows.numbers), self.median, rows.numbers)
        return np.concatenate([x, self._flags(rows), self.codes(rows)], 1).astype(np.float32)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Name -> array, to be stored."""
        return {f"encoder.{name}": np.ascontiguousarray(value) for name, value in vars(self).items()}

    @staticmethod
    def from_arrays(arrays: dict[str, NDArray[Any]]) -> "Encoder":
        """The inverse; other names are passed over."""
        return Encoder(**{k.partition(".")[2]: v for k, v in arrays.items() if k.startswith("encoder.")})

    def _flags(self, rows: Rows) -> NDArray[np.float64]:
        return np.isnan(rows.numbers[:, self.flagged]).astype(np.float64)
