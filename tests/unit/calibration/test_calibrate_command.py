"""`focalkit calibrate` on results and annotations: what it writes, what it finds, what it refuses."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from focalkit.calibration import DetectionCalibration, calibrate_detections, calibrate_results, detection_thresholds
from focalkit.cli import main
from focalkit.cli.calibrate import cut_text
from focalkit.metrics import (
    coco_ap,
    detection_calibration_error,
    match_coco,
    matches_calibration_error,
    operating_point,
)


def over_confident(images: int = 60, seed: int = 0) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Two frequent classes and a rare one; a detection that says s is right with probability s^2."""
    rng = np.random.default_rng(seed)
    truth: dict[str, Any] = {
        "images": [{"id": i, "width": 200, "height": 200, "file_name": f"{i}.jpg"} for i in range(images)],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}, {"id": 7, "name": "lynx"}],
        "annotations": [],
    }
    results = []
    for image in range(images):
        for place in range(12):
            corner, score = [40.0 * (place % 4), 60.0 * (place // 4)], float(rng.random())
            category = int(rng.choice([1, 2, 7], p=[0.5, 0.45, 0.05]))
            right = rng.random() < score**2
            shift = float(rng.normal() * 1.5) if right else 0.0
            box = [corner[0] + shift, corner[1], 30.0, 30.0]
            results.append({"image_id": image, "category_id": category, "score": score, "bbox": box})
            if right or rng.random() < 0.1:
                category = category if right else int(rng.choice([1, 2]))
                width = 30.0 if right else 9.0
                truth["annotations"].append(
                    {"id": len(truth["annotations"]) + 1, "image_id": image, "category_id": category}
                    | {"bbox": [*corner, width, 30.0], "area": 900.0, "iscrowd": 0}
                )
    return truth, results


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("files")
    truth, results = over_confident(120)
    (folder / "instances.json").write_text(json.dumps(truth))
    (folder / "results.json").write_text(json.dumps(results))
    return folder / "results.json", folder / "instances.json"


def run(files: tuple[Path, Path], *words: str) -> int:
    return main(["calibrate", str(files[0]), "--truth", str(files[1]), *words])


def test_it_writes_maps_thresholds_numbers_and_a_page(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture
):
    assert run(files, "--target-precision", "0.8", "--out", str(tmp_path)) == 0
    said = capsys.readouterr().out
    assert said.startswith("Take the ")
    assert "At the thresholds chosen for precision 0.8 precision is 0." in said
    assert "applied" not in said, "nothing applies the maps of somebody else's detector"
    assert "lynx" in said
    stored = json.loads((tmp_path / "calibration.json").read_text())
    assert [c["id"] for c in stored["categories"]] == [1, 2, 7]
    assert len(stored["thresholds"]["values"]) == 3
    assert sorted(stored["split"]["fit"] + stored["split"]["judged"]) == list(range(120))
    page = (tmp_path / "report.html").read_text()
    assert all(word in page for word in ("D-ECE", "After calibration", "found as", "lynx"))
    report = json.loads((tmp_path / "report.json").read_text())
    assert 2 * report["table"]["D-ECE"]["precision"] < report["table"]["D-ECE"]["before"]

    truth, results = over_confident(120)
    calibration = DetectionCalibration().load_state_dict(stored["maps"]["precision"])
    wanted = calibrate_results(results, calibration, [c["id"] for c in stored["categories"]])
    assert json.loads((tmp_path / "predictions.json").read_text()) == wanted
    assert coco_ap(truth, wanted).metrics["AP"] == pytest.approx(coco_ap(truth, results).metrics["AP"], abs=1e-3)
    assert detection_calibration_error(truth, wanted) < 0.5 * detection_calibration_error(truth, results)


def test_the_same_seed_gives_the_same_result_and_another_another(files: tuple[Path, Path], tmp_path: Path):
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        assert run(files, "--method", "platt", "--seed", seed, "--out", str(tmp_path / name)) == 0
    a, b, c = ((tmp_path / name / "calibration.json").read_text() for name in "abc")
    assert a == b != c


@pytest.mark.parametrize("words", [("--f-beta", "2"), ("--target-recall", "0.8"), ("--method", "box")])
def test_json_has_the_numbers(files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture, words: tuple):
    assert run(files, *words, "--json", "--out", str(tmp_path)) == 0
    found = json.loads(capsys.readouterr().out)
    assert 0 < found["operating"]["recall"] < 1
    assert found["table"]["LaECE_0"]["localisation"] < found["table"]["LaECE_0"]["before"]


def test_costs_come_from_a_file(files: tuple[Path, Path], tmp_path: Path):
    def recall(content: str) -> float:
        (tmp_path / "costs.csv").write_text(content)
        assert run(files, "--cost", str(tmp_path / "costs.csv"), "--out", str(tmp_path)) == 0
        return json.loads((tmp_path / "report.json").read_text())["operating"]["all"]["recall"]

    assert recall("# truth by decision\n0, 1\n20, 0\n") > recall("0,20\n1,0\n")


def test_precision_thresholds_hold_on_the_other_images_and_guarantees_more_so():
    truth, results = over_confident(300, seed=1)
    study = calibrate_detections(truth, results, target_precision=0.8)
    assert study.operating["all"]["precision"] >= 0.77
    sure = calibrate_detections(truth, results, target_precision=0.8, confidence=0.95)
    assert sure.operating["all"]["precision"] >= 0.8
    assert sure.operating["all"]["recall"] < study.operating["all"]["recall"]


def test_thresholds_before_the_map_keep_what_those_after_it_keep():
    truth, results = over_confident(120)
    study = calibrate_detections(truth, results, target_precision=0.8)
    place = {category: c for c, category in enumerate(study.category_ids)}
    after = calibrate_results(results, study.maps["precision"], study.category_ids)
    labels = [place[row["category_id"]] for row in results]
    kept = [row["score"] >= float(study.uncalibrated[c]) for row, c in zip(results, labels, strict=True)]
    wanted = [row["score"] >= float(study.thresholds.values[c]) for row, c in zip(after, labels, strict=True)]
    assert kept == wanted
    assert 0 < sum(kept) < len(kept)
    assert bool(calibrate_detections(truth, results, method="box").uncalibrated.isnan().all())


def test_intervals_hold_what_many_more_images_show():
    truth, results = over_confident(120)
    study = calibrate_detections(truth, results, method="platt", target_precision=0.8)
    many_truth, many = over_confident(2000, seed=5)
    fitted, cuts = study.maps["precision"], study.thresholds.values
    rows = match_coco(many_truth, calibrate_results(many, fitted, study.category_ids))
    found = operating_point(rows, cuts)["all"]
    for name in ("precision", "recall"):
        low, high = study.intervals[name]
        assert low < found[name] < high
        assert 0.02 < high - low < 0.2
    low, high = study.intervals["D-ECE fall"]
    fall = detection_calibration_error(many_truth, many) - matches_calibration_error(rows)
    assert low < fall < high


def test_a_class_without_a_threshold_shows_the_one_it_gets(files: tuple[Path, Path], tmp_path: Path, capsys):
    assert run(files, "--target-precision", "0.8", "--confidence", "0.95", "--out", str(tmp_path)) == 0
    said = capsys.readouterr().out
    assert "chosen for precision 0.8 with 95% confidence" in said
    stored = json.loads((tmp_path / "calibration.json").read_text())["thresholds"]
    pooled = stored["pooled"]["values"]
    assert stored["values"][0] is None
    assert f"{pooled:.3f}*" in said
    assert "* no threshold of its own: that of all classes together" in said
    assert None not in stored["uncalibrated"]


def test_results_of_other_images_are_remarked_upon(files: tuple[Path, Path], tmp_path: Path, capsys):
    results = [row for row in json.loads(files[0].read_text()) if row["image_id"] < 60]
    (tmp_path / "some.json").write_text(json.dumps(results))
    assert run((tmp_path / "some.json", files[1]), "--out", str(tmp_path / "out")) == 0
    assert "images with boxes have no detections" in capsys.readouterr().out


def test_rare_classes_take_the_pooled_threshold_and_say_so():
    truth, results = over_confident()
    thresholds, pooled = detection_thresholds(match_coco(truth, results), f_beta=1.0, min_positives=30)
    assert float(thresholds.values[2]) == float(pooled.values)
    assert "fewer than 30" in thresholds.reason[2]
    cuts = zip(thresholds.values.tolist(), thresholds.reason, strict=True)
    shown = [cut_text(value, reason, float(pooled.values)) for value, reason in cuts]
    assert [cut.endswith("*") for cut in shown] == [False, False, True]
    assert thresholds.interval.shape == (3, 2)


def test_a_class_never_detected_is_counted_as_missed():
    truth, results = over_confident()
    study = calibrate_detections(truth, [row for row in results if row["category_id"] != 7])
    row = study.operating["classes"][2]
    assert row["recall"] == 0
    assert row["precision"] != row["precision"]  # NaN
    assert int(study.confusion[2].sum()) == row["missed"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t, r: r.clear(), "there are no detections in it"),
        (lambda t, r: r[0].update(score=3.2), "detection number 1: the score is 3.2"),
        (lambda t, r: r[0].update(image_id=999), "image_id 999, which is not in the ground truth"),
        (lambda t, r: r[0].update(category_id=9), "category_id 9, which is not in the ground truth"),
        (lambda t, r: t["annotations"].clear(), "train the detector longer; a file of results needs"),
        (lambda t, r: t["images"].__delitem__(slice(3, None)), "which is not in the ground truth"),
        (lambda t, r: t.pop("images"), "expected COCO annotations"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, capsys: pytest.CaptureFixture, change, words: str):
    truth, results = over_confident(8)
    change(truth, results)
    (tmp_path / "t.json").write_text(json.dumps(truth))
    (tmp_path / "r.json").write_text(json.dumps(results))
    assert run((tmp_path / "r.json", tmp_path / "t.json"), "--out", str(tmp_path / "out")) == 2
    said = capsys.readouterr().err
    assert words in said
    assert str(tmp_path) in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target-precision", "1.5"], "target_precision must be"),
        (["--f-beta", "1", "--target-recall", "0.5"], "exactly one of"),
        (["--fraction", "2"], "fraction must lie"),
        (["--cost", "nowhere.csv"], "nowhere.csv: cannot be read"),
    ],
)
def test_bad_options_are_named(files: tuple[Path, Path], capsys: pytest.CaptureFixture, words: list, message: str):
    assert run(files, *words) == 2
    assert message in capsys.readouterr().err


