"""docs/benchmarks.md is what the committed result files say, and the plot draws them."""

import importlib.util
import json
from pathlib import Path

import pytest

from focalkit.report import write_benchmark_plot
from focalkit.report._bench import case_figure

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("benchmarks_page", ROOT / "scripts/benchmarks_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def row(name, role, median, **more):
    base = {
        "name": name, "role": role, "note": "", "samples_ms": [median] * 3, "ratio": median / 10, "memory_bytes": 2**20,
        "quantiles_ms": {"min": median - 2, "p10": median - 1, "median": median, "p90": median + 3},
        "difference": None, "agrees": None,
    }  # fmt: skip
    return base | more


def result(suite, quick=False):
    bar = {
        "text": "faster than B", "over": "B", "under": "A", "quantity": "time", "sense": "at least", "limit": 2.0,
        "percent": False, "measured": 3.0, "met": True,
    }  # fmt: skip
    case = {
        "name": "one", "title": "a <small> case", "note": "Said of the case.", "unit_bytes": 2**19, "reference": "B",
        "rows": [row("A", "ours", 10.0, difference=1e-7, agrees=True), row("B", "peer", 30.0, note="said of B")],
        "absent": [{"name": "C", "install": "c"}], "failed": [{"name": "D", "role": "peer", "error": "E: f"}],
        "bars": [bar],
    }  # fmt: skip
    return {
        "schema": 1, "command": f"focalkit bench {suite}", "date": "2026-01-02",
        "machine": {"device": "cpu", "cpu": "Some CPU", "cores": 2, "threads": 2, "memory_gib": 8, "system": "Linux"},
        "versions": {"python": "3.11.0", "torch": "2.9.0"}, "settings": {"quick": quick, "rounds": 3},
        "suites": [{"suite": suite, "cases": [case]}],
    }  # fmt: skip


def test_the_committed_page_is_what_the_committed_results_say(script):
    assert script.PAGE.read_text(encoding="utf-8") == script.page(script.RESULTS)
    assert script.main(["--check"]) == 0


def test_a_stale_page_is_noticed_and_renewed(script, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(script, "PAGE", tmp_path / "benchmarks.md")
    assert script.main(["--check"]) == 1
    assert "not up to date" in capsys.readouterr().out
    assert script.main([]) == 0
    assert script.main(["--check"]) == 0


@pytest.mark.parametrize("made", [True, False])
def test_without_results_the_page_says_so(script, tmp_path, made):
    folder = tmp_path / "results"
    if made:
        folder.mkdir()
        (folder / "other.json").write_text("{}")  # other benchmarks write beside the machines' folders
    assert "No results are committed yet." in script.page(folder)


def test_every_figure_note_and_absence_is_on_the_page(script, tmp_path):
    for machine, suite in (("b-machine", "match"), ("a-machine", "step"), ("a-machine", "loss")):
        (tmp_path / machine).mkdir(exist_ok=True)
        (tmp_path / machine / f"{suite}.json").write_text(json.dumps(result(suite)))
    page = script.page(tmp_path)
    headings = [line for line in page.splitlines() if line.startswith("##")]
    assert headings == ["## a-machine", "### loss", "### step", "## b-machine", "### match"]
    assert "| A | 10 ms | 9 ms - 13 ms | 1x | 1 MiB (2.00x) | agrees, 1.0e-07 |" in page
    assert "| B | 30 ms | 29 ms - 33 ms | 3x | 1 MiB (2.00x) | reference |" in page
    assert "| one | at least 2x faster than B: 3x, met |" in page
    for text in ("Some CPU, 2 cores, 2 torch threads", "torch 2.9.0", "B: said of B.", "Said of the case."):
        assert text in page
    assert "C was not installed." in page
    assert "D failed: `E: f`." in page


def test_quick_results_are_refused(script, tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "loss.json").write_text(json.dumps(result("loss", quick=True)))
    with pytest.raises(SystemExit, match="measured with --quick"):
        script.page(tmp_path)


def test_bars_reach_the_median_and_whiskers_the_outer_tenths():
    first, second = case_figure(result("loss")["suites"][0]["cases"][0])["data"]
    assert (first["x"], first["y"]) == ([10.0], ["A"])
    assert (second["error_x"]["array"], second["error_x"]["arrayminus"]) == ([3.0], [1.0])
    assert first["marker"] != second["marker"]


def test_the_plot_is_one_file_that_fetches_nothing_and_shows_titles_as_text(tmp_path):
    out = write_benchmark_plot(result("loss"), tmp_path / "deep" / "plot.html")
    page = out.read_text(encoding="utf-8")
    assert "a &lt;small&gt; case" in page
    assert "<script src" not in page
    assert "<link" not in page.partition("<script>")[0]
    assert "Some CPU, 2 threads" in page
