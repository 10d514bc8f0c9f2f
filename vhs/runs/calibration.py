"""Images for the calibration bank: a hashed part of the training split, never a scored sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from vhs.errors import MismatchError, UsageError, choices
from vhs.formats.references import Loaded
from vhs.formats.shards import ShardSet
from vhs.measures.fills import BANKED, FILLS, SPREAD, check_spread
from vhs.runs import cache
from vhs.runs.data import resolve
from vhs.runs.run import Calibration, Run

SAMPLES = 512
BATCH = 32


def parse(text: str) -> tuple[str, ...]:
    """`zero,mean` -> the fills, each once. Raises UsageError listing the legal ones."""
    kinds = tuple(dict.fromkeys(text.split(",")))
    for kind in kinds:
        if kind not in FILLS:
            raise UsageError(f"--fill {kind}: expected {choices(FILLS)}, several joined by commas.")
    return kinds


def calibrated(
    run: Run, kinds: Sequence[str], loaded: list[Loaded], data: Path | None, warn: Callable[[str], None]
) -> Run:
    """`run` with these fills and the images they need.

    They are the SAMPLES of the training split that come first in its nested order (by the run's seed), at
    the evaluation geometry. data: --fill-data, instead of the split the checkpoint records. Raises
    MismatchError when one of them is scored.
    """
    run = replace(run, fills=tuple(kinds))
    twinned = [kind for kind in kinds if kind.startswith("twin")]
    stored = next((condition.name for condition in run.conditions if condition.data), None)
    if twinned and (stored or run.data.manifest.targets):
        raise UsageError(f"--fill {twinned[0]}: needs shifts made on the fly from classified images, {stored} is not.")
    if set(kinds) & set(SPREAD):
        for model in run.models:
            check_spread(model)
    if not set(kinds) & set(BANKED):
        return run
    source = resolve(loaded, data, warn, split="train")
    chosen = cache.chosen(source, SAMPLES, run.seed)
    if _same(source, run.source):
        scored = {sample.id for sample in cache.chosen(run.source, run.max_samples, run.seed)}
        both = next((sample.id for sample in chosen if sample.id in scored), None)
        if both:
            raise MismatchError(
                f"{source.folder}: {both} would be calibration and scored image. Name other --fill-data."
            )
    batch = min(BATCH, len(chosen))
    decoded = cache.decode(source, chosen[: len(chosen) // batch * batch], skip_bad=run.skip_bad)
    batches = [part.to(run.device) for part in decoded.images_NCHW.split(batch) if len(part) == batch]
    used = decoded.ids[: batch * len(batches)]
    name = f"{source.manifest.name}/{source.manifest.split} clean, {len(used)} images"
    return replace(run, calibration=Calibration(batches, name, used))


def _same(a: ShardSet, b: ShardSet) -> bool:
    """Whether equal ids mean equal images: sets of one name and split."""
    return (a.manifest.name, a.manifest.split) == (b.manifest.name, b.manifest.split)
