"""Finding out which format a data set has, by looking at it, and opening a split of it.

Does not read images or annotations itself: `coco`, `voc` and `yolo` each say what they recognise and read it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from focalkit.data import coco, voc, yolo
from focalkit.data._records import DetectionData
from focalkit.data._selection import Selection, choose_classes, divide
from focalkit.data._splits import canonical
from focalkit.errors import DataError, InputError

_ALL = Selection()
_FORMATS = {"COCO": coco, "Pascal VOC": voc, "YOLO": yolo}


@dataclass(frozen=True)
class Layout:
    """What lies at a path: the format's name and, per split, how to read it with (check, repair)."""

    format: str
    splits: Mapping[str, Callable[[bool, bool], DetectionData]]


def find_layout(path: Path | str) -> Layout:
    """The format and splits of the data set at `path`.

    Raises:
        InputError: Nothing or more than one format was recognised; says what was looked for and what was there.
    """
    path = Path(path)
    found = find_layouts(path)
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        what = "; ".join(f"{name} with the splits {', '.join(layout.splits)}" for name, layout in found.items())
        raise InputError(
            f"{path} looks like several data sets at once: {what}. Name one: a JSON file with --train-json / "
            "--val-json, a YAML file as the data path, or a folder that holds only one of them"
        )
    looked = "".join(f"\n  {reader.LOOKED_FOR}" for reader in _FORMATS.values())
    raise InputError(f"{path}: no data set was recognised. Looked for{looked}\nFound {_listing(path)}")


def find_layouts(path: Path) -> dict[str, Layout]:
    """Every format that is recognised at `path`, by name.

    Raises:
        InputError: There is nothing at `path`; several data sets of one format lie there.
    """
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder")
    found: dict[str, Layout] = {}
    for name, reader in _FORMATS.items():
        places = reader.find(path)
        if places:
            found[name] = Layout(name, {split: _opener(reader, split, where) for split, where in places.items()})
    return found


def _opener(reader, split: str, where) -> Callable[[bool, bool], DetectionData]:
    return lambda check, repair: reader.read(split, where, check=check, repair=repair)


