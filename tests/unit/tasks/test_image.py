"""The task of images on pictures made here: squares of one colour per class, a few of them rare."""

import io
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from focalkit.compare import compare
from focalkit.compare.methods import METHODS
from focalkit.errors import DataError, InputError
from focalkit.tasks import Budget, Source, find_task
from focalkit.tasks.image import TASK, Images, _read
from focalkit.tasks.image._network import build_network
from focalkit.tasks.image._read import _LAST
from focalkit.tasks.image._split import long_tail
from focalkit.tasks.image._train import _augmented, _schedule

COLOURS = {"blue": (20, 30, 220), "green": (20, 200, 40), "red": (220, 20, 30)}


def picture(colour, seed, side=16):
    noise = np.random.default_rng(seed).integers(-20, 21, (side, side, 3))
    return np.clip(np.asarray(colour) + noise, 0, 255).astype(np.uint8)


@pytest.fixture
def folders(tmp_path):
    for c, (name, colour) in enumerate(COLOURS.items()):
        for i in range((24, 12, 6)[c]):
            place = tmp_path / "data" / name
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture(colour, 100 * c + i)).save(place / f"{i}.png")
    return tmp_path / "data"


@pytest.fixture
def arrays(tmp_path):
    """train.npz with 60, 30, 12 images, test.npz with 10 of each."""
    for part, counts in (("train", (60, 30, 12)), ("test", (10, 10, 10))):
        images = [picture(c, 7 * i + k) for k, c in enumerate(COLOURS.values()) for i in range(counts[k])]
        labels = np.repeat(np.arange(3), counts)
        np.savez(tmp_path / f"{part}.npz", images=np.stack(images), labels=labels, classes=list(COLOURS))
    return tmp_path


def test_a_folder_of_folders_is_images_and_a_folder_of_files_is_not(folders, tmp_path):
    assert find_task(folders) == "image"
    assert not TASK.recognises(folders / "red")


@pytest.mark.parametrize(
    "names", [("JPEGImages", "SegmentationClass", "SegmentationObject"), ("images", "masks"), ("Images", "Labels")]
)
def test_pictures_beside_masks_of_their_pixels_are_no_two_classes(tmp_path, names):
    for name in names:
        (tmp_path / name).mkdir()
        Image.fromarray(picture((9, 9, 9), 0)).save(tmp_path / name / "1.png")
    assert not TASK.recognises(tmp_path)
    with pytest.raises(InputError, match="a folder of images for each class"):
        TASK.read(Source(tmp_path), 0)


def test_pascal_voc_with_its_masks_is_for_detection(tmp_path):
    for name in ("JPEGImages", "SegmentationClass", "Annotations"):
        (tmp_path / name).mkdir()
    Image.fromarray(picture((9, 9, 9), 0)).save(tmp_path / "JPEGImages" / "1.png")
    Image.fromarray(picture((9, 9, 9), 0)).save(tmp_path / "SegmentationClass" / "1.png")
    (tmp_path / "Annotations" / "1.xml").write_text("<annotation><filename>1.png</filename></annotation>")
    assert find_task(tmp_path) == "detection"


def test_classes_may_have_the_name_of_masks(tmp_path):
    for name in ("mask", "no mask"):
        (tmp_path / name).mkdir()
        Image.fromarray(picture((9, 9, 9), 0)).save(tmp_path / name / "1.png")
    assert find_task(tmp_path) == "image"


def test_folders_are_split_by_class_and_no_copy_of_an_image_is_in_two_parts(folders):
    Image.open(folders / "red" / "0.png").save(folders / "red" / "again.png")
    splits = Images(size=16).read(Source(folders), 0)
    assert splits.classes == ("blue", "green", "red")
    assert sum(splits.sizes.values()) == 43
    of = {i: part for part in ("train", "val", "test") for i in getattr(splits, part).ids.tolist()}
    assert of["red/0.png"] == of["red/again.png"]
    assert all(len(np.unique(getattr(splits, part).labels)) == 3 for part in ("train", "val", "test"))


def test_an_image_file_is_decoded_once_for_a_comparison(folders, tmp_path, monkeypatch):
    from focalkit import images

    opened, read = Counter(), images.read_image
    monkeypatch.setattr("focalkit.images.read_image", lambda path: opened.update([path]) or read(path))
    # planning, inspecting and the cells of two seeds ask for the images; another process finds them in the cache
    compare(folders, ["ce"], out=tmp_path / "out", seeds=2, budget=Budget(steps=1))
    _LAST.clear()
    TASK.read(Source(folders, cache=tmp_path / "out" / "cache"), 0)
    assert len(opened) == 42
    assert set(opened.values()) == {1}


