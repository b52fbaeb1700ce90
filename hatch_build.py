"""What installing focalkit does beside copying it: the kernels written in C++ are compiled (`kernels/build.py`)."""

import os
import platform
import runpy
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompileKernels(BuildHookInterface):
    """Without a working compiler, and with FOCALKIT_PURE_PYTHON set, the package is pure Python."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it makes a wheel, or an editable install."""
        if os.environ.get("FOCALKIT_PURE_PYTHON"):
            return
        kernels = runpy.run_path(str(Path(self.root, "src", "focalkit", "kernels", "build.py")))
        compiler = kernels["compiler"]()
        try:
            if compiler is None:
                raise OSError("no C++ compiler found")
            if sys.platform == "win32":
                raise OSError("nobody has tried to build them on Windows")
            libraries = kernels["build"](compiler)
        except (OSError, subprocess.CalledProcessError) as failure:
            said = getattr(failure, "stderr", None) or failure
            self.app.display_warning(f"focalkit is installed without its C++ kernels: {said}")
            return
        build_data["artifacts"] += [path.relative_to(self.root).as_posix() for path in libraries]
        build_data["pure_python"] = False
        # ctypes loads them: any Python does
        system = sysconfig.get_platform().replace("universal2", platform.machine())
        build_data["tag"] = f"py3-none-{system.replace('-', '_').replace('.', '_')}"
