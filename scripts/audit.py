"""Known vulnerabilities of what focalkit's extras for users bring, as far as pip-audit can look them up.

    python scripts/audit.py                # asks as long as it takes
    python scripts/audit.py --within 20    # gives up after so many seconds

It says how many packages were looked up: one that the database does not know is none without faults. Exit status 1
where a fault is known that a newer version mends; 0 where the database cannot be reached, which it says.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from licences import closure


def asked(packages: dict[str, str], within: float | None) -> dict[str, Any]:
    """What pip-audit says of name -> version, as its JSON; {} where it gets no answer."""
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder, "packages.txt")
        listed.write_text("".join(f"{name}=={version}\n" for name, version in packages.items()))
        words = ["pip_audit", "--requirement", str(listed), "--no-deps", "--disable-pip", "--timeout", "5"]
        quiet = ["--format", "json", "--progress-spinner", "off"]
        try:
            done = subprocess.run(
                [sys.executable, "-m", *words, *quiet], capture_output=True, text=True, timeout=within, check=False
            )
        except subprocess.TimeoutExpired:
            return {}
    try:
        return json.loads(done.stdout)
    except ValueError:
        return {}


def summary(found: dict[str, Any]) -> tuple[list[str], bool]:
    """Lines to print, and whether a newer version mends something."""
    packages = found.get("dependencies", [])
    looked_up = [package for package in packages if "vulns" in package]
    if not looked_up:
        return ["known vulnerabilities: the database cannot be reached; nothing was looked up"], False
    faults = [(package, fault) for package in looked_up for fault in package["vulns"]]
    lines = [
        f"{package['name']} {package['version']}: {fault['id']}, mended in {', '.join(fault['fix_versions']) or 'none'}"
        for package, fault in faults
    ]
    unknown = sorted(package["name"] for package in packages if "vulns" not in package)
    lines.append(f"known vulnerabilities: {len(faults)} in {len(looked_up)} packages")
    if unknown:
        lines.append(f"not looked up, unknown to the database: {', '.join(unknown)}")
    return lines, any(fault["fix_versions"] for _, fault in faults)


def main() -> int:
    parser = argparse.ArgumentParser(description="Known vulnerabilities of what focalkit's extras bring.")
    parser.add_argument("--within", type=float, metavar="SECONDS", help="give up after so long")
    within = parser.parse_args().within
    if importlib.util.find_spec("pip_audit") is None:
        print("pip-audit is not installed: pip install 'focalkit[supply]'", file=sys.stderr)
        return 1
    packages = {name: here.version.partition("+")[0] for name, here in sorted(closure().items()) if name != "focalkit"}
    lines, mendable = summary(asked(packages, within))
    print("\n".join(lines))
    return int(mendable)


if __name__ == "__main__":
    raise SystemExit(main())
