"""Findings about results: each is said where it holds, with its numbers, and not elsewhere."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from focalkit.compare import Comparison, compare
from focalkit.compare.findings import findings
from focalkit.compare.store import write_outputs
from focalkit.compare.summary import sentence
from focalkit.tasks import Outputs


@pytest.fixture
def table(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    y = (np.arange(800) % 8 == 0).astype(int)
    x = random.normal(size=(800, 2)) + 1.5 * y[:, None]
    file = tmp_path / "table.csv"
    file.write_text("a,b,target\n" + "\n".join(f"{a:.3f},{b:.3f},{t}" for (a, b), t in zip(x, y, strict=True)) + "\n")
    return file


@pytest.fixture
def done(table: Path, tmp_path: Path) -> Comparison:
    return compare(table, ["logistic", "logistic_balanced"], yardstick="logistic", seeds=3, out=tmp_path / "out")


def again(done: Comparison) -> dict[str, str]:
    return {finding.code: finding.seen for finding in findings(Comparison(done.store.out))}


def rewritten(done: Comparison, method: str, part: str, change) -> None:
    """The outputs of a method's cells, changed."""
    for seed in done.plan.seeds:
        file = done.store.cell(method, seed).folder / f"{part}.npz"
        write_outputs(file, change(Outputs.read(file)))


def test_nothing_is_said_of_results_without_faults(done):
    assert set(again(done)) <= {"FK305", "FK306"}


def test_methods_that_know_nothing_are_said_to_in_the_first_paragraph(done):
    random = np.random.default_rng(0)
    for method in ("logistic", "logistic_balanced"):
        rewritten(done, method, "test", lambda o: replace(o, logits=random.normal(size=o.logits.shape)))
    found = again(done)
    assert found["FK307"].startswith("the best mean auroc on test is 0.")
    assert "no method has learnt much: the best auroc is 0." in sentence(Comparison(done.store.out))
    assert "learnt" not in sentence(done)


def test_a_method_that_loses_is_named(done):
    rewritten(done, "logistic_balanced", "test", lambda o: replace(o, logits=-o.logits))
    seen = again(done)["FK302"]
    assert seen.startswith("logistic_balanced (-0.")
    assert seen.endswith(") in average precision against logistic")


def test_too_few_validation_items_are_said(done):
    rewritten(done, "logistic", "val", lambda o: o.take(np.arange(40)))
    assert again(done)["FK304"] == "40 validation items, at least 50 are needed"


def test_thresholds_that_did_not_carry_over_are_said(done):
    """On validation every item of the rare class lies just below .02, on test its scores are as before."""
    rewritten(
        done,
        "logistic",
        "val",
        lambda o: replace(
            o, logits=np.stack([0 * o.targets, -4.0 + 0 * o.targets], 1) + o.targets[:, None] * 1e-3 * np.array([0, 1])
        ),
    )
    assert "logistic (" in again(done)["FK305"]


def test_test_items_that_seeds_share_count_once(done):
    """Three times the same 20 items of the rare class are 20, too few to speak of their share."""
    (name, *_) = done.ranking
    off = np.array([0.0, 3.0], dtype=np.float32)

    def shared(outputs: Outputs) -> Outputs:
        rare_first = outputs.take(np.argsort(-outputs.targets, kind="stable"))
        return replace(rare_first, ids=np.arange(len(rare_first)), logits=rare_first.logits + off)

    rewritten(done, name, "test", shared)
    assert "FK306" not in again(done)


def test_probabilities_that_are_no_shares_are_said(done):
    assert done.ranking[0] in ("logistic", "logistic_balanced")
    name = done.ranking[0]
    rewritten(done, name, "test", lambda o: replace(o, logits=o.logits + np.array([0.0, 3.0], dtype=np.float32)))
    assert again(done)["FK306"].startswith(f"{name} gives the rare class a mean probability of 0.")
