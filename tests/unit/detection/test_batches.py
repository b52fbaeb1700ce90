"""What is found on an image does not depend on the images that share its batch, whoever makes the batches."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from focalkit.config import ModelConfig
from focalkit.data import open_detection_data
from focalkit.detection import AugmentedDetector, DensePostprocess, Detector, TiledDetector, build_detector
from focalkit.evaluation import predict_split
from focalkit.evaluation.predict import split_loader
from focalkit.images import pad_batch, padded_size, same_size_batches, to_unit

SIZES = [(96, 96), (96, 57), (57, 96), (96, 61), (33, 96), (96, 64), (70, 96), (96, 90), (20, 96)]


def make_detector(**more):
    """Random weights, scores all over (0, 1), and norms whose shifts make padding something else than nothing."""
    torch.manual_seed(0)
    model = build_detector(ModelConfig("tiny", fpn_channels=16, head_channels=16, head_depth=1, prior_prob=0.1), 2)
    model.train()(torch.rand(4, 3, 64, 64))
    with torch.no_grad():
        model.head.class_output.weight.normal_(std=0.4)
        model.head.box_output.weight.normal_(std=0.1)
    return Detector(model.eval(), names=("a", "b"), **{"min_size": 96, "max_size": 96, "score_threshold": 0.2, **more})


@pytest.fixture(scope="module")
def detector():
    return make_detector()


@pytest.fixture(scope="module")
def images():
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8) for size in SIZES]


def assert_same(some, others):
    """Scores to 1e-5, boxes to 1e-5 of the image: convolutions of one image and of eight may round differently."""
    for one, other in zip(some, others, strict=True):
        assert torch.equal(one.labels, other.labels)
        torch.testing.assert_close(one.scores, other.scores, atol=1e-5, rtol=0)
        torch.testing.assert_close(one.boxes, other.boxes, atol=1e-5 * float(other.boxes.max()), rtol=0)


def test_padding_is_not_inert(detector, images):
    """Without which the other tests of this file would show nothing."""
    small, large = images[1], images[0]
    rules = DensePostprocess(score_threshold=0.2)
    with torch.no_grad():
        (alone,) = rules(detector.model(pad_batch([small], detector.fill)), [(96, 57)])
        beside, _ = rules(detector.model(pad_batch([small, large], detector.fill)), [(96, 57), (96, 96)])
    assert len(alone) > 10
    assert len(alone) != len(beside) or (alone.scores - beside.scores).abs().max() > 1e-3


@pytest.mark.parametrize("batch_size", [1, 8])
@pytest.mark.parametrize(
    "kind",
    [
        lambda detector: detector,
        lambda detector: AugmentedDetector(detector, (0.7, 1.0)),
        lambda detector: TiledDetector(detector, 48, 0.25),
    ],
    ids=["detector", "tta", "tiles"],
)
def test_an_image_has_the_same_detections_alone_and_among_others(detector, images, kind, batch_size):
    looking = kind(detector)
    alone = [looking.predict([image])[0] for image in images]
    assert min(map(len, alone)) > 0
    assert_same(looking.predict(images, batch_size=batch_size), alone)
    assert_same(looking.predict(images[::-1], batch_size=batch_size), alone[::-1])


def write_split(folder: Path, images) -> Path:
    """A COCO folder with one box per image."""
    (folder / "images" / "val").mkdir(parents=True)
    (folder / "annotations").mkdir()
    records, boxes = [], []
    for number, image in enumerate(images, 1):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / "images" / "val" / f"{number}.png")
        height, width = image.shape[1:]
        records.append({"id": number, "file_name": f"{number}.png", "width": width, "height": height})
        box = {"bbox": [2, 2, 9, 9], "area": 81, "iscrowd": 0, "id": number, "image_id": number, "category_id": 1}
        boxes.append(box)
    categories = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
    truth = {"images": records, "annotations": boxes, "categories": categories}
    (folder / "annotations" / "instances_val.json").write_text(json.dumps(truth))
    return folder


@pytest.mark.parametrize("batch_size", [1, 8])
def test_evaluation_finds_what_the_detector_finds(detector, images, tmp_path, batch_size):
    data = open_detection_data(write_split(tmp_path, images), "val")
    found = predict_split(detector, data, batch_size=batch_size)
    assert_same(found.values(), [detector.predict([image])[0] for image in images])


@pytest.mark.parametrize("world", [1, 2, 3])
def test_every_process_pads_an_image_as_far_as_it_is_padded_alone(detector, images, tmp_path, world):
    data = open_detection_data(write_split(tmp_path, images), "val")
    seen = []
    for rank in range(world):
        loader = split_loader(
            data, 96, 96, resize="focalkit", fill=detector.fill, batch_size=4, workers=0, pin=False, rank=rank,
            world=world,
        )  # fmt: skip
        for batch in loader:
            assert {padded_size(*target.size) for target in batch.targets} == {tuple(batch.images.shape[-2:])}
            seen += [target.image_id for target in batch.targets]
    assert sorted(seen) == [image.id for image in data.images]


def test_batches_of_one_size_are_as_large_as_they_may_be():
    sizes = [(64, 60), (96, 64), (50, 64), (64, 64), (33, 33)]
    assert same_size_batches(sizes, 2) == [[1], [0, 2], [3, 4]]
    assert same_size_batches(sizes, 8) == [[1], [0, 2, 3, 4]]
    assert same_size_batches([], 8) == []
    for rows in same_size_batches(sizes, 8):
        batch = pad_batch([to_unit(torch.zeros(3, *sizes[row])) for row in rows], [0.0, 0.0, 0.0])
        assert {padded_size(*sizes[row]) for row in rows} == {tuple(batch.shape[-2:])}


@pytest.mark.parametrize("batch_size", [1, 8])
def test_photographs_of_different_shapes_do_not_depend_on_each_other(shared, batch_size):
    by_shape = {}
    for path in sorted((shared / "data" / "coco_permissive158" / "val2017").glob("*.jpg")):
        with Image.open(path) as photo:
            by_shape.setdefault(photo.size, path)
    photos = list(by_shape.values())[:20]
    assert len(photos) == 20
    detector = make_detector(min_size=128, max_size=192)
    alone = [detector.predict(photo)[0] for photo in photos]
    assert sum(map(len, alone)) > 200
    assert_same(detector.predict(photos, batch_size=batch_size), alone)
