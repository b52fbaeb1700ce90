"""What is said of a step whose loss or gradient is not finite, and steps that are left out."""

import json
import math
from dataclasses import replace

import pytest
import torch

from focalkit.training.autopsy import Autopsy, causes
from focalkit.training.losses import LossWindow, NotFiniteError, Seen

FINE = [[-4.0, 3.0], [-5.0, 2.0]]
FOUND = Autopsy(
    step=200,
    losses={"classification": 0.3, "box": 0.2},
    images=[{"id": 7, "file_name": "a.jpg"}],
    logits=FINE,
    positives=12.0,
    ignored=0.01,
    gradient_norm=math.nan,
    lr=0.01,
    warmup_steps=500,
    precision="32-true",
)
NAN, BROKEN = math.nan, [[math.nan, math.nan], [-1.0, 1.0]]


@pytest.mark.parametrize(
    ("changes", "first"),
    [
        ({"losses": {"classification": NAN, "box": 0.2}, "logits": BROKEN}, "the learning rate"),
        ({"losses": {"classification": NAN, "box": 0.2}, "logits": BROKEN, "step": 1}, "the weights at the start"),
        ({"losses": {"classification": NAN, "box": NAN}, "logits": BROKEN, "precision": "16-mixed"}, "float16"),
        ({"losses": {"classification": NAN, "box": 0.2}}, "the classification loss is not finite although"),
        ({"losses": {"classification": 0.3, "box": NAN}}, "the loss box alone"),
        ({"losses": {"classification": 0.3, "box": 0.1}, "positives": 0.0, "step": 1}, "no prior of the batch"),
    ],
)
def test_the_pattern_decides_which_cause_comes_first(changes, first):
    found = causes(replace(FOUND, **changes))
    assert found[0].startswith(first)
    assert len(found) == 3 == len(set(found))


def test_a_gradient_that_grew_is_told_with_its_factor():
    found = replace(FOUND, history=[{"gradient_norm": v} for v in (2.0, 8.0, 30.0)])
    assert "grew 15 times" in causes(found)[0]


def test_the_record_is_plain_json_with_every_fact():
    text = json.dumps(replace(FOUND, losses={"box": -math.inf}).to_json(), allow_nan=False)
    record = json.loads(text)
    assert (record["gradient_norm"], record["losses"], record["logits"]) == ("nan", {"box": "-inf"}, FINE)
    assert len(record["causes"]) == 3


def test_the_window_tells_what_the_first_bad_step_saw():
    window = LossWindow()
    for step, image, norm in ((1, 5, 1.0), (2, 6, math.inf), (3, 7, math.nan)):
        extremes = torch.tensor([[-1.0, float(step)]])
        window.add(step, {"box": torch.tensor(0.5)}, Seen([image], extremes, {"positives": torch.tensor(step)}))
        window.add_norm(step, torch.tensor(norm))
    with pytest.raises(NotFiniteError) as caught:
        window.read()
    assert caught.value.step == 2
    assert caught.value.facts == {"images": [6], "logits": [[-1.0, 2.0]], "positives": 2.0, "gradient_norm": math.inf}


def test_the_window_reads_the_means_of_what_was_seen():
    window = LossWindow()
    for step, positives, norm in ((1, 10, 3.0), (2, 30, 5.0)):
        window.add(step, {"box": torch.tensor(0.5)}, Seen(counts={"positives": torch.tensor(positives)}))
        window.add_norm(step, torch.tensor(norm))
    window.read()
    assert window.facts == {"positives": 20.0, "gradient_norm": 4.0}


def test_a_step_that_was_left_out_counts_in_no_mean():
    window = LossWindow()
    for step, value in ((1, 1.0), (2, math.nan), (3, 3.0)):
        window.add(step, {"box": torch.tensor(value)})
    assert not window.is_finite(2)
    assert window.is_finite(3)
    window.skip(2)
    assert window.read()["box"] == 2.0
    assert window.facts == {"skipped": 1}
