"""The ground truth of LVIS's numbers: a split, with what only its COCO file says of it.

That is how frequent each class is, and which classes each image was searched for.
"""

from typing import Any

from focalkit.data._records import DetectionData
from focalkit.data.check import Findings
from focalkit.data.coco import load_file
from focalkit.errors import InputError
from focalkit.metrics.lvis import group_of

OF_IMAGES = ("neg_category_ids", "not_exhaustive_category_ids")
OF_CLASSES = ("frequency", "image_count")


def lvis_truth(data: DetectionData) -> dict[str, Any]:
    """The split as `lvis_ap` takes it, with the classes of its file.

    Raises:
        InputError: It is of no COCO file, that does not say how frequent classes are, or classes were chosen or merged.
    """
    file = data.source
    content = load_file(file, Findings()) if file.suffix.lower() == ".json" else {}
    if not all(isinstance(content.get(key), list) for key in ("images", "annotations", "categories")):
        raise InputError(f"{file}: --lvis needs a COCO file whose categories say how frequent they are")
    known = {(category.id, category.name) for category in data.categories}
    classes = {int(entry["id"]): entry for entry in content["categories"]}
    if gone := [entry["name"] for i, entry in classes.items() if (i, str(entry["name"])) not in known]:
        raise InputError(
            f"{file}: --lvis judges the classes as the file has them, and not such as were chosen or merged;"
            f" {gone[0]!r} is not among those evaluated"
        )
    for entry in classes.values():
        group_of(entry)
    images = {int(entry["id"]): entry for entry in content["images"]}
    truth = data.to_coco()
    truth["categories"] = [
        {"id": i, "name": entry["name"]} | {key: entry[key] for key in OF_CLASSES if key in entry}
        for i, entry in classes.items()
    ]
    for image in truth["images"]:
        image |= {key: images[image["id"]][key] for key in OF_IMAGES if key in images[image["id"]]}
    return truth
