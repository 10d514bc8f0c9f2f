"""`python -m vhs`, which also runs uninstalled."""

from vhs.cli import run

run()
