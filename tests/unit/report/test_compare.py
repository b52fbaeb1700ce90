"""Names, differences and the answer for several runs."""

from collections.abc import Callable
from pathlib import Path

import pytest

from focalkit.report import _compare
from focalkit.report._read import RunRecord


def record(name: str, ap: float | None = None, *, loss: str = "focal(gamma=2.0)", seed: int = 0, lr: float = 0.1):
    metrics = {} if ap is None else {"AP": ap}
    config = {"loss": loss, "seed": seed, "optim": {"lr": lr}}
    info = {"config": config, "seed": seed}
    return RunRecord(Path("runs") / name, name, info, result={"metrics": metrics, "finished": True})


def answer(*runs: RunRecord) -> str:
    return _compare.answer(runs, _compare.labels(runs))


def test_runs_are_named_by_the_first_thing_that_tells_them_apart():
    assert _compare.labels([record("a"), record("b", loss="bce")]) == ["focal loss", "cross-entropy"]
    by_parameters = [record("a", loss="focal(gamma=1)"), record("b", loss="focal(gamma=2)")]
    assert _compare.labels(by_parameters) == ["focal(gamma=1)", "focal(gamma=2)"]
    assert _compare.labels([record("a", seed=0), record("b", seed=1)]) == ["focal loss, seed 0", "focal loss, seed 1"]
    assert _compare.labels([record("a"), record("b", lr=0.2)]) == ["a", "b"]
    assert len(set(_compare.labels([record("a"), record("a")]))) == 2


def test_the_better_run_comes_first_in_the_answer_whatever_the_order():
    focal, ce = record("f", 0.30), record("c", 0.41, loss="bce")
    assert answer(focal, ce) == answer(ce, focal) == "Cross-entropy reaches 0.410 AP against 0.300 for focal loss."


def test_runs_equal_at_three_decimals_are_called_equal():
    said = answer(record("f", 0.3301), record("c", 0.3304, loss="bce"))
    assert said == "Cross-entropy and focal loss are equal at 0.330 AP."


def test_the_answer_of_three_names_the_best_and_the_next():
    said = answer(record("f", 0.3), record("c", 0.2, loss="bce"), record("x", 0.4, loss="ghm_c"))
    assert said == "ghm_c is the best of 3: 0.400 AP; next is focal loss, 0.300."


def test_runs_without_ap_are_not_ranked():
    assert answer(record("f"), record("c", loss="bce")) == "None of these runs has an AP yet."
    assert answer(record("f", 0.3), record("c", loss="bce")) == "Focal loss has 0.300 AP; the other runs have none yet."


def test_repeats_with_other_seeds_are_averaged():
    runs = [record(f"f{s}", ap, seed=s) for s, ap in enumerate((0.30, 0.32, 0.34))]
    runs += [record(f"c{s}", ap, seed=s, loss="bce") for s, ap in enumerate((0.20, 0.20, 0.23))]
    said = answer(*runs)
    assert said == "Focal loss reaches 0.320 ± 0.020 AP against 0.210 ± 0.017 for cross-entropy (3 seeds each)."
    assert _compare.caveats(runs, _compare.labels(runs)) == ["Mean and standard deviation over the seeds given here."]


def test_repeats_of_one_seed_are_runs_and_not_seeds():
    runs = [record(f"f{i}", ap) for i, ap in enumerate((0.30, 0.32, 0.34))]
    said = answer(*runs)
    assert said == "Focal loss: 0.320 ± 0.020 AP (3 runs)."
    assert _compare.caveats(runs, _compare.labels(runs)) == [
        "Mean and standard deviation over the runs given here, of which 2 repeat the seeds of others: they say less "
        "about other seeds than so many runs would."
    ]
    runs += [record(f"c{s}", ap, seed=s, loss="bce") for s, ap in enumerate((0.20, 0.20, 0.23))]
    assert answer(*runs).endswith("for cross-entropy (3 runs each).")
    pair = [runs[-1], *runs[:2], record("f9", 0.33, seed=9)]
    assert answer(*pair) == "Focal loss reaches 0.317 ± 0.015 AP against 0.230 for c2 (3, 1 runs)."
    assert "of which one repeats the seed of another" in _compare.caveats(pair, _compare.labels(pair))[0]


