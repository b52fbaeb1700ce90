"""`autopsy.json` as the template shows it: the step at which training stopped, and what may have caused it."""

from dataclasses import dataclass

from ._format import DASH
from ._read import Json


@dataclass(frozen=True)
class AutopsyView:
    """Sentences and tables; every value is text."""

    causes: list[str]
    facts: list[tuple[str, str]]
    logits: list[tuple[str, str, str]]  # level, smallest, largest
    images: list[tuple[str, str]]  # id, file name
    history: list[tuple[str, str, str, str]]  # step, loss, gradient norm, learning rate


def view(found: Json) -> AutopsyView:
    """What the section shows of one `autopsy.json`."""
    losses = ", ".join(f"{name} {_text(value)}" for name, value in found["losses"].items())
    last = found.get("checkpoint") or {}
    facts = [
        ("Step", _text(found["step"])),
        ("Losses", losses),
        ("Gradient norm before clipping", _text(found.get("gradient_norm"))),
        ("Learning rate", _text(found.get("lr"))),
        ("Positive priors in the batch", _text(found.get("positives"))),
        ("Share of priors ignored", _text(found.get("ignored"))),
        ("Precision", str(found.get("precision"))),
        ("Scale of the loss", _text(found.get("amp_scale"))),
        ("Last good checkpoint", f"{last['file']}, step {last['step']}" if last else "none"),
    ]
    history = found.get("history") or []
    return AutopsyView(
        causes=[str(cause) for cause in found["causes"]],
        facts=facts,
        logits=[(str(i), _text(low), _text(high)) for i, (low, high) in enumerate(found["logits"], 1)],
        images=[(str(image["id"]), str(image["file_name"])) for image in found["images"]],
        history=[
            (_text(row.get("step")), _text(row.get("loss")), _text(row.get("gradient_norm")), _text(row.get("lr")))
            for row in history
        ],
    )


def _text(value: object) -> str:
    """A number of four digits; what JSON cannot hold ("nan", "inf") as it is."""
    if value is None:
        return DASH
    return f"{value:.4g}" if isinstance(value, float) else str(value)
