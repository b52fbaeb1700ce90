"""Stop a fit at a loss or gradient that is not finite: at which step, on which items, and the likeliest causes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from focalkit.errors import DivergedError
from focalkit.training.autopsy import Autopsy
from focalkit.training.losses import LossWindow, NotFiniteError, Seen

ADVICE = {
    "lr": "try a third of it, as a method of your own with `settings`, or let --tune look for one",
    "items": "something in these {items}: `focalkit inspect DATA`, and compare without them to see",
}
"""What `focalkit compare` can do about each cause."""


class Watch:
    """Remembers every step of one training on its device, until a look at them, which waits for the device.

    Args:
        items: What a batch is made of: "images", "rows".
        name: Of an item by its id, where it has one beside the id.
    """

    def __init__(self, items: str, name: Callable[[Any], str] = lambda _: "") -> None:
        self.items, self.name = items, name
        self._window, self._rates, self._earlier = LossWindow(), dict[int, float](), list[dict[str, float]]()

    def step(self, step: int, losses: Mapping[str, Tensor], seen: Seen, norm: Tensor, lr: float) -> None:
        """Remember a step, counted from 1: its 0-d losses, what it saw, the gradient's norm, the learning rate."""
        self._window.add(step, dict(losses), seen)
        self._window.add_norm(step, norm)
        self._rates[step] = lr

    def look(self) -> None:
        """Read the steps since the last look; the processes that share a fit look after the same ones.

        Raises:
            DivergedError: With the first step whose loss or gradient is not finite in any of the processes.
        """
        try:
            means = self._window.read()
        except NotFiniteError as error:
            found = self._autopsy(error)
            raise DivergedError(found.summary(), found.to_json()) from None
        self._earlier = [*self._earlier, means | self._window.facts][-10:]
        self._rates.clear()

    def _autopsy(self, error: NotFiniteError) -> Autopsy:
        facts, ids = error.facts, plain(error.facts["images"])
        return Autopsy(
            step=error.step,
            losses=error.values,
            images=[{"id": i, "file_name": self.name(i)} for i in ids],
            logits=facts["logits"],
            positives=facts.get("positives"),
            ignored=facts.get("ignored"),
            gradient_norm=facts.get("gradient_norm"),
            lr=self._rates[error.step],
            warmup_steps=0,
            precision="32",
            history=[*self._earlier, *error.before][-10:],
            items=self.items,
            advice=ADVICE | {"items": ADVICE["items"].format(items=self.items)},
        )


def plain(ids: Sequence[Any]) -> list[Any]:
    """Ids as JSON takes them; of rows that were made, which have the id -1, there are none."""
    return [i for i in np.asarray(ids).tolist() if i != -1]
