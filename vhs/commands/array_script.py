"""The script of --sbatch: a Slurm array of which each task measures a part, again after a requeue, and how to merge."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vhs import output
from vhs.errors import UsageError
from vhs.formats.places import redacted
from vhs.world import MOST

FLAGS = ("--dry-run", "--resume", "-q", "--quiet", "-v", "--verbose", "--debug")
OF_WHOLE = ("--folds", "--calibration", "--pairs", "--format")
"""Options that are said to `vhs merge`."""
TOLD = ("data ", "conditions ", "memory ", "tile ")
"""Lines of a plan that are of the run, not of one of its models."""
TASK = '"$SLURM_ARRAY_TASK_ID"'


@dataclass(frozen=True)
class Array:
    """count: of parts; limit: how many run at once, None for as many as can."""

    count: int
    limit: int | None = None

    def __str__(self) -> str:
        return f"0-{self.count - 1}" + (f"%{self.limit}" if self.limit else "")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What decides the last bits and must be alike in all tasks, and how many tiles there are to share."""

    tile: int
    threads: int
    on_gpu: bool
    tiles: int


def parse(text: str, words: Sequence[str]) -> Array:
    """`50` or `50%8`, of a command of these words. Raises UsageError, also where it reads what tasks have not."""
    inputs = [word for word in words if word in ("-", "@-")]
    if inputs:
        raise UsageError(f"{inputs[0]}: tasks of an array have no stdin. Name files.")
    found = re.fullmatch(r"(\d{1,6})(?:%(\d{1,6}))?", text, re.ASCII)
    count, limit = (int(found[1]), found[2] and int(found[2])) if found else (0, None)
    if not 1 <= count <= MOST or limit == 0:
        raise UsageError(f"--sbatch {text}: expected a number of parts, such as 50, or 50%8 for 8 at once.")
    return Array(count, limit or None)


def script(words: Sequence[str], array: Array, out: Path, facts: Facts, plan: str) -> str:
    """The script. words: the command as typed; plan: in words, for comments."""
    name = re.sub(r"[^\w.-]", "_", out.stem)
    stem = shlex.quote(str(out.with_suffix("")))
    lines = [
        "#!/bin/bash",
        f"#SBATCH --job-name={name} --array={array} --requeue",
        f"#SBATCH --output={name}.%a.log --open-mode=append",
        f"#SBATCH --cpus-per-task={facts.threads}" + (" --gres=gpu:1" if facts.on_gpu else ""),
        "# Limits of your cluster (--time, --mem, --partition) go here. A task that is killed and queued again goes on",
        "# after its last finished condition; one that is done measures nothing. sbatch --array=3 runs part 3 alone.",
        *(f"# {line}" for line in plan.splitlines() if line.startswith(TOLD)),
        *_too_many(array, facts),
        *_left_out(),
        "set -euo pipefail",
        f"exec {_of_part(words, array, stem, facts)}",
        "",
        "# When all tasks have ended well:",
        f"# {_merging(words, array, out, stem)}",
    ]
    return "\n".join(lines) + "\n"


def _left_out() -> list[str]:
    told = "# The URLs below had a user, password or query, which no file should hold: give them in the environment."
    return [told] if any(redacted(word) != word for word in sys.argv) else []


def _too_many(array: Array, facts: Facts) -> list[str]:
    idle = array.count - facts.tiles
    told = f"# {facts.tiles} x {facts.tile} samples to share: {idle} of the parts measure nothing. --tile makes more."
    return [told] if idle > 0 else []


def _of_part(words: Sequence[str], array: Array, stem: str, facts: Facts) -> str:
    kept = output.without(words, ("-o", "--out", "--sbatch", *OF_WHOLE), FLAGS)
    for option, value in (("--tile", facts.tile), ("--threads", facts.threads)):
        if kept == output.without(kept, [option]):
            kept += [option, str(value)]
    return f"{shlex.join(kept)} --part {TASK}/{array.count} --resume -o {stem}.{TASK}.part"


def _merging(words: Sequence[str], array: Array, out: Path, stem: str) -> str:
    """Brace expansion, which bash does beside quotes."""
    names = f"{stem}.{{0..{array.count - 1}}}.part" if array.count > 1 else f"{stem}.0.part"
    pairs = zip(words, [*words[1:], ""], strict=True)
    said = [
        text for word, value in pairs for option in (*OF_WHOLE, "--per-sample")
        for text in ([option, value] if word == option else [word] if word.startswith(f"{option}=") else [])
    ]  # fmt: skip
    return " ".join(["vhs merge", names, *map(shlex.quote, said), "-o", shlex.quote(str(out))])
