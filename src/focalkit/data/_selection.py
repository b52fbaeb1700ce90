"""What is used of a data set, without touching its files: a part (see `_division`), some classes, merged classes."""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from focalkit.data._records import Category, DetectionData, ImageRecord
from focalkit.errors import InputError

if TYPE_CHECKING:
    from focalkit.config import DataConfig

PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Selection:
    """What is used of a data set.

    Attributes:
        split: Shares of train, val and perhaps test, such as "80/10/10", for a data set without splits; or a file that
            names the images of each part, as training writes it to `RUN/splits.json`.
        seed: Of that division; the same seed always gives the same images.
        classes: Names of the classes that are used, separated by commas; boxes of others are left out.
        merge: Classes that become one, such as "car,truck=vehicle"; before `classes`.
        single_class: Every box becomes one of the class "object".
        group_by: Images that stay in one part: those for which this regular expression finds the same in the name (its
            groups, where it has some), or "folder".
        fold: Such as "2/5": val is the second of five parts, train the other four. With three shares in `split`, test
            is held out first.
    """

    split: str | None = None
    seed: int = 0
    classes: str | None = None
    merge: tuple[str, ...] = ()
    single_class: bool = False
    group_by: str | None = None
    fold: str | None = None

    @classmethod
    def of(cls, settings: "DataConfig") -> "Selection":
        """The selection that a configuration describes."""
        return cls(
            settings.split,
            settings.split_seed,
            settings.classes,
            settings.merge,
            settings.single_class,
            settings.group_by,
            settings.fold,
        )

    @property
    def divides(self) -> bool:
        """Whether the data are divided.

        Raises:
            InputError: Settings that do not go together.
        """
        if self.group_by is not None and self.fold is None and (self.split is None or self.written):
            raise InputError(f"--group-by {self.group_by}: no split is made; add --split 80/10/10 or --fold 1/5")
        if self.folds is not None and self.split is not None and "test" not in self.shares:
            raise InputError("--fold makes train and val itself: leave --split away, or hold a test part out: 80/10/10")
        return self.fold is not None or self.split is not None

    @property
    def chooses(self) -> bool:
        """Whether classes are chosen or merged."""
        return self.classes is not None or bool(self.merge) or self.single_class

    @property
    def division(self) -> "Selection":
        """The part of it that divides, without the classes."""
        return replace(self, classes=None, merge=(), single_class=False)

    @property
    def written(self) -> Path | None:
        """The file that names the images of each part."""
        return Path(self.split) if self.split is not None and self.split.endswith(".json") else None

    def absolute(self) -> "Selection":
        """The same from any working directory."""
        return self if self.written is None else replace(self, split=str(self.written.expanduser().resolve()))

    @property
    def folds(self) -> tuple[int, int] | None:
        """(which, of how many) of `fold`.

        Raises:
            InputError: It is something else.
        """
        if self.fold is None:
            return None
        match = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", self.fold)
        which, count = (int(match[1]), int(match[2])) if match else (0, 0)
        if not 1 <= which <= count or count < 2:
            raise InputError(f"--fold {self.fold}: expected which of how many, such as 1/5 .. 5/5")
        return which, count

    @property
    def shares(self) -> dict[str, float]:
        """Part -> share of the images; empty without `split`, and where that is a file.

        Raises:
            InputError: It is not two or three numbers that make 100, or 1, up to rounding: 33/33/33.
        """
        if self.split is None or self.written is not None:
            return {}
        try:
            numbers = [float(word) for word in self.split.split("/")]
        except ValueError:
            numbers = []
        if not (len(numbers) in (2, 3) and all(0 < n < 1e6 for n in numbers)):
            raise InputError(f"--split {self.split}: expected shares of train, val and perhaps test, such as 80/10/10")
        total = sum(numbers)
        if not any(abs(total - whole) <= 0.01 * whole + 1e-9 for whole in (1, 100)):
            raise InputError(
                f"--split {self.split}: expected shares that make 100, such as 80/10/10; these make {total:g}"
            )
        return {part: number / total for part, number in zip(PARTS, numbers, strict=False)}


def choose_classes(data: DetectionData, selection: Selection, *, strict: bool = True) -> DetectionData:
    """The data with merged and chosen classes. Images whose boxes are all left out stay, as background.

    Classes that the data lack are refused only with `strict`: validation may lack some of training.

    Raises:
        InputError: A class that the data do not have; the message lists those that they have.
    """
    name_of = {category: category.name for category in data.categories}
    for rule in selection.merge:
        sources, equals, target = rule.rpartition("=")
        if not equals or not target.strip():
            raise InputError(f"--merge {rule}: expected names and what they become, such as car,truck=vehicle")
        merged = _known(sources, set(name_of.values()), f"--merge {rule}", strict)
        name_of = {category: target.strip() if name in merged else name for category, name in name_of.items()}
    if selection.classes is not None:
        chosen = _known(selection.classes, set(name_of.values()), f"--classes {selection.classes}", strict)
        name_of = {category: name for category, name in name_of.items() if name in chosen}
    if selection.single_class:
        name_of = dict.fromkeys(name_of, "object")
    if name_of == {category: category.name for category in data.categories}:
        return data
    joins = bool(selection.merge) or selection.single_class  # else classes that share a name stay apart
    first: dict[object, Category] = {}
    for category, name in name_of.items():  # in ascending order of the id
        first.setdefault(name if joins else category, Category(category.id, name))
    label_of = {key: label for label, key in enumerate(first)}
    categories = tuple(first.values())
    new = [label_of[name_of[c] if joins else c] if c in name_of else None for c in data.categories]
    images = tuple(_relabelled(image, new) for image in data.images)
    left_out = sum(len(old.labels) - len(image.labels) for old, image in zip(data.images, images, strict=True))
    warnings = (f"{left_out} x boxes of other classes are left out (--classes)",) if left_out else ()
    class_map = {category.name: name_of.get(category) for category in data.categories}
    return replace(
        data, categories=categories, images=images, warnings=(*data.warnings, *warnings), class_map=class_map
    )


def _known(names: str, there: set[str], flag: str, strict: bool) -> set[str]:
    wanted = {name.strip() for name in names.split(",")} - {""}
    unknown = sorted(wanted - there)
    if (strict and unknown) or not wanted:
        listed = ", ".join(sorted(there))
        raise InputError(f"{flag}: there is no class {_with_nearest(unknown, there)}; the data have {listed:.500}")
    return wanted


def _with_nearest(unknown: list[str], there: set[str]) -> str:
    """The names, each with the one that was perhaps meant."""
    folded = {name.casefold(): name for name in sorted(there)}
    found = []
    for name in unknown:
        close = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
        found.append(f'{name} (did you mean "{folded[close[0]]}"?)' if close else name)
    return ", ".join(found) or "named"


def _relabelled(image: ImageRecord, new: list[int | None]) -> ImageRecord:
    keep = [new[label] is not None for label in image.labels]

    def kept(values: Iterable[Any]) -> tuple[Any, ...]:
        return tuple(value for value, stays in zip(values, keep, strict=True) if stays)

    labels = tuple(label for old in image.labels if (label := new[old]) is not None)
    return replace(
        image,
        boxes=kept(image.boxes),
        labels=labels,
        areas=kept(image.areas),
        crowd=kept(image.crowd),
        annotation_ids=kept(image.annotation_ids),
    )
