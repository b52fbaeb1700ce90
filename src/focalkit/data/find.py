"""Opening a split of a data set, of whichever format it is (`_layouts`)."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from focalkit.data import coco
from focalkit.data._depth import tell_depth
from focalkit.data._division import divide
from focalkit.data._layouts import Layout as Layout
from focalkit.data._layouts import find_layout as find_layout
from focalkit.data._layouts import find_layouts as find_layouts
from focalkit.data._layouts import find_others as find_others
from focalkit.data._records import DetectionData
from focalkit.data._selection import Selection, choose_classes
from focalkit.data._splits import SeveralError as SeveralError
from focalkit.data._splits import canonical
from focalkit.data.together import compare_splits as compare_splits
from focalkit.data.together import copied_pictures
from focalkit.data.together import with_classes_of as with_classes_of
from focalkit.errors import DataError, InputError

_ALL = Selection()
MOST_COMPARED = 20_000
"""Images; in more, training does not look for copies of pictures. `focalkit inspect` does."""


@dataclass(frozen=True)
class Place:
    """Where a data set lies and how it is read; see `open_detection_data`."""

    path: Path | str | None
    train_json: Path | str | None = None
    val_json: Path | str | None = None
    images: Path | str | None = None
    check: bool = True
    repair: bool = False

    def open(self, split: str) -> DetectionData:
        """A split of the data's own."""
        data = self._read(split)
        told = tell_depth([image.path for image in data.images]) if self.check else []
        return replace(data, warnings=(*data.warnings, *told)) if told else data

    @cached_property
    def _layout(self) -> Layout:
        assert self.path is not None
        return find_layout(self.path)

    def _read(self, split: str) -> DetectionData:
        given = {"train": self.train_json, "val": self.val_json}.get(split)
        if given is not None:
            files = coco.files(Path(given), Path(self.images) if self.images else None)
            return coco.read(split, files, check=self.check, repair=self.repair)
        if self.path is None:
            raise InputError(f"no data for the split {split!r}: give the data folder (--data) or --{split}-json")
        layout = self._layout
        if split not in layout.splits:
            raise InputError(
                f"{self.path}: a {layout.format} data set with the split{'s' * (len(layout.splits) > 1)} "
                f"{', '.join(layout.splits)}, but no {split!r}. {_how_to_give(layout.format, split)}"
                + _of_one(list(layout.splits))
            )
        return layout.splits[split](self.check, self.repair)

    def divide(self, selection: Selection) -> dict[str, DetectionData]:
        """The parts that a selection makes, with all their classes."""
        return divide(self.open(self.whole(selection)), selection)

    def whole(self, selection: Selection) -> str:
        """The one split that is divided: "all", or "train" where there is nothing else but perhaps a test split."""
        splits = self.splits() or ["train"]
        others = [split for split in splits if split != "test"]
        if len(others) != 1 or ("test" in splits and "test" in selection.shares):
            place = self.path or self.val_json
            raise InputError(f"{place}: has splits already ({', '.join(splits)}); leave --split and --fold away")
        return others[0]

    def has_test(self) -> bool:
        """Whether there is a test split beside the one that is divided."""
        return "test" in self.splits()

    def splits(self) -> list[str]:
        """The data's own."""
        given = [split for split, file in (("train", self.train_json), ("val", self.val_json)) if file is not None]
        looked = list(self._layout.splits) if self.path is not None and len(given) < 2 else []
        return list(dict.fromkeys([*looked, *given]))


