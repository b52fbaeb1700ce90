"""docs/evidence.md is what the committed result files say."""

import importlib
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("evidence_page")


def test_the_page_is_what_the_results_say(script):
    for name, text in script.pages(ROOT / "benchmarks" / "results").items():
        assert (ROOT / "docs" / name).read_text(encoding="utf-8") == text, "run scripts/evidence_page.py"


def test_absent_results_leave_their_sections_out(script, tmp_path):
    page = script.pages(tmp_path)["evidence.md"]
    assert page.startswith("# When does focal loss help?")
    assert "No results are committed yet." in page
    row = {"method": "ce", "mean": 0.5, "difference": 0, "low": 0, "high": 0, "verdict": "yardstick"}
    other = {"method": "focal", "mean": 0.4, "difference": -0.1, "low": -0.12, "high": -0.08, "verdict": "worse"}
    result = {"command": "focalkit compare cifar", "machine": "2 cores", "minutes": 12.2, "rows": [row, other]}
    (tmp_path / "cifar10_lt.json").write_text(json.dumps(result))
    page = script.pages(tmp_path)["evidence.md"]
    assert "`focalkit compare cifar`, 2 cores, 12 minutes; `benchmarks/results/cifar10_lt.json`." in page
    assert "| focal | 0.400 | -0.100 (-0.120 to -0.080) | worse |" in page
    assert page.count("\n## ") == 1


def test_the_claims_of_the_paper_stand_beside_what_was_found(script, tmp_path):
    rows = [
        {"method": name, "table": "1d", "setting": name, "published": 30.0, "mean": 0.2, "difference": 0.1, "low": 0.05,
         "high": 0.15, "verdict": "better"}
        for name in ("focal", "ohem")
    ]  # fmt: skip
    claim = {"table": "1d", "better": "focal", "worse": "ohem", "published": 3.2, "difference": -0.1, "low": -0.12}
    result = {"command": "x", "machine": "y", "minutes": 1, "seeds": 3, "steps": 5, "background_per_positive": 80.0}
    claims = [{**claim, "high": -0.08, "verdict": "worse"}, {**claim, "high": 0.1, "verdict": "not shown"}]
    (tmp_path / "paper_tables.json").write_text(json.dumps({**result, "rows": rows, "claims": claims}))
    page = script.pages(tmp_path)["evidence.md"]
    assert "of 2 claims about pairs of methods, 1 contradicted, 1 not shown" in page
    assert "| 1d | focal above ohem | +0.032 | -0.100 (-0.120 to -0.080) | contradicted |" in page


def test_tables_are_ranked_and_counted_against_their_plain_peers(script, tmp_path):
    def row(table, method, plain, ap, verdict="not shown"):
        more = {"difference": ap - 0.5, "macro_f1": [0.6], "macro_f1_default": [0.5]}
        return {"table": table, "method": method, "plain": plain, "verdict": verdict, "average_precision": [ap], **more}

    models = {"ce": "ce", "hist_gb": "hist_gb", "oversample": "ce", "hist_gb_oversample": "hist_gb", "focal": "ce",
              "threshold_moving": "ce", "hist_gb_under_bagging": "hist_gb", "balanced_forest": "hist_gb",
              "easy_ensemble": "hist_gb"}  # fmt: skip
    rows = []
    for name in "abc":
        rows += [row(name, method, plain, 0.5) for method, plain in models.items() if method != "focal"]
        rows.append(row(name, "focal", "ce", 0.4, "worse"))
    about = {"command": "python t.py", "machine": "2 cores", "minutes": 3, "seeds": 3, "steps": 600, "most_rows": 15000}
    tables = [{"table": name, "rows": 1000, "share": 0.05} for name in "abc"]
    (tmp_path / "tables.json").write_text(json.dumps({**about, "planned": 12, "tables": tables, "rows": rows}))
    found = script.pages(tmp_path)
    page = found["evidence.md"]
    assert "3 of 12 public tables" in page
    assert "| focal | ce | -0.100 | 0 of 3 | 0 | 3 | 0 |" in page
    assert "`focal` is better than `ce` on 0 of 3 and worse on 3" in page
    assert "unchanged on 3 of 3, macro F1 of the network higher on 3 of 3" in page
    assert found["assets/evidence/tables_ranks.svg"].count("<circle") == len(models) - 1


def test_the_sign_of_calibration_is_told_before_and_after_temperature(script, tmp_path):
    def row(loss, stage, ece, verdict):
        numbers = {"nll": 0.5, "accuracy": 0.9, "difference": ece - 0.04, "low": -0.02, "high": -0.01, "T": None}
        return {"data": "D", "loss": loss, "temperature": stage, "ece": ece, "verdict": verdict, **numbers}

    rows = [row("cross-entropy", stage, 0.04, "yardstick") for stage in ("before", "after")]
    rows += [row("FLSD-53", "before", 0.025, "better"), row("FLSD-53", "after", 0.039, "not shown")]
    rows += [row("focal, gamma 3", "before", 0.02, "better"), row("focal, gamma 3", "after", 0.05, "worse")]
    rows.append(row("focal, gamma 3, mapped back", "before", 0.06, "worse"))
    result = {"command": "x", "machine": "y", "minutes": 1, "seeds": 3, "rows": rows}
    (tmp_path / "classifier_calibration.json").write_text(json.dumps(result))
    page = script.pages(tmp_path)["evidence.md"]
    assert "2 better before temperature scaling, 1 worse, 1 not shown after it" in page
    assert "| FLSD-53 | 2.50 | 0.500 | 90.0 |  | -1.50 (-2.00 to -1.00) | better |" in page
    assert "on D from 2.00 to 6.00 %" in page


def test_the_margins_of_thresholds_are_those_of_the_result_file():
    table = json.loads((ROOT / "benchmarks" / "results" / "threshold_margins.json").read_text())["table"]
    page = (ROOT / "docs" / "calibration.md").read_text(encoding="utf-8")
    for rule, row in table.items():
        shares = [f"{row[name]:.0%}".replace("%", " %") for name in ("at least 0.9", "at least 0.87")]
        named = f"`--{rule}`" if rule.startswith("confidence") else rule
        assert f"| {named} | {' | '.join(shares)} | {row['precision']:.3f} | {row['recall']:.3f} |" in page
