"""SIGKILL at each file that a command opens, renames or makes: what is there is whole, and the next run ends alike."""

import json
import multiprocessing
import os
import random
import re
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from disturbed import COMMANDS, WRITES, Place, alone, make_place, state, words_of

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a copy of this process")
VOLATILE = re.compile(
    r"seconds|speed|images_per_second|memory|began|created|written|started|version|command|date|time|path|latency"
)
RANDOM_KILLS = 4
FORKS = multiprocessing.get_context("forkserver")
"""Copies of a process that has loaded everything and run nothing: those of this one would lack polars' threads."""
FORKS.set_forkserver_preload(["disturbed", "focalkit.compare", "focalkit.evaluation", "focalkit.training", "polars"])


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


def assert_whole(folder: Path) -> None:
    """Every file under its own name can be read."""
    for path in folder.rglob("*"):
        if path.name.startswith(".") or not path.is_file():
            continue
        match path.suffix:
            case ".json":
                json.loads(path.read_text())
            case ".ckpt":
                torch.load(path, weights_only=True)
            case ".safetensors":
                load_file(path)
            case ".npz":
                np.load(path).close()
            case ".jpg" | ".png":
                Image.open(path).load()
            case ".html":
                assert path.read_text().rstrip().endswith("</html>"), path


def stable(value: Any) -> Any:
    """JSON without what differs from one run to the next: times, places."""
    if isinstance(value, dict):
        return {k: stable(v) for k, v in value.items() if not VOLATILE.search(k)}
    return [stable(v) for v in value] if isinstance(value, list) else value


def result(folder: Path) -> dict[str, Any]:
    """What a command left, comparable with what another left."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        match path.suffix:
            case ".json":
                found[name] = stable(json.loads(path.read_text().replace(str(folder), "")))
            case ".jsonl":
                found[name] = [stable(json.loads(line)) for line in path.read_text().splitlines()]
            case ".ckpt":
                weights = torch.load(path, weights_only=True)["model"]
                found[name] = {key: value.numpy().tobytes() for key, value in weights.items()}
            case ".html" | ".tmp":
                found[name] = path.is_file()  # it carries the time of its writing
            case _ if path.is_file():
                found[name] = path.read_bytes()
    return found


@pytest.mark.parametrize("name", ["predict", pytest.param("train", marks=pytest.mark.soak)])
def test_a_kill_at_a_rename_leaves_the_old_file_or_the_new(name, place, tmp_path):
    assert WRITES.during(tmp_path / "sound", 0, words_of(name, place, tmp_path / "sound")) == 0
    assert killed(name, place, tmp_path / "cut", at=WRITES.count)
    assert_whole(tmp_path / "cut")


@pytest.mark.soak
@pytest.mark.parametrize("name", COMMANDS)
def test_every_kill_leaves_whole_files_and_the_next_run_ends_the_same(name, place, tmp_path, reliability):
    before, started = state(place.run), time.monotonic()
    assert WRITES.during(tmp_path / "sound", 0, words_of(name, place, tmp_path / "sound")) == 0
    seconds, total, expected = time.monotonic() - started, WRITES.count, result(tmp_path / "sound")
    moments = [{"at": at} for at in range(1, total + 1)]
    moments += [{"after": random.Random(i).uniform(0, seconds)} for i in range(RANDOM_KILLS)]
    kills = 0
    for number, moment in enumerate(moments):
        out = tmp_path / str(number)
        kills += killed(name, place, out, **moment)
        assert_whole(out)
        assert WRITES.during(out, 0, words_of(name, place, out)) == 0
        assert [str(path) for path in out.rglob("*.tmp*")] == [], moment
        assert result(out) == expected, moment
    assert state(place.run) == before
    reliability("kills", name, kills)
