"""Which rows of which tables are drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

from vhs.errors import InputError, MismatchError, choices
from vhs.figures.style import short
from vhs.formats import schemas, tables
from vhs.formats.tables import Table
from vhs.grid import head_name


def select_rows(
    found: Sequence[Table], paths: Sequence[str], model: str | None, fill: str | None
) -> tuple[str, pl.DataFrame, bool]:  # fmt: skip
    """(kind, rows, whether one is only a part) of tables of one kind, joined; equal rows once.

    paths: what messages call them; model, fill: of several. Raises MismatchError or InputError.
    """
    schema = found[0].schema
    for path, (other, _, _) in zip(paths, found, strict=True):
        if other is not schema:
            raise MismatchError(f"{path}: is of kind {other.name}, {paths[0]} of kind {schema.name}. Draw them apart.")
    table = pl.concat([item.rows for item in found]).unique(maintain_order=True)
    part = any(item.part for item in found)
    if schema is schemas.ABLATE and not part:
        tables.check_grid(table, "stdin" if paths[0] == "-" else paths[0])
    table = told_apart(table)
    if model is not None:
        table = _of_model(table, model)
    return schema.name, _of_fill(table, fill), part


def told_apart(table: pl.DataFrame) -> pl.DataFrame:
    """The same with names that stand for one thing each: models whose files are called alike get the start of their
    hash, `vit@eb54b2`; a corruption that two families of shifts have gets its family, `contrast (cifar10-c)`."""
    if {"model", "model_id"} <= set(table.columns):
        pairs = table.select("model", "model_id").unique(maintain_order=True).rows()
        ids: dict[str, set[str]] = {}
        for name, model_id in pairs:
            ids.setdefault(short(name), set()).add(model_id)
        if any(len(found) > 1 for found in ids.values()):
            names = [f"{short(name)}@{model_id[:6]}" if len(ids[short(name)]) > 1 else name
                     for name, model_id in table.select("model", "model_id").iter_rows()]  # fmt: skip
            table = table.with_columns(model=pl.Series(names))
    if {"shift", "corruption"} <= set(table.columns) and table["corruption"].dtype == pl.String:
        families = table.drop_nulls("corruption").group_by("corruption").agg(pl.col("shift").n_unique())
        several = families.filter(pl.col("shift") > 1)["corruption"].to_list()
        told = pl.format("{} ({})", "corruption", "shift")
        table = table.with_columns(
            corruption=pl.when(pl.col("corruption").is_in(several)).then(told).otherwise("corruption")
        )
    return table


def by_kind(found: Sequence[Table], paths: Sequence[str], model: str | None) -> dict[str, pl.DataFrame]:
    """Tables of any kinds by kind, of one model where it is named. Raises as `select_rows` does."""
    kinds = {table.schema.name for table in found}
    by_name = {}
    for kind in kinds:
        same = [(table, path) for table, path in zip(found, paths, strict=True) if table.schema.name == kind]
        rows = told_apart(pl.concat([table.rows for table, _ in same]).unique(maintain_order=True))
        by_name[kind] = _of_model(rows, model) if model is not None and "model" in rows.columns else rows
    return by_name


def folds_beside(
    name: str, paths: Sequence[str], read: Callable[[str], Table], note: Callable[[str], None]
) -> pl.DataFrame | None:  # fmt: skip
    """The folds that lie beside ablation tables; None where one has none, or has those of another table."""
    if name != schemas.ABLATE.name:
        return None
    parts = []
    for path in paths:
        beside = Path(path).with_suffix(".folds.parquet")
        if path == "-" or not beside.is_file():
            return None
        try:
            tables.check_beside(beside, Path(path))
        except MismatchError:
            note(f"{beside}: was written beside another {Path(path).name}: means over shifts have no intervals.")
            return None
        parts.append(read(str(beside)).rows)
    return pl.concat(parts).unique(maintain_order=True)


def _of_model(table: pl.DataFrame, model: str) -> pl.DataFrame:
    """The rows of one model, named in full or by its file's stem."""
    if "model" not in table.columns:
        raise InputError(f"--model {model}: this kind of table names no models.")
    names = table["model"].unique(maintain_order=True).to_list()
    wanted = [name for name in names if model in (name, short(name))]
    if len(wanted) != 1:
        raise InputError(
            f"--model {model}: {'not' if not wanted else 'twice'} in the table, which has {choices(names)}."
        )
    return table.filter(pl.col("model") == wanted[0])


def _of_fill(table: pl.DataFrame, fill: str | None) -> pl.DataFrame:
    """The rows of one fill of an ablation table."""
    if fill is None:
        return table
    kinds = table["fill"].unique(maintain_order=True).to_list() if "fill" in table.columns else []
    if fill not in kinds:
        raise InputError(f"--fill {fill}: not in the table, which has {choices(kinds) if kinds else 'no fills'}.")
    return table.filter(pl.col("fill") == fill)


def strongest_head(table: Table) -> str:
    """`L3H1`: the head that costs most accuracy, or adds most squared error, when it is removed on clean images.

    Raises InputError for a table that is not of an ablation of single heads.
    """
    column = {"ablate": "drop", "ablate_regression": "dmse_rel"}.get(table.schema.name)
    clean = table.rows.filter((pl.col("unit") == "head") & (pl.col("shift") == "clean")) if column else table.rows[:0]
    if column is None or not len(clean):
        raise InputError("--head: the table has no single heads on clean images. `vhs ablate` writes one with them.")
    mean = clean.group_by("layer", "head", maintain_order=True).agg(pl.col(column).mean())
    layer, head, _ = mean.sort(column, descending=True, maintain_order=True).row(0)
    return head_name(layer, head)
