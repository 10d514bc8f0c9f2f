"""Single heads, as functions: what they carry, which of two models match, networks without some; a part of
`vhs.notebook`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
from torch import Tensor, nn

from vhs import accepted, notebook_parts
from vhs.accepted import Data, Models, Names
from vhs.console import spoken
from vhs.errors import UsageError
from vhs.formats.references import Loaded
from vhs.measures import intervention
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
    keep: str | Path | None = None, resume: bool = False, part: str | None = None, progress: Progress | None = None,
    quiet: bool = False,
) -> pl.DataFrame:  # fmt: skip
    """Which head of another model each head is most like, as `vhs specialize --against`."""
    with spoken(progress, quiet=quiet) as talk:
        asked = Options(
            shift=accepted.names(shift), max_samples=max_samples, seed=seed, tile=tile, device=device,
            threads=threads, precision=precision, skip_bad=skip_bad, verify=verify,
            part=notebook_parts.share(part, keep),
        )  # fmt: skip
        if part is not None and skip_bad:
            raise UsageError("skip_bad: matches of images moved by bad ones cannot be added up from parts.")
        named = [*accepted.models(models), *accepted.models(against)]
        with notebook_parts.opened(named, data, asked, talk, keep=keep, resume=resume) as (run, keeping):
            measured = matching.measure(run, keeping)
            if asked.part is not None:
                return notebook_parts.write(measured, run, keeping)[0]
            return pl.concat(tables.rows for tables in measured.tables())


@contextmanager
def without_heads(
    model: Loaded, heads: str, *, fill: str = "zero", images: Tensor | None = None
) -> Iterator[nn.Module]:
    """Inside the block these heads (`L3H1,L5H0` or `3.1,5.0`) are filled in every pass of the network, which it gives.

    fill: zero, or mean or mean-flat over `images`, uint8 [N, C, H, W] at the data's geometry. The network takes what
    `model.model.preprocess` gives. Raises UsageError for another fill, MismatchError for a head that there is not.
    """
    with spoken(), intervention.without_heads(model.model, heads, fill=fill, images_NCHW=images) as net:
        yield net


def head_outputs(model: Loaded, images: Tensor) -> list[Tensor]:
    """For each layer what each head gives, where its projection reads it: [B, …, H, features].

    images: uint8 [B, C, H, W] at the data's geometry. Tokens lie in the dots: the class token and registers first in a
    plain ViT; rows and columns in others.
    """
    with spoken():
        return intervention.head_outputs(model.model, images)
