"""LaTeX between dollar signs as a terminal shows it: `$\\alpha_t (1 - p_t)^\\gamma$` as `alpha_t (1 - p_t)^gamma`.

Greek letters keep the names that the arguments have.
"""

import re

_FORMULA = re.compile(r"\$\$(.+?)\$\$|\$(.+?)\$", re.DOTALL)
_SYMBOLS = {
    r"\\(left|right)(?![a-zA-Z])": "",
    r",?\s*\\quad\s*": ";  ",
    r"\\,": " ",
    r"\\\|": "||",
    r"\\_": "_",
    r"\\ne(?![a-zA-Z])": "!=",
    r"\\le(?![a-zA-Z])": "<=",
    r"\\cdot(?![a-zA-Z])": "*",
    r"\\sim(?![a-zA-Z])": "~",
    r"\\([a-zA-Z]+)": r"\1",  # log, sum, max, in, and the Greek letters
}


def plain(text: str) -> str:
    """`text` with its formulas readable without LaTeX; all else as it is."""
    return _FORMULA.sub(lambda found: _formula(found[1] or found[2]), text)


def _formula(tex: str) -> str:
    tex = " ".join(tex.split())
    while found := re.search(r"\\frac|\\sqrt|\\text|[\^_](?={)", tex):
        first, end = _braces(tex, found.end())
        match found[0]:
            case r"\frac":
                second, end = _braces(tex, end)
                shown = f"{_group(first)} / {_group(second)}"
                if re.search(r"[\w)]\s*$", tex[: found.start()]) or re.match(r"\s*[\w\\(^]", tex[end:]):
                    shown = f"({shown})"  # a factor of a product, or what a logarithm is taken of
            case r"\sqrt":
                shown = f"sqrt({first})"
            case r"\text":
                shown = first
            case mark:
                shown = mark + (first if re.fullmatch(r"\\?[a-zA-Z\d]+|[+-]", first) else f"({first})")
        tex = tex[: found.start()] + shown + tex[end:]
    for pattern, shown in _SYMBOLS.items():
        tex = re.sub(pattern, shown, tex)
    return tex


def _group(part: str) -> str:
    return part if re.fullmatch(r"[\w\\^+]+|e\^\{\w+\}", part) else f"({part})"


def _braces(tex: str, start: int) -> tuple[str, int]:
    """What stands between the brace at `start` and its partner, and where the rest begins."""
    depth = 0
    for i in range(start, len(tex)):
        depth += (tex[i] == "{") - (tex[i] == "}")
        if not depth:
            return tex[start + 1 : i], i + 1
    return tex[start:], len(tex)
