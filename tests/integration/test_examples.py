"""Every example runs as its docstring says, in a fresh process, and does what it promises."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, *arguments: object) -> str:
    words = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_loss_example_finds_the_rare_points():
    found = re.findall(
        r"average precision ([\d.]+) .*by chance ([\d.]+)", run("loss_in_your_own_loop.py", "focal", "bce")
    )
    assert len(found) == 2
    assert all(float(precision) > 5 * float(chance) for precision, chance in found)


@pytest.mark.slow
def test_training_then_predicting_leaves_a_report_and_drawn_images(tmp_path: Path):
    out = run("train_a_detector.py", tmp_path, 16, 1)
    assert len(re.findall(r"AP \d\.\d{3}", out)) == 2
    assert (tmp_path / "report.html").stat().st_size > 100_000
    image = tmp_path / "scenes/images/val/val_00001.jpg"
    assert str(image) in run("predict.py", tmp_path / "focal", tmp_path / "drawn", image)
    assert (tmp_path / "drawn/val_00001.png").is_file()


def test_no_example_is_forgotten():
    tested = re.findall(r'run\("(\w+\.py)"', Path(__file__).read_text())
    assert sorted(set(tested)) == sorted(path.name for path in EXAMPLES.glob("*.py"))
