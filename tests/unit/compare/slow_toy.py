"""The toy task with fits that take a while, for comparisons that are killed; run as a program, such a comparison.

python slow_toy.py DATA OUT SEEDS JOBS
"""

import sys
import time
from pathlib import Path

from toy_task import Toy  # pyright: ignore[reportMissingImports]

PAUSE = 0.1


class SlowToy(Toy):
    def fit(self, method, splits, budget, seed, out):
        time.sleep(PAUSE)
        return super().fit(method, splits, budget, seed, out)


TASK = SlowToy()

if __name__ == "__main__":
    from focalkit.compare import Method, compare

    methods = ["ce", Method("adjusted", adjust="logit_adjustment", tasks=None)]
    methods += [Method(f"lr{i}", settings={"lr": 1 + i / 10}, tasks=None) for i in range(3)]
    data, out, seeds, jobs = sys.argv[1:]
    compare(data, methods, task="slow_toy:TASK", out=Path(out), seeds=int(seeds), jobs=int(jobs))
