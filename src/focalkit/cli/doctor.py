"""`focalkit doctor`: versions, devices, compiler and missing extras, as a table or as JSON.

Reads its one flag with argparse and knows the extras by their metadata alone: it has to work where they are missing.
"""

import argparse
import json
import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from focalkit.cli import _openmp

EXTRAS = {
    "torchvision": "training, evaluating and predicting with detectors",
    "lightning": "training",
    "tensorboard": "training curves in TensorBoard",
    "faster-coco-eval": "COCO AP",
    "scikit-learn": "the demo's handwritten digits",
    "tyro": "the flags of every command but this one",
    "rich": "progress bars",
    "numpy": "data, metrics, reports",
    "pillow": "reading and drawing images",
    "jinja2": "reports",
    "plotly": "reports",
}
"""Optional package -> what it enables. `pip install 'focalkit[all]'` brings them all."""


def main(argv: list[str]) -> int:
    """Print the environment; always exit status 0: a missing extra is a fact, not a failure."""
    parser = argparse.ArgumentParser(prog="focalkit doctor", description="What this machine has to run focalkit with.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args(argv)
    found = environment()
    print(json.dumps(found, indent=2) if args.json else render(found))
    return 0


def environment() -> dict[str, Any]:
    """What is here.

    Returns:
        Plain values under the keys `versions`, `platform`, `cpu`, `openmp`, `gpus`, `kernels`, `compiler`, `triton` and
        `extras`.
    """
    versions = {name: _version(name) for name in ("focalkit", "torch", *EXTRAS)}
    return {
        "versions": {"python": platform.python_version()} | {k: v for k, v in versions.items() if v is not None},
        "platform": platform.platform(),
        "cpu": _cpu(),
        "openmp": _openmp.describe(os.environ),
        "gpus": _gpus(),
        "kernels": _kernels(),
        "compiler": _compiler(),
        "triton": _version("triton"),
        "extras": {name: versions[name] is not None for name in EXTRAS},
    }


def render(found: dict[str, Any]) -> str:
    """The environment as text, one fact a line."""
    cpu = found["cpu"]
    bf16 = "native bfloat16" if cpu["bf16"] else "bfloat16 emulated"
    rows = [*found["versions"].items(), ("platform", found["platform"])]
    rows.append(("cpu", f"{cpu['name']}, {cpu['cores']} cores, {cpu['threads']} torch threads, {bf16}"))
    rows.append(("openmp", found["openmp"]))
    rows += [
        (gpu["device"], f"{gpu['name']}, {gpu['memory_gib']} GiB, {'bfloat16' if gpu['bf16'] else 'no bfloat16'}")
        for gpu in found["gpus"]
    ] or [("gpu", "none: everything runs on the CPU")]
    kernels = found["kernels"] or (
        "none: install focalkit again with a C++ compiler (on x86-64 they need a processor with AVX2)"
    )
    rows.append(("c++ kernels", kernels))
    rows.append(("compiler", found["compiler"] or "none found: torch.compile cannot build CPU code"))
    rows.append(("triton", found["triton"] or "not installed: torch.compile cannot build GPU code"))
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {text}" for name, text in rows]
    missing = [name for name, here in found["extras"].items() if not here]
    if missing:
        lines.append("\nnot installed (pip install 'focalkit[all]'):")
        lines += [f"  {name:<{width}}  {EXTRAS[name]}" for name in missing]
    return "\n".join(lines)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu() -> dict[str, Any]:
    import torch

    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return {
        "name": capabilities.get("cpu_name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "bf16": any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16")),
    }


def _gpus() -> list[dict[str, Any]]:
    import torch

    gpus = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        gpus.append(
            {
                "device": f"cuda:{index}",
                "name": properties.name,
                "memory_gib": round(properties.total_memory / 2**30),
                "bf16": torch.cuda.is_bf16_supported(),
            }
        )
    return gpus


def _kernels() -> str | None:
    """The instructions that the C++ kernels of this installation use here."""
    import torch

    from focalkit.kernels import cpu

    return cpu.instructions() if cpu.library(torch.float32, squared=True) else None


def _compiler() -> str | None:
    """The C++ compiler, which torch.compile needs on a CPU: $CXX, else the platform's usual names."""
    from focalkit.kernels import build

    found = build.compiler()
    return None if found is None else shutil.which(build.words(found)[0])
