"""Compiles `native/` when focalkit is installed, so that nobody has to wait for a compiler, or have one, later.

One library for each set of instructions, dtype of the logits, and exponent (2, or any), in the folder `libraries`. They
need nothing but the C and C++ run-time libraries that PyTorch needs. Without a compiler focalkit installs all the same,
and its losses take other backends. Uses the standard library alone: it runs before anything else is installed.

    python src/focalkit/kernels/build.py       after a change in native/
"""

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

SOURCE = Path(__file__).with_name("native") / "focal.cpp"
FOLDER = Path(__file__).with_name("libraries")
# no -ffast-math: NaN and infinities are part of the contract
FLAGS = (
    *("-O3", "-std=c++17", "-shared", "-fPIC", "-fopenmp-simd"),
    *("-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"),
)
X86 = platform.machine().lower() in ("x86_64", "amd64")
# as PyTorch calls them (`torch.backends.cpu.get_cpu_capability()`), the best first, and one by one as every compiler of
# C++17 knows them: -march=x86-64-v3 makes the same code, and needs GCC 11 or Clang 12
INSTRUCTIONS = (
    {
        "AVX512": ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"),
        "AVX2": ("-mavx2", "-mfma"),
    }
    if X86
    else {"any": ()}
)


def compiler() -> str | None:
    """The C++ compiler on this machine; CXX names another, and may hold options ("ccache g++")."""
    named = os.environ.get("CXX")
    usual = ["cl"] if sys.platform == "win32" else ["g++", "clang++", "c++"]
    return next((name for name in ([named] if named else usual) if shutil.which(words(name)[0])), None)


def words(compiler: str) -> list[str]:
    """The command and its options; a path may hold spaces."""
    return [compiler] if shutil.which(compiler) else shlex.split(compiler) or [compiler]


def place(instructions: str, bfloat16: bool, squared: bool) -> Path:
    """Where a library is, if it has been built; another one for every version of the source."""
    sources = [path.read_text(encoding="utf-8") for path in (SOURCE, *sorted(SOURCE.parent.glob("*.h")))]
    told = (*sources, *FLAGS, *INSTRUCTIONS[instructions])
    version = hashlib.sha256("\0".join(told).encode()).hexdigest()[:12]
    dtype, gamma = "bfloat16" if bfloat16 else "float32", "2" if squared else "any"
    return FOLDER / f"focal-{instructions}-{dtype}-gamma-{gamma}-{version}.so"


def build(using: str) -> list[Path]:
    """All libraries, those of other versions removed.

    Args:
        using: The compiler, as `compiler` gives it.

    Raises:
        OSError, subprocess.CalledProcessError: It cannot be run, or fails.
    """
    FOLDER.mkdir(exist_ok=True)
    wanted = {place(*variant): variant for variant in product(INSTRUCTIONS, (False, True), (False, True))}

    def make(library: Path) -> None:
        instructions, bfloat16, squared = wanted[library]
        macros = f"-DLOGIT_BF16={int(bfloat16)}", f"-DSQUARED={int(squared)}"
        # written under another name: a process may have the old one open
        with tempfile.TemporaryDirectory(dir=FOLDER) as scratch:
            made = Path(scratch) / library.name
            command = [*words(using), *FLAGS, *INSTRUCTIONS[instructions], *macros, "-o", str(made), str(SOURCE)]
            subprocess.run(command, capture_output=True, text=True, errors="replace", check=True)
            made.replace(library)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(make, (library for library in wanted if not library.is_file())))
    for old in set(FOLDER.glob("focal-*.so")) - set(wanted):
        old.unlink(missing_ok=True)  # unless somebody else was first
    return sorted(wanted)


if __name__ == "__main__":
    found = compiler()
    if found is None or sys.platform == "win32":
        sys.exit("no C++ compiler found (g++, clang++; CXX names another)")
    try:
        print(*build(found), sep="\n")
    except subprocess.CalledProcessError as failure:
        sys.exit(f"{' '.join(failure.cmd)}\n{failure.stderr}")
