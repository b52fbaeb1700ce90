"""What the workers of the engine tests do, where new processes can import it."""

import os
import signal
from pathlib import Path


def square(job: int) -> int:
    return job * job


def pid(job: int) -> int:
    return os.getpid()


def die_once(marker: Path) -> str:
    """Takes the process down, unless it did so before."""
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def die_always(marker: Path) -> str:
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"
