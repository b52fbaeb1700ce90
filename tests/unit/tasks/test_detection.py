"""The task of boxes on a handful of demo scenes, and its average precision against COCO's."""

import json
import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from focalkit.calibration import focal_to_posterior
from focalkit.cli import main
from focalkit.cli._calibrated import posterior_of
from focalkit.cli.predict import Args, run
from focalkit.compare import METHODS, Method, Predictor, compare
from focalkit.config import ModelConfig, cpu_small, with_detector
from focalkit.data import open_detection_data, write_demo_scenes
from focalkit.detection import DETECTORS, Detections, load_weights, save_weights
from focalkit.detection.options import check_options, without_unread
from focalkit.errors import ConfigError, DataError, InputError
from focalkit.losses import focal_arguments, parse
from focalkit.metrics import coco_ap
from focalkit.tasks import Budget, Outputs, Source, find_task, open_task
from focalkit.tasks.detection import BY_DETECTOR, DFINE, RTDETRV2, TASK, Detection, best_threshold
from focalkit.tasks.detection._average_precision import average_precision, judge, precisions
from focalkit.tasks.detection._configure import configure, not_enlarged
from focalkit.tasks.detection._fit import guided
from focalkit.tasks.detection._fitted import _detections
from focalkit.tasks.detection._inspect import positive_share
from focalkit.tasks.detection._sample import sampled_images

MODEL = ModelConfig("tiny", "batch", 0, 8, 8, 1, anchor_sizes=(8.0, 16.0, 32.0, 64.0, 128.0))


def tiny():
    return replace(cpu_small(), min_size=96, max_size=96, batch_size=2, model=MODEL)


TINY = Detection(config=tiny)
MINIS = ("MINI", "RTDETRV2_MINI")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    return write_demo_scenes(folder / "demo", train=10, val=4, size=96, classes=3, imbalance=3)


@pytest.fixture(scope="module")
def splits(scenes):
    return TINY.read(Source(scenes), 0)


def test_coco_data_are_boxes_and_a_json_file_beside_folders_of_images_does_not_make_them_so(scenes, tmp_path):
    assert find_task(scenes) == "detection"
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / name / "0.png")
    (tmp_path / "train.json").write_text("{}")
    assert find_task(tmp_path) == "image"


def test_folders_of_the_parts_of_coco_are_no_classes(tmp_path):
    (tmp_path / "annotations").mkdir()
    for part in ("train2017", "val2017"):
        (tmp_path / part).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / part / "0.png")
        (tmp_path / "annotations" / f"instances_{part}.json").write_text("{}")
    assert find_task(tmp_path) == "detection"


def test_without_a_test_part_val_is_it_and_train_gives_a_share_for_val(scenes, splits):
    val = open_detection_data(scenes, "val")
    assert [i.path for i in splits.test.images] == [i.path for i in val.images]
    assert splits.sizes == {"train": 9, "val": 1, "test": 4}
    assert not {i.path for i in splits.train.images} & {i.path for i in splits.val.images}
    assert splits.fingerprint == TINY.read(Source(scenes), 5).fingerprint
    assert splits.class_counts == tuple(splits.train.class_counts())


