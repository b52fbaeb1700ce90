"""Text from data and files, made safe to print."""

import unicodedata

_KEPT = "\n\t"
_TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def printable(text: str) -> str:
    """`text` with control characters written out, so that names in data cannot move the cursor or change the screen.

    Line ends and tabs stay. Marks that turn the direction of writing, and halves of surrogate pairs, are written out.

    Example:
        >>> printable("cat\\x1b[2J")
        'cat\\\\x1b[2J'
    """
    return "".join(c if c in _KEPT or not _unsafe(c) else c.encode("unicode_escape").decode() for c in text)


def _unsafe(character: str) -> bool:
    # zero-width joiners (Cf) belong to words of many languages; the bidirectional controls do not
    return unicodedata.category(character) in ("Cc", "Cs") or character in _TURNING
