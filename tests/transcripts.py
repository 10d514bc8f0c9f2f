"""Golden transcripts: `python -m tests.transcripts` runs every command again; review with git diff."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent / "transcripts"
CASES = {
    "info-table": "vhs info heads.csv",
    "info-say": "vhs info --say shift.csv heads.csv agreement.csv",
    "info-folder": "vhs info .",
    "plot-wrong-kind": "vhs plot agreement.csv --kind heads",
    "plot-mixed": "vhs plot heads.csv shift.csv",
    "plot-cut-row": "head -c 900 shift.csv | vhs plot",
    "plot-cut-condition": "head -n 30 heads.csv | vhs plot",
    "plot-missing-column": "cut -d, -f1-19,21- shift.csv | vhs plot",
    "compare-without-folds": "vhs compare heads.csv",
    "compare-pipe-without-folds": "cat heads.csv | vhs compare",
    "train-print-config": "vhs train data --depth 8 --set lr=0.001 --print-config",
    "ablate-missing": "vhs ablate missing.safetensors",
    "usage": "vhs ablate",
    "version": "vhs --version",
}


def transcript(command: str) -> str:
    """What the command prints, to whom, and how it ends."""
    script = f'vhs() {{ {shlex.quote(sys.executable)} -m vhs "$@"; }}; {command}'
    done = subprocess.run(
        ["bash", "-c", script], cwd=HERE, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(HERE.parent.parent), "NO_COLOR": "1", "COLUMNS": "100"},
    )  # fmt: skip
    return f"$ {command}\n{done.stdout}--- stderr\n{done.stderr}--- exit {done.returncode}\n"


def main() -> None:
    for name, command in CASES.items():
        (HERE / f"{name}.txt").write_text(transcript(command))


if __name__ == "__main__":
    main()
