"""What lies beside a set's images: maps of their regions, bare twins, and of a stored shift the images before it.

Letters: N samples, C channels, H height, W width.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from vhs.errors import InputError
from vhs.formats import images, pixels
from vhs.formats.pixels import Geometry
from vhs.formats.sample import Sample
from vhs.formats.shards import ShardSet
from vhs.formats.verification import verify
from vhs.measures.regions import differing
from vhs.runs import cache
from vhs.runs.cache import Decoded

REGIONS, BARE = "regions.png", "bare.png"


def with_regions(decoded: Decoded, data: ShardSet, geometry: Geometry) -> Decoded:
    """The same with a map of regions for every sample, and the bare twins where the set has them.

    Raises InputError naming a sample without a map.
    """
    wanted = set(decoded.chosen)
    by_id = {sample.id: sample for sample in data.samples() if sample.id in wanted}
    samples = [by_id[name] for name in decoded.ids]
    twins = all(BARE in sample.members for sample in by_id.values())  # of all, or parts would measure unlike things
    lacking = next((sample for sample in samples if REGIONS not in sample.members), None)
    if lacking is not None:
        raise InputError(f"{lacking.where}: has no {REGIONS} beside it. Shard the set with maps for all images.")
    with verify(data, samples):
        maps = [pixels.decode_map(data, sample, REGIONS, geometry) for sample in samples]
        bare = [_twin(data, sample, geometry) for sample in samples] if twins else None
    shape = decoded.images_NCHW.shape
    regions = _stack(maps, (0, *shape[2:]))
    found = replace(decoded.beside, regions_NHW=regions)
    if bare is not None:
        twin = _stack(bare, (0, *shape[1:]))
        added = differing(decoded.images_NCHW, twin, regions, len(data.manifest.regions))
        found = replace(found, bare_NCHW=twin, added_NR=added)
    return replace(decoded, beside=found)


def with_clean(decoded: Decoded, source: ShardSet, clean: Decoded, *, skip_bad: bool = False) -> Decoded:
    """The same with what each image was before the shift, if all chosen ones are there and of its size.

    clean: this rank's part of `source`; a set in another order needs others of it.
    """
    if not set(decoded.chosen) <= {sample.id for sample in source.samples()}:
        return decoded
    if not set(decoded.ids) <= set(clean.ids):
        wanted = set(decoded.ids)
        clean = cache.decode(source, [item for item in source.samples() if item.id in wanted], skip_bad=skip_bad)
    places = {name: place for place, name in enumerate(clean.ids)}
    if decoded.images_NCHW.shape[1:] != clean.images_NCHW.shape[1:] or not set(decoded.ids) <= set(places):
        return decoded
    chosen = clean.images_NCHW[[places[name] for name in decoded.ids]]
    return replace(decoded, beside=replace(decoded.beside, clean_NCHW=chosen))


def _stack(images: list[np.ndarray], empty: tuple[int, ...]) -> torch.Tensor:
    """uint8 [N, …]; empty: its shape without any."""
    return torch.from_numpy(np.stack(images)) if images else torch.zeros(empty, dtype=torch.uint8)


def _twin(data: ShardSet, sample: Sample, geometry: Geometry) -> np.ndarray:
    """uint8 [C, H, W]."""
    found = images.decode(sample.further[BARE], data.manifest.channels, f"{sample.where} ({BARE})")
    return pixels.fit(found, data.manifest, sample, geometry)
