"""Every kind of file that vhs reads, one module a family."""

from __future__ import annotations

from pathlib import Path

from tests.faults import cases
from tests.faults.sound import arrays, leftovers, models, pictures, shardsets, tables, texts
from tests.faults.sound.format import Format


def formats(root: Path) -> list[Format]:
    """All of them, made from the toys at `root / "toys"`; commands run in a folder beside it."""
    toy = cases.files(root / "toys")
    return [
        *tables.formats(toy), *models.formats(toy), *shardsets.formats(toy), *pictures.formats(), *arrays.formats(),
        *texts.formats(toy), *leftovers.formats(root),
    ]  # fmt: skip
