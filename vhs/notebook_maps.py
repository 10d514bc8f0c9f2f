"""Maps of what heads look at, as functions: a part of `vhs.notebook`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from vhs import accepted
from vhs.accepted import Data, Names
from vhs.console import spoken
from vhs.errors import UsageError
from vhs.figures import map_cells
from vhs.figures import maps as sheets
from vhs.formats import map_file
from vhs.formats.atomic import write_whole
from vhs.formats.map_file import MapFile
from vhs.formats.references import Loaded
from vhs.progress import Progress
from vhs.runs.opening import Options
from vhs.viewing import maps as run


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
    sources: Sequence[Any], kind: str | None, head: Names, layer: int | None, query: tuple[int, int] | None,
    weighting: str,
) -> Figure | None:  # fmt: skip
    """The figure of maps, or of their files; None where the sources are tables."""
    are = [isinstance(item, MapFile) or str(item).endswith(".safetensors") for item in sources]
    if not any(are):
        if head or layer is not None or query is not None:
            raise UsageError("head, layer and query are of maps, which `maps` makes.")
        return None
    if not all(are):
        raise UsageError("maps and tables are drawn apart.")
    files = [item if isinstance(item, MapFile) else map_file.read(Path(item)) for item in sources]
    words = None if query is None else ",".join(str(number) for number in query)
    return sheets.draw(files, kind, map_cells.parse(accepted.names(head), layer, words, weighting))
