"""Which columns of a table of boxes hold the image, the class and the box; by their names, in any case and spelling.

Known are the names of Open Images, TensorFlow, Roboflow, VoTT and of Kaggle's tables, corners (`xmin` .. `ymax`, `x1`
.. `y2`), sizes (`x, y, w, h`) and one column `bbox` with four numbers; and the order of keras-retinanet's tables, which
have no line of names: image, x1, y1, x2, y2, class. Separated by commas, semicolons or tabs.
"""

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from focalkit._files import special
from focalkit._pictures import is_picture

_IMAGE = ("filename", "imageid", "image", "imagename", "imagepath", "filepath", "path", "file", "img", "imgname", "id")
_LABEL = ("class", "label", "classname", "labelname", "category", "categoryname", "name", "object")
_CORNERS = (
    ("xmin", "ymin", "xmax", "ymax"), ("x1", "y1", "x2", "y2"), ("x0", "y0", "x1", "y1"),
    ("left", "top", "right", "bottom"),
)  # fmt: skip
_SIZES = (
    ("x", "y", "w", "h"), ("xmin", "ymin", "w", "h"), ("x", "y", "width", "height"),
    ("bboxx", "bboxy", "bboxwidth", "bboxheight"), ("left", "top", "width", "height"),
)  # fmt: skip
_BOX = ("bbox", "box", "boundingbox")
_OPEN_IMAGES = ("imageid", "labelname", "xmin", "xmax", "ymin", "ymax")
_PLAIN = ("filename", "class", "xmin", "ymin", "xmax", "ymax")
_HEAD = 4000


@dataclass(frozen=True)
class Columns:
    """Where the values of a table of boxes stand.

    Attributes:
        separator: Between values.
        image: Column of the image.
        label: Of the class; None where every box is an object of the one class there is.
        box: Of the four values, or the one that holds all.
        form: What they are: the corners, or the upper left corner and the sizes.
        named: Whether the first line holds the names.
        relative: Whether 1 is the image's width and height, as in Open Images.
        group: Column that marks groups, which are regions to ignore.
        sure: Whether the names leave no doubt; otherwise it is a table of boxes only where its images are there.
    """

    separator: str
    image: int
    label: int | None
    box: tuple[int, ...]
    form: Literal["corners", "sizes"] = "corners"
    named: bool = True
    relative: bool = False
    group: int | None = None
    sure: bool = False

    @property
    def expected(self) -> str:
        """For messages."""
        shape = "xmin, ymin, xmax, ymax" if self.form == "corners" else "x, y, width, height"
        return f"an image{'' if self.label is None else ', a class'} and {shape}"


def columns_of(table: Path) -> Columns | None:
    """The columns of a table; None where it is none of boxes."""
    try:
        if special(table):
            return None
        with table.open("rb") as file:
            head = file.readline(_HEAD).decode("utf-8-sig")
    except (OSError, ValueError):
        return None
    separator = max(",;\t", key=head.count)
    words = next(csv.reader([head], delimiter=separator, skipinitialspace=True), [])
    there = {re.sub(r"[\s_\-.]+", "", word).casefold(): place for place, word in reversed(list(enumerate(words)))}
    if set(_OPEN_IMAGES) <= set(there):
        box = tuple(there[name] for name in _CORNERS[0])
        group = there.get("isgroupof")
        return Columns(separator, there["imageid"], there["labelname"], box, relative=True, group=group, sure=True)
    if not set(there) & {*_BOX, *(name for names in (*_CORNERS, *_SIZES) for name in names)}:
        return _without_names(separator, words)
    image = next((there[name] for name in _IMAGE if name in there), None)
    label = next((there[name] for name in _LABEL if name in there), None)
    if image is None or image == label:
        return None
    sure = set(_PLAIN) <= set(there)
    for form, names in [("corners", names) for names in _CORNERS] + [("sizes", names) for names in _SIZES]:
        if set(names) <= set(there):
            box = tuple(there[name] for name in names)
            return Columns(separator, image, label, box, "corners" if form == "corners" else "sizes", sure=sure)
    one = next((there[name] for name in _BOX if name in there), None)
    return None if one is None else Columns(separator, image, label, (one,), "sizes")


def _without_names(separator: str, words: list[str]) -> Columns | None:
    """keras-retinanet's table, of which the first line is a box already, or an image without one."""
    if len(words) != 6 or not is_picture(Path(words[0])):
        return None
    numbers = all(re.fullmatch(r"-?\d+(\.\d+)?", word.strip()) for word in words[1:5])
    if not numbers and any(word.strip() for word in words[1:]):
        return None
    return Columns(separator, 0, 5, (1, 2, 3, 4), named=False)
