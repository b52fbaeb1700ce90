"""`focalkit bench [SUITE...]`: our functions against other libraries' in one run, with bars to meet.

Parsed with argparse, because `--json` stands alone (the result on stdout) or takes a file.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from focalkit._files import check_writable
from focalkit._runs import dump_json, write_json_atomic
from focalkit.errors import InputError

SUITES = ("loss", "match", "postprocess", "step", "train", "inference")
STDOUT = "-"


def main(argv: list[str]) -> int:
    """Parse and run."""
    args = _parser().parse_args(argv)
    if unknown := [name for name in args.suite if name not in SUITES]:
        from focalkit._config_io import nearest

        raise InputError(
            f"there is no suite {unknown[0]!r}{nearest(unknown[0], list(SUITES))}; expected some of {', '.join(SUITES)}"
        )
    if args.json in SUITES and not args.suite:
        raise InputError(f"--json took {args.json!r} for a file: write `focalkit bench {args.json} --json`")
    return run(args)


def run(args: argparse.Namespace) -> int:
    """Measure, print, write. Exit status 1 where a row of ours failed or gave another answer than its reference."""
    from focalkit.bench import disagreements, render, run_suites

    settings = _settings(args)
    for file in (args.json, args.plot):
        if file not in (None, STDOUT):
            check_writable(Path(file))
    result = run_suites(args.suite or SUITES, settings, _command(args), _progress())
    print(dump_json(result, indent=1) if args.json == STDOUT else render(result))
    if args.json not in (None, STDOUT):
        write_json_atomic(Path(args.json), result)
    if args.plot is not None:
        from focalkit.report import write_benchmark_plot

        write_benchmark_plot(result, args.plot)
    wrong = disagreements(result)
    for line in wrong:
        print(f"focalkit: failed or differs from its reference: {line}", file=sys.stderr)
    return 1 if wrong else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="focalkit bench",
        description="Measure focalkit against other libraries in one run; pip install 'focalkit[bench]' brings them.",
    )
    parser.add_argument("suite", nargs="*", metavar="SUITE", help=f"some of {', '.join(SUITES)}; by default all")
    parser.add_argument("--quick", action="store_true", help="small sizes and few rounds: does everything work?")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="by default a GPU if any")
    parser.add_argument("--threads", type=int, metavar="N", help="of torch on the CPU; by default as many as cores")
    parser.add_argument("--rounds", type=int, metavar="N", help="at most so many timed rounds per case")
    parser.add_argument("--no-memory", action="store_true", help="leave out peak memory, one process per row on a CPU")
    parser.add_argument(
        "--json", nargs="?", const=STDOUT, metavar="FILE", help="write raw samples to FILE; alone: print them instead"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE.html", help="draw medians and quantiles")
    return parser


def _settings(args: argparse.Namespace) -> Any:
    import torch

    from focalkit.bench import Settings

    if args.device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: torch sees no CUDA device here; `focalkit doctor` shows what there is")
    for name in ("threads", "rounds"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise InputError(f"--{name} must be at least 1, got {getattr(args, name)}")
    if args.threads:
        torch.set_num_threads(args.threads)
    cuda = args.device == "cuda" or (args.device == "auto" and torch.cuda.is_available())
    device, memory = torch.device("cuda" if cuda else "cpu"), not args.no_memory
    settings = Settings.small(device, memory) if args.quick else Settings(device, memory=memory)
    if args.rounds is None:
        return settings
    return replace(settings, rounds=args.rounds, least=min(settings.least, args.rounds))


def _command(args: argparse.Namespace) -> str:
    """What was typed as far as it changes the numbers: no names of files."""
    words = ["focalkit", "bench", *args.suite]
    words += [flag for flag, given in (("--quick", args.quick), ("--no-memory", args.no_memory)) if given]
    words += [] if args.device == "auto" else ["--device", args.device]
    for name in ("threads", "rounds"):
        words += [f"--{name}", str(getattr(args, name))] if getattr(args, name) is not None else []
    return " ".join(words)


def _progress() -> Callable[[str], None]:
    """A line on stderr: rewritten in a terminal, elsewhere one line per case."""
    seen = ""

    def say(text: str) -> None:
        nonlocal seen
        if sys.stderr.isatty():
            print(f"\r\x1b[K{text[:118]}" if text else "\r\x1b[K", end="", file=sys.stderr, flush=True)
        elif text and (case := text.partition(":")[0]) != seen:
            seen = case
            print(case, file=sys.stderr)

    return say