def open_detection_data(
    path: Path | str | None,
    split: str = "train",
    *,
    train_json: Path | str | None = None,
    val_json: Path | str | None = None,
    images: Path | str | None = None,
    check: bool = True,
    repair: bool = False,
    selection: Selection = _ALL,
) -> DetectionData:
    """Read one split of a data set in any of the formats of `docs/data.md`, and check it.

    Args:
        path: The folder, or its JSON or YAML file; may be None where the split's JSON file is given.
        split: "train", "val" or "test"; "all" for a file that names no split.
        train_json: COCO file of the split "train", instead of looking for one.
        val_json: COCO file of the split "val".
        images: The folder that file names in these JSON files are relative to.
        check: Open every image (its header) to see that it is there and has the size the annotations say.
        repair: Leave out boxes without area and images that cannot be read, clip boxes that reach out, with counted
            warnings, instead of stopping.
        selection: What is used of the data: a part by share and seed, some classes, merged classes.

    Raises:
        InputError: The data or the split is not there; `images` without a JSON file; a selection that does not fit.
        DataError: All problems of the split, one line each.

    Example:
        >>> data = open_detection_data("my-data", "val")   # doctest: +SKIP
    """
    if images is not None and train_json is None and val_json is None:
        raise InputError(
            f"{images}: an image folder (--images) goes with --train-json or --val-json, and neither was given"
        )
    split, place = canonical(split), Place(path, train_json, val_json, images, check, repair)
    if selection.divides and split == "all":
        split = place.whole(selection)
    elif selection.divides and not (split == "test" and place.has_test()):
        parts = place.divide(selection)
        if split not in parts:
            asked = selection.split or f"--fold {selection.fold}"
            raise InputError(f"--split {asked}: has no share for {split!r}; it makes {', '.join(parts)}")
        return choose_classes(parts[split], selection)  # the classes of the whole
    return choose_classes(place.open(split), selection, strict=split in ("train", "all"))


def open_all(place: Place, selection: Selection = _ALL) -> tuple[dict[str, DetectionData], list[str]]:
    """Every split that the data have, or that the selection makes; and the problems of those that cannot be read.

    Raises:
        InputError: No data set there, or a selection that does not fit.
    """
    opened: dict[str, DetectionData] = {}
    problems: list[str] = []
    try:
        opened |= place.divide(selection) if selection.divides else {}
    except DataError as error:
        problems += error.problems
    for split in ["test"] * place.has_test() if selection.divides else place.splits():
        try:
            opened[split] = place.open(split)
        except DataError as error:
            problems += error.problems
    chosen = {s: choose_classes(data, selection, strict=s in ("train", "all")) for s, data in opened.items()}
    return chosen, problems


def _of_one(splits: list[str]) -> str:
    """What can be done with data of a single split."""
    if len(splits) != 1:
        return ""
    return (
        f". `focalkit train` divides what is there with --split 80/10/10, `evaluate` takes it with --split {splits[0]}"
    )


def _how_to_give(form: str, split: str) -> str:
    ways = {
        "COCO": f"Add annotations/instances_{split}.json"
        + (f", or name a COCO file with --{split}-json" if split in ("train", "val") else ""),
        "Pascal VOC": f"Add ImageSets/Main/{split}.txt with one image name per line",
        "YOLO": f"Add '{split}: images/{split}' to the YAML file",
    }
    return ways.get(form, f"Add a folder called {split}")


def open_train_and_val(
    path: Path | str | None,
    *,
    train_json: Path | str | None = None,
    val_json: Path | str | None = None,
    images: Path | str | None = None,
    check: bool = True,
    repair: bool = False,
    selection: Selection = _ALL,
) -> tuple[DetectionData, DetectionData]:
    """Read both splits that training needs, and check that they belong together.

    Validation may lack classes of training; it then gets the same categories.

    Raises:
        InputError: A split is not there.
        DataError: All problems of both splits; the categories differ; both splits are the same file.
    """
    place = Place(path, train_json, val_json, images, check, repair)
    if selection.divides:
        parts = place.divide(selection)
        for part in ("train", "val"):
            if part not in parts:
                raise InputError(f"--split {selection.split}: makes {', '.join(parts)} and no {part}")
        train, val = parts["train"], replace(parts["val"], warnings=())  # train has those of the whole
    else:
        train, val = _own_train_and_val(place)
    problems, warnings = compare_splits(train, val)
    if problems:
        raise DataError(path or train_json, problems)
    if check and train.division is None and len(train) + len(val) <= MOST_COMPARED:
        warnings += copied_pictures(train, val)
    val = replace(with_classes_of(train, val), warnings=(*val.warnings, *warnings))
    return choose_classes(train, selection), choose_classes(val, selection)


def _own_train_and_val(place: Place) -> list[DetectionData]:
    """Both as the data have them; the problems of both at once."""
    opened: list[DetectionData] = []
    problems: list[str] = []
    for split in ("train", "val"):
        try:
            opened.append(place.open(split))
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(place.path or place.train_json, problems)
    return opened
