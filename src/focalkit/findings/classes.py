"""Class counts: how imbalanced, and which classes are too rare to be measured."""

from collections.abc import Sequence

from focalkit.findings._catalog import Finding

IMBALANCED = 5
"""From this ratio of the largest to the smallest class on, the classes are called imbalanced."""
FEW = 20


def effective_number(count: int, beta: float = 0.9999) -> float:
    """(1 - beta^n) / (1 - beta): how many distinct examples n samples are worth (Cui et al., 2019, eq. 2).

    Example:
        >>> round(effective_number(5000), 1)
        3935.1
    """
    return (1 - beta**count) / (1 - beta)


def check_classes(counts: Sequence[int], names: Sequence[str]) -> list[Finding]:
    """Findings about the number of examples of each class.

    Args:
        counts: Per class.
        names: Per class.
    """
    present = [(n, name) for n, name in zip(counts, names, strict=True) if n]
    if len(present) < 2:
        only = present[0][1] if present else "none"
        return [Finding("FK103", f"all items are of the class {only!r}" if present else "there are no items")]
    found = []
    (least, rarest), (most, commonest) = min(present), max(present)
    if most / least >= IMBALANCED:
        share = least / sum(counts)
        found.append(
            Finding(
                "FK101",
                f"{most / least:,.0f} : 1 between {commonest!r} ({most:,}) and {rarest!r} ({least:,},"
                f" {share:.2%} of all); the effective numbers at beta .9999 are {effective_number(most):,.0f} and"
                f" {effective_number(least):,.0f}",
                {"ratio": most / least, "most": most, "least": least, "rarest": rarest},
            )
        )
    few = [(name, n) for n, name in present if n < FEW]
    if few:
        shown = ", ".join(f"{name!r} ({n})" for name, n in few[:8]) + (f" and {len(few) - 8} more" if few[8:] else "")
        found.append(Finding("FK102", f"fewer than {FEW} examples: {shown}", {"classes": dict(few)}))
    return found
