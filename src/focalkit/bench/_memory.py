"""Peak memory of one call, beyond what lay there before it.

On a GPU: the allocator's peak. On a CPU: the highest resident set of a fresh process that does nothing else, so that
what other rows left behind does not count. The process runs the call twice and measures the second, when compilers and
thread pools have what they keep; its allocator returns freed memory to the system at once. Needs Linux.
"""

import ctypes
import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from ._model import Call, Settings
from ._suites import load

ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_ARENA_MAX": "1"}
"""glibc: large blocks come from the system and go back to it; nothing hides in arenas."""


def cuda_peak(call: Call, device: torch.device) -> int:
    """Bytes."""
    torch.cuda.synchronize(device)
    gc.collect()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    result = call()
    torch.cuda.synchronize(device)
    peak = torch.cuda.max_memory_allocated(device) - before
    del result
    return peak


def child_peak(suite: str, case: str, row: str, settings: Settings, threads: int) -> int | None:
    """Bytes of a row of a suite, from a process of its own; None where the system does not tell.

    Args:
        suite: "module:function" that returns the cases.
        case, row: Names.
        settings: As for the timing.
        threads: torch's.

    Raises:
        RuntimeError: The process failed; with the last line that it said.
    """
    if not _can_reset():
        return None
    words = [suite, case, row, "quick" if settings.quick else "full", str(threads)]
    done = subprocess.run(
        [sys.executable, "-m", "focalkit.bench._memory", *words],
        capture_output=True,
        text=True,
        env=os.environ | ALLOCATOR,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"the process ended with status {done.returncode}: {last}")
    return int(json.loads(done.stdout.splitlines()[-1]))


def resident_peak(call: Call) -> int:
    """Bytes by which the resident set of this process grows above what it is now, at most, during the call."""
    gc.collect()
    _return_freed_memory()
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark becomes the present
    before = _status("VmRSS")
    result = call()
    peak = _status("VmHWM") - before
    del result
    return max(peak, 0)


def _can_reset() -> bool:
    return sys.platform == "linux" and os.access("/proc/self/clear_refs", os.W_OK)


def _return_freed_memory() -> None:
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0]) * 1024
    raise RuntimeError(f"/proc/self/status has no {key}")


def main(words: list[str]) -> None:
    """In the child: print the bytes of one row."""
    suite, case_name, row_name, size, threads = words
    torch.set_num_threads(int(threads))
    device = torch.device("cpu")
    settings = Settings.small(device) if size == "quick" else Settings(device)
    case = next(c for c in load(suite)(settings) if c.name == case_name)
    call = next(r for r in case.rows if r.name == row_name).make(case.inputs(settings))
    call()
    print(json.dumps(resident_peak(call)))


if __name__ == "__main__":
    main(sys.argv[1:])
