"""Memory for what a graph computes in between: written over and over, so that it stays in the cache."""

from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node

from ._tidy import aten, pure, writes


def slots(graph: Graph) -> list[torch.dtype]:
    """Lets results of the size of x, the first input, write over those that nothing needs any more.

    The memory they write into becomes the last inputs of the graph, shaped like x and of these dtypes.
    """
    if not pure(graph):
        return []
    _sink(graph)
    nodes = list(graph.nodes)
    place = {node: i for i, node in enumerate(nodes)}
    inputs = [node for node in nodes if node.op == "placeholder"]
    made: list[tuple[Node, torch.dtype]] = []
    free: list[int] = []  # from this place on
    for node in nodes:
        target = _writing(node.target)
        shaped = target and str(node.meta["val"].shape) == str(inputs[0].meta["val"].shape)
        if not shaped or not all(map(_reads, node.users)):
            continue
        dtype = node.meta["val"].dtype
        k = next((k for k, (_, d) in enumerate(made) if d == dtype and free[k] <= place[node]), len(made))
        if k == len(made):
            with graph.inserting_after(made[-1][0] if made else inputs[-1]):
                made.append((graph.placeholder(f"slot{k}"), dtype))
            free.append(0)
        free[k] = max(place[user] for user in node.users)
        node.target, node.kwargs = target, {**node.kwargs, "out": made[k][0]}
    return [dtype for _, dtype in made]


def _sink(graph: Graph) -> None:
    """Moves operations on one argument to where they are needed: two results live at a time where there were three."""
    for node in reversed(list(graph.nodes)):
        if _writing(node.target) and len(node.all_input_nodes) == 1:
            next(later for later in graph.nodes if later in node.users).prepend(node)


def _writing(target: Any) -> Any:
    """The form of an elementwise operation that takes the memory to write into, or None."""
    if torch.Tag.pointwise not in getattr(target, "tags", ()) or target._schema.is_mutable:
        return None
    wanted = [(a.name, str(a.type)) for a in target._schema.arguments]
    for name in (f"{target._overloadname}_out", "out"):
        form = getattr(target.overloadpacket, name, None)
        if form is None or torch.Tag.generated in form.tags:  # these compute elsewhere and copy
            continue
        if [(a.name, str(a.type)) for a in form._schema.arguments[:-1]] == wanted:
            return form
    return None


def _reads(node: Node) -> bool:
    """Whether the node reads its arguments and neither keeps a view of them nor writes."""
    if node.op == "output" or node.target in (aten._to_copy.default, aten.sum.default):
        return True
    return torch.Tag.pointwise in getattr(node.target, "tags", ()) and not writes(node)


# elements by which the places in pages differ
APART = 272


class Room:
    """The memory of a pass over chunks."""

    def __init__(self) -> None:
        self.memory: dict[Hashable, Tensor] = {}

    def run(self, graph: GraphModule, x: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        """What the graph gives for a chunk; valid until the next run."""
        n, places = x.numel(), []
        for place in enumerate(graph.meta["slots"]):
            flat = self.memory.get(place)
            if flat is None or flat.numel() < n:
                # subtle: memory of one size begins at one place of its pages, and reads would wait for writes elsewhere
                apart = APART * (place[0] + 1)
                flat = self.memory[place] = torch.empty(n + apart, dtype=place[1], device=x.device)[apart:]
            places.append(flat[:n].view(x.shape))
        return graph.forward(x, *others, *places)
