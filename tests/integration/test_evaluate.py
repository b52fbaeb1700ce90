"""Evaluation from a folder on disk to the files of a report, with a network whose answers are known."""

import json
from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch import nn

from focalkit._config_io import config_to_dict
from focalkit._runs import RunDir, write_json_atomic
from focalkit.cli import main
from focalkit.config import DataConfig, ModelConfig, RuntimeConfig, TrainConfig
from focalkit.data import Category, open_detection_data
from focalkit.detection import DenseOutputs, DensePostprocess, Detections, Detector, build_retinanet
from focalkit.errors import ConfigError, InputError
from focalkit.evaluation import (
    align_categories,
    coco_results,
    decisions,
    evaluate,
    evaluate_run,
    match_split,
    write_gallery,
)
from focalkit.evaluation.gallery import tidy_gallery
from focalkit.metrics import ERROR_KINDS, ApRule, coco_ap

CATEGORIES = [{"id": 4, "name": "red"}, {"id": 9, "name": "green"}]
SCENES = [
    # (width, height), [(x, y, class)] in units of 16 pixels
    ((64, 96), [(0, 0, 0), (2, 3, 1)]),
    ((96, 64), [(5, 3, 0)]),
    ((96, 64), []),
    ((64, 64), [(1, 1, 1), (3, 3, 1), (0, 2, 0)]),
]


def write_scenes(folder, split, scenes=SCENES, categories=CATEGORIES):
    """A COCO folder of 16-pixel squares, red and green, on black."""
    images, annotations = [], []
    (folder / "images" / split).mkdir(parents=True, exist_ok=True)
    (folder / "annotations").mkdir(exist_ok=True)
    for number, (size, squares) in enumerate(scenes, 1):
        picture = Image.new("RGB", size)
        for x, y, k in squares:
            picture.paste((255, 0, 0) if k == 0 else (0, 255, 0), (16 * x, 16 * y, 16 * x + 16, 16 * y + 16))
            annotation = {"bbox": [16 * x, 16 * y, 16, 16], "area": 256, "iscrowd": 0, "id": len(annotations) + 1}
            annotations.append({**annotation, "image_id": number, "category_id": categories[k]["id"]})
        name = f"{split}-{number}.png"
        picture.save(folder / "images" / split / name)
        images.append({"id": number, "file_name": name, "width": size[0], "height": size[1]})
    truth = {"images": images, "annotations": annotations, "categories": sorted(categories, key=lambda c: c["id"])}
    (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(truth))
    return folder


class Colours(nn.Module):
    """Finds every square: one prior per cell of 16 pixels, its logits are the red and the green of the cell."""

    num_classes = 2

    def __init__(self, swapped=False):
        super().__init__()
        self.register_buffer("pixel_mean", torch.zeros(3))
        self.weight = nn.Parameter(torch.tensor(20.0))
        self.channels = [1, 0] if swapped else [0, 1]
        self.batches = []

    def forward(self, images):
        assert not self.training
        self.batches.append(tuple(images.shape))
        cells = nn.functional.avg_pool2d(images, 16)[:, self.channels]
        h, w = cells.shape[-2:]
        y, x = torch.meshgrid(torch.arange(h) * 16.0, torch.arange(w) * 16.0, indexing="ij")
        priors = torch.stack([x, y, x + 16, y + 16], -1).view(-1, 4)
        return DenseOutputs(((cells - 0.7) * self.weight,), (cells.new_zeros(len(images), 4, h, w),), (priors,), 2)


def colours(model):
    return Detector(model, min_size=64, max_size=96)


@pytest.fixture
def scenes(tmp_path):
    return write_scenes(write_scenes(tmp_path / "scenes", "train", SCENES * 2), "val")