def test_results_without_truth_are_refused(files: tuple[Path, Path], capsys: pytest.CaptureFixture):
    assert main(["calibrate", str(files[0])]) == 2
    assert "--truth FILE" in capsys.readouterr().err


def test_results_may_name_their_images_by_their_files(files, tmp_path, capsys):
    truth, rows = (json.loads(file.read_text()) for file in (files[1], files[0]))
    for image in truth["images"]:
        image["file_name"] = f"images/photo {image['id']}.jpg"
    spelt = [{**r, "image_id": f"photo {r['image_id']}" + ".jpg" * (r["image_id"] % 2)} for r in rows]
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    found = []
    for name, given in (("ids", rows), ("names", spelt)):
        (tmp_path / f"{name}.json").write_text(json.dumps(given))
        assert run((tmp_path / f"{name}.json", tmp_path / "truth.json"), "--out", str(tmp_path / name)) == 0
        found.append((tmp_path / name / "calibration.json").read_text())
    assert f"{len(rows)} detections name their image by its file" in capsys.readouterr().out
    assert found[0] == found[1]


def test_ids_as_text_are_those_of_the_numbers():
    truth, results = over_confident(60)
    study = calibrate_detections(truth, results, method="box")
    sizes = {image["id"]: (image["width"], image["height"]) for image in truth["images"]}
    told = [{**row, "image_id": str(row["image_id"]), "category_id": str(row["category_id"])} for row in results]
    arguments = study.maps["precision"], study.category_ids, sizes
    scores = [[row["score"] for row in calibrate_results(rows, *arguments)] for rows in (results, told)]
    assert scores[0] == scores[1]
