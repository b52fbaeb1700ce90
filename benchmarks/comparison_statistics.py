"""How often the intervals of `focalkit.compare` hold the truth, on simulated comparisons whose effects are known.

    python benchmarks/comparison_statistics.py

writes benchmarks/results/comparison_statistics.json: per setting the coverage of the 95 % intervals, that of a
percentile bootstrap over seeds and items, and how often any of six methods without an effect is called better. Under
"few seeds": what two seeds would do if they were given a verdict, beside three, and how often each finds one method
with an effect of 0.5 among five without.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from focalkit.compare import statistics
from focalkit.compare.statistics import compare_methods

# standard deviations over seeds and, of the difference, over items
SETTINGS = {"seeds dominate": (0.05, 0.1), "both": (0.05, 0.5), "items dominate": (0.0, 1.0)}
ITEMS, NOISE, DRAWS, EFFECT, LARGE = 300, 0.3, 200, 0.2, 0.5


def simulate(generator, seeds, seed_noise, item_noise, effects):
    difficulty = generator.normal(size=ITEMS)
    counts = generator.multinomial(ITEMS, np.full(ITEMS, 1 / ITEMS), size=DRAWS).T / ITEMS
    cells = {}
    for i, effect in enumerate(effects):
        own = 0 if i == 0 else effect + generator.normal(0, item_noise, ITEMS)
        noise = generator.normal(0, NOISE, (seeds, ITEMS))
        cells[str(i)] = difficulty + own + generator.normal(0, seed_noise, (seeds, 1)) + noise
    return {n: c.mean(axis=1) for n, c in cells.items()}, {n: c @ counts for n, c in cells.items()}


def percentile(generator, resampled, seeds):
    """The interval of a bootstrap that draws seeds and items."""
    pairs = resampled["1"] - resampled["0"]
    drawn = np.take_along_axis(pairs, generator.integers(seeds, size=pairs.shape), axis=0)
    return np.quantile(drawn.mean(axis=0), [0.025, 0.975])


def few_seeds(simulations):
    """Coverage, false and true "better" of two seeds, if these were enough for a verdict, and of three."""
    generator, rows, least = np.random.default_rng(1), [], statistics.LEAST_SEEDS
    statistics.LEAST_SEEDS = 2
    for name, noises in SETTINGS.items():
        for seeds in (2, 3):
            covered = false = found = 0
            for _ in range(simulations):
                scores, resampled = simulate(generator, seeds, *noises, (0.0, LARGE, *[0.0] * 5))
                _, real, *others = compare_methods(scores, "0", resampled)
                covered += real.low <= LARGE <= real.high
                found += real.outcome == "better"
                false += any(v.outcome == "better" for v in others)
            rates = {"coverage": covered, "any_false_better": false, "found": found}
            rates = {key: count / simulations for key, count in rates.items()}
            rows.append({"setting": name, "seeds": seeds, **rates})
            print(rows[-1], flush=True)
    statistics.LEAST_SEEDS = least
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=3000)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "comparison_statistics.json")
    args = parser.parse_args()
    generator, rows = np.random.default_rng(0), []
    for name, noises in SETTINGS.items():
        for seeds in (3, 5):
            covered = bootstrap = false = 0
            for _ in range(args.simulations):
                scores, resampled = simulate(generator, seeds, *noises, (0.0, EFFECT))
                found = compare_methods(scores, "0", resampled)[1]
                covered += found.low <= EFFECT <= found.high
                low, high = percentile(generator, resampled, seeds)
                bootstrap += bool(low <= EFFECT <= high)
                scores, resampled = simulate(generator, seeds, *noises, (0.0,) * 7)
                false += any(v.outcome == "better" for v in compare_methods(scores, "0", resampled))
            rates = {"coverage": covered, "percentile_bootstrap": bootstrap, "any_false_better": false}
            rates = {key: count / args.simulations for key, count in rates.items()}
            rows.append({"setting": name, "seeds": seeds, **rates})
            print(rows[-1], flush=True)
    result = {"command": "python benchmarks/comparison_statistics.py", "simulations": args.simulations, "rows": rows}
    result["few seeds"] = few_seeds(args.simulations)
    args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