@pytest.fixture
def run(tmp_path, scenes):
    """A finished run of a tiny network with random weights."""
    torch.manual_seed(0)
    model = ModelConfig(
        backbone="tiny",
        backbone_norm="batch",
        freeze_at=0,
        fpn_channels=8,
        head_channels=8,
        head_depth=1,
        prior_prob=0.2,
    )
    config = TrainConfig(
        data=DataConfig(scenes), min_size=64, max_size=96, runtime=RuntimeConfig(workers=0), batch_size=2, model=model
    )
    run = RunDir(tmp_path / "run")
    run.write_run({"config": config_to_dict(config), "categories": CATEGORIES})
    run.write_result({"metrics": {"AP": 0.5}, "seconds": 12.5, "finished": True})
    run.checkpoint("best").parent.mkdir()
    torch.save({"model": build_retinanet(model, 2).state_dict()}, run.checkpoint("best"))
    return run


def val(folder):
    return open_detection_data(folder, "val")


def test_a_perfect_detector_has_an_ap_of_one(scenes):
    model = Colours().train()
    found = evaluate(colours(model), val(scenes), batch_size=2)
    assert found.coco.metrics["AP"] == 1
    assert {name: row["count"] for name, row in found.coco.per_class.items()} == {"red": 3, "green": 3}
    assert list(found.detections) == [1, 2, 3, 4]
    assert len(found.detections[3]) == 0
    assert found.detections[1].names == ("red", "green")
    assert found.images_per_second > 0
    assert "<td>red</td><td>3</td><td>1.000</td>" in found._repr_html_()
    assert model.training


def test_boxes_are_scored_in_the_pixels_of_the_files(scenes):
    detector = Detector(Colours(), min_size=128, max_size=192, postprocess=DensePostprocess(iou_threshold=0))
    found = evaluate(detector, val(scenes))
    boxes = found.detections[2].boxes.tolist()  # a prior is 8 pixels of the file now
    assert sorted(boxes) == [[x, y, x + 8, y + 8] for x in (80, 88) for y in (48, 56)]
    assert found.coco.metrics["AP"] == 0


def test_a_crowded_image_is_judged_by_a_rule_of_ones_own(tmp_path):
    crowd = [((192, 192), [(x, y, 0) for x in range(12) for y in range(12)])]  # 144 squares
    data = val(write_scenes(write_scenes(tmp_path, "train"), "val", crowd))
    detector = Detector(Colours(), min_size=192, max_size=192)
    plain, found = evaluate(detector, data), evaluate(detector, data, rule=ApRule(200, sides=(16, 20)))
    assert plain.coco.metrics["AR100"] == pytest.approx(100 / 144)
    assert found.coco == plain.coco
    assert [(row["size"], row["count"], row["AP"]) for row in found.by_rule["sizes"]] == [
        ("all", 144, 1.0), ("0-16 px", 144, 1.0), ("16-20 px", 144, 1.0), ("from 20 px", 0, -1.0)
    ]  # fmt: skip
    assert found.summary()["decisions"]["operating"]["all"]["recall"] == 1
    assert plain.summary()["by_rule"] is None


def test_images_of_one_size_share_a_batch(scenes):
    model = Colours()
    evaluate(colours(model), val(scenes), batch_size=2)
    assert model.batches == [(2, 3, 64, 96), (1, 3, 96, 64), (1, 3, 64, 64)]


def test_the_detector_and_the_evaluation_say_the_same(run, scenes):
    detector = Detector.from_run(run.path, "cpu", score_threshold=0.1)
    data = val(scenes)
    ours = evaluate(detector, data, batch_size=2).detections
    theirs = detector.predict([record.path for record in data.images], batch_size=1)
    for found, other in zip(ours.values(), theirs, strict=True):
        assert len(found) > 0
        torch.testing.assert_close(found.boxes, other.boxes, atol=1e-3, rtol=0)  # of 96 pixels
        torch.testing.assert_close(found.scores, other.scores, atol=1e-5, rtol=0)
        assert torch.equal(found.labels, other.labels)


def test_other_numbers_of_classes_are_refused(scenes):
    model = Colours()
    model.num_classes = 3
    with pytest.raises(InputError, match=r"the model has 3 classes, the data 2 \(red, green\)"):
        evaluate(colours(model), val(scenes))