def test_copies_of_a_picture_are_held_out_together(scenes, tmp_path):
    content = json.loads((scenes / "annotations" / "instances_train.json").read_text())
    shutil.copytree(scenes / "images" / "train", tmp_path / "images")
    twins = []
    for image in content["images"]:
        copy = image | {"id": image["id"] + 1000, "file_name": f"copy-{image['file_name']}"}
        shutil.copy(tmp_path / "images" / image["file_name"], tmp_path / "images" / copy["file_name"])
        twins.append(copy)
    content["images"] += twins
    (tmp_path / "labels.json").write_text(json.dumps(content))
    splits = TINY.read(Source(tmp_path), 0)
    parts = [{i.file_name.removeprefix("copy-") for i in p.images} for p in (splits.train, splits.val, splits.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 10
    assert splits.sizes == {"train": 14, "val": 2, "test": 4}


def test_a_part_that_is_another_one_is_refused(scenes, tmp_path):
    content = (scenes / "annotations" / "instances_train.json").read_text()
    (tmp_path / "images").symlink_to(scenes / "images" / "train")
    for part in ("train", "val"):
        (tmp_path / f"{part}.json").write_text(content)
    with pytest.raises(DataError, match="also in train"):
        TINY.read(Source(tmp_path), 0)


def test_inspection_counts_boxes_of_all_parts_and_numbers_what_it_found(scenes):
    found = TASK.inspect(Source(scenes))
    counts = [open_detection_data(scenes, part).class_counts() for part in ("train", "val")]
    assert list(found.classes.values()) == np.sum(counts, axis=0).tolist()
    assert {finding.code for finding in found.findings} == {"FK102"}
    assert 0 < found.facts["foreground"] < 0.1


def random_outputs(seed):
    """Boxes near the truth or anywhere, crowds, and scores with ties: judged here, and the same for COCO."""
    random = np.random.default_rng(seed)
    parts, truth, results = {}, [], []
    found, judged, true_rows = [], [], []
    for image in range(12):
        m, n = random.integers(0, 7), random.integers(0, 25)
        low = random.integers(0, 60, (m, 2))
        boxes = np.concatenate([low, low + random.integers(8, 40, (m, 2))], axis=1).astype(float)
        labels, crowd = random.integers(0, 4, m), random.random(m) < 0.2
        near = boxes[random.integers(0, m, n)] if m else np.tile([5.0, 5, 25, 25], (n, 1))
        shifted = (near + random.integers(-4, 5, (n, 4))).astype(float)
        scores, own = random.integers(1, 12, n) / 12, random.integers(0, 5, n)
        found.append(Detections(torch.tensor(shifted), torch.tensor(scores), torch.tensor(own)))
        judged.append(judge(shifted, scores, own, boxes, labels, crowd))
        true_rows += [(image, int(k), bool(c)) for k, c in zip(labels, crowd, strict=True)]
        for box, label, ignored in zip(boxes.tolist(), labels.tolist(), crowd.tolist(), strict=True):
            place = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
            area = place[2] * place[3]
            row = {"image_id": image, "category_id": label, "bbox": place, "area": area, "iscrowd": int(ignored)}
            truth.append({"id": len(truth) + 1, **row})
        results += found[-1].to_coco(image)
    parts = _detections(found) | {"detections.judged": np.concatenate(judged)}
    names = ("truth.item", "truth.labels", "truth.crowd")
    parts |= {name: np.asarray(column) for name, column in zip(names, zip(*true_rows, strict=True), strict=True)}
    parts["detections.scores"] = np.concatenate([one.scores.numpy() for one in found])
    content = {
        "images": [{"id": i} for i in range(12)],
        "categories": [{"id": k, "name": str(k)} for k in range(5)],
        "annotations": truth,
    }
    outputs = Outputs(np.arange(12), np.zeros((12, 5)), np.zeros((12, 5)), link="sigmoid", parts=parts)
    return outputs, content, results


@pytest.mark.parametrize("seed", range(4))
def test_average_precision_is_that_of_coco(seed):
    outputs, content, results = random_outputs(seed)
    expected = coco_ap(content, results)
    assert average_precision(outputs) == pytest.approx(expected.metrics["AP"], abs=1e-9)
    for c, found in zip(*precisions(outputs), strict=True):
        assert found.mean() == pytest.approx(expected.per_class[str(c)]["AP"], abs=1e-9)


def test_resampled_images_need_no_new_matching():
    outputs, content, results = random_outputs(9)
    drawn = np.array([3, 3, 0, 7, 11, 5, 5, 5])
    of = {i: [row for row in content["annotations"] if row["image_id"] == i] for i in range(12)}
    again = {
        "images": [{"id": i} for i in range(len(drawn))],
        "categories": content["categories"],
        "annotations": [{**row, "image_id": i} for i, image in enumerate(drawn) for row in of[image]],
    }
    found = [{**row, "image_id": i} for i, image in enumerate(drawn) for row in results if row["image_id"] == image]
    assert average_precision(outputs.take(drawn)) == pytest.approx(coco_ap(again, found).metrics["AP"], abs=1e-9)


FITTING = [name for name, row in METHODS.items() if row.tasks is not None and row.fits("detection")]


@pytest.mark.parametrize("name", FITTING)
def test_every_method_makes_a_configuration_that_differs_from_plain_cross_entropy(name, splits):
    plain = configure(tiny(), METHODS["ce"], splits.class_counts, Budget(steps=3), 0)
    found = configure(tiny(), METHODS[name], splits.class_counts, Budget(steps=3), 0)
    assert found != plain or METHODS[name].sampler or METHODS[name].schedule
    assert found.max_steps == 3
    assert (plain.loss, plain.seed) == ("bce", 0)


def test_what_a_detector_cannot_do_is_refused(splits):
    for method in (Method("a", sampler="smote"), Method("b", augment="mixup"), Method("c", schedule="drw")):
        with pytest.raises(ConfigError):
            configure(tiny(), method, splits.class_counts, Budget(), 0)


def test_class_weights_are_one_on_average(splits):
    loss = configure(tiny(), METHODS["cb_focal"], (500, 50, 5), Budget(), 0).loss
    weights = parse(loss)[1]["class_weight"]
    assert np.mean(weights) == pytest.approx(1, abs=1e-5)
    assert weights[2] > weights[1] > weights[0]


@pytest.mark.parametrize("name", ["focal_alpha", "hard_negative_mining", "ohem_1to3", "sampling_free", "varifocal"])
def test_a_method_trains_and_its_files_give_the_same_boxes(name, splits, tmp_path):
    fitted = TINY.fit(METHODS[name], splits, Budget(steps=2), 1, tmp_path)
    outputs = fitted.outputs("test")
    assert not list(tmp_path.iterdir())
    assert outputs.logits.shape == outputs.targets.shape == (4, 3)
    assert (fitted.facts["steps"], outputs.multilabel) == (2, True)
    fitted.save(tmp_path)
    found = TINY.load(tmp_path).predict([image.path for image in splits.test.images])
    np.testing.assert_allclose(found.logits, outputs.logits, atol=1e-4)
    np.testing.assert_allclose(found.parts["detections.scores"], outputs.parts["detections.scores"], atol=1e-5)


def test_the_detector_says_which_methods_fit():
    fitting = {name: {m for m, row in METHODS.items() if row.fits(where)} for name, where in BY_DETECTOR.items()}
    assert {"ohem_nms", "sampled_anchors"} <= fitting["retinanet"] & fitting["fcos"]
    assert not {"ohem_nms", "ohem_1to3", "sampled_anchors", "sampling_free"} & fitting["rtdetrv2"]
    assert {"ce", "focal_alpha", "qfl", "varifocal", "mal", "ia_bce", "position_focal"} <= fitting["rtdetrv2"]
    assert fitting["rtdetrv2"] == fitting["dfine"] == fitting["deim"]
    assert set(DETECTORS) - set(fitting) == {"centernet"}
    assert not {"mal", "ia_bce"} & fitting["retinanet"]
    assert all(set(open_task(where).default_methods) <= fitting[name] for name, where in BY_DETECTOR.items())


@pytest.mark.parametrize("where", [*BY_DETECTOR.values(), *(f"focalkit.tasks.detection:{n}" for n in MINIS)])
def test_every_detector_can_be_trained_as_every_method_that_fits_asks(where):
    config = open_task(where).config()
    for row in METHODS.values():
        if row.fits(where):
            check_options(configure(config, row, (10, 5), Budget(steps=3), 0))


def test_the_command_chooses_the_detector(scenes, tmp_path, capsys):
    words = ["compare", str(scenes), "--out", str(tmp_path / "out")]
    assert main([*words, "--detector", "rtdetrv2", "--list"]) == 0
    listed = capsys.readouterr().out
    assert "ia_bce" in listed
    assert "ohem_nms" not in listed
    assert main([*words, "--task", "detection", "--detector", "fcos", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["task"] == "focalkit.tasks.detection:FCOS"
    for wrong, message in (
        (["--detector", "rtdetr"], 'did you mean "rtdetrv2"'),
        (["--detector", "centernet"], "heat maps have one loss, gaussian_focal"),
        (["--detector", "fcos", "--preset", "paper-tables-mini"], "has a detector of its own"),
        (["--detector", "fcos", "--task", "tabular"], "--detector is for boxes"),
    ):
        assert main([*words, *wrong]) == 2
        assert message in capsys.readouterr().err


def test_a_set_predictor_keeps_its_place_under_losses_of_qualities_and_no_other_detector_does(splits):
    for method, other in (("qfl", "gfl"), ("varifocal", "vfnet")):
        found = [configure(c(), METHODS[method], splits.class_counts, Budget(), 0).model for c in (small_set, tiny)]
        assert [model.detector for model in found] == ["rtdetrv2", other]


def small_set(task=RTDETRV2):
    config = task.config()
    decoder = replace(config.model.decoder, layers=2, queries=12, heads=2, feedforward=16, denoising=4)
    small = ModelConfig("tiny", "batch", 0, 16, detector=config.model.detector, decoder=decoder)
    return replace(config, min_size=96, max_size=96, batch_size=2, model=small)


@pytest.mark.parametrize("task", [RTDETRV2, DFINE], ids=["rtdetrv2", "dfine"])
def test_a_set_predictor_trains_under_a_loss_and_its_files_give_the_same_boxes(task, splits, tmp_path):
    task = replace(task, config=partial(small_set, task))
    fitted = task.fit(METHODS["mal"], splits, Budget(steps=2), 1, tmp_path)
    outputs = fitted.outputs("test")
    assert (fitted.facts["detector"], fitted.facts["loss"]) == (task.config().model.detector, "mal")
    assert fitted.facts["loss_concentration"]["shares"]
    fitted.save(tmp_path)
    found = task.load(tmp_path).predict([image.path for image in splits.test.images])
    np.testing.assert_allclose(found.parts["detections.scores"], outputs.parts["detections.scores"], atol=1e-5)
    with pytest.raises(ConfigError, match="matched by their place"):
        task.fit(METHODS["ohem_nms"], splits, Budget(steps=1), 1, tmp_path)


@pytest.mark.parametrize("name", sorted(set(DETECTORS) - {"deim", "dfine", "rtdetrv2", "rtmdet"}))
def test_without_sampling_the_class_outputs_begin_at_the_share_of_positives(name, splits, monkeypatch, tmp_path):
    monkeypatch.setattr("focalkit.tasks.detection._fit._train", lambda *_: 0)
    task = Detection(config=lambda: without_unread(with_detector(tiny(), name)))
    assert "anchors" in task.kinds
    fitted = task.fit(METHODS["sampling_free"], splits, Budget(steps=1), 0, tmp_path)
    config = configure(task.config(), METHODS["sampling_free"], splits.class_counts, Budget(steps=1), 0)
    share = positive_share(splits.train, not_enlarged(config, splits.train))
    assert 0 < share < 0.2
    bias = fitted.model.detector.model.head.class_output.bias.detach()
    torch.testing.assert_close(bias.sigmoid(), torch.full_like(bias, share / len(splits.classes)))


def test_without_sampling_the_classification_loss_is_as_large_as_the_box_loss():
    x = torch.tensor([3.0, 0.4], requires_grad=True)
    found = guided({"classification": x[0] ** 2, "box": x[1], "quality": x[1] * 2})
    assert found["classification"].item() == pytest.approx(0.4)
    assert found["quality"].item() == pytest.approx(0.8)
    found["classification"].backward()
    assert x.grad.tolist() == pytest.approx([2 * 3.0 * 0.4 / 9.0, 0.0])  # the factor is a number
    assert guided({"classification": x[0], "box": x[1] * 0})["classification"].item() == 0


def test_images_without_boxes_are_background_in_the_share_of_positives(splits):
    config = not_enlarged(TASK.config(), splits.train)
    shown = next(image for image in splits.train.images if image.boxes)
    empty = replace(shown, boxes=(), labels=(), crowd=())
    share = [positive_share(replace(splits.train, images=images), config) for images in ((shown,), (shown, empty))]
    assert share[1] == pytest.approx(share[0] / 2)


def test_fits_at_the_same_time_share_the_memory_for_images(splits, monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr("focalkit.training.loaders.cache_for", lambda sizes, share, processes: seen.append(share))
    for beside in (1, 4):
        TINY.fit(METHODS["ce"], splits, Budget(steps=20, seconds=1e-9, beside=beside), 0, tmp_path)
    assert seen[0] == 4 * seen[1] > 0


def test_sampled_images_are_repeated_by_their_rarest_class(splits):
    data = splits.train
    images = np.array(data.image_counts()) / len(data)
    rare = int(images.argmin())
    shown = [rare in image.labels for image in data.images]
    assert sampled_images(data, None, 0) is data
    found = sampled_images(data, "repeat_factor(t=1.0)", 0)
    times = np.array([sum(one is image for one in found.images) for image in data.images])
    assert times.min() >= 1
    assert set(times[shown]) <= {int(images[rare] ** -0.5), int(images[rare] ** -0.5) + 1}
    drawn = [sampled_images(data, "class_balanced", seed) for seed in range(200)]
    share = np.mean([[rare in image.labels for image in one.images] for one in drawn])
    assert share > np.mean(shown), "images of a rare class are drawn more often than they are there"


def test_methods_start_from_the_same_weights(splits, tmp_path):
    still = {"lr": 1e-30}
    first, second = (
        TINY.fit(replace(METHODS[name], settings=still), splits, Budget(steps=1), 3, tmp_path).model.detector.model
        for name in ("ce", "hard_negative_mining")
    )
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert all(torch.allclose(a, b, rtol=0, atol=1e-12) for a, b in pairs)


def test_a_comparison_of_detectors_ends_with_verdicts_and_a_report(scenes, tmp_path, monkeypatch):
    monkeypatch.setattr("focalkit.tasks.detection.TASK", TINY)
    found = compare(scenes, ["ce", "focal_alpha"], out=tmp_path / "out", seeds=2, budget=Budget(steps=2))
    assert {cell.status for cell in found.cells.values()} == {"done"}
    assert set(found.values("AP")) == {"ce", "focal_alpha"}
    assert [v.outcome for v in found.verdicts] == ["yardstick", "too few seeds"]
    page = found.report().read_text()
    assert "AP" in page
    assert 'id="curves"' not in page
    assert "nothing is decided" in page
    assert "What the errors cost" in page
    assert "gradient: easy negatives" in page
    assert page.count('class="thumb"') >= 3  # the hardest images at least
    found.plan.source.path.rename(tmp_path / "gone")
    assert "the data cannot be read any more" in found.report().read_text()
    (tmp_path / "gone").rename(found.plan.source.path)
    images = sorted((scenes / "images" / "val").iterdir())
    posteriors_of_the_cells(found, images, tmp_path)
    moved = shutil.copytree((tmp_path / "out" / "best").resolve(), tmp_path / "elsewhere")
    expected = np.sort(found.best.test.parts["detections.scores"])
    shutil.rmtree(tmp_path / "out")  # a cell is all that prediction needs
    args = Args(moved, tuple(images), out=tmp_path / "found", device="cpu", json=True, score_threshold=0.0)
    assert run(args) == 0
    written = json.loads((tmp_path / "found" / "predictions.json").read_text())
    np.testing.assert_allclose(np.sort([row["score"] for row in written]), expected, atol=1e-5)
    predictor = Predictor.from_run(moved)
    detections = predictor.predict(images)
    assert [len(one) for one in detections] == [len(one.above(predictor.model.threshold)) for one in detections]
    assert predictor.predict_proba(images).shape == (4, 3)


def posteriors_of_the_cells(found, images, out):
    """`--posterior` undoes the focal loss of the cell's method, and knows of no other loss."""
    ce, focal = (shutil.copytree(found.store.cell(name, 0).folder, out / name) for name in ("ce", "focal_alpha"))
    sure = load_weights(focal / "model.safetensors")  # two steps leave scores that are not reported
    torch.nn.init.zeros_(sure.head.class_output.bias)
    save_weights(sure, focal / "model.safetensors")
    scores = {}
    for posterior in (False, True):
        folder = out / f"{posterior}"
        args = Args(focal, tuple(images), folder, draw=False, device="cpu", json=True, score_threshold=0.0)
        assert run(replace(args, posterior=posterior)) == 0
        written = json.loads((folder / "predictions.json").read_text())
        scores[posterior] = np.sort([row["score"] for row in written])
    gamma, alpha, kind = focal_arguments(METHODS["focal_alpha"].loss)
    np.testing.assert_allclose(scores[True], focal_to_posterior(scores[False], gamma, alpha, kind=kind), atol=1e-6)
    assert not np.allclose(scores[True], scores[False], atol=1e-3)
    refused = Args(ce, tuple(images), out / "none", draw=False, device="cpu", posterior=True)
    with pytest.raises(InputError, match="the inverse of focal loss with one gamma is known"):
        run(refused)
    record = json.loads((focal / "cell.json").read_text())
    record["method"]["class_weight"] = "inverse"
    weighted = out / "weighted" / "cell.json"
    weighted.parent.mkdir()
    weighted.write_text(json.dumps(record))
    with pytest.raises(InputError, match="its classes were weighted"):
        posterior_of(weighted.parent / "model.safetensors", Predictor.from_run(focal).model.detector)


def test_the_threshold_of_a_cell_is_the_one_with_the_best_f1():
    judged = np.zeros((4, 10), dtype=np.int8)
    judged[[0, 2], 0] = 1
    parts = {
        "detections.scores": np.array([0.9, 0.8, 0.7, 0.6]),
        "detections.judged": judged,
        "truth.crowd": np.zeros(2, dtype=bool),
    }
    outputs = Outputs(np.zeros(1), np.zeros((1, 1)), np.zeros((1, 1)), parts=parts)
    assert best_threshold(outputs) == 0.7  # F1 of 2/3, 1/2, 4/5, 2/3
    none = Outputs(np.zeros(1), np.zeros((1, 1)), np.zeros((1, 1)), parts=parts | {"detections.judged": judged * 0})
    assert best_threshold(none) == 0.5


def test_images_are_not_enlarged(splits):
    assert (not_enlarged(cpu_small(), splits.train).min_size, not_enlarged(tiny(), splits.train).max_size) == (128, 96)


def test_validation_that_lacks_a_class_keeps_the_labels_of_train(scenes, tmp_path):
    folder = shutil.copytree(scenes, tmp_path / "demo")
    file = folder / "annotations/instances_val.json"
    content = json.loads(file.read_text())
    first = min(c["id"] for c in content["categories"])
    content["categories"] = [c for c in content["categories"] if c["id"] != first]
    content["annotations"] = [a for a in content["annotations"] if a["category_id"] != first]
    file.write_text(json.dumps(content))
    splits = TINY.read(Source(folder), 0)
    assert splits.test.categories == splits.train.categories
    wanted = sorted(a["category_id"] for a in content["annotations"])
    assert sorted(splits.test.category_ids[k] for i in splits.test.images for k in i.labels) == wanted
