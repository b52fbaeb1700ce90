"""Exact rewritings of a traced graph for running it operation by operation, where each costs a trip through the cache.

What goes: aliases, clamps of clamps, products with ones, what was computed before. Signs move to where they cost
nothing: to numbers, or out of the graph. Log sigmoid becomes PyTorch's softplus.
Nothing is rewritten in a graph that writes into a tensor twice used.
"""

import operator
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch.fx import Graph, Node

aten = torch.ops.aten

Rule: TypeAlias = Callable[[Node], Node | None]
"""rule(node) -> what takes its place, or None"""

# Logits within this are ordinary: the bound of `finite` is far away, also after a scaling or a sum.
ORDINARY = 1e4
# log1p(e^x) is x to the last digit of float64 from here on
_LINEAR = 40


def tidy(graph: Graph, x: Node | None) -> None:
    """Applies every exact rule.

    Args:
        x: The input whose numbers are known to be ordinary.
    """
    rewrite(graph, _RULES | {aten.clamp.default: lambda node: _clamp(node, x)})


def factored(graph: Graph) -> None:
    """Makes (loss, n, counted, gradient, m) of results (loss, counted, gradient).

    The loss is n times the first and the gradient m times the fourth, where these are numbers and not None.
    """
    output: Any = graph.output_node()
    loss, counted, slope = output.args[0]
    output.args = ((*_split(loss), counted, *_split(slope)),)
    graph.eliminate_dead_code()


def simplify(graph: Graph) -> None:
    """Takes out of a graph for a compiler what autograd leaves behind."""
    rewrite(graph, _LEFT_BEHIND)


def rewrite(graph: Graph, rules: dict[Any, Rule]) -> None:
    """Applies the rules until none finds anything, and computes nothing twice."""
    if not pure(graph):
        return
    changed = True
    while changed:
        changed, seen = False, {}
        for node in list(graph.nodes):
            if node.op != "call_function":
                continue
            rule = rules.get(node.target)
            with graph.inserting_before(node):
                replacement = rule(node) if rule else None
            replacement = replacement or _earlier(seen, node)
            if replacement is not None:
                node.replace_all_uses_with(replacement)
                graph.erase_node(node)
                changed = True
        graph.eliminate_dead_code()


def writes(node: Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def pure(graph: Graph) -> bool:
    """Whether the graph writes into nothing that is read elsewhere, so that its operations may move."""
    return not any(writes(node) and not _own_mask(node) for node in graph.nodes)


def _own_mask(node: Node) -> bool:
    """The derivative of a clamp writes into the result of a comparison that nobody else reads."""
    mask: Any = node.args[0]
    return node.target is aten.logical_and_.default and mask.target in _COMPARISONS and len(mask.users) == 1


def _earlier(seen: dict[Any, Node], node: Node) -> Node | None:
    """A node before this one that computes the same."""
    random = torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
    if random or any(writes(n) for n in (node, *node.users)):
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


def _bounds(clamp: Node) -> tuple[Any, Any]:
    return (*clamp.args, None, None)[1:3]  # pyright: ignore[reportReturnType]


def _alias(node: Node) -> Node | None:
    return node.args[0]  # pyright: ignore[reportReturnType]


def _neg(node: Node) -> Node | None:
    """-(-x) is x, and -(x * number) is x * -number."""
    inner: Any = node.args[0]
    if inner.target is aten.neg.default:
        return inner.args[0]
    product = len(inner.users) == 1 and _times_number(inner)
    return call(aten.mul.Tensor, product[0], negated(product[1]), like=node) if product else None


def _mul(node: Node) -> Node | None:
    """x * 1 and x * ones_like() are x, (ones_like() * number) * x is number * x. Signs go to the number or out."""
    for one, other in (node.args, node.args[::-1]):
        if type(one) is float and one == 1 and same_form(other, node):
            return other  # pyright: ignore[reportReturnType]
        if not isinstance(one, Node):
            continue
        if one.target is aten.ones_like.default and same_form(other, node):
            return other  # pyright: ignore[reportReturnType]
        spread = _times_number(one)
        if spread and spread[0].target is aten.ones_like.default and same_form(other, node):
            return call(aten.mul.Tensor, other, spread[1], like=node)
        if one.target is aten.neg.default and len(one.users) == 1 and same_form(one, node) and isinstance(other, Node):
            if not other.meta["val"].ndim:
                return call(aten.mul.Tensor, one.args[0], negated(other), like=node)
            return negated(call(aten.mul.Tensor, one.args[0], other, like=node))
    return None


def _clamp(node: Node, x: Node | None = None) -> Node | None:
    """Ordinary numbers need no far clamp; clamp(±clamp(x, -b, b), -b, b) is ±clamp(x, -b, b)."""
    low, high = bounds = _bounds(node)
    base, _ = signed(node.args[0])  # pyright: ignore[reportArgumentType]
    if low is None or high is None:
        return None
    own = base.args[0] if base.target is aten._to_copy.default else base  # x itself, in its dtype or a wider one
    idle = own is x and low <= -ORDINARY and high >= ORDINARY
    again = low == -high and base.target is aten.clamp.default and _bounds(base) == bounds
    return node.args[0] if idle or again else None  # pyright: ignore[reportReturnType]


def _log_sigmoid(node: Node) -> Node | None:
    """log sigmoid(x) = -softplus(-x), which ATen computes in one pass and without a second result."""
    made: Any = node.args[0]
    if made.target is not aten.log_sigmoid_forward.default or node.args[1] != 0:
        return None
    plus = call(aten.softplus.default, negated(made.args[0]), 1, _LINEAR, like=node)
    return call(aten.neg.default, plus, like=node)


def _log_sigmoid_backward(node: Node) -> Node | None:
    slope, x, _buffer = node.args
    small = call(aten.sigmoid.default, negated(x), like=x)  # pyright: ignore
    return call(aten.mul.Tensor, slope, small, like=node)


def _split(node: Node | None) -> tuple[Node | None, Node | float | None]:
    """x and number of a product x * number that nothing else uses, or the node and None."""
    if node is None or len(node.users) > 1:
        return node, None
    if node.target is aten.neg.default:
        return node.args[0], -1.0  # pyright: ignore[reportReturnType]
    return _times_number(node) or (node, None)


def _times_number(node: Any) -> tuple[Node, Node] | None:
    """x and number, where the node is their product."""
    if isinstance(node, Node) and node.target is aten.mul.Tensor:
        for x, number in (node.args, node.args[::-1]):
            if isinstance(number, Node) and not number.meta["val"].ndim and same_form(x, node):
                return x, number  # pyright: ignore[reportReturnType]
    return None


def _rsub(node: Node) -> Node | None:
    """number - x, in the form that can write where it is told."""
    x, number, *alpha = node.args
    return None if alpha else call(aten.sub.Tensor, number, x, like=node)


_LEFT_BEHIND: dict[Any, Rule] = {
    aten.alias.default: _alias,
    aten.mul.Tensor: _mul,
    aten.clamp.default: _clamp,
}
_RULES = _LEFT_BEHIND | {
    aten.neg.default: _neg,
    aten.rsub.Scalar: _rsub,
    operator.getitem: _log_sigmoid,
    aten.log_sigmoid_backward.default: _log_sigmoid_backward,
}
_COMPARISONS = {aten.gt.Scalar, aten.ge.Scalar, aten.lt.Scalar, aten.le.Scalar}
