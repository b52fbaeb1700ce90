"""Which images of a split trained a run: the same file, or a file of the same content under another name."""

import hashlib
from collections import defaultdict
from pathlib import Path

from focalkit.config import TrainConfig
from focalkit.data import DetectionData
from focalkit.errors import InputError
from focalkit.evaluation.run import open_split


def images_that_trained(config: TrainConfig, data: DetectionData, run: Path | None = None) -> list[int]:
    """Ids of the images that the run of this configuration was trained on; none where its data is no longer there.

    `run` is its folder, where a split that training made is written down.

    Only files of equal size are read.
    """
    try:
        train = open_split(config, None, "train", check=False, run=run)
    except InputError:
        return []
    paths = {image.path.resolve() for image in train.images}
    of_size: dict[int, list[Path]] = defaultdict(list)
    for path in paths:
        if (size := _size(path)) is not None:
            of_size[size].append(path)
    contents: dict[int, set[bytes]] = {}
    found = []
    for image in data.images:
        size = None if image.path.resolve() in paths else _size(image.path)
        if size is not None:
            if size not in of_size:
                continue
            if size not in contents:
                contents[size] = {_content(path) for path in of_size[size]}
            if _content(image.path) not in contents[size]:
                continue
        elif image.path.resolve() not in paths:
            continue
        found.append(image.id)
    return found


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _content(path: Path) -> bytes:
    return hashlib.blake2b(path.read_bytes()).digest()
