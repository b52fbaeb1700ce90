"""The machinery of `focalkit bench`, on rows made up for it."""

import dataclasses
import gc
import json

import numpy as np
import pytest
import torch

from focalkit._runs import dump_json
from focalkit.bench import Bar, Case, Row, render, run_suites
from focalkit.bench import _run as bench_run
from focalkit.bench._measure import difference, interleave, timed
from focalkit.bench._run import run_case
from focalkit.bench._stats import judge, paired_ratio, quantiles
from focalkit.bench._table import bar_text, disagreements, milliseconds, significant
from focalkit.errors import InputError


def nothing():
    return torch.zeros(1)


def constant(value):
    return lambda inputs: lambda: torch.full((3,), float(value))


def case(*rows, **more):
    return Case("case", "a case", lambda settings: None, rows, **more)


def test_quantiles_are_numpys():
    samples = np.random.default_rng(0).exponential(size=37).tolist()
    found = quantiles(samples)
    wanted = {"min": min(samples), "p10": np.quantile(samples, 0.1), "median": np.median(samples)}
    wanted["p90"] = np.quantile(samples, 0.9)
    assert found == pytest.approx(wanted)
    assert quantiles([4.0]) == {"min": 4.0, "p10": 4.0, "median": 4.0, "p90": 4.0}


def test_a_ratio_is_taken_within_the_round_before_the_median():
    # the second round was slow for both; the ratio of the medians would say 3
    assert paired_ratio([2.0, 100.0, 3.0], [1.0, 50.0, 1.0]) == 2.0


def test_every_row_runs_once_per_round_in_an_order_that_changes_and_repeats(settings):
    def run():
        order = []
        calls = {name: lambda name=name: order.append(name) for name in "abcd"}
        timing = interleave(calls, dataclasses.replace(settings, warmup=2, rounds=6, least=6))
        return timing, order

    timing, order = run()
    rounds = ["".join(order[i : i + 4]) for i in range(0, len(order), 4)]
    assert rounds[:2] == ["abcd"] * 2
    assert all(sorted(r) == list("abcd") for r in rounds)
    assert len(set(rounds[2:])) > 3
    assert order == run()[1]
    assert {name: len(samples) for name, samples in timing.samples.items()} == dict.fromkeys("abcd", 6)
    assert all(ms >= 0 for samples in timing.samples.values() for ms in samples)


def test_rounds_end_with_the_time_but_not_before_the_least(settings):
    hurried = dataclasses.replace(settings, rounds=1000, seconds=0.0, least=4)
    assert len(interleave({"a": nothing}, hurried).samples["a"]) == 4


def test_a_row_that_fails_later_is_dropped_and_the_others_keep_all_their_rounds(settings):
    count = iter(range(10))

    def breaks():
        if next(count) == 1:
            raise MemoryError("no room\nfor this")

    timing = interleave({"bad": breaks, "good": nothing}, settings)
    assert timing.failed == {"bad": "MemoryError: no room"}
    assert list(timing.samples) == ["good"]
    assert len(timing.samples["good"]) == 3


@pytest.mark.parametrize("collecting", [True, False])
def test_garbage_collection_is_left_as_it_was(settings, collecting):
    before = gc.isenabled()
    seen = []
    try:
        (gc.enable if collecting else gc.disable)()
        interleave({"a": lambda: seen.append(gc.isenabled())}, settings)
        assert gc.isenabled() is collecting
    finally:
        (gc.enable if before else gc.disable)()
    assert seen == [False] * 3


def test_a_sleep_takes_its_time(settings):
    import time

    assert 20 <= timed(lambda: time.sleep(0.02), settings.device) < 2000


def test_the_difference_is_relative_to_the_largest_magnitude():
    reference = (torch.tensor([1.0, -100.0]), torch.tensor([2, 3]))
    assert difference((torch.tensor([2.0, -100.0]), torch.tensor([2, 3])), reference) == pytest.approx(0.01)
    assert difference(reference, reference) == 0.0
    assert difference((reference[0], torch.tensor([2, 4])), reference) == 1.0


@pytest.mark.parametrize("answer", [(torch.ones(3),), (), (torch.tensor([1.0, float("nan")]),)])
def test_another_shape_number_or_nan_is_infinitely_different(answer):
    assert difference(answer, (torch.tensor([1.0, 2.0]),)) == float("inf")


def rows_of(**times):
    return {name: {"samples_ms": ms, "memory_bytes": 100 * int(ms[0])} for name, ms in times.items()}


@pytest.mark.parametrize(
    ("sense", "limit", "met"),
    [("at least", 2.0, True), ("at least", 2.1, False), ("at most", 2.0, True), ("at most", 1.9, False)],
)
def test_a_bar_is_met_or_not(sense, limit, met):
    rows = rows_of(slow=[2.0, 4.0, 6.0], fast=[1.0, 2.0, 3.0])
    assert judge(Bar("x", "slow", "fast", limit, sense), rows)["met"] is met
    assert judge(Bar("x", "slow", "fast", limit, sense, "memory"), rows)["met"] is met
    assert judge(Bar("x", "slow", "", limit, sense, "memory"), rows, unit_bytes=100)["met"] is met


