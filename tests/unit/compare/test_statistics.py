"""Verdicts are checked on simulated data whose effects are known, and against scipy where it has the same formula."""

import numpy as np
import pytest
from scipy import stats

from focalkit.compare.statistics import compare_methods, holm, item_bootstrap, item_counts, rank_methods


def simulated(generator, seeds, items, seed_noise, item_noise, effects, draws=100):
    """Scores and their resamples of a yardstick and of methods with the given true effects."""
    difficulty = generator.normal(size=items)
    counts = generator.multinomial(items, np.full(items, 1 / items), size=draws).T / items
    cells = {}
    for name, effect in {"ce": 0.0, **effects}.items():
        own = 0 if name == "ce" else effect + generator.normal(0, item_noise, items)
        noise = generator.normal(0, 0.3, (seeds, items))
        cells[name] = difficulty + own + generator.normal(0, seed_noise, (seeds, 1)) + noise
    return {n: c.mean(axis=1) for n, c in cells.items()}, {n: c @ counts for n, c in cells.items()}


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize(("seed_noise", "item_noise"), [(0.1, 0.0), (0.0, 1.0), (0.05, 0.5)])
def test_intervals_cover_the_true_difference_19_times_in_20(seeds, seed_noise, item_noise):
    # 200 simulations: a rate of .95 has a standard error of .0154; the record of 3,000 is in benchmarks/results
    generator, hits = np.random.default_rng(seeds), 0
    for _ in range(200):
        scores, resampled = simulated(generator, seeds, 100, seed_noise, item_noise, {"focal": 0.2})
        found = compare_methods(scores, "ce", resampled)[1]
        hits += found.low <= 0.2 <= found.high
    assert 0.90 <= hits / 200 <= 0.99


def test_methods_without_effect_are_rarely_called_better():
    generator, false = np.random.default_rng(0), 0
    nothing = {f"m{i}": 0.0 for i in range(6)}
    for _ in range(100):
        verdicts = compare_methods(*simulated(generator, 4, 100, 0.05, 0.3, nothing)[:1], "ce")
        false += any(v.outcome == "better" for v in verdicts)
    assert false / 100 <= 0.06


def test_a_large_effect_is_found_and_its_sign_is_right():
    scores, resampled = simulated(np.random.default_rng(1), 4, 300, 0.02, 0.1, {"good": 0.5, "bad": -0.5})
    assert [v.outcome for v in compare_methods(scores, "ce", resampled)] == ["yardstick", "better", "worse"]


def test_without_items_the_interval_is_that_of_the_paired_t_test():
    ce, focal = [0.50, 0.53, 0.49, 0.52], [0.55, 0.54, 0.56, 0.58]
    found = compare_methods({"ce": ce, "focal": focal}, "ce")[1]
    test = stats.ttest_rel(focal, ce)
    interval = test.confidence_interval()
    assert (found.low, found.high, found.p) == pytest.approx((interval.low, interval.high, test.pvalue))


def test_splits_of_the_same_data_widen_the_interval_as_nadeau_and_bengio_say():
    scores = {"ce": [0.50, 0.53, 0.49, 0.52, 0.5], "focal": [0.55, 0.54, 0.56, 0.58, 0.54]}
    apart, splits = (compare_methods(scores, "ce", overlap=overlap)[1] for overlap in (0.0, 0.25))
    assert (splits.high - splits.low) / (apart.high - apart.low) == pytest.approx((1 + 5 * 0.25) ** 0.5)


def test_a_difference_within_the_region_of_practical_equivalence_is_equivalent():
    scores = {"ce": [0.5, 0.5001, 0.4999, 0.5], "focal": [0.5002, 0.5002, 0.5001, 0.5002]}
    assert compare_methods(scores, "ce", rope=0.01)[1].outcome == "equivalent"
    assert compare_methods(scores, "ce", rope=0.0001)[1].outcome != "equivalent"


def test_two_seeds_are_too_few():
    assert compare_methods({"ce": [0.1, 0.1], "focal": [0.9, 0.9]}, "ce")[1].outcome == "too few seeds"


def test_a_missing_cell_takes_its_seed_out_of_the_pairs():
    scores = {"ce": [0.1, 0.2, 0.3, 0.4], "focal": [0.2, float("nan"), 0.4, 0.5]}
    found = compare_methods(scores, "ce")[1]
    assert (found.seeds, found.difference) == (3, pytest.approx(0.1))


def test_equal_cells_are_equivalent_and_never_better():
    found = compare_methods({"ce": [0.1, 0.2, 0.3], "same": [0.1, 0.2, 0.3]}, "ce")[1]
    assert (found.outcome, found.difference, found.p) == ("equivalent", 0.0, 1.0)


def test_holm_multiplies_the_smallest_p_by_the_number_of_methods():
    # Holm (1979): .01 x 4, .02 x 3, .03 x 2, .04 x 1, and never less than the one before
    assert holm([0.04, 0.01, 0.03, 0.02]) == [0.06, 0.04, 0.06, 0.06]
    assert holm([0.04, float("nan"), 0.5])[0] == 0.08


def test_the_critical_difference_is_nemenyis():
    # Demsar (2006), sec. 3.2.2: 4 classifiers, 14 data sets, q = 2.569: CD = 1.25
    table = np.random.default_rng(0).normal(size=(4, 14))
    found = rank_methods({str(i): row for i, row in enumerate(table)})
    assert found.critical_difference == pytest.approx(1.25, abs=0.005)
    assert sum(found.ranks.values()) == pytest.approx(10)


def test_groups_are_drawn_whole():
    groups = np.repeat([7, 3, 9], [2, 3, 1])
    for counts in item_counts(6, 20, groups=groups):
        assert len({tuple(counts[groups == g]) for g in (7, 3, 9)}) <= 3
        assert all(len(set(counts[groups == g])) == 1 for g in (7, 3, 9))


def test_every_method_meets_the_same_resamples():
    values = np.arange(5.0)
    scores = {"a": [lambda w: float(w @ values)], "b": [lambda w: float(w @ values) + 1]}
    found = item_bootstrap(scores, 5, draws=10)
    np.testing.assert_allclose(found["b"] - found["a"], 1)


def test_a_difference_that_does_not_matter_is_not_called_better():
    scores = {"ce": [0.5, 0.5001, 0.4999, 0.5], "focal": [0.5008, 0.5010, 0.5007, 0.5007]}
    assert compare_methods(scores, "ce", rope=0.001)[1].outcome != "better"
    assert compare_methods(scores, "ce", rope=0.0001)[1].outcome == "better"


def test_a_resample_without_a_value_does_not_take_the_items_away():
    generator = np.random.default_rng(0)
    scores = {"ce": [0.5, 0.51, 0.49], "focal": [0.55, 0.56, 0.54]}
    resampled = {name: np.asarray(v)[:, None] + generator.normal(0, 0.05, (1, 200)) for name, v in scores.items()}
    with_nan = {name: np.where(np.arange(200) == 3, np.nan, v) for name, v in resampled.items()}
    whole, holed = (compare_methods(scores, "ce", found)[1] for found in (resampled, with_nan))
    assert holed.high - holed.low == pytest.approx(whole.high - whole.low, rel=0.05)
