"""Deal images out to the parts of a made split: groups stay whole, and every part gets its share of every class.

Iterative stratification (Sechidis et al., 2011, "On the stratification of multi-label data", algorithm 1) of whole
groups. Beside the paper: a part that has its images gets no more while another lacks some, no part stays empty, and
with `complete` the first part has every class. Pure: reads no files.
"""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Item:
    """An image, as far as a split needs to know it.

    Attributes:
        name: Decides the order; no two items share it.
        group: Items of one group go to one part.
        labels: The classes that it shows.
    """

    name: str
    group: str
    labels: frozenset[int] = frozenset()


def assign(items: Sequence[Item], shares: Sequence[float], seed: int = 0, *, complete: bool = True) -> list[int]:
    """The part of every item, 0 .. len(shares) - 1; the order of the items has no influence.

    Args:
        items: At least as many groups as parts.
        shares: Of the parts; they add up to 1.
        seed: Decides between what is equally good.
        complete: Every class comes to the first part, unless another part would then be empty.

    Raises:
        ValueError: Fewer groups than parts.

    Example:
        >>> assign([Item(n, n) for n in "abcd"], (0.5, 0.5)).count(0)
        2
    """
    members: dict[str, list[int]] = {}
    for place in sorted(range(len(items)), key=lambda i: items[i].name):
        members.setdefault(items[place].group, []).append(place)
    if len(members) < len(shares):
        raise ValueError(f"{len(members)} groups for {len(shares)} parts")
    groups = sorted(members)
    random.Random(seed).shuffle(groups)
    groups.sort(key=lambda group: -len(members[group]))  # large ones while there is room
    shows = {group: Counter(label for i in members[group] for label in items[i].labels) for group in groups}
    parts = _Parts(shares, len(items), shows, complete)
    holders: dict[int, list[str]] = {}
    for group in groups:
        for label in shows[group]:
            holders.setdefault(label, []).append(group)
    waiting = set(holders)
    while waiting:
        label = min(waiting, key=lambda one: (parts.left[one], one))  # the rarest of what is left
        for group in holders[label]:
            parts.give(group, len(members[group]), label)
        waiting.remove(label)
    for group in groups:
        parts.give(group, len(members[group]), None)
    return [parts.of[item.group] for item in items]


class _Parts:
    """What every part has and lacks while groups are given out."""

    def __init__(self, shares: Sequence[float], items: int, shows: dict[str, Counter[int]], complete: bool) -> None:
        totals = sum(shows.values(), Counter[int]())
        self.of: dict[str, int] = {}
        self.left = Counter(label for counts in shows.values() for label in counts)
        self._shows, self._complete = shows, complete
        self._room = _whole(shares, items)
        self._groups = [0] * len(shares)
        self._lacks = [{label: share * total for label, total in totals.items()} for share in shares]
        self._first: set[int] = set()  # classes of the first part

    def give(self, group: str, size: int, label: int | None) -> None:
        """Put a group that has no part yet into the one that lacks most of `label`."""
        if group in self.of:
            return
        part = self._choose(group, label)
        self.of[group] = part
        self._groups[part] += 1
        self._room[part] -= size
        for shown, count in self._shows[group].items():
            self._lacks[part][shown] -= count
            self.left[shown] -= 1
            if part == 0:
                self._first.add(shown)

    def _choose(self, group: str, label: int | None) -> int:
        parts = range(len(self._groups))
        empty = [part for part in parts if not self._groups[part]]
        if len(self._shows) - len(self.of) <= len(empty):
            candidates: Iterable[int] = empty
        elif self._complete and any(self.left[s] == 1 and s not in self._first for s in self._shows[group]):
            return 0  # the last group that shows this class
        else:
            candidates = [part for part in parts if self._room[part] > 0]
        return max(candidates, key=lambda p: (self._lacks[p][label] if label is not None else 0, self._room[p], -p))


def _whole(shares: Sequence[float], items: int) -> list[int]:
    """The shares of so many items as whole numbers of the same sum, by their largest remainders."""
    exact = [share * items for share in shares]
    found = [int(value + 1e-9) for value in exact]
    by_remainder = sorted(range(len(shares)), key=lambda p: (found[p] - exact[p], p))
    for part in by_remainder[: items - sum(found)]:
        found[part] += 1
    return found
