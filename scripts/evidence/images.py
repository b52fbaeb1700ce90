"""The section on long-tailed images, from cifar10_lt.json."""

from typing import Any

from evidence import Section, named, table, verdicts

TITLE = "Images with a long tail: CIFAR-10-LT"
# points of test accuracy over cross-entropy at ratio 100, ResNet-32, 200 epochs: BagofTricks-LT's table (same code for
# all; 70.36 % for cross-entropy), and for logit adjustment Menon et al. (2021), table 3 (72.84 %)
PUBLISHED = {
    "focal": 1.2, "cb_focal": 4.8, "ldam_drw": 7.4, "balanced_softmax": 7.2, "crt": 4.6, "tau_norm": 2.3,
    "label_smoothing": 2.5, "mixup": 3.7, "logit_adjusted": 4.8,
}  # fmt: skip


def section(result: dict[str, Any]) -> Section:
    """Every method beside cross-entropy, our gain beside the published one."""
    rows = result["rows"]
    counts = result.get("class_counts", [])
    setting = ""
    if counts:
        setting = (
            f"{sum(counts):,} training images, {max(counts):,} to {min(counts):,} of a class; {result['seeds']} seeds "
            f"of {result['steps']} steps of a small residual network from random weights: a first look, far from what "
            f"the network could reach. Balanced accuracy of the most probable class on {result['sizes']['test']:,} "
            "balanced test images.\n\n"
        )
    gains = [
        (r["method"], f"{100 * r['difference']:+.1f}", f"{PUBLISHED[r['method']]:+.1f}", *_ends(r))
        for r in rows
        if r["method"] in PUBLISHED
    ]
    head = ("method", "points over cross-entropy", "published", "recall, 3 most frequent", "3 rarest")
    yardstick = [(r["method"], "", "", *_ends(r)) for r in rows if r["verdict"] == "yardstick"]
    text = (
        setting
        + verdicts(rows, "balanced accuracy")
        + "\nThe published gains are those of ResNet-32 after 200 epochs (BagofTricks-LT; logit adjustment: Menon et "
        "al., 2021), so signs may be compared and digits may not:\n\n" + table(head, [*gains, *yardstick])
    )
    against = [
        r["method"]
        for r in rows
        if r["verdict"] in ("better", "worse") and (r["verdict"] == "better") != (PUBLISHED.get(r["method"], 0) > 0)
    ]
    if against:
        text += f"\nAgainst the published sign: {', '.join(against)}.\n"
    short = f"**{TITLE}**: better than cross-entropy: {named(rows, 'better')}; worse: {named(rows, 'worse')}."
    return Section(TITLE, short, text)


def _ends(row: dict[str, Any]) -> tuple[str, str]:
    many, few = (f"{row[name]:.3f}" if name in row else "" for name in ("many", "few"))
    return many, few
