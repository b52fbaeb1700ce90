"""Why a training stopped at a loss or a gradient that is not finite: what was seen, and the likeliest causes."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

GROWTH = 5.0
"""A gradient or a loss that grew this many times over the last records was running away."""
SHORT_WARMUP = 100
LARGE_LOGIT = 1e3
"""No calibrated score needs such a logit; the weights behind it have grown without bound."""
TRAIN = {
    "precision": "--precision bf16-mixed or 32",
    "start": "look at --init and --backbone-weights",
    "lr": "try a third of --optim.lr and a smaller --optim.clip-norm",
    "lr, short warm-up": "try a third of --optim.lr and a longer --optim.warmup-steps",
    "items": "something in these images or their boxes: `focalkit inspect DATA`, and train without them to see",
    "warm-up": "--optim.warmup-steps 500",
    "clipping": "--optim.clip-norm 1 bounds it",
}
"""What `focalkit train` can do about each cause."""


@dataclass(frozen=True)
class Autopsy:
    """What is known of the step.

    Attributes:
        step: Optimiser step, counted from 1.
        losses: Each loss of the step.
        images: [{"id": 7, "file_name": "a.jpg"}, ...] of the batch, over all processes.
        logits: Smallest and largest class logit of each level.
        positives: Positive priors of the batch, None where it is not known.
        ignored: Share of the priors that neither count as positive nor as negative, None where it is not known.
        gradient_norm: Before clipping; None where no backward pass was made or recorded.
        lr: Learning rate of the step.
        warmup_steps: Of the schedule.
        precision: Of the forward pass, such as "32" or "16-mixed".
        amp_scale: What the loss was multiplied with; None without such scaling.
        checkpoint: The last good checkpoint, and the step it is from; None where there is none.
        history: The last records before the step, oldest first, with "loss" and "gradient_norm".
        items: What a batch is made of.
        advice: What can be done about each cause; one that is not in it is none, except those that need no advice.
    """

    step: int
    losses: Mapping[str, float]
    images: Sequence[Mapping[str, Any]]
    logits: Sequence[Sequence[float]]
    positives: float | None
    ignored: float | None
    gradient_norm: float | None
    lr: float
    warmup_steps: int
    precision: str
    amp_scale: float | None = None
    checkpoint: Mapping[str, Any] | None = None
    history: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    items: str = "images"
    advice: Mapping[str, str] = field(default_factory=lambda: TRAIN)

    def to_json(self) -> dict[str, Any]:
        """For `autopsy.json`; JSON has no NaN and no infinity, so these are the strings "nan", "inf", "-inf"."""
        return _plain({**{k: v for k, v in vars(self).items() if k != "advice"}, "causes": causes(self)})

    def summary(self) -> str:
        """One message: which step, what it was like, the likeliest causes."""
        values = ", ".join(f"{name} {value:.4g}" for name, value in self.losses.items())
        what = "loss" if _broken(self.losses.values()) else "gradient"
        lines = [
            f"training diverged: the {what} of step {self.step} is not finite ({values}; learning rate {self.lr:.3g})"
        ]
        names = [str(i["file_name"] or i["id"]) for i in self.images]
        if names:
            lines.append(
                f"  {self.items}: {', '.join(names[:4])}{f' and {len(names) - 4} more' if len(names) > 4 else ''}"
            )
        return "\n".join([*lines, *(f"  {n}. {cause}" for n, cause in enumerate(causes(self), 1))])


def causes(found: Autopsy) -> list[str]:
    """The three likeliest causes for what was seen, most likely first."""
    logits = [value for level in found.logits for value in level]
    wrong = [name for name, value in found.losses.items() if not math.isfinite(value)]
    logits_broken, logits_large = _broken(logits), any(abs(v) > LARGE_LOGIT for v in logits)
    first, half = found.step == 1, "16" in found.precision and "bf" not in found.precision
    growth, advice = _growth(found.history), found.advice
    slower = advice.get("lr, short warm-up") if found.warmup_steps < SHORT_WARMUP else None
    weighed = [
        (
            8.0 * half * (logits_broken or not wrong),
            f"float16 overflowed ({found.precision}, largest value 65504): {advice.get('precision')}",
        ),
        (
            7.0 * (first and logits_broken and "start" in advice),
            f"the weights at the start are not finite or do not belong to this model: {advice.get('start')}",
        ),
        (
            3.0 * (not first) + 3.0 * (growth >= GROWTH) + 2.0 * (logits_broken or logits_large) + 0.5,
            f"the learning rate ({found.lr:.3g}) is too high"
            + (f": the gradient or the loss grew {growth:.3g} times over the last records" if growth >= GROWTH else "")
            + f"; {slower or advice['lr']}",
        ),
        (
            6.0 * ("classification" in wrong and bool(logits) and not logits_broken),
            "the classification loss is not finite although every logit is: its parameters (gamma, alpha, weights), or"
            " a loss of your own that takes a logarithm or divides by zero",
        ),
        (
            5.0 * (any(name != "classification" for name in wrong) and "classification" not in wrong),
            f"the loss {next((n for n in wrong if n != 'classification'), 'box')} alone is not finite: boxes without"
            " area or far outside their image; `focalkit inspect DATA` looks for them, --repair leaves them out",
        ),
        (
            4.0 * (found.positives is not None and found.positives < 1 and not logits_broken),
            "no prior of the batch is positive, so the losses are divided by a count of 1: `focalkit inspect DATA`"
            " compares the boxes with the anchors",
        ),
        (
            3.25 * (not wrong and not half),
            "the loss is finite and its gradient alone is not: a power, a root or a logarithm at 0, as in a loss of"
            " your own",
        ),
        (
            1.0 + first,
            advice["items"],
        ),
        (
            0.75 * (found.warmup_steps < SHORT_WARMUP and "warm-up" in advice),
            f"the warm-up is short ({found.warmup_steps} steps): {advice.get('warm-up')}",
        ),
        (0.5 * ("clipping" in advice), f"a step too long for these weights: {advice.get('clipping')}"),
    ]
    ranked = sorted((w for w in weighed if w[0] > 0), key=lambda w: -w[0])
    return [text for _, text in ranked[:3]]


def _growth(history: Sequence[Mapping[str, Any]]) -> float:
    """How many times the gradient's norm, or else the loss, grew over the last records; 1 where none are known."""
    for name in ("gradient_norm", "loss"):
        values = [float(row[name]) for row in history if isinstance(row.get(name), int | float)]
        if len(values) >= 2 and min(values) > 0:
            return values[-1] / min(values[:-1])
    return 1.0


def _broken(values: Iterable[float]) -> bool:
    return not all(math.isfinite(v) for v in values)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value
