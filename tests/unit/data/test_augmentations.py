"""Augmentations that take several images, rotate, or damage the picture: where the boxes are afterwards."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw

from focalkit.config import AugmentConfig
from focalkit.data import DetectionDataset, open_detection_data
from focalkit.data.copy_paste import Objects, paste
from focalkit.data.distortions import HIDDEN, distort, erase
from focalkit.data.mosaic import mixup, mosaic
from focalkit.data.transforms import Sample, affine
from unit.data.tiny_data import annotation, coco_content, write_coco

STILL = AugmentConfig(flip=0.0)


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def one_object(value: int, height: int = 40, width: int = 60, label: int = 0) -> Sample:
    """A bright rectangle on black."""
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    image[:, 10:30, 20:50] = value
    return Sample(image, torch.tensor([[20.0, 10, 50, 30]]), torch.tensor([label]), torch.zeros(0, 4))


def extent(mask: torch.Tensor) -> torch.Tensor:
    ys, xs = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
    return torch.tensor([xs[0], ys[0], xs[-1] + 1, ys[-1] + 1], dtype=torch.float32)


@pytest.mark.parametrize("seed", range(6))
def test_in_a_mosaic_every_box_is_on_its_object(seed: int) -> None:
    four = [one_object(value, label=i) for i, value in enumerate((80, 150, 200, 250))]
    made = mosaic(four, (40, 60), chance(seed))
    assert made.size == (80, 120)
    for box, label in zip(made.boxes, made.labels.tolist(), strict=True):
        assert (extent(made.image[0] == (80, 150, 200, 250)[label]) - box).abs().max() <= 1
    assert len(made.boxes) + len(made.ignore_boxes) <= 4
    assert len(made.boxes) >= 1


def test_a_mosaic_shows_no_object_that_is_neither_boxed_nor_ignored() -> None:
    """What is cut so that its centre is gone is a region to ignore."""
    for seed in range(30):
        made = mosaic([one_object(250, label=i) for i in range(4)], (40, 60), chance(seed))
        hidden = made.image[0] == 250
        for x0, y0, x1, y1 in torch.cat([made.boxes, made.ignore_boxes]).round().int().tolist():
            hidden[y0:y1, x0:x1] = False
        assert not hidden.any()


def test_a_mosaic_fits_pictures_of_other_sizes_into_its_quarters() -> None:
    made = mosaic([one_object(250, 40, 60), *(one_object(99, 400, 100) for _ in range(3))], (40, 60), chance(3))
    assert made.size == (80, 120)
    assert (made.boxes <= torch.tensor([120, 80, 120, 80])).all()


def test_mixup_has_the_boxes_of_both_and_the_mean_of_their_pixels() -> None:
    a, b = one_object(200), one_object(100, 50, 50, label=1)
    mixed = mixup(a, b)
    assert mixed.size == a.size
    assert mixed.labels.tolist() == [0, 1]
    assert mixed.boxes.tolist() == [[20, 10, 50, 30], [20, 10, 50, 30]]
    assert mixed.image[0, 15, 30] == 150
    assert mixed.image[0, 5, 55] == 57  # half of the grey that pads


def test_copy_paste_covers_no_box_and_brings_its_own() -> None:
    target, source = one_object(200, 80, 120), one_object(250, label=5)
    for seed in range(20):
        made = paste(target, source, 0, [], chance(seed))
        if len(made.boxes) == 1:
            continue  # no place
        box = made.boxes[1]
        assert made.labels.tolist() == [0, 5]
        assert (box[2:] - box[:2]).tolist() == [60, 40]  # twice: so is the short side of the picture
        assert (extent(made.image[0] == 250) - box).abs().max() <= 1
        assert torch.equal(made.image[:, 10:30, 20:50], target.image[:, 10:30, 20:50])
    assert len(paste(one_object(9, 30, 40), one_object(9, 30, 40), 0, [], chance()).boxes) == 1


def test_copy_paste_cuts_along_the_polygon_of_the_annotation(tmp_path: Path) -> None:
    content = coco_content()
    content["annotations"][0]["segmentation"] = [[5, 18, 10, 6, 15, 18]]  # a triangle over the box 5 6 10 12
    write_coco(tmp_path, content=content)
    objects = Objects.of(open_detection_data(tmp_path), 0.5)
    assert len(objects.images) == 2  # the crowd is none
    outlines = objects.polygons[1]
    target = Sample(
        torch.zeros(3, 30, 40, dtype=torch.uint8), torch.zeros(0, 4), torch.zeros(0).long(), torch.zeros(0, 4)
    )
    source = Sample(torch.full((3, 30, 40), 250, dtype=torch.uint8), torch.tensor([[5.0, 6, 15, 18]]),
                    torch.tensor([1]), torch.zeros(0, 4))  # fmt: skip
    made = paste(target, source, 0, outlines, chance())
    pasted = made.image[0] == 250
    assert 60 < int(pasted.sum()) < 90  # of 120: half, and the outline
    assert (extent(pasted) - made.boxes[0]).abs().max() <= 1


@pytest.mark.parametrize(("power", "share"), [(0.0, 0.9), (1.0, 0.5)])
def test_copy_paste_draws_classes_by_its_power(power: float, share: float, tmp_path: Path) -> None:
    boxes = [{"id": i, "image_id": 11, "category_id": 3 if i < 10 else 7, "bbox": [i, 3, 5, 5]} for i in range(1, 11)]
    objects = Objects.of(open_detection_data(write_coco(tmp_path, content=coco_content(annotations=boxes))), power)
    generator = chance()
    rows = [objects.draw(generator)[1] for _ in range(2000)]
    assert sum(row < 9 for row in rows) / 2000 == pytest.approx(share, abs=0.04)


@pytest.mark.parametrize("turned", [AugmentConfig(rotate=30), AugmentConfig(translate=0.2), AugmentConfig(shear=20)])
def test_an_affine_map_takes_the_box_along(turned: AugmentConfig) -> None:
    sample = one_object(250)
    for seed in range(10):
        moved = affine(sample, turned, chance(seed))
        assert moved.size == sample.size
        assert (extent(moved.image[0] > 200) - moved.boxes[0]).abs().max() <= 2
    assert affine(sample, STILL, chance()) is sample


@pytest.mark.parametrize("damage", [AugmentConfig(blur=1), AugmentConfig(noise=1), AugmentConfig(jpeg=1)])
@pytest.mark.parametrize("as_float", [False, True])
def test_damage_changes_the_picture_and_no_box(damage: AugmentConfig, as_float: bool) -> None:
    sample = one_object(180)
    if as_float:
        sample = Sample(sample.image / 255, sample.boxes, sample.labels, sample.ignore_boxes)
    worse = distort(sample, damage, chance(1))
    assert worse.boxes is sample.boxes
    assert worse.image.dtype == sample.image.dtype
    difference = (worse.image.float() - sample.image.float()).abs() * (255 if as_float else 1)
    assert 0.1 < difference.mean() < 25
    assert torch.equal(distort(sample, damage, chance(1)).image, worse.image)
    assert torch.equal(distort(sample, STILL, chance()).image, sample.image)


def test_erasing_what_all_but_hides_an_object_makes_it_a_region_to_ignore() -> None:
    small = torch.tensor([[x, y, x + 4.0, y + 4.0] for x in range(0, 60, 5) for y in range(0, 40, 5)])
    sample = Sample(torch.zeros(3, 40, 60, dtype=torch.uint8), small, torch.arange(len(small)), torch.zeros(0, 4))
    gone = 0
    for seed in range(10):
        made = erase(sample, AugmentConfig(erase=1), chance(seed))
        black = made.image.amax(0) == 0
        assert 0.01 < 1 - black.float().mean() < 0.21
        seen = [float(black[y : y + 4, x : x + 4].float().mean()) for x, y, *_ in made.boxes.int().tolist()]
        assert min(seen) > 1 - HIDDEN
        assert len(made.boxes) + len(made.ignore_boxes) == len(small)
        gone += len(made.ignore_boxes)
    assert gone > 20


def scenes(root: Path) -> Path:
    """Four images, each with one square of its own grey; the fourth is of a rare class."""
    images = [{"id": i, "file_name": f"{i}.png", "width": 64, "height": 48} for i in range(4)]
    boxes = [
        {"id": i + 1, "image_id": i, "category_id": 7 if i == 3 else 3, "bbox": [8 + 8 * i, 8, 16, 16]}
        for i in range(4)
    ]
    write_coco(root, content=coco_content(images=images, annotations=boxes))
    for i in range(4):
        picture = Image.new("RGB", (64, 48))
        ImageDraw.Draw(picture).rectangle((8 + 8 * i, 8, 23 + 8 * i, 23), fill=(100 + 50 * i,) * 3)
        picture.save(root / "images/train" / f"{i}.png")
    return root


ALL = AugmentConfig(
    scale=(0.5, 1.5), crop=0.3, color=0.2, rotate=5, translate=0.1, shear=2, blur=0.2, noise=0.2, jpeg=0.2, erase=0.3,
    mosaic=0.7, mixup=0.5, copy_paste=0.5, close_mosaic=2,
)  # fmt: skip


def test_a_sample_of_several_images_depends_on_seed_epoch_and_index_alone(tmp_path: Path) -> None:
    data = open_detection_data(scenes(tmp_path))
    a, b = (DetectionDataset(data, 48, 64, ALL, epochs=8) for _ in range(2))
    for epoch in (3, 0):
        a.set_epoch(epoch)
        b.set_epoch(epoch)
        backwards = [b[i] for i in (3, 2, 1, 0)][::-1]
        for i, (image, target) in enumerate(backwards):
            assert torch.equal(a[i][0], image)
            assert torch.equal(a[i][1].boxes, target.boxes)
            height, width = target.size
            assert (target.boxes <= torch.tensor([width, height, width, height])).all()
            assert (target.boxes[:, 2:] > target.boxes[:, :2]).all()


def test_the_last_epochs_show_one_image_alone(tmp_path: Path) -> None:
    several = AugmentConfig(flip=0, mosaic=1, mixup=1, copy_paste=1, close_mosaic=2)
    data = open_detection_data(scenes(tmp_path))
    dataset, plain = DetectionDataset(data, 48, 64, several, epochs=8), DetectionDataset(data, 48, 64)
    seen = []
    for epoch in range(8):
        dataset.set_epoch(epoch)
        seen.append(all(torch.equal(dataset[i][0], plain[i][0]) for i in range(4)))
    assert seen == [False] * 6 + [True] * 2
    short = DetectionDataset(data, 48, 64, AugmentConfig(flip=0, mosaic=1), epochs=2)  # at most half of the run
    assert not torch.equal(short[0][0], plain[0][0])


def test_a_mosaic_shows_objects_at_the_scale_that_an_image_has(tmp_path: Path) -> None:
    dataset = DetectionDataset(open_detection_data(scenes(tmp_path)), 48, 64, AugmentConfig(flip=0, mosaic=1))
    sides = []
    for epoch in range(10):
        dataset.set_epoch(epoch)
        image, target = dataset[0]
        assert tuple(image.shape) == (3, 48, 64)
        sides += [round(float(x)) for x in (target.boxes[:, 2:] - target.boxes[:, :2]).flatten()]
    assert max(sides) == 16
    assert sides.count(16) > len(sides) / 2


def test_polygons_of_other_annotations_are_not_taken(tmp_path: Path) -> None:
    content = coco_content()
    content["annotations"][0]["segmentation"] = [[25, 18, 30, 6, 35, 18]]
    write_coco(tmp_path, content=content)
    (tmp_path / "annotations/instances_train.json").write_text(json.dumps(content))
    assert Objects.of(open_detection_data(tmp_path), 0.5).polygons == {}


def test_polygons_are_found_whatever_the_reader_accepts(tmp_path: Path) -> None:
    square = [[5, 6, 15, 6, 15, 18, 5, 18]]
    rows = [annotation(id="1", segmentation=square), annotation(id="2", segmentation=[["a"] * 8])]
    rows[0]["note"] = "caf\u00e9"
    file = write_coco(tmp_path) / "annotations/instances_train.json"
    file.write_text(json.dumps(coco_content(annotations=rows), ensure_ascii=False), encoding="cp1252")
    assert list(Objects.of(open_detection_data(tmp_path), 0.5).polygons) == [1]


def test_another_formats_json_has_no_polygons(tmp_path: Path) -> None:
    data = open_detection_data(write_coco(tmp_path))
    (tmp_path / "samples.json").write_text('{"samples": []}')
    assert Objects.of(replace(data, source=tmp_path / "samples.json"), 0.5).polygons == {}


def test_polygons_are_read_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = coco_content(annotations=[annotation(segmentation=[[5, 6, 15, 6, 15, 18, 5, 18]])])
    data = open_detection_data(write_coco(tmp_path, content=content))

    def whole(text: str) -> None:
        raise AssertionError("the whole text is in memory")

    monkeypatch.setattr("json.loads", whole)
    monkeypatch.setattr("focalkit.data._coco_json._CHUNK", 64)
    (outlines,) = Objects.of(data, 0.5).polygons.values()
    assert outlines[0].tolist() == [[5, 6], [15, 6], [15, 18], [5, 18]]


def test_an_image_is_never_mixed_with_itself(tmp_path: Path) -> None:
    dataset = DetectionDataset(open_detection_data(scenes(tmp_path)), 48, 64, AugmentConfig(flip=0, mixup=1))
    partners = set()
    for epoch in range(30):
        dataset.set_epoch(epoch)
        partners.add(tuple(dataset[1][1].boxes[1].round().int().tolist()))
    assert partners == {(8 + 8 * i, 8, 24 + 8 * i, 24) for i in (0, 2, 3)}
