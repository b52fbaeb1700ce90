"""A relative of RetinaNet through training, its run directory, evaluation and prediction."""

from dataclasses import replace
from pathlib import Path

import torch

from focalkit._runs import RunDir
from focalkit.cli.demo import config as demo_config
from focalkit.config import CriterionConfig, RuntimeConfig
from focalkit.data import write_demo_scenes
from focalkit.detection import Detector, DistributionCoder
from focalkit.evaluation import evaluate_run
from focalkit.training import train


def test_a_run_says_which_relative_it_is_and_every_later_step_knows(tmp_path: Path, capsys):
    data = write_demo_scenes(tmp_path / "scenes", train=4, val=2, size=96, classes=2, imbalance=1)
    base = replace(
        demo_config(data),
        epochs=1,
        min_size=96,
        max_size=96,
        batch_size=4,
        runtime=RuntimeConfig(workers=0, accelerator="cpu"),
    )
    model = replace(base.model, detector="gfl", head_norm="group", fpn_channels=16, head_channels=16, head_depth=1)
    sampled = CriterionConfig(sample=64)
    result = train(replace(base, model=model, criterion=sampled), tmp_path / "run")
    told = capsys.readouterr().err
    assert "GFL, tiny" in told
    assert "loss    qfl + 2 x giou for boxes" in told
    run = RunDir(tmp_path / "run")
    kept = run.read_config()
    assert (kept.loss, kept.criterion.box_loss, kept.criterion.sample) == ("qfl", "giou", 64)
    assert {"classification", "box", "distribution"} <= set(run.read_metrics()[-1])
    detector = Detector.from_run(tmp_path / "run", "cpu", score_threshold=0.0)
    assert isinstance(detector.postprocess.coder, DistributionCoder)
    assert detector.predict(torch.rand(3, 96, 96))[0].boxes.shape[1] == 4
    evaluation = evaluate_run(tmp_path / "run", pictures=0, device="cpu")
    assert evaluation["metrics"]["AP"] == result["metrics"]["AP"]
