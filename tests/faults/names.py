"""Hostile file names: what a terminal would obey, what is not UTF-8, what looks like something else."""

from __future__ import annotations

import os
from pathlib import Path

from tests.faults import cases, warm
from tests.faults.report import Report, spread

HOSTILE = (
    b"\x1b]0;owned\x07\x1b[31m", b"\xff\xfe\xc3", b"a\nb", b"a\rb", b"\xc2\x9b2J", b"\xe2\x80\xae", b"$\\frac{$", b"[bold]x[/]", b"%s%n", b" ",
    "é🙂".encode(), b"a" * 200, b"x;y&z|`id`", b"--", b"{0}",
)  # fmt: skip
FILES = {"csv": "heads.csv", "safetensors": "a.safetensors", "png": "source/val/ant/val0.png"}
"""A sound file by the ending of its hostile name."""
COMMANDS = (
    ("csv", ("info", "./{name}")), ("csv", ("plot", "./{name}", "-q")), ("csv", ("plot", "./{name}", "-q", "-o", "./{name}.png")),
    ("csv", ("info", "./{name}.missing.csv")), ("csv", ("ablate", "@./{name}")),
    ("safetensors", ("info", "./{name}")), ("safetensors", ("evalshift", "./{name}", "--data", "../../toys/shards/val", "-q")),
    ("safetensors", ("evalshift", "./{name}", "--data", "../../toys/shards/val", "-q", "-o", "t.parquet")),
    ("png", ("shard", "source", "out", "-q")), ("png", ("shard", "source", "./{name}", "-q")),
)  # fmt: skip


def names(root: Path, report: Report, count: int | None) -> None:
    """Each command on each name, or `count` of these pairs: a documented code, one line an error, no control characters on stderr."""
    from tests.faults.mutations import verdicts
    from tests.faults.worker import has_escapes, shortened

    toy = cases.files(root / "toys")
    (root / "names").mkdir()
    room = cases.Room(root / "names")
    every = [(raw, suffix, words) for raw in HOSTILE for suffix, words in COMMANDS]
    for raw, suffix, words in spread(every, count):
        place, name = room.new(), os.fsdecode(raw) + "." + suffix
        path = place / "source" / os.fsdecode(raw) / name if suffix == "png" else place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(toy[FILES[suffix]])
        ended = warm.run(tuple(word.replace("{name}", name) for word in words), place)
        told = {"code": ended.code, "seconds": ended.cpu, "peak": 0, "escapes": has_escapes(ended.err)}
        told |= shortened(ended.err)
        report.count("hostile names", f"exit {ended.code}")
        for what in verdicts(told):
            report.violation(f"names: {words[0]}: {what}", f"{raw!r}, vhs {' '.join(words)}: {ended.err[-200:]!r}")
