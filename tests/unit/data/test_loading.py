"""Loading processes never hang a run: errors arrive as they were, dead and silent workers end it in time."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import Dataset

from focalkit.data import loading, watch
from focalkit.data.loading import fitting_workers, make_loader
from focalkit.data.watch import LoadingError, deaths_explained
from focalkit.errors import DataError, InputError

# torch says that a worker has died from a signal handler, as an error at whatever point the program is: also within its
# own opening of a file or the `__del__` of its iterator, from where no error comes further
deaths = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <_io.FileIO name='/:pytest.PytestUnraisableExceptionWarning",
    "ignore:Exception ignored in. <function _MultiProcessingDataLoaderIter:pytest.PytestUnraisableExceptionWarning",
)

MIB = 2**20
SMALL = 8 * MIB
"""Of /dev/shm, in the test that mounts one."""


class Numbers(Dataset):
    """0, 1, 2, ... as tensors; `action` happens in front of number `at`."""

    def __init__(self, count, action=None, at=3):
        self.count, self.action, self.at = count, action, at

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if index == self.at and self.action is not None:
            self.action()
        return torch.full((1000,), index)


def load(dataset, workers=1, **more):
    loader = make_loader(dataset, 2, stack, workers=workers, batch_bytes=MIB, **more)
    with deaths_explained():
        return [batch[:, 0].tolist() for batch in loader]


def stack(samples):
    return torch.stack(list(samples))


def stack_large(samples):
    return torch.stack([one.float().repeat(1000) for one in samples])


@pytest.fixture(autouse=True)
def fresh_notes(monkeypatch):
    monkeypatch.setattr(loading, "_noted", set())
    monkeypatch.setattr(loading, "usable_workers", lambda wanted: wanted)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_the_order_is_the_same_with_any_number_of_workers(workers):
    assert load(Numbers(8), workers) == [[0, 1], [2, 3], [4, 5], [6, 7]]


@pytest.mark.parametrize(
    ("wanted", "batch", "free", "expected"),
    [
        (2, 31 * MIB, None, (2, 2)),
        (2, 31 * MIB, 1000 * MIB, (2, 2)),
        (2, 10 * MIB, 64 * MIB, (2, 2)),  # 2 x 2 ahead and two on their way
        (4, 10 * MIB, 64 * MIB, (4, 1)),
        (4, 16 * MIB, 64 * MIB, (2, 1)),
        (2, 30 * MIB, 64 * MIB, (0, 2)),
        (2, 0, 2**15, (0, 2)),  # an empty one holds nothing, whatever the estimate
    ],
)
def test_as_many_workers_start_as_shared_memory_holds(wanted, batch, free, expected):
    assert fitting_workers(wanted, batch, free) == expected
    workers, prefetch = expected
    if free is not None and workers:
        assert (workers * prefetch + 2) * batch <= free
    assert fitting_workers(wanted, batch, free and 2 * free, processes=2) == expected


def test_too_little_shared_memory_is_noted_once_and_the_loading_goes_on(monkeypatch, capsys):
    monkeypatch.setattr(loading, "free_shared", lambda: 2 * MIB)
    assert load(Numbers(4), 2) == [[0, 1], [2, 3]]
    assert load(Numbers(4), 2) == [[0, 1], [2, 3]]
    err = capsys.readouterr().err
    assert err.count("note:") == 1
    assert re.search(r"too small for 2 loading processes \(1 MiB a batch, 2 MiB free\): none start\.", err)


def test_a_batch_that_does_not_fit_goes_through_a_pipe(monkeypatch, capsys):
    def full(batch):
        raise RuntimeError("unable to allocate shared memory(shm): No space left on device (28)")

    monkeypatch.setattr(loading, "_share", full)
    assert load(Numbers(4), 1) == [[0, 1], [2, 3]]
    assert "is full: batches go through a pipe" in capsys.readouterr().err


@pytest.mark.skipif(not sys.platform.startswith("linux") or os.getuid() != 0, reason="mounts a small /dev/shm")
@pytest.mark.parametrize("believed", [None, "real"])
def test_a_small_dev_shm_does_not_hang(believed, tmp_path):
    """In a mount namespace of its own; with `believed` None nothing is known in advance, and the pipe has to do."""
    script = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_loading import Numbers, loading, stack_large
state = os.statvfs("/dev/shm")
assert state.f_blocks * state.f_frsize <= {SMALL}
if {believed is None}:
    loading.free_shared = lambda: None
loading.usable_workers = lambda wanted: wanted
loader = loading.make_loader(Numbers(12), 4, stack_large, workers=2, batch_bytes=16 * 2**20)
print([batch[:, 0].tolist() for batch in loader])
"""
    (tmp_path / "load.py").write_text(script)
    mount = f"mount -t tmpfs -o size={SMALL} tmpfs /dev/shm && exec {sys.executable} {tmp_path / 'load.py'}"
    done = subprocess.run(["unshare", "-m", "sh", "-c", mount], capture_output=True, text=True, timeout=60)
    if "unshare:" in done.stderr or "mount:" in done.stderr:
        pytest.skip("may not mount here")
    assert done.stdout.strip() == "[[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0], [8.0, 9.0, 10.0, 11.0]]", done.stderr
    assert ("through a pipe" if believed is None else "none start") in done.stderr


