"""The learning rate as a function of the step."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from focalkit.config import OptimConfig, TrainConfig
from focalkit.training.schedule import Plan, lr_factor, plan_run, scaled_lr

SCHEDULES = ("constant", "step", "cosine", "onecycle")


def test_step_divides_by_ten_where_the_paper_does():
    at = {s: lr_factor(s, total=90_000, schedule="step", milestones=(2 / 3, 8 / 9)) for s in (59_999, 60_000, 80_000)}
    assert at == pytest.approx({59_999: 1.0, 60_000: 0.1, 80_000: 0.01})


def test_warmup_is_linear_from_a_thousandth_to_one():
    factors = [lr_factor(s, total=10_000, schedule="constant", warmup=100) for s in (0, 50, 100, 101)]
    assert factors == pytest.approx([0.001, (1 + 0.001) / 2, 1.0, 1.0])


def test_warmup_takes_at_most_a_tenth_of_the_run():
    assert lr_factor(9, total=100, schedule="constant", warmup=500) < 1
    assert lr_factor(10, total=100, schedule="constant", warmup=500) == 1


def test_cosine_is_half_way_down_in_the_middle():
    assert lr_factor(500, total=1000, schedule="cosine") == pytest.approx(0.5)


@pytest.mark.parametrize("total", [2, 7, 20, 1000])
def test_onecycle_is_torchs(total):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=total)
    for step in range(total):
        assert lr_factor(step, total=total, schedule="onecycle") == pytest.approx(scheduler.get_last_lr()[0], abs=1e-9)
        optimizer.step()
        if step + 1 < total:
            scheduler.step()


@settings(deadline=None)
@given(st.sampled_from(SCHEDULES), st.integers(1, 500), st.integers(0, 600), st.integers(0, 100))
def test_every_schedule_stays_between_zero_and_one(schedule, total, step, warmup):
    factor = lr_factor(step, total=total, schedule=schedule, warmup=warmup, milestones=(2 / 3, 8 / 9))
    assert 0 <= factor <= 1 + 1e-12


def test_the_rate_is_proportional_to_the_batch():
    assert scaled_lr(0.01, 4, 16) == pytest.approx(0.0025)


@pytest.mark.parametrize(
    ("change", "images", "plan"),
    [
        ({}, 677, Plan(84, 24 * 84, 24, 5e-4)),
        ({"max_steps": 100}, 677, Plan(84, 100, 2, 5e-4)),
        ({"batch_size": 16}, 677, Plan(42, 24 * 42, 24, 1e-3)),
        ({"epochs": 3}, 5, Plan(1, 3, 3, 5e-4)),
    ],
)
def test_the_length_of_a_run(change, images, plan):
    config = TrainConfig(**{"epochs": 24, "batch_size": 8, "optim": OptimConfig(lr=5e-4, lr_batch=8)} | change)
    assert plan_run(config, images) == plan
