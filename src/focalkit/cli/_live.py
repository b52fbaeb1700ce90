"""The table of a running comparison, and the one of a finished one."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Group

    from focalkit.compare import Comparison
    from focalkit.compare.plan import Plan
    from focalkit.compare.run import Event

PARTS = ("fit", "predict")
"""Of the time of a cell that is there from before; a search before it is of the method and is not repeated."""


@dataclass
class Board:
    """What has happened so far."""

    plan: "Plan"
    workers: int
    done: dict[str, int] = field(default_factory=dict)
    failed: dict[str, list[str]] = field(default_factory=dict)
    running: set[tuple[str, int]] = field(default_factory=set)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    kept: int = 0
    began: float = field(default_factory=time.perf_counter)

    def tell(self, event: "Event") -> None:
        """Take note of an event."""
        name, seed = event.job.method.name, event.job.seed
        if event.kind == "started":
            self.running.add((name, seed))
            return
        self.running.discard((name, seed))
        self.seconds.setdefault(name, []).append(event.seconds)
        if event.kind == "done":
            self.done[name] = self.done.get(name, 0) + 1
        else:
            self.failed.setdefault(name, []).append(event.error)

    def left(self) -> float | None:
        """Estimated seconds to the end: what cells took so far, by method where it is known; None before the first.

        Methods made from another one's files take next to nothing.
        """
        if not self.seconds:
            return None
        known = {name: sum(values) / len(values) for name, values in self.seconds.items()}
        usual = sum(known.values()) / len(known)
        todo = 0.0
        for method in self.plan.methods:
            if self.plan.base_of(method) is not None:
                continue
            seen = self.done.get(method.name, 0) + len(self.failed.get(method.name, []))
            todo += max(0, len(self.plan.seeds) - seen) * known.get(method.name, usual)
        return todo / self.workers

    def line(self) -> str:
        """Done, failed, time left."""
        total = len(self.plan.methods) * len(self.plan.seeds)
        done = sum(self.done.values())
        text = f"{done} of {total} done"
        if self.kept:
            text += f" ({self.kept} from before)"
        if self.failed:
            text += f", {sum(map(len, self.failed.values()))} failed"
        left, gone = self.left(), clock(time.perf_counter() - self.began)
        return f"{text}, {gone} gone, {'unknown time' if left is None else 'about ' + clock(left)} left"


@contextlib.contextmanager
def watching(plan: "Plan", out: Path, jobs: int, *, quiet: bool) -> "Iterator[Callable[[Event], None]]":
    """Show events as they come: a live table on a terminal, a line each elsewhere, nothing when `quiet`."""
    from focalkit.compare.store import Store

    board = Board(plan, jobs)
    store = Store(out)
    for method in plan.methods:
        cells = [store.cell(method.name, seed) for seed in plan.seeds]
        if done := [cell for cell in cells if cell.status == "done"]:
            board.done[method.name] = len(done)
            board.seconds[method.name] = [
                sum(cell.record["cost"][f"{part}_seconds"] for part in PARTS) for cell in done
            ]
    board.kept = sum(board.done.values())
    if quiet:
        yield board.tell
    elif sys.stdout.isatty():
        from rich.live import Live

        with Live(get_renderable=lambda: live_table(board), refresh_per_second=4, transient=True):
            yield board.tell
    else:
        yield lambda event: _print(board, event)


def live_table(board: Board) -> "Group":
    """How far all is, and each method."""
    from rich.console import Group
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("method", "done", "running", "s / cell", ""):
        table.add_column(name, justify="left" if name in ("method", "") else "right")
    for method in board.plan.methods:
        name = method.name
        times = board.seconds.get(name, [])
        running = ", ".join(str(seed) for other, seed in sorted(board.running) if other == name)
        per = f"{sum(times) / len(times):.1f}" if times else ""
        error = board.failed.get(name, [""])[-1]
        table.add_row(name, f"{board.done.get(name, 0)}/{len(board.plan.seeds)}", running, per, error[:70])
    return Group(board.line(), table)


def result_table(comparison: "Comparison") -> str:
    """The methods of a finished comparison, the best first, as text."""
    from focalkit.compare.summary import lines

    plan, decision = comparison.plan, comparison.task.decision_metric
    head = ["method", plan.metric, f"vs {plan.yardstick}", "verdict"]
    outcomes = {v.method: v.outcome for v in comparison.verdicts}
    classes = max((c.test.logits.shape[1] for c in comparison.cells.values() if c.status == "done"), default=2)
    head += [f"{decision}, tuned", "at .5" if classes == 2 else "most probable class"] if decision else []
    rows = [[*head, "s / cell"]]
    for line in lines(comparison):
        if not line.done:
            rows.append([line.method, f"failed: {line.error.splitlines()[0] if line.error else 'no cell'}"])
            continue
        spread = f" ± {line.spread:.3f}" if line.spread == line.spread else ""
        cells = [line.method, f"{line.mean:.3f}{spread}", _signed(line.difference), outcomes[line.method]]
        cells += [_number(line.tuned), _number(line.default)] if decision else []
        failed = f"  ({line.failed} of {len(plan.seeds)} failed: {line.error.splitlines()[0]})" if line.failed else ""
        rows.append([*cells, f"{line.seconds:.1f}{failed}"])
    wide = [max(len(row[i]) for row in rows if len(row) == len(rows[0])) for i in range(len(rows[0]))]
    return "\n".join("  ".join(f"{c:<{w}}" for c, w in zip(row, wide, strict=False)).rstrip() for row in rows)


def clock(seconds: float) -> str:
    """42 s, 3:05 min, 1:02 h."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"


def _print(board: Board, event: "Event") -> None:
    board.tell(event)
    if event.kind == "started":
        return
    name = f"{event.job.method.name}, seed {event.job.seed}"
    what = f"{clock(event.seconds)}" if event.kind == "done" else f"failed: {event.error}"
    print(f"{name}: {what}; {board.line()}", flush=True)


def _number(value: float) -> str:
    return f"{value:.3f}" if value == value else "-"


def _signed(value: float) -> str:
    if value != value:
        return ""
    return f"{value:+.3f}" if abs(value) >= 0.0005 else "0.000"
