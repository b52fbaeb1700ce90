"""A loss module is a loss function with remembered arguments.

    class SigmoidFocalLoss(LossModule, function=sigmoid_focal_loss): ...

The constructor takes the function's keyword arguments with the function's defaults, so the two cannot drift apart;
signature and docstring are the function's. `weight` and `normalizer` belong to the batch and are given to the call.

What is remembered: numbers, also numpy's, as Python numbers; vectors over the classes (lists, arrays, tensors) as
buffers, which move with the module and are saved with it; an `nn.Parameter` as a parameter, so that gamma and alpha can
be learned. `__init__.pyi` tells editors and type checkers; `scripts/loss_stubs.py` writes it.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .._numerics import upcast
from ._base import Loss
from ._checks import check_backend, check_choice, ignored_value, is_number, nearest

CALL_TIME = ("weight", "normalizer", "distances")


class LossModule(Loss):
    """Base of the stateless losses; a subclass names its function."""

    function: ClassVar[Callable[..., Tensor]]
    defaults: ClassVar[dict[str, Any]]

    def __init_subclass__(cls, *, function: Callable[..., Tensor] | None = None, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        if function is None:  # a subclass of a loss
            return
        cls.function = staticmethod(function)
        kept = [
            p
            for p in inspect.signature(function).parameters.values()
            if p.kind is p.KEYWORD_ONLY and p.name not in CALL_TIME
        ]
        cls.defaults = {p.name: p.default for p in kept}
        cls.__signature__ = inspect.Signature(kept)
        cls.__doc__ = module_doc(function)

    def __init__(self, *positional: Any, **arguments: Any) -> None:
        super().__init__()
        name = type(self).__name__
        if positional:
            named = ", ".join(f"{key}={value!r}" for key, value in zip(self.defaults, positional, strict=False))
            raise TypeError(f"{name} takes its arguments by name: {name}({named})")
        for key in arguments:
            if key in CALL_TIME:
                raise TypeError(
                    f"{name}: {key} belongs to a batch; give it to the call, loss(logits, targets, {key}=...)"
                )
            if key not in self.defaults:
                raise TypeError(
                    f"{name} has no argument {key!r}{nearest(key, self.defaults)}; it takes {', '.join(self.defaults)}"
                )
        missing = [k for k, v in self.defaults.items() if v is inspect.Parameter.empty and k not in arguments]
        if missing:
            raise TypeError(f"{name} needs {', '.join(missing)}, for example {name}({missing[0]}=...)")
        for key, default in self.defaults.items():
            self._remember(key, arguments.get(key, default))
        check_choice("reduction", self.arguments().get("reduction", "mean"), ("none", "sum", "mean"))
        function = type(self).function
        name = None if getattr(function, "single_pass", False) else function.__name__
        check_backend(self.arguments().get("backend", "auto"), name)
        ignored_value(self.arguments().get("ignore_index"))

    def _remember(self, key: str, value: Any) -> None:
        if isinstance(value, nn.Parameter):
            self.register_parameter(key, value)
        elif isinstance(value, Tensor):
            self.register_buffer(key, upcast(value.detach().clone()) if value.is_floating_point() else value.clone())
        elif is_number(value):
            setattr(self, key, value if isinstance(value, bool | int | float) else value.item())
        elif hasattr(value, "__array__"):
            self.register_buffer(key, torch.as_tensor(value).clone())
        elif isinstance(value, Sequence) and not isinstance(value, str):
            self.register_buffer(key, torch.tensor(value, dtype=torch.float32))
        else:
            setattr(self, key, value)

    def arguments(self) -> dict[str, Any]:
        """The remembered arguments, by name."""
        return {key: getattr(self, key) for key in self.defaults}

    def forward(self, logits: Tensor, targets: Tensor, **call: Any) -> Tensor:
        """`function(logits, targets, ...)`; `weight`, `normalizer` and whatever shall differ this time go here."""
        return type(self).function(logits, targets, **(self.arguments() | call))

    def extra_repr(self) -> str:
        shown = []
        for key, value in self.arguments().items():
            default = self.defaults[key]
            if isinstance(value, Tensor):
                numbers = [float(f"{v:.7g}") for v in value.flatten().tolist()]  # float32 keeps seven digits
                text = f"<{value.numel()} values>" if value.numel() > 8 else str(numbers if value.ndim else numbers[0])
                shown.append(f"{key}={text}")
            elif value != default:
                shown.append(f"{key}={value!r}")
        return ", ".join(shown)


def module_doc(function: Callable[..., Tensor]) -> str:
    """The docstring of a function as that of its module."""
    summary, _, rest = (inspect.getdoc(function) or "").partition("\n\n")
    return (
        f"{summary}\n\n`{function.__name__}` with remembered arguments; what belongs to a batch (`logits`, "
        f"`targets`, `weight`,\n`normalizer`) is given to the call.\n\n{rest}"
    )
