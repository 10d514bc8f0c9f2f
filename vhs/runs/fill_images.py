"""Images for the calibration bank: a hashed part of the training split, never a scored sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from vhs.errors import MismatchError, UsageError
from vhs.formats.references import Loaded
from vhs.formats.shards import ShardSet
from vhs.measures.fill_kinds import BANKED, SPREAD
from vhs.measures.fills import check_spread
from vhs.runs import cache, ranks
from vhs.runs.data import resolve
from vhs.runs.run import Calibration, Run
from vhs.seeds import nested_order

SAMPLES = 512
BATCH = 32
TWICE = 0.02
"""Share of the calibration images that may be scored too (data sets have some images twice); they are left out."""
SPOTS = 256
"""Values of an image that are compared before all are."""


def calibrated(
    run: Run, kinds: Sequence[str], loaded: list[Loaded], data: Path | None, warn: Callable[[str], None]
) -> Run:
    """`run` with these fills and the images they need.

    They are the SAMPLES of the training split that come first in its nested order (by the run's seed), at
    the evaluation geometry. data: --fill-data, instead of the split the checkpoint records. Raises
    MismatchError when one of them is scored: by its id in a set of the same name, or by its pixels.
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
    decoded = cache.decode(source, chosen, skip_bad=run.skip_bad)
    kept = _unscored(decoded, run, warn)
    batch = min(BATCH, len(kept))
    order = nested_order(decoded.keys_N.numpy().view(np.uint64)[kept], decoded.labels_N.numpy()[kept], run.seed)
    used = kept[np.sort(order[: len(order) // batch * batch])]  # equal batches, and what is left out is of any class
    batches = [part.to(run.device) for part in decoded.images_NCHW[torch.from_numpy(used)].split(batch)]
    name = f"{source.manifest.name}/{source.manifest.split} clean, {len(used)} images"
    return replace(run, calibration=Calibration(batches, name, tuple(decoded.ids[index] for index in used)))


def _unscored(decoded: cache.Decoded, run: Run, warn: Callable[[str], None]) -> np.ndarray:
    """Positions of the images that are not scored under other ids; a few may be in both splits of a data set.

    Raises MismatchError where more than TWICE of them are scored.
    """
    if decoded.images_NCHW.shape[1:] != run.data.images_NCHW.shape[1:]:
        return np.arange(len(decoded))
    places = {spots: place for place, spots in enumerate(_spots(decoded))}
    scored = set()
    for image, spots in zip(run.data.images_NCHW, _spots(run.data), strict=False):
        place = places.get(spots)
        if place is not None and torch.equal(image, decoded.images_NCHW[place]):
            scored.add(place)
    both = sorted(set(ranks.gathered(sorted(scored))))
    where = decoded.manifest.name
    if len(both) > TWICE * len(decoded):
        raise MismatchError(
            f"{where}: {len(both)} of its {len(decoded)} calibration images, such as {decoded.ids[both[0]]}, are "
            f"scored too, under these or other ids. Name other --fill-data."
        )
    if both:
        warn(f"{where}: {len(both)} calibration images are scored too and are left out")
    return np.setdiff1d(np.arange(len(decoded)), both)


def _spots(decoded: cache.Decoded) -> list[bytes]:
    """About SPOTS values of each image, by which few unlike ones look alike."""
    values_NP = decoded.images_NCHW.flatten(1)
    return [row.tobytes() for row in values_NP[:, :: max(1, values_NP.shape[1] // SPOTS)].numpy()]


def _same(a: ShardSet, b: ShardSet) -> bool:
    """Whether equal ids mean equal images: sets of one name and split."""
    return (a.manifest.name, a.manifest.split) == (b.manifest.name, b.manifest.split)
