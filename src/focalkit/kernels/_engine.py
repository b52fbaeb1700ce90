"""A piece of maths on one form of tensors: traced when first needed, compiled when it pays, then run."""

import logging
import threading
from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.fx.experimental import _config

from ..errors import BackendError
from ._choice import Choice, Progress, announce, machine
from ._chunks import Parts, run_chunks
from ._joint import Guarded, Maths, trace
from ._memory import Room

log = logging.getLogger("focalkit.kernels")

# torch traces and compiles for one thread at a time
_one_at_a_time = threading.RLock()


class Kernel:
    """One single pass over tensors of one form, with or without the gradient."""

    def __init__(self, *, gradient: bool, rows: bool) -> None:
        self.gradient, self.rows = gradient, rows
        self.progress = Progress()
        self.graphs: dict[bool, GraphModule] = {}
        self.code: Pass | None = None

    def run(
        self,
        choice: Choice,
        maths: Maths,
        x: Tensor,
        scale: Tensor,
        others: Sequence[Tensor],
        *,
        strict: bool,
        skip: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """(sum, count) or (sum, count, gradient times scale), the sums in float64.

        Args:
            strict: A compilation that fails is an error; otherwise it is noted once, and the chunks do the work.
            skip: Sorted positions that do not add to the sum, and whose gradient may be anything; only for chunks.
        """
        self.progress.work += x.numel()
        # no autograd and no autocast: the graph says which dtypes it computes in
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            if choice.backend == "compiled" and (strict or x.device.type not in machine.broken):
                try:
                    out = self._run_compiled(maths, x, scale, others)
                except Exception as failure:
                    self._failed(failure, x.device.type, strict)
                else:
                    self.progress.compiled = True
                    return out
            return self._run_chunked(maths, x, scale, others, skip)

    def _run_chunked(
        self, maths: Maths, x: Tensor, scale: Tensor, others: Sequence[Tensor], skip: Tensor | None
    ) -> tuple[Tensor, ...]:
        guard = maths if isinstance(maths, Guarded) and x.is_cpu else None
        first = self._graph(guard.short if guard else maths, x, others, ordinary=guard is not None)
        room = Room()

        def run(chunk: Tensor, rest: Sequence[Tensor]) -> Parts:
            parts = room.run(first, chunk, *rest)
            # subtle: looked at afterwards, because by then the chunk lies in the cache
            if guard is None or guard.ordinary(chunk, rest):
                return parts
            return room.run(self._graph(guard.full, x, others, ordinary=False), chunk, *rest)

        return run_chunks(run, x, scale, others, width=len(first.meta["slots"]), rows=self.rows, skip=skip)

    def _graph(self, maths: Maths, x: Tensor, others: Sequence[Tensor], *, ordinary: bool) -> GraphModule:
        if ordinary not in self.graphs:
            with _one_at_a_time:
                graph = trace(maths, x, others, gradient=self.gradient, compiler=False, ordinary=ordinary)
            self.graphs[ordinary] = graph
        return self.graphs[ordinary]

    def _run_compiled(self, maths: Maths, x: Tensor, scale: Tensor, others: Sequence[Tensor]) -> tuple[Tensor, ...]:
        # subtle: `.data` is no view; of views dynamo guards the shape of the base as well
        given = (x.data, scale, *(t.data for t in others))
        if self.code is not None:
            return self.code(*given)
        with _one_at_a_time, _config.patch(use_duck_shape=False):  # pyright: ignore[reportAttributeAccessIssue]
            if self.code is not None:  # another thread was first
                return self.code(*given)
            announce(x.device.type)
            graph = trace(maths, x, others, gradient=self.gradient, compiler=True)
            code = torch.compile(graph, dynamic=True, fullgraph=True)
            out = code(*given)
            self.code = code
            return out

    def _failed(self, failure: Exception, kind: str, strict: bool) -> None:
        reason = f"compiling for the {kind} failed: {type(failure).__name__}: {str(failure).strip().splitlines()[0]}"
        if strict:
            raise BackendError(f'backend="compiled": {reason}; use backend="auto" or "eager"') from failure
        machine.broken[kind] = reason
        log.warning('%s; focalkit goes on without (backend "chunked").', reason)


Pass = Callable[..., tuple[Tensor, ...]]
_kernels: dict[Hashable, Kernel] = {}


def kernel(key: Hashable, *, gradient: bool, rows: bool) -> Kernel:
    """The kernel of this key, made when first asked for."""
    found = _kernels.get((key, gradient))
    if found is None:
        found = _kernels[key, gradient] = Kernel(gradient=gradient, rows=rows)
    return found


def pattern(t: Tensor) -> Hashable:
    """What a compiled graph depends on in a tensor: not its sizes, but which of them are 1."""
    return (t.dtype, *(size == 1 for size in t.shape))


def fingerprint(thing: object) -> Hashable:
    """Equal for functions of the same code and the same captured numbers; TypeError where that cannot be told."""
    if thing is None or isinstance(thing, bool | int | float | str | torch.dtype):
        return (type(thing).__name__, thing)
    if isinstance(thing, tuple | list):
        return tuple(map(fingerprint, thing))
    code = getattr(thing, "__code__", None)
    if code is None:
        raise TypeError(f"{type(thing).__name__} has no fingerprint")
    cells = getattr(thing, "__closure__", None) or ()
    return (code, *(fingerprint(cell.cell_contents) for cell in cells))
