"""The files that `focalkit calibrate` reads: COCO results, COCO annotations, a matrix of costs."""

import json
import math
from pathlib import Path
from typing import Any

from focalkit._files import special
from focalkit.errors import InputError


def read_results(path: Path) -> list[dict[str, Any]]:
    """A COCO results file.

    Raises:
        InputError: No such file, not JSON, not a list of detections, or an empty one.
    """
    content = _read(path)
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise InputError(f"{path}: expected a COCO results file, a JSON list of detections, got {_kind(content)}")
    if not content:
        raise InputError(f"{path}: there are no detections in it; calibration needs right and wrong ones")
    return content


def read_truth(path: Path) -> dict[str, Any]:
    """A COCO annotation file.

    Raises:
        InputError: No such file, not JSON, or without images, annotations and categories.
    """
    content = _read(path)
    keys = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in keys):
        raise InputError(
            f"{path}: expected COCO annotations, a JSON object with lists {', '.join(keys)}, got {_kind(content)}"
        )
    for key in keys:
        for number, row in enumerate(content[key]):
            if not isinstance(row, dict):
                raise InputError(f"{path}: {key}[{number}] is {_kind(row)}, expected an object")
    return content


def with_ids(results: list[dict[str, Any]], truth: dict[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """The results with the ids of the images that they name by their file, with or without its suffix; and a note.

    So does Ultralytics' predictions.json where names are no numbers. Names that could mean two images are left as they
    are.
    """
    id_of: dict[str, Any] = {}
    for image in truth["images"]:
        name = image.get("file_name")
        for called in {name, Path(name).name, Path(name).stem} if isinstance(name, str) else ():
            id_of[called] = image.get("id") if called not in id_of else None
    known = {str(image.get("id")) for image in truth["images"]}
    found, named = [], 0
    for row in results:
        key = row.get("image_id")
        if isinstance(key, str) and key not in known and id_of.get(key) is not None:
            row, named = {**row, "image_id": id_of[key]}, named + 1
        found.append(row)
    notes = [f"{named} detections name their image by its file, not by its id"] if named else []
    return found, notes


def read_costs(path: Path) -> list[list[float]]:
    """Two rows of two numbers; lines that start with # and empty ones are skipped.

    Raises:
        InputError: Anything else.
    """
    try:
        _refuse_special(path)
        lines = [line.split("#")[0].strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
        rows = [[float(cell) for cell in line.split(",")] for line in lines if line]
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path}: expected two rows of two numbers separated by commas ({error})") from error
    if [len(row) for row in rows] != [2, 2]:
        raise InputError(f"{path}: expected two rows of two numbers, got rows of {[len(row) for row in rows]}")
    if not all(math.isfinite(cost) for row in rows for cost in row):
        raise InputError(f"{path}: costs must be finite numbers, got {rows}")
    return rows


def _read(path: Path) -> Any:
    try:
        _refuse_special(path)
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error})") from error


def _refuse_special(path: Path) -> None:
    if kind := special(path):
        raise InputError(f"{path}: is {kind}, expected a file")


def _kind(value: object) -> str:
    if isinstance(value, dict):
        return f"an object with {', '.join(map(str, list(value)[:5])) or 'nothing in it'}"
    return f"a {type(value).__name__}"
