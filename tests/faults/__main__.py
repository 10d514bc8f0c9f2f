"""Fault tests: `python -m tests.faults [PART ...] [--seconds N] [--count N] [--seed N] [--sample]`.

Parts: kills, disk, concurrent, mutations, streams; all without a name. Prints what was done and every violation; ends
with 1 where there is one. --sample is the short form that `make test` runs: few, always the same, bounded by count.
--count: kills a command, or mutated inputs in all. --seconds: stop mutating after this time.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tests.faults import toys, warm
from tests.faults.report import Report, say

PARTS = ("kills", "disk", "concurrent", "mutations", "streams")


def main(words: list[str]) -> int:
    """Run the parts named; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sample", action="store_true")
    parser.add_argument("--only", help="of mutations: formats whose name has this in it")
    parser.add_argument("--keep", type=Path, help="a folder for the mutated inputs of violations")
    options = parser.parse_args(words)
    unknown = [part for part in options.parts if part not in PARTS]
    if unknown:
        parser.error(f"{unknown[0]}: expected {', '.join(PARTS)}")
    warm.import_everything()
    with tempfile.TemporaryDirectory(prefix="vhs-faults-") as folder:
        root = Path(folder).resolve()
        toys.make(root / "toys")
        fine = [_part(part, root, options) for part in options.parts or PARTS]
    return 0 if all(fine) else 1


def _part(part: str, root: Path, options: argparse.Namespace) -> bool:
    """Run one part and print what came of it, also of as much as was done when it is interrupted."""
    report = Report(part)
    try:
        _run(part, root, report, options)
    except KeyboardInterrupt:
        report.violation("stopped before its end", "by hand")
    return report.tell()


def _run(part: str, root: Path, report: Report, options: argparse.Namespace) -> None:
    from tests.faults import concurrent, disk, kills, mutations, streams

    sample = options.sample
    if part == "kills":
        kills.kills(root, report, count=options.count or (1 if sample else 200), seed=options.seed, sample=sample)
    elif part == "disk":
        disk.disk(root, report, count=(options.count or 1) if sample else None)
    elif part == "concurrent":
        concurrent.concurrent(root, report, sample=sample)
    elif part == "streams":
        streams.streams(root, report, sample=sample)
    else:
        mutations.mutations(root, report, options)


if __name__ == "__main__":
    say(f"python -m tests.faults {' '.join(sys.argv[1:])}")
    code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)  # libraries that were only imported have things to say at a proper end
