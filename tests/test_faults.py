"""A sample of the fault tests, always the same one; all of them are `make test-faults`."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.shells import environment

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param(parts, marks=[pytest.mark.slow] * (parts == ("concurrent",)), id=" ".join(parts))
        for parts in (("kills", "disk"), ("mutations", "streams"), ("concurrent",))
    ],
)
def test_nothing_is_lost_and_nothing_is_silent(parts: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "tests.faults", "--sample", *parts]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
