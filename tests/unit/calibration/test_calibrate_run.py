"""`focalkit calibrate RUN`, and that `predict` applies what it left there."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from focalkit.calibration import AppliedCalibration, focal_to_posterior
from focalkit.cli import main
from focalkit.detection import AugmentedDetector, Detector
from focalkit.errors import ConfigError


def calibrate(run: Path, *words: str) -> int:
    return main(["calibrate", str(run), "--method", "platt", "--device", "cpu", *words])


def photos(run: Path) -> list[Path]:
    data = json.loads((run / "run.json").read_text())["config"]["data"]["path"]
    return sorted((Path(data) / "images" / "val").glob("*.png"))[:4]


def test_a_run_keeps_its_calibration_and_its_detector_applies_it(calibrated_run: Path, capsys: pytest.CaptureFixture):
    plain = Detector.from_run(calibrated_run, "cpu")
    assert plain.calibration is None
    (calibrated_run / "report.html").write_text("of the training")
    assert calibrate(calibrated_run, "--json") == 0
    assert "After calibration" in (calibrated_run / "report.html").read_text(encoding="utf-8")
    table = json.loads(capsys.readouterr().out)["table"]
    assert table["D-ECE"]["precision"] < 0.5 * table["D-ECE"]["before"]
    assert table["AP"]["precision"] == pytest.approx(table["AP"]["before"], abs=1e-3)
    assert (calibrated_run / "calibration" / "report.html").is_file()
    stored = json.loads((calibrated_run / "calibration.json").read_text())
    assert [c["id"] for c in stored["categories"]] == [4, 9]

    detector = Detector.from_run(calibrated_run, "cpu")
    applied = AppliedCalibration.read(calibrated_run / "calibration.json", ("red", "green"))
    for before, after in zip(
        plain.predict(photos(calibrated_run)), detector.predict(photos(calibrated_run)), strict=True
    ):
        mapped = applied.scores.transform(before.scores, before.labels)
        torch.testing.assert_close(after.scores, mapped.sort(descending=True).values)
        kept = detector.predict(photos(calibrated_run)[:1], "calibrated")[0]
        cuts = torch.tensor(applied.thresholds)[kept.labels]
        assert bool((kept.scores >= cuts.float()).all())
    off = Detector.from_run(calibrated_run, "cpu", calibrated=False).predict(photos(calibrated_run))
    assert all(torch.equal(a.scores, b.scores) for a, b in zip(off, plain.predict(photos(calibrated_run)), strict=True))
    assert AugmentedDetector(detector, (1.0,), flip=False).predict(photos(calibrated_run), "calibrated")


def test_predict_applies_thresholds_unless_told_not_to(
    calibrated_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    assert calibrate(calibrated_run, "--target-precision", "0.5") == 0
    found = {}
    for name, words in {"on": [], "off": ["--no-calibration", "--score-threshold", "0.05"]}.items():
        command = ["predict", str(calibrated_run), *map(str, photos(calibrated_run)), "--no-draw", "--device", "cpu"]
        assert main([*command, "--out", str(tmp_path / name), *words]) == 0
        found[name] = json.loads((tmp_path / name / "predictions.json").read_text())
    assert "at the calibrated thresholds" in capsys.readouterr().out
    stored = json.loads((calibrated_run / "calibration.json").read_text())
    cuts = dict(zip((4, 9), stored["thresholds"]["values"], strict=True))
    assert all(row["score"] >= cuts[row["category_id"]] - 1e-6 for row in found["on"])
    assert 0 < len(found["on"]) < len(found["off"])


def test_predict_gives_the_posterior_of_focal_loss(calibrated_run: Path, tmp_path: Path):
    scores = {}
    for name, words in {"plain": [], "posterior": ["--posterior"]}.items():
        command = ["predict", str(calibrated_run), str(photos(calibrated_run)[0]), "--no-draw", "--device", "cpu"]
        assert main([*command, "--out", str(tmp_path / name), "--score-threshold", "0.05", *words]) == 0
        rows = json.loads((tmp_path / name / "predictions.json").read_text())
        scores[name] = torch.tensor([row["score"] for row in rows])
    wanted = focal_to_posterior(scores["plain"], 2.0, 0.25, kind="sigmoid")
    wanted = wanted[wanted > 0.05].sort(descending=True).values
    torch.testing.assert_close(scores["posterior"], wanted, atol=1e-6, rtol=0)


def test_the_posterior_of_an_alpha_per_class_is_refused(calibrated_run: Path, tmp_path: Path, capsys):
    file = calibrated_run / "run.json"
    record = json.loads(file.read_text())
    record["config"]["loss"] = "focal(alpha=[0.25, 0.5])"
    file.write_text(json.dumps(record))
    words = ["predict", str(calibrated_run), str(photos(calibrated_run)[0]), "--posterior", "--device", "cpu"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    assert "--posterior knows one gamma and one alpha for all classes" in capsys.readouterr().err


def test_rows_that_trained_are_refused(calibrated_run: Path, capsys: pytest.CaptureFixture):
    assert calibrate(calibrated_run, "--split", "train") == 2
    assert "trained this detector" in capsys.readouterr().err


def test_images_that_trained_are_left_out_whatever_their_name(calibrated_run: Path, capsys: pytest.CaptureFixture):
    """A third of the validation images become the training split, under other names."""
    config = json.loads((calibrated_run / "run.json").read_text())
    source = Path(config["config"]["data"]["path"])
    data = calibrated_run.parent / "data"
    shutil.copytree(source, data)
    truth = json.loads((data / "annotations" / "instances_val.json").read_text())
    trained = truth["images"][:10]
    (data / "images" / "train").mkdir()
    for image in trained:
        shutil.copy(data / "images" / "val" / image["file_name"], data / "images" / "train" / f"t{image['id']}.png")
    kept = {image["id"] for image in trained}
    images = [{**image, "file_name": f"t{image['id']}.png"} for image in trained]
    boxes = [a for a in truth["annotations"] if a["image_id"] in kept]
    (data / "annotations" / "instances_train.json").write_text(
        json.dumps({**truth, "images": images, "annotations": boxes})
    )
    config["config"]["data"]["path"] = str(data)
    (calibrated_run / "run.json").write_text(json.dumps(config))
    assert calibrate(calibrated_run, "--fraction", "0.5") == 0
    assert "FK204: 10 of 30 images trained this detector and are left out: 1.png, 10.png, 2.png, ..." in (
        capsys.readouterr().out
    )
    stored = json.loads((calibrated_run / "calibration.json").read_text())
    assert sorted(stored["split"]["fit"] + stored["split"]["judged"]) == list(range(11, 31))
    assert calibrate(calibrated_run, "--data", str(data), "--split", "train") == 2

    results = json.loads((calibrated_run / "calibration" / "predictions.json").read_text())
    (calibrated_run / "predictions.json").write_text(json.dumps(results))
    instances = str(data / "annotations" / "instances_val.json")
    for image in images:  # the results in a run are known by name and size
        image["file_name"] = image["file_name"].removeprefix("t")
    (data / "annotations" / "instances_train.json").write_text(
        json.dumps({**truth, "images": images, "annotations": boxes})
    )
    for image in trained:
        (data / "images" / "train" / f"t{image['id']}.png").rename(data / "images" / "train" / f"{image['id']}.png")
    command = ["calibrate", str(calibrated_run / "predictions.json"), "--truth", instances]
    assert main([*command, "--out", str(calibrated_run / "again")]) == 0
    assert "FK204: 10 of 30 images" in capsys.readouterr().out

    for image in trained:  # the same names of other pictures say nothing
        file = data / "images" / "train" / f"{image['id']}.png"
        Image.new("RGB", (image["width"], image["height"]), (1, 2, 3)).save(file)
    assert main([*command, "--out", str(calibrated_run / "others")]) == 0
    assert "FK204" not in capsys.readouterr().out


def test_a_calibration_of_other_classes_is_refused(calibrated_run: Path):
    assert calibrate(calibrated_run) == 0
    file = calibrated_run / "calibration.json"
    file.write_text(file.read_text().replace('"green"', '"blue"'))
    with pytest.raises(ConfigError, match="is the calibration of red, blue, the detector knows red, green"):
        Detector.from_run(calibrated_run, "cpu")
    file.write_text("{")
    with pytest.raises(ConfigError, match="cannot be read as what `focalkit calibrate` writes"):
        Detector.from_run(calibrated_run, "cpu")


@pytest.mark.parametrize(("words", "message"), [(["--truth", "x.json"], "--data DATA"), (["--data", "no"], "no")])
def test_what_does_not_fit_a_run_is_named(calibrated_run: Path, capsys, words: list[str], message: str):
    assert calibrate(calibrated_run, *words) == 2
    assert message in capsys.readouterr().err


def test_thresholds_of_a_calibration_need_one(calibrated_run: Path):
    with pytest.raises(ValueError, match="has no calibration"):
        Detector.from_run(calibrated_run, "cpu").predict(photos(calibrated_run), "calibrated")
