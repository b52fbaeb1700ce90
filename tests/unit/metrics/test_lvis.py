"""LVIS's average precision against the package of its authors."""

import json
import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from focalkit.errors import InputError
from focalkit.metrics import coco_ap, lvis_ap

SAME = ("AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf")
PEER = {**{name: name for name in SAME}, **{name: f"{name}@300" for name in ("AR", "ARs", "ARm", "ARl")}}


def guesses(truth: dict[str, Any]) -> list[dict[str, Any]]:
    """Boxes near the true ones, some of another class; and boxes anywhere, of any class, on some images over 300."""
    chance = np.random.default_rng(0)
    known = [c["id"] for c in truth["categories"]]
    near = {i["id"]: [*i["neg_category_ids"], *i["not_exhaustive_category_ids"]] or known for i in truth["images"]}
    found = []
    for a in truth["annotations"]:
        for _ in range(int(chance.integers(0, 3))):
            box = np.array(a["bbox"]) + chance.normal(0, 0.12, 4) * (a["bbox"][2] + a["bbox"][3]) / 2
            right = chance.random() < 0.8
            label = a["category_id"] if right else int(chance.choice(near[a["image_id"]]))
            score = round(float(chance.random() * 0.5 + 0.4 * right), 2)  # many equal ones
            found.append(
                {"image_id": a["image_id"], "category_id": label, "bbox": [*box[:2], *abs(box[2:])], "score": score}
            )
    for number, i in enumerate(truth["images"]):
        for _ in range(330 if number < 5 else 20):
            box = [float(v) for v in chance.uniform(0, 200, 4)]
            label = int(chance.choice(near[i["id"]]))
            found.append(
                {"image_id": i["id"], "category_id": label, "bbox": box, "score": float(chance.random() * 0.5)}
            )
    return found


def small() -> dict[str, Any]:
    """Two images: classes 5 (rare), 6 (common), 9 (frequent)."""
    return {
        "images": [
            {"id": 1, "neg_category_ids": [9], "not_exhaustive_category_ids": [6]},
            {"id": 2, "neg_category_ids": [], "not_exhaustive_category_ids": []},
        ],
        "categories": [
            {"id": 5, "name": "owl", "frequency": "r"},
            {"id": 6, "name": "dog", "frequency": "c"},
            {"id": 9, "name": "cat", "frequency": "f"},
        ],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 5, "bbox": [0, 0, 40, 40], "area": 1600},
            {"id": 2, "image_id": 1, "category_id": 6, "bbox": [50, 0, 40, 40], "area": 1600},
            {"id": 3, "image_id": 2, "category_id": 9, "bbox": [0, 0, 40, 40], "area": 1600},
        ],
    }


def at(image: int, label: int, x: float, score: float) -> dict[str, Any]:
    return {"image_id": image, "category_id": label, "bbox": [x, 0, 40, 40], "score": score}


RIGHT = [at(1, 5, 0, 0.5), at(1, 6, 50, 0.5), at(2, 9, 0, 0.5)]


@pytest.mark.parametrize(
    ("wrong", "ap"),
    [
        (at(1, 9, 0, 0.9), {"APf": 0.5}),  # known to be absent: a false positive
        (at(2, 5, 0, 0.9), {}),  # nobody looked for it there
        (at(1, 6, 200, 0.9), {}),  # not all of them are marked there
        (at(2, 9, 200, 0.9), {"APf": 0.5}),  # the class is there, the box is wrong
    ],
)
def test_what_a_federated_image_holds_against_a_detection(wrong: dict[str, Any], ap: dict[str, float]) -> None:
    metrics = lvis_ap(small(), [*RIGHT, wrong]).metrics
    expected = {"APr": 1.0, "APc": 1.0, "APf": 1.0} | ap
    assert {name: metrics[name] for name in expected} == pytest.approx(expected, abs=0.006)


FIGURES = {
    "AP": 0.191738281, "AP50": 0.375045219, "AP75": 0.162943822, "APs": 0.043481848, "APm": 0.242465271,
    "APl": 0.467665017, "APr": 0.240012858, "APc": 0.170651362, "APf": 0.188687911,
    "AR": 0.414412698, "ARs": 0.054166667, "ARm": 0.459714286, "ARl": 0.6375,
}  # fmt: skip
"""What lvis 0.5.3, the package of LVIS's authors, gives for `invented()`. No extra of focalkit installs it, because it
requires opencv-python, whose files are those of the opencv-python-headless of albumentations."""


