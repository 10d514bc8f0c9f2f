"""One door to packing a source, for the command and for notebooks: what was asked for goes in, shard sets come out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vhs.errors import InputError, UsageError, check_range, choices
from vhs.formats import locks, places, sharding
from vhs.formats.manifest import Manifest
from vhs.formats.places import Place
from vhs.formats.sharding import PER_TAR, Coloured
from vhs.formats.shards import ShardSet
from vhs.formats.split import Split, select
from vhs.progress import Note, Progress, silent, unheard
from vhs.sources import attributes, class_map, corrupted, foreign, foreign_split, in_place, layouts, region_maps
from vhs.sources.base import as_shifted
from vhs.sources.chirps import Chirps
from vhs.sources.dominoes import VAL_SHARE, Dominoes
from vhs.sources.foreign_split import Contents

SPLITS = ("train", "val", "test")
DISTORT = "labels,title,colorbar,ticks"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options of `vhs shard`, as typed; docs/cli.md says what each means. classes: their names, in order."""

    layout: str | None = None
    split: str | None = None
    columns: str | None = None
    classes: Sequence[str] | None = None
    per_class: int | None = None
    base: Place | None = None
    per_tar: int = PER_TAR
    top: str | None = None
    bottom: str | None = None
    pairs: str | None = None
    correlation: float = 1.0
    test_correlation: float = 1.0
    val_share: float = VAL_SHARE
    count: int = 2000
    side: int = 128
    distort: str = DISTORT
    seed: int = 0
    skip_bad: bool = False
    follow_links: bool = False
    region_maps: Path | None = None
    region_names: Sequence[str] | None = None
    class_map: str | None = None
    superclasses: bool = False
    attributes: Path | None = None
    attribute_columns: Sequence[str] | None = None
    label: str | None = None
    class_names: str | None = None
    in_place: bool = False


def parts(
    source: str, out: Path, asked: Asked, *, progress: Progress = silent, note: Note = unheard
) -> dict[Path, Split]:  # fmt: skip
    """Folder -> what goes into it: `out` itself for a single split, else a folder in it each.

    Raises UsageError or InputError for what cannot be.
    """
    check_range("per_tar", asked.per_tar, 1)
    check_range("per_class", asked.per_class, 1)
    check_range("correlation", asked.correlation, 0, 1)
    check_range("test_correlation", asked.test_correlation, 0, 1)
    check_range("val_share", asked.val_share, 0, 1)
    check_range("count", asked.count, 8)
    if asked.in_place:
        found = _in_place(source, asked, progress, note)
    elif source == "dominoes":
        found = _dominoes(asked)
    elif source == "chirps":
        found = _chirps(asked)
    else:
        found = _splits(source, out, asked, progress, note)
    found = _with_more(found, asked, note)
    chosen = [select(part, list(asked.classes) if asked.classes else None, asked.per_class) for part in found]
    if asked.base is not None:
        chosen = [as_shifted(part, asked.base) for part in chosen]
    return {out / (part.folder or part.split) if len(chosen) > 1 else out: part for part in chosen}


def _with_more(found: list[Split], asked: Asked, note: Note) -> list[Split]:
    """The splits with what other files tell of them: classes, attributes, maps of regions."""
    if (asked.region_maps is None) != (asked.region_names is None):
        raise UsageError("--region-maps and --region-names: the folder of maps and the names of regions go together.")
    if asked.superclasses and asked.class_map is None:
        raise UsageError("--superclasses: says what the folders of --class-map are; name the map, too.")
    if asked.attribute_columns and asked.attributes is None:
        raise UsageError("--attribute-columns: are those of --attributes; name the table, too.")
    if asked.class_map is not None:
        found = class_map.applied(found, class_map.read(asked.class_map), superclasses=asked.superclasses)
    if asked.attributes is not None:
        found = attributes.joined(found, attributes.read(asked.attributes), asked.attribute_columns, note)
    if asked.region_maps is not None:
        found = [region_maps.with_maps(part, asked.region_maps, asked.region_names or ()) for part in found]
    return found


def write(
    folder: Path, part: Split, out: Path, asked: Asked, *, progress: Progress = silent, note: Note = unheard
) -> ShardSet:  # fmt: skip
    """Write one shard set; a rerun keeps what is there and sound."""
    made = as_shifted(part, out / part.version_of) if part.version_of else part
    coloured = replace(made, channels=3)
    if made.channels == 1 and _is_begun(folder, coloured, asked):
        made = coloured
    try:
        manifest, skipped = _written(folder, made, asked, progress)
    except Coloured as error:
        note(f"{error} {folder} is written anew, with three channels.")
        manifest, skipped = _written(folder, coloured, asked, progress)
    if skipped:
        note(f"{folder}: {len(skipped)} bad samples skipped; the first: {skipped[0]}")
    return ShardSet(folder, manifest)


def _is_begun(folder: Path, made: Split, asked: Asked) -> bool:
    if asked.in_place:
        return in_place.is_begun(folder, made, asked.skip_bad)
    return sharding.is_begun(folder, made, asked.per_tar, asked.skip_bad)


def _written(folder: Path, made: Split, asked: Asked, progress: Progress) -> tuple[Manifest, list[str]]:
    if asked.in_place:
        return in_place.describe(folder, made, skip_bad=asked.skip_bad, progress=progress)
    return sharding.write_set(folder, made, per_tar=asked.per_tar, skip_bad=asked.skip_bad, progress=progress)


