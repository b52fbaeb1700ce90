"""Made splits: the images of a data set dealt out to train, val and test, by share, by fold, or as a file says.

Copies of a picture and images of one group stay in one part, and every part gets its share of every class (`_assign`).
A made split can be written down and read again: {"schema": 1, "parts": {"train": ["a.jpg", ...], ...}}.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from focalkit._files import read_json
from focalkit.data._assign import Item, assign
from focalkit.data._records import DetectionData, ImageRecord
from focalkit.data._selection import PARTS, Selection
from focalkit.data.copies import copies
from focalkit.errors import InputError

SCHEMA = 1
Division = Mapping[str, Sequence[str]]


def divide(data: DetectionData, selection: Selection) -> dict[str, DetectionData]:
    """The parts of a split, each with its images in the order of their ids, and the names of all parts.

    Raises:
        InputError: Too few images or groups, a pattern that fits no name, a file that does not fit the data.
    """
    home = data.source if data.source.is_dir() else data.source.parent
    names = [name_of(image, home) for image in data.images]
    if selection.written is not None:
        parts, notes = _as_written(names, selection.written)
    else:
        items, notes = _items(data, names, selection)
        parts = _dealt(items, selection)
    division = {
        part: tuple(name for name, where in zip(names, parts, strict=True) if where == part)
        for part in PARTS
        if part in parts
    }
    chosen = {
        part: sorted((i for i, where in zip(data.images, parts, strict=True) if where == part), key=lambda i: i.id)
        for part in division
    }
    made = {part: replace(data, split=part, images=tuple(images), division=division) for part, images in chosen.items()}
    first = next(iter(made))
    made[first] = replace(made[first], warnings=(*data.warnings, *notes, *_lacking(made)))
    return made


def name_of(image: ImageRecord, home: Path) -> str:
    """What an image is called in a division: its path below the data set's own folder, or as the data set spells it."""
    try:
        return image.path.relative_to(home).as_posix()
    except ValueError:
        return image.file_name.replace("\\", "/")


def division_record(data: DetectionData, selection: Selection) -> dict[str, Any] | None:
    """What is written down of a made split; None where the split is the data's own."""
    if data.division is None:
        return None
    how = {"split": selection.split, "seed": selection.seed, "group_by": selection.group_by, "fold": selection.fold}
    return {"schema": SCHEMA, **how, "source": str(data.source), "parts": data.division}


def _items(data: DetectionData, names: list[str], selection: Selection) -> tuple[list[Item], list[str]]:
    """Every image with its group; copies of a picture join the groups that they are in."""
    groups, unmatched = _groups(names, selection.group_by)
    notes = []
    if unmatched:
        first = names[unmatched[0]]
        notes.append(f"{len(unmatched)} x images do not match --group-by: each a group of its own (first: {first})")
    leader = {group: group for group in groups}

    def find(group: str) -> str:
        while leader[group] != group:
            group = leader[group]
        return group

    alike = copies([image.path for image in data.images])
    for places in [*alike, *_same_name(names)]:
        joined = sorted({find(groups[place]) for place in places})
        leader.update(dict.fromkeys(joined, joined[0]))
    if alike:
        copied = sum(len(places) - 1 for places in alike)
        notes.append(f"{copied} x images are copies of others: kept in one part (first: {names[alike[0][1]]})")
    shown = [frozenset(la for la, crowd in zip(i.labels, i.crowd, strict=True) if not crowd) for i in data.images]
    # two records of one file have one name; the number tells them apart
    keys = [f"{name}\0{number:06d}" for name, number in zip(names, _occurrences(names), strict=True)]
    return [Item(k, find(g), la) for k, g, la in zip(keys, groups, shown, strict=True)], notes


