"""What the processes of a job do in the tests of the launcher; they are new ones and import this file alone."""

import os
import time

from focalkit.errors import InputError


def one_refuses(job: str) -> None:
    """Rank 1 refuses its input, while rank 0 would work on."""
    if os.environ["LOCAL_RANK"] == "1":
        raise InputError(f"{job}: no such file, says process 1")
    time.sleep(600)
