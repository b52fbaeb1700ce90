"""The section on the detection tables of the focal loss paper, from paper_tables.json."""

from collections import Counter
from typing import Any

from evidence import Section, table

TITLE = "Boxes: the tables of the focal loss paper in miniature"
ABOUT = """Tables 1a, 1b and 1d of Lin et al. (2017) on drawn digits in clutter at 128 px: a detector of 32 channels
from random weights, AdamW with a one-cycle rate, {steps} steps of 8 images, {seeds}, COCO AP. The paper trains
ResNets from ImageNet weights on COCO at 600 px for 90,000 steps of 16 images, where the background is some 1,000 times
as frequent as the objects (sec. 1); here there are {ratio:.0f} background anchors for every positive one. So signs may
differ, and where they do this is said of the miniature, not of the paper."""

OUTCOMES = ("shown", "contradicted", "not shown", "seen once")


def section(result: dict[str, Any]) -> Section:
    """Every claim beside what was found, and every method beside the published AP."""
    claims = result["claims"]
    counts = Counter(_outcome(claim) for claim in claims)
    words = ", ".join(f"{counts[word]} {word}" for word in OUTCOMES if counts[word])
    signs = sum(claim["difference"] > 0 for claim in claims)
    short = f"**{TITLE}**: of {len(claims)} claims about pairs of methods, {words}; {signs} have the paper's sign."
    names = {row["method"]: row["setting"] for row in result["rows"]}
    pairs = [
        (
            claim["table"],
            f"{names[claim['better']]} above {names[claim['worse']]}",
            "the other diverges" if claim["published"] is None else f"+{claim['published'] / 100:.3f}",
            _ours(claim),
            _outcome(claim),
        )
        for claim in claims
    ]
    methods = [
        (
            row["table"],
            row["setting"],
            "diverges" if row["published"] is None else f"{row['published'] / 100:.3f}",
            f"{row['mean']:.3f}",
            "" if row["verdict"] == "yardstick" else f"{_ours(row)}, {row['verdict']}",
        )
        for row in result["rows"]
    ]
    seeds = f"{result['seeds']} seed{'s' * (result['seeds'] != 1)}"
    text = "\n".join([
        ABOUT.format(steps=result["steps"], seeds=seeds, ratio=result["background_per_positive"]) + "\n",
        table(("table", "claim", "paper", "here (95 %)", "outcome"), pairs),
        table(("table", "method", "AP in the paper", "AP here", "minus cross-entropy with the prior"), methods),
    ])  # fmt: skip
    return Section(TITLE, short, text)


def _ours(row: dict[str, Any]) -> str:
    interval = "" if row["low"] is None else f" ({row['low']:+.3f} to {row['high']:+.3f})"
    return f"{row['difference']:+.3f}{interval}"


def _outcome(claim: dict[str, Any]) -> str:
    outcomes = {"better": "shown", "worse": "contradicted", "too few seeds": "seen once"}
    return outcomes.get(claim["verdict"], "not shown")
