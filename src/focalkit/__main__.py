"""`python -m focalkit`: the same as the command `focalkit`."""

import sys

from focalkit.cli import main

if __name__ == "__main__":
    sys.exit(main())
