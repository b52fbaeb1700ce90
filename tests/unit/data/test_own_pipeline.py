"""Augmentations of the user's own, named by file and name."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from focalkit._config_io import load_config
from focalkit._runs import RunDir
from focalkit.config import AugmentConfig, TrainConfig
from focalkit.data import DetectionDataset, open_detection_data
from focalkit.data.own_pipeline import load_pipeline, run_pipeline
from focalkit.data.transforms import Sample
from focalkit.errors import ConfigError, InputError
from focalkit.training.continuing import compare_pipeline
from focalkit.training.record import run_record
from focalkit.training.resolve import resolve
from unit.data.tiny_data import write_coco, write_text

FLIP = """
import random
import numpy as np
import torch
from torchvision.transforms import v2

def pipeline(image, bboxes, labels):
    width = image.shape[1]
    assert image.dtype == np.uint8 and image.shape[2] == 3
    draws.append((random.random(), np.random.rand(), float(torch.rand(()))))
    bboxes = [(width - x1, y0, width - x0, y1) for x0, y0, x1, y1 in bboxes]
    return {"image": image[:, ::-1], "bboxes": bboxes, "labels": list(labels)}

def broken(image, bboxes, labels):
    return {"image": image, "bboxes": bboxes / 1000, "labels": labels[:0]}

def outside(image, bboxes, labels):
    return {"image": image, "bboxes": bboxes + 1000, "labels": labels}

draws = []
typed = v2.Compose([v2.RandomHorizontalFlip(1.0), v2.SanitizeBoundingBoxes()])
number = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_text(tmp_path / "my file.py", FLIP)


def sample() -> Sample:
    picture = torch.arange(3 * 8 * 10).to(torch.uint8).view(3, 8, 10)
    return Sample(picture, torch.tensor([[1.0, 2, 4, 5]]), torch.tensor([7]), torch.tensor([[0.0, 0, 2, 2]]))


@pytest.mark.parametrize("name", ["pipeline", "typed"])
def test_a_pipeline_moves_picture_boxes_and_regions_to_ignore(name: str, file: Path) -> None:
    made = run_pipeline(load_pipeline(f"{file}:{name}"), sample(), torch.Generator())
    assert torch.equal(made.image, sample().image.flip(2))
    assert made.boxes.tolist() == [[6, 2, 9, 5]]
    assert made.labels.tolist() == [7]
    assert made.ignore_boxes.tolist() == [[8, 0, 10, 2]]


def test_every_source_of_chance_is_set_and_put_back(file: Path) -> None:
    spec = f"{file}:pipeline"
    before = torch.get_rng_state()
    for seed in (1, 1, 2):
        run_pipeline(load_pipeline(spec), sample(), torch.Generator().manual_seed(seed))
    assert torch.equal(torch.get_rng_state(), before)
    draws = load_pipeline(spec).__globals__["draws"][-3:]  # type: ignore[attr-defined]
    assert draws[0] == draws[1]
    assert all(a != b for a, b in zip(draws[1], draws[2], strict=True))


@pytest.mark.parametrize(
    ("name", "says"), [("broken", "1 boxes|2 boxes and 0 labels"), ("outside", r"box \[1001.0, .*10x8 image")]
)
def test_what_a_pipeline_returns_is_checked(name: str, says: str, file: Path) -> None:
    with pytest.raises(InputError, match=says):
        run_pipeline(load_pipeline(f"{file}:{name}"), sample(), torch.Generator(), "my.py:broken")


@pytest.mark.parametrize("name", ["my.py", "{}:number", "{}:nothing", "no_such_module_of_mine:x", "é:x", "gone.py:x"])
def test_what_cannot_be_called_is_refused(name: str, file: Path) -> None:
    with pytest.raises(ConfigError, match="pipeline"):
        load_pipeline(name.format(file))


def test_training_images_go_through_it(file: Path, tmp_path: Path) -> None:
    data = open_detection_data(write_coco(tmp_path / "data"))
    config = AugmentConfig(flip=0, pipeline=f"{file}:pipeline")
    _, target = DetectionDataset(data, 30, 40, config)[0]
    assert target.boxes.tolist() == [[25, 6, 35, 18], [35.5, 2.5, 38.5, 6.5]]


