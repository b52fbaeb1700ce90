"""Detection data: anchors against boxes, empty images, small objects; from the numbers of `focalkit inspect`."""

from collections.abc import Mapping
from typing import Any

from focalkit.findings._catalog import Finding


def check_boxes(summary: Mapping[str, Any], anchors: Mapping[str, Any] | None = None) -> list[Finding]:
    """Findings about a detection split.

    Args:
        summary: What `focalkit.data.analyze.summarize` returns.
        anchors: What `focalkit.data.analyze.match_anchors` returns for it.
    """
    found = []
    images, empty = summary["images"], summary["empty_images"]
    if images and empty / images > 0.5:
        found.append(Finding("FK203", f"{empty:,} of {images:,} images ({empty / images:.0%})", {"empty": empty}))
    if anchors is None:
        return found
    positives, negatives = (sum(level[key] for level in anchors["levels"]) for key in ("positives", "negatives"))
    if positives and negatives / positives >= 100:
        found.append(
            Finding(
                "FK201",
                f"{negatives / positives:,.0f} background anchors for every positive one; a prior_prob of"
                f" {max(positives / (positives + negatives), 1e-4):.1g} would start the class output there",
                {"ratio": negatives / positives, "prior": positives / (positives + negatives)},
            )
        )
    best = anchors["best_iou"]
    if best["below_fg_iou"] > 0.05:
        found.append(
            Finding(
                "FK202",
                f"the best anchor overlaps {best['below_fg_iou']:.1%} of {anchors['boxes']:,} boxes by less than 0.5,"
                f" {best['below_bg_iou']:.1%} by less than 0.4; {best['unmatched']:.1%} are matched by nothing",
                dict(best),
            )
        )
    return found