def bad_image():
    raise InputError("a.png: cannot be read")


def bad_data():
    raise DataError("data", ["a.png: this", "b.png: that"])


def bug():
    raise ZeroDivisionError("by zero")


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("action", "kind", "message"),
    [(bad_image, InputError, "a.png: cannot be read"), (bad_data, InputError, "data: 2 problems in the data\n")],
)
def test_bad_input_in_a_worker_is_the_error_it_is_without(action, kind, message, workers):
    with pytest.raises(kind) as caught:
        load(Numbers(8, action), workers)
    assert str(caught.value).startswith(message)
    assert "Traceback" not in str(caught.value)


def test_a_bug_in_a_worker_is_one_line_with_its_trace_in_a_note():
    with pytest.raises(RuntimeError, match=r"^ZeroDivisionError in a loading process: by zero") as caught:
        load(Numbers(8, bug))
    assert "\n" not in str(caught.value)
    assert "in bug" in caught.value.__notes__[0]


def die():
    os.kill(os.getpid(), signal.SIGKILL)


@deaths
def test_a_worker_that_dies_ends_the_loading_with_its_reason():
    start = time.monotonic()
    with pytest.raises(LoadingError, match=r"a loading process ended \(.*[Kk]ill.*--workers"):
        load(Numbers(8, die))
    # told at once by the signal of the death, unless it comes between two reads: then by the end of the second, at 30 s
    assert time.monotonic() - start < 60


def stop():
    os.kill(os.getpid(), signal.SIGSTOP)


def lose():
    time.sleep(1000)


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(watch, "POLL", 0.2)
    monkeypatch.setattr(watch, "SILENT", 1.0)


@pytest.mark.parametrize("action", [stop, lose])
def test_a_worker_that_does_nothing_ends_the_loading(action, impatient):
    start = time.monotonic()
    with pytest.raises(LoadingError, match="sent no batch and done nothing"):
        load(Numbers(8, action))
    assert time.monotonic() - start < 20


def watching():
    return [thread for thread in threading.enumerate() if thread.name == "watch"]


def stop_when_a_batch_is_on_its_way():
    time.sleep(0.1)
    stop()


def wait_until_stopped(pid):
    until = time.monotonic() + 20
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < until
        time.sleep(0.01)


@deaths
@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="looks into /proc")
@pytest.mark.parametrize("persistent", [False, True])
def test_a_worker_that_freezes_while_it_hands_a_batch_over_ends_the_loading(persistent, impatient):
    """The message is there, the memory that it tells of is to be asked for: no timeout ends this."""
    loader = make_loader(
        Numbers(8, stop_when_a_batch_is_on_its_way), 2, stack, workers=1, batch_bytes=MIB, persistent=persistent
    )
    batches = iter(loader)
    (worker,) = batches.gi_frame.f_locals["batches"]._workers
    wait_until_stopped(worker.pid)
    start = time.monotonic()
    with pytest.raises(LoadingError, match="sent no batch and done nothing"), deaths_explained():
        next(batches)
    assert time.monotonic() - start < 20
    assert worker.exitcode == -signal.SIGKILL
    assert not watching()


