"""Shell scripts and processes in which `vhs` is this vhs."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VHS = f"{shlex.quote(sys.executable)} -m vhs"
HOLD = "import sys, pathlib\nfrom vhs.formats import locks\nwith locks.hold([pathlib.Path(sys.argv[1])]):\n    print('held', flush=True)\n    sys.stdin.read()"


def environment(**more: str) -> dict[str, str]:
    """That of the tests, with one thread a process and without what pytest adds."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    return kept | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | more


def shell(
    script: str, folder: Path, *, program: Path | None = None, **more: str
) -> subprocess.CompletedProcess[bytes]:  # fmt: skip
    """Run a bash script, with failures of every stage seen. program: what `vhs` in it runs; None: a process of its own."""
    full = f'set -o pipefail\nvhs() {{ {program or VHS} "$@"; }}\n{script}'
    return subprocess.run(["bash", "-c", full], cwd=folder, capture_output=True, env=environment(**more), timeout=300)


def start(command: str, folder: Path) -> subprocess.Popen[bytes]:
    """Begin `vhs COMMAND` as a process of its own."""
    return subprocess.Popen(
        shlex.split(f"{VHS} {command}"), cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def torchrun(ranks: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    """`vhs ARGUMENTS` in several processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", "-m", "vhs"]
    return subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, env=environment(NO_COLOR="1"), timeout=600
    )


def holder(out: Path) -> subprocess.Popen[bytes]:
    """Another process that holds the lock of `out`."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout and process.stdout.readline() == b"held\n"
    return process
