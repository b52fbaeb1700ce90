"""Read a COCO file piece by piece: its text and its polygons, hundreds of megabytes, are never in memory at once.

An annotation as COCO writes it becomes a box at once (`Plain`); one with anything unusual stays the dictionary that it
is, for the reader to judge. A file that is no sound JSON, or not in UTF-8, is left to the caller.
"""

import json
import math
from collections.abc import Callable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

from focalkit._files import special
from focalkit.data.check import RawBox

Plain = tuple[int, RawBox]
"""(id of the image, box with the id of its category as label)."""

_CHUNK = 1 << 22
_FIELDS = itemgetter("id", "image_id", "category_id", "bbox", "area")
_SPACE = " \t\r\n"
_AFTER = frozenset(_SPACE + ",:]}")
_NUMBERS = frozenset({int, float})


def plain_or_whole(item: Any) -> Any:
    """An annotation as `Plain`, or as it is."""
    return plain(item) or item


def plain(item: Any) -> Plain | None:
    """An annotation as COCO writes it; None where anything about it is unusual."""
    try:
        key, image, category, box, area = _FIELDS(item)
        crowd = item.get("iscrowd", 0)
        x, y, w, h = box
    except (LookupError, TypeError, ValueError):
        return None
    whole = type(key) is int and key > 0 and type(image) is int and type(category) is int and type(crowd) is int
    numbers = type(area) in _NUMBERS and type(box) is list and _NUMBERS.issuperset((type(x), type(y), type(w), type(h)))
    if not (whole and numbers and crowd in (0, 1)) or item.get("ignore"):
        return None
    try:
        x, y, w, h, area = float(x), float(y), float(w), float(h), float(area)
    except OverflowError:
        return None
    if not 0 < area < math.inf:
        return None
    return image, RawBox(key, (x, y, x + w, y + h), category, crowd == 1, area)


def as_dict(item: Any) -> Any:
    """An annotation in the form that it has in the file."""
    if not isinstance(item, tuple):
        return item
    image, raw = item
    x0, y0, x1, y1 = raw.box
    return {"id": raw.id, "image_id": image, "category_id": raw.label, "bbox": [x0, y0, x1 - x0, y1 - y0],
            "area": raw.area, "iscrowd": int(raw.crowd)}  # fmt: skip


def load(path: Path, made: Callable[[Any], Any] = plain_or_whole) -> dict[str, Any]:
    """The content of a JSON object, of its annotations what is made of each, in the order of the file.

    Raises:
        ValueError: It is not a JSON object in UTF-8.
        OSError, RecursionError: It cannot be read.
    """
    if kind := special(path):
        raise ValueError(f"is {kind}, expected a file")
    with path.open(encoding="utf-8-sig", newline="") as file:
        text = _Text(file)
        found: dict[str, Any] = {}
        text.expect("{")
        if text.accept("}"):
            text.end()
            return found
        while True:
            key = text.value()
            if not isinstance(key, str):
                raise ValueError("a key that is no string")
            text.expect(":")
            if text.peek() == "[":
                items = text.items()
                found[key] = [made(item) for item in items] if key == "annotations" else list(items)
            else:
                found[key] = text.value()
            if not text.accept(","):
                text.expect("}")
                text.end()
                return found


class _Text:
    """The text of a file, of which only a part is in memory, and a place in it."""

    def __init__(self, file: Any) -> None:
        self._file, self._text, self._at, self._over = file, "", 0, False
        self._decode = json.JSONDecoder().raw_decode

    def peek(self) -> str:
        """The next character that is no space; "" at the end."""
        while True:
            text, at = self._text, self._at
            while at < len(text) and text[at] in _SPACE:
                at += 1
            self._at = at
            if at < len(text) or not self._more():
                return text[at : at + 1] if at < len(text) else ""

    def accept(self, character: str) -> bool:
        """Pass over this character if it is the next."""
        found = self.peek() == character
        self._at += found
        return found

    def expect(self, character: str) -> None:
        """Pass over this character."""
        if not self.accept(character):
            raise ValueError(f"expected {character}")

    def end(self) -> None:
        """Nothing may follow."""
        if self.peek():
            raise ValueError("extra data")

    def value(self) -> Any:
        """The next value, however large it is."""
        self.peek()
        while True:
            try:
                found, end = self._decode(self._text, self._at)
            except ValueError as error:
                if not self._more():
                    raise ValueError("not JSON") from error
                continue
            # subtle: of "1.5" a piece may end after "1" or "1."
            if self._text[end : end + 1] in _AFTER or not self._more():
                self._at = end
                return found

    def items(self) -> Iterator[Any]:
        """The items of the list that begins here."""
        self.expect("[")
        if self.accept("]"):
            return
        while True:
            yield self.value()
            if not self.accept(","):
                self.expect("]")
                return

    def _more(self) -> bool:
        """Read on; False at the end of the file."""
        if self._over:
            return False
        rest = self._text[self._at :]
        chunk = self._file.read(max(_CHUNK, len(rest)))
        self._text, self._at, self._over = rest + chunk, 0, not chunk
        return not self._over
