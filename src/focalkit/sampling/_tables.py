"""Resampling of tables: the functions of items, and rows invented between neighbours (SMOTE, by imbalanced-learn)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from focalkit.errors import ConfigError

from ._indices import Labels, epoch_indices, read_sampler


def resample_table(
    x: NDArray[np.float32], y: Labels, spec: str | None, *, categorical: Sequence[int] = (), seed: int = 0
) -> tuple[NDArray[np.float32], Labels]:
    """Rows and labels after sampling.

    Args:
        x: (n, d), without missing values where rows are invented.
        y: (n,) class indices.
        spec: A sampler, such as "over", "under(ratio=0.5)" or "smote(k=5)"; None leaves the table as it is.
        categorical: Columns of `x` that are codes of categories; SMOTE takes those of the majority of the neighbours.
        seed: Fixes the result.

    Raises:
        ConfigError: No such sampler; SMOTE for a class with too few rows; imbalanced-learn is not installed.
    """
    name, arguments = read_sampler(spec)
    if name == "none":
        return x, y
    if name != "smote":
        chosen = np.sort(epoch_indices(spec, y, seed, 0))
        return x[chosen], y[chosen]
    try:
        from imblearn.over_sampling import SMOTE, SMOTEN, SMOTENC
    except ImportError as error:
        raise ConfigError("SMOTE needs the package imbalanced-learn: pip install 'focalkit[compare]'") from error
    counts = np.bincount(y)
    rarest = int(counts[counts > 0].min())
    if rarest < 2:
        raise ConfigError(f"SMOTE invents rows between two of a class, but one class has {rarest} row in training")
    k = min(int(arguments["k"]), rarest - 1)
    wanted: Any = {c: max(int(n), int(arguments["ratio"] * counts.max())) for c, n in enumerate(counts) if n}
    if len(categorical) == x.shape[1]:
        tool = SMOTEN(sampling_strategy=wanted, k_neighbors=k, random_state=seed)
    elif categorical:
        tool = SMOTENC(list(categorical), sampling_strategy=wanted, k_neighbors=k, random_state=seed)
    else:
        tool = SMOTE(sampling_strategy=wanted, k_neighbors=k, random_state=seed)
    new_x, new_y = tool.fit_resample(x, y)[:2]
    return np.asarray(new_x, dtype=np.float32), np.asarray(new_y)
