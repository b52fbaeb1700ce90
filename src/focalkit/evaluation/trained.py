"""Which images of a split trained a run: the same file, or a file of the same content under another name."""

from pathlib import Path

from focalkit.config import TrainConfig
from focalkit.data import DetectionData
from focalkit.data.copies import copies
from focalkit.errors import InputError
from focalkit.evaluation.run import open_split


def images_that_trained(config: TrainConfig, data: DetectionData, run: Path | None = None) -> list[int]:
    """Ids of the images that the run of this configuration was trained on; none where its data is no longer there.

    `run` is its folder, where a split that training made is written down.
    """
    try:
        train = open_split(config, None, "train", check=False, run=run)
    except InputError:
        return []
    paths = [image.path for image in train.images]
    known = {path.resolve() for path in paths}
    groups = copies([*paths, *(image.path for image in data.images)])
    copied = {place - len(paths) for places in groups if places[0] < len(paths) for place in places}
    return [i.id for place, i in enumerate(data.images) if place in copied or i.path.resolve() in known]