def invented() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """12 images of 5 classes, and boxes near the true ones, of wrong classes and anywhere."""
    uniform = random.Random(0).random  # whose numbers never change

    def whole(least: int, most: int) -> int:
        return least + int((most - least) * uniform())

    classes = [{"id": 3 * k + 2, "name": f"class {k}", "frequency": "rccff"[k]} for k in range(5)]
    ids = [entry["id"] for entry in classes]
    images, boxes, found = [], [], []
    for image in range(1, 13):
        shown = sorted({ids[whole(0, 5)] for _ in range(2)})
        absent = [label for label in ids if label not in shown and uniform() < 0.4]
        images.append({"id": image, "neg_category_ids": absent, "not_exhaustive_category_ids": shown[: whole(0, 2)]})
        for label in [label for label in shown for _ in range(whole(1, 3))]:
            x, y, w, h = whole(0, 200), whole(0, 200), whole(10, 130), whole(10, 130)
            row = {"image_id": image, "category_id": label}
            boxes.append(row | {"id": len(boxes) + 1, "bbox": [x, y, w, h], "area": w * h})
            for said in (label, label, ids[whole(0, 5)])[: whole(0, 4)]:
                moved = [x + whole(-8, 8), y + whole(-8, 8), w + whole(-4, 8), h + whole(-4, 8)]
                found.append(row | {"category_id": said, "bbox": moved, "score": whole(1, 20) / 20})
        for said in ids:
            place = [whole(0, 200), whole(0, 200), whole(10, 130), whole(10, 130)]
            found.append({"image_id": image, "category_id": said, "bbox": place, "score": whole(1, 20) / 20})
    return {"images": images, "categories": classes, "annotations": boxes}, found


def of_the_package(truth: dict[str, Any], found: list[dict[str, Any]], file: Path) -> dict[str, float]:
    """What the package of LVIS's authors says, by our names."""
    file.write_text(json.dumps(truth))
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setattr(np, "float", float, raising=False)  # which the package takes from a numpy of before 1.24
        warnings.simplefilter("ignore")  # of matplotlib, which the package draws with, and of the package itself
        lvis = pytest.importorskip("lvis")
        peer = lvis.LVISEval(lvis.LVIS(str(file)), [dict(f) for f in found], "bbox")
        peer.run()
    return {name: peer.results[theirs] for name, theirs in PEER.items()}


def test_all_numbers_are_those_that_the_lvis_package_gave() -> None:
    assert lvis_ap(*invented()).metrics == pytest.approx(FIGURES, abs=1e-8)


def test_the_lvis_package_still_says_so(tmp_path: Path) -> None:
    assert of_the_package(*invented(), tmp_path / "truth.json") == pytest.approx(FIGURES, abs=1e-8)


def test_all_numbers_are_those_of_the_lvis_package(shared: Path, tmp_path: Path) -> None:
    truth = part_of(json.loads((shared / "data/coco_eval_conformance/lvis_val_100.json").read_text()))
    found = guesses(truth)
    metrics = lvis_ap(truth, found).metrics
    assert 0.05 < metrics["AP"] < 0.9
    assert metrics == pytest.approx(of_the_package(truth, found, tmp_path / "part.json"), abs=1e-9)


def part_of(truth: dict[str, Any], images: int = 30) -> dict[str, Any]:
    """Some of the images, and the classes that they show or were searched for: the package visits every pair."""
    kept = truth["images"][:images]
    known = {image["id"] for image in kept}
    annotations = [a for a in truth["annotations"] if a["image_id"] in known]
    used = {a["category_id"] for a in annotations}
    used |= {c for image in kept for name in ("neg", "not_exhaustive") for c in image[f"{name}_category_ids"]}
    categories = [c for c in truth["categories"] if c["id"] in used]
    return {"images": kept, "annotations": annotations, "categories": categories}


def test_where_no_image_says_what_it_was_searched_for_it_is_cocos_ap() -> None:
    truth = small()
    for image in truth["images"]:
        del image["neg_category_ids"], image["not_exhaustive_category_ids"]
    found = [*RIGHT, at(2, 5, 0, 0.9), at(1, 6, 200, 0.9)]
    ours, cocos = lvis_ap(truth, found), coco_ap(truth, found)
    assert {n: ours.metrics[n] for n in ("AP", "AP50", "APm")} == {n: cocos.metrics[n] for n in ("AP", "AP50", "APm")}
    assert ours.per_class["owl"]["AP"] == cocos.per_class["owl"]["AP"]


def test_classes_are_grouped_by_the_training_images_that_show_them() -> None:
    truth = small()
    for category, count in zip(truth["categories"], (10, 11, 101), strict=True):
        category.pop("frequency")
        category["image_count"] = count
    assert [row["frequency"] for row in lvis_ap(truth, RIGHT).per_class.values()] == ["r", "c", "f"]
    del truth["categories"][1]["image_count"]
    with pytest.raises(InputError, match="'dog' does not say how frequent it is"):
        lvis_ap(truth, RIGHT)
    truth = small()
    truth["images"][0]["neg_category_ids"] = [77]
    with pytest.raises(InputError, match="neg_category_ids has 77"):
        lvis_ap(truth, RIGHT)
