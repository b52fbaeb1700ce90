"""Exact rewritings of a traced graph for running it operation by operation, where each costs a trip through the cache.

What goes: aliases, double negations, clamps of clamps, products with ones, what was computed before. What changes: log
sigmoid, which becomes PyTorch's softplus. Nothing is rewritten in a graph that writes into a tensor twice used.
"""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch.fx import Graph, Node

aten = torch.ops.aten

# Logits within this are ordinary: the bound of `finite` is far away, also after a scaling or a sum.
ORDINARY = 1e4
# log1p(e^x) is x to the last digit of float64 from here on
_LINEAR = 40


def tidy(graph: Graph, x: Node | None) -> None:
    """Rewrites in place a graph that gives (sum, count) or (sum, count, gradient).

    Where the gradient is a number times something, they become the two last results.

    Args:
        x: The input whose numbers are known to be ordinary.
    """
    if any(_writes(node) and not _own_mask(node) for node in graph.nodes):
        return
    changed = True
    while changed:
        changed, seen = False, {}
        for node in list(graph.nodes):
            if node.op != "call_function":
                continue
            rule = _RULES.get(node.target)
            with graph.inserting_before(node):
                replacement = rule(node, x) if rule else None
            replacement = replacement or _earlier(seen, node)
            if replacement is not None:
                node.replace_all_uses_with(replacement)
                graph.erase_node(node)
                changed = True
        graph.eliminate_dead_code()
    output: Any = graph.output_node()
    *sums, last = output.args[0]
    if len(sums) == 2:
        output.args = ((*sums, *(_factored(last) or (last,))),)
    _reuse(graph)


