"""A loss module is a loss function with remembered arguments.

    class SigmoidFocalLoss(LossModule, function=sigmoid_focal_loss): ...

The constructor takes the function's keyword arguments with the function's defaults, so the two cannot drift apart;
`inspect.signature` and `help` show them. Vectors over classes become buffers: they move with the module and are saved
with it. `weight` and `normalizer` belong to the batch and are given to the call.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ._base import Loss
from ._checks import check_backend, check_choice, nearest

CALL_TIME = ("weight", "normalizer")


class LossModule(Loss):
    """Base of the stateless losses; a subclass names its function."""

    function: ClassVar[Callable[..., Tensor]]
    defaults: ClassVar[dict[str, Any]]

    def __init_subclass__(cls, *, function: Callable[..., Tensor], **rest: Any) -> None:
        super().__init_subclass__(**rest)
        cls.function = staticmethod(function)
        kept = [
            p
            for p in inspect.signature(function).parameters.values()
            if p.kind is p.KEYWORD_ONLY and p.name not in CALL_TIME
        ]
        cls.defaults = {p.name: p.default for p in kept}
        cls.__signature__ = inspect.Signature(kept)
        cls.__doc__ = cls.__doc__ or f"`{function.__name__}` with remembered arguments; see there for what they mean."

    def __init__(self, **arguments: Any) -> None:
        super().__init__()
        name = type(self).__name__
        for key in arguments:
            if key not in self.defaults:
                raise TypeError(
                    f"{name} has no argument {key!r}{nearest(key, self.defaults)}; it takes {', '.join(self.defaults)}"
                )
        missing = [k for k, v in self.defaults.items() if v is inspect.Parameter.empty and k not in arguments]
        if missing:
            raise TypeError(f"{name} needs {', '.join(missing)}, for example {name}({missing[0]}=...)")
        for key, default in self.defaults.items():
            value = arguments.get(key, default)
            if isinstance(value, Tensor):
                self.register_buffer(key, value.detach().clone())
            elif isinstance(value, Sequence) and not isinstance(value, str):
                self.register_buffer(key, torch.tensor(value, dtype=torch.float32))
            else:
                setattr(self, key, value)
        check_choice("reduction", self.arguments().get("reduction", "mean"), ("none", "sum", "mean"))
        function = type(self).function
        name = None if getattr(function, "single_pass", False) else function.__name__
        check_backend(self.arguments().get("backend", "auto"), name)

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
                shown.append(f"{key}={value.tolist()}" if value.numel() <= 8 else f"{key}=<{value.numel()} values>")
            elif value != default:
                shown.append(f"{key}={value!r}")
        return ", ".join(shown)
