"""Signals and dead processes end a command with its status and its reason, and it can be resumed or run again."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from disturbed import WRITES, make_place, state, words_of
from focalkit._config_io import config_to_dict
from focalkit._files import write_json_atomic
from focalkit._runs import RunDir
from focalkit.config import DataConfig, ModelConfig, OptimConfig, RuntimeConfig, TrainConfig
from focalkit.data import write_demo_scenes
from outcomes import assert_whole, result

pytestmark = pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """A training that would take minutes, as a file."""
    folder = tmp_path_factory.mktemp("settings")
    data = write_demo_scenes(folder / "scenes", train=12, val=4, size=96, classes=2, imbalance=4)
    config = TrainConfig(
        data=DataConfig(data),
        epochs=10_000,
        evaluate_every=1_000,
        batch_size=4,
        min_size=32,
        max_size=32,
        runtime=RuntimeConfig(workers=2, accelerator="cpu", log_every=1, logger="none"),
        model=ModelConfig("tiny", fpn_channels=8, head_channels=8, head_depth=1),
        optim=OptimConfig("sgd", lr=1e-3, warmup_steps=0),
    )
    write_json_atomic(folder / "run.json", {"config": config_to_dict(config)})
    return folder / "run.json"


def on_a_terminal(words, **more):
    """A process in a group of its own, with signals as a terminal gives them: `nohup` and `&` ignore some of them."""

    def usual():
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)

    return subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=usual, **more)


@pytest.fixture
def started(settings, tmp_path):
    """(process, run) of a training in a process group of its own that has taken steps; killed afterwards."""
    processes = []

    def start(*more, program=("-m", "focalkit")):
        run = RunDir(tmp_path / "run")
        words = ["train", "--config", str(settings), "--out", str(run.path), *more]
        process = on_a_terminal([sys.executable, *program, *words])
        processes.append(process)
        until = time.monotonic() + 120
        while not run.read_metrics():
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < until
            time.sleep(0.02)
        return process, run

    yield start
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def ended(process, within=30):
    """Its exit status and what it said, without a Python traceback."""
    err = process.communicate(timeout=within)[1]
    assert "Traceback" not in err
    assert "--debug" not in err
    with pytest.raises(ProcessLookupError):  # nobody is left
        wait_for_group(process.pid)
    return process.returncode, err


def wait_for_group(group):
    for _ in range(100):
        os.killpg(group, 0)
        time.sleep(0.1)


def children(pid):
    """Processes below `pid`, their command lines."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            line = (place / "cmdline").read_bytes()
        except OSError:
            continue
        if parent == pid:
            found[int(place.name)] = line
    return found


@pytest.mark.parametrize("devices", ["1", pytest.param("2", marks=pytest.mark.soak)])
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.soak)]
)
def test_a_signal_to_the_group_stops_with_its_status(started, devices, number, status, reliability):
    process, run = started("--devices", devices)
    os.killpg(process.pid, number)
    got, err = ended(process)
    assert got == status, err
    assert f"stopped; --out {run.path} --resume continues" in err
    reliability("signals", f"{number.name} to the group, train --devices {devices}", 1)


@pytest.mark.soak
@pytest.mark.parametrize("devices", ["1", "2"])
def test_a_signal_to_the_process_alone_stops_its_processes_too(started, devices, reliability):
    process, run = started("--devices", devices)
    process.send_signal(signal.SIGTERM)
    got, err = ended(process)
    assert got == 143, err
    assert f"stopped; --out {run.path} --resume continues" in err
    reliability("signals", f"SIGTERM to the process, train --devices {devices}", 1)


@pytest.mark.soak
def test_a_terminal_that_closes_stops_the_training(started, reliability):
    process, _ = started()
    process.send_signal(signal.SIGHUP)
    status, err = ended(process)
    assert (status, "stopped; --out" in err) == (129, True)
    reliability("signals", "SIGHUP, train", 1)


@pytest.mark.soak
def test_two_interrupts_are_as_good_as_one(started, reliability):
    process, _ = started()
    process.send_signal(signal.SIGINT)
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    status, err = ended(process)
    assert status in (130, -signal.SIGINT), err
    reliability("signals", "SIGINT twice, train", 1)


