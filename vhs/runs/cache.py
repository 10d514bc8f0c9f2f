"""Every sample decoded once, as uint8 at the data's evaluation geometry.

In memory, or above a limit in a memory-mapped scratch file that disappears with the process.

Letters: N samples of the set, B samples of a tile, C channels, H height, W width.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from vhs.batch import Batch
from vhs.errors import InputError
from vhs.formats.shards import Manifest, Sample, ShardSet
from vhs.progress import Progress, silent
from vhs.runs.runtime import memory_bytes
from vhs.seeds import FOLDS, folds, nested_order, sample_keys

RESIZE, CROP = 256, 224
"""ImageNet geometry, for sets whose images differ in size: shorter side to 256 px (bilinear), centre 224."""
MEMORY_SHARE = 0.4
THREADED_PIXELS = 64 * 64
"""Images larger than this are decoded on several threads; for small PNGs threads only cost."""
CHUNK = 256


@dataclass(frozen=True)
class Decoded:
    """Decoded samples of one shard set. images_NCHW: uint8; labels_N, keys_N, folds_N: int64."""

    manifest: Manifest
    images_NCHW: torch.Tensor
    labels_N: torch.Tensor
    keys_N: torch.Tensor
    folds_N: torch.Tensor
    ids: tuple[str, ...]
    geometry: str
    skipped: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def tiles(self, tile: int, device: torch.device) -> Iterator[Batch]:
        """Batches of exactly `tile` samples on `device`; the last is padded."""
        for start in range(0, len(self), tile):
            stop = min(start + tile, len(self))
            yield self._batch(slice(start, stop), tile, device)

    def _batch(self, part: slice, tile: int, device: torch.device) -> Batch:
        size = part.stop - part.start

        def padded(values: torch.Tensor, fill: int = 0) -> torch.Tensor:
            rows = values[part]
            if size < tile:
                rows = torch.cat([rows, rows.new_full((tile - size, *rows.shape[1:]), fill)])
            return rows.to(device, non_blocking=True)

        return Batch(
            padded(self.images_NCHW), padded(self.labels_N), padded(self.keys_N), padded(self.folds_N, FOLDS), size
        )


def decode(
    data: ShardSet, *, max_samples: int | None = None, seed: int = 0, skip_bad: bool = False,
    progress: Progress = silent,
) -> Decoded:  # fmt: skip
    """Decode a shard set, or a nested class-stratified subset of `max_samples`.

    Raises InputError naming the sample that cannot be decoded, unless `skip_bad`; then it is left
    out and its message kept in `skipped`.
    """
    samples = _chosen(list(data.samples()), max_samples, seed)
    images, kept, skipped = _decode_all(data, samples, skip_bad, progress)
    if not kept:
        raise InputError(f"{data.folder}: no sample could be decoded.")
    keys = sample_keys([sample.id for sample in kept])
    return Decoded(
        manifest=data.manifest,
        images_NCHW=torch.from_numpy(images[: len(kept)]),
        labels_N=torch.tensor([sample.label for sample in kept]),
        keys_N=torch.from_numpy(keys.view(np.int64)),
        folds_N=torch.from_numpy(folds(keys)),
        ids=tuple(sample.id for sample in kept),
        geometry=geometry(data.manifest),
        skipped=tuple(skipped),
    )


def geometry(manifest: Manifest) -> str:
    """The evaluation geometry of a set, in words."""
    if manifest.height is not None:
        return f"native {manifest.height}x{manifest.width}"
    return f"resize {RESIZE}, crop {CROP}"


def side(manifest: Manifest) -> tuple[int, int]:
    """Height and width of a decoded image, px."""
    return (manifest.height or CROP, manifest.width or CROP)


def _chosen(samples: list[Sample], max_samples: int | None, seed: int) -> list[Sample]:
    if max_samples is None or max_samples >= len(samples):
        return samples
    keys = sample_keys([sample.id for sample in samples])
    labels = np.array([sample.label for sample in samples])
    return [samples[index] for index in sorted(nested_order(keys, labels, seed)[:max_samples].tolist())]


def _decode_all(
    data: ShardSet, samples: Sequence[Sample], skip_bad: bool, progress: Progress
) -> tuple[np.ndarray, list[Sample], list[str]]:
    manifest = data.manifest
    height, width = side(manifest)
    images = _buffer((len(samples), manifest.channels, height, width))
    kept: list[Sample] = []
    skipped: list[str] = []

    def attempt(sample: Sample) -> np.ndarray | InputError:
        try:
            return fitted(data.decoded(sample), manifest, sample)
        except InputError as error:
            return error

    threads = (os.cpu_count() or 1) if height * width > THREADED_PIXELS else 0
    with ThreadPoolExecutor(threads or 1) as pool:
        for start in range(0, len(samples), CHUNK):
            chunk = samples[start : start + CHUNK]
            results = pool.map(attempt, chunk) if threads else map(attempt, chunk)
            for sample, result in zip(chunk, results, strict=True):
                if isinstance(result, InputError):
                    if not skip_bad:
                        raise InputError(f"{result} Mend it, or leave such images out with --skip-bad.")
                    skipped.append(str(result))
                else:
                    images[len(kept)] = result
                    kept.append(sample)
            progress(f"decoding {manifest.name}", min(start + CHUNK, len(samples)), len(samples))
    return images, kept, skipped


def fitted(pixels_HWC: np.ndarray, manifest: Manifest, sample: Sample) -> np.ndarray:
    """uint8 [C, H, W] at the evaluation geometry."""
    if manifest.height is not None:
        if pixels_HWC.shape[:2] != (manifest.height, manifest.width):
            found = f"{pixels_HWC.shape[0]}x{pixels_HWC.shape[1]}"
            raise InputError(f"{sample.where}: is {found} px, its manifest says {manifest.height}x{manifest.width}.")
        return pixels_HWC.transpose(2, 0, 1)
    return resize_and_crop(pixels_HWC)


def resize_and_crop(pixels_HWC: np.ndarray) -> np.ndarray:
    """uint8 [C, 224, 224]: shorter side to 256 px, bilinear with antialiasing, and the centre."""
    height, width = pixels_HWC.shape[:2]
    size = [RESIZE * side // min(height, width) for side in (height, width)]
    image = torch.from_numpy(np.array(pixels_HWC)).permute(2, 0, 1)[None]
    resized = F.interpolate(image, size=size, mode="bilinear", antialias=True)[0]
    top, left = round((size[0] - CROP) / 2), round((size[1] - CROP) / 2)
    return resized[:, top : top + CROP, left : left + CROP].numpy()


def _buffer(shape: tuple[int, ...]) -> np.ndarray:
    if np.prod(shape, dtype=float) <= memory_bytes() * MEMORY_SHARE:
        return np.empty(shape, np.uint8)
    with tempfile.NamedTemporaryFile(prefix="vhs-") as scratch:  # the mapping outlives the name
        return np.memmap(scratch.name, np.uint8, mode="w+", shape=shape)
