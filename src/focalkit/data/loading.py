"""Loading processes that cannot hang a run: as many workers as shared memory holds, and a watch on them (`watch`).

Workers hand batches over in /dev/shm, which Docker makes 64 MiB small. Where it is too small for all of them, fewer
start; where it fills up later, a batch goes through a pipe. What goes wrong in a worker arrives as the error it was,
and a worker that has died or does nothing for a minute ends the loading.
"""

import dataclasses
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from focalkit.data import watch
from focalkit.errors import FocalkitError, InputError

SHARED = Path("/dev/shm")
STOPPING = {signal.SIGINT, signal.SIGTERM}
"""Signals that a terminal or a scheduler sends to every process of a program."""

WHOSE = hasattr(signal, "sigwaitinfo")
"""Whether a signal says who sent it: not on macOS, which can block signals all the same."""

_noted: set[str] = set()


class Loader(DataLoader):
    """A DataLoader whose workers' failures come as errors, in words and in time. Made by `make_loader`."""

    def __iter__(self) -> Any:  # an iterator over batches
        if not self.num_workers:
            return super().__iter__()
        kept = getattr(self._iterator, "_workers", ())
        if not kept:
            return _received(super().__iter__())
        with watch.watched(kept):  # they are asked to begin again
            return _received(super().__iter__())


def make_loader(
    dataset: Dataset,
    batches: int | Sequence[Sequence[int]],
    collate_fn: Callable[[Sequence[Any]], Any],
    *,
    workers: int,
    batch_bytes: int,
    sampler: Sampler | None = None,
    persistent: bool = False,
    pin: bool = False,
    processes: int = 1,
) -> DataLoader:
    """A DataLoader that starts as many of `workers` as cores and shared memory allow, with a note on stderr if fewer.

    Args:
        dataset, collate_fn, sampler: As for DataLoader.
        batches: Samples per batch, or the samples of each batch by their index.
        workers: Loading processes wanted; 0 loads in this one.
        batch_bytes: Size of a batch of the largest samples.
        persistent: Keep the workers between epochs.
        pin: Bring batches to page-locked memory.
        processes: Programs on this machine that load at the same time and share its memory.
    """
    wanted = usable_workers(workers)
    count, prefetch = fitting_workers(wanted, batch_bytes, free_shared(), processes) if wanted else (0, 2)
    if count < wanted or prefetch < 2:
        note(
            f"{SHARED} is too small for {wanted} loading processes ({batch_bytes / 2**20:.0f} MiB a batch, "
            f"{(free_shared() or 0) / 2**20:.0f} MiB free): {count or 'none'} start{'s' * (count == 1)}. More room "
            "makes loading faster: `docker run --shm-size=1g`"
        )
    order: Any = {"batch_size": batches, "sampler": sampler} if isinstance(batches, int) else {"batch_sampler": batches}
    if not count:
        return DataLoader(dataset, **order, collate_fn=collate_fn, pin_memory=pin)
    return Loader(
        _Caught(dataset),
        **order,
        num_workers=count,
        prefetch_factor=prefetch,
        collate_fn=_InWorker(collate_fn),
        pin_memory=pin,
        persistent_workers=persistent,
        worker_init_fn=_start_worker,
        timeout=watch.SILENT / 2,
    )


