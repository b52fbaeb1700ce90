"""Which images a detector's training sees, and which anchors: the sampler of a method.

Images hold several classes, so what repeats an image is the rarest of them (Gupta et al., 2019, sec. 3; Shen et al.,
2016). They are repeated once for the whole training and not anew in every epoch.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from focalkit.data import DetectionData
from focalkit.detection import HardExamples
from focalkit.detection.criterion import DetectionCriterion
from focalkit.errors import ConfigError
from focalkit.losses import parse
from focalkit.sampling import item_repeat_factors, read_sampler

if TYPE_CHECKING:
    from focalkit.detection.set_criterion import SetCriterion

OF_ANCHORS: dict[str, dict[str, float | None]] = {
    "anchors": {"count": 256, "positive": 0.5},
    "hard_anchors": {"count": 128, "iou": 0.5, "positive": None},
}
"""Name -> its arguments with their defaults."""
OF_IMAGES = ("class_balanced", "repeat_factor")
FORMS = (
    "anchors(count=256, positive=0.5), hard_anchors(count=128, iou=0.5, positive=0.25), class_balanced or"
    " repeat_factor(t=0.01)"
)


def of_anchors(sampler: str | None) -> tuple[str, dict[str, Any]]:
    """The name and all arguments of a sampler of anchors; of any other, or none, ("none", {}).

    Raises:
        ConfigError: A detector has no such sampler, or it has no such argument.
    """
    if sampler is None:
        return "none", {}
    name, given = parse(sampler)
    if name in OF_IMAGES:
        return "none", {}
    known = OF_ANCHORS.get(name)
    if known is None or set(given) - set(known) or not isinstance(given.get("count", 1), int):
        raise ConfigError(f"cannot use the sampler {sampler!r}; a detector has {FORMS}")
    return name, {**known, **given}


def mine(criterion: "DetectionCriterion | SetCriterion", sampler: str | None) -> None:
    """Let the criterion look at the hardest anchors alone, where the sampler says so.

    Raises:
        ConfigError: A detector that is matched by what it predicts, or a value out of range.
    """
    name, arguments = of_anchors(sampler)
    if name != "hard_anchors":
        return
    if not isinstance(criterion, DetectionCriterion) or not callable(criterion.matcher):
        raise ConfigError(f"the sampler {sampler!r} needs a detector whose anchors are matched by their place")
    try:
        criterion.matcher = HardExamples(criterion.matcher, arguments["count"], arguments["iou"], arguments["positive"])
    except ValueError as error:
        raise ConfigError(f"sampler {sampler!r}: {error}") from error


def sampled_images(data: DetectionData, sampler: str | None, seed: int) -> DetectionData:
    """The training images with some of them repeated or left out.

    repeat_factor: an image is there max(1, sqrt(t / f)) times, f the share of images with the rarest of its classes,
    the fraction by chance. class_balanced: as many draws as there are images with boxes, every class as likely, then
    every image of that class; images without boxes stay as they are.
    """
    name = parse(sampler)[0] if sampler is not None else ""
    if name not in OF_IMAGES:
        return data
    _, arguments = read_sampler(sampler)
    random = np.random.default_rng([seed, 5])
    counts = np.asarray(data.image_counts(), dtype=np.float64)
    shown = [
        sorted({label for label, crowd in zip(image.labels, image.crowd, strict=True) if not crowd})
        for image in data.images
    ]
    if name == "repeat_factor":
        wanted = item_repeat_factors(shown, arguments["t"], arguments["power"])
        times = (np.floor(wanted) + (random.random(len(data)) < wanted % 1)).astype(np.int64)
    else:
        weight = np.array([sum(counts[c] ** -arguments["power"] for c in classes) for classes in shown])
        drawn = random.choice(len(data), size=int((weight > 0).sum()), p=weight / weight.sum())
        times = np.bincount(drawn, minlength=len(data)) + (weight == 0)
    return replace(data, images=tuple(data.images[i] for i in np.repeat(np.arange(len(data)), times)))