@pytest.mark.parametrize(
    "categories",
    [
        [{"id": 9, "name": "red"}, {"id": 4, "name": "green"}],  # the other order
        [{"id": 1, "name": "red"}, {"id": 0, "name": "green"}, {"id": 2, "name": "blue"}],  # one unused class more
    ],
)
def test_classes_are_found_by_name_whatever_their_ids(tmp_path, categories):
    data = val(write_scenes(tmp_path, "val", categories=categories))
    model_classes = [Category(4, "red"), Category(9, "green")]
    aligned = align_categories(data, model_classes)
    assert aligned.names == ("red", "green")
    assert aligned.category_ids == (categories[0]["id"], categories[1]["id"])
    found = evaluate(colours(Colours()), aligned)
    assert found.coco.metrics["AP"] == 1
    assert coco_ap(data.to_coco(), coco_results(found.detections, aligned.category_ids)).metrics["AP"] == 1
    assert evaluate(colours(Colours(swapped=True)), aligned).coco.metrics["AP"] == 0


def test_a_class_of_the_model_may_be_missing_from_the_data(scenes):
    aligned = align_categories(val(scenes), [Category(1, "blue"), Category(4, "red"), Category(9, "green")])
    assert aligned.category_ids == (10, 4, 9)
    assert aligned.class_counts() == [0, 3, 3]


def test_a_class_that_the_model_does_not_know_is_named(scenes):
    with pytest.raises(ConfigError, match=r"has boxes of 'green', .* it knows 'red', 'cyan'"):
        align_categories(val(scenes), [Category(4, "red"), Category(9, "cyan")])


def test_evaluate_run_writes_what_a_report_needs(run):
    found = evaluate_run(run.path, pictures=2, device="cpu")
    assert json.loads((run.path / "evaluation.json").read_text()) == found
    assert (found["split"], found["num_images"], found["score_threshold"]) == ("val", 4, 0.05)
    assert [(r["name"], r["id"], r["train_count"], r["count"]) for r in found["per_class"]] == [
        ("red", 4, 6, 3),
        ("green", 9, 6, 3),
    ]
    assert found["class_histogram"] == {"names": ["red", "green"], "train": [6, 6], "val": [3, 3]}
    assert {(c["name"], c["iou"]) for c in found["pr"]["curves"]} == {
        (name, iou) for name in ("all", "red", "green") for iou in (0.5, 0.75)
    }
    assert all(len(c["precision"]) == len(found["pr"]["recall"]) == 101 for c in found["pr"]["curves"])
    concentration = found["loss_concentration"]
    assert concentration["num_positives"] > 0
    assert [len(c) for c in concentration["negatives"]] == [len(concentration["fraction"])] * 4
    predictions = json.loads((run.path / "predictions.json").read_text())
    assert {p["category_id"] for p in predictions} <= {4, 9}
    assert coco_ap(val(run.read_config().data.path).to_coco(), predictions).metrics == pytest.approx(found["metrics"])
    assert {e["kind"] for e in found["gallery"]} & set(ERROR_KINDS)
    for entry in found["gallery"]:
        with Image.open(run.path / entry["file"]) as picture:
            assert picture.format == "JPEG"


