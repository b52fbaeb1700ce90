"""`focalkit losses`: the catalog as a table; with a name, everything there is to know about that loss.

Formula, arguments and advice are the docstring's and the defaults are the module's: nothing is written twice.
"""

import difflib
import inspect
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from focalkit.cli._flags import Flag
from focalkit.cli._formula import plain
from focalkit.errors import InputError

if TYPE_CHECKING:
    from focalkit.losses import LossSpec

COMMON = ("class_weight", "weight", "ignore_index", "class_dim", "reduction", "normalizer", "backend")
"""Arguments of every loss, left out where a loss shows its own."""


@dataclass(frozen=True)
class Args:
    """The losses there are; with a name, its formula, arguments, defaults and paper."""

    name: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[NAME]", help_behavior_hint="")] = None
    """A name of the table, for example focal, or that of its function or module"""
    json: Flag = False
    """Print one JSON object on stdout"""


def main(argv: list[str]) -> int:
    """Parse and run."""
    return run(tyro.cli(Args, args=argv, prog="focalkit losses"))


def run(args: Args) -> int:
    """Print the table, or one loss."""
    from focalkit.losses import LOSSES

    chosen = LOSSES if args.name is None else {spec.name: spec for spec in [find(args.name, LOSSES)]}
    if args.json:
        print(json.dumps({name: _facts(spec) for name, spec in chosen.items()}, indent=2))
    else:
        print(table(LOSSES) if args.name is None else "\n".join(map(page, chosen.values())))
    return 0


def find(name: str, losses: "dict[str, LossSpec]") -> "LossSpec":
    """The loss with this name in the catalog, or whose function or module has it.

    Raises:
        InputError: There is none; the message names the nearest.
    """
    names = {known: spec for spec in losses.values() for known in _names(spec)}
    folded = {known.lower(): spec for known, spec in names.items()}
    if name.lower() in folded:
        return folded[name.lower()]
    close = difflib.get_close_matches(name.lower(), folded, n=3, cutoff=0.6)
    found = list(dict.fromkeys(folded[word].name for word in close))
    hint = f'; did you mean "{found[0]}"?' if found else f"; known: {', '.join(losses)}"
    more = f" Also near: {', '.join(found[1:])}" if found[1:] else ""
    raise InputError(f"there is no loss {name!r}{hint}{more}")


def _names(spec: "LossSpec") -> list[str]:
    return [thing.__name__ for thing in (spec.function, spec.module) if thing is not None] + [spec.name]


def table(losses: "dict[str, LossSpec]") -> str:
    """One line a loss."""
    rows = [("NAME", "TARGETS", "WHAT IT IS", "PAPER")]
    rows += [(name, spec.targets, spec.summary, spec.paper) for name, spec in losses.items()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    hint = '`focalkit losses NAME` shows one. A detector trains with those for binary targets: --loss "focal(gamma=1)"'
    return "\n".join([*lines, "", hint])


def page(spec: "LossSpec") -> str:
    """One loss: its spec with the defaults, where it is, and its docstring."""
    facts = _facts(spec)
    arguments = ", ".join(f"{name}={value}" for name, value in facts["defaults"].items() if name not in COMMON)
    lines = [f"{spec.name}({arguments})", f"  {spec.summary}", ""]
    shown = ("use", "avoid", "function", "module", "targets", "paper")
    lines += [f"{name + ':':<10}{facts[name]}" for name in shown if facts[name]]
    return "\n".join([*lines, "", plain(facts["doc"])])


def _facts(spec: "LossSpec") -> dict[str, Any]:
    module = inspect.signature(spec.module).parameters.values()
    return {
        "name": spec.name,
        "summary": spec.summary,
        "use": spec.use,
        "avoid": spec.avoid,
        "targets": spec.targets,
        "paper": spec.paper,
        "fused": spec.fused,
        "function": _place(spec.function) if spec.function else None,
        "module": _place(spec.module),
        "defaults": {p.name: repr(p.default) for p in module if p.default is not p.empty},
        "doc": inspect.getdoc(spec.function or spec.module) or "",
    }


def _place(thing: Any) -> str:
    return f"focalkit.losses.{thing.__name__}"