def test_a_bar_without_its_row_or_at_quick_size_is_not_judged():
    rows = rows_of(slow=[2.0], fast=[1.0])
    gone = judge(Bar("faster", "slow", "absent", 2.0), rows)
    assert (gone["measured"], gone["met"]) == (None, None)
    quick = judge(Bar("faster", "slow", "fast", 2.0), rows, quick=True)
    assert (quick["measured"], quick["met"]) == (2.0, None)
    assert bar_text(gone) == "at least 2x faster: not measured"
    assert bar_text(quick) == "at least 2x faster: 2x, not judged at this size"


def test_a_bar_reads_as_a_sentence():
    rows = rows_of(theirs=[24.1], ours=[1.0])
    assert bar_text(judge(Bar("faster than X", "theirs", "ours", 20), rows)) == "at least 20x faster than X: 24.1x, met"
    share = Bar("of the step", "ours", "theirs", 0.02, "at most", percent=True)
    assert bar_text(judge(share, rows)) == "at most 2 % of the step: 4.15 %, missed"


def test_a_bar_about_a_row_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="'typo'"):
        case(Row("a", constant(1)), bars=(Bar("faster", "a", "typo", 1.0),))
    with pytest.raises(ValueError, match="rows \\['a', 'a'\\]"):
        case(Row("a", constant(1)), Row("a", constant(1)))


def absent(inputs):
    import no_such_package_at_all

    return no_such_package_at_all.loss


def broken(inputs):
    raise RuntimeError("needs a GPU")


def test_absent_broken_and_disagreeing_peers_are_reported_and_do_not_stop_the_others(settings):
    found = run_case(
        case(
            Row("ours", constant(1)),
            Row("peer", constant(1.0), "peer", "peer"),
            Row("wrong", constant(2), "peer", "wrong", note="defines something else"),
            Row("gone", absent, "peer", "no-such-package"),
            Row("broken", broken, "peer", "broken"),
            Row("floor", constant(9), "floor", answer=lambda result: ()),
            reference="peer",
            bars=(Bar("faster than gone", "gone", "ours", 2.0),),
        ),
        settings,
    )
    assert [row["name"] for row in found["rows"]] == ["ours", "peer", "wrong", "floor"]
    assert [row["agrees"] for row in found["rows"]] == [True, None, False, None]
    assert found["rows"][2]["difference"] == 1.0
    assert found["absent"] == [{"name": "gone", "install": "no-such-package"}]
    assert found["failed"] == [{"name": "broken", "role": "peer", "error": "RuntimeError: needs a GPU"}]
    assert found["bars"][0]["met"] is None
    assert all(len(row["samples_ms"]) == 3 for row in found["rows"])
    assert found["rows"][0]["ratio"] == 1.0


def test_without_its_reference_a_case_still_runs(settings):
    found = run_case(case(Row("ours", constant(1)), Row("peer", broken, "peer"), reference="peer"), settings)
    assert [row["name"] for row in found["rows"]] == ["ours"]
    assert found["rows"][0]["agrees"] is None


@pytest.fixture
def result(settings, monkeypatch):
    cases = [
        case(Row("ours", constant(1)), Row("theirs", constant(1), "peer"), reference="theirs", note="A note."),
    ]
    monkeypatch.setattr(bench_run, "load", lambda name: lambda settings: cases)
    said = []
    found = run_suites(["made-up"], settings, "focalkit bench made-up", said.append)
    assert any(text.startswith("made-up 1/1, case: round 3/3") for text in said)
    assert said[-1] == ""
    return found


def test_the_result_is_strict_json_with_samples_versions_machine_and_command(result):
    again = json.loads(dump_json(result))
    assert again == json.loads(json.dumps(result))
    assert set(again) == {"schema", "command", "date", "machine", "versions", "settings", "suites"}
    assert {"device", "cpu", "cores", "threads"} <= set(again["machine"])
    assert {"python", "torch", "focalkit"} <= set(again["versions"])
    row = again["suites"][0]["cases"][0]["rows"][0]
    assert set(row) == {
        "name", "role", "note", "samples_ms", "quantiles_ms", "ratio", "memory_bytes", "difference", "agrees",
    }  # fmt: skip
    assert len(row["samples_ms"]) == again["settings"]["rounds"] == 3


def test_the_result_names_no_host_and_no_place(result):
    import platform
    from pathlib import Path

    text = dump_json(result)
    assert platform.node() not in text
    assert str(Path.home()) not in text
    assert str(Path.cwd()) not in text


def test_the_table_has_a_line_for_every_row_and_note(result):
    lines = render(result).splitlines()
    assert any(line.split()[:1] == ["ours"] and "agrees" in line for line in lines)
    assert any(line.split()[:1] == ["theirs"] and line.endswith("reference") for line in lines)
    assert "  A note." in lines


def test_a_row_of_ours_that_differs_or_fails_is_a_disagreement(result):
    assert disagreements(result) == []
    found = result["suites"][0]["cases"][0]
    found["rows"][0]["agrees"] = False
    found["failed"] = [{"name": "eager", "role": "ours", "error": "x"}, {"name": "p", "role": "peer", "error": "x"}]
    assert disagreements(result) == ["made-up, case: ours", "made-up, case: eager"]


def test_an_unknown_suite_is_refused():
    with pytest.raises(InputError, match="no suite 'los'"):
        bench_run.load("los")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1, "1"), (24.149, "24.1"), (1234.5, "1,230"), (0.00001234, "0.0000123"), (0.117, "0.117")],
)
def test_numbers_have_three_digits_and_no_exponent(value, text):
    assert significant(value) == text


def test_long_times_are_in_seconds():
    assert (milliseconds(9.5), milliseconds(12_345.0)) == ("9.5 ms", "12.3 s")
