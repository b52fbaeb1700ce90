"""LVIS's average precision against the package of its authors."""

import json
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
    random = np.random.default_rng(0)
    known = [c["id"] for c in truth["categories"]]
    near = {i["id"]: [*i["neg_category_ids"], *i["not_exhaustive_category_ids"]] or known for i in truth["images"]}
    found = []
    for a in truth["annotations"]:
        for _ in range(int(random.integers(0, 3))):
            box = np.array(a["bbox"]) + random.normal(0, 0.12, 4) * (a["bbox"][2] + a["bbox"][3]) / 2
            right = random.random() < 0.8
            label = a["category_id"] if right else int(random.choice(near[a["image_id"]]))
            score = round(float(random.random() * 0.5 + 0.4 * right), 2)  # many equal ones
            found.append(
                {"image_id": a["image_id"], "category_id": label, "bbox": [*box[:2], *abs(box[2:])], "score": score}
            )
    for number, i in enumerate(truth["images"]):
        for _ in range(330 if number < 5 else 20):
            box = [float(v) for v in random.uniform(0, 200, 4)]
            label = int(random.choice(near[i["id"]]))
            found.append(
                {"image_id": i["id"], "category_id": label, "bbox": box, "score": float(random.random() * 0.5)}
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


def test_all_numbers_are_those_of_the_lvis_package(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = part_of(json.loads((shared / "data/coco_eval_conformance/lvis_val_100.json").read_text()))
    found, file = guesses(truth), tmp_path / "part.json"
    file.write_text(json.dumps(truth))
    monkeypatch.setattr(np, "float", float, raising=False)  # which the package takes from a numpy of before 1.24
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of matplotlib, which the package draws with, and of the package itself
        lvis = pytest.importorskip("lvis")
        peer = lvis.LVISEval(lvis.LVIS(str(file)), [dict(f) for f in found], "bbox")
        peer.run()
    metrics = lvis_ap(truth, found).metrics
    assert 0.05 < metrics["AP"] < 0.9
    assert metrics == pytest.approx({name: peer.results[theirs] for name, theirs in PEER.items()}, abs=1e-9)


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
