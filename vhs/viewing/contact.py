"""Pictures for contact sheets: an image under corruptions, or one class in several shard sets."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from vhs.errors import InputError, MismatchError, UsageError
from vhs.figures import contact as sheets
from vhs.figures import style
from vhs.formats import frost, pixels, places, regular
from vhs.formats.images import decode
from vhs.formats.places import Place
from vhs.formats.sample import Sample
from vhs.formats.shards import ShardSet, is_set
from vhs.formats.verification import verify
from vhs.runs import conditions
from vhs.seeds import sample_keys
from vhs.shifts.corruption import MIN_SIDE, corrupt
from vhs.shifts.names import CORRUPTION_NAMES, SEVERITIES

SHOWN = 8
"""Images of a class."""


def figure(
    paths: Sequence[str], wanted: str | None = None, kind: str | None = None, shifts: Sequence[str] = ()
) -> Figure:
    """The contact sheet of an image or a shard set under corruptions, or of a class (`wanted`) in several sets.

    shifts: which corruptions, as `--shift` names them; without, those of ImageNet-C.
    """
    if kind not in (None, "contact"):
        raise UsageError(f"--kind {kind}: images and shard sets are drawn as contact.")
    several = len(paths) > 1 or wanted is not None
    if several and any(_is_file(places.parse(path)) for path in paths):
        raise UsageError(f"{paths[0]}: an image is drawn alone; of one class in several sets, name shard sets.")
    if several and shifts:
        raise UsageError(f"--shift {shifts[0]}: is of one image or shard set; several are drawn as they are.")
    mapped = None if several or shifts else with_regions(paths[0])
    with style.house_style():
        if several:
            return sheets.side_by_side(*one_class(paths, wanted))
        return sheets.with_regions(*mapped) if mapped else sheets.sheet(*pictures(paths[0], shifts))


def _corruptions(shifts: Sequence[str]) -> list[str]:
    """The corruptions that shifts name, each once."""
    if not shifts:
        return list(CORRUPTION_NAMES)
    found = conditions.parse(shifts)[1:]
    for condition in found:
        if condition.corruption is None or condition.data is not None:
            raise UsageError(f"--shift {condition.shift}: an image is drawn under corruptions made on the fly.")
    return list(dict.fromkeys(condition.corruption for condition in found if condition.corruption is not None))


def pictures(path: str, shifts: Sequence[str] = (), seed: int = 0) -> tuple[dict[str, list[np.ndarray]], str]:
    """(corruption -> the image clean and at severities 1 to 5, a title). A shard set gives its first sample.

    A photograph is brought to ImageNet's geometry (shorter side 256, centre 224).
    """
    image_CHW, name = _image(places.parse(path))
    height, width = image_CHW.shape[-2:]
    if min(height, width) < MIN_SIDE:
        raise InputError(f"{path}: {height}x{width} px; corruptions need {MIN_SIDE} px or more.")
    keys = torch.from_numpy(sample_keys([name]).view(np.int64))
    batch = torch.from_numpy(np.array(image_CHW))[None]
    columns = {}
    names = _corruptions(shifts)
    for corruption in names:
        shifted = [corrupt(batch, keys, corruption, s, seed, textures=frost.textures()) for s in SEVERITIES]
        columns[corruption] = [image[0].permute(1, 2, 0).numpy() for image in (batch, *shifted)]
    origin = f"; frost textures: {frost.textures().origin}" if "frost" in names else ""
    return columns, f"{name}, {height}x{width} px, seed {seed}{origin}"


def one_class(folders: Sequence[str], wanted: str | None) -> tuple[dict[str, list[np.ndarray]], str]:
    """(shard set -> its first images of a class, a title). wanted: the class; by default the first that all have."""
    sets = [ShardSet.open(places.parse(folder)) for folder in folders]
    shared = [name for name in sets[0].manifest.classes if all(name in data.manifest.classes for data in sets)]
    if not shared or (wanted is not None and wanted not in shared):
        what = "no class" if not shared else f"not the class {wanted}"
        raise MismatchError(f"{', '.join(folders)}: {what} is in every one of them.")
    name = wanted or shared[0]
    return {_title(data): list(_of_class(data, name)) for data in sets}, f"class {name}"


def with_regions(path: str) -> tuple[dict[str, list[np.ndarray]], list[np.ndarray], tuple[str, ...], str] | None:
    """(rows of the first images and their bare twins, their region maps, the regions' names, a title); None where the
    set has no region maps."""
    place = places.parse(path)
    data = ShardSet.open(place) if is_set(place) else None
    if data is None or not data.manifest.regions:
        return None
    samples = [sample for sample in itertools.islice(data.samples(), SHOWN) if "regions.png" in sample.members]
    with verify(data, samples):
        return _rows_of_maps(path, data, samples)


def _rows_of_maps(
    path: str, data: ShardSet, samples: Sequence[Sample]
) -> tuple[dict[str, list[np.ndarray]], list[np.ndarray], tuple[str, ...], str]:
    rows = {"image": [data.decode(sample) for sample in samples]}
    twins = [sample.further["bare.png"] for sample in samples if "bare.png" in sample.members]
    if twins:
        rows["bare twin"] = [decode(twin, data.manifest.channels, path) for twin in twins]
    maps = [decode(sample.further["regions.png"], 1, path)[..., 0] for sample in samples]
    return rows, maps, data.manifest.regions, f"{_title(data)}, {data.manifest.samples:,} images"


def _of_class(data: ShardSet, name: str) -> Iterator[np.ndarray]:
    label = data.manifest.classes.index(name)
    found = (sample for sample in data.samples() if sample.label == label)
    samples = list(itertools.islice(found, SHOWN))
    with verify(data, samples):
        for sample in samples:
            yield pixels.decode(data, sample).transpose(1, 2, 0)


def _title(data: ShardSet) -> str:
    kind = data.manifest.extra.get("corruption")
    shown = f" {kind['name']}:{kind['severity']}" if isinstance(kind, dict) else ""
    return f"{data.manifest.name}/{data.manifest.split}{shown}"


def _image(path: Place) -> tuple[np.ndarray, str]:
    if is_set(path):
        data = ShardSet.open(path)
        sample = next(data.samples())
        with verify(data, [sample]):
            return pixels.decode(data, sample), sample.id
    if not isinstance(path, Path):
        ShardSet.open(path)  # says what is missing there
    assert isinstance(path, Path)
    return pixels.resize_and_crop(decode(regular.read(path), 3, str(path))), path.stem


def _is_file(place: Place) -> bool:
    return isinstance(place, Path) and not place.is_dir()
