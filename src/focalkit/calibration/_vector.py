"""Vector scaling (Guo et al., 2017, sec. 4.2): a factor and an offset per class, fitted together."""

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .._arrays import ArrayLike, Labelled, as_float, like
from ..errors import ConfigError
from ._checks import calibration_set
from ._logistic import fit_logistic
from ._scores import MIN_POSITIVES
from ._temperature import TemperatureScaling

RIDGE = 1.0
"""Weight of one pull towards the temperature's map, against n rows: it decides only where the rows do not."""


class VectorScaling:
    """softmax(weight * logits + bias) with a weight and a bias per class (Guo et al., 2017), or sigmoids of the same.

    Fitted by maximum likelihood with a faint pull towards temperature scaling (one pseudo-row), which keeps it finite
    on separable rows. A class with fewer than 50 rows keeps the temperature's weight and no bias. For
    sigmoids (multi-label, binary) the pooled map of all classes takes the temperature's place.

    Attributes:
        weight: (k,) float64; (1,) for binary scores.
        bias: (k,) float64.
        notes: What the caller should know of the fit.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]] * 50)
        >>> scaling = VectorScaling().fit(logits, torch.tensor([0, 0, 1, 1] * 50))
        >>> scaling.transform(logits).shape
        torch.Size([200, 2])
    """

    def __init__(self) -> None:
        self.weight, self.bias = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
        self.notes: tuple[str, ...] = ()
        self._softmax = True

    def fit(self, logits: ArrayLike, labels: ArrayLike) -> "VectorScaling":
        """Fit weights and biases; arguments and errors are those of `TemperatureScaling.fit`, logits finite."""
        data = calibration_set(logits, labels)
        if bool((data.scores == -torch.inf).any()):
            raise ValueError("vector scaling needs finite logits, got -inf; temperature scaling takes masked classes")
        self._softmax = data.kind == "multi-class"
        y = data.one_hot if data.kind != "binary" else data.one_hot[:, None]
        counts = torch.minimum(y.sum(0), len(y) - y.sum(0))
        rare = (counts < MIN_POSITIVES) if data.kind != "binary" else torch.zeros(1, dtype=torch.bool)
        self.weight, self.bias = _softmax_fit(data, rare) if self._softmax else _sigmoid_fit(data, y, rare)
        self.notes = ()
        if bool(rare.any()):
            classes = rare.nonzero()[:, 0].tolist()
            shown = ", ".join(map(str, classes[:10])) + (", ..." if len(classes) > 10 else "")
            pooled = "the temperature's map" if self._softmax else "the map of all classes pooled"
            self.notes = (f"{len(classes)} of {len(rare)} classes have fewer than {MIN_POSITIVES} rows on one side and "
                          f"take {pooled}: {shown}",)  # fmt: skip
            warnings.warn(f"VectorScaling: {self.notes[0]}", stacklevel=2)
        return self

    def transform(self, logits: ArrayLike) -> ArrayLike:
        """Probabilities, shaped and typed like the logits."""
        z = as_float(logits, "logits")
        scaled = z * self.weight.to(z.dtype) + self.bias.to(z.dtype)
        return like(torch.softmax(scaled, -1) if self._softmax else torch.sigmoid(scaled), logits)

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers and strings: for JSON, or `load_state_dict`."""
        numbers = {"weight": self.weight.tolist(), "bias": self.bias.tolist()}
        return {"calibrator": "vector", "softmax": self._softmax, **numbers}

    def load_state_dict(self, state: Mapping[str, Any]) -> "VectorScaling":
        """Become what `state_dict` describes.

        Raises:
            ConfigError: The state is another calibrator's.
        """
        if state.get("calibrator") != "vector" or not isinstance(state.get("softmax"), bool):
            raise ConfigError(f"expected the state of a VectorScaling, got {dict(state)!r}")
        self.weight, self.bias = (torch.tensor(state[key], dtype=torch.float64) for key in ("weight", "bias"))
        self._softmax = state["softmax"]
        return self


def _softmax_fit(data: Labelled, rare: Tensor) -> tuple[Tensor, Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        temperature = TemperatureScaling().fit(data.scores, data.labels).temperature
    z, k = data.scores.double() / temperature, data.scores.shape[1]
    free = (~rare).double()
    change = torch.zeros(2, k, dtype=torch.float64, requires_grad=True)  # of the weight from 1, of the bias from 0
    optimizer = torch.optim.LBFGS(
        [change], max_iter=500, tolerance_grad=1e-9, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        weight, bias = change * free
        value = torch.nn.functional.cross_entropy(z * (1 + weight) + bias, data.labels)
        value = value + RIDGE / (2 * len(z)) * change.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    weight, bias = (change * free).detach()
    return (1 + weight) / temperature, bias


def _sigmoid_fit(data: Labelled, y: Tensor, rare: Tensor) -> tuple[Tensor, Tensor]:
    z = data.scores.double().reshape(len(y), -1)

    def fitted(scores: Tensor, targets: Tensor) -> Tensor:
        # the ridge pulls to 0 in units of the logits' own spread
        spread = float(scores.std(correction=0)) or 1.0
        weight, bias = fit_logistic(torch.stack([scores / spread, torch.ones_like(scores)], 1), targets.double())
        return torch.stack([weight / spread, bias])

    pooled = fitted(z.flatten(), y.flatten()) if bool(rare.any()) else None
    rows = [pooled if pooled is not None and few else fitted(z[:, c], y[:, c]) for c, few in enumerate(rare.tolist())]
    weight, bias = torch.stack(rows, 1)
    return weight, bias
