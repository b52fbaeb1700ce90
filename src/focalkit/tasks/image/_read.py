"""From folders of folders or npz files to one array of images of one size, decoded once for a whole comparison."""

import contextlib
import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from focalkit._files import make_folder, replacing
from focalkit._progress import track
from focalkit.errors import DataError, InputError

from .._npz import open_arrays
from .._task import Source
from .find import class_folders, images_in, npz_parts, split_folders

SMALL, LARGE = 64, 64
"""Square images up to SMALL pixels keep their size; others are brought to LARGE."""
PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Pictures:
    """Images and labels.

    Attributes:
        images: uint8 (n, side, side, 3).
        labels: (n,) class indices.
        ids: (n,) file names, or numbers where the data have none.
        part: (n,) 0, 1, 2 for train, val, test; all 0 where the data have no split.
        classes, facts, notes, fingerprint: As in `Splits`.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    ids: NDArray[Any]
    part: NDArray[np.int64]
    classes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    fingerprint: str = ""

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: NDArray[np.int64]) -> "Pictures":
        """The images `index`."""
        return replace(
            self, images=self.images[index], labels=self.labels[index], ids=self.ids[index], part=self.part[index]
        )


def read_pictures(source: Source, size: int | None = None) -> Pictures:
    """All images of a data set.

    Raises:
        InputError: Nothing there that could be images.
        DataError: A file that is no image, labels that do not fit; all of them named.
    """
    path = Path(source.path)
    if path.is_file():
        found = _from_npz({"train": path}, size, source.cache)
    elif files := npz_parts(path):
        found = _from_npz(files, size, source.cache)
    elif folders := split_folders(path):
        found = _from_folders(path, folders, size, source.cache)
    elif class_folders(path):
        found = _from_folders(path, {"train": path}, size, source.cache)
    else:
        raise InputError(f"{path}: expected a folder of images for each class, or train and test npz files")
    counts = np.bincount(found.labels, minlength=len(found.classes))
    if len(counts) == 2 and counts[1] > counts[0]:  # of two classes the second is the rare one
        found = replace(found, labels=1 - found.labels, classes=found.classes[::-1])
    digest = hashlib.sha256(found.labels.tobytes() + found.part.tobytes())
    digest.update(np.ascontiguousarray(found.images).data)
    return replace(found, fingerprint=digest.hexdigest()[:16])


def _from_npz(files: Mapping[str, Path], size: int | None, cache: Path | None) -> Pictures:
    labels, parts, ids, names = [], [], [], None
    for part, file in files.items():
        with _arrays(file) as archive:
            labels.append(np.asarray(archive["labels"]).astype(np.int64).reshape(-1))
            names = names or ([str(n) for n in archive["classes"].tolist()] if "classes" in archive else None)
        parts.append(np.full(len(labels[-1]), PARTS.index(part)))
        ids += [f"{file.stem}/{i}" for i in range(len(labels[-1]))]
    every = np.concatenate(labels)
    k = max(int(every.max(initial=-1)) + 1, len(names or ()))
    if every.min(initial=0) < 0 or k < 2:
        raise DataError(next(iter(files.values())), [f"expected labels from 0 up of at least two classes, got {k}"])
    if names and len(names) < k:
        raise DataError(next(iter(files.values())), [f"names {len(names)} classes, but has labels up to {k - 1}"])
    counts = [len(of_file) for of_file in labels]
    images = _once(list(files.values()), size, cache, lambda: _decode_npz(list(files.values()), counts, size))
    classes = tuple(names) if names else tuple(map(str, range(k)))
    return Pictures(images, every, np.asarray(ids), np.concatenate(parts), classes)


def _decode_npz(files: Sequence[Path], counts: Sequence[int], size: int | None) -> NDArray[np.uint8]:
    found = []
    for file, n in zip(files, counts, strict=True):
        with _arrays(file) as archive:
            if "images" in archive:
                images = np.asarray(archive["images"])
            else:
                images = _decode_all(archive["jpeg"], archive["offsets"], file)
        if images.ndim == 3:
            images = np.repeat(images[..., None], 3, axis=3)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or len(images) != n:
            got = f"{images.dtype} {images.shape} and {n} labels"
            raise DataError(file, [f"expected uint8 images (n, h, w, 3) and n labels, got {got}"])
        found.append(images)
    sizes = {array.shape[1:3] for array in found}
    own = found[0].shape[1]
    side = size or (own if sizes == {(own, own)} and own <= SMALL else LARGE)
    return np.concatenate([_resized(array, side) for array in found])


@contextlib.contextmanager
def _arrays(file: Path) -> Iterator[Mapping[str, NDArray[Any]]]:
    """The arrays of an npz file, each read when it is asked for."""
    try:
        with open_arrays(file) as archive:
            yield archive
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(file, [f"not arrays of images: {error}"]) from error


_LAST: dict[str, NDArray[np.uint8]] = {}
"""The images that this process read last: planning, inspecting and fitting ask for the same ones."""


def _once(
    files: Sequence[Path], size: int | None, cache: Path | None, decode: Callable[[], NDArray[np.uint8]]
) -> NDArray[np.uint8]:
    """The images of files, decoded only if neither this process nor the cache of the comparison has them."""
    state = [[str(file), file.stat().st_mtime_ns, file.stat().st_size] for file in files]
    key = hashlib.sha256(json.dumps([size, state]).encode()).hexdigest()[:16]
    if cache is None:
        images = _LAST[key] if key in _LAST else decode()
    else:
        kept = cache / f"images-{key}.npy"
        if not kept.is_file():
            _write(kept, _LAST[key] if key in _LAST else decode())
        images = np.load(kept, mmap_mode="r", allow_pickle=False)  # memory that all processes share
    _LAST.clear()
    _LAST[key] = images
    return images


def _write(file: Path, images: NDArray[np.uint8]) -> None:
    make_folder(file.parent)
    with replacing(file) as temporary, temporary.open("wb") as out:
        np.save(out, images, allow_pickle=False)


def _decode_all(data: NDArray[np.uint8], offsets: NDArray[np.int64], file: Path) -> NDArray[np.uint8]:
    from PIL import Image, UnidentifiedImageError

    found, raw = [], data.tobytes()
    spans = list(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True))
    for i, (start, end) in enumerate(track(spans, len(spans), "decoding")):
        try:
            with Image.open(io.BytesIO(raw[start:end])) as image:
                found.append(np.array(image.convert("RGB")))
        except (UnidentifiedImageError, OSError) as error:
            raise DataError(file, [f"item {i} is not an image ({error})"]) from error
    if len({image.shape for image in found}) > 1:
        raise DataError(file, ["images of different sizes; expected one size in an npz file"])
    return np.stack(found)


def _resized(images: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    if images.shape[1:3] == (side, side):
        return images
    from PIL import Image

    return np.stack([square(Image.fromarray(image), side) for image in images])


def square(image: Any, side: int) -> NDArray[np.uint8]:
    """The middle square of an image, brought to `side` pixels."""
    from PIL import Image

    width, height = image.size
    edge = min(width, height)
    left, top = (width - edge) / 2, (height - edge) / 2
    box = (left, top, left + edge, top + edge)
    return np.array(image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR, box=box))


def _from_folders(path: Path, folders: Mapping[str, Path], size: int | None, cache: Path | None) -> Pictures:
    names = sorted({f.name for folder in folders.values() for f in class_folders(folder)})
    files = [
        (part, name, file)
        for part, folder in folders.items()
        for name in names
        if (folder / name).is_dir()
        for file in images_in(folder / name)
    ]
    ids = np.asarray([str(file.relative_to(path)) for _, _, file in files])
    labels = np.asarray([names.index(name) for _, name, _ in files], dtype=np.int64)
    parts = np.asarray([PARTS.index(part) for part, _, _ in files], dtype=np.int64)
    paths = [file for _, _, file in files]
    images = _once(paths, size, cache, lambda: _decode_files(paths, size or LARGE))
    return Pictures(images, labels, ids, parts, tuple(names))


def _decode_files(files: Sequence[Path], side: int) -> NDArray[np.uint8]:
    from PIL import Image

    from focalkit.images import read_image

    images = np.empty((len(files), side, side, 3), dtype=np.uint8)
    problems = []
    for i, file in enumerate(track(files, len(files), "reading images")):
        try:
            images[i] = square(Image.fromarray(read_image(file).permute(1, 2, 0).numpy()), side)
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise DataError(files[0].parents[1], problems)
    return images
