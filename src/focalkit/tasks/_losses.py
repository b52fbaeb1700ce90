"""A method's loss as one call on logits (b, k) and class indices (b,): for every task of one class per item.

Softmax losses take the k logits as they are. Sigmoid losses with more than two classes take them as k sigmoids; with
two classes they take the difference of the two logits as one sigmoid, so that every method trains the same network and
`softmax(logits)` is the probability in either case.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from focalkit import weights
from focalkit._config_io import nearest
from focalkit.errors import ConfigError
from focalkit.losses import LOSSES, argument_names, build, parse
from focalkit.sampling import taught_prior

from ._task import Array, Link

if TYPE_CHECKING:
    from focalkit.compare.methods import Method

CLASS_WEIGHTS = {
    "inverse": lambda counts: weights.inverse_frequency(counts),
    "sqrt_inverse": lambda counts: weights.inverse_frequency(counts, power=0.5),
    "effective_number": weights.effective_number,
}
SCHEDULES: dict[str, dict[str, float]] = {
    "drw": {"start": 0.8},
    "crt": {"start": 0.8},
    "self_distillation": {"start": 0.5, "weight": 0.5, "temperature": 2.0},
}
"""Name -> its arguments with their defaults; `start` is a share of the training."""


class MethodLoss(nn.Module):
    """The loss of a method, with its class weights and their schedule.

    Args:
        method: Its loss, class_weight and schedule are used.
        class_counts: Training items per class; the loss and the weights may need them.
        default: The task's loss, for methods that name none.
        schedules: Those that the task's fit knows.

    Attributes:
        of_parts: Whether the loss of a batch is the mean of those of its parts, weighted by their items, as processes
            that share a fit need it. Losses that pick items of the batch, or divide by some of them, are not, nor are
            those that do not say whether they are `elementwise`.
        seen: (1, 2): smallest and largest logit of the last call; 0 before one.

    Raises:
        ConfigError: A loss, weighting or schedule that does not exist or does not fit.
    """

    class_weight: Tensor | None

    def __init__(
        self,
        method: "Method",
        class_counts: Sequence[int],
        default: str = "ce",
        schedules: Sequence[str] = ("drw",),
    ) -> None:
        super().__init__()
        spec = default if method.loss == "default" else method.loss
        name, given = parse(spec)
        kind = LOSSES[name].targets if name in LOSSES else "classes"
        if kind not in ("binary", "classes", "labels"):
            raise ConfigError(f"the loss {name!r} takes {kind}, not classes; `focalkit losses` lists those that do")
        counts = [max(int(n), 1) for n in class_counts]
        self.sigmoid = kind == "binary"
        self.single = self.sigmoid and len(counts) == 2
        columns = [counts[1]] if self.single else counts
        known = {"class_counts": counts, "num_classes": len(columns), "frequency": [n / sum(counts) for n in columns]}
        takes = argument_names(spec)
        self.loss = build(spec, **{k: v for k, v in known.items() if k in takes and k not in given})
        by_item = getattr(self.loss, "elementwise", False) or getattr(self.loss, "shared_statistics", False)
        self.of_parts = by_item and given.get("reduction", "mean") == "mean" and "ignore_index" not in given
        schedule, settings = read_schedule(method.schedule, schedules)
        self.start = settings["start"] if schedule == "drw" else 0.0
        self.seen = torch.zeros(1, 2)
        w = class_weights(method.class_weight, counts)
        self.register_buffer("class_weight", None if w is None else torch.tensor(w, dtype=torch.float32))

    @property
    def link(self) -> Link:
        """How the trained logits become probabilities."""
        return "sigmoid" if self.sigmoid and not self.single else "softmax"

    def forward(self, logits: Tensor, labels: Tensor, share: float = 1.0) -> Tensor:
        """The mean over items, of sigmoid losses of the sum over the classes; `share` of the training is done."""
        call = {}
        if len(logits):
            self.seen = torch.stack(logits.detach().aminmax()).view(1, 2)
        if self.class_weight is not None and share >= self.start:
            w = self.class_weight[labels]
            call["weight"] = w.unsqueeze(1) if self.sigmoid else w
        if self.single:
            logits, labels = logits[:, 1:] - logits[:, :1], labels - 1
        return self.loss(logits, labels, **call) * (logits.shape[1] if self.sigmoid else 1)


def class_weights(spec: str | None, class_counts: Sequence[int]) -> Array | None:
    """(k,) weights of items by their class, of mean 1 over the items, so that a step is about as large as without.

    Raises:
        ConfigError: There is no such weighting.

    Example:
        >>> class_weights("inverse", [75, 25]).round(3).tolist()
        [0.667, 2.0]
    """
    if spec is None:
        return None
    name, arguments = parse(spec)
    if name not in CLASS_WEIGHTS:
        raise ConfigError(f"there is no class weight {name!r}{nearest(name, list(CLASS_WEIGHTS))}")
    try:
        w = CLASS_WEIGHTS[name]([max(n, 1) for n in class_counts], **arguments).numpy()
    except (TypeError, ValueError) as error:
        raise ConfigError(f"class weight {spec!r}: {error}") from error
    share = np.asarray(class_counts) / sum(class_counts)
    return w / (w * share).sum()


def training_prior(method: "Method", class_counts: Sequence[int]) -> list[float]:
    """The share of each class as the model is taught it, after sampling and weighting."""
    prior = taught_prior(method.sampler, class_counts)
    w = class_weights(method.class_weight, class_counts)
    prior = prior if w is None else prior * w
    return (prior / prior.sum()).tolist()


def mixup_alpha(augment: str | None) -> float | None:
    """The alpha of "mixup(alpha=0.2)", or None without augmentation.

    Raises:
        ConfigError: Another augmentation, or alpha not above 0.
    """
    if augment is None:
        return None
    name, arguments = parse(augment)
    alpha = arguments.get("alpha", 0.2)
    if name != "mixup" or set(arguments) - {"alpha"} or not isinstance(alpha, int | float) or alpha <= 0:
        raise ConfigError(f"cannot use the augmentation {augment!r}; expected mixup(alpha=0.2) with alpha above 0")
    return float(alpha)


def read_schedule(schedule: str | None, known: Sequence[str]) -> tuple[str, dict[str, float]]:
    """The name and all arguments of "crt(start=0.8)"; None is ("none", {}).

    Raises:
        ConfigError: Not one of `known`, or an argument it does not have, or one out of range.

    Example:
        >>> read_schedule("drw", ["drw"])
        ('drw', {'start': 0.8})
    """
    if schedule is None:
        return "none", {}
    name, given = parse(schedule)
    if name not in known or set(given) - set(SCHEDULES[name]):
        usual = (f"{n}({', '.join(f'{k}={v}' for k, v in SCHEDULES[n].items())})" for n in known)
        raise ConfigError(f"cannot use the schedule {schedule!r}; expected {' or '.join(usual)}")
    found = {**SCHEDULES[name], **given}
    if not 0 <= found["start"] < 1 or not 0 <= found.get("weight", 0) <= 1 or found.get("temperature", 1) <= 0:
        raise ConfigError(
            f"schedule {schedule!r}: start must be in [0, 1), weight in [0, 1] and temperature greater than 0"
        )
    return name, found
