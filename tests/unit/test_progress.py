"""Progress is shown where somebody looks: in a terminal and in a notebook that can."""

import io
import sys

import pytest
import rich.console
import rich.progress

from focalkit import _progress


@pytest.mark.parametrize(
    ("terminal", "jupyter", "widgets", "shown"),
    [(True, False, False, True), (False, True, True, True), (False, True, False, False), (False, False, True, False)],
)
def test_where_a_bar_is_shown(monkeypatch, terminal, jupyter, widgets, shown):
    stderr, asked = io.StringIO(), []
    stderr.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setattr(rich.console, "_is_jupyter", lambda: jupyter)
    monkeypatch.setattr(_progress, "find_spec", lambda name: widgets or None)
    real = rich.progress.Progress

    def progress(*, disable, **options):
        asked.append(not disable)
        return real(disable=True, **options)

    monkeypatch.setattr(rich.progress, "Progress", progress)
    assert list(_progress.track(range(3), 3, "looking", delay=0.0)) == [0, 1, 2]
    assert asked == [shown]
    assert list(_progress.track(range(3), 3, "looking", delay=60.0)) == [0, 1, 2]
    assert len(asked) == 1, "short work has no bar"
