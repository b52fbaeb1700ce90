"""A real COCO-trained GFL detector behind our decoding gives the detections and the AP recorded for it.

The recorded ones were made by running the same weights elsewhere: PIL's bilinear resize to a long side of 320 or 416,
black borders that centre the image on a multiple of 32, scores above .05, NMS at .6, 100 per image.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from focalkit.detection import DensePostprocess, read_image
from focalkit.detection.boxes.points import DistributionCoder
from focalkit.metrics import coco_ap
from reference.nanodet import NanoDet

RULES = DensePostprocess(DistributionCoder(bins=8), score_threshold=0.05, iou_threshold=0.6, max_detections=100)
MODELS = {320: "nanodet-m", 416: "nanodet-m-416"}


@pytest.fixture(scope="module")
def files(shared):
    weights, images = shared / "data/weights_nanodet_m", shared / "data/coco_permissive158"
    if not weights.is_dir() or not images.is_dir():
        pytest.skip("needs data/weights_nanodet_m and data/coco_permissive158 of the shared data")
    return weights, images


def recorded(weights, side):
    return json.loads((weights / f"detections_nanodet-m_{side}_cocoval66.json").read_text())


def detect(model, path, side):
    image = read_image(path)
    height, width = image.shape[1:]
    size = tuple(round(length * side / max(height, width)) for length in (height, width))
    small = Image.fromarray(image.permute(1, 2, 0).numpy()).resize(size[::-1], Image.Resampling.BILINEAR)
    top, left = (((-length) % 32) // 2 for length in size)
    batch = torch.zeros(1, 3, *(-(-length // 32) * 32 for length in size))
    batch[0, :, top : top + size[0], left : left + size[1]] = torch.from_numpy(np.array(small)).permute(2, 0, 1) / 255
    with torch.no_grad():
        outputs = model(batch)
    # the priors move and not the boxes, so that boxes are clipped at the border of the image
    shift = torch.tensor([left, top, left, top])
    outputs = replace(outputs, priors=tuple(level - shift for level in outputs.priors))
    return RULES(outputs, [size])[0].rescale(size, (height, width))


def run(files, side, count):
    weights, images = files
    truth = json.loads((images / "annotations/instances_val2017.json").read_text())
    ids = sorted(category["id"] for category in truth["categories"])
    model = NanoDet(weights / f"{MODELS[side]}.param")
    found = []
    for image in truth["images"][:count]:
        found += detect(model, images / "val2017" / image["file_name"], side).to_coco(image["id"], ids)
    return truth, found


def assert_same(found, expected):
    """The same list in the same order, to the decimals that were recorded."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert (one["image_id"], one["category_id"]) == (other["image_id"], other["category_id"])
        assert one["score"] == pytest.approx(other["score"], abs=1e-5)
        assert one["bbox"] == pytest.approx(other["bbox"], abs=0.01)


@pytest.mark.parametrize("side", [320, 416])
def test_a_real_gfl_detector_decoded_here_gives_its_recorded_detections(files, side):
    truth, found = run(files, side, 4)
    first = {image["id"] for image in truth["images"][:4]}
    assert_same(found, [d for d in recorded(files[0], side) if d["image_id"] in first])


@pytest.mark.slow
@pytest.mark.parametrize("side", [320, 416])
def test_its_ap_on_all_66_images_is_the_recorded_one(files, side):
    truth, found = run(files, side, None)
    assert_same(found, recorded(files[0], side))
    expected = json.loads((files[0] / "expected.json").read_text())[f"nanodet_m_{side}_cocoval66_bbox"]
    assert list(coco_ap(truth, found).metrics.values()) == pytest.approx(expected, abs=3e-3)
    # one box crosses an IoU threshold when it is rounded to the recorded decimals, which moves the AP by 3e-4
    written = [d | {"bbox": [round(x, 2) for x in d["bbox"]], "score": round(d["score"], 5)} for d in found]
    assert list(coco_ap(truth, written).metrics.values()) == pytest.approx(expected, abs=1e-9)
