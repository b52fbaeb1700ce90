"""The order of the training images."""

from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from focalkit.training.order import EpochOrder, mix


def steps(order: EpochOrder, batch: int) -> list[list[int]]:
    indices = list(order)
    return [indices[i : i + batch] for i in range(0, len(indices), batch)]


@settings(deadline=None)
@given(st.integers(1, 60), st.sampled_from([1, 2, 4]), st.sampled_from([1, 2, 3]), st.integers(0, 5))
def test_every_number_of_processes_and_passes_sees_the_same_images_per_step(images, world, accumulate, epoch):
    batch = 24
    alone = EpochOrder(images, batch=batch, seed=3)
    alone.set_epoch(epoch)
    ranks = [EpochOrder(images, batch=batch, seed=3, rank=r, world=world, accumulate=accumulate) for r in range(world)]
    for order in ranks:
        order.set_epoch(epoch)
    dealt = [steps(order, batch // world) for order in ranks]
    assert [sorted(step) for step in steps(alone, batch)] == [
        sorted(chain.from_iterable(parts)) for parts in zip(*dealt, strict=True)
    ]


def test_an_epoch_uses_no_image_twice_and_leaves_less_than_a_batch_out():
    seen = list(EpochOrder(45, batch=8, seed=0))
    assert len(seen) == len(set(seen)) == 40


def test_epochs_and_seeds_differ():
    def first(seed, epoch):
        order = EpochOrder(100, batch=10, seed=seed)
        order.set_epoch(epoch)
        return list(order)

    assert len({tuple(first(s, e)) for s in (0, 1) for e in (0, 1)}) == 4


@settings(deadline=None)
@given(st.integers(0, 40))
def test_resuming_continues_the_sequence(start):
    whole = EpochOrder(25, batch=4, seed=1)
    sequence = []
    for epoch in range(8):
        whole.set_epoch(epoch)
        sequence += list(whole)
    resumed = EpochOrder(25, batch=4, seed=1, start_step=start)
    rest = []
    for epoch in range(start // 6, 8):
        if epoch > start // 6:
            resumed.set_epoch(epoch)
        rest += list(resumed)
    assert rest == sequence[start * 4 :]


def test_a_small_data_set_is_repeated_to_fill_a_batch():
    indices = list(EpochOrder(3, batch=8, seed=0))
    assert len(indices) == 8
    assert {indices.count(i) for i in range(3)} <= {2, 3}


def test_the_epoch_is_announced_before_its_first_image():
    told = []
    order = EpochOrder(8, batch=4, seed=0, start_step=3, on_epoch=told.append)
    next(iter(order))
    assert told == [1]


def test_images_of_one_shape_share_a_batch():
    upright = [i % 3 == 0 for i in range(90)]
    batches = steps(EpochOrder(90, batch=6, seed=0, upright=upright), 6)
    assert sorted(chain.from_iterable(batches)) == list(range(90))
    assert all(len({upright[i] for i in batch}) == 1 for batch in batches)


def test_a_batch_that_cannot_be_dealt_out_is_refused():
    with pytest.raises(ValueError, match="divisible by 2 processes x 2 passes, got 6"):
        EpochOrder(10, batch=6, seed=0, world=2, accumulate=2)


def test_mix_depends_on_every_number_and_its_place():
    assert len({mix(0, 0), mix(0, 1), mix(1, 0), mix(1, 1), mix(0), mix(1)}) == 6
    assert mix(7, 5) == mix(7, 5) < 2**63


def test_repeated_images_come_as_often_as_their_factors_say_and_epochs_stay_as_long():
    factors = [1.0] * 8 + [2.5, 4.0]
    order = EpochOrder(10, batch=2, seed=3, repeats=factors)
    counts = [0] * 10
    for epoch in range(600):
        order.set_epoch(epoch)
        seen = list(order)
        assert len(seen) == 10
        for image in seen:
            counts[image] += 1
    per_factor = [count / factor for count, factor in zip(counts, factors, strict=True)]
    assert max(per_factor) < 1.2 * min(per_factor)
    assert list(EpochOrder(10, batch=2, seed=3, repeats=factors)) == list(
        EpochOrder(10, batch=2, seed=3, repeats=factors)
    )
