"""Whether two splits of a data set belong together: classes, images, and copies of pictures in both."""

from collections.abc import Sequence
from dataclasses import replace

from focalkit.data._records import DetectionData, ImageRecord
from focalkit.data.copies import copies


def copied_pictures(train: DetectionData, other: DetectionData) -> list[str]:
    """A warning where pictures of the one split lie under another name in the other."""
    paths = list(dict.fromkeys(image.path.absolute() for image in (*train.images, *other.images)))
    trained = {image.path.absolute() for image in train.images}
    found = [
        (paths[place], next(paths[same] for same in places if paths[same] in trained))
        for places in copies(paths)
        if any(paths[place] in trained for place in places)
        for place in places
        if paths[place] not in trained
    ]
    what = f"{len(found)} x {other.split} images are copies of {train.split} images"
    return [f"{what} (first: {one} = {original})" for one, original in found[:1]]


def content_ids(images: Sequence[ImageRecord]) -> list[int]:
    """A number for every image, the same for those whose files are the same or have the same content."""
    found = list(range(len(images)))
    for places in copies([image.path for image in images]):
        for place in places:
            found[place] = places[0]
    return found


def with_classes_of(train: DetectionData, val: DetectionData) -> DetectionData:
    """`val` with the classes of `train`, of which it has some."""
    if val.categories == train.categories:
        return val
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
    if train.division is None and any(train.class_counts()):  # a made split says so itself
        learnt = dict(zip(train.categories, train.class_counts(), strict=True))
        unseen = [c.name for c, n in zip(val.categories, val.class_counts(), strict=True) if n and learnt.get(c) == 0]
        more = f" and {len(unseen) - 1} more" if len(unseen) > 1 else ""
        warnings += [f"no box of {train.split} is of the class {name!r}{more} of {val.split}" for name in unseen[:1]]
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
