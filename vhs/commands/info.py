"""`vhs info`: what is this model, shard set or table?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vhs import options, output
from vhs.console import printable
from vhs.errors import UsageError

if TYPE_CHECKING:
    from vhs.formats.shards import ShardSet

Things = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE...", help="Checkpoints, timm: and hf: models, shard sets or tables.", show_default=False
    ),
]


Say = Annotated[bool, typer.Option("--say", help="Only what each table says, in one sentence.")]


def info(
    things: Things,
    say: Say = False,
    debug: options.Debug = False,
) -> None:
    """Say what a checkpoint, a shard set or a table is, and what a table says.

    Example: vhs info vit.safetensors heads.csv data/fashion
    """
    del debug  # read where the program ends
    for thing in things:
        if say:
            output.write(f"{printable(_sentence(thing))}\n".encode())
            continue
        lines = [thing, *(f"  {name:<12}{printable(str(value))}" for name, value in _describe(thing))]
        output.write(("\n".join(lines) + "\n").encode())


def _describe(thing: str) -> list[tuple[str, object]]:
    from vhs.formats.shards import MANIFEST, ShardSet, find_sets

    path = Path(thing)
    if thing.startswith(("timm:", "hf:")):
        return _model(thing)
    if path.is_dir():
        found = [ShardSet.open(path)] if (path / MANIFEST).exists() else list(find_sets(path)) or [ShardSet.open(path)]
        return [row for item in found for row in _shards(item)]
    if path.suffix == ".safetensors":
        return _checkpoint(path)
    return _table(thing)


def _shards(item: ShardSet) -> list[tuple[str, object]]:
    manifest = item.manifest
    size = f"{manifest.height}x{manifest.width}" if manifest.height else "of several sizes"
    return [
        ("shard set", f"{manifest.name}/{manifest.split} in {item.folder}, {manifest.hash}"),
        ("samples", f"{manifest.samples} in {len(manifest.tars)} tars, {size}, {manifest.channels} channels"),
        ("classes", f"{len(manifest.classes)}: {', '.join(manifest.classes[:10])}"),
        ("licence", manifest.licence or "not stated"),
    ]


def _checkpoint(path: Path) -> list[tuple[str, object]]:
    from vhs.formats import checkpoints

    described = checkpoints.read_info(path)
    spec = described.spec
    return [
        ("checkpoint", f"ViT, depth {spec.depth}, dim {spec.dim}, {spec.heads} heads of {spec.head_width} a layer"),
        ("image", f"{spec.height}x{spec.width}, {spec.channels} channels, patch {spec.patch}, {spec.tokens} tokens"),
        ("classes", f"{spec.classes}: {', '.join(described.classes[:10])}"),
        ("trained", f"{described.step} updates, seed {described.seed}, {described.weights} weights"),
        ("data", ", ".join(f"{split} {entry['name']} {entry['hash']}" for split, entry in described.data.items())),
        ("timm", described.timm["name"] if described.timm else "not a stock architecture"),
    ]


def _model(reference: str) -> list[tuple[str, object]]:
    """What a model reference names, how its heads are reached, or why they are not."""
    import torch

    from vhs.errors import MismatchError
    from vhs.formats import references

    model = references.load(reference, torch.device("cpu")).model
    size = model.preprocess
    rows: list[tuple[str, object]] = [
        (
            "model",
            f"{type(model.net).__name__}, {sum(p.numel() for p in model.net.parameters()) / 1e6:,.1f} M parameters",
        ),
        ("image", f"{size.height}x{size.width}, {size.channels} channels"),
        ("classes", f"{len(model.classes)}: {', '.join(model.classes[:5])}"),
    ]
    try:
        grid = model.grid
    except MismatchError as error:
        return [*rows, ("heads", f"cannot be ablated: {error}")]
    counts = ", ".join(str(count) for count in grid.per_layer)
    return [*rows, ("heads", f"{len(grid)} in {grid.depth} attention modules ({counts})"), ("path", model.engine.path)]


def _table(thing: str) -> list[tuple[str, object]]:
    from vhs.figures import findings
    from vhs.formats import tables

    schema, table = tables.read(thing)
    rows: list[tuple[str, object]] = [("table", f"{schema.name}: {schema.row}"), ("rows", len(table))]
    if "shift" in table.columns:
        conditions = table.select("shift", "corruption", "severity").unique().height
        rows += [("models", table["model"].n_unique()), ("conditions", conditions)]
    says = findings.sentence(schema.name, table)
    rows += [("says", says)] if says else []
    made = tables.read_provenance(Path(thing)).get("command") if Path(thing).suffix == ".parquet" else None
    return [*rows, ("made by", made)] if made else rows


def _sentence(thing: str) -> str:
    from vhs.figures import findings
    from vhs.formats import tables

    schema, table = tables.read(thing)
    says = findings.sentence(schema.name, table)
    if says is None:
        raise UsageError(f"{thing}: there is no sentence for this {schema.name} table. Without --say it is described.")
    return says
