"""Tuning: equal trials, validation only, resumable; and workers that die."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from focalkit.compare import Comparison, Method, Range, compare
from focalkit.compare.engines import processes, serial, threads_for
from focalkit.compare.evaluate import Thresholds, default_thresholds, tuned_thresholds, value_of
from focalkit.compare.findings import _edges
from focalkit.errors import ConfigError
from focalkit.tasks import Metric, Outputs
from focalkit.tasks._scores import average_precision, macro_f1

BAD = Method("bad", loss="bce", tasks=None)


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """What worker processes are given is pickled by the name of this module, which lies below the checkout."""
    monkeypatch.syspath_prepend(Path(__file__).parents[3])


@pytest.fixture
def tuned(toy, data: Path, tmp_path: Path):
    return compare(data, ["ce", Method("other", tasks=None, loss="focal")], out=tmp_path / "out", seeds=2, tune=4)


def trials(out: Path) -> dict[str, list[dict]]:
    files = sorted((out / "cells").glob("*/tuning/*.jsonl"))
    return {
        f"{f.parent.parent.name}/{f.stem}": [json.loads(line) for line in f.read_text().splitlines()] for f in files
    }


def test_every_method_has_the_same_trials(tuned, tmp_path: Path):
    rows = trials(tmp_path / "out")
    assert {name: len(of) for name, of in rows.items()} == dict.fromkeys(
        ("ce/seed0", "ce/seed1", "other/seed0", "other/seed1"), 4
    )
    assert all(of[0]["values"] == {} for of in rows.values()), "the first trial is the method as it stands"
    assert all(set(row["values"]) == {"lr"} for of in rows.values() for row in of[1:])
    record = tuned.store.cell("ce", 0).record
    assert record["tuned"]["value"] == max(row["value"] for row in rows["ce/seed0"])
    assert record["tuned"]["trials"] == 4


def test_trials_never_see_the_test_part(toy, data: Path, tmp_path: Path, monkeypatch):
    seen = []
    usual = toy.Toy.fit
    monkeypatch.setattr(
        toy.Toy, "fit", lambda self, m, splits, *rest: seen.append(splits.test) or usual(self, m, splits, *rest)
    )
    compare(data, ["ce"], out=tmp_path / "out", seeds=1, tune=3)
    assert [part is None for part in seen] == [True, True, True, False]


def test_a_search_that_was_cut_off_tries_what_it_would_have_tried(tuned, toy, data: Path, tmp_path: Path):
    out = tmp_path / "again" / "cells" / "ce" / "tuning"
    out.mkdir(parents=True)
    lines = (tmp_path / "out" / "cells" / "ce" / "tuning" / "seed0.jsonl").read_text().splitlines()
    (out / "seed0.jsonl").write_text("\n".join(lines[:2]) + "\n" + lines[2][:10])
    compare(data, ["ce"], out=tmp_path / "again", seeds=1, tune=4)
    whole, again = ([row["values"] for row in trials(tmp_path / d)["ce/seed0"]] for d in ("out", "again"))
    assert again == whole


def test_a_search_without_a_success_is_the_failure_of_its_cell(toy, data: Path, tmp_path: Path):
    found = compare(data, ["ce", BAD], out=tmp_path / "out", seeds=1, tune=2)
    assert "no trial of bad succeeded: this loss always fails here" in found.store.cell("bad", 0).record["error"]


def test_a_search_without_a_success_begins_anew(toy, data: Path, tmp_path: Path):
    """What was wrong, such as a missing package, may be mended by then."""
    tuning = tmp_path / "out" / "cells" / "ce" / "tuning"
    tuning.mkdir(parents=True)
    failed = '{"values": {}, "value": null, "error": "this needs the package x", "seconds": 0.1}\n'
    (tuning / "seed0.jsonl").write_text(2 * failed)
    found = compare(data, ["ce"], out=tmp_path / "out", seeds=1, tune=2)
    assert found.store.cell("ce", 0).status == "done"
    assert [row["error"] for row in trials(tmp_path / "out")["ce/seed0"]] == ["", ""]


def test_an_optimum_at_the_edge_is_a_finding(tuned, tmp_path: Path):
    file = tuned.store.cell("ce", 0).folder / "cell.json"
    record = json.loads(file.read_text())
    record["tuned"]["values"] = {"lr": 1.0}
    file.write_text(json.dumps(record))
    assert "ce: the best lr lies at the edge of 0.001 to 1 in 1 of 2 searches" in edges_of(tuned)


def test_a_search_that_seeds_share_counts_once(tuned):
    tuned.store.write_plan(replace(tuned.plan, resplits=False))
    for seed in (0, 1):
        file = tuned.store.cell("ce", seed).folder / "cell.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"tuned": {"values": {"lr": 1.0}}}))
    found = edges_of(Comparison(tuned.store.out))
    assert found["ce: the best lr lies at the edge of 0.001 to 1"] == 1


def edges_of(comparison: Comparison) -> dict[str, int]:
    """What FK301 says -> in how many searches."""
    return {f.seen: f.values["searches"] for f in _edges(comparison)}


@pytest.mark.parametrize(("value", "edge"), [(1e-3, True), (1.0, True), (0.03, False)])
def test_the_edge_of_a_range_is_on_its_own_scale(value: float, edge: bool):
    assert Range(1e-3, 1.0, log=True).at_edge(value) is edge


def binary(scores, targets) -> Outputs:
    logits = np.stack([np.zeros(len(scores)), np.asarray(scores)], 1).astype(np.float32)
    return Outputs(np.arange(len(scores)), np.asarray(targets), logits)


def test_the_tuned_threshold_is_the_best_there_is():
    random = np.random.default_rng(0)
    y = (random.random(200) < 0.1).astype(int)
    outputs = binary(random.normal(size=200) + 2 * y - 4, y)
    metric = Metric("macro_f1", macro_f1, of="decisions")
    found = value_of(metric, outputs, tuned_thresholds(outputs, metric))
    p = outputs.probabilities[:, 1]
    assert found == max(macro_f1((p >= t).astype(int), y) for t in [*p, 1.1])
    ranking = Metric("ap", average_precision)
    assert value_of(ranking, outputs, tuned_thresholds(outputs, metric)) == value_of(
        ranking, outputs, default_thresholds(outputs)
    )


def test_few_validation_items_keep_the_default():
    outputs = binary(np.linspace(-5, -1, 49), np.arange(49) % 2)
    tuned = tuned_thresholds(outputs, Metric("macro_f1", macro_f1, of="decisions"))
    assert tuned.values == (0.5, 0.5)
    assert "at least 50" in tuned.note


def test_thresholds_of_many_classes_help_the_rare_ones():
    random = np.random.default_rng(0)
    y = random.choice(3, 600, p=[0.8, 0.15, 0.05])
    logits = random.normal(size=(600, 3)) + 2 * np.eye(3)[y] + np.log([0.8, 0.15, 0.05])
    outputs = Outputs(np.arange(600), y, logits.astype(np.float32))
    metric = Metric("macro_f1", macro_f1, of="decisions")
    tuned = tuned_thresholds(outputs, metric)
    assert value_of(metric, outputs, tuned) > value_of(metric, outputs, default_thresholds(outputs))
    assert tuned.values[2] < tuned.values[0]


def test_labels_have_thresholds_of_their_own():
    decided = Thresholds((0.2, 0.9)).decide(np.array([[0.3, 0.8], [0.1, 0.95]]), multilabel=True)
    assert decided.tolist() == [[1, 0], [0, 1]]


def square(x: int) -> int:
    if x == 3:
        os._exit(1)  # what a worker without memory left does
    return x * x


@pytest.mark.parametrize("engine", [serial, processes])
def test_engines_do_every_job_once(engine):
    started = []
    done = dict(engine([1, 2, 4, 5], square, 2, started.append))
    assert done == {1: 1, 2: 4, 4: 16, 5: 25}
    assert sorted(started) == [1, 2, 4, 5]


def test_a_job_that_kills_its_worker_is_tried_twice_and_given_up():
    started = []
    assert dict(processes([1, 3, 2], square, 2, started.append)) == {1: 1, 2: 4, 3: None}
    assert started.count(3) == 2


def test_workers_share_the_processors(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("focalkit.compare.engines.processors", lambda: 8)
    assert [threads_for(n) for n in (1, 2, 3, 16)] == [8, 4, 2, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert threads_for(1) == 2


def test_adjusting_by_the_prior_gives_back_the_true_frequencies(toy):
    from focalkit.compare.adjust import adjusted

    outputs = Outputs(np.arange(1), np.zeros(1, int), np.log([[0.5, 0.5]]).astype(np.float32))
    found = adjusted(outputs, "prior_correction", [90, 10], {"training_prior": [0.5, 0.5]})
    np.testing.assert_allclose(found.probabilities, [[0.9, 0.1]], rtol=1e-6)


@pytest.mark.parametrize("alpha", [None, 0.25])
@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
def test_the_posterior_of_focal_loss_is_that_of_calibration(link: str, alpha: float | None):
    from focalkit.calibration import focal_to_posterior
    from focalkit.compare.adjust import adjusted, without_focal

    logits = np.random.default_rng(0).normal(size=(20, 2), scale=3).astype(np.float32)
    targets = np.zeros(20, int) if link == "softmax" else np.zeros((20, 2), int)
    outputs = Outputs(np.arange(20), targets, logits, link=link)
    found = adjusted(outputs, f"focal_posterior(gamma=2.0, alpha={alpha})", [90, 10], {})
    if link == "softmax":  # of two classes: one sigmoid
        wanted = focal_to_posterior(outputs.probabilities[:, 1], 2.0, alpha, kind="sigmoid")
        np.testing.assert_allclose(found.probabilities[:, 1], wanted, rtol=1e-5)
    else:
        wanted = focal_to_posterior(outputs.probabilities, 2.0, alpha, kind="sigmoid")
        np.testing.assert_allclose(found.probabilities, wanted, rtol=1e-5)
    again = without_focal(outputs, f"focal(gamma=2.0, alpha={alpha})", None)
    np.testing.assert_array_equal(again.logits, found.logits)


def test_another_gamma_of_the_posterior_method_is_what_is_undone():
    from focalkit.compare._specs import resolve

    method = resolve(["focal_posterior(gamma=1.0)"], "tabular")[0]
    assert ("gamma=1.0" in method.loss, "gamma=1.0" in (method.adjust or "")) == (True, True)


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"class_weight": "inverse"}, r"'mine' weighs classes \(inverse\) and is adjusted by focal_posterior"),
        ({"loss": "ce"}, "'mine' is adjusted by focal_posterior.*, but it was trained with the loss ce"),
        ({"loss": "focal(alpha=None, gamma=1.0)"}, r"expected focal_posterior\(gamma=1\.0, alpha=None\)"),
    ],
)
def test_a_posterior_of_another_training_is_refused_before_the_first_fit(parts: dict[str, str], says: str):
    from focalkit.compare._specs import resolve

    good = Method("mine", loss="focal(alpha=None, gamma=2.0)", adjust="focal_posterior(gamma=2.0)")
    assert resolve([good], "tabular") == (good,)
    with pytest.raises(ConfigError, match=says):
        resolve([replace(good, **parts)], "tabular")


def test_the_posterior_of_extreme_logits_is_finite():
    from focalkit.compare.adjust import adjusted

    logits = np.array([[900.0, -900.0], [-80.0, 80.0]], dtype=np.float32)
    for link in ("softmax", "sigmoid"):
        found = adjusted(Outputs(np.arange(2), np.zeros(2, int), logits, link=link), "focal_posterior", [1, 1], {})
        assert np.isfinite(found.logits).all()
        np.testing.assert_allclose(found.probabilities, [[1, 0], [0, 1]], atol=1e-12)


@pytest.mark.parametrize(
    "loss",
    ["bce", "default", "my.module:Loss", "focal(gamma=2.0, gamma_neg=1.0)", "focal(pos_weight=9.0)"],
)
def test_no_posterior_is_made_up_for_other_losses(loss: str):
    from focalkit.compare.adjust import without_focal

    outputs = Outputs(np.arange(1), np.zeros(1, int), np.zeros((1, 2), np.float32))
    with pytest.raises(
        ConfigError, match=r"the inverse (of focal loss with one gamma is known|with pos_weight is not known)"
    ):
        without_focal(outputs, loss, None)
    with pytest.raises(ConfigError, match=r"its classes were weighted \(inverse\)"):
        without_focal(outputs, "focal(gamma=2.0)", "inverse")
