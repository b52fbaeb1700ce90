"""SIGKILL at each file that a command opens, renames or makes: what is there is whole, and the next run ends alike."""

import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from disturbed import COMMANDS, WRITES, Place, alone, make_earlier, make_place, state, words_of
from outcomes import assert_old_or_new, assert_whole, result

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a copy of this process")
RANDOM_KILLS = 4
FORKS = multiprocessing.get_context("forkserver")
"""Copies of a process that has loaded everything and run nothing: those of this one would lack polars' threads."""
PRELOADED = ("compare", "evaluation", "export", "training")
FORKS.set_forkserver_preload(["disturbed", "polars", *(f"focalkit.{name}" for name in PRELOADED)])


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Place:
    return make_place(tmp_path_factory.mktemp("place"))


def killed(name: str, place: Place, out: Path, *, at: int = 0, after: float = 0.0) -> bool:
    """Run a command in a process that is killed at a write or after a time; whether it was."""
    process = FORKS.Process(target=alone, args=(out, at, words_of(name, place, out)))
    process.start()
    if after:
        process.join(after)
        process.kill()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


@pytest.mark.parametrize("name", ["predict", pytest.param("train", marks=pytest.mark.soak)])
def test_a_kill_at_a_rename_leaves_the_old_file_or_the_new(name, place, tmp_path):
    assert WRITES.during(tmp_path / "sound", 0, words_of(name, place, tmp_path / "sound")) == 0
    assert killed(name, place, tmp_path / "cut", at=WRITES.count)
    assert_whole(tmp_path / "cut")


@pytest.mark.soak
@pytest.mark.parametrize("name", COMMANDS)
def test_every_kill_leaves_whole_files_and_the_next_run_ends_the_same(name, place, tmp_path, reliability):
    before, earlier = state(place.run), tmp_path / "earlier"
    make_earlier(name, place, earlier)
    shutil.copytree(earlier, tmp_path / "sound")
    old, started = result(earlier), time.monotonic()
    assert WRITES.during(tmp_path / "sound", 0, words_of(name, place, tmp_path / "sound")) == 0
    seconds, total, expected = time.monotonic() - started, WRITES.count, result(tmp_path / "sound")
    assert old != expected
    moments = [{"at": at} for at in range(1, total + 1)]
    moments += [{"after": random.Random(i).uniform(0, seconds)} for i in range(RANDOM_KILLS)]
    kills = 0
    for number, moment in enumerate(moments):
        out = tmp_path / str(number)
        shutil.copytree(earlier, out)
        kills += killed(name, place, out, **moment)
        assert_whole(out)
        if old:
            assert_old_or_new(result(out), old, expected)
        assert WRITES.during(out, 0, words_of(name, place, out)) == 0
        assert [str(path) for path in out.rglob("*.tmp*")] == [], moment
        assert result(out) == expected, moment
    assert state(place.run) == before
    reliability("kills", name, kills)
