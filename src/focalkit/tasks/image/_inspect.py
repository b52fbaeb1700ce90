"""What a set of images looks like before any training."""

import hashlib

import numpy as np

from focalkit.findings import check_classes, check_duplicates, suspect_labels

from .._task import Array, Inspection, Source
from ._read import PARTS, read_pictures

SIDE = 8
"""Pixels of a side that the small model behind `labels` sees."""


def inspect(source: Source, labels: bool = False, size: int | None = None) -> Inspection:
    """Classes, copies, and labels that look wrong; see `Task.inspect`."""
    pictures = read_pictures(source, size)
    digests = (hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in pictures.images)
    hashes = np.frombuffer(b"".join(digests), dtype=np.uint64)
    parts = {part: np.flatnonzero(pictures.part == i) for i, part in enumerate(PARTS)}
    counts = np.bincount(pictures.labels, minlength=len(pictures.classes)).tolist()
    found = check_classes(counts, pictures.classes)
    known = {part: rows for part, rows in parts.items() if len(rows)}
    found += check_duplicates(hashes, pictures.labels, known, "images", pictures.ids)
    if labels:
        names = list(pictures.classes)
        found += suspect_labels(_thumbnails(pictures.images), pictures.labels, names, ids=pictures.ids)
    return Inspection(dict(zip(pictures.classes, counts, strict=True)), tuple(found), pictures.facts, pictures.notes)


def _thumbnails(images: Array) -> Array:
    """(n, 192): mean colours of an 8 x 8 grid."""
    n, side = images.shape[:2]
    cut = side // SIDE * SIDE
    blocks = images[:, :cut, :cut].reshape(n, SIDE, cut // SIDE, SIDE, cut // SIDE, 3)
    return blocks.mean(axis=(2, 4), dtype=np.float32).reshape(n, -1)