def test_what_is_pasted_goes_through_the_pipeline(tmp_path: Path) -> None:
    root = write_coco(tmp_path)
    for colour, picture in zip(("red", "blue"), sorted((root / "images").rglob("*.png")), strict=False):
        with Image.open(picture) as old:
            size = old.size
        Image.new("RGB", size, colour).save(picture)
    code = "def grey(image, **rest):\n    image = image.copy()\n    image[...] = image.mean(2, keepdims=True)\n"
    file = write_text(tmp_path / "my.py", code + "    return {'image': image, **rest}\n")
    config = AugmentConfig(flip=0, copy_paste=1, pipeline=f"{file}:grey")
    dataset = DetectionDataset(open_detection_data(root), 30, 80, config)
    for index in range(len(dataset)):
        image, _ = dataset[index]
        assert torch.equal(image, image[:1].expand_as(image)), "all of it is grey"


@pytest.mark.parametrize("spec", ["my.py:pipeline", "../a b/my-own.py:pipeline", "C:/x/my.py:p", "my_package.mod:p"])
def test_a_file_of_settings_names_no_pipeline_without_trust(spec: str, tmp_path: Path) -> None:
    file = write_text(tmp_path / "run.toml", f"[augment]\npipeline = '{spec}'\n")
    with pytest.raises(ConfigError, match=r"without --trust"):
        load_config(file)
    assert load_config(file, trust=True).augment.pipeline == spec


def test_a_backbone_of_timm_is_no_code(tmp_path: Path) -> None:
    file = write_text(tmp_path / "run.toml", "[model]\nbackbone = 'timm:convnext_tiny'\n")
    assert load_config(file).model.backbone == "timm:convnext_tiny"


def test_a_relative_file_is_found_again_from_another_folder(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    config = TrainConfig(augment=AugmentConfig(pipeline=f"{file.name}:pipeline"))
    assert resolve(config).config.augment.pipeline == f"{file.resolve()}:pipeline"


def test_albumentations_as_its_documentation_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_ALBUMENTATIONS_UPDATE", "1")  # else it asks the network for a newer version
    albumentations = pytest.importorskip("albumentations")
    boxes = albumentations.BboxParams(format="pascal_voc", label_fields=["labels"])
    turned = albumentations.Compose([albumentations.HorizontalFlip(p=1), albumentations.GaussNoise(p=1)], boxes)
    made, again, other = (run_pipeline(turned, sample(), torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    torch.testing.assert_close(made.boxes, torch.tensor([[6.0, 2, 9, 5]]))
    assert made.labels.tolist() == [7]
    assert torch.equal(made.image, again.image)
    assert not torch.equal(made.image, other.image)


def test_an_edited_file_is_another_pipeline(tmp_path: Path) -> None:
    data = open_detection_data(write_coco(tmp_path / "data"))
    config = AugmentConfig(flip=0.0, crop=0.0, scale=(1.0, 1.0), color=0.0, pipeline=f"{tmp_path / 'grey.py'}:pipeline")
    grey = "def pipeline(image, bboxes, labels):\n    return dict(image=0 * image + {}, bboxes=bboxes, labels=labels)\n"

    def shade(dataset: DetectionDataset) -> int:
        return int(dataset[0][0].max())

    write_text(tmp_path / "grey.py", grey.format(7))
    first = DetectionDataset(data, 32, 48, config)
    assert shade(first) == 7
    write_text(tmp_path / "grey.py", grey.format(9))
    assert (shade(first), shade(DetectionDataset(data, 32, 48, config))) == (7, 9)  # it does not change under a run


def test_a_resumed_run_says_that_its_pipeline_has_changed(tmp_path: Path, file: Path) -> None:
    config, run = TrainConfig(augment=AugmentConfig(pipeline=f"{file}:pipeline")), RunDir(tmp_path / "run")
    data = open_detection_data(write_coco(tmp_path / "data"))
    run.write_run(run_record(config, data, data, command="", device="cpu"))
    assert compare_pipeline(run, config) == []
    write_text(file, "pipeline = print")
    assert "pipeline has changed since the run began" in compare_pipeline(run, config)[0]
