"""From the maths of a loss to one graph that yields its value and its gradient together.

`trace` runs the maths once on a few numbers, with autograd, and keeps the operations: the forward ones, the derivative,
and the sum. `share_exponentials` then rewrites the graph so that everything sigmoid-like at the same |x| is made of one
exponential, one division and one logarithm. The graph can be handed to a compiler, or tidied (`_tidy.py`) and run chunk
by chunk (`_chunks.py`).

The graphs hold no sizes: they serve every number of elements.
"""

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.fx import Graph, GraphModule, Node

from .._numerics import computed_in, upcast
from ._memory import slots
from ._tidy import ORDINARY, aten, factored, signed, simplify, tidy

Maths: TypeAlias = Callable[..., Tensor | tuple[Tensor, Tensor]]
"""maths(x, *others) -> the unreduced loss, or (loss, counted); x is never float16 or bfloat16"""

# 2 artanh(s) = 2 s + s^3 (c0 + c1 s^2 + ...) for s in [0, 1/3]; Chebyshev fit, relative error below 4e-10
_ARTANH = (0.6666666733761363, 0.3999970135629491, 0.2859258341440564, 0.2170331500897616, 0.23239050532983052)


@dataclass(frozen=True)
class Guarded:
    """Maths with a shorter form for ordinary numbers, which run faster where every operation is paid for.

    Attributes:
        full: For all numbers.
        short: The same bits where every logit lies between `low` and `ORDINARY` and no target is `absent`.
        low: -`ORDINARY`, or -infinity for maths that is 0 there.
        absent: The number that marks a target, the first of `others`, as absent; None: the maths looks for none.
    """

    full: Maths
    short: Maths
    low: float = -ORDINARY
    absent: float | None = None

    def __call__(self, *args: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        return self.full(*args)

    def ordinary(self, x: Tensor, others: Sequence[Tensor]) -> bool:
        """Whether the shorter form serves these numbers. NaN is not ordinary."""
        if not (float(x.amax()) <= ORDINARY and (self.low == -math.inf or self.low <= float(x.amin()))):
            return False
        if self.absent is None:
            return True
        # subtle: rounded as the comparison in the maths rounds it
        dtype = others[0].dtype if others[0].is_floating_point() else computed_in(x)
        absent = float(torch.tensor(self.absent, dtype=dtype))
        least, greatest = (float(v) for v in others[0].to(dtype).aminmax())
        return absent < least or greatest < absent


def trace(
    maths: Maths, x: Tensor, others: Sequence[Tensor], *, gradient: bool, compiler: bool, ordinary: bool = False
) -> GraphModule:
    """The graph of the loss and its gradient.

    For a compiler it is (x, scale, *others) -> (sum, count, gradient times scale), the sums in float64 and the gradient
    in the dtype of `x`. Otherwise it is (x, *others, *slots) -> (loss, number, counted, gradient, number), not reduced
    and not scaled; what is None is not there, and the numbers multiply what comes before them. `meta["slots"]` has the
    dtypes of the slots (`_memory.py`).

    Args:
        maths: Must give the same operations for every size and value.
        x: An example: its dtype, device, rank and which axes have size 1 count, not its values or sizes.
        others: Examples of the other tensors, which broadcast against `x`.
        gradient: Whether the gradient is wanted; otherwise the graph gives the sum and the count only.
        compiler: The graph goes to a compiler, for which operations are cheap and functions dear; otherwise it is run
            as it is, where every operation costs a trip through the cache (`_tidy.py`).
        ordinary: The logits will be within `ORDINARY`.
    """
    from torch.fx.experimental.proxy_tensor import make_fx

    def both(x: Tensor, *others: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        raised = upcast(x).detach().requires_grad_(gradient)
        with torch.set_grad_enabled(gradient):
            loss = maths(raised, *others)
        loss, counted = loss if isinstance(loss, tuple) else (loss, None)
        slope = torch.autograd.grad(loss, raised, torch.ones_like(loss))[0] if gradient else None
        return loss.detach(), counted, slope

    def reduced(x: Tensor, scale: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        loss, counted, slope = both(x, *others)
        total = loss.double().sum()
        # subtle: as floats, because sums of float64 vectorise where sums of integers do not
        count = torch.zeros_like(total) if counted is None else counted.double().sum()
        return (total, count) if slope is None else (total, count, (slope * scale).to(x.dtype))

    def example(t: Tensor) -> Tensor:
        # distinct sizes, so that no two axes are taken for the same one
        sizes = [1 if size == 1 else prime for size, prime in zip(t.shape, (5, 7, 11, 13)[4 - t.ndim :], strict=True)]
        return torch.zeros(sizes, dtype=t.dtype, device=t.device)

    scale = torch.ones((), dtype=computed_in(x), device=x.device)
    inputs = (example(x), *([scale] if compiler else []), *map(example, others))
    # subtle: the hooks of the caller (such as save_on_cpu) shall not meet the tensors of a trace; ours come first
    with torch.no_grad(), saved_tensors_hooks(_same, _same):
        module = make_fx(reduced if compiler else both, tracing_mode="symbolic")(*inputs)
    if compiler:
        simplify(module.graph)
        # C++ compilers call a function for log1p, which costs more than all the rest
        share_exponentials(module.graph, polynomial=x.device.type == "cpu" and scale.dtype == torch.float32)
        module.graph.eliminate_dead_code()
    else:
        tidy(module.graph, next(iter(module.graph.nodes)) if ordinary else None)
        factored(module.graph)
        module.meta["slots"] = slots(module.graph)
    module.recompile()
    return module


def _same(t: Tensor) -> Tensor:
    return t


def share_exponentials(graph: Graph, *, polynomial: bool) -> None:
    """Writes sigmoid(±x), log sigmoid(±x) and the derivative of the latter with e = exp(-|x|), computed once per x.

    With r = 1 / (1 + e): sigmoid(|x|) = r, sigmoid(-|x|) = e r, log sigmoid(x) = min(x, 0) - log1p(e). All are exact to
    a few units in the last place for every x, the infinite ones included.
    """
    parts: dict[Node, _Parts] = {}

    def parts_of(node: Node) -> tuple["_Parts", int]:
        base, sign = signed(node)
        if base not in parts:
            with graph.inserting_after(base):
                parts[base] = _Parts(graph, base, polynomial)
        return parts[base], sign

    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        replacement = None
        if node.target is aten.sigmoid.default:
            shared, sign = parts_of(node.args[0])
            replacement = shared.sigmoid(sign)
        elif node.target is operator.getitem and node.args[0].target is aten.log_sigmoid_forward.default:
            if node.args[1] == 0:
                shared, sign = parts_of(node.args[0].args[0])
                replacement = shared.log_sigmoid(sign)
        elif node.target is aten.log_sigmoid_backward.default:
            shared, sign = parts_of(node.args[1])
            slope = shared.sigmoid(-sign)
            with graph.inserting_before(node):
                replacement = graph.call_function(aten.mul.Tensor, (node.args[0], slope))
        if replacement is not None:
            node.replace_all_uses_with(replacement)
            graph.erase_node(node)


class _Parts:
    """What the sigmoids of one x are made of, inserted where x is known."""

    def __init__(self, graph: Graph, x: Node, polynomial: bool) -> None:
        self.graph, self.made, self.last = graph, {}, x
        f = self._add
        self.x = x
        self.e = f(aten.exp.default, f(aten.neg.default, f(aten.abs.default, x)))
        self.polynomial = polynomial

    def _add(self, target: Callable[..., Any], *args: Any) -> Node:
        with self.graph.inserting_after(self.last):
            self.last = self.graph.call_function(target, args)
        return self.last

    def _once(self, name: str, make: Callable[[], Node]) -> Node:
        if name not in self.made:
            self.made[name] = make()
        return self.made[name]

    def sigmoid(self, sign: int) -> Node:
        f = self._add
        large = self._once("large", lambda: f(aten.reciprocal.default, f(aten.add.Tensor, self.e, 1.0)))
        small = self._once("small", lambda: f(aten.mul.Tensor, self.e, large))
        above = self._once("above", lambda: f(aten.ge.Scalar, self.x, 0.0))
        first, second = (large, small) if sign > 0 else (small, large)
        return self._once(f"sigmoid{sign}", lambda: f(aten.where.self, above, first, second))

    def log_sigmoid(self, sign: int) -> Node:
        f = self._add
        bend = self._once("log1p", self._log1p)
        if sign > 0:
            return self._once("log+", lambda: f(aten.sub.Tensor, f(aten.clamp_max.default, self.x, 0.0), bend))
        return self._once(
            "log-", lambda: f(aten.neg.default, f(aten.add.Tensor, f(aten.clamp_min.default, self.x, 0.0), bend))
        )

    def _log1p(self) -> Node:
        f, e = self._add, self.e
        if not self.polynomial:
            return f(aten.log1p.default, e)
        s = f(aten.div.Tensor, e, f(aten.add.Tensor, e, 2.0))
        z = f(aten.mul.Tensor, s, s)
        series = f(aten.add.Tensor, f(aten.mul.Tensor, z, _ARTANH[-1]), _ARTANH[-2])
        for c in _ARTANH[-3::-1]:
            series = f(aten.add.Tensor, f(aten.mul.Tensor, series, z), c)
        return f(aten.add.Tensor, f(aten.add.Tensor, s, s), f(aten.mul.Tensor, f(aten.mul.Tensor, z, s), series))
