"""The findings of `focalkit inspect` as tables for a terminal."""

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from focalkit.tasks import Inspection

from focalkit._text import printable


def render(found: dict[str, Any], shown: int) -> None:
    """Print the dictionary that `inspect` makes; at most `shown` problems and classes."""
    console = Console(highlight=False)
    if found["splits"]:
        console.print(_splits(found["format"], found["splits"]))
        console.print(_classes(found["splits"], shown))
    if "anchors" in found:
        _anchors(console, found["anchors"])
    if "matching" in found:
        _matching(console, found["matching"])
    warnings = [(split, w) for split, s in found["splits"].items() for w in s["warnings"]]
    for split, text in [*warnings, *(("all", w) for w in found["warnings"])]:
        console.print(f"[yellow]warning[/] {split}: {escape(printable(text))}", soft_wrap=True)
    for finding in found.get("findings", []):
        _finding(console, finding)
    problems = found["problems"]
    for text in problems[:shown]:
        console.print(f"[red]problem[/] {escape(printable(text))}", soft_wrap=True)
    if len(problems) > shown:
        console.print(f"[red]... and {len(problems) - shown} more problems[/] (--json lists all)")
    warned = warnings or found["warnings"] or any(f["level"] != "note" for f in found.get("findings", []))
    if not problems:
        console.print("[green]no problems found[/]" + " that would stop a training; see above" * bool(warned))
    if found.get("others"):
        listed = ", ".join(f"{folder}/ ({form})" for folder, form in found["others"].items())
        console.print(f"[dim]note[/] also found: {escape(printable(listed))}; give one as the data", soft_wrap=True)
    if len([split for split in found["splits"] if split != "test"]) == 1 and "val" not in found["splits"]:
        hint = "no val of its own: train holds a fifth out, or divides with --split 80/10/10 or --fold 1/5"
        console.print(f"[dim]note[/] {hint}", soft_wrap=True)


def render_items(task: str, found: "Inspection", shown: int) -> None:
    """Print what a task of the workbench sees: classes, and what is worth knowing."""
    console = Console(highlight=False)
    total = sum(found.classes.values())
    table = Table("class", "items", "share", title=f"{task}: {total:,} items")
    rows = sorted(found.classes.items(), key=lambda row: -row[1])
    for name, count in rows[:shown]:
        table.add_row(escape(printable(name)), f"{count:,}", f"{count / max(total, 1):.2%}")
    if len(rows) > shown:
        table.caption = f"and {len(rows) - shown} rarer classes (--json lists all)"
    console.print(table)
    for finding in found.findings:
        _finding(console, finding.as_dict())
    for note in found.notes:
        console.print(f"[dim]note[/] {escape(printable(note))}", soft_wrap=True)
    if not found.findings:
        console.print("[green]no findings[/]")


def _finding(console: Console, finding: dict[str, Any]) -> None:
    colour = {"error": "red", "warning": "yellow", "note": "cyan"}[finding["level"]]
    head = f"[{colour}]{finding['code']} {finding['level']}[/] [bold]{escape(finding['title'])}[/]"
    action = f"[dim]{escape(finding['action'])} docs: {finding['docs']}[/]"
    console.print(f"{head}: {escape(printable(finding['seen']))}.\n  {action}", soft_wrap=True)


def _splits(form: str, splits: dict[str, Any]) -> Table:
    table = Table("", *splits, title=f"{form} data set")
    rows = {
        "images": lambda s: f"{s['images']:,}",
        "without boxes": lambda s: f"{s['empty_images']:,}",
        "boxes": lambda s: f"{s['boxes']:,}",
        "boxes per image": lambda s: f"{s['boxes_per_image']['mean']:.1f} (most {s['boxes_per_image']['most']})",
        "regions to ignore": lambda s: f"{s['crowd']:,}",
        "classes": lambda s: f"{len(s['classes'])}" + f" ({s['absent_classes']} absent)" * bool(s["absent_classes"]),
        "imbalance": lambda s: f"{s['imbalance']:.3g} : 1" if s["imbalance"] else "-",
        "small / medium / large": lambda s: " / ".join(_percent(n, s["boxes"]) for n in s["sizes"].values()),
        "image widths": lambda s: "{} .. {}".format(*s["image_sizes"]["width"]),
        "image heights": lambda s: "{} .. {}".format(*s["image_sizes"]["height"]),
    }
    for name, cell in rows.items():
        table.add_row(name, *(cell(s) for s in splits.values()))
    return table


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / max(1, whole):.0f} %"


def _classes(splits: dict[str, Any], shown: int) -> Table:
    """Boxes per class, most frequent first, of the classes of the first split."""
    table = Table("id", "class", *splits, title="boxes per class")
    counts = {split: {c["id"]: c["boxes"] for c in s["classes"]} for split, s in splits.items()}
    classes = sorted(next(iter(splits.values()))["classes"], key=lambda c: -c["boxes"])
    for c in classes[:shown]:
        table.add_row(
            str(c["id"]), escape(printable(c["name"])), *(f"{counts[split].get(c['id'], 0):,}" for split in splits)
        )
    if len(classes) > shown:
        table.caption = f"and {len(classes) - shown} rarer classes (--json lists all)"
    return table


def _anchors(console: Console, found: dict[str, Any]) -> None:
    title = f"anchors on {found['sample']} {found['split']} images at {found['min_size']}/{found['max_size']} px"
    title += f" (preset {found['preset']})"
    table = Table("level", "size", "positive", "ignored", "background", "background : positive", title=title)
    for level, row in enumerate(found["levels"], start=3):
        ratio = f"{row['negatives'] / row['positives']:,.0f} : 1" if row["positives"] else "-"
        numbers = (f"{row[key]:,}" for key in ("positives", "ignored", "negatives"))
        table.add_row(f"P{level}", f"{row['size']:g}", *numbers, ratio)
    console.print(table)
    best = found["best_iou"]
    console.print(
        f"best anchor of a box: IoU below 0.5 for {best['below_fg_iou']:.1%} of {found['boxes']:,} boxes, "
        f"below 0.4 for {best['below_bg_iou']:.1%}, matched by nothing {best['unmatched']:.1%}"
    )
    better = found["suggestion"]
    if better and better["now_below_fg_iou"] - better["below_fg_iou"] > 0.01:
        sizes = " ".join(f"{size:g}" for size in better["sizes"])
        console.print(
            f"suggestion: --model.anchor-sizes {sizes}  leaves {better['below_fg_iou']:.1%} of boxes below IoU 0.5, "
            f"instead of {better['now_below_fg_iou']:.1%}"
        )


def _matching(console: Console, found: dict[str, Any]) -> None:
    head = f"{found['detector']} ({found['matcher']}, preset {found['preset']}) on {found['split']}"
    if found["kind"] == "queries":
        over = found["images_over"]
        more = f"; {over:,} images have more: raise --model.decoder.queries" if over else ""
        boxes = f"{found['mean']:.1f} boxes an image, {found['most']:,} at most"
        console.print(f"{head}: {found['queries']} queries for {boxes}{more}", soft_wrap=True)
        return
    table = Table("stride", found["kind"], title=f"{head}, {found['sample']} images")
    for level in found["levels"]:
        table.add_row(str(level["stride"]), f"{level['count']:,}")
    console.print(table)
    low, middle, high = found["per_box"] or (0, 0, 0)
    console.print(
        f"{found['kind']} of a box: {middle:g} (quartiles {low:g} and {high:g}); {found['without']:.1%} of"
        f" {found['boxes']:,} boxes get none"
    )
