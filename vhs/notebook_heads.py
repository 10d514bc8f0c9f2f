"""What heads carry, and which heads of two models match, as functions: a part of `vhs.notebook`."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from vhs import accepted
from vhs.accepted import Data, Models, Names
from vhs.console import spoken
from vhs.formats.references import Loaded
from vhs.progress import Progress
from vhs.runs import opening
from vhs.runs.opening import Options
from vhs.viewing import matching, probes


def probe(
    models: Models, data: Data = None, *, shift: Names = (), max_samples: int | None = None, seed: int = 0,
    tile: int | None = None, device: str = "auto", threads: int | None = None, precision: str = "float32",
    skip_bad: bool = False, verify: bool = True, progress: Progress | None = None, quiet: bool = False,
) -> pl.DataFrame:  # fmt: skip
    """What can be decoded from each head, as `vhs specialize --probe`: the label and every attribute of the data."""
    with spoken(progress, quiet=quiet) as talk:
        asked = Options(
            shift=accepted.names(shift), by=None, max_samples=max_samples, seed=seed, tile=tile, device=device,
            threads=threads, precision=precision, skip_bad=skip_bad, verify=verify,
        )  # fmt: skip
        run = opening.open_named(
            accepted.models(models), accepted.data(data), asked, progress=talk.progress, note=talk.note
        )
        return pl.concat(probes.probe(run))


def match(
    models: Models, against: Loaded | str | Path, data: Data = None, *, shift: Names = (),
    max_samples: int | None = None, seed: int = 0, tile: int | None = None, device: str = "auto",
    threads: int | None = None, precision: str = "float32", skip_bad: bool = False, verify: bool = True,
    progress: Progress | None = None, quiet: bool = False,
) -> pl.DataFrame:  # fmt: skip
    """Which head of another model each head is most like, as `vhs specialize --against`."""
    with spoken(progress, quiet=quiet) as talk:
        asked = Options(
            shift=accepted.names(shift), max_samples=max_samples, seed=seed, tile=tile, device=device,
            threads=threads, precision=precision, skip_bad=skip_bad, verify=verify,
        )  # fmt: skip
        named = [*accepted.models(models), *accepted.models(against)]
        run = opening.open_named(named, accepted.data(data), asked, progress=talk.progress, note=talk.note)
        return pl.concat(matching.match(run))
