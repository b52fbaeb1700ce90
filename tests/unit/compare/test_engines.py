"""Where cells are made: workers that die, comparisons that are killed, and a local Ray."""

import importlib
import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from focalkit.compare.engines import processes, serial, threads_for
from focalkit.compare.engines import ray as ray_engine
from focalkit.errors import ConfigError

HERE = Path(__file__).parent
METHODS = 5


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch):
    """The module of the jobs, which workers find because they inherit the path."""
    monkeypatch.syspath_prepend(str(HERE))
    return importlib.import_module("engine_work")


def start(data: Path, out: Path, seeds: int, jobs: int) -> subprocess.Popen:
    """A comparison of the slow toy task, in a process group of its own."""
    path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    words = [sys.executable, str(HERE / "slow_toy.py"), str(data), str(out), str(seeds), str(jobs)]
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)


def finished(out: Path) -> dict[str, tuple[int, int]]:
    """Cell -> inode and time of its record: another one where the cell was made again."""
    stats = {file: file.stat() for file in out.glob("cells/*/seed*/cell.json")}
    return {str(file.parent.relative_to(out)): (s.st_ino, s.st_mtime_ns) for file, s in stats.items()}


def killed(data: Path, out: Path, seeds: int, kills: int, chance: random.Random) -> dict[str, tuple[int, int]]:
    """Run a comparison to its end, killed so often on the way; what was finished at each kill must stay."""
    kept: dict[str, tuple[int, int]] = {}
    for _ in range(kills):
        before = len(finished(out))
        process = start(data, out, seeds, 2)
        until = time.monotonic() + 60
        while len(finished(out)) == before and process.poll() is None:  # at least one cell each time
            assert time.monotonic() < until
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.15))
        assert process.poll() is None, f"ended before it was killed: {process.communicate()[1]}"
        if chance.random() < 0.5:
            os.killpg(process.pid, signal.SIGKILL)
        else:  # the workers notice by themselves that nobody is left to work for
            process.kill()
        process.communicate()
        assert kept.items() <= finished(out).items()
        kept |= finished(out)
    process = start(data, out, seeds, 2)
    assert process.wait(120) == 0, process.communicate()[1]
    process.communicate()
    assert kept.items() <= finished(out).items(), "a finished cell was made again"
    return kept


def same_as_undisturbed(data: Path, tmp_path: Path, seeds: int, kills: int, seed: int) -> None:
    whole = start(data, tmp_path / "whole", seeds, 1)
    kept = killed(data, tmp_path / "killed", seeds, kills, random.Random(seed))
    assert whole.wait(120) == 0, whole.communicate()[1]
    whole.communicate()
    assert len(kept) >= kills
    assert len(finished(tmp_path / "killed")) == METHODS * seeds, "a cell was lost"
    results = [(tmp_path / name / "results.csv").read_bytes() for name in ("whole", "killed")]
    assert results[0] == results[1]
    assert results[0].count(b"\n") == 1 + METHODS * seeds * 3
    assert not [p for p in (tmp_path / "killed").rglob("*") if ".tmp" in p.name]


needs_groups = pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")


@needs_groups
def test_a_comparison_killed_twice_ends_as_the_undisturbed_one(data: Path, tmp_path: Path):
    same_as_undisturbed(data, tmp_path, 2, 2, seed=0)


@needs_groups
@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3))
def test_a_comparison_killed_ten_times_ends_as_the_undisturbed_one(
    data: Path, tmp_path: Path, seed: int, reliability: Callable[[str, str, int], None]
):
    same_as_undisturbed(data, tmp_path, 12, 10, seed)
    reliability("kills", f"compare --jobs 2, group {seed + 1} of 3", 10)


def test_a_job_whose_worker_dies_is_done_again_and_one_that_kills_two_is_given_up(work, tmp_path: Path):
    jobs = [tmp_path / "a", tmp_path / "b"]
    assert dict(processes(jobs, work.die_once, 2, lambda job: None)) == dict.fromkeys(jobs, "done")
    assert list(processes([tmp_path / "c"], work.die_always, 1, lambda job: None)) == [(tmp_path / "c", None)]


def test_a_worker_that_dies_while_it_waits_is_replaced_and_costs_no_job_a_try(work, tmp_path: Path):
    running = processes([0, 1, 2], work.pid, 1, lambda job: None)
    _, first = next(running)
    (idle,) = (child for child in multiprocessing.active_children() if child.pid == first)
    idle.kill()
    idle.join()
    rest = dict(running)
    assert sorted(rest) == [1, 2]
    assert first not in rest.values()


def test_a_cluster_that_does_not_answer_is_said_at_once(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("RAY_ADDRESS", "{}:{}".format(*free.getsockname()))
        with pytest.raises(ConfigError, match="no cluster at '127"):
            next(ray_engine([1], abs, 1, lambda job: None))


def test_the_engines_agree_and_tell_what_they_begin(work):
    told: list[int] = []
    for engine in (serial, processes):
        told.clear()
        assert sorted(engine(range(4), work.square, 2, told.append)) == [(0, 0), (1, 1), (2, 4), (3, 9)]
        assert sorted(told) == [0, 1, 2, 3]


def test_workers_share_the_processors(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("focalkit.compare.engines.processors", lambda: 8)
    assert [threads_for(n) for n in (1, 2, 3, 8, 20)] == [8, 4, 2, 1, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert threads_for(2) == 1, "what the user has set is the most"


@pytest.mark.soak
@pytest.mark.filterwarnings("ignore")  # of Ray's own start
def test_a_local_ray_does_the_jobs_and_those_of_lost_workers_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    ray = pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

    def by_value(job: tuple[str, str]) -> str:  # Ray's workers cannot import this file
        kind, marker = job
        if kind == "dies always" or (kind == "dies once" and not os.path.exists(marker)):
            open(marker, "w").close()
            os.kill(os.getpid(), 9)
        return f"{kind}: done"

    jobs = [(kind, str(tmp_path / kind)) for kind in ("lives", "dies once", "dies always")]
    told: list[tuple[str, str]] = []
    found = {job[0]: result for job, result in ray_engine(jobs, by_value, 2, told.append)}
    assert found == {"lives": "lives: done", "dies once": "dies once: done", "dies always": None}
    assert sorted(told) == sorted(jobs)
    assert not ray.is_initialized(), "a Ray that the engine has started it ends"
