"""A calibration as a graph: the maps of `focalkit.calibration` as operations that every runtime has, in float32.

The maps of all classes are tables; each detection takes the row of its class, and the pooled row 0.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from focalkit.calibration import AppliedCalibration

MAX_LOG_ODDS = 36.04
SMALLEST_SIDE, TILT = 1e-4, 1e-4  # of focalkit.calibration


class GraphCalibration(nn.Module):
    """Scores (b, d), labels (b, d), boxes (b, d, 4), limits (b, 1, 4) as width, height, width, height -> scores (b, d).

    Args:
        calibration: The maps; its thresholds are not applied.
        num_classes: K.
    """

    def __init__(self, calibration: AppliedCalibration, num_classes: int) -> None:
        super().__init__()
        state = calibration.scores.state_dict()
        own: dict[str, Any] = state["classes"]
        entries = [state["pooled"], *(own.get(str(c), state["pooled"]) for c in range(num_classes))]
        self.method = state["method"]
        weights = [float(own.get(str(c), {"weight": 0.0})["weight"]) for c in range(num_classes)]
        self.table("weight", weights)
        # a method has one kind of map, but for the identity where pooled scores fall: a logistic map
        self.kinds = sorted({entry["map"] for entry in entries})
        for kind in self.kinds:
            self.table(f"is_{kind}", [float(entry["map"] == kind) for entry in entries])
        self.tables(entries)

    def table(self, name: str, values: Sequence[Any]) -> None:
        self.register_buffer(name, torch.tensor(values, dtype=torch.float64).float(), persistent=False)

    def tables(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """One row per entry; entries of other kinds get rows of zeros."""
        numbers = {"logistic": ("slope", "slope", "intercept"), "beta": ("a", "b", "c")}
        self.table("affine", [[e[key] for key in numbers.get(e["map"], ())] or [0.0] * 3 for e in entries])
        if "isotonic" in self.kinds:
            knots = [_knots(e) if e["map"] == "isotonic" else ([0.0, 1.0], [0.0, 1.0]) for e in entries]
            most = max(len(x) for x, _ in knots)
            self.table("knots", [x + [x[-1] + 1.0] * (most - len(x)) for x, _ in knots])
            self.table("heights", [y + [y[-1]] * (most - len(y)) for _, y in knots])
            self.table("ends", [[x[0], x[-1]] for x, _ in knots])
            self.last = torch.tensor([len(x) - 1 for x, _ in knots])
        if "histogram" in self.kinds:
            bins = [(e["edges"][1:-1], e["values"]) if e["map"] == "histogram" else ([], [0.0]) for e in entries]
            most = max(len(v) for _, v in bins)
            self.table("edges", [x + [2.0] * (most - 1 - len(x)) for x, _ in bins])
            self.table("steps", [v + [v[-1]] * (most - len(v)) for _, v in bins])
        if "box" in self.kinds:
            self.table("box", [e["coefficients"] if e["map"] == "box" else [0.0] * 10 for e in entries])
        if "posterior" in self.kinds:
            first = entries[0]
            self.gamma = float(first["gamma"])
            alpha = first["alpha"]
            self.shift = 0.0 if alpha is None else float(torch.logit(torch.tensor(alpha, dtype=torch.float64)))

    def forward(self, scores: Tensor, labels: Tensor, boxes: Tensor, limits: Tensor) -> Tensor:
        if self.method == "none":
            return scores
        u = (scores.log() - (1 - scores).log()).clamp(-MAX_LOG_ODDS, MAX_LOG_ODDS)
        shares = boxes / limits
        places = torch.cat([(shares[..., :2] + shares[..., 2:]) / 2, shares[..., 2:] - shares[..., :2]], -1).clamp(0, 1)
        pooled = self.mapped(torch.zeros_like(labels), scores, u, places)
        weight = self.get_buffer("weight")[labels]
        return weight * self.mapped(labels + 1, scores, u, places) + (1 - weight) * pooled

    def mapped(self, row: Tensor, p: Tensor, u: Tensor, places: Tensor) -> Tensor:
        """By the map of each detection's row."""
        total = torch.zeros_like(p)
        for kind in self.kinds:
            total = total + self.get_buffer(f"is_{kind}")[row] * self.one_kind(kind, row, p, u, places)
        return total

    def one_kind(self, kind: str, row: Tensor, p: Tensor, u: Tensor, places: Tensor) -> Tensor:
        if kind in ("logistic", "beta"):
            a, b, c = self.get_buffer("affine")[row].unbind(-1)
            found = torch.sigmoid(a * logsigmoid(u) - b * logsigmoid(-u) + c)
        elif kind == "isotonic":
            found = self.between_knots(row, p)
        elif kind == "histogram":
            index = (self.get_buffer("edges")[row] < p.unsqueeze(-1)).to(torch.int64).sum(-1, keepdim=True)
            found = self.get_buffer("steps")[row].gather(-1, index).squeeze(-1)
        elif kind == "box":
            centre, sides = places[..., :2] - 0.5, places[..., 2:].clamp(min=SMALLEST_SIDE).log()
            moved = torch.cat([centre, sides], -1)
            columns = torch.cat([u.unsqueeze(-1), moved, moved * moved, torch.ones_like(u).unsqueeze(-1)], -1)
            found = torch.sigmoid((columns * self.get_buffer("box")[row]).sum(-1))
        else:  # posterior
            q = 1 - p
            r_p, r_q = -p * logsigmoid(u) / torch.sigmoid(-u), -q * logsigmoid(-u) / torch.sigmoid(u)
            ratio = torch.log1p(self.gamma * r_q) - torch.log1p(self.gamma * r_p)
            found = torch.sigmoid((self.gamma + 1) * u + ratio - self.shift)
        return (1 - TILT) * found + TILT * p if self.method == "isotonic" else found

    def between_knots(self, row: Tensor, p: Tensor) -> Tensor:
        ends, x, y = self.get_buffer("ends")[row], self.get_buffer("knots")[row], self.get_buffer("heights")[row]
        p = torch.minimum(torch.maximum(p, ends[..., 0]), ends[..., 1])
        right = (x < p.unsqueeze(-1)).to(torch.int64).sum(-1)
        right = torch.minimum(right.clamp(min=1), self.last[row]).unsqueeze(-1)
        x0, x1, y0, y1 = (t.gather(-1, at).squeeze(-1) for t in (x, y) for at in (right - 1, right))
        return y0 + (y1 - y0) * (p - x0) / (x1 - x0).clamp(min=1e-12)


def _knots(entry: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """At least two."""
    x, y = list(entry["scores"]), list(entry["probabilities"])
    return (x, y) if len(x) > 1 else ([x[0], x[0] + 1.0], [y[0], y[0]])
