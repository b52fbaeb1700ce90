"""Sound things for the corpus to damage: data sets of two images, a run with a tiny model."""

import io
import json
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image


@dataclass(frozen=True)
class Case:
    """One damaged input.

    Attributes:
        name: What is wrong.
        words: The command line; {x} is replaced by the place of x in the folder of the case.
        files: Path in that folder -> content: bytes, text, or a value that becomes JSON.
        status: The right exit status.
        says: Words that the right answer holds, on stderr or stdout; one of them is the place of the fault.
    """

    name: str
    words: tuple[str, ...]
    files: dict[str, Any]
    status: int = 2
    says: tuple[str, ...] = ()


def png(width: int = 40, height: int = 30, mode: str = "RGB", shade: int = 0, **more: Any) -> bytes:
    """A picture; two that are not to be copies of each other have different shades."""
    buffer = io.BytesIO()
    Image.new(mode, (width, height), shade).save(buffer, "PNG", **more)
    return buffer.getvalue()


def jpeg(width: int = 40, height: int = 30, mode: str = "RGB", **more: Any) -> bytes:
    """The same as JPEG."""
    buffer = io.BytesIO()
    Image.new(mode, (width, height)).save(buffer, "JPEG", **more)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds almost nothing."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", b"x"), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


IMAGES = {"images/a.png": png(), "images/b.png": png(shade=9)}


def coco(**changes: Any) -> dict[str, Any]:
    """Annotations of the two images; `changes` replace whole keys."""
    return {
        "images": [{"id": i, "file_name": f"{n}.png", "width": 40, "height": 30} for i, n in ((11, "a"), (12, "b"))],
        "annotations": [annotation()],
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
        **changes,
    }


def annotation(**changes: Any) -> dict[str, Any]:
    """A sound annotation with changes; the value `...` takes a key away."""
    return changed({"id": 1, "image_id": 11, "category_id": 7, "bbox": [5, 6, 10, 12], "iscrowd": 0}, changes)


def changed(item: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`item` with changes; the value `...` takes a key away."""
    return {key: value for key, value in {**item, **changes}.items() if value is not ...}


XML = """<annotation><filename>{name}</filename><size><width>40</width><height>30</height><depth>3</depth></size>
<object><name>dog</name><bndbox><xmin>5</xmin><ymin>6</ymin><xmax>15</xmax><ymax>18</ymax></bndbox></object></annotation>
"""


def voc(**files: Any) -> dict[str, Any]:
    """A VOC data set of two images, with files replaced or added."""
    sound = {
        "Annotations/a.xml": XML.format(name="a.png"),
        "Annotations/b.xml": XML.format(name="b.png"),
        "ImageSets/Main/train.txt": "a\n",
        "ImageSets/Main/val.txt": "b\n",
        "JPEGImages/a.png": png(),
        "JPEGImages/b.png": png(shade=9),
    }
    return changed(sound, files)


def yolo(**files: Any) -> dict[str, Any]:
    """A YOLO data set of two images, with files replaced or added."""
    sound = {
        "data.yaml": "train: images/train\nval: images/val\nnames: [dog, cat]\n",
        "images/train/a.png": png(),
        "images/val/b.png": png(shade=9),
        "labels/train/a.txt": "0 .5 .5 .2 .2\n",
        "labels/val/b.txt": "1 .5 .5 .2 .2\n",
    }
    return changed(sound, files)


def write(folder: Path, files: dict[str, Any]) -> None:
    """Put the files of a case into a folder. A callable gets the path and makes what it likes there."""
    for name, content in files.items():
        path = folder / name
        if len(name) < 500:
            path.parent.mkdir(parents=True, exist_ok=True)
        if callable(content):
            content(path)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, str):
            path.write_text(content, encoding="utf-8", errors="surrogatepass")
        else:
            path.write_text(json.dumps(content), encoding="utf-8")
