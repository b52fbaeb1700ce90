"""Cut-offs against every cut tried in a loop, the binomial test of scipy, and a small simulation of the guarantee."""

import math
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.stats import binom
from sklearn.metrics import fbeta_score, precision_recall_curve

from focalkit.calibration import choose_thresholds, minimum_cost_decisions
from focalkit.calibration._guarantee import binomial_tail
from focalkit.calibration._sweep import Cuts, precision_at_least, sweep


def rows(n: int = 400, seed: int = 0, digits: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores with many ties."""
    g = torch.Generator().manual_seed(seed)
    s = torch.rand(n, generator=g, dtype=torch.float64)
    return (s * 10**digits).round() / 10**digits, (torch.rand(n, generator=g, dtype=torch.float64) < s**2).long()


def every_cut(s: torch.Tensor, y: torch.Tensor, positives: int | None = None) -> list[tuple[float, float, float, int]]:
    """(cut, precision, recall, rows kept), the highest cut first."""
    total = int(y.sum()) if positives is None else positives
    cuts = []
    for cut in sorted(set(s.tolist()), reverse=True):
        kept = s >= cut
        hits = int(y[kept].sum())
        cuts.append((cut, hits / int(kept.sum()), hits / total, int(kept.sum())))
    return cuts


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("positives", [None, 300])
def test_each_aim_is_the_best_of_all_cuts(seed: int, positives: int | None):
    s, y = rows(seed=seed)
    cuts = every_cut(s, y, positives)

    def chosen(**aim: object) -> float:
        return float(choose_thresholds(s, y, num_positives=positives, bootstrap=0, **aim).values)

    assert chosen(target_precision=0.6) == max((c for c in cuts if c[1] >= 0.6), key=lambda c: (c[2], c[0]))[0]
    assert chosen(target_recall=0.3) == max(c[0] for c in cuts if c[2] >= 0.3)
    for beta in (0.5, 1.0, 2.0):
        f = {c[0]: (1 + beta**2) * c[1] * c[2] / (beta**2 * c[1] + c[2]) for c in cuts if c[1]}
        assert chosen(f_beta=beta) == max(f, key=lambda cut: (round(f[cut], 12), cut))
    cost = {c[0]: 3 * (c[3] - c[1] * c[3]) - 5 * c[1] * c[3] for c in cuts}
    assert chosen(costs=[[0, 3], [5, 0]]) == max(cost, key=lambda cut: (-round(cost[cut], 9), cut))


def test_f_beta_is_scikit_learns_at_the_cut():
    s, y = rows(1000, digits=6)
    found = choose_thresholds(s, y, f_beta=2)
    best = float(found.values)
    ours = fbeta_score(y, s >= best, beta=2)
    precision, recall, cuts = precision_recall_curve(y, s)
    f = 5 * precision * recall / (4 * precision + recall)
    assert ours == pytest.approx(np.nanmax(f[: len(cuts)]))
    assert float(found.precision) == pytest.approx(float(y[s >= best].double().mean()))
    low, high = found.interval.tolist()
    assert low <= best <= high


def test_ties_are_kept_or_cut_together_and_resolved_upwards():
    assert float(choose_thresholds([0.5, 0.5, 0.4], [1, 0, 1], target_recall=0.5).values) == 0.5
    # F1: {0.9} 2/3, all four 2/3: the higher cut
    found = choose_thresholds([0.9, 0.5, 0.5, 0.5], [1, 1, 0, 0], f_beta=1)
    assert float(found.values) == 0.9


def test_scores_are_ranked_as_floats_whatever_their_sign_and_width():
    odd = [math.inf, 1.5, 1e-45, 0.0, -0.0, -1e-45, -0.25, -3e38, -math.inf]
    for dtype in (torch.float32, torch.float64):
        scores = torch.cat([torch.tensor(odd, dtype=dtype), torch.randn(500, dtype=dtype)])[torch.randperm(509)]
        labels = torch.rand(509) < 0.3
        found = sweep(scores, labels)
        values = scores.unique().flip(0)
        assert found.scores.tolist() == values.tolist()
        assert found.kept.tolist() == [int((scores >= v).sum()) for v in values]
        assert found.hits.tolist() == [int((scores[labels] >= v).sum()) for v in values]


def test_counts_beyond_the_digits_of_float32_are_compared_exactly():
    kept, target = 2**24 + 1, 0.9
    for hits, enough in ((15099495, False), (15099496, True)):  # nine tenths are 15099495.3
        cuts = Cuts(torch.tensor([hits]), torch.tensor([kept]), torch.tensor(hits), torch.tensor(kept))
        assert bool(precision_at_least(target)(cuts)[1]) == enough


def test_a_row_that_costs_more_kept_than_missed_is_never_kept():
    found = choose_thresholds([0.9, 0.5], [1, 0], costs=[[0, 1], [0, 9]])
    assert float(found.values) > 0.9
    assert float(found.recall) == 0


@pytest.mark.parametrize(
    ("labels", "aim", "words"),
    [
        ([0, 0, 0], {"f_beta": 1}, "there are no positives"),
        ([0, 1, 0], {"target_precision": 0.9}, "no cut reaches precision 0.9; the highest precision is 0.5"),
        ([1, 1, 0], {"target_precision": 0.9, "confidence": 0.95}, "3 rows cannot show a precision"),
        ([1, 1, 0], {"target_recall": 0.9, "confidence": 0.95}, "2 positives cannot show a recall .* 29 are needed"),
        ([1, 1, 0], {"target_recall": 0.9, "num_positives": 9}, "no cut reaches recall 0.9"),
        ([0, 0, 0], {"target_recall": 0.9, "num_positives": 9}, "no positive has a score"),
    ],
)
def test_what_cannot_be_determined_is_nan_with_a_reason(labels: list[int], aim: dict, words: str):
    found = choose_thresholds([0.9, 0.8, 0.7], labels, **aim)
    assert math.isnan(found.values)
    assert re.search(words, found.reason)


def test_classes_have_their_own_cuts_and_rare_ones_the_pooled():
    s, y = rows(900)
    table, labels = s.view(300, 3), y.view(300, 3).clone()
    labels[:, 2] = 0
    labels[:3, 2] = 1
    found = choose_thresholds(table, labels, target_precision=0.5, min_positives=10, bootstrap=20)
    for c in (0, 1):
        alone = choose_thresholds(table[:, c], labels[:, c], target_precision=0.5, bootstrap=20)
        assert float(found.values[c]) == float(alone.values)
        assert torch.equal(found.interval[c], alone.interval)
    pooled = choose_thresholds(table.flatten(), labels.flatten(), target_precision=0.5, bootstrap=0)
    assert float(found.values[2]) == float(pooled.values)
    assert "3 positives, fewer than 10" in found.reason[2]
    json_ready = found.to_dict()
    assert json_ready["values"] == found.values.tolist()


def test_class_indices_are_judged_one_against_the_rest():
    p = torch.rand(200, 3, dtype=torch.float64).softmax(1)
    y = torch.randint(3, (200,))
    one_hot = torch.nn.functional.one_hot(y, 3)
    aim = {"target_recall": 0.8, "bootstrap": 0}
    assert torch.equal(choose_thresholds(p, y, **aim).values, choose_thresholds(p, one_hot, **aim).values)


# --- intervals --------------------------------------------------------------------------------------------------------


def test_the_interval_covers_the_best_cut_of_the_population():
    # precision of rows above t is (1 - t^3) / (3 (1 - t)): 0.6 at about t = 0.4165
    truth = float(np.roots([1, 1, 1 - 3 * 0.6])[1].real)
    inside = 0
    for seed in range(40):
        s, y = rows(1500, seed=seed, digits=9)
        low, high = choose_thresholds(s, y, target_precision=0.6, seed=seed, bootstrap=100).interval.tolist()
        inside += low <= truth <= high
    assert inside >= 32


def test_many_rows_are_put_into_cells_without_moving_the_interval():
    s, y = rows(20_000, digits=9)
    found = choose_thresholds(s, y, target_precision=0.6)
    low, high = found.interval.tolist()
    assert low < float(found.values) < high
    assert high - low < 0.1


def test_groups_widen_the_interval_where_they_agree():
    s, y = rows(50, digits=9)
    s, y = s.repeat_interleave(20) + torch.rand(1000, dtype=torch.float64) * 1e-6, y.repeat_interleave(20)
    alone = choose_thresholds(s, y, f_beta=1).interval
    together = choose_thresholds(s, y, f_beta=1, groups=torch.arange(50).repeat_interleave(20)).interval
    assert float(together.diff()) > float(alone.diff())


# --- guarantees -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "p"), [(1, 0.5), (30, 0.9), (1000, 0.05), (1000, 0.9), (10**6, 0.3)])
def test_the_binomial_tail_is_scipys(n: int, p: float):
    spread = math.sqrt(n * p * (1 - p))
    for hits in {0, 1, n, *(min(n, max(0, round(n * p + z * spread))) for z in (-3, 0, 1, 2, 5))}:
        assert binomial_tail(hits, n, p) == pytest.approx(binom.sf(hits - 1, n, p), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("digits", [9, 1])
@pytest.mark.parametrize("aim", ["target_precision", "target_recall"])
def test_the_guarantee_holds_in_a_simulation(aim: str, digits: int):
    # scores uniform on [0, 1] or in eleven values, a row is positive with probability s^(1/4)
    broken = determined = 0
    grid = (torch.arange(200_001, dtype=torch.float64) / 200_000 * 10**digits).round() / 10**digits
    eta = grid**0.25
    for seed in range(60):
        g = torch.Generator().manual_seed(seed)
        s = (torch.rand(600, generator=g, dtype=torch.float64) * 10**digits).round() / 10**digits
        y = torch.rand(600, generator=g, dtype=torch.float64) < s**0.25
        value = float(choose_thresholds(s, y, **{aim: 0.9}, confidence=0.9).values)
        if not math.isnan(value):
            determined += 1
            kept = grid >= value
            truth = float(eta[kept].mean()) if aim == "target_precision" else float(eta[kept].sum() / eta.sum())
            broken += truth < 0.9
    assert determined > 40
    assert broken <= 12  # 10 % of 60 and three standard deviations


# --- costs of several classes -----------------------------------------------------------------------------------------


def test_factors_find_the_decisions_of_least_cost():
    g = torch.Generator().manual_seed(0)
    eta = (1.5 * torch.randn(4000, 3, generator=g, dtype=torch.float64)).softmax(1)
    y = torch.multinomial(eta, 1, generator=g)[:, 0]
    costs = torch.tensor([[0.0, 1, 1], [1, 0, 1], [8, 8, 0]], dtype=torch.float64)
    found = choose_thresholds(eta, y, costs=costs)
    decided = (eta * found.values).argmax(1)
    bayes = minimum_cost_decisions(eta, costs)
    plain = costs[y, eta.argmax(1)].mean()
    assert costs[y, decided].mean() <= 1.02 * costs[y, bayes].mean() < 0.8 * plain
    assert float(found.values[2]) > 2 * float(found.values[0])


def test_decisions_are_those_of_least_expected_cost():
    p = torch.rand(50, 4, dtype=torch.float64).softmax(1)
    costs = torch.rand(4, 5, dtype=torch.float64)
    expected = [min(range(5), key=lambda d: sum(float(p[i, t] * costs[t, d]) for t in range(4))) for i in range(50)]
    assert minimum_cost_decisions(p, costs).tolist() == expected


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ("exactly one of", {}),
        ("exactly one of", {"f_beta": 1, "target_recall": 0.5}),
        ("target_precision must be above 0", {"target_precision": 1.5}),
        ("target_recall must be above 0", {"target_recall": 0.0}),
        ("confidence must lie", {"f_beta": 1, "confidence": 0.9}),
        ("confidence must lie", {"target_recall": 0.9, "confidence": 95}),
        ("f_beta must be positive", {"f_beta": -1}),
        ("costs must be 2 x 2", {"costs": [1, 2]}),
        ("costs must be finite", {"costs": [[0, float("nan")], [1, 0]]}),
        ("num_positives is 0, but 1 rows", {"f_beta": 1, "num_positives": 0}),
        ("expected groups of shape", {"f_beta": 1, "groups": [1, 2, 3]}),
    ],
)
def test_bad_arguments_are_named(words: str, arguments: dict):
    with pytest.raises(ValueError, match=words):
        choose_thresholds([0.9, 0.1], [1, 0], **arguments)


def test_scores_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="NaN or infinity, first in row 1"):
        choose_thresholds([0.9, float("nan")], [1, 0], f_beta=1)
    with pytest.raises(ValueError, match="costs must be 3 x 3"):
        choose_thresholds(torch.rand(9, 3), torch.arange(9) % 3, costs=[[0, 1], [1, 0]])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_million_scores_take_at_most_32_bytes_each():
    """A process of its own: its peak beyond the inputs."""
    code = """if True:
        import resource, torch
        from focalkit.calibration import choose_thresholds

        generator = torch.Generator().manual_seed(0)
        scores = torch.rand(1_000_000, generator=generator)
        labels = torch.rand(1_000_000, generator=generator) < scores
        choose_thresholds(scores[:100], labels[:100], target_precision=0.5, bootstrap=0)
        # the peak so far may lie above what is in use: fill the gap, so that what follows shows
        used = int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
        filler = torch.ones(max(0, 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used) // 4)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found = choose_thresholds(scores, labels, target_precision=0.9, bootstrap=0)
        assert 0.78 < float(found.values) < 0.82
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / 1_000_000)
    """
    # each tensor in pages of its own: what malloc keeps of freed ones, 0 to 30 bytes a row, is none of ours
    env = os.environ | {"MALLOC_MMAP_THRESHOLD_": "131072"}
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert 20 < float(said.stdout) <= 32