def _groups(names: list[str], group_by: str | None) -> tuple[list[str], list[int]]:
    """The group of every name, and the places of those that the pattern does not fit."""
    if group_by is None:
        return names, []
    if group_by == "folder":
        return [str(PurePosixPath(name).parent) for name in names], []
    try:
        pattern = re.compile(group_by)
    except re.error as error:
        raise InputError(f'--group-by {group_by}: no regular expression ({error}); or "folder"') from error
    found = [pattern.search(name) for name in names]
    unmatched = [place for place, match in enumerate(found) if match is None]
    if len(unmatched) == len(names):
        raise InputError(f"--group-by {group_by}: fits no image; they are called {', '.join(names[:3])}, ...")
    groups = [
        "\0".join(["", *(part or "" for part in match.groups() or (match[0],))]) if match else name
        for match, name in zip(found, names, strict=True)
    ]
    return groups, unmatched


def _same_name(names: list[str]) -> list[list[int]]:
    if len(set(names)) == len(names):
        return []
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(name, []).append(place)
    return [group for group in places.values() if len(group) > 1]


def _occurrences(names: list[str]) -> list[int]:
    seen: dict[str, int] = {}
    found = []
    for name in names:
        found.append(seen.get(name, 0))
        seen[name] = found[-1] + 1
    return found


def _dealt(items: list[Item], selection: Selection) -> list[str]:
    """The part of every item."""
    shares = selection.shares
    if selection.folds is None:
        return [PARTS[p] for p in _assigned(items, tuple(shares.values()), selection)]
    fold, folds = selection.folds
    parts = ["train"] * len(items)
    if "test" in shares:  # held out before there are folds, the same images for all of them
        test = _assigned(items, (1 - shares["test"], shares["test"]), selection)
        parts = ["test" if part else "train" for part in test]
    rest = [i for i, part in enumerate(parts) if part == "train"]
    dealt = _assigned([items[i] for i in rest], (1 / folds,) * folds, selection, complete=False)
    for i, number in zip(rest, dealt, strict=True):
        parts[i] = "val" if number == fold - 1 else "train"
    return parts


def _assigned(items: list[Item], shares: Sequence[float], selection: Selection, *, complete: bool = True) -> list[int]:
    groups = len({item.group for item in items})
    if groups < len(shares):
        what = "images" if selection.group_by is None else f"groups (--group-by {selection.group_by})"
        raise InputError(f"{groups} {what} cannot be dealt out to {len(shares)} parts")
    return assign(items, shares, selection.seed, complete=complete)


def _as_written(names: list[str], file: Path) -> tuple[list[str], list[str]]:
    """The parts that a file names, with "" for images that it does not; and notes."""
    written = {name: part for part, listed in read_division(file).items() for name in listed}
    parts = [written.get(name, "") for name in names]
    if not {"train", "val"} & set(parts):
        raise InputError(f"{file}: names no image of these data; they are called {', '.join(names[:3])}, ...")
    notes = []
    if new := parts.count(""):
        notes.append(f"{new} x images are in no part of {file.name}: left out (first: {names[parts.index('')]})")
    if gone := sorted(written.keys() - set(names)):
        notes.append(f"{len(gone)} x images of {file.name} are not there any more (first: {gone[0]})")
    return parts, notes


def read_division(file: Path) -> dict[str, list[str]]:
    """Part -> names of images, from a file that a run has written.

    Raises:
        InputError: No such file, another one, or an image in two parts.
    """
    try:
        parts = read_json(file)["parts"]
        if not all(part in PARTS and all(isinstance(name, str) for name in names) for part, names in parts.items()):
            raise ValueError("parts are train, val and test, each a list of names")
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"{file}: not a made split, as training writes it to RUN/splits.json ({error})") from error
    listed: dict[str, str] = {}
    for part, names in parts.items():
        for name in names:
            if listed.setdefault(name, part) != part:
                raise InputError(f"{file}: {name} is in {listed[name]} and in {part}; expected each image in one part")
    return parts


def _lacking(made: Mapping[str, DetectionData]) -> list[str]:
    """A warning where a class has boxes, but none in train."""
    if "train" not in made:
        return []
    counts = [data.class_counts() for data in made.values()]
    totals = [sum(boxes) for boxes in zip(*counts, strict=True)]
    trained = made["train"].class_counts()
    found = [n for n, boxes, total in zip(made["train"].names, trained, totals, strict=True) if total and not boxes]
    kind = "classes have boxes in other parts alone, none in train"
    return [f"{len(found)} x {kind} (first: {name})" for name in found[:1]]
