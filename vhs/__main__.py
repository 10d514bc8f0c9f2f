"""`python -m vhs`, which also runs uninstalled."""

import sys

try:
    from vhs.cli import run

    run()
except KeyboardInterrupt:  # while modules are still being imported
    sys.exit(130)
