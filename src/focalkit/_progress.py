"""A progress bar on stderr, or in a notebook, that only appears when the work takes long."""

import sys
import time
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import TypeVar

T = TypeVar("T")


def track(items: Iterable[T], total: int, what: str, delay: float = 2.0) -> Iterator[T]:
    """Yield `items`; after `delay` seconds show on stderr how many of `total` have come.

    Nothing is shown where stderr is not a terminal, but for notebooks with the package ipywidgets.
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

    terminal = sys.stderr.isatty()
    console = Console(file=sys.stderr) if terminal else Console()
    notebook = console.is_jupyter and find_spec("ipywidgets") is not None  # rich warns without it
    with Progress(console=console, transient=True, disable=not (terminal or notebook)) as bar:
        task = bar.add_task(what, total=total, completed=done)
        for item in iterator:
            yield item
            bar.advance(task)
