"""docs/reliability.md is what its script makes of the recorded results."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_of_reliability_is_up_to_date():
    script = ROOT / "scripts" / "reliability_page.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