def pack(
    source: str, out: Path, asked: Asked, *, progress: Progress = silent, note: Note = unheard
) -> list[ShardSet]:  # fmt: skip
    """All shard sets of a source, written under their locks."""
    found = parts(source, out, asked, progress=progress, note=note)
    with locks.hold(found, note):
        return [write(folder, part, out, asked, progress=progress, note=note) for folder, part in found.items()]


def _dominoes(asked: Asked) -> list[Split]:
    top, bottom, pairs = asked.top, asked.bottom, asked.pairs
    if top is None or bottom is None:
        raise UsageError("dominoes: needs --top SOURCE and --bottom SOURCE.")
    if asked.val_share in (0, 1):
        raise UsageError(
            f"--val-share {asked.val_share:g}: expected more than 0 and less than 1, for val and test both."
        )
    together = None
    if pairs is not None:
        together = [(a, b) for a, _, b in (pair.partition(":") for pair in pairs.split(","))]
        if not all(a and b for a, b in together):
            raise UsageError(
                f"--pairs {pairs}: expected TOP:BOTTOM, several joined by commas, such as 0:automobile,1:truck."
            )
    above, below = (
        layouts.read(source, layouts.detect(source), follow_links=asked.follow_links) for source in (top, bottom)
    )
    return Dominoes(
        above, below, pairs=together, correlation=asked.correlation, test_correlation=float(asked.test_correlation),
        val_share=asked.val_share, seed=asked.seed,
    ).splits()  # fmt: skip


def _chirps(asked: Asked) -> list[Split]:
    names = [] if asked.distort == "none" else asked.distort.split(",")
    return Chirps(count=asked.count, side=asked.side, distortions=names, seed=asked.seed).splits()


def class_list(classes: str) -> list[str]:
    """The names of `A,B`, or of the lines of `@FILE`."""
    if not classes.startswith("@"):
        return classes.split(",")
    try:
        return [line.strip() for line in Path(classes[1:]).read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{classes[1:]}: cannot be read: {error}. Name a file with one class a line.") from error


def _in_place(source: str, asked: Asked, progress: Progress, note: Note) -> list[Split]:
    """The contents of tars that stay as they are. Raises UsageError for options that would add images to them."""
    if asked.region_maps is not None:
        raise UsageError("--in-place: adds nothing to tars; --region-maps adds images. Drop one of the two.")
    layout = asked.layout or (layouts.WEBDATASET if foreign.holds_tars(source) else layouts.detect(source))
    if layout != layouts.WEBDATASET:
        raise UsageError(
            f"--in-place: {places.redacted(source)} is of layout {layout}; only tars are described where they lie."
        )
    return [foreign_split.split_of(part, stays=True) for part in _contents(source, asked, progress, note)]


def _contents(source: str, asked: Asked, progress: Progress, note: Note) -> list[Contents]:
    """The contents of tars that others wrote; a single set takes the split's name asked for."""
    if asked.columns is not None:
        raise UsageError("--columns: are of metadata.csv or Parquet. What tells a class in tars is named by --label.")
    found = foreign_split.read(source, asked.label, asked.class_names, progress=progress, note=note)
    if asked.split is None:
        return found
    _check_split(asked.split, [part.of.split for part in found])
    return [replace(found[0], of=replace(found[0].of, split=asked.split))]


def _splits(source: str, out: Path, asked: Asked, progress: Progress, note: Note) -> list[Split]:
    """The splits of the source; a single one takes the name asked for."""
    layout, name = asked.layout, asked.split
    if layout is not None and layout not in layouts.LAYOUTS:
        raise UsageError(f"--layout {layout}: expected {choices(layouts.LAYOUTS)}.")
    layout = layout or layouts.detect(source)
    if layout == layouts.WEBDATASET:
        found = _contents(source, asked, progress, note)
        _check_apart(found, out)
        return [foreign_split.split_of(part) for part in found]
    given = "--label" if asked.label else "--class-names" if asked.class_names else None
    if given is not None:
        raise UsageError(f"{given}: is of tars that others wrote; {places.redacted(source)} is of layout {layout}.")
    parts = layouts.read(source, layout, asked.columns, follow_links=asked.follow_links)
    uneven = corrupted.unlike(parts)
    if uneven:
        note(f"{places.redacted(source)}: {uneven}; was the archive unpacked whole?")
    if name is None:
        return parts
    _check_split(name, [part.split for part in parts])
    return [replace(parts[0], split=name)]


def _check_split(name: str, found: Sequence[str]) -> None:
    """Raises UsageError for a name of a split that is none, or that several would have."""
    if len(found) > 1 or name not in SPLITS:
        why = f"the source has its own ({', '.join(found)})" if len(found) > 1 else "unknown"
        raise UsageError(f"--split {name}: {why}; expected one split, called {choices(SPLITS)}.")


def _check_apart(found: Sequence[Contents], out: Path) -> None:
    """Raises UsageError where tars would be written beside, and perhaps over, those that are read."""
    targets = {folder.resolve() for folder in (out, *(out / part.of.split for part in found))}
    for place in (place for part in found for place in part.of.tars):
        if isinstance(place, Path) and targets & {place.resolve().parent, place.parent.resolve()}:
            raise UsageError(
                f"{place.parent}: holds {place.name}, which is read. Name another folder, or take --in-place."
            )
