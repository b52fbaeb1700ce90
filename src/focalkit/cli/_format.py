"""How the commands print numbers."""


def number(value: float) -> str:
    """Four decimals; a dash where there is no ground truth to measure."""
    return f"{value:6.4f}" if value >= 0 else f"{'-':>6}"