@deaths
@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="looks into /proc")
def test_a_worker_that_freezes_between_epochs_ends_the_next_one(impatient):
    loader = make_loader(Numbers(4), 2, stack, workers=1, batch_bytes=MIB, persistent=True)
    assert len(list(loader)) == 2
    (worker,) = loader._iterator._workers
    os.kill(worker.pid, signal.SIGSTOP)
    with pytest.raises(LoadingError, match=r"loading processes have .*--workers 0"), deaths_explained():
        list(loader)
    worker.kill()


def test_nothing_watches_where_no_batch_is_waited_for():
    batches = iter(make_loader(Numbers(8), 2, stack, workers=1, batch_bytes=MIB))
    for count in range(4):
        assert not watching(), count
        next(batches)
    assert next(batches, None) is None
    assert not watching()


def work():
    end = time.monotonic() + 2.5
    while time.monotonic() < end:
        pass


def test_a_slow_worker_is_waited_for(impatient):
    assert load(Numbers(8, work)) == [[0, 1], [2, 3], [4, 5], [6, 7]]


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="has no signals of this kind")
def test_signals_to_the_whole_group_leave_the_workers_to_their_parent():
    loader = make_loader(Numbers(40), 2, stack, workers=2, batch_bytes=MIB)
    batches = iter(loader)
    next(batches), next(batches)  # one of each worker: both are there
    workers = batches.gi_frame.f_locals["batches"]._workers
    for worker in workers:  # another process than the parent sends them
        for name in ("TERM", "INT"):
            subprocess.run(["kill", f"-{name}", str(worker.pid)], check=True)
    assert len(list(batches)) == 18
    loader = make_loader(Numbers(40), 2, stack, workers=1, batch_bytes=MIB)
    batches = iter(loader)
    next(batches)
    (worker,) = batches.gi_frame.f_locals["batches"]._workers
    worker.terminate()
    worker.join(10)
    assert worker.exitcode == 0, "its parent can end it"


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="signals cannot be blocked here")
def test_where_a_signal_does_not_say_who_sent_it_none_is_waited_for(monkeypatch):
    monkeypatch.setattr(loading, "WHOSE", False)  # as on macOS
    monkeypatch.delattr(signal, "sigwaitinfo", raising=False)
    before = signal.getsignal(signal.SIGINT)
    try:
        loading.leave_signals_to_parent(0)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN  # of the terminal, which the parent has, too
        assert not signal.pthread_sigmask(signal.SIG_BLOCK, []) & loading.STOPPING  # of the parent
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("error", [ConnectionResetError, EOFError, FileNotFoundError])
def test_a_worker_that_dies_while_it_hands_a_batch_over_is_named(error):
    with subprocess.Popen(["sleep", "60"]) as child, watch_of(child.pid) as worker:
        child.kill()
        with pytest.raises(LoadingError, match="killed by SIGKILL"), watch.watched([worker]):
            raise error


def test_what_breaks_beside_living_workers_stays_as_it_is(monkeypatch):
    monkeypatch.setattr(watch, "wait", lambda sentinels, timeout: [])
    worker = SimpleNamespace(pid=os.getpid(), sentinel=0)
    with pytest.raises(ConnectionResetError), watch.watched([worker]):
        raise ConnectionResetError


@contextmanager
def watch_of(pid):
    """As much of a multiprocessing.Process as the watch looks at, of a process that ends by SIGKILL."""
    sentinel = os.pidfd_open(pid)
    try:
        yield SimpleNamespace(pid=pid, sentinel=sentinel, exitcode=-signal.SIGKILL)
    finally:
        os.close(sentinel)