def test_a_small_difference_of_single_runs_is_called_possible_chance():
    close = _compare.caveats([record("f", 0.036), record("c", 0.033, loss="bce")], ["f", "c"])
    assert close[1:] == ["A difference as small as 0.003 may well be chance."]
    assert len(_compare.caveats([record("f", 0.41), record("c", 0.33, loss="bce")], ["f", "c"])) == 1


def test_other_differences_than_the_loss_are_admitted():
    runs = [record("f", 0.3), record("c", 0.2, loss="bce", lr=0.2)]
    assert _compare.differing(runs) == [("loss", ["focal(gamma=2.0)", "bce"]), ("optim.lr", ["0.1", "0.2"])]
    assert _compare.caveats(runs, ["a", "b"])[-1] == "The runs also differ in optim.lr."


def test_another_evaluation_set_forbids_the_comparison(make_run: Callable[..., Path]):
    from focalkit.report._read import read_run

    runs = [read_run(make_run("a")), read_run(make_run("b", loss="bce", classes=("x", "y")))]
    assert "cannot be compared" in _compare.caveats(runs, ["a", "b"])[0]
    said = _compare.answer(runs, ["a", "b"])
    assert said == "AP, each on its own images or classes and not to be compared: a 0.410, b 0.410."


def test_numbers_of_other_images_have_no_best_and_no_difference(make_run: Callable[..., Path]):
    from focalkit.report._read import read_run
    from focalkit.report._write import _metric_table

    runs = [read_run(make_run("a")), read_run(make_run("b", loss="bce", level=0.3))]
    assert all(best == {0} and gap for _, _, _, best, gap in _metric_table(runs)[:3])
    runs[1].evaluation["num_images"] += 1
    assert all(best == set() and gap == "" for _, _, _, best, gap in _metric_table(runs))


def folds(*aps: float, of: int = 5, loss: str = "focal(gamma=2.0)") -> list[RunRecord]:
    made = [record(f"{loss[0]}{i}", ap, loss=loss) for i, ap in enumerate(aps, 1)]
    for i, run in enumerate(made, 1):
        run.info["config"]["data"] = {"path": "pictures", "fold": f"{i}/{of}"}
        run.evaluation.update({"split": "val", "num_images": 8 + i})
    return made


def test_folds_of_one_division_are_answered_by_mean_and_spread():
    runs = folds(0.30, 0.32, 0.34)
    assert answer(*runs) == "Focal loss: 0.320 ± 0.020 AP (3 folds)."
    assert _compare.caveats(runs, ["a", "b", "c"]) == ["Mean and standard deviation over the folds given here."]
    runs += folds(0.20, 0.20, 0.23, loss="bce")
    assert (
        answer(*runs) == "Focal loss reaches 0.320 ± 0.020 AP against 0.210 ± 0.017 for cross-entropy (3 folds each)."
    )


def test_other_folds_or_another_division_are_not_compared():
    assert "not to be compared" in answer(*folds(0.30, 0.32), *folds(0.20, loss="bce"))
    assert "not to be compared" in answer(*folds(0.30, 0.32), *folds(0.20, 0.3, of=4))


@pytest.mark.parametrize(
    ("values", "best"),
    [([0.4, 0.3], {0}), ([0.3, 0.4, 0.4001], {1, 2}), ([0.4, 0.4], set()), ([0.4, None], set()), ([None, None], set())],
)
def test_the_best_is_judged_at_the_decimals_shown(values: list[float | None], best: set[int]):
    assert _compare.best_of(values) == best


def test_the_gap_is_the_first_minus_the_second_with_a_true_minus():
    assert _compare.gap([record("a", 0.3), record("b", 0.4)], "AP") == "\u22120.100"
    assert _compare.gap([record("a", 0.4), record("b", 0.3)], "AP") == "+0.100"
    assert _compare.gap([record("a", 0.4), record("b")], "AP") == ""
    assert _compare.gap([record("a", 0.4)] * 3, "AP") == ""
