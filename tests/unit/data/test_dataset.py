"""Samples and batches: what the network is given."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from focalkit.config import AugmentConfig
from focalkit.data import DetectionDataset, collate, open_detection_data
from focalkit.detection import DetectionTarget
from focalkit.errors import InputError
from unit.data.tiny_data import annotation, coco_content, save_image, write_coco, write_text

EVERYTHING = AugmentConfig(flip=0.5, scale=(0.5, 1.5), crop=0.7, color=0.4)


def dataset(root: Path, augment: AugmentConfig | None = None, seed: int = 0) -> DetectionDataset:
    return DetectionDataset(open_detection_data(write_coco(root)), 60, 100, augment, seed=seed)


def same(a: tuple[torch.Tensor, DetectionTarget], b: tuple[torch.Tensor, DetectionTarget]) -> bool:
    return a[0].shape == b[0].shape and bool((a[0] == b[0]).all()) and torch.equal(a[1].boxes, b[1].boxes)


def test_images_are_resized_with_their_ratio_and_boxes_with_them(tmp_path: Path) -> None:
    image, target = dataset(tmp_path)[0]
    assert image.shape == (3, 60, 80)
    assert image.dtype == torch.uint8
    assert target.boxes.tolist() == [[10, 12, 30, 36], [3, 5, 9, 13]]
    assert target.boxes.dtype == torch.float32
    assert target.labels.tolist() == [1, 0]
    assert target.labels.dtype == torch.int64
    assert target.ignore_boxes.tolist() == [[0, 0, 80, 60]]
    assert (target.image_id, target.size, target.original_size) == (11, (60, 80), (30, 40))


def test_an_image_without_boxes_gives_empty_tensors(tmp_path: Path) -> None:
    _, target = dataset(tmp_path)[1]
    assert target.boxes.shape == (0, 4)
    assert target.labels.shape == (0,)
    assert type(target.boxes) is torch.Tensor


def test_batches_are_padded_with_the_fill_to_a_multiple(tmp_path: Path) -> None:
    data = dataset(tmp_path)
    with Image.open(tmp_path / "images/train/a.png") as picture:
        colour = picture.getpixel((20, 15))  # it has one
    batch = collate((0.25, 0.5, 0.75), 64)([data[0], data[1]])
    assert batch.images.shape == (2, 3, 64, 128)
    assert batch.images[0, :, 63, 127].tolist() == [0.25, 0.5, 0.75]
    assert batch.images[0, :, 59, 79].mul(255).round().tolist() == list(colour)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert [t.image_id for t in batch.targets] == [11, 12]
    moved = batch.to("meta")
    assert moved.images.device.type == moved.targets[0].boxes.device.type == "meta"
    assert len(moved) == 2


def test_collate_can_be_pickled() -> None:
    made = collate((0.1, 0.2, 0.3), 16)
    assert pickle.loads(pickle.dumps(made)) == made


def test_a_sample_depends_on_seed_epoch_and_index_alone(tmp_path: Path) -> None:
    a, b = dataset(tmp_path, EVERYTHING), dataset(tmp_path, EVERYTHING)
    first = a[0]
    torch.manual_seed(1)
    assert same(first, a[0])
    assert same(first, b[0])
    a.set_epoch(1)
    assert not same(first, a[0])
    a.set_epoch(0)
    assert same(first, a[0])
    assert not same(first, dataset(tmp_path, EVERYTHING, seed=1)[0])


def test_the_epoch_reaches_workers_that_are_already_running(tmp_path: Path) -> None:
    data = dataset(tmp_path, EVERYTHING)
    loader = DataLoader(data, 1, num_workers=1, persistent_workers=True, collate_fn=list)
    for epoch in (0, 3):
        data.set_epoch(epoch)
        here = [data[i] for i in range(2)]
        there = [batch[0] for batch in loader]
        assert all(same(a, b) for a, b in zip(here, there, strict=True))


def test_boxes_stay_on_their_objects_through_every_augmentation(tmp_path: Path) -> None:
    """White rectangles on black: wherever the picture goes, its box must enclose it to within a pixel."""
    images = [{"id": 11, "file_name": "a.png", "width": 120, "height": 90}]
    content = coco_content(images=images, annotations=[annotation(bbox=[30, 20, 40, 50])])
    write_coco(tmp_path, content=content)
    picture = Image.new("RGB", (120, 90))
    picture.paste((255, 255, 255), (30, 20, 70, 70))
    picture.save(tmp_path / "images/train/a.png")
    augment = AugmentConfig(flip=0.5, scale=(0.5, 1.5), crop=0.7)
    data = DetectionDataset(open_detection_data(tmp_path), 90, 120, augment)
    sizes, sides = set(), set()
    for epoch in range(60):
        data.set_epoch(epoch)
        image, target = data[0]
        assert len(target.boxes) == 1
        bright = image[0] > 127
        ys, xs = bright.any(1).nonzero().flatten(), bright.any(0).nonzero().flatten()
        seen = torch.tensor([xs[0], ys[0], xs[-1] + 1, ys[-1] + 1])
        assert (seen - target.boxes[0]).abs().max() <= 1
        assert target.size == tuple(image.shape[1:])
        sizes.add(target.size)
        sides.add(bool((xs[0] + xs[-1]) * 2 < 2 * image.shape[2]))
    assert len(sizes) > 20
    assert sides == {True, False}


def test_no_augmentation_leaves_the_picture_as_evaluation_sees_it(tmp_path: Path) -> None:
    plain, still = dataset(tmp_path)[0], dataset(tmp_path, AugmentConfig(flip=0))[0]
    assert same(plain, still)


def test_an_image_of_another_size_than_its_record_is_an_error_that_names_it(tmp_path: Path) -> None:
    data = dataset(tmp_path)
    save_image(tmp_path / "images/train/a.png", 41, 30)
    with pytest.raises(InputError, match=r"a\.png: image 11 is 41x30 .* the annotations say 40x30"):
        data[0]


def test_real_data_goes_through_every_augmentation(shared: Path) -> None:
    data = open_detection_data(shared / "data/coco_permissive158", "val", check=False)
    augmented = DetectionDataset(data, 128, 160, EVERYTHING)
    kept = 0
    for index in range(len(augmented)):
        _, target = augmented[index]
        height, width = target.size
        for boxes in (target.boxes, target.ignore_boxes):
            assert (boxes[:, 2:] > boxes[:, :2]).all()
            assert (boxes >= 0).all()
            assert (boxes <= torch.tensor([width, height, width, height])).all()
        kept += bool(len(target.boxes))
    assert kept == sum(any(not c for c in image.crowd) for image in data.images)


def test_samples_are_the_same_whatever_the_format(tmp_path: Path) -> None:
    write_coco(tmp_path / "coco")
    content = json.loads((tmp_path / "coco/annotations/instances_train.json").read_text())
    row = "{} {} {} {} {}\n"
    for image in content["images"]:
        save_image(tmp_path / "yolo/images" / image["file_name"])
        lines = ""
        for a in content["annotations"]:
            x, y, w, h = a["bbox"]
            if a["image_id"] == image["id"] and not a.get("iscrowd"):
                label = int(a["category_id"] == 7)
                lines += row.format(label, (x + w / 2) / 40, (y + h / 2) / 30, w / 40, h / 30)
        write_text(tmp_path / "yolo/labels" / image["file_name"].replace("png", "txt"), lines)
    write_text(tmp_path / "yolo/data.yaml", "train: images\nnames: [cat, dog]\n")
    for i in range(2):
        (_, a), (_, b) = (DetectionDataset(open_detection_data(tmp_path / d), 60, 100)[i] for d in ("coco", "yolo"))
        torch.testing.assert_close(a.boxes, b.boxes)
        assert a.labels.tolist() == b.labels.tolist()
