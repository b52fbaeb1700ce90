"""What a benchmark is made of: cases, rows to time against each other, and bars.

To add a row, append a `Row` to its case: a name and a function from the case's inputs to the call that is timed. Where
that function's import fails the row counts as absent, and `install` says how to change that.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

Call = Callable[[], Any]
Role = Literal["ours", "peer", "floor", "part"]


@dataclass(frozen=True)
class Settings:
    """How to run.

    Attributes:
        device: Where the inputs lie.
        quick: Small sizes and few rounds: to see that everything works, not to quote.
        rounds: Upper bound of timed rounds per case.
        seconds: Rounds start no later than this after the first, but `least` are always run.
        least: Lower bound of timed rounds.
        warmup: Untimed calls of each row before the first round.
        memory: Whether to measure peak memory (on a CPU: one more process per row).
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    quick: bool = False
    rounds: int = 30
    seconds: float = 90.0
    least: int = 7
    warmup: int = 2
    memory: bool = True

    @classmethod
    def small(cls, device: torch.device, memory: bool = True) -> "Settings":
        """For `--quick`."""
        return cls(device, quick=True, rounds=5, seconds=10.0, least=3, warmup=1, memory=memory)


def no_answer(result: Any) -> tuple[Tensor, ...]:
    """The `answer` of a row whose result says nothing about the others'."""
    return ()


def tensors(result: Any) -> tuple[Tensor, ...]:
    """The `answer` of a row that returns a tensor or a tuple of tensors."""
    return (result,) if isinstance(result, Tensor) else tuple(result)


@dataclass(frozen=True)
class Row:
    """One competitor.

    Attributes:
        name: Unique in its case.
        make: The case's inputs -> the call to time. Imports the peer; what it prepares is not timed.
        role: "ours"; "peer"; "floor" (a lower bound such as a copy); "part" (a share of another row).
        install: How to get the peer where it is missing.
        answer: A call's result -> tensors that must equal the reference's, in the same order.
        tolerance: Of the largest difference relative to the reference's largest magnitude, tensor by tensor.
        note: What the reader has to know, such as what the peer defines differently.
    """

    name: str
    make: Callable[[Any], Call]
    role: Role = "ours"
    install: str = ""
    answer: Callable[[Any], Sequence[Tensor]] = tensors
    tolerance: float = 1e-4
    note: str = ""


@dataclass(frozen=True)
class Bar:
    """A goal: one row's figure divided by another's.

    Attributes:
        text: What the ratio is, read after the number: "x faster than torchvision".
        over, under: Names of the rows. Times: the median over rounds of the ratio within the round. Without `under`,
            memory is divided by the case's `unit_bytes`.
        sense, limit: Where the ratio should lie.
        quantity: Time, or peak memory.
        percent: Show the ratio in percent.
    """

    text: str
    over: str
    under: str
    limit: float
    sense: Literal["at least", "at most"] = "at least"
    quantity: Literal["time", "memory"] = "time"
    percent: bool = False


@dataclass(frozen=True)
class Case:
    """Rows that do the same work on the same inputs.

    Attributes:
        name: Short, unique in its suite.
        title: What is measured and how large it is.
        inputs: Settings -> whatever the rows' `make` take. Deterministic.
        rows: In the order of the table; the first is the one that the table's ratios refer to.
        reference: The row whose answer the others' are compared with; "" compares nothing.
        bars: Judged after the case has run.
        unit_bytes: Inputs -> bytes that memory is also given in multiples of (those of the logits).
        note: Said under the table.
    """

    name: str
    title: str
    inputs: Callable[[Settings], Any]
    rows: tuple[Row, ...]
    reference: str = ""
    bars: tuple[Bar, ...] = ()
    unit_bytes: Callable[[Any], int] | None = None
    note: str = ""

    def __post_init__(self) -> None:
        names = [row.name for row in self.rows]
        wanted = {name for bar in self.bars for name in (bar.over, bar.under)} | {self.reference}
        if len(set(names)) < len(names) or not wanted - {""} <= set(names):
            raise ValueError(f"{self.name}: rows {names}, but its bars and reference name {sorted(wanted)}")


Suite = Callable[[Settings], Sequence[Case]]
