"""The task of images: how they are read and split, and which network learns them for how long."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from focalkit.errors import DataError

from .._scores import DECISION, PROBABILITY, RANKING, balanced_accuracy
from .._task import Array, Budget, Inspection, Metric, Range, Source, Splits
from .find import looks_like_images

if TYPE_CHECKING:
    from focalkit.compare.methods import Method

    from ._fitted import ImageFitted, ImageModel
    from ._network import Network


def argmax_balanced_accuracy(probabilities: Array, targets: Array) -> float:
    """Balanced accuracy of the most probable class: what the literature on long tails reports."""
    return balanced_accuracy(probabilities.argmax(1), targets)


BALANCED = Metric("balanced_accuracy_argmax", argmax_balanced_accuracy, summary="mean recall, most probable class")


@dataclass(frozen=True)
class Images:
    """Images with one class each.

    Attributes:
        network: "small" (a residual network that a laptop trains in minutes), "resnet32" (He et al., 2016, sec. 4.2),
            or a function of yours: (classes, size) -> a module from images (b, 3, size, size) in 0..1 to logits.
        size: Side in pixels that images are brought to; None: their own where all are square, equal and at most 64,
            else 64.
        epochs: Passes over as many items as the training part has, and at least 300 steps, unless the budget says how
            many.
        imbalance: Training items are dropped until the classes, in their order, follow an exponential profile with
            this ratio of the first to the last (Cui et al., 2019, sec. 5.1); None keeps all, or the steepest profile of
            `lt_counts.json` where the folder has one.
        val_from: Where validation images are held out of, if the data have none: "test" where the test part is
            balanced on purpose and the training part is not.
        lr, weight_decay, batch: Of SGD with momentum 0.9. Fewer than 4 batches of images are divided into 4 (of at
            least 16 images), with a rate that is smaller in proportion.
        decay_at: Shares of the training after which the rate falls to a hundredth (Cao et al., 2019: 0.8 and 0.9);
            empty: it falls as a cosine from a fifth of the way on.
    """

    name: str = "image"
    network: "Network" = "small"
    size: int | None = None
    epochs: int = 12
    imbalance: float | None = None
    val_from: Literal["train", "test"] = "train"
    lr: float = 0.1
    weight_decay: float = 5e-4
    batch: int = 128
    decay_at: tuple[float, ...] = ()

    kinds = frozenset({"classes", "pixels"})
    metrics = (BALANCED, *DECISION, *RANKING, *PROBABILITY)
    decision_metric: str = "balanced_accuracy"
    models: tuple[str, ...] = ("small", "resnet32")
    default_methods: tuple[str, ...] = ("ce", "focal", "cb_focal", "ldam_drw", "balanced_softmax", "logit_adjusted")
    resplits: bool = False
    shares_fits: bool = True

    def recognises(self, path: Path) -> bool:
        """A folder with folders of images, with train and test npz files, or an npz file with images."""
        return looks_like_images(path)

    def inspect(self, source: Source, labels: bool = True) -> Inspection:
        """Classes, copies, and labels that look wrong to a model that sees thumbnails of 8 x 8 pixels."""
        from ._inspect import inspect

        return inspect(source, labels, self.size)

    def read(self, source: Source, seed: int) -> Splits:
        """The images, decoded once and kept in the comparison's cache."""
        from ._read import read_pictures
        from ._split import nested_profile, split

        found = read_pictures(source, self.size)
        profile = nested_profile(source.path, len(found.classes)) if self.imbalance is None else None
        train, val, test = split(found, source, self.imbalance, self.val_from, profile and profile[1])
        counts = np.bincount(found.labels[train], minlength=len(found.classes))
        if not counts.all():
            lacking = ", ".join(repr(c) for c, n in zip(found.classes, counts, strict=True) if not n)
            raise DataError(source.path, [f"the train part has no image of class {lacking}"])
        facts = {**found.facts, "imbalance": self.imbalance, "size": found.images.shape[1]}
        if profile is not None:
            facts["profile"] = profile[0]
        return Splits(
            train=found.take(train),
            val=found.take(val),
            test=found.take(test),
            classes=found.classes,
            class_counts=tuple(counts.tolist()),
            sizes={"train": len(train), "val": len(val), "test": len(test)},
            facts=facts,
            notes=found.notes,
            fingerprint=found.fingerprint,
        )

    def space(self, model: str) -> Mapping[str, Range]:
        """Learning rate and weight decay."""
        return {"lr": Range(0.01, 0.5, log=True), "weight_decay": Range(1e-5, 1e-2, log=True)}

    def fit(self, method: "Method", splits: Splits, budget: Budget, seed: int, out: Path) -> "ImageFitted":
        """Train the network."""
        from ._fit import fit

        return fit(self, method, splits, budget, seed)

    def load(self, folder: Path) -> "ImageModel":
        """A stored model."""
        from ._fitted import ImageModel

        return ImageModel.load(Path(folder), self.network)


TASK = Images()
CIFAR_LT = Images(
    network="resnet32", imbalance=100, val_from="test", epochs=200, weight_decay=2e-4, decay_at=(0.8, 0.9)
)  # Cao et al., 2019
