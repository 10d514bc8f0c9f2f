"""Maps of what heads look at, as functions: a part of `vhs.notebook`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
from matplotlib.figure import Figure

from vhs import accepted
from vhs.accepted import Data, Names
from vhs.console import spoken
from vhs.errors import UsageError
from vhs.figures import map_cells, selection
from vhs.figures import maps as sheets
from vhs.formats import map_file, tables
from vhs.formats.atomic import write_whole
from vhs.formats.map_file import MapFile
from vhs.formats.references import Loaded
from vhs.progress import Progress
from vhs.runs.opening import Options
from vhs.viewing import maps as run

Heads = str | pl.DataFrame | Sequence[str | pl.DataFrame]
"""Heads by name, or the rows of an ablation, whose most important head is meant."""


def maps(
    model: Loaded | str | Path, data: Data = None, *, images: Names | Path | Sequence[Path] = (), samples: Names = (),
    shift: Names = (), full: bool = False, activity: int = 0, top_images: int = 0, max_samples: int | None = None,
    seed: int = 0, device: str = "auto", threads: int | None = None, precision: str = "float32",
    skip_bad: bool = False, verify: bool = True, out: str | Path | None = None, progress: Progress | None = None,
    quiet: bool = False,
) -> MapFile:  # fmt: skip
    """What heads look at in a few images, as `vhs specialize --maps`; `plot` draws it, `out` keeps it in a file."""
    with spoken(progress, quiet=quiet) as talk:
        options = Options(
            shift=accepted.names(shift), max_samples=max_samples, seed=seed, device=device, threads=threads,
            precision=precision, skip_bad=skip_bad, verify=verify,
        )  # fmt: skip
        paths: list[str | Path] = [images] if isinstance(images, (str, Path)) else list(images)
        wanted = run.Asked(
            samples=accepted.names(samples), images=[Path(path) for path in paths], whole=full, activity=activity,
            top=top_images,
        )  # fmt: skip
        reference = accepted.models(model)[0]
        made = run.collect(
            reference, accepted.data(data), options, wanted, progress=talk.progress, note=talk.note
        )  # fmt: skip
        if out is not None:
            write_whole(Path(out), map_file.to_bytes(made.info, made.tensors))
        return MapFile(made.info, made.tensors, str(out) if out is not None else "the maps")


def read_maps(path: str | Path) -> MapFile:
    """The maps in a file. Raises InputError for anything else."""
    with spoken():
        return map_file.read(Path(path))


def drawn(
    sources: Sequence[Any], kind: str | None, head: Heads, layer: int | None, query: tuple[int, int] | None,
    weighting: str,
) -> Figure | None:  # fmt: skip
    """The figure of maps, or of their files; None where the sources are tables."""
    are = [isinstance(item, MapFile) or str(item).endswith(".safetensors") for item in sources]
    if not any(are):
        if len(head) or layer is not None or query is not None:
            raise UsageError("head, layer and query are of maps, which `maps` makes.")
        return None
    if not all(are):
        raise UsageError("maps and tables are drawn apart.")
    files = [item if isinstance(item, MapFile) else map_file.read(Path(item)) for item in sources]
    words = None if query is None else ",".join(str(number) for number in query)
    listed = [head] if isinstance(head, (str, pl.DataFrame)) else list(head)
    heads = [item if isinstance(item, str) else selection.strongest_head(tables.of_frame(item)) for item in listed]
    return sheets.draw(files, kind, map_cells.parse(heads, layer, words, weighting))