def test_decisions_are_those_of_their_thresholds_and_count_every_box_once():
    truth = {
        "images": [{"id": i} for i in range(1, 31)],
        "categories": [{"id": 4, "name": "red"}, {"id": 9, "name": "green"}],
        "annotations": [{"image_id": i, "category_id": 4, "bbox": [0, 0, 10, 10]} for i in range(1, 31)],
    }
    right = [{"image_id": i, "category_id": 4, "score": 0.8, "bbox": [0, 0, 10, 9]} for i in range(1, 25)]
    wrong = [{"image_id": i, "category_id": 4, "score": 0.3, "bbox": [50, 0, 10, 9]} for i in range(1, 31)]
    named = [{"image_id": i, "category_id": 9, "score": 0.9, "bbox": [0, 0, 10, 10]} for i in (29, 30)]
    found = decisions(truth, right + wrong + named)
    assert found["thresholds"]["values"] == [0.8, 0.8], "green has no right ones: the threshold of all classes"
    assert found["operating"]["all"] == {
        "precision": 24 / 26,
        "recall": 0.8,
        "f1": 48 / 56,
        "true_positives": 24,
        "false_positives": 2,
        "missed": 6,
    }
    assert found["confusion"] == [[24, 2, 4], [0, 0, 0], [0, 0, 0]]
    assert {kind: row["count"] for kind, row in found["errors"].items()} == {
        "classification": 2,
        "localisation": 0,
        "both": 0,
        "duplicate": 0,
        "background": 0,
        "missed": 4,
    }
    assert found["errors"]["background"]["cost"] == 0.0  # of all detections; they lie below the right ones
    assert found["D-ECE"] == pytest.approx((24 * 0.2 + 30 * 0.3 + 2 * 0.9) / 56)
    assert decisions(truth, []) is None
    assert decisions({**truth, "annotations": []}, right) is None


def test_evaluate_run_keeps_what_training_knew(run):
    found = evaluate_run(run.path, pictures=0, device="cpu")
    assert run.read_result() == {"metrics": found["metrics"], "seconds": 12.5, "finished": True}
    assert found["gallery"] == []


def test_another_split_or_data_set_leaves_the_result_alone(run, tmp_path):
    before = run.read_result()
    evaluate_run(run.path, split="train", pictures=1, device="cpu")
    other = write_scenes(tmp_path / "other", "val", SCENES[:2])
    evaluate_run(run.path, other, out=tmp_path / "elsewhere", pictures=1, device="cpu")
    assert run.read_result() == before
    assert not (run.path / "evaluation.json").exists()
    assert json.loads((run.path / "evaluation-train.json").read_text())["num_images"] == 8
    elsewhere = json.loads((tmp_path / "elsewhere" / "evaluation.json").read_text())
    assert elsewhere["num_images"] == 2
    assert all((tmp_path / "elsewhere" / e["file"]).is_file() for e in elsewhere["gallery"])


def test_results_on_other_data_go_beside_the_runs_own(run, tmp_path, capsys):
    own = evaluate_run(run.path, pictures=1, device="cpu")
    other = write_scenes(tmp_path / "other", "val", SCENES[:2])
    for _ in range(2):  # again is no conflict
        assert main(["evaluate", str(run.path), "--data", str(other), "--device", "cpu"]) == 0
        assert capsys.readouterr().out.endswith(f"written  {run.path / 'evaluations' / 'other'}\n")
    assert json.loads((run.path / "evaluation.json").read_text()) == own
    assert all((run.path / e["file"]).is_file() for e in own["gallery"])
    assert json.loads((run.path / "evaluations" / "other" / "evaluation.json").read_text())["num_images"] == 2
    third = write_scenes(tmp_path / "third" / "other", "val", SCENES[:1])
    with pytest.raises(ConfigError, match=r"holds the results on .*, which would be replaced; choose .* with --out"):
        evaluate_run(run.path, third, device="cpu")
    run.clear()
    assert not (run.path / "evaluations").exists()


def test_the_validation_file_of_a_run_counts_as_its_own_data(run, scenes):
    config = replace(
        run.read_config(),
        data=replace(
            run.read_config().data,
            path=None,
            train_json=scenes / "annotations" / "instances_train.json",
            val_json=scenes / "annotations" / "instances_val.json",
            images=scenes / "images",
        ),
    )
    run.write_run({"config": config_to_dict(config), "categories": CATEGORIES})
    found = evaluate_run(run.path, config.data.val_json, pictures=0, device="cpu")
    assert json.loads((run.path / "evaluation.json").read_text()) == found


