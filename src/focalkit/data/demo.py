"""The built-in demo scenes: a detection data set made on the spot, with no download.

Real handwritten digits (scikit-learn's `load_digits`: the UCI set by Alpaydin and Kaynak, 8x8 pixels, CC BY 4.0) are
drawn as ink of many sizes, colours and slants on cluttered backgrounds, among scribbles of the same ink that are no
digits. What makes it a fair test of losses under imbalance: nearly all of every image is background, much of the
background looks like a digit, some images hold no digit, and digit 0 is `imbalance` times as frequent as digit 9.
Train and val use different handwriting samples. Drawing itself is in `_scenes.py`.
"""

from pathlib import Path
from typing import Any

import numpy as np

from focalkit._files import make_folder, write_json_atomic
from focalkit._progress import track
from focalkit.data._scenes import draw_scene
from focalkit.errors import InputError

EMPTY = 0.1
"""Share of images without a digit"""
MEAN_DIGITS = 5.0
"""Digits per image that is not empty, on average"""
_MOST_DIGITS = 9
_LEAST_PER_CLASS = 4
_VAL_SHARE = 0.25
"""Share of the handwriting samples that only val uses"""


def write_demo_scenes(
    out: Path,
    *,
    train: int = 500,
    val: int = 150,
    size: int = 256,
    seed: int = 0,
    classes: int = 10,
    imbalance: float = 50,
) -> Path:
    """Write a COCO-format data set of digit scenes: `annotations/instances_<split>.json`, `images/<split>/*.jpg`.

    The same arguments give the same scenes. Takes about 10 ms per image.

    Args:
        out: Folder to write to; files of the same name are replaced.
        train: Number of training images.
        val: Number of validation images.
        size: Side of the square images, at least 96 pixels.
        seed: Of everything random.
        classes: Digits 0 .. classes - 1 are used.
        imbalance: Digit 0 is this many times as frequent as the last digit, with a geometric decline between.

    Returns:
        `out`.

    Raises:
        InputError: An argument is out of its range.
    """

    out = Path(out)
    if size < 96 or not 1 <= classes <= 10 or imbalance < 1 or train < 1 or val < 1 or seed < 0:
        raise InputError(
            f"demo scenes need size >= 96, 1 <= classes <= 10, imbalance >= 1, train >= 1, val >= 1, seed >= 0; "
            f"got size={size}, classes={classes}, imbalance={imbalance}, train={train}, val={val}, seed={seed}"
        )
    for code, (split, count, samples) in enumerate(
        zip(("train", "val"), (train, val), _handwriting(seed, classes), strict=True)
    ):
        plan = _plan(count, classes, imbalance, np.random.default_rng([seed, code]))
        content = _write_images(out / "images" / split, split, samples, plan, size, [seed, code])
        content["info"] = {"description": f"focalkit demo scenes of handwritten digits, seed {seed}, {imbalance:g}:1"}
        content["categories"] = [{"id": label + 1, "name": f"digit {label}"} for label in range(classes)]
        make_folder(out / "annotations")
        write_json_atomic(out / "annotations" / f"instances_{split}.json", content)
    return out


def _write_images(
    folder: Path, split: str, samples: list[np.ndarray], plan: list[list[int]], size: int, seed: list[int]
) -> dict[str, Any]:
    """Draw one image per entry of `plan`; returns the COCO lists of images and annotations."""
    make_folder(folder)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, labels in enumerate(track(plan, len(plan), f"drawing {split} scenes"), start=1):
        rng = np.random.default_rng([*seed, number])
        digits = [samples[label][rng.integers(len(samples[label]))] for label in labels]
        picture, boxes = draw_scene(digits, size, rng)
        name = f"{split}_{number:05d}.jpg"
        picture.save(folder / name, quality=92)
        images.append({"id": number, "file_name": name, "width": size, "height": size})
        for label, (x, y, w, h) in zip(labels, boxes, strict=True):
            place = {"id": len(annotations) + 1, "image_id": number, "category_id": label + 1}
            annotations.append({**place, "bbox": [x, y, w, h], "area": w * h, "iscrowd": 0})
    return {"images": images, "annotations": annotations}


def _handwriting(seed: int, classes: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Per label, the (n, 8, 8) samples in 0..1 for train and those for val; no sample is in both."""
    from sklearn.datasets import load_digits

    pixels, digits = map(np.asarray, load_digits(return_X_y=True))
    rng = np.random.default_rng([seed, 2])
    train: list[np.ndarray] = []
    val: list[np.ndarray] = []
    for label in range(classes):
        samples = pixels[digits == label].reshape(-1, 8, 8) / 16
        samples = samples[rng.permutation(len(samples))]
        cut = round(len(samples) * _VAL_SHARE)
        val.append(samples[:cut])
        train.append(samples[cut:])
    return train, val


def class_quota(total: int, classes: int, imbalance: float) -> list[int]:
    """How many boxes each class gets: a geometric decline from the first class to the last, 1/imbalance of it.

    Example:
        >>> class_quota(111, 3, 100)
        [100, 10, 1]
    """
    share = imbalance ** (-np.arange(classes) / max(1, classes - 1))
    return [max(1, round(n)) for n in (total * share / share.sum()).tolist()]


def _plan(images: int, classes: int, imbalance: float, rng: np.random.Generator) -> list[list[int]]:
    """The labels of every image."""
    counts = np.minimum(1 + rng.poisson(MEAN_DIGITS - 1, images), _MOST_DIGITS)
    counts[rng.permutation(images)[: round(EMPTY * images)]] = 0
    quota = [max(n, _LEAST_PER_CLASS) for n in class_quota(int(counts.sum()), classes, imbalance)]
    quota[0] = max(1, quota[0] + int(counts.sum()) - sum(quota))
    labels = rng.permutation(np.repeat(np.arange(classes), quota))
    return [part.tolist() for part in np.split(labels, counts.cumsum())[:-1]]
