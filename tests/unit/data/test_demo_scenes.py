"""The built-in demo scenes."""

import json
from pathlib import Path

import numpy as np
import pytest

from focalkit.data import open_train_and_val, write_demo_scenes
from focalkit.data.demo import _handwriting, class_quota
from focalkit.errors import InputError


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo_scenes(tmp_path_factory.mktemp("scenes"), train=40, val=10)


def test_scenes_are_a_coco_data_set_without_a_problem_or_warning(scenes: Path) -> None:
    train, val = open_train_and_val(scenes)
    assert (len(train), len(val)) == (40, 10)
    assert train.names == tuple(f"digit {d}" for d in range(10))
    assert train.warnings == val.warnings == ()
    assert {(i.width, i.height) for i in train.images} == {(256, 256)}


def test_a_tenth_of_the_images_is_empty(scenes: Path) -> None:
    train, val = open_train_and_val(scenes)
    assert [sum(not i.boxes for i in d.images) for d in (train, val)] == [4, 1]


def test_box_heights_are_those_of_the_digits(scenes: Path) -> None:
    train, _ = open_train_and_val(scenes)
    heights = [y1 - y0 for i in train.images for _, y0, _, y1 in i.boxes]
    assert min(heights) >= 12
    assert min(heights) < 24
    assert max(heights) > 64


def test_boxes_of_an_image_do_not_overlap_much(scenes: Path) -> None:
    torch = pytest.importorskip("torch")
    from torchvision.ops import box_iou

    for image in open_train_and_val(scenes)[0].images:
        overlap = box_iou(*[torch.tensor(image.boxes).reshape(-1, 4)] * 2).fill_diagonal_(0)
        assert overlap.numel() == 0 or overlap.max() < 0.3


def test_the_same_seed_gives_the_same_scenes_and_another_seed_others(tmp_path: Path) -> None:
    a, b, c = (write_demo_scenes(tmp_path / n, train=2, val=1, seed=s) for n, s in (("a", 0), ("b", 0), ("c", 1)))
    for file in sorted(p.relative_to(a) for p in a.rglob("*.*")):
        assert (a / file).read_bytes() == (b / file).read_bytes()
        assert (a / file).read_bytes() != (c / file).read_bytes()


def test_class_quotas_decline_geometrically() -> None:
    quota = class_quota(1500, 10, 50)
    assert quota[0] / quota[-1] == pytest.approx(50, rel=0.1)
    assert abs(sum(quota) - 1500) <= 10
    ratios = np.array(quota[:-1]) / np.array(quota[1:])
    assert ratios == pytest.approx(50 ** (1 / 9), rel=0.1)
    assert class_quota(10, 1, 50) == [10]


def test_frequencies_on_disk_have_the_imbalance_asked_for(tmp_path: Path) -> None:
    out = write_demo_scenes(tmp_path, train=60, val=1, size=96, classes=3, imbalance=9)
    annotations = json.loads((out / "annotations/instances_train.json").read_text())["annotations"]
    counts = np.bincount([a["category_id"] for a in annotations])[1:]
    assert counts[0] / counts[2] == pytest.approx(9, rel=0.15)


def test_train_and_val_use_different_handwriting() -> None:
    train, val = _handwriting(0, 10)
    for a, b in zip(train, val, strict=True):
        assert len(a) > 2 * len(b) > 60
        assert not {x.tobytes() for x in a} & {x.tobytes() for x in b}


@pytest.mark.parametrize("wrong", [{"size": 50}, {"classes": 11}, {"imbalance": 0.5}, {"train": 0}])
def test_impossible_arguments_are_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(wrong))}={next(iter(wrong.values()))}"):
        write_demo_scenes(tmp_path, **wrong)
    assert not list(tmp_path.iterdir())
