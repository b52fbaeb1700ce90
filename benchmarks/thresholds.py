"""From which size on a loss is worth a single pass, and a compilation: the measurements behind `kernels/dispatch.py`.

    python benchmarks/thresholds.py native dense softmax asl --json benchmarks/results/thresholds.json

Times value and gradient on the CPU at sizes from 2^4 to 2^22 elements, all ways in turn, and compiles once in a fresh
process with an empty cache (focal losses came compiled). "pays after": elements that must pass through the loss until
the compilation has saved as much time as it took, against what would run without it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from focalkit import losses
from focalkit.kernels import dispatch

SIZES = [2**n for n in (4, 7, *range(10, 23))]
WAYS = ("eager", "chunked", "compiled")
CLASSES = 80


def native(n: int):
    side = max(int((n / (9 * CLASSES)) ** 0.5), 1)
    x = torch.randn(1, 9 * CLASSES, side, max(round(n / (9 * CLASSES * side)), 1)) * 1.5 - 4.6
    y = torch.where(torch.rand(1, 9, *x.shape[2:]) < 0.01, 3, -1)
    return x, lambda x, backend: losses.dense_sigmoid_focal_loss([x], [y], num_classes=CLASSES, backend=backend)


def dense(n: int):
    x = torch.randn(max(n // 64, 1), 64) * 1.5 - 4.6
    t = (torch.rand_like(x) < 1e-3).float()
    return x, lambda x, backend: losses.sigmoid_focal_loss(x, t, reduction="sum", backend=backend)


def softmax(n: int):
    x = torch.randn(n // 16, 16)
    y = torch.randint(16, (n // 16,))
    return x, lambda x, backend: losses.softmax_focal_loss(x, y, reduction="sum", backend=backend)


def asl(n: int):
    x = torch.randn(max(n // 64, 1), 64)
    t = (torch.rand_like(x) < 1e-2).float()
    return x, lambda x, backend: losses.asymmetric_loss(x, t, reduction="sum", backend=backend)


CASES = {"native": native, "dense": dense, "softmax": softmax, "asl": asl}


def run(way: str, x: torch.Tensor, loss) -> None:
    x.grad = None
    usual = dispatch.machine
    if way == "chunked":
        dispatch.machine = lambda: dispatch.Machine(frozenset(), {"cpu": "left out"})
    loss(x, "auto" if way == "chunked" else way).backward()
    dispatch.machine = usual


def measure(name: str, seconds: float = 0.9) -> dict[str, dict[str, float]]:
    """Size -> backend -> median microseconds."""
    dispatch.SMALL = dispatch.CHUNKED = 1  # chunked is to run at every size
    table = {}
    for n in SIZES:
        torch.manual_seed(0)
        x, loss = CASES[name](n)
        x.requires_grad_()
        taken: dict[str, list[float]] = {way: [] for way in WAYS}
        for way in WAYS:
            run(way, x, loss)
            run(way, x, loss)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or len(taken["eager"]) < 5:
            for way in WAYS:
                start = time.perf_counter()
                run(way, x, loss)
                taken[way].append(time.perf_counter() - start)
        table[str(x.numel())] = {way: round(1e6 * statistics.median(t), 1) for way, t in taken.items()}
    return table


def first_call(name: str) -> None:
    """Prints the seconds of the first compiled call and of the tenth."""
    x, loss = CASES[name](2**18)
    x.requires_grad_()
    run("eager", x, loss)
    taken = []
    for _ in range(10):
        start = time.perf_counter()
        run("compiled", x, loss)
        taken.append(time.perf_counter() - start)
    print(json.dumps([taken[0], taken[-1]]))


def compile_seconds(name: str) -> dict[str, float]:
    """Of the first call: with an empty cache, and with what it left behind."""
    found = {}
    with tempfile.TemporaryDirectory() as cache:
        env = os.environ | {"TORCHINDUCTOR_CACHE_DIR": f"{cache}/inductor"}
        for kind in ("cold", "cached"):
            command = [sys.executable, __file__, name, "--first-call"]
            out = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
            first, later = json.loads(out.splitlines()[-1])
            found[kind] = round(first - later, 3)
    return found


def crossing(table: dict[str, dict[str, float]], one: str, other: str) -> int | None:
    """From how many elements on `one` is quicker than `other`, at all larger sizes too."""
    slower = [int(n) for n, row in table.items() if row[one] > row[other]]
    larger = [int(n) for n in table if not slower or int(n) > max(slower)]
    return min(larger, default=None)


def work(table: dict[str, dict[str, float]], seconds: float) -> dict[str, float]:
    """Size -> elements after which a compilation has paid for itself; absent where it never does."""
    found = {}
    for n, row in table.items():
        saved = min(row["eager"], row["chunked"]) - row["compiled"]
        if saved > 0:
            found[n] = int(n) * seconds / (saved * 1e-6)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="+", choices=CASES)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--first-call", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--no-compile-times", action="store_true")
    args = parser.parse_args()
    if args.first_call:
        return first_call(args.cases[0])
    results = json.loads(args.json.read_text()) if args.json and args.json.exists() else {}
    for name in args.cases:
        kept = results.get(name, {}).get("compile_seconds")
        seconds = kept if args.no_compile_times else compile_seconds(name)
        table = measure(name)
        pays = work(table, seconds["cold"]) if seconds else {}
        print(f"\n{name}: compiling takes {seconds}")
        print(f"{'elements':>12} {'eager us':>11} {'chunked':>11} {'compiled':>11} {'pays after':>12}")
        for n, row in table.items():
            after = f"2^{torch.tensor(pays[n]).log2():.1f}" if n in pays else "-"
            print(f"{int(n):12,} " + " ".join(f"{row[way]:11,.0f}" for way in WAYS) + f" {after:>12}")
        crossings = {f"{a} < {b}": crossing(table, a, b) for a, b in (("chunked", "eager"), ("compiled", "eager"))}
        crossings["compiled < chunked"] = crossing(table, "compiled", "chunked")
        print(crossings)
        results[name] = {"compile_seconds": seconds, "microseconds": table, "from": crossings}
        if args.json:
            results["command"] = f"python benchmarks/thresholds.py {' '.join(n for n in CASES if n in results)}"
            results["versions"] = {"torch": torch.__version__, "threads": torch.get_num_threads()}
            args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
