"""The page of a comparison, made from a toy comparison; its figures against numbers that are known."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve

from focalkit.compare import METHODS, Comparison, compare
from focalkit.compare.statistics import compare_methods
from focalkit.compare.summary import lines
from focalkit.errors import ConfigError
from focalkit.report import _methods, write_comparison
from focalkit.report._comparison_facts import how_it_was_done
from focalkit.report._sensitivity import sensitivity
from focalkit.tasks import Budget, Outputs


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """600 rows, one in ten positive; the name of a class is hostile."""
    generator = np.random.default_rng(0)
    y = generator.random(600) < 0.15
    x = generator.normal(size=(600, 3)) + y[:, None]
    rows = [f"{a:.3f},{b:.3f},{c:.3f},{'<b>bad' if t else 'good'}" for (a, b, c), t in zip(x, y, strict=True)]
    file = tmp_path_factory.mktemp("table") / "toy.csv"
    file.write_text("\n".join(["a,b,c,target", *rows]) + "\n")
    return file


@pytest.fixture(scope="module")
def comparison(table, tmp_path_factory):
    out = tmp_path_factory.mktemp("cmp") / "out"
    return compare(table, ["logistic", "logistic_balanced"], yardstick="logistic", seeds=3, out=out)


def test_the_page_says_the_sentence_and_every_method_and_fetches_nothing(comparison):
    page = write_comparison(comparison.store.out).read_text(encoding="utf-8")
    assert "logistic_balanced" in page
    assert re.search(r"<h1>[^<]*logistic[^<]*</h1>", page)
    before_plotly = page.partition("<script>")[0]
    assert not re.search(r"""(src|href)=["']https?:""", before_plotly)
    assert "default-src 'none'" in before_plotly


def test_names_from_the_data_are_escaped(comparison):
    page = write_comparison(comparison.store.out).read_text(encoding="utf-8")
    assert "<b>bad" not in page
    assert "&lt;b&gt;bad" in page


def test_a_missing_cell_is_named(comparison, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(comparison.store.out, copy, symlinks=True)
    shutil.rmtree(copy / "cells" / "logistic_balanced" / "seed1")
    page = write_comparison(copy).read_text(encoding="utf-8")
    assert "logistic_balanced, seed 1" in page


def test_a_folder_without_a_comparison_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="holds no comparison"):
        write_comparison(tmp_path)


def test_verdicts_of_resplit_data_allow_for_the_overlap(comparison):
    found = Comparison(comparison.store.out).verdicts[1]
    values = comparison.values("average_precision")
    scores = {name: [values[name][seed] for seed in (0, 1, 2)] for name in ("logistic", "logistic_balanced")}
    sizes = comparison.store.cell("logistic", 0).record["sizes"]
    assert found == compare_methods(scores, "logistic", overlap=sizes["test"] / sizes["train"])[1]


def test_the_page_says_whose_intervals_they_are(comparison):
    found = Comparison(comparison.store.out)
    for resplits, whose in ((True, "Nadeau and Bengio's, of seeds"), (False, "Howe's, of seeds and items")):
        found.plan = replace(found.plan, resplits=resplits)
        assert whose in dict(how_it_was_done(found, {}))["Intervals"]


def test_another_yardstick_turns_the_difference_round(comparison):
    plain, balanced = "logistic", "logistic_balanced"
    there = next(v for v in comparison.verdicts if v.method == balanced)
    back = next(v for v in comparison.judge(yardstick=balanced, methods=[plain, balanced]) if v.method == plain)
    assert (back.difference, back.p) == (pytest.approx(-there.difference), pytest.approx(there.p))


def two_classes(n=300):
    generator = np.random.default_rng(1)
    targets = (generator.random(n) < 0.2).astype(np.int64)
    logits = np.stack([np.zeros(n), generator.normal(size=n) + 2 * targets - 1], 1).astype(np.float32)
    return Outputs(np.arange(n), targets, logits)


def test_precision_over_recall_is_scikit_learns():
    outputs = two_classes()
    (trace,) = _methods.precision_recall({"m": outputs})["data"]
    precision, recall, _ = precision_recall_curve(outputs.targets, outputs.probabilities[:, 1])
    expected = {(round(r, 4), round(p, 4)) for p, r in zip(precision[:-1], recall[:-1], strict=True)}
    drawn = {(round(r, 4), round(p, 4)) for r, p in zip(trace["x"], trace["y"], strict=True)}
    assert drawn <= expected


def test_a_larger_gamma_leaves_the_loss_to_fewer_items():
    traces = _methods.loss_concentration(two_classes(), (0, 1, 2))["data"]
    at_half = [np.interp(0.5, t["x"], t["y"]) for t in traces]
    assert at_half[0] > at_half[1] > at_half[2]


def test_methods_that_differ_in_gamma_alone_are_a_line(table, tmp_path):
    methods = ["focal(gamma=0.5)", "focal(gamma=3.0)", "focal_alpha"]
    found = compare(table, methods, seeds=1, out=tmp_path, budget=Budget(steps=3))
    values = found.values("average_precision")
    (line,) = sensitivity(found, "gamma")["data"]
    assert line["x"] == [0.5, 3.0]
    assert line["y"] == pytest.approx([values[f"focal(gamma={g})"][0] for g in (0.5, 3.0)])
    assert sensitivity(found, "alpha") is None
    assert "Sensitivity to gamma" in write_comparison(tmp_path).read_text(encoding="utf-8")


def test_trials_show_how_the_metric_moves(comparison, monkeypatch):
    method = replace(METHODS["focal"], name="logistic")
    plan = replace(comparison.plan, methods=(method,), tune=2)
    found = Comparison(comparison.store.out)
    found.plan = plan
    rows = [{"values": {}, "value": 0.5}, {"values": {"loss.gamma": 1.5}, "value": 0.6}]
    monkeypatch.setattr(type(found.store), "trials", lambda store, name: [*rows, {"values": {}, "value": None}])
    (trace,) = sensitivity(found, "gamma")["data"]
    assert (trace["x"], trace["y"]) == ([2.0, 1.5], [0.5, 0.6])


def test_the_figures_are_json(comparison):
    page = write_comparison(comparison.store.out).read_text(encoding="utf-8")
    text = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.DOTALL)[1]
    assert json.loads(text)


def test_an_own_metric_reaches_the_report_and_lower_is_better_keeps_its_sign(table, tmp_path):
    found = compare(
        table, ["logistic", "logistic_balanced"], yardstick="logistic", metric="brier", seeds=3, out=tmp_path
    )
    (line,) = [row for row in lines(found) if row.method == "logistic_balanced"]
    (verdict,) = [v for v in found.verdicts if v.method == "logistic_balanced"]
    assert line.difference > 0  # balanced weights worsen the Brier score
    assert verdict.difference == pytest.approx(-line.difference)
    assert f"{line.difference:+.3f}" in found.report().read_text(encoding="utf-8")


def test_a_table_with_its_own_test_part_shares_it_among_the_seeds(table, tmp_path):
    rows = table.read_text().splitlines()
    folder = tmp_path / "own"
    folder.mkdir()
    for name, part in (("train", rows[1:401]), ("test", rows[401:])):
        (folder / f"{name}.csv").write_text("\n".join([rows[0], *part]) + "\n")
    found = compare(folder, ["logistic", "logistic_balanced"], yardstick="logistic", seeds=3, out=tmp_path / "out")
    assert not found.plan.resplits
    assert found.verdicts[1].high > found.verdicts[1].low
