"""The commands as functions, for notebooks: the same drivers, polars frames back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from vhs.formats import references, shards
from vhs.formats.references import Loaded
from vhs.formats.shards import ShardSet
from vhs.progress import Progress, silent
from vhs.runs import conditions, runtime
from vhs.runs.ablation import ablate as _ablate
from vhs.runs.data import resolve
from vhs.runs.evaluation import evaluate
from vhs.runs.run import Run, open_run
from vhs.runs.specialization import specialize as _specialize
from vhs.summaries import comparison


def open_shards(folder: str | Path, split: str = "val") -> ShardSet:
    """The shard set in `folder`, or the one of this split below it. Raises InputError."""
    return shards.pick(Path(folder), lambda manifest: manifest.split == split, split)


def load_model(reference: str | Path, *, device: str = "auto", precision: str = "float32") -> Loaded:
    """The model a reference names: a vhs checkpoint, or timm:NAME. Raises InputError."""
    return references.load(str(reference), runtime.prepare(device, None, precision), precision)


def ablate(
    model: Loaded, data: ShardSet | None = None, *, shift: str | Sequence[str] = (), max_samples: int | None = None,
    seed: int = 0, tile: int | None = None, progress: Progress = silent,
) -> tuple[pl.DataFrame, pl.DataFrame]:  # fmt: skip
    """The ablate table and the folds table of one model under clean and each shift."""
    run = _open(model, data, shift, max_samples=max_samples, seed=seed, tile=tile, progress=progress)
    parts = list(_ablate(run))
    return pl.concat(part.rows for part in parts), pl.concat(part.folds for part in parts)


def evalshift(
    model: Loaded, data: ShardSet | None = None, *, shift: str | Sequence[str] = (), max_samples: int | None = None,
    seed: int = 0, tile: int | None = None, progress: Progress = silent,
) -> pl.DataFrame:  # fmt: skip
    """The evalshift table of one model under clean and each shift."""
    run = _open(model, data, shift, max_samples=max_samples, seed=seed, tile=tile, progress=progress)
    return pl.concat(rows for rows, _ in evaluate(run))


def specialize(
    model: Loaded, data: ShardSet | None = None, *, shift: str | Sequence[str] = (), max_samples: int | None = None,
    seed: int = 0, tile: int | None = None, progress: Progress = silent,
) -> tuple[pl.DataFrame, pl.DataFrame]:  # fmt: skip
    """The heads table and the pairs table of one model under clean and each shift."""
    run = _open(model, data, shift, max_samples=max_samples, seed=seed, tile=tile, progress=progress)
    heads, pairs = zip(*_specialize(run), strict=True)
    return pl.concat(heads), pl.concat(pairs)


def compare(folds: pl.DataFrame, *, scales: Sequence[str] = ("accuracy", "loss"), seed: int = 0) -> pl.DataFrame:
    """The compare table of a folds table: clean against each shift."""
    return comparison.correlations(folds, scales, seed=seed)


def _open(
    model: Loaded, data: ShardSet | None, shift: str | Sequence[str], *, max_samples: int | None, seed: int,
    tile: int | None, progress: Progress,
) -> Run:  # fmt: skip
    import warnings

    wanted = conditions.parse([shift] if isinstance(shift, str) else shift)
    chosen = data or resolve([model], None, lambda message: warnings.warn(message, stacklevel=4))
    return open_run([model.model], chosen, wanted, seed=seed, tile=tile, max_samples=max_samples, progress=progress)
