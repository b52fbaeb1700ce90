"""What the methods of a comparison get wrong: kinds of errors, pictures of them, and where a detector's loss sits.

Only for tasks whose results can be looked at (`focalkit.tasks.Illustrator`) and cells that recorded it.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from focalkit.compare import Comparison
from focalkit.compare.store import Cell
from focalkit.errors import InputError
from focalkit.tasks import Illustrator

from . import _curves
from ._charts import Block, Charts
from ._plot import Figure, axis, figure, plain, run_color
from ._read import Picture

Groups = list[tuple[str, str, list[Picture]]]


def error_kinds(comparison: Comparison, shown: Sequence[str], charts: Charts) -> Block:
    """What every kind of error costs the methods shown, on average over their seeds."""
    if not isinstance(comparison.task, Illustrator):
        return Block()
    costs, metric = {}, ""
    for name in shown:
        cells = [cell for (method, _), cell in comparison.cells.items() if method == name and cell.status == "done"]
        found = [comparison.task.error_costs(cell.test, cell.record["classes"]) for cell in cells]
        metric, *kinds = found[0]
        costs[name] = {kind: float(np.mean([one[kind] for one in found])) for kind in kinds}
    caption = f"By how much {metric} would rise if a kind alone were mended; mean over the seeds."
    return Block(charts.add(_bars(costs, metric), "What the errors cost", caption))


def _bars(costs: Mapping[str, Mapping[str, float]], metric: str) -> Figure | None:
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "name": plain(name),
            "x": list(of.values()),
            "y": list(of),
            "marker": {"color": run_color(i)},
            "hovertemplate": "%{y}: %{x:.3f}",
        }
        for i, (name, of) in enumerate(costs.items())
    ]
    x = axis(f"{metric} it costs") | {"rangemode": "tozero"}
    kinds = axis() | {"type": "category", "autorange": "reversed"}
    return figure(traces, x, kinds, height=220 + 40 * len(traces), hover="closest") if traces else None


def pictures(comparison: Comparison, cell: Cell | None) -> tuple[Groups, str]:
    """Pictures of a cell's test part by group, and why there are none."""
    if cell is None or not isinstance(comparison.task, Illustrator):
        return [], ""
    try:
        found = comparison.task.pictures(comparison.plan.source, cell.test)
    except (InputError, OSError) as error:
        return [], f"No pictures: the data cannot be read any more ({str(error).splitlines()[0]})."
    groups: dict[str, tuple[str, list[Picture]]] = {}
    for one in found:
        uri = f"data:image/jpeg;base64,{base64.b64encode(one.jpeg).decode('ascii')}"
        picture = Picture(one.group, one.caption, one.item, None, uri)
        groups.setdefault(one.group, (one.about, []))[1].append(picture)
    return [(group, about, of) for group, (about, of) in groups.items()], ""


def concentration(cell: Cell | None, charts: Charts) -> Block | None:
    """Figure 4 of Lin et al. (2017) for a detector; None where the cell has not recorded it."""
    source = _concentration_of(cell)
    if not source:
        return None
    parts = []
    for part in ("negatives", "positives"):
        caption = f"{source[f'num_{part}']:,} pairs of an anchor and a class, the easiest first."
        parts += charts.add(_curves.concentration(source, part), f"Share of the loss of the {part}", caption)
    return Block(parts)


def shares(cell: Cell | None) -> list[tuple[str, list[str]]]:
    """(what, a share per gamma) of loss and gradient by group, with the gammas as the first row."""
    rows = _concentration_of(cell).get("shares", [])
    if not rows:
        return []
    table = [("", [f"\u03b3 = {row['gamma']:g}" for row in rows])]
    for size in ("loss", "gradient"):
        table += [(f"{size}: {group}", [f"{row[size][group]:.1%}" for row in rows]) for group in rows[0][size]]
    return table


def _concentration_of(cell: Cell | None) -> dict[str, Any]:
    return {} if cell is None else cell.record.get("facts", {}).get("loss_concentration", {})