def test_a_run_without_its_training_data_is_still_evaluated(run, scenes):
    (scenes / "annotations" / "instances_train.json").unlink()
    found = evaluate_run(run.path, pictures=0, device="cpu")
    assert [r["train_count"] for r in found["per_class"]] == [None, None]
    assert found["class_histogram"]["train"] == []


# --- gallery ----------------------------------------------------------------------------------------------------------


def detections(*rows):
    boxes = torch.tensor([[16.0 * x, 16.0 * y, 16.0 * x + 16, 16.0 * y + 16] for x, y, _, _ in rows]).view(-1, 4)
    labels = torch.tensor([k for *_, k, _ in rows], dtype=torch.int64)
    return Detections(boxes, torch.tensor([s for *_, s in rows]), labels, ("red", "green"))


def test_gallery_shows_the_best_the_worst_and_the_surest_mistakes(scenes, tmp_path):
    found = {
        1: detections((0, 0, 0, 0.9), (2, 3, 1, 0.8)),
        2: detections((5, 3, 1, 0.95)),
        3: detections((2, 2, 0, 0.7)),
        4: detections((1, 1, 1, 0.9), (3, 3, 1, 0.85), (0, 0, 0, 0.6)),
    }
    (tmp_path / "gallery").mkdir()
    (tmp_path / "gallery" / "best-9.jpg").write_text("of an earlier evaluation")
    split = match_split(val(scenes), found)
    entries = write_gallery(split, tmp_path, each=2)
    assert split.threshold == pytest.approx(0.8)  # below it there are only mistakes
    shown = [(e["kind"], e["image_id"], e["score"], e["caption"]) for e in entries]
    assert shown == [
        ("best", 1, 1.0, "2 of 2 objects found, no false positives at scores from 0.80 (F1 1.00)"),
        ("best", 4, 0.8, "2 of 3 objects found, no false positives at scores from 0.80 (F1 0.80)"),
        ("worst", 2, 0.0, "0 of 1 object found, 1 false positive at scores from 0.80 (F1 0.00)"),
        ("classification", 2, 0.95, "green at score 0.95: the ground truth is red"),
        ("missed", 4, 0.0, "red: found by no box of score 0.80 or more"),
    ]
    assert (tmp_path / "gallery" / "best-9.jpg").is_file(), "until nothing names it"
    tidy_gallery(entries, tmp_path)
    assert sorted(p.name for p in (tmp_path / "gallery").iterdir()) == sorted(e["file"][8:] for e in entries)
    with Image.open(tmp_path / entries[0]["file"]) as picture:
        assert max(picture.size) == 640


@pytest.mark.parametrize(
    ("box", "k", "kind", "words"),
    [
        ((1, 1), 1, "duplicate", "a second box on an object"),
        ((1, 1), 0, "classification", "the ground truth is green"),
        ((1.5, 1), 1, "localisation", "badly placed, IoU 0.33 with the ground truth"),
        ((1.5, 1), 0, "both", "badly placed, IoU 0.33, and the ground truth is green"),
        ((2, 2), 0, "background", "no annotated object here"),
    ],
)
def test_captions_say_what_is_wrong(scenes, tmp_path, box, k, kind, words):
    data = val(scenes)
    found = {record.id: detections() for record in data.images}
    found[4] = detections((1, 1, 1, 0.99), (*box, k, 0.98), (0, 2, 0, 0.97), (3, 3, 1, 0.97))
    entries = write_gallery(match_split(data, found), tmp_path)
    (caption,) = [e["caption"] for e in entries if e["kind"] == kind]
    assert words in caption


def test_a_detector_that_finds_nothing_has_a_gallery_of_misses(scenes, tmp_path):
    data = val(scenes)
    split = match_split(data, {r.id: detections() for r in data.images})
    entries = write_gallery(split, tmp_path)
    assert split.threshold == 0.5
    assert [(e["kind"], e["image_id"]) for e in entries[:3]] == [("worst", 4), ("worst", 1), ("worst", 2)]
    assert {e["kind"] for e in entries[3:]} == {"missed"}


