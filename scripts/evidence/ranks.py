"""A picture of mean ranks over data sets, with Nemenyi's critical difference (Demsar, 2006), as SVG."""

from collections.abc import Mapping

ROW, LEFT, WIDTH, TOP = 22, 190, 420, 30
INK, FAINT, MARK = "#6f7d8c", "#b9c1c9", "#2f82c4"
FONT = "font-family='system-ui, sans-serif' font-size='13'"


def picture(ranks: Mapping[str, float], critical_difference: float) -> str:
    """A dot per method at its mean rank, with a bar of one critical difference: no overlap means different."""
    order = sorted(ranks, key=lambda name: ranks[name])
    high = TOP + ROW * len(order)
    half = critical_difference / 2
    low, top = min(ranks.values()) - half, max(ranks.values()) + half

    def x(rank: float) -> float:
        return round(LEFT + WIDTH * (rank - low) / (top - low), 1)

    width = LEFT + WIDTH + 20
    parts = [f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {high + 12}' width='{width}' role='img'>"]
    parts.append("<title>Mean ranks; bars of one critical difference</title>")
    for tick in range(int(low) + 1, int(top) + 1):
        parts.append(
            f"<line x1='{x(tick)}' x2='{x(tick)}' y1='{TOP - 6}' y2='{high}' stroke='{FAINT}' stroke-width='.5'/>"
        )
        parts.append(f"<text x='{x(tick)}' y='{TOP - 12}' text-anchor='middle' fill='{INK}' {FONT}>{tick}</text>")
    for i, name in enumerate(order):
        y, rank = TOP + ROW * i + ROW / 2, ranks[name]
        parts.append(f"<text x='{LEFT - 12}' y='{y + 4}' text-anchor='end' fill='{INK}' {FONT}>{name}</text>")
        ends = f"x1='{x(rank - half)}' x2='{x(rank + half)}' y1='{y}' y2='{y}'"
        parts.append(f"<line {ends} stroke='{MARK}' stroke-width='5' stroke-opacity='.35'/>")
        parts.append(f"<circle cx='{x(rank)}' cy='{y}' r='4' fill='{MARK}'/>")
    return "\n".join([*parts, "</svg>\n"])
