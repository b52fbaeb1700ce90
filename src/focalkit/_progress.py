"""A progress bar on stderr that only appears when the work takes long."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def track(items: Iterable[T], total: int, what: str, delay: float = 2.0) -> Iterator[T]:
    """Yield `items`; after `delay` seconds show on stderr how many of `total` have come.

    Nothing is shown where stderr is not a terminal.
    """
    start = time.monotonic()
    iterator = iter(items)
    done = 0
    for item in iterator:
        done += 1
        yield item
        if time.monotonic() - start > delay:
            break
    else:
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(file=sys.stderr), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=total, completed=done)
        for item in iterator:
            yield item
            bar.advance(task)
