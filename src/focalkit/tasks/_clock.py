"""How far a training is: by its steps or, where its time is limited, by that, whichever is further."""

import time
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Clock:
    """Of one training, or one stage of it; it runs from the moment it is made.

    Attributes:
        steps: At most so many.
        seconds: At most so many; None: no limit.
        began: In `time.perf_counter`'s seconds.

    Example:
        >>> Clock(steps=200).share(50)
        0.25
    """

    steps: int
    seconds: float | None = None
    began: float = field(default_factory=time.perf_counter)

    def share(self, step: int) -> float:
        """What is done after `step` steps, in 0..1; schedules go by it, so that they end when the time does."""
        by_steps = step / self.steps if self.steps else 1.0
        if self.seconds is None:
            return by_steps
        return min(1.0, max(by_steps, (time.perf_counter() - self.began) / max(self.seconds, 1e-9)))

    def stage(self, steps: int) -> "Clock":
        """A clock that starts now, of so many of the steps and as large a share of the seconds."""
        return Clock(steps, None if self.seconds is None else self.seconds * steps / max(self.steps, 1))
