import pytest
import torch

from focalkit.detection import Assignment
from focalkit.detection.matching.sample import BalancedSampler

IGNORE = -100


def assignment(positive, background, ignored=0, seed=0):
    labels = torch.tensor([2] * positive + [-1] * background + [IGNORE] * ignored)
    index = torch.where(labels >= 0, torch.arange(len(labels)), -1)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    return Assignment(labels[order], index[order])


def counts(sample):
    return int((sample.labels >= 0).sum()), int((sample.labels == -1).sum())


@pytest.mark.parametrize(
    ("positive", "background", "expected"),
    [
        (300, 5000, (128, 128)),
        (10, 5000, (10, 246)),  # too few positives: background fills up
        (0, 5000, (0, 256)),
        (300, 50, (128, 50)),  # positives do not fill up: their share is bounded
        (3, 4, (3, 4)),
        (0, 0, (0, 0)),
    ],
)
def test_at_most_half_of_256_are_positive(positive, background, expected):
    sample = BalancedSampler(256, positive_fraction=0.5)(assignment(positive, background, ignored=40))
    assert counts(sample) == expected


def test_the_sampled_keep_their_truth_and_the_others_have_none():
    before = assignment(300, 3000, 100)
    after = BalancedSampler()(before)
    kept = after.labels != IGNORE
    assert torch.equal(after.labels[kept], before.labels[kept])
    assert torch.equal(after.gt_index >= 0, after.labels >= 0)
    assert torch.equal(after.gt_index[after.gt_index >= 0], before.gt_index[after.gt_index >= 0])
    assert not (kept & (before.labels == IGNORE)).any()


def test_the_same_generator_state_gives_the_same_sample():
    def draw(seed):
        sampler = BalancedSampler(generator=torch.Generator().manual_seed(seed))
        return [sampler(assignment(300, 3000)).labels for _ in range(2)]

    first, again, other = draw(1), draw(1), draw(2)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], other[0])


def test_every_prior_has_the_same_chance():
    before = Assignment(torch.tensor([0] * 4 + [-1] * 16), torch.tensor([0] * 4 + [-1] * 16))
    sampler = BalancedSampler(4, generator=torch.Generator().manual_seed(0))
    hits = torch.stack([sampler(before).labels != IGNORE for _ in range(4000)]).float().mean(dim=0)
    torch.testing.assert_close(hits[:4], torch.full((4,), 2 / 4), atol=0.04, rtol=0)
    torch.testing.assert_close(hits[4:], torch.full((16,), 2 / 16), atol=0.03, rtol=0)


def test_off_the_cpu_nothing_is_read_back():
    before = assignment(300, 3000)
    there = Assignment(before.labels.to("meta"), before.gt_index.to("meta"))
    assert BalancedSampler()(there).labels.device.type == "meta"


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"at least 1, got 0"):
        BalancedSampler(0)
    with pytest.raises(ValueError, match=r"in \[0, 1\], got 1.5"):
        BalancedSampler(positive_fraction=1.5)
