"""What is used of a data set, without touching its files: a part by share and seed, some classes, merged classes."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
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
        split: Shares of train, val and perhaps test, such as "80/10/10", for a data set without splits.
        seed: Of that division; the same seed always gives the same images.
        classes: Names of the classes that are used, separated by commas; boxes of others are left out.
        merge: Classes that become one, such as "car,truck=vehicle"; before `classes`.
        single_class: Every box becomes one of the class "object".
    """

    split: str | None = None
    seed: int = 0
    classes: str | None = None
    merge: tuple[str, ...] = ()
    single_class: bool = False

    @classmethod
    def of(cls, settings: "DataConfig") -> "Selection":
        """The selection that a configuration describes."""
        return cls(settings.split, settings.split_seed, settings.classes, settings.merge, settings.single_class)

    @property
    def shares(self) -> dict[str, float]:
        """Part -> share of the images; empty without `split`.

        Raises:
            InputError: It is not two or three numbers.
        """
        words = self.split.split("/") if self.split is not None else []
        try:
            numbers = [float(word) for word in words]
        except ValueError:
            numbers = []
        if self.split is not None and not (len(numbers) in (2, 3) and all(0 < n < 1e6 for n in numbers)):
            raise InputError(f"--split {self.split}: expected shares of train, val and perhaps test, such as 80/10/10")
        return {part: number / sum(numbers) for part, number in zip(PARTS, numbers, strict=False)}


def divide(data: DetectionData, selection: Selection) -> dict[str, DetectionData]:
    """The parts of a split: its images shuffled by the seed, in an order that their names alone decide.

    Raises:
        InputError: A part would have no image.
    """
    images = sorted(data.images, key=lambda image: (image.file_name, image.id))
    random.Random(selection.seed).shuffle(images)
    parts: dict[str, DetectionData] = {}
    before, share = 0, 0.0
    for part, more in selection.shares.items():
        share += more
        until = round(share * len(images))
        if until == before:
            raise InputError(f"--split {selection.split}: leaves no image for {part} of {len(images)}")
        chosen = tuple(sorted(images[before:until], key=lambda image: image.id))
        parts[part] = replace(data, split=part, images=chosen)
        before = until
    return parts


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
    return replace(data, categories=categories, images=images, warnings=(*data.warnings, *warnings))


def _known(names: str, there: set[str], flag: str, strict: bool) -> set[str]:
    wanted = {name.strip() for name in names.split(",")} - {""}
    unknown = sorted(wanted - there)
    if (strict and unknown) or not wanted:
        listed = ", ".join(sorted(there))
        raise InputError(f"{flag}: there is no class {', '.join(unknown) or 'named'}; the data have {listed:.500}")
    return wanted


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
