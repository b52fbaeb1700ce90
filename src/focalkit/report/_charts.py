"""Charts of a page under the ids that its template uses, and blocks of them that a damaged record cannot break."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from ._plot import Figure

T = TypeVar("T")
DAMAGED = (KeyError, TypeError, ValueError, AttributeError, IndexError)


@dataclass
class Charts:
    """Collects the figures of the page under the ids that the template uses."""

    figures: dict[str, Figure] = field(default_factory=dict)

    def add(self, shape: Figure | None, title: str, caption: str = "") -> "list[Chart]":
        """A list with the chart, or an empty one where there is nothing to draw."""
        if shape is None:
            return []
        chart = Chart(f"chart-{len(self.figures) + 1}", title, caption, shape["layout"]["height"])
        self.figures[chart.id] = shape
        return [chart]


@dataclass(frozen=True)
class Chart:
    """Title and place of one figure."""

    id: str
    title: str
    caption: str
    height: int


@dataclass(frozen=True)
class Block:
    """A part of the report: charts, or a note, or both; `options` fill the class selector of the first chart."""

    charts: list[Chart] = field(default_factory=list)
    note: str = ""
    options: list[str] = field(default_factory=list)


def attempt(build: Callable[[], T], what: str) -> tuple[T | None, str]:
    """The part, or a sentence on why the recorded data do not have the expected form."""
    try:
        return build(), ""
    except DAMAGED as error:
        return None, f"{what}: the recorded data do not have the expected form ({type(error).__name__}: {error})."


def guarded(build: Callable[[], Block], what: str) -> Block:
    """The block, or a block that holds only the note."""
    block, note = attempt(build, what)
    return block or Block(note=note)