def test_images_of_npz_files_are_decoded_once_for_a_comparison(arrays, tmp_path, monkeypatch):
    encoded, decode = [], _read._decode_all
    for part in ("train", "test"):
        with np.load(arrays / f"{part}.npz") as archive:
            images, labels = archive["images"], archive["labels"]
        files = [io.BytesIO() for _ in images]
        for image, file in zip(images, files, strict=True):
            Image.fromarray(image).save(file, "png")
        raw = [file.getvalue() for file in files]
        offsets = np.cumsum([0, *map(len, raw)])
        np.savez(arrays / f"{part}.npz", jpeg=np.frombuffer(b"".join(raw), np.uint8), offsets=offsets, labels=labels)
    monkeypatch.setattr(_read, "_decode_all", lambda *given: encoded.append(given[2].name) or decode(*given))
    found = compare(arrays, ["ce"], out=tmp_path / "out", seeds=2, budget=Budget(steps=1))
    assert sorted(encoded) == ["test.npz", "train.npz"]
    assert found.store.cell("ce", 1).status == "done"


def test_files_that_changed_are_decoded_again(folders, tmp_path):
    source = Source(folders, cache=tmp_path / "cache")
    before = Images(size=16).read(source, 0)
    Image.fromarray(picture((9, 9, 9), 0)).save(folders / "red" / "0.png")
    assert Images(size=16).read(source, 0).fingerprint != before.fingerprint


def test_the_steepest_of_nested_long_tails_is_taken_and_an_imbalance_asked_for_goes_before_it(arrays):
    (arrays / "lt_counts.json").write_text('{"IF2": [60, 30, 12], "IF10": [50, 20, 5], "rule": "the first of each"}')
    splits = Images(val_from="test").read(Source(arrays), 0)
    assert splits.class_counts == (50, 20, 5)
    assert splits.facts["profile"] == "IF10"
    assert splits.train.ids[:2].tolist() == ["train/0", "train/1"]
    assert Images(val_from="test", imbalance=4).read(Source(arrays), 0).class_counts == (60, 30, 12)
    (arrays / "lt_counts.json").write_text('{"IF2": [60, 30]}')
    with pytest.raises(DataError, match="images of each of the 3 classes"):
        Images().read(Source(arrays), 0)


def test_the_parts_of_npz_files_are_kept_and_validation_comes_from_where_it_is_told(arrays):
    of_train, of_test = (Images(val_from=part).read(Source(arrays), 0) for part in ("train", "test"))
    assert of_train.sizes == {"train": 87, "val": 15, "test": 30}
    assert of_test.sizes == {"train": 102, "val": 15, "test": 15}
    assert of_test.class_counts == (60, 30, 12)


def test_npz_files_of_images_are_images_and_those_of_a_table_a_table(arrays, tmp_path):
    assert find_task(arrays) == find_task(arrays / "train.npz") == "image"
    np.savez(tmp_path / "table.npz", X=np.zeros((9, 2)), y=np.arange(9) % 2)
    assert find_task(tmp_path / "table.npz") == "tabular"


def test_the_long_tail_is_the_exponential_profile():
    # Cui et al. (2019): CIFAR-10 at a ratio of 100
    labels = np.repeat(np.arange(10), 5000)
    kept = long_tail(np.arange(50_000), labels, 10, 100)
    assert np.bincount(labels[kept]).tolist() == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]


def test_the_real_long_tailed_set_has_the_published_counts(shared):
    splits = Images(imbalance=100, val_from="test").read(Source(shared / "data" / "cifar10_lt"), 0)
    assert splits.class_counts == (5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50)
    assert splits.sizes["test"] == splits.sizes["val"] == 2500


@pytest.mark.parametrize("method", ["ce", "focal", "balanced_softmax", "class_balanced", "mixup"])
def test_colours_are_learnt_under_every_kind_of_method(arrays, method, tmp_path):
    task = Images(lr=0.05, batch=32)
    splits = task.read(Source(arrays), 0)
    fitted = task.fit(METHODS[method], splits, Budget(steps=25), 0, tmp_path)
    outputs = fitted.outputs("test")
    assert (outputs.probabilities.argmax(1) == outputs.targets).mean() > 0.8


