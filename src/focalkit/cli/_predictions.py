"""The files of `focalkit predict`: COCO results always; YOLO, Pascal VOC, CSV and crops where they are asked for."""

import csv
import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

    from focalkit.detection import Detections

COLUMNS = ("image_id", "file_name", "frame", "class", "score", "xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class Shot:
    """A picture that was looked at: an image file, or a frame of a video.

    Attributes:
        name: Unique; of its own files.
        file: The image or the video.
        size: Height and width in pixels.
        frame: Number from 0, and seconds since the start, of a video's.
        picture: Gives its pixels.
    """

    name: str
    file: str
    size: tuple[int, int]
    picture: "Callable[[], Image.Image]"
    frame: tuple[int, float | None] | None = None


@dataclass
class Predictions:
    """Collects what is found and writes it.

    Attributes:
        out: Folder.
        names: Of the classes.
        category_ids: Of the classes, for COCO.
        txt, voc, csv, crops: Which files to write beside COCO's.
    """

    out: Path
    names: Sequence[str]
    category_ids: Sequence[int] | None
    txt: bool = False
    voc: bool = False
    csv: bool = False
    crops: bool = False
    images: list[dict[str, Any]] = field(default_factory=list)
    results: list[dict[str, Any]] = field(default_factory=list)

    def add(self, image_id: int, shot: Shot, found: "Detections") -> None:
        """Write the files of one picture, and remember the rest."""
        from focalkit._files import write_text_atomic

        height, width = shot.size
        entry: dict[str, Any] = {"id": image_id, "file_name": shot.file, "height": height, "width": width}
        if shot.frame is not None:
            entry |= {"frame": shot.frame[0], "seconds": shot.frame[1]}
        self.images.append(entry)
        self.results += found.to_coco(image_id, self.category_ids)
        if self.txt:
            write_text_atomic(self.out / "labels" / f"{shot.name}.txt", yolo_text(found, shot.size))
        if self.voc:
            write_text_atomic(self.out / "voc" / f"{shot.name}.xml", voc_text(shot, found, self.class_name))
        if self.crops and len(found):
            self.save_crops(shot, found)

    def finish(self) -> None:
        """Write what is of all pictures together."""
        from focalkit._files import write_jsons_atomic, write_text_atomic

        categories = [{"id": i, "name": n} for i, n in zip(self.category_ids or (), self.names, strict=True)]
        images = {"images": self.images, "categories": categories}
        write_jsons_atomic({self.out / "predictions.json": self.results, self.out / "images.json": images})
        if self.txt:
            write_text_atomic(self.out / "classes.txt", "".join(f"{name}\n" for name in self.names))
        if self.csv:
            write_text_atomic(self.out / "predictions.csv", self.csv_text())

    def class_name(self, label: int) -> str:
        return self.names[label] if label < len(self.names) else f"class {label}"

    def csv_text(self) -> str:
        images = {image["id"]: image for image in self.images}
        labels = {i: label for label, i in enumerate(self.category_ids or ())}
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(COLUMNS)
        for row in self.results:
            image, (x, y, w, h) = images[row["image_id"]], row["bbox"]
            name = self.class_name(labels[row["category_id"]] if labels else row["category_id"])
            corners = [round(v, 2) for v in (x, y, x + w, y + h)]
            first = [image["id"], image["file_name"], image.get("frame", ""), name, round(row["score"], 6)]
            table.writerow([*first, *corners])
        return text.getvalue()

    def save_crops(self, shot: Shot, found: "Detections") -> None:
        """What is inside each box, in a folder of its class."""
        from focalkit._files import replacing

        picture, (height, width) = shot.picture(), shot.size
        x, y = picture.width / width, picture.height / height
        rows = zip(found.boxes.tolist(), found.labels.tolist(), strict=True)
        for number, ((x0, y0, x1, y1), label) in enumerate(rows, 1):
            left, top = int(x0 * x), int(y0 * y)
            box = (left, top, max(left + 1, round(x1 * x)), max(top + 1, round(y1 * y)))
            folder = re.sub(r"[^\w .()-]", "_", self.class_name(label)).strip(". ") or f"class {label}"
            with replacing(self.out / "crops" / folder / f"{shot.name}-{number}.jpg") as temporary:
                picture.crop(box).save(temporary, "JPEG", quality=95)


def yolo_text(found: "Detections", size: tuple[int, int]) -> str:
    """A line per box: class, then centre, width and height as shares of the image, as labels are written."""
    height, width = size
    lines = []
    for (x0, y0, x1, y1), label in zip(found.boxes.tolist(), found.labels.tolist(), strict=True):
        shares = ((x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height)
        lines.append(f"{label} {' '.join(f'{share:.6f}' for share in shares)}\n")
    return "".join(lines)


def voc_text(shot: Shot, found: "Detections", class_name: Callable[[int], str]) -> str:
    """An annotation file; pixels are counted from 1 and a box includes its last, as in Pascal VOC."""
    root = ET.Element("annotation")
    ET.SubElement(root, "filename").text = Path(shot.file).name
    size = ET.SubElement(root, "size")
    for tag, value in zip(("width", "height", "depth"), (shot.size[1], shot.size[0], 3), strict=True):
        ET.SubElement(size, tag).text = str(value)
    rows = zip(found.boxes.tolist(), found.labels.tolist(), found.scores.tolist(), strict=True)
    for (x0, y0, x1, y1), label, score in rows:
        item = ET.SubElement(root, "object")
        ET.SubElement(item, "name").text = class_name(label)
        ET.SubElement(item, "score").text = f"{score:.6f}"
        box = ET.SubElement(item, "bndbox")
        left, top = round(x0) + 1, round(y0) + 1
        corners = (left, top, max(left, round(x1)), max(top, round(y1)))
        for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True):
            ET.SubElement(box, tag).text = str(value)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"
