"""Temperature scaling (Guo et al., 2017): one number that divides the logits.

The log-likelihood is concave in 1 / T, so its derivative has one root, which is bracketed and then found by bisection:
this ends wherever logits are finite, at any scale, where gradient methods with a fixed step or a start at 1 do not.
"""

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from .._arrays import ArrayLike, Labelled, as_float, like
from ..errors import ConfigError
from ._checks import calibration_set

HALVINGS = 200


class TemperatureScaling:
    """Divide logits by one temperature that minimises the negative log-likelihood of held-out rows (Guo et al., 2017).

    Ranking within a row, and so accuracy, is unchanged. Where the rows are separated without an error the likelihood
    grows as T goes to 0: then each label is mixed with 1 part in n + 1 of the uniform distribution, which gives a
    finite T, and a note says so. Where the logits are no better than chance T is infinite and every class gets the same
    probability; a note says that too.

    Attributes:
        temperature: T, above 0; infinite where logits tell nothing.
        notes: What the caller should know of the fit.

    Example:
        >>> logits = torch.tensor([[4.0, 0.0], [4.0, 0.0], [0.0, 4.0], [4.0, 0.0]])
        >>> scaling = TemperatureScaling().fit(logits, torch.tensor([0, 0, 1, 1]))
        >>> round(scaling.temperature, 3)   # three of four are right: 4 / T = log 3
        3.641
    """

    def __init__(self) -> None:
        self.temperature = 1.0
        self.notes: tuple[str, ...] = ()
        self._softmax = True

    def fit(self, logits: ArrayLike, labels: ArrayLike) -> "TemperatureScaling":
        """Find the temperature.

        Args:
            logits: (n,) with labels of 0 and 1; (n, k) with class indices (n,); or (n, k) with 0 and 1 (n, k).
            labels: As the shape of the logits asks; of rows that did not train the network.

        Returns:
            Itself.

        Raises:
            ValueError: No rows, one class only, probabilities instead of logits, NaN, labels out of range.
        """
        data = calibration_set(logits, labels)
        self._softmax = data.kind == "multi-class"
        derivative, separated = _likelihood(data)
        note = ""
        if separated:
            note = "the rows are separated without an error: labels were mixed with 1 part in n + 1 of uniform ones"
        inverse = _root(derivative)
        if inverse == 0:
            note = "the logits are no better than chance: every class gets the same probability"
        self.notes = (note,) if note else ()
        for text in self.notes:
            warnings.warn(f"TemperatureScaling: {text}", stacklevel=2)
        self.temperature = 1 / inverse if inverse else math.inf
        return self

    def transform(self, logits: ArrayLike) -> ArrayLike:
        """Probabilities, shaped and typed like the logits: a softmax over the last axis, or sigmoids, as fitted."""
        z = as_float(logits, "logits")
        scaled = _finite(z / self.temperature, z) if math.isinf(self.temperature) else z / self.temperature
        return like(torch.softmax(scaled, -1) if self._softmax else torch.sigmoid(scaled), logits)

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers and strings: for JSON, or `load_state_dict`."""
        temperature = None if math.isinf(self.temperature) else self.temperature
        return {"calibrator": "temperature", "temperature": temperature, "softmax": self._softmax}

    def load_state_dict(self, state: Mapping[str, Any]) -> "TemperatureScaling":
        """Become what `state_dict` describes.

        Raises:
            ConfigError: The state is another calibrator's.
        """
        if state.get("calibrator") != "temperature" or not isinstance(state.get("softmax"), bool):
            raise ConfigError(f"expected the state of a TemperatureScaling, got {dict(state)!r}")
        temperature = state.get("temperature")
        self.temperature = math.inf if temperature is None else float(temperature)
        self._softmax = state["softmax"]
        return self


def _likelihood(data: Labelled) -> tuple[Callable[[float], float], bool]:
    """The derivative of the mean negative log-likelihood by 1 / T, and whether the rows are separated."""
    z, n = data.scores.double(), len(data.scores)
    if data.kind == "multi-class":
        top = z.max(1, keepdim=True).values
        z = z - top
        chosen = z.gather(1, data.labels[:, None])[:, 0]
        if bool((chosen == -torch.inf).any()):
            raise ValueError("a row's logit of its own label is -inf: its likelihood is 0 at every temperature")
        separated = bool((chosen == 0).all() and ((z == 0).sum(1) == 1).all())
        masked = z == -torch.inf
        z = z.masked_fill(masked, 0)
        uniform = z.sum(1) / (~masked).sum(1)
        wanted = (n * chosen + uniform) / (n + 1) if separated else chosen

        def expected(inverse: float) -> Tensor:
            return (torch.softmax((z * inverse).masked_fill(masked, -torch.inf), 1) * z).sum(1)

    else:
        z, y = z.flatten(), data.labels.flatten()
        if bool((z == -torch.inf).any()):
            raise ValueError("binary and multi-label logits must be finite, got -inf")
        right = torch.where(y == 1, z, -z)
        separated = bool((right > 0).all())
        target = y.double()
        wanted = ((n * target + 0.5) / (n + 1) if separated else target) * z

        def expected(inverse: float) -> Tensor:
            return torch.sigmoid(z * inverse) * z

    return (lambda inverse: float((expected(inverse) - wanted).mean())), separated


def _root(derivative: Callable[[float], float]) -> float:
    """The root of an increasing function of a positive number; 0 where there is none above 0."""
    if derivative(0.0) >= 0:
        return 0.0
    low, high = 0.0, 1.0
    while derivative(high) < 0 and high < 1e300:
        low, high = high, 2 * high
    while low == 0 and derivative(high / 2) >= 0 and high > 1e-300:
        high /= 2
    low = low or high / 2
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if derivative(middle) < 0 else (low, middle)
    return (low + high) / 2


def _finite(scaled: Tensor, z: Tensor) -> Tensor:
    """At an infinite temperature a class that was masked out by -inf keeps probability 0."""
    return torch.where(z == -torch.inf, -torch.inf, scaled.nan_to_num(0.0))