def _listing(path: Path) -> str:
    if path.is_file():
        return f"a file of the kind {path.suffix or '(no suffix)'}"
    names = sorted(p.name + "/" * p.is_dir() for p in path.iterdir())
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return (", ".join(names[:12]) + more) or "nothing in it"


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
    """Read one split of a COCO, Pascal VOC or YOLO data set, and check it.

    Args:
        path: The folder, or its JSON or YAML file; may be None where the split's JSON file is given.
        split: "train", "val" or "test"; "all" for a file that names no split.
        train_json: COCO file of the split "train", instead of looking for one.
        val_json: COCO file of the split "val".
        images: The folder that file names in these JSON files are relative to.
        check: Open every image (its header) to see that it is there and has the size the annotations say.
        repair: Leave out boxes without area and clip boxes that reach out of their image, with counted warnings,
            instead of stopping.
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
    split = canonical(split)
    if selection.shares:
        whole = _whole_split(path, val_json)
        data = open_detection_data(path, whole, train_json=train_json, images=images, check=check, repair=repair)
        parts = divide(data, selection)
        if split not in parts:
            raise InputError(f"--split {selection.split}: has no share for {split!r}; it makes {', '.join(parts)}")
        return choose_classes(parts[split], selection)  # the classes of the whole
    if selection != _ALL:
        data = open_detection_data(
            path, split, train_json=train_json, val_json=val_json, images=images, check=check, repair=repair
        )
        return choose_classes(data, selection, strict=split in ("train", "all"))
    given = {"train": train_json, "val": val_json}.get(split)
    if given is not None:
        return coco.read(split, coco.files(Path(given), Path(images) if images else None), check=check, repair=repair)
    if path is None:
        raise InputError(f"no data for the split {split!r}: give the data folder (--data) or --{split}-json")
    layout = find_layout(path)
    if split not in layout.splits:
        raise InputError(
            f"{path}: a {layout.format} data set with the split{'s' * (len(layout.splits) > 1)} "
            f"{', '.join(layout.splits)}, but no {split!r}. {_how_to_give(layout.format, split)}"
            + (", or divide what is there with --split 80/10/10" if len(layout.splits) == 1 else "")
        )
    return layout.splits[split](check, repair)


def _whole_split(path: Path | str | None, val_json: Path | str | None) -> str:
    """The one split that --split divides: "all", or "train" where there is nothing else."""
    if path is None and val_json is None:
        return "train"
    splits = list(find_layout(path).splits) if path is not None else ["train"]
    if val_json is not None or len(splits) > 1:
        raise InputError(f"{path or val_json}: has splits already ({', '.join(splits)}); leave --split away")
    return splits[0]


def _how_to_give(form: str, split: str) -> str:
    ways = {
        "COCO": f"Add annotations/instances_{split}.json"
        + (f", or name a COCO file with --{split}-json" if split in ("train", "val") else ""),
        "Pascal VOC": f"Add ImageSets/Main/{split}.txt with one image name per line",
        "YOLO": f"Add '{split}: images/{split}' to the YAML file",
    }
    return ways[form]


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
    opened: list[DetectionData] = []
    problems: list[str] = []
    for split in ("train", "val"):
        try:
            data = open_detection_data(
                path, split, train_json=train_json, val_json=val_json, images=images, check=check, repair=repair,
                selection=Selection(selection.split, selection.seed),
            )  # fmt: skip
            opened.append(data)
        except DataError as error:
            problems += error.problems
    source = path or train_json
    if problems:
        raise DataError(source, problems)
    train, val = opened
    problems, warnings = compare_splits(train, val)
    if problems:
        raise DataError(source, problems)
    val = replace(with_classes_of(train, val), warnings=(*val.warnings, *warnings))
    return choose_classes(train, selection), choose_classes(val, selection)


def with_classes_of(train: DetectionData, val: DetectionData) -> DetectionData:
    """`val` with the classes of `train`, of which it has some."""
    label_of = {category: label for label, category in enumerate(train.categories)}
    new = [label_of[category] for category in val.categories]
    images = tuple(replace(image, labels=tuple(new[label] for label in image.labels)) for image in val.images)
    return replace(val, categories=train.categories, images=images)


def compare_splits(train: DetectionData, val: DetectionData) -> tuple[list[str], list[str]]:
    """What speaks against training on the one split and measuring on the other: (problems, warnings)."""
    problems: list[str] = []
    warnings: list[str] = []
    lacking = [c.name for c in train.categories if c not in val.categories]
    if set(val.categories) <= set(train.categories):
        more = f" and {len(lacking) - 1} more of {train.split}" if len(lacking) > 1 else ""
        warnings += [f"{val.split} has no class {name!r}{more}: nothing to measure there" for name in lacking[:1]]
    else:
        differ = sorted({(c.id, c.name) for c in train.categories} ^ {(c.id, c.name) for c in val.categories})
        more = f" and {len(differ) - 10} more" if len(differ) > 10 else ""
        listed = ", ".join(f"{key} {name!r}" for key, name in differ[:10])
        problems.append(f"the categories of {train.split} and {val.split} differ: {listed}{more}")
    seen = {image.path.absolute() for image in train.images}
    shared = [image for image in val.images if image.path.absolute() in seen]
    if shared and len(shared) == len(val.images):
        problems.append(f"every image of {val.split} is also in {train.split} ({train.source}, {val.source})")
        shared = []
    warnings += [f"{len(shared)} x {val.split} images are also in {train.split} (first: {i.path})" for i in shared[:1]]
    if not any(train.class_counts()):
        warnings.append(f"no image of {train.split} has a box: there is only background to learn from")
    if not any(val.class_counts()):
        warnings.append(f"no image of {val.split} has a box: there is no AP to compute")
    return problems, warnings
