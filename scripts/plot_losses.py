"""Draws docs/assets/losses/*.svg and the generated tables of docs/losses/*.md from the package's own functions.

    python scripts/plot_losses.py            # write
    python scripts/plot_losses.py --check    # exit status 1 where a file is not what it would write

Plain SVG, no plotting library. Each picture has two panels against the probability of the truth p_t, as in Figure 1 of
the focal loss paper: the loss, and the size of its gradient by the logit.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from focalkit import losses as L

DOCS = Path(__file__).parents[1] / "docs"
COLORS = ["#1f4e79", "#c0504d", "#5b8c3e", "#8064a2", "#d98e04"]
WIDTH, HEIGHT, LEFT, TOP = 340, 240, 40, 24  # of one panel's axes, and its margins

Curve = tuple[str, Callable[[Tensor], Tensor]]
"""Legend, loss of the logit of a positive."""


def positive(function: Callable[..., Tensor], **arguments: object) -> Callable[[Tensor], Tensor]:
    return lambda x: function(x, torch.ones_like(x), reduction="none", **arguments)


def negative(function: Callable[..., Tensor], **arguments: object) -> Callable[[Tensor], Tensor]:
    """Of a negative, drawn against the probability of its truth: at the logit with the other sign."""
    return lambda x: function(-x, torch.zeros_like(x), reduction="none", **arguments)


def two_classes(function: Callable[..., Tensor], **arguments: object) -> Callable[[Tensor], Tensor]:
    """A softmax over two classes, the truth the second."""

    def loss(x: Tensor) -> Tensor:
        logits = torch.stack([torch.zeros_like(x), x], 1)
        return function(logits, torch.ones(len(x), dtype=torch.long), reduction="none", **arguments)

    return loss


def target(function: Callable[..., Tensor], t: float, **arguments: object) -> Callable[[Tensor], Tensor]:
    return lambda x: function(x, torch.full_like(x, t), reduction="none", **arguments)


focal, bce = L.sigmoid_focal_loss, L.binary_cross_entropy
PICTURES: dict[str, list[Curve]] = {
    "focal": [(f"gamma {g:g}", positive(focal, gamma=g, alpha=None)) for g in (0.0, 0.5, 1.0, 2.0, 5.0)],
    "soft-targets": [
        (form, target(focal, 0.9, alpha=None, soft_targets=form)) for form in ("split", "mix", "exp", "qfl")
    ],
    "variants": [
        ("cross-entropy", positive(bce)),
        ("focal, gamma 2", positive(focal, alpha=None)),
        ("FL*, gamma 2, beta 1", positive(L.sigmoid_focal_loss_star)),
        ("reduced focal", positive(L.reduced_focal_loss)),
    ],
    "asymmetric": [
        ("positive, gamma 0", positive(L.asymmetric_loss)),
        ("negative, gamma 4, margin 0", negative(L.asymmetric_loss, margin=0.0)),
        ("negative, gamma 4, margin 0.05", negative(L.asymmetric_loss)),
        ("negative, gamma 4, margin 0.2", negative(L.asymmetric_loss, margin=0.2)),
    ],
    "poly": [(f"epsilon {e:g}", two_classes(L.poly1_cross_entropy, epsilon=e)) for e in (-1.0, 0.0, 1.0, 2.0)],
    "quality": [
        ("QFL, quality 0.8", target(L.quality_focal_loss, 0.8)),
        ("varifocal, quality 0.8", target(L.varifocal_loss, 0.8)),
        ("MAL, quality 0.8", target(L.matchability_aware_loss, 0.8)),
        ("IA-BCE, quality 0.8", target(L.iou_aware_bce_loss, 0.8)),
        ("cross-entropy, target 0.8", target(bce, 0.8)),
    ],
    "long-tail": [
        (f"n = {n:g} of 1000", two_classes(L.balanced_softmax_loss, class_counts=[1000 - n, n])) for n in (10, 100, 500)
    ],
    "calibration": [
        ("cross-entropy", two_classes(L.cross_entropy)),
        ("focal, gamma 3", two_classes(L.softmax_focal_loss, gamma=3.0)),
        ("FLSD-53", two_classes(L.flsd_loss)),
        ("dual focal, gamma 5", two_classes(L.dual_focal_loss)),
    ],
}


def panel(title: str, series: list[tuple[str, list[float], list[float]]], left: float, top_value: float) -> list[str]:
    """One pair of axes with its curves; what is above `top_value` is cut off."""
    out = [
        f'<text x="{left}" y="{TOP - 8}" class="t">{title}</text>',
        f'<path d="M{left} {TOP}V{TOP + HEIGHT}H{left + WIDTH}" class="a"/>',
    ]
    for i in range(6):
        x, y, value = left + WIDTH * i / 5, TOP + HEIGHT * (1 - i / 5), top_value * i / 5
        out.append(f'<path d="M{x:g} {TOP + HEIGHT}v4M{left} {y:g}h-4" class="a"/>')
        out.append(f'<text x="{x:g}" y="{TOP + HEIGHT + 16}" class="m">{i / 5:g}</text>')
        out.append(f'<text x="{left - 7}" y="{y + 4:g}" class="e">{value:g}</text>')
    out.append(f'<text x="{left + WIDTH / 2:g}" y="{TOP + HEIGHT + 32}" class="m">probability of the truth</text>')
    for color, (_, xs, ys) in zip(COLORS, series, strict=False):
        points = " ".join(
            f"{left + WIDTH * x:.1f},{TOP + HEIGHT * (1 - y / top_value):.1f}"
            for x, y in zip(xs, ys, strict=True)
            if 0 <= y <= top_value
        )
        out.append(f'<polyline points="{points}" stroke="{color}"/>')
    return out


def picture(curves: list[Curve]) -> str:
    p = torch.linspace(0.002, 0.998, 250, dtype=torch.float64)
    losses, slopes = [], []
    for name, loss in curves:
        x = torch.logit(p).requires_grad_()
        value = loss(x)
        (slope,) = torch.autograd.grad(value.sum(), x)
        losses.append((name, p.tolist(), value.detach().tolist()))
        slopes.append((name, p.tolist(), slope.abs().tolist()))
    second = LEFT + WIDTH + 60
    body = panel("loss", losses, LEFT, 4.0) + panel("size of the gradient by the logit", slopes, second, 2.0)
    for i, (color, (name, _)) in enumerate(zip(COLORS, curves, strict=False)):
        x, y = LEFT + WIDTH - 170, TOP + 14 + 17 * i
        body.append(f'<path d="M{x} {y}h22" stroke="{color}" class="l"/><text x="{x + 28}" y="{y + 4}">{name}</text>')
    style = (
        "text{font:12px sans-serif;fill:#444}.t{font-weight:bold}.m{text-anchor:middle}.e{text-anchor:end}"
        ".a{stroke:#888;fill:none}polyline{fill:none;stroke-width:2}.l{stroke-width:2}"
    )
    size = f'viewBox="0 0 {second + WIDTH + 20} {TOP + HEIGHT + 44}"'
    return "\n".join(
        [f'<svg xmlns="http://www.w3.org/2000/svg" {size}>', f"<style>{style}</style>", *body, "</svg>", ""]
    )


def factor_table() -> str:
    """(1 - p_t)^gamma: the focal loss over cross-entropy, both from the package."""
    gammas = (0.0, 0.5, 1.0, 2.0, 5.0)
    rows = ["| p_t | " + " | ".join(f"gamma {g:g}" for g in gammas) + " |", "|---" * (len(gammas) + 1) + "|"]
    for p in (0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.99):
        x = torch.logit(torch.tensor([p], dtype=torch.float64))
        one = torch.ones_like(x)
        ratios = [focal(x, one, gamma=g, alpha=None).item() / bce(x, one).item() for g in gammas]
        rows.append(f"| {p:g} | " + " | ".join(f"{r:.3g}" for r in ratios) + " |")
    return "\n".join(rows)


def catalog_table() -> str:
    rows = ["| name | function or module | what it is | paper |", "|---|---|---|---|"]
    for name, line in L.LOSSES.items():
        thing = line.function or line.module
        rows.append(f"| `{name}` | `{thing.__name__}` | {line.summary} | {line.paper} |")
    return "\n".join(rows)


def advice_table() -> str:
    rows = ["| name | take it where | leave it where |", "|---|---|---|"]
    rows += [f"| `{name}` | {line.use} | {line.avoid} |" for name, line in L.LOSSES.items()]
    return "\n".join(rows)


TABLES = {"factors": factor_table, "catalog": catalog_table, "advice": advice_table}


def filled(page: str) -> str:
    """The page with every generated table renewed."""
    for name, table in TABLES.items():
        begin, end = f"<!-- generated: {name} -->", "<!-- end -->"
        if begin in page:
            head, rest = page.split(begin, 1)
            page = f"{head}{begin}\n{table()}\n{end}{rest.split(end, 1)[1]}"
    return page


def main(arguments: list[str]) -> int:
    torch.set_num_threads(1)
    wanted = {DOCS / "assets" / "losses" / f"{name}.svg": picture(curves) for name, curves in PICTURES.items()}
    wanted |= {path: filled(path.read_text()) for path in sorted((DOCS / "losses").glob("*.md"))}
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    if "--check" in arguments:
        print("\n".join(f"not up to date: {path}; run scripts/plot_losses.py" for path in stale))
        return 1 if stale else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path])
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