def test_the_same_seed_gives_the_same_model_and_the_files_give_it_back(arrays, tmp_path):
    task = Images(batch=32)
    splits = task.read(Source(arrays), 0)
    first, second = (task.fit(METHODS["ce"], splits, Budget(steps=4), 3, tmp_path) for _ in range(2))
    np.testing.assert_array_equal(first.outputs("test").logits, second.outputs("test").logits)
    first.save(tmp_path)
    loaded = task.load(tmp_path)
    np.testing.assert_array_equal(loaded.logits(splits.test.images), first.outputs("test").logits)
    Image.fromarray(splits.test.images[0]).save(tmp_path / "one.png")
    found = loaded.predict(tmp_path / "one.png")
    np.testing.assert_allclose(found.logits[0], first.outputs("test").logits[0], atol=1e-5)
    assert found.targets.tolist() == [-1]


def test_a_handful_of_images_is_trained_on_for_hundreds_of_steps(arrays, tmp_path, monkeypatch):
    from focalkit.tasks.image import _fit

    asked = []
    monkeypatch.setattr(_fit, "train", lambda run, *rest: asked.append((run.batch, run.rate, rest[-1].steps)) or 1)
    TASK.fit(METHODS["ce"], TASK.read(Source(arrays), 0), Budget(), 0, tmp_path)
    assert asked == [(21, pytest.approx(0.1 * 21 / 128), 300)]  # of 87 images


def test_methods_start_from_the_same_weights(arrays, tmp_path):
    splits = TASK.read(Source(arrays), 0)
    weights = []
    for method in ("ce", "class_balanced"):
        task = Images(lr=0.0, weight_decay=0.0, batch=32)
        model = task.fit(METHODS[method], splits, Budget(steps=1), 5, tmp_path).model
        weights.append(model.network.stem.weight)
    assert torch.equal(*weights)


def test_a_crop_is_a_shift_and_a_mirror_keeps_the_rows():
    image = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(1, 16, 16, 3)
    padded = np.pad(image[0], ((2, 2), (2, 2), (0, 0)))
    views = [padded[y : y + 16, x : x + 16] for y in range(5) for x in range(5)]
    views += [v[:, ::-1] for v in views]
    for seed in range(5):
        found = _augmented(image, np.random.default_rng(seed))[0]
        assert any(np.array_equal(found, v) for v in views)


def test_the_rate_falls_a_hundredfold_where_it_is_told():
    # Cao et al. (2019): epochs 160 and 180 of 200
    assert [_schedule(share, (0.8, 0.9)) for share in (0.5, 0.81, 0.91)] == pytest.approx([1, 1e-2, 1e-4])
    assert _schedule(1.0, ()) == pytest.approx(0, abs=1e-9)


def test_resnet32_has_the_parameters_of_the_paper():
    # He et al. (2016), table 6: 0.46 M
    assert sum(p.numel() for p in build_network("resnet32", 10, 32).parameters()) == pytest.approx(0.46e6, rel=0.01)


def test_a_damaged_file_and_a_lone_class_are_named(folders):
    (folders / "red" / "broken.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"broken\.png"):
        Images(size=16).read(Source(folders), 0)


def test_a_class_with_two_images_is_refused(arrays):
    np.savez(arrays / "train.npz", images=np.stack([picture((9, 9, 9), i) for i in range(8)]), labels=[0] * 6 + [1] * 2)
    np.savez(arrays / "test.npz", images=np.stack([picture((9, 9, 9), 50)]), labels=[0])
    with pytest.raises(DataError, match="at least 3 images of every class, got '1'"):
        TASK.read(Source(arrays), 0)


def test_a_folder_without_images_says_what_was_expected(tmp_path):
    with pytest.raises(InputError, match="a folder of images for each class"):
        TASK.read(Source(tmp_path), 0)


def test_of_two_classes_the_second_is_the_rare_one(folders):
    for file in (folders / "green").iterdir():
        file.unlink()
    (folders / "green").rmdir()
    (folders / "red").rename(folders / "a_rare")
    splits = Images(size=16).read(Source(folders), 0)
    assert splits.classes == ("blue", "a_rare")
    assert splits.class_counts[0] > splits.class_counts[1]


def test_labels_beyond_the_names_of_the_classes_are_refused(tmp_path):
    for part in ("train", "test"):
        images = np.zeros((6, 8, 8, 3), dtype=np.uint8)
        np.savez(tmp_path / f"{part}.npz", images=images, labels=[0, 1, 2] * 2, classes=["a", "b"])
    with pytest.raises(DataError, match="names 2 classes, but has labels up to 2"):
        TASK.read(Source(tmp_path), 0)


def test_two_folders_of_one_part_are_told(tmp_path):
    for part in ("train", "val", "valid"):
        for name in ("cat", "dog"):
            place = tmp_path / part / name / f"{part}.png"
            place.parent.mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(place)
    with pytest.raises(InputError, match=r"val and .*valid are both called like the part 'val'"):
        TASK.read(Source(tmp_path), 0)
