"""Batches of like shape."""

from focalkit.training.order import EpochOrder


def test_all_batches_but_the_last_hold_one_shape_and_every_image_comes_at_most_once() -> None:
    upright = [i % 3 == 0 for i in range(50)]
    order = list(EpochOrder(50, batch=8, seed=3, upright=upright))
    batches = [order[i : i + 8] for i in range(0, len(order), 8)]
    assert len(order) == 48
    assert len(set(order)) == 48
    assert all(len({upright[i] for i in batch}) == 1 for batch in batches[:-1])
    assert {upright[batch[0]] for batch in batches} == {True, False}


def test_shapes_change_no_step_between_one_process_and_two() -> None:
    upright = [i % 2 == 0 for i in range(20)]
    one = list(EpochOrder(20, batch=4, seed=0, upright=upright))
    two = [list(EpochOrder(20, batch=4, seed=0, upright=upright, rank=r, world=2)) for r in (0, 1)]
    steps = [two[0][2 * s : 2 * s + 2] + two[1][2 * s : 2 * s + 2] for s in range(5)]
    assert [one[4 * s : 4 * s + 4] for s in range(5)] == steps