def _writes(node: Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def _own_mask(node: Node) -> bool:
    """The derivative of a clamp writes into the result of a comparison that nobody else reads."""
    mask: Any = node.args[0]
    return node.target is aten.logical_and_.default and mask.target in _COMPARISONS and len(mask.users) == 1


def _earlier(seen: dict[Any, Node], node: Node) -> Node | None:
    """A node before this one that computes the same."""
    random = torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
    if random or any(_writes(n) for n in (node, *node.users)):
        return None
    # as text, in which 1 is not 1.0, and 0.0 not -0.0
    first = seen.setdefault((node.target, repr(node.args), repr(node.kwargs)), node)
    return None if first is node else first


def call(target: Callable[..., Any], *args: Any, like: Node) -> Node:
    """A new node where the graph inserts, its value of the form that `like` has."""
    node = like.graph.call_function(target, args)
    node.meta["val"] = like.meta["val"]
    return node


def negated(node: Node) -> Node:
    return node.args[0] if node.target is aten.neg.default else call(aten.neg.default, node, like=node)  # pyright: ignore


def signed(node: Node) -> tuple[Node, int]:
    """The node and its sign, without negations."""
    sign = 1
    while node.target is aten.neg.default:
        node, sign = node.args[0], -sign  # pyright: ignore[reportAssignmentType]
    return node, sign


def same_form(a: Any, b: Any) -> bool:
    if not (isinstance(a, Node) and isinstance(b, Node)):
        return False
    a, b = a.meta["val"], b.meta["val"]
    return a.dtype == b.dtype and str(a.shape) == str(b.shape)


def clamped(node: Node) -> Node | None:
    """clamp(±clamp(x, -b, b), -b, b) is ±clamp(x, -b, b)."""
    base, _ = signed(node.args[0])  # pyright: ignore[reportArgumentType]
    bounds = _bounds(node)
    symmetric = bounds[0] is not None and bounds[1] is not None and bounds[0] == -bounds[1]
    return node.args[0] if symmetric and base.target is aten.clamp.default and _bounds(base) == bounds else None  # pyright: ignore


def without_ones(node: Node) -> Node | None:
    """x * ones_like(...) is x, unless the ones give the product its shape."""
    for ones, other in (node.args, node.args[::-1]):
        if isinstance(ones, Node) and ones.target is aten.ones_like.default and same_form(other, node):
            return other  # pyright: ignore[reportReturnType]
    return None


def _bounds(clamp: Node) -> tuple[Any, Any]:
    return (*clamp.args, None, None)[1:3]  # pyright: ignore[reportReturnType]


def _alias(node: Node, _: Node | None) -> Node | None:
    return node.args[0]  # pyright: ignore[reportReturnType]


def _neg(node: Node, _: Node | None) -> Node | None:
    inner: Any = node.args[0]
    if inner.target is aten.neg.default:
        return inner.args[0]
    if inner.target is aten.mul.Tensor and len(inner.users) == 1:  # -(a * -b) is a * b
        for a, b in (inner.args, inner.args[::-1]):
            if isinstance(b, Node) and b.target is aten.neg.default:
                return call(aten.mul.Tensor, a, b.args[0], like=node)
    return None


def _mul(node: Node, _: Node | None) -> Node | None:
    a, b = node.args
    if type(b) is float and b == 1 and same_form(a, node):
        return a  # pyright: ignore[reportReturnType]
    for spread, other in ((a, b), (b, a)):
        # (ones_like(...) * number) * x is number * x
        if not isinstance(spread, Node) or spread.target is not aten.mul.Tensor or not same_form(other, node):
            continue
        for ones, number in (spread.args, spread.args[::-1]):
            scalar = isinstance(number, Node) and number.meta["val"].ndim == 0
            if scalar and isinstance(ones, Node) and ones.target is aten.ones_like.default:
                return call(aten.mul.Tensor, other, number, like=node)
    return without_ones(node)


def _clamp(node: Node, x: Node | None) -> Node | None:
    low, high = _bounds(node)
    base, _ = signed(node.args[0])  # pyright: ignore[reportArgumentType]
    ordinary = base is x or (base.target is aten._to_copy.default and base.args[0] is x)
    if x is not None and ordinary and None not in (low, high) and low <= -ORDINARY and high >= ORDINARY:
        return node.args[0]  # pyright: ignore[reportReturnType]
    return clamped(node)


def _log_sigmoid(node: Node, _: Node | None) -> Node | None:
    """log sigmoid(x) = -softplus(-x), which ATen computes in one pass and without a second result."""
    made: Any = node.args[0]
    if made.target is not aten.log_sigmoid_forward.default or node.args[1] != 0:
        return None
    plus = call(aten.softplus.default, negated(made.args[0]), 1, _LINEAR, like=node)
    return call(aten.neg.default, plus, like=node)


def _log_sigmoid_backward(node: Node, _: Node | None) -> Node | None:
    slope, x, _buffer = node.args
    small = call(aten.sigmoid.default, negated(x), like=x)  # pyright: ignore
    return call(aten.mul.Tensor, slope, small, like=node)


def _sum(node: Node, _: Node | None) -> Node | None:
    """The sum of number * x in float64 is number times the sum of x."""
    wide: Any = node.args[0]
    if wide.target is not aten._to_copy.default or wide.kwargs != {"dtype": torch.float64}:
        return None
    product: Any = wide.args[0]
    split = product.target is aten.mul.Tensor and _factored(product)
    if not split or len(wide.users) > 1:
        return None
    x, number = split
    total = call(aten.sum.default, call(aten._to_copy.default, x, like=wide), like=node)
    total.args[0].kwargs = wide.kwargs  # pyright: ignore
    return call(aten.mul.Tensor, total, number, like=node)


def _factored(node: Node) -> tuple[Node, Node] | None:
    """x and number of a product x * number that nothing else uses, or None."""
    if node.target is not aten.mul.Tensor or len(node.users) > 1:
        return None
    for number, x in (node.args, node.args[::-1]):
        if (
            isinstance(number, Node)
            and number.op == "placeholder"
            and not number.meta["val"].ndim
            and same_form(x, node)
        ):
            return x, number  # pyright: ignore[reportReturnType]
    return None


def _reuse(graph: Graph) -> None:
    """Lets an operation write over an argument that nothing needs any more: less memory to move through the cache."""
    place = {node: i for i, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        if node.target not in _IN_PLACE:
            continue
        args: Any = node.args
        for swapped in (False, True) if node.target is aten.mul.Tensor else (False,):
            first = args[1] if swapped else args[0]
            spent = (
                same_form(first, node)
                and first.target in _ELEMENTWISE
                and all(user.target in _ELEMENTWISE and place[user] <= place[node] for user in first.users)
            )
            if spent:
                node.args = args[::-1] if swapped else args
                node.target = _IN_PLACE[node.target]
                break


_RULES: dict[Any, Callable[[Node, Node | None], Node | None]] = {
    aten.alias.default: _alias,
    aten.neg.default: _neg,
    aten.mul.Tensor: _mul,
    aten.clamp.default: _clamp,
    aten.sum.default: _sum,
    operator.getitem: _log_sigmoid,
    aten.log_sigmoid_backward.default: _log_sigmoid_backward,
}

_IN_PLACE: dict[Any, Any] = {
    aten.add.Tensor: aten.add_.Tensor,
    aten.sub.Tensor: aten.sub_.Tensor,
    aten.mul.Tensor: aten.mul_.Tensor,
    aten.div.Tensor: aten.div_.Tensor,
    aten.addcmul.default: aten.addcmul_.default,
    aten.neg.default: aten.neg_.default,
    aten.sigmoid.default: aten.sigmoid_.default,
    aten.pow.Tensor_Scalar: aten.pow_.Scalar,
    aten.clamp.default: aten.clamp_.default,
}
_COMPARISONS = {aten.gt.Scalar, aten.ge.Scalar, aten.lt.Scalar, aten.le.Scalar}
# their results are new memory, or that of a first argument that nothing needs any more
_ELEMENTWISE = {*_IN_PLACE, *_IN_PLACE.values(), aten._to_copy.default, aten.rsub.Scalar, aten.softplus.default}
