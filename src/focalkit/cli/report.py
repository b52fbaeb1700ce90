"""`focalkit report`: one self-contained HTML file from run directories, or from a comparison of methods."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from focalkit._text import printable
from focalkit.cli._flags import Flag
from focalkit.errors import InputError


@dataclass(frozen=True)
class Args:
    """One self-contained HTML file about one run, several runs side by side, or what `focalkit compare` made."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN...", help_behavior_hint="")]
    """Run directories of `focalkit train`; the order gives the colours. Or one directory of `focalkit compare`"""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None
    """The HTML file to write (default for one run: RUN/report.html)"""
    title: Annotated[str | None, tyro.conf.arg(metavar="TEXT", help_behavior_hint="")] = None
    """Heading of the page"""
    json: Flag = False
    """Print one JSON object on stdout"""


def main(argv: list[str]) -> int:
    """Parse and run."""
    return run(tyro.cli(Args, args=argv, prog="focalkit report"))


def run(args: Args) -> int:
    """Write the report and print where it is."""
    from focalkit.report import write_comparison, write_report

    if not args.runs:
        raise InputError("no run directory given; expected `focalkit report RUN... --out FILE.html`")
    first, *others = args.runs
    if args.out is None and others:
        raise InputError(f"{len(args.runs)} runs need --out FILE.html to say where their comparison goes")
    if not others and (first / "plan.json").is_file():
        if args.title is not None:
            raise InputError("--title is for runs; the page of a comparison is headed by what came out")
        path = write_comparison(first, args.out)
    else:
        path = write_report(args.runs, args.out or first / "report.html", args.title)
    found = {"report": str(path), "runs": [str(r) for r in args.runs]}
    print(json.dumps(found) if args.json else printable(str(path)))
    return 0