@pytest.mark.soak
@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="finds processes in /proc")
def test_a_dead_rank_ends_the_job_with_its_reason(started, reliability):
    process, _ = started("--devices", "2")
    ranks = [pid for pid, line in children(process.pid).items() if b"spawn_main" in line]
    assert len(ranks) == 2
    os.kill(ranks[1], signal.SIGKILL)
    status, err = ended(process, within=60)
    assert status == 1
    assert re.search(r"process [01] of 2 was killed by SIGKILL.*--out .* --resume continues", err), err
    reliability("signals", "SIGKILL of a rank, train --devices 2", 1)


@pytest.mark.soak
@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="finds processes in /proc")
def test_a_dead_loading_process_ends_the_training_with_its_reason(started, reliability):
    process, _ = started()
    workers = [pid for pid, line in children(process.pid).items() if b"resource_tracker" not in line]
    os.kill(workers[0], signal.SIGKILL)
    status, err = ended(process)
    assert status == 1
    assert re.search(r"a loading process ended .*[Kk]ill.*--workers.*--resume continues", err), err
    reliability("signals", "SIGKILL of a loading process, train", 1)


IMPATIENT = """
import sys
from focalkit.cli import main
from focalkit.data import watch
watch.POLL, watch.SILENT = 0.25, 2.0
sys.exit(main())
"""


@pytest.mark.soak
@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="finds processes in /proc")
def test_silent_loading_processes_end_the_training_with_its_reason(started, reliability):
    process, _ = started(program=("-c", IMPATIENT))
    for worker in (pid for pid, line in children(process.pid).items() if b"resource_tracker" not in line):
        os.kill(worker, signal.SIGSTOP)
    status, err = ended(process)
    assert status == 1
    assert re.search(r"no batch and done nothing for 2 s.*--workers 0.*--resume continues", err), err
    reliability("signals", "SIGSTOP of the loading processes, train", 1)


@pytest.mark.soak
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_comparison_stops_with_its_workers_and_goes_on(tmp_path, number, status, reliability):
    rows = [f"{i % 7},{i % 5},{int(i % 6 == 0)}" for i in range(400)]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,target", *rows]) + "\n")
    words = ["compare", "t.csv", "--methods", "ce", "focal", "--jobs", "2", "--out", "out"]
    command = [sys.executable, "-m", "focalkit", *words, "--seeds", "6"]
    process = on_a_terminal(command, stdout=subprocess.DEVNULL, cwd=tmp_path)
    until = time.monotonic() + 120
    while not list((tmp_path / "out").glob("cells/*/*/cell.json")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.05)
    os.killpg(process.pid, number)
    got, err = ended(process)
    assert got == status, err
    done = {path: path.read_bytes() for path in (tmp_path / "out").glob("cells/*/*/cell.json")}
    subprocess.run(command, check=True, capture_output=True, timeout=120, cwd=tmp_path)
    assert done == {path: path.read_bytes() for path in done}
    reliability("signals", f"{signal.Signals(number).name} to the group, compare --jobs 2", 1)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_place(tmp_path_factory.mktemp("place"))


SIGNALLED = """
import signal, sys
from pathlib import Path
from disturbed import WRITES
root, at, number, *words = sys.argv[1:]
sys.exit(WRITES.during(Path(root), int(at), words, signal.Signals(int(number))))
"""


@pytest.mark.soak
@pytest.mark.parametrize("name", ["evaluate", "predict", "export", "export onnx", "calibrate", "report"])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_amid_its_writes_ends_a_command_without_half_a_file(
    name, number, status, place, tmp_path, monkeypatch, reliability
):
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    )
    before, sound, cut = state(place.run), tmp_path / "sound", tmp_path / "cut"
    assert WRITES.during(sound, 0, words_of(name, place, sound)) == 0
    at = (WRITES.count + 1) // 2
    words = [str(cut), str(at), str(int(number)), *words_of(name, place, cut)]
    got, err = ended(on_a_terminal([sys.executable, "-c", SIGNALLED, *words], stdout=subprocess.DEVNULL))
    assert got == status, err
    assert_whole(cut)
    assert [str(path) for path in cut.rglob("*.tmp*")] == []
    assert state(place.run) == before
    assert WRITES.during(cut, 0, words_of(name, place, cut)) == 0
    assert result(cut) == result(sound)
    reliability("signals", f"{number.name} amid the writes, {name}", 1)
