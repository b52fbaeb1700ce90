"""A detector's metadata beside its weights: structure, classes, image size; enough to build and feed it again."""

from dataclasses import dataclass

from focalkit.config import ModelConfig


@dataclass(frozen=True)
class ModelCard:
    """The structure of a model, its classes and the size of its images.

    Attributes:
        config: Enough, with the number of classes, to build the model; its `numerics` say how images are resized.
        categories: (id in the data set, name) of each class 0..K-1, where known.
        min_size: Short side in pixels to which images are resized.
        max_size: Bound of the long side.
    """

    config: ModelConfig
    categories: tuple[tuple[int, str], ...] | None = None
    min_size: int = 800
    max_size: int = 1333
