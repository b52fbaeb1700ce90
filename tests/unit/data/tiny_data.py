"""Small data sets on disk for the tests of this folder."""

import json
import zlib
from pathlib import Path
from typing import Any

from PIL import Image


def save_image(path: Path, width: int = 40, height: int = 30) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = zlib.crc32("/".join(path.parts[-3:]).encode())  # no two are copies of each other
    Image.new("RGB", (width, height), (colour & 255, colour >> 8 & 255, colour >> 16 & 255)).save(path)
    return path


def save_pair(folder: Path) -> None:
    """`a.png` and `b.png`."""
    for name in ("a.png", "b.png"):
        save_image(folder / name)


def write_text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def coco_content(**changes: Any) -> dict[str, Any]:
    """Two 40x30 images, one of them empty; categories 3 and 7; `changes` replace whole keys."""
    return {
        "images": [
            {"id": 11, "file_name": "a.png", "width": 40, "height": 30},
            {"id": 12, "file_name": "b.png", "width": 40, "height": 30},
        ],
        "annotations": [
            {"id": 1, "image_id": 11, "category_id": 7, "bbox": [5, 6, 10, 12], "area": 100.5, "iscrowd": 0},
            {"id": 2, "image_id": 11, "category_id": 3, "bbox": [0, 0, 40, 30], "area": 900, "iscrowd": 1},
            {"id": 3, "image_id": 11, "category_id": 3, "bbox": [1.5, 2.5, 3, 4]},
        ],
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
        **changes,
    }


def annotation(**changes: Any) -> dict[str, Any]:
    return {"id": 1, "image_id": 11, "category_id": 7, "bbox": [5, 6, 10, 12], "iscrowd": 0, **changes}


def write_coco(root: Path, split: str = "train", content: dict[str, Any] | None = None) -> Path:
    """annotations/instances_<split>.json and images/<split>/*.png; returns `root`."""
    content = coco_content() if content is None else content
    write_text(root / "annotations" / f"instances_{split}.json", json.dumps(content))
    for image in content["images"]:
        save_image(root / "images" / split / str(image["file_name"]))
    return root


def voc_xml(name: str, *objects: tuple[str, tuple[float, float, float, float], int], size: str = "40x30") -> str:
    width, height = size.split("x")
    body = "".join(
        f"<object><name>{label}</name><difficult>{difficult}</difficult><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin>"
        f"<xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
        for label, (x0, y0, x1, y1), difficult in objects
    )
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation><filename>{name}.png</filename>{size}{body}</annotation>"


def write_voc(root: Path) -> Path:
    """Train image `a` with a dog and a difficult cat, val image `b` with a person, train image `c` without objects."""
    write_text(root / "Annotations/a.xml", voc_xml("a", ("dog", (1, 1, 10, 20), 0), ("cat", (5, 6, 40, 30), 1)))
    write_text(root / "Annotations/b.xml", voc_xml("b", ("person", (2, 3, 4, 5), 0)))
    write_text(root / "Annotations/c.xml", voc_xml("c"))
    write_text(root / "ImageSets/Main/train.txt", "a\nc\n")
    write_text(root / "ImageSets/Main/val.txt", "b\n")
    for name in "abc":
        save_image(root / "JPEGImages" / f"{name}.png")
    return root


def write_yolo(root: Path, names: str = "[dog, cat]") -> Path:
    """Train images `a` (two boxes) and `b` (no label file), val image `c` (an empty label file)."""
    write_text(root / "data.yaml", f"train: images/train\nval: images/val\nnames: {names}\n")
    for split, name in (("train", "a"), ("train", "b"), ("val", "c")):
        save_image(root / "images" / split / f"{name}.png")
    write_text(root / "labels/train/a.txt", "1 0.5 0.5 0.25 0.5\n0 0.25 0.2 0.1 0.2\n")
    write_text(root / "labels/val/c.txt", "")
    return root
