"""The page as a whole: complete in itself, safe, well formed, and readable for one run and for several."""

import itertools
import json
import re
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
from plotly.offline import get_plotlyjs

from focalkit.errors import InputError
from focalkit.report import write_report

MakeRun = Callable[..., Path]
EVIL = "<script>alert('x')</script>"
VOID = {"meta", "link", "img", "br", "input"}


class Page(HTMLParser):
    """Elements with their attributes, the text of each kind of element, and whether every tag is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(text.replace(get_plotlyjs(), ""))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {k: v or "" for k, v in attrs}))
        if tag not in VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in set(self.open):
            self.texts[tag][-1] += data

    @property
    def body(self) -> str:
        return " ".join(self.texts["main"][0].split())

    def all(self, attribute: str) -> list[str]:
        return [attrs[attribute] for _, attrs in self.elements if attribute in attrs]

    def figures(self) -> dict[str, Any]:
        place = [attrs.get("id") for tag, attrs in self.elements if tag == "script"].index("figures")
        return json.loads(self.texts["script"][place])


def page(*runs: Path, title: str | None = None) -> Page:
    out = runs[0].parent / "out.html"
    assert write_report(runs, out, title) == out
    return Page(out.read_text(encoding="utf-8"))


@pytest.fixture
def both(make_run: MakeRun) -> list[Path]:
    return [make_run("focal", level=0.41), make_run("ce", loss="bce", level=0.331)]


def test_the_first_thing_seen_of_two_runs_is_the_answer(both: list[Path]):
    shown = page(*both)
    assert shown.texts["h1"] == ["Focal loss reaches 0.410 AP against 0.331 for cross-entropy."]
    assert "Read this as one observation" in shown.body


def test_one_run_shows_its_ap_and_every_part(make_run: MakeRun):
    shown = page(make_run("my-run"))
    assert shown.texts["h1"] == ["my-run"]
    assert "0.410 AP on 120 validation images" in shown.body
    headings = [
        "COCO metrics",
        "Learning curves",
        "AP per class",
        "Precision and recall",
        "Do scores mean what they say?",
        "Operating point",
        "Errors",
        "Predictions against the truth",
    ]
    headings += ["Class histogram", "Where the loss sits", "Configuration", "Environment"]
    assert shown.texts["h2"] == headings
    assert 'focalkit train --data demo/scenes --loss "focal(gamma=2.0, alpha=0.25)"' in shown.body
    assert {"2.15.0", "f1f8c9f"} <= set(shown.texts["td"])


def test_the_tables_say_which_rule_made_them(make_run: MakeRun, edit: Callable[..., None]):
    run = make_run("run")
    rows = [{"size": "all", "count": 144, "AP": 0.625, "AR": 0.75, "AP_at": [0.875, -1.0]}]
    own = {"rule": "up to 500 detections", "ious": [0.3, 0.5], "sizes": rows}
    edit(run / "evaluation.json", by_rule=own)
    text = page(run).body
    assert "By COCO's rule" in text
    assert "up to 500 detections" in text
    assert "AP at IoU 0.3AP at IoU 0.5 all1440.6250.7500.875–" in text


def test_a_title_replaces_the_default(make_run: MakeRun):
    run = make_run()
    assert page(run, title="Masks & faces").texts["h1"] == ["Masks & faces"]
    assert page(run, title="Masks & faces").texts["title"] == ["Masks & faces"]


def test_nothing_is_fetched(both: list[Path]):
    shown = page(*both)
    assert {s.split(":")[0] for s in shown.all("src")} == {"data"}
    assert {h[0] for h in shown.all("href")} == {"#", "d"}
    own = (both[0].parent / "out.html").read_text(encoding="utf-8").replace(get_plotlyjs(), "")
    assert not re.search(r"https?:|//cdn|url\(|@import|fetch\(|XMLHttpRequest|\bimport\(", own)


def test_the_browser_is_told_to_fetch_nothing(make_run: MakeRun):
    policies = [a["content"] for t, a in page(make_run()).elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert len(policies) == 1
    assert policies[0].startswith("default-src 'none';")
    assert "http" not in policies[0]


def test_plotly_is_there_once_however_many_runs(both: list[Path]):
    page(*both)
    assert (both[0].parent / "out.html").read_text(encoding="utf-8").count(get_plotlyjs()) == 1


def test_tags_are_closed_ids_unique_and_links_lead_somewhere(both: list[Path]):
    shown = page(*both)
    assert shown.open == []
    ids = Counter(shown.all("id"))
    assert [i for i, n in ids.items() if n > 1] == []
    assert [h for h in shown.all("href") if h.startswith("#") and h[1:] not in ids] == []


def test_every_figure_has_a_place_and_every_place_a_figure(both: list[Path]):
    shown = page(*both)
    places = [a["id"] for _, a in shown.elements if a.get("class") == "chart"]
    assert places == list(dict.fromkeys(places))
    assert set(places) == set(shown.figures())
    assert set(shown.all("data-chart")) <= set(places)


def test_plotly_accepts_every_figure(both: list[Path]):
    for figure in page(*both).figures().values():
        go.Figure(figure)


def test_pictures_and_charts_are_described_in_words(both: list[Path]):
    shown = page(*both)
    inside = [(t, a) for t, a in shown.elements if t == "img" and a["src"] != "data:,"]
    assert len(inside) == 18
    assert all(a["alt"] for _, a in inside)
    assert all(a["aria-label"] for _, a in shown.elements if a.get("class") in ("chart", "thumb"))


def test_heading_levels_are_not_skipped(both: list[Path]):
    levels = [int(t[1]) for t, _ in page(*both).elements if re.fullmatch(r"h[1-6]", t)]
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))


def test_names_with_markup_are_shown_as_text(make_run: MakeRun, edit: Callable[..., None]):
    run = make_run("evil", classes=(EVIL, "b", "c"), loss=EVIL)
    info = json.loads((run / "run.json").read_text())
    edit(run / "run.json", command=EVIL, config=info["config"] | {EVIL: EVIL}, versions={EVIL: EVIL}, device=EVIL)
    other = make_run("other", classes=(EVIL, "b", "c"), loss="bce")
    plain = page(make_run("plain"), make_run("plain2", loss="bce"))
    shown = page(run, other, title=EVIL)
    count = [t for t, _ in shown.elements].count("script")
    assert count == [t for t, _ in plain.elements].count("script")
    assert EVIL in shown.body
    assert EVIL not in (run.parent / "out.html").read_text(encoding="utf-8")


def test_plotly_gets_names_it_cannot_take_for_markup(make_run: MakeRun):
    figures = page(make_run(classes=("<b>bold</b>", "b", "c"))).figures()
    for trace in (t for f in figures.values() for t in f["data"]):
        for row in trace.get("customdata", ()):
            assert "<" not in str(row)
        assert not any("<" in str(text) for axis in "xy" for text in trace.get(axis, ()))
    assert not any("<" in text for f in figures.values() for text in f["layout"]["yaxis"].get("ticktext", ()))


def test_what_is_no_run_is_named(tmp_path: Path, make_run: MakeRun):
    run = make_run()
    with pytest.raises(InputError, match="nowhere"):
        write_report([run, tmp_path / "nowhere"], tmp_path / "out.html")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty.*run\.json"):
        write_report([tmp_path / "empty"], tmp_path / "out.html")
    assert not (tmp_path / "out.html").exists()


def test_no_run_and_a_directory_as_output_are_refused(tmp_path: Path, make_run: MakeRun):
    with pytest.raises(InputError, match="no run directory given"):
        write_report([], tmp_path / "out.html")
    with pytest.raises(InputError, match="is a directory"):
        write_report([make_run()], tmp_path)


def test_four_runs_with_the_same_loss_are_told_apart(make_run: MakeRun):
    shown = page(*[make_run(f"run{i}", seed=i, level=0.3 + 0.01 * i) for i in range(4)])
    assert shown.texts["h1"] == ["Focal loss: 0.315 ± 0.013 AP (4 seeds)."]
    titles = [t for t in shown.texts["h2"] if t.startswith("focal loss, seed")]
    assert [t.split()[3] for t in titles[:4]] == ["0", "1", "2", "3"]
