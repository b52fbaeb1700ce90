"""How much memory there is: the machine's, or what a container is allowed."""

import os
from contextlib import suppress
from functools import cache
from pathlib import Path

PROC, GROUPS = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
CGROUPS = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
)
"""Limit and use of a container's memory, below `GROUPS`, and what of the use are files that were read, which the system
forgets when it needs room: version 2, version 1."""


def free_memory(proc: Path = PROC, groups: Path = GROUPS) -> int | None:
    """Bytes that a program may still take, of the machine and of its container; None where the system does not say."""
    found = []
    with suppress(OSError, StopIteration, ValueError):
        line = next(line for line in proc.read_text().splitlines() if line.startswith("MemAvailable:"))
        found.append(int(line.split()[1]) * 1024)
    if not found and (pages := _all_pages()):
        found.append(pages // 2)  # macOS says no more
    for limit, use, stat, read in CGROUPS:
        with suppress(OSError, ValueError):  # "max" is no limit
            used = int((groups / use).read_text()) - _number_in(groups / stat, read)
            found.append(max(0, int((groups / limit).read_text()) - used))
    return min(found, default=None)


def _number_in(file: Path, name: str) -> int:
    """Of a file with a name and a number on each line; 0 where it is not there."""
    with suppress(OSError, ValueError):
        return next((int(line.split()[1]) for line in file.read_text().splitlines() if line.split()[:1] == [name]), 0)
    return 0


@cache
def memory_for_a_file(groups: Path = GROUPS) -> int:
    """Bytes: half of the memory of the machine, or of its container."""
    found = [_all_pages() or 2**37]
    for limit, *_ in CGROUPS:
        with suppress(OSError, ValueError):
            found.append(int((groups / limit).read_text()))
    return min(found) // 2


def _all_pages() -> int:
    """The machine's memory in bytes; 0 where the system does not say, as Windows."""
    with suppress(AttributeError, ValueError, OSError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 0
