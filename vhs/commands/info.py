"""`vhs info`: what is this model, shard set or table?"""

from __future__ import annotations

from os.path import exists, isdir  # these take names that no file can have
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vhs import completion, options, output
from vhs.console import printable
from vhs.errors import MismatchError, UsageError, choices

if TYPE_CHECKING:
    from collections.abc import Callable

    from polars import DataFrame

    from vhs.formats.tables import Table
    from vhs.models.model import Model

PATHS = {
    "fast": "only what follows a removed head is computed, the last block as far as it is read",
    "replay": "the network's own forward, from the block of the removed head on",
    "hooks": "the network's own forward, whole, for every head",
}
Things = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[FILE]...",
        help="Checkpoints, timm: and hf: models, shard sets, tables, maps or parts.",
        show_default=False,
        autocompletion=completion.files((*completion.MODELS, *completion.TABLES, completion.PART), ("timm:", "hf:")),
    ),
]


Drawing = Annotated[
    Path | None, typer.Option("-o", "--out", metavar="FILE", help="Draw one model as a block diagram here.")
]
Env = Annotated[
    bool, typer.Option("--env", help="Versions, devices and threads of this machine, for a report of a fault.")
]
OfHead = Annotated[
    str | None, typer.Option("--head", metavar="HEAD", help="--say of a roles table: what this head is, L3H1 or 3.1.")
]
Say = Annotated[bool, typer.Option("--say", help="Only what each table says, in one sentence.")]


def info(
    things: Things = None,
    env: Env = False,
    out: Drawing = None,
    say: Say = False,
    head: OfHead = None,
    partial: options.Partial = False,
    whole: options.Whole = False,
    debug: options.Debug = False,
) -> None:
    """Say what a checkpoint, a shard set or a table is, and what a table says.

    Example: vhs info vit.safetensors heads.csv data/fashion

    Example: vhs info timm:vit_tiny_patch16_224 -o model.png

    Example: vhs info --say roles.csv --head L3H1

    Example: vhs info --env
    """
    console = options.console("info", quiet=False, verbose=False, debug=debug)
    if env:
        from vhs import environment

        output.write("".join(f"{name:<16}{printable(value)}\n" for name, value in environment.rows()).encode())
    elif not things:
        raise UsageError("names nothing. Add a checkpoint, a model, a shard set or a table, or --env.")
    things = things or []
    if out is not None:
        return _draw(things, out)
    if head is not None and not say:
        raise UsageError("--head: says what one head of a roles table is. Add --say.")
    read = options.reader(console, partial=partial, whole=whole)
    mute: list[UsageError] = []
    from vhs.formats.places import redacted

    for thing in things:
        if say:
            try:
                sentence = _sentence(thing, read) if head is None else _of_head(thing, read, head)
                output.write(f"{printable(sentence)}\n".encode())
            except UsageError as error:  # the others have their say first
                mute.append(error)
            continue
        lines = [
            printable(redacted(thing)),
            *(f"  {name:<12}{printable(str(value))}" for name, value in _describe(thing, read)),
        ]
        output.write(("\n".join(lines) + "\n").encode())
    if mute:
        raise mute[0]


def _describe(thing: str, read: Callable[[str], Table]) -> list[tuple[str, object]]:
    from vhs.formats import map_file, part_file, places, shard_words
    from vhs.formats.shards import ShardSet, find_sets, is_set

    place = places.parse(thing) if not thing.startswith(("timm:", "hf:")) or "://" in thing else Path(thing)
    if isinstance(place, places.Remote) or isdir(place):
        found = [ShardSet.open(place)] if is_set(place) else list(find_sets(place)) or [ShardSet.open(place)]
        return [row for item in found for row in shard_words.rows(item)]
    path = Path(thing)
    if thing.startswith(("timm:", "hf:")):
        return _model(thing)
    if part_file.is_part_file(path):
        return _part(path)
    if path.suffix == ".safetensors":
        return _maps(path) if map_file.is_map_file(path) else _checkpoint(path)
    if _is_model(path):
        return _model(thing)
    return _table(thing, read)


def _is_model(path: Path) -> bool:
    """Whether what is no table may be meant as a model: torch's weights, or a bare name that is no file."""
    from vhs.formats import weights

    return weights.is_pickled(path) or (not exists(path) and not path.suffix and path.name == str(path) != "-")


def _checkpoint(path: Path) -> list[tuple[str, object]]:
    from vhs.formats import checkpoint_words, checkpoints
    from vhs.grid import HeadGrid
    from vhs.models.spec import TimmSpec

    described = checkpoints.read_info(path)
    spec = described.spec
    trained = [
        ("trained", f"{described.step} updates, seed {described.seed}, {described.weights} weights"),
        *checkpoint_words.learned_from(described),
        ("data", ", ".join(f"{split} {entry['name']} {entry['hash']}" for split, entry in described.data.items())),
        ("timm", described.timm["name"] if described.timm else "not a stock architecture"),
    ]
    if isinstance(spec, TimmSpec):
        architecture = f"{spec.name}{f', {spec.arguments}' if spec.arguments else ''}"
        return [("checkpoint", architecture), *_heads(_load(str(path))), *trained]
    heads = f"{HeadGrid(spec.heads_by_layer).in_words()} heads" if spec.kept else f"{spec.heads_in_words} heads"
    return [
        ("checkpoint", f"ViT, depth {spec.depth}, dim {spec.dim}, {heads} of {spec.head_width} a layer"),
        ("image", f"{spec.height}x{spec.width}, {spec.channels} channels, patch {spec.patch}, {spec.tokens} tokens"),
        ("classes", f"{spec.classes}: {', '.join(described.classes[:10])}"),
        *trained,
    ]


