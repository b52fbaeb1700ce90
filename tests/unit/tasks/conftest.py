"""A small table with everything in it: numbers, categories, a date, gaps, a constant, an identifier, copies."""

from pathlib import Path

import numpy as np
import polars
import pytest


@pytest.fixture(scope="session")
def frame() -> polars.DataFrame:
    """400 rows, 60 of class "bad"."""
    random = np.random.default_rng(0)
    n = 400
    bad = np.arange(n) < 60
    amount = random.lognormal(size=n) + 1.5 * bad
    kind = np.where(bad & (random.random(n) < 0.6), "wire", random.choice(["card", "cash"], n))
    days = random.integers(0, 300, n)
    table = polars.DataFrame(
        {
            "amount": amount.round(4),
            "age": [None if i % 9 == 0 else float(v) for i, v in enumerate(random.integers(18, 90, n))],
            "kind": kind,
            "day": [f"2024-{1 + d // 28 % 12:02d}-{1 + d % 28:02d}" for d in days],
            "country": ["de"] * n,
            "name": [f"customer {i:04d} {random.integers(1e9)}" for i in range(n)],
            "customer": random.integers(0, 150, n),
            "outcome": np.where(bad, "bad", "good"),
        }
    )
    return table.sample(fraction=1.0, shuffle=True, seed=1)


@pytest.fixture(scope="session")
def csv(frame: polars.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a file."""
    file = tmp_path_factory.mktemp("table") / "payments.csv"
    frame.write_csv(file)
    return file
