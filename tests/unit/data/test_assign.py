"""Images dealt out to the parts of a made split, for any groups and classes."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from focalkit.data._assign import Item, assign

SHARES = [(0.8, 0.2), (0.8, 0.1, 0.1), (0.5, 0.5), (0.1, 0.9), (0.25,) * 4]


@st.composite
def dealings(draw: st.DrawFn) -> tuple[list[Item], tuple[float, ...], int]:
    """Items in groups of any size that show any classes, among them rare ones; shares; a seed."""
    shares = draw(st.sampled_from(SHARES))
    groups = draw(st.lists(st.integers(0, 12), min_size=len(shares), max_size=60).filter(lambda g: len(set(g)) >= 4))
    shown = [draw(st.frozensets(st.integers(0, 6), max_size=3)) for _ in groups]
    items = [Item(f"{i:03d}", f"g{g}", labels) for i, (g, labels) in enumerate(zip(groups, shown, strict=True))]
    return items, shares, draw(st.integers(0, 5))


@settings(max_examples=40)
@given(dealings())
def test_no_group_is_in_two_parts_and_every_part_has_one(dealing: tuple[list[Item], tuple[float, ...], int]) -> None:
    items, shares, seed = dealing
    parts = assign(items, shares, seed)
    assert len(parts) == len(items)
    assert set(parts) == set(range(len(shares)))
    assert len({(item.group, part) for item, part in zip(items, parts, strict=True)}) == len({i.group for i in items})


@settings(max_examples=40)
@given(dealings(), st.randoms(use_true_random=False))
def test_the_order_of_the_files_does_not_decide(dealing: tuple[list[Item], tuple[float, ...], int], random) -> None:
    items, shares, seed = dealing
    turned = list(items)
    random.shuffle(turned)
    of = dict(zip([item.name for item in turned], assign(turned, shares, seed), strict=True))
    assert assign(items, shares, seed) == [of[item.name] for item in items]


@settings(max_examples=40)
@given(dealings())
def test_the_first_part_has_every_class_unless_another_would_be_empty(
    dealing: tuple[list[Item], tuple[float, ...], int],
) -> None:
    items, shares, seed = dealing
    parts = assign(items, shares, seed)
    trained = {label for item, part in zip(items, parts, strict=True) for label in item.labels if part == 0}
    groups = Counter(part for _, part in {(i.group, p) for i, p in zip(items, parts, strict=True)})
    if any(not item.labels <= trained for item in items):
        assert min(groups[part] for part in range(1, len(shares))) == 1


@settings(max_examples=40)
@given(st.lists(st.frozensets(st.integers(0, 3), max_size=2), min_size=10, max_size=80), st.integers(0, 5))
def test_images_without_groups_are_dealt_out_in_their_shares(shown: list[frozenset[int]], seed: int) -> None:
    items = [Item(f"{i:03d}", f"{i}", labels) for i, labels in enumerate(shown)]
    sizes = Counter(assign(items, (0.8, 0.1, 0.1), seed, complete=False))
    assert all(abs(sizes[p] - share * len(items)) < 1 for p, share in enumerate((0.8, 0.1, 0.1)))


def test_every_part_gets_its_share_of_a_rare_class() -> None:
    """Of 200 images ten show the rare class: a draw without strata leaves val without it every third time."""
    items = [Item(f"{i:03d}", f"{i}", frozenset({0, 1} if i % 20 == 0 else {0})) for i in range(200)]
    for seed in range(5):
        parts = assign(items, (0.8, 0.1, 0.1), seed)
        rare = Counter(part for item, part in zip(items, parts, strict=True) if 1 in item.labels)
        assert rare == {0: 8, 1: 1, 2: 1}
        assert Counter(parts) == {0: 160, 1: 20, 2: 20}


def test_seeds_give_other_parts() -> None:
    items = [Item(f"{i:02d}", f"{i}") for i in range(40)]
    assert assign(items, (0.5, 0.5), 0) == assign(items, (0.5, 0.5), 0) != assign(items, (0.5, 0.5), 1)


def test_fewer_groups_than_parts_are_refused() -> None:
    with pytest.raises(ValueError, match="1 groups for 2 parts"):
        assign([Item("a", "x"), Item("b", "x")], (0.5, 0.5))