def _maps(path: Path) -> list[tuple[str, object]]:
    from vhs.formats import map_file

    held = map_file.read(path).info
    layers = [str(layer.layer) for layer in held.layers if layer.stored]
    rows = (
        "from every token" if held.whole else "of the class token" if held.looker == "class" else "mean of all patches"
    )
    found: list[tuple[str, object]] = [
        ("maps", f"of {held.model} ({held.model_id}), {rows}, of layers {', '.join(layers)}"),
        ("images", f"{len(held.samples)} of {held.data}: {', '.join(held.samples[:5])}"),
        ("conditions", ", ".join(held.conditions[:5])),
    ]
    return found + ([("top images", f"of {len(held.top)} heads")] if held.top else [])


def _part(path: Path) -> list[tuple[str, object]]:
    import shlex

    from vhs.formats import part_file
    from vhs.records import fingerprints, merging

    info = part_file.read(path).info
    record = merging.record_of(info, str(path))
    models, conditions = ([item.model for item in record.models], [item.name for item in record.conditions])
    rows: list[tuple[str, object]] = [
        ("part", f"{info.part} of `vhs {merging.KINDS[record.measured].command}`; `vhs merge` adds all parts"),
        ("models", f"{len(models)}: {', '.join(models[:5])}"),
        ("data", f"{record.conditions[0].data}, {info.samples} of {info.chosen} samples"),
        ("conditions", f"{len(conditions)}: {', '.join(conditions[:5])}"),
        ("plan", fingerprints.plan_of(info.fingerprint)),
    ]
    return rows + ([("made by", shlex.join(info.typed))] if info.typed else [])


def _model(reference: str) -> list[tuple[str, object]]:
    """What a model reference names, how its heads are reached, or why they are not."""
    model = _load(reference)
    size = model.preprocess
    count = sum(parameter.numel() for parameter in model.net.parameters()) / 1e6
    rows: list[tuple[str, object]] = [
        ("model", f"{type(model.net).__name__}, {count:,.1f} M parameters"),
        ("image", f"{size.height}x{size.width}, {size.channels} channels"),
        ("classes", f"{len(model.classes)}: {', '.join(model.classes[:5])}"),
    ]
    return rows + _heads(model)


def _heads(model: Model) -> list[tuple[str, object]]:
    """The head grid and the path to it, or why there is none."""
    try:
        grid = model.grid
    except MismatchError as error:
        return [("heads", f"cannot be ablated: {error}")]
    return [
        ("heads", f"{len(grid)} in {grid.depth} layers: {grid.in_words()}"),
        ("path", f"{model.engine.path}: {PATHS[model.engine.path]}"),
    ]


def _load(reference: str) -> Model:
    import torch

    from vhs.formats import references

    return references.load(reference, torch.device("cpu"), trained=False).model


def _draw(things: list[str], out: Path) -> None:
    """The block diagram of one model. Raises UsageError for several or for what is no model."""
    from vhs.figures import diagram
    from vhs.figures.style import FORMATS, house_style, render
    from vhs.formats.atomic import write_whole

    form = out.suffix.removeprefix(".")
    if len(things) != 1 or not (things[0].startswith(("timm:", "hf:")) or things[0].endswith(".safetensors")):
        raise UsageError(f"-o {out}: draws one model; {len(things)} things were named, expected one model.")
    if form not in FORMATS:
        raise UsageError(f"-o {out}: expected a file ending in {choices(FORMATS)}.")
    model = _load(things[0])
    size = model.preprocess
    drawing = diagram.Diagram(
        model=model.name,
        before=f"image\n{size.height}x{size.width}x{size.channels}\n{type(model.net).__name__}",
        after=f"{len(model.classes)}\noutputs" if model.classes else "features",
        path=f"{model.engine.path}: {PATHS[model.engine.path]}",
        grid=model.grid,
    )
    with house_style():
        write_whole(out, render(diagram.draw(drawing), form))


def _table(thing: str, read: Callable[[str], Table]) -> list[tuple[str, object]]:
    from vhs.formats import tables

    schema, table, part = read(thing)
    rows: list[tuple[str, object]] = [("table", f"{schema.name}: {schema.row}")]
    rows.append(("rows", f"{len(table)}, {tables.PART}" if part else len(table)))
    if "shift" in table.columns:
        conditions = table.select("shift", "corruption", "severity").unique().height
        rows += [("models", table["model"].n_unique()), ("conditions", conditions)]
    says = _says(schema.name, table, part=part)
    rows += [("says", says)] if says else []
    made = tables.read_provenance(Path(thing)).get("command") if Path(thing).suffix == ".parquet" else None
    return [*rows, ("made by", made)] if made else rows


def _says(kind: str, table: DataFrame, *, part: bool) -> str | None:
    """The sentence of a table; of a part of one it says so."""
    from vhs.figures import findings
    from vhs.formats.tables import PART

    says = findings.sentence(kind, table)
    return f"({PART}) {says}" if says and part else says


def _sentence(thing: str, read: Callable[[str], Table]) -> str:
    schema, table, part = read(thing)
    says = _says(schema.name, table, part=part)
    if says is None:
        raise UsageError(f"{thing}: there is no sentence for this {schema.name} table. Without --say it is described.")
    return says


def _of_head(thing: str, read: Callable[[str], Table], head: str) -> str:
    """What one head is. Raises UsageError for a table of another kind."""
    from vhs.figures import head_findings
    from vhs.grid import named_sets

    schema, table, _ = read(thing)
    if schema.name != "roles":
        raise UsageError(f"{thing}: is of kind {schema.name}; --head takes a roles table (compare --summary roles).")
    ((place, *more),) = named_sets([head]).sets
    if more:
        raise UsageError(f"--head {head}: names several heads; expected one.")
    return head_findings.of_head(table, *place)
