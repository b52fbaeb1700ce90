"""Which licences come with focalkit: everything that its extras for users install, with what each package says.

    python scripts/licences.py             # a table
    python scripts/licences.py --check     # exit status 1 where one is neither permissive nor excepted below

It reads the environment at hand, and says which packages are not installed here. Packages for developers alone (tests,
documentation) are not looked at.
"""

import re
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution

EXTRAS = (
    "detection",
    "compare",
    "report",
    "export",
    "openvino",
    "bench",
    "ray",
    "trees",
    "timm",
    "video",
    "large",
    "wandb",
    "mlflow",
)
PERMISSIVE = re.compile(
    r"\b(MIT|Apache|BSD|0BSD|FreeBSD|ISC|PSF|Python Software Foundation|Zlib|MPL|Mozilla|Unlicense|Public Domain|HPND"
    r"|CNRI|CC0|BSL-1.0)\b",
    re.IGNORECASE,
)
COPYLEFT = re.compile(r"\bA?GPL|\bLGPL|General Public|non-?commercial", re.IGNORECASE)
EXCEPTIONS = {
    r"pyvips-binary": "libvips (LGPL), a shared library in an extra of its own, which focalkit does not distribute",
    r"nvidia-.*|cuda-.*": "NVIDIA's own terms; they come with torch for CUDA, and focalkit does not distribute them",
    r"faster-coco-eval": "Apache-2.0 by the file LICENSE of its package, which its metadata do not name",
}


def requirements(found: Distribution, extras: tuple[str, ...]) -> set[tuple[str, tuple[str, ...]]]:
    """(name, extras) of what a package asks for here, with these extras."""
    from packaging.requirements import Requirement

    wanted = set()
    for text in found.requires or ():
        one = Requirement(text)
        if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            wanted.add((one.name, tuple(sorted(one.extras))))
    return wanted


def closure() -> dict[str, Distribution]:
    """Everything that `focalkit` with its extras for users brings, as far as it is installed."""
    return {name: here for name, here in everything().items() if here is not None}


def everything() -> dict[str, Distribution | None]:
    """Everything that `focalkit` with its extras for users brings; None for what is not installed."""
    waiting, seen = [("focalkit", EXTRAS)], set()
    found: dict[str, Distribution | None] = {}
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        plain = re.sub(r"[-_.]+", "-", name).lower()
        try:
            found[plain] = here = distribution(name)
        except PackageNotFoundError:
            found[plain] = None
            continue
        waiting += requirements(here, extras)
    return found


def licence(found: Distribution) -> str:
    """What a package says of itself: the SPDX expression, else the field, else its classifiers."""
    meta = found.metadata
    classifiers = [c.rpartition(" :: ")[2] for c in meta.get_all("Classifier") or () if c.startswith("License")]
    field = (meta.get("License") or "").strip().partition("\n")[0]
    return meta.get("License-Expression") or "; ".join(classifiers) or field[:60] or "unknown"


def problem(name: str, said: str) -> str:
    """Why a licence cannot be passed on; "" where it can."""
    if any(re.fullmatch(pattern, name) for pattern in EXCEPTIONS):
        return ""
    if COPYLEFT.search(said) and not re.search(r"\bOR\b", said):
        return "copyleft"
    return "" if PERMISSIVE.search(said) else "not known to be permissive"


def main() -> int:
    rows = [(name, found.version, licence(found)) for name, found in sorted(closure().items())]
    problems = [f"{name} {version}: {said} ({why})" for name, version, said in rows if (why := problem(name, said))]
    if "--check" in sys.argv[1:]:
        print("\n".join(problems) or f"licences of {len(rows)} packages: permissive, or excepted with a reason")
        print_absent()
        return bool(problems)
    width = max(len(name) for name, _, _ in rows)
    print("\n".join(f"{name:<{width}}  {version:<16} {said}" for name, version, said in rows))
    print_absent()
    return 0


def print_absent() -> None:
    """Say which packages were not looked at."""
    if absent := sorted(name for name, here in everything().items() if here is None):
        print(f"not looked at, because not installed here (nor what they bring): {', '.join(absent)}")


if __name__ == "__main__":
    raise SystemExit(main())