def usable_workers(wanted: int) -> int:
    """`wanted`, or as many as this process has cores: more only get in each other's way, and torch warns of them."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(wanted, cores)


def free_shared() -> int | None:
    """Bytes free in /dev/shm; None where there is no such place and torch shares memory in another way."""
    if not SHARED.is_dir():
        return None
    state = os.statvfs(SHARED)
    return state.f_bavail * state.f_frsize


def fitting_workers(wanted: int, batch_bytes: int, free: int | None, processes: int = 1) -> tuple[int, int]:
    """The most workers, and batches that each prepares ahead (2 or 1), for which `free` bytes hold all batches.

    Beside those that are prepared, there are one in use and one on its way. (0, 2) where no worker fits.

    Example:
        >>> fitting_workers(4, 10 * 2**20, 64 * 2**20)
        (4, 1)
        >>> fitting_workers(2, 47 * 2**20, 64 * 2**20)
        (0, 2)
    """
    if free is None:
        return wanted, 2
    for workers in range(wanted, 0, -1):
        for prefetch in (2, 1):
            if (workers * prefetch + 2) * max(batch_bytes, 2**16) * processes <= free:
                return workers, prefetch
    return 0, 2


def note(text: str) -> None:
    """Print a line on stderr, once."""
    if text not in _noted:
        _noted.add(text)
        print(f"note: {text}", file=sys.stderr, flush=True)


# in a worker


@dataclass(frozen=True)
class _Failed:
    """What went wrong in a worker."""

    kind: type[Exception]
    message: str
    trace: str

    def error(self) -> Exception:
        if issubclass(self.kind, FocalkitError):
            return (InputError if issubclass(self.kind, InputError) else FocalkitError)(self.message)
        error = RuntimeError(f"{self.kind.__name__} in a loading process: {self.message}")
        error.add_note(self.trace)
        return error


@dataclass(frozen=True)
class _Piped:
    """A batch for which there is no room in shared memory, as bytes."""

    content: bytes


class _Caught(Dataset):
    """A data set whose errors are samples: an exception that crosses processes becomes the text of a traceback."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset: Any = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        try:
            return self.dataset[index]
        except Exception as error:
            return _Failed(type(error), str(error), traceback.format_exc())


@dataclass(frozen=True)
class _InWorker:
    """Collates, and puts the batch into shared memory where it can still fail in the open.

    Left to the queue, this happens in a thread whose errors reach nobody: the batch is lost and the program waits.
    """

    collate: Callable[[Sequence[Any]], Any]

    def __call__(self, samples: Sequence[Any]) -> Any:
        if failed := next((one for one in samples if isinstance(one, _Failed)), None):
            return failed
        try:
            batch = self.collate(samples)
        except Exception as error:
            return _Failed(type(error), str(error), traceback.format_exc())
        try:
            _share(batch)
        except RuntimeError:
            return _Piped(pickle.dumps(batch))
        return batch


def _share(value: Any) -> None:
    if isinstance(value, torch.Tensor):
        value.share_memory_()
    elif isinstance(value, Mapping):
        _share(list(value.values()))
    elif dataclasses.is_dataclass(value):
        _share([getattr(value, field.name) for field in dataclasses.fields(value)])
    elif isinstance(value, Iterable) and not isinstance(value, str | bytes):
        for one in value:
            _share(one)


def _start_worker(number: int) -> None:
    sys.excepthook = lambda *_: None  # of a thread of multiprocessing, when its parent has gone
    leave_signals_to_parent(0)


def leave_signals_to_parent(status: int) -> None:
    """Take no notice of signals that reach the whole process group; end with `status` when the parent says so, or dies.

    A parent that is asked to stop ends its children itself. Threads that are already there must have the signals
    blocked (`STOPPING`).
    """
    if WHOSE:
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        threading.Thread(target=_end_with_parent, args=(os.getppid(), status), daemon=True).start()
    else:  # the parent ends its children with SIGTERM, which nobody types
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _end_with_parent(parent: int, status: int) -> None:
    while signal.sigwaitinfo(STOPPING).si_pid != parent and os.getppid() == parent:
        pass
    os._exit(status)


# in the parent


def _received(batches: Iterator[Any]) -> Iterator[Any]:
    """The batches, and errors of workers as they were."""
    while (batch := watch.next_batch(batches)) is not watch.END:
        if isinstance(batch, _Failed):
            raise batch.error()
        if isinstance(batch, _Piped):
            note(f"{SHARED} is full: batches go through a pipe, which is slower. Fewer --workers, or more room, help")
            batch = pickle.loads(batch.content)
        yield batch