# --- command line -----------------------------------------------------------------------------------------------------


def test_the_command_prints_the_numbers(run, scenes, capsys):
    assert main(["evaluate", str(run.path), "--data", str(scenes), "--device", "cpu"]) == 0
    table = capsys.readouterr().out
    assert "AP50" in table
    assert "green        3" in table
    assert "threshold of the largest F1, chosen on these images: precision " in table
    assert "a box that nothing points at" in table
    assert table.endswith(f"next     focalkit report {run.path}\n")
    assert main(["evaluate", str(run.path), "--out", str(run.path / "elsewhere")]) == 0
    assert "focalkit report" not in capsys.readouterr().out  # it is no run directory
    assert main(["evaluate", str(run.path), "--json", "--out", str(run.path / "again")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["metrics"] == run.read_result()["metrics"]
    assert {"thresholds", "operating", "confusion", "errors"} < set(found["decisions"])
    assert (run.path / "again" / "evaluation.json").is_file()


def test_the_command_names_what_it_cannot_use(run, tmp_path, capsys):
    assert main(["evaluate", str(tmp_path)]) == 2
    assert "not a run directory" in capsys.readouterr().err
    assert main(["evaluate", str(run.path), "--split", "test"]) == 2
    assert "no 'test'" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [["--score-threshold", "1.5"], ["--score-threshold", "nan"], ["--batch-size", "0"]])
def test_numbers_that_cannot_be_are_wrong_usage(run, scenes, tmp_path, capsys, flags):
    commands = [["predict", str(run.path), str(scenes / "images"), "--out", str(tmp_path / "out"), *flags]]
    if "--score-threshold" in flags:
        commands.append(["evaluate", str(run.path), *flags])
    for words in commands:
        assert main(words) == 2
        assert flags[0] in capsys.readouterr().err


@pytest.mark.parametrize("words", [["evaluate"], ["predict", "images", "--no-draw"]])
def test_a_place_that_cannot_be_written_to_is_known_before_the_work(run, scenes, monkeypatch, capsys, words):
    monkeypatch.chdir(scenes)
    monkeypatch.setattr(DensePostprocess, "__call__", None)
    (scenes / "file").write_text("in the way")
    command, *rest = words
    assert main([command, str(run.path), *rest, "--out", "file/below"]) == 2
    err = capsys.readouterr().err
    assert (
        err
        == "focalkit: file/below: cannot be written: there is a file where a folder is needed; choose another place\n"
    )


def test_predict_writes_results_ids_and_pictures(run, scenes, tmp_path, capsys):
    out = tmp_path / "out"
    status = main(["predict", str(run.path), str(scenes / "images"), "--out", str(out), "--score-threshold", "0.1"])
    assert status == 0
    listed = json.loads((out / "images.json").read_text())
    assert [i["id"] for i in listed["images"]] == list(range(1, 13))
    assert {(i["width"], i["height"]) for i in listed["images"]} == {(64, 96), (96, 64), (64, 64)}
    assert listed["categories"] == CATEGORIES
    results = json.loads((out / "predictions.json").read_text())
    coco_ap({**listed, "annotations": []}, results)  # every id is known
    first = listed["images"][0]
    (found,) = Detector.from_run(run.path, score_threshold=0.1).predict(first["file_name"])
    assert len(found) > 0
    assert [r["score"] for r in results if r["image_id"] == 1] == pytest.approx(found.scores.tolist(), abs=0.05)
    assert len(list((out / "drawn").glob("*.jpg"))) == 12
    assert "detections above 0.1 in 12 images" in capsys.readouterr().out


def test_predict_uses_the_threshold_that_the_evaluation_found(run, scenes, tmp_path, capsys):
    picture = str(scenes / "images" / "val" / "val-1.png")
    main(["predict", str(run.path), picture, "--out", str(tmp_path / "a"), "--json"])
    assert json.loads(capsys.readouterr().out)["score_threshold"] == 0.3
    assert evaluate_run(run.path, pictures=0, device="cpu")["best_f1_threshold"] is None  # it finds nothing yet
    main(["predict", str(run.path), picture, "--out", str(tmp_path / "a"), "--json"])
    assert json.loads(capsys.readouterr().out)["score_threshold"] == 0.3
    found = json.loads((run.path / "evaluation.json").read_text())
    write_json_atomic(run.path / "evaluation.json", {**found, "best_f1_threshold": 0.37})
    main(["predict", str(run.path), picture, "--out", str(tmp_path / "a"), "--json"])
    assert json.loads(capsys.readouterr().out)["score_threshold"] == 0.37


def test_predict_skips_and_reports_what_it_cannot_read(run, scenes, tmp_path, capsys):
    broken = scenes / "images" / "val" / "broken.jpg"
    broken.write_bytes(b"no image")
    out = tmp_path / "out"
    assert (
        main(["predict", str(run.path), str(scenes / "images" / "val"), "--out", str(out), "--no-draw", "--json"]) == 2
    )
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found["images"] == 4
    assert "broken.jpg" in found["unreadable"][0]
    assert "skipped: " in printed.err
    assert not (out / "drawn").exists()
    ids = [i["id"] for i in json.loads((out / "images.json").read_text())["images"]]
    assert ids == [2, 3, 4, 5]  # an id belongs to the file, readable or not


def test_predict_never_writes_over_an_image(run, tmp_path, capsys):
    photos = tmp_path / "drawn"
    photos.mkdir()
    Image.new("RGB", (64, 64), "red").save(photos / "a.jpg")
    before = (photos / "a.jpg").read_bytes()
    for given in (photos, photos / "a.jpg"):
        assert main(["predict", str(run.path), str(given), "--out", str(tmp_path)]) == 2
        assert "would be drawn over" in capsys.readouterr().err
    assert (photos / "a.jpg").read_bytes() == before


def test_predict_again_does_not_find_its_own_drawings(run, scenes, tmp_path, capsys):
    folder = scenes / "images" / "val"
    for _ in range(2):
        assert main(["predict", str(run.path), str(folder), "--out", str(folder), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["images"] == 4


def test_files_of_one_name_are_drawn_side_by_side(run, scenes, tmp_path):
    same = [tmp_path / d / "x.png" for d in ("a", "b")]
    for place in same:
        place.parent.mkdir()
        Image.new("RGB", (64, 64)).save(place)
    assert main(["predict", str(run.path), *map(str, same), str(same[0]), "--out", str(tmp_path / "out")]) == 0
    assert sorted(p.name for p in (tmp_path / "out" / "drawn").iterdir()) == ["x-2.jpg", "x.jpg"]


@pytest.mark.parametrize(
    ("given", "message"),
    [("https://example.org/a.jpg", "not fetched without --allow-network"), ("gone.jpg", "no such file")],
)
def test_predict_refuses_urls_and_missing_files_before_it_starts(run, tmp_path, capsys, given, message):
    assert main(["predict", str(run.path), given, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# --- real data --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["facemask", "coco_permissive158"])
def test_the_truth_of_real_data_scores_one_against_itself(shared, name):
    data = open_detection_data(shared / "data" / name, "val", check=False)
    found = {}
    for record in data.images:
        keep = [i for i, crowd in enumerate(record.crowd) if not crowd]
        boxes = torch.tensor([record.boxes[i] for i in keep], dtype=torch.float64).view(-1, 4)
        labels = torch.tensor([record.labels[i] for i in keep], dtype=torch.int64)
        found[record.id] = Detections(boxes, torch.linspace(1, 0.5, len(keep)), labels, data.names)
    result = coco_ap(data.to_coco(), coco_results(found, data.category_ids))
    assert result.metrics["AP"] == 1
    assert {row["AP"] for row in result.per_class.values()} <= {1.0, -1.0}
