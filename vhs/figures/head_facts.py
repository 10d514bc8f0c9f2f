"""What tables of several kinds say of one head: a sentence, its label, the measures behind it, its parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import polars as pl

from vhs.figures import effects, words
from vhs.figures.heads import TITLES, USUAL
from vhs.figures.style import short
from vhs.grid import head_name

Place = tuple[int, int]
Tables = Mapping[str, pl.DataFrame]
"""By kind, of one model each."""


class HeadFacts(NamedTuple):
    """sentence: what is known in one; facts: (name, words), the shortest first."""

    sentence: str
    facts: list[tuple[str, str]]


def of_model(tables: Tables, model_id: str) -> dict[str, pl.DataFrame]:
    """The rows of one model in every table that names models."""
    own = {
        kind: table.filter(pl.col("model_id") == model_id)
        for kind, table in tables.items()
        if "model_id" in table.columns
    }
    return {kind: table for kind, table in own.items() if len(table)}


def known(tables: Tables, head: Place) -> HeadFacts:
    """What is known of one head, from the tables of its model."""
    rows = {
        kind: table.filter((pl.col("layer") == head[0]) & (pl.col("head") == head[1]))
        for kind, table in tables.items() if {"layer", "head"} <= set(table.columns)
    }  # fmt: skip
    rows = {kind: table for kind, table in rows.items() if len(table)}
    facts = [*_label(rows), *_kind(rows), *_parts(rows), *_measures(tables, rows, head)]
    return HeadFacts(_sentence(rows, head), facts)


def _sentence(rows: Tables, head: Place) -> str:
    name = head_name(*head)
    told = [*_cost(rows), *_role_words(rows)]
    if not told:
        return f"Nothing was measured of what {name} does to the answers."
    model = next(iter(rows.values()))["model"][0]
    return f"{name} of {short(model)} {'; it '.join(told)}."


def _cost(rows: Tables) -> list[str]:
    """What its removal costs on clean images and under shift."""
    kind = next((kind for kind in ("ablate", "ablate_regression") if kind in rows), None)
    if kind is None:
        return []
    column, unit = ("drop", "points of accuracy") if kind == "ablate" else ("dmse_rel", "% of squared error")
    own = rows[kind].filter((pl.col("unit") == "head") & (pl.col("group") == "all"))
    own = own.filter((pl.col("fill") == own["fill"][0]) & (pl.col("target") == own["target"][0])) if len(own) else own
    clean, shift = own.filter(pl.col("shift") == "clean"), own.filter(pl.col("shift") != "clean")
    parts = []
    if len(clean):
        row = clean.row(0, named=True)
        parts.append(f"on clean images ({row[f'{column}_lo'] * 100:.1f} to {row[f'{column}_hi'] * 100:.1f})")
    value = f"{row[column] * 100:+.1f} {unit} " if len(clean) else ""
    if len(shift):
        most = shift.sort(column, descending=True, maintain_order=True).row(0, named=True)
        at = words.condition(most["shift"], most["corruption"], most["severity"])
        mean, count = shift[column].to_numpy().mean() * 100, shift.select(effects.CONDITION).unique().height
        parts.append(
            f"{mean:+.1f}{'' if value else f' {unit}'} on average over {count} shifted condition{'s' * (count > 1)}, "
            f"most {most[column] * 100:+.1f} under {at}"
        )
    return [f"costs {value}{' and '.join(parts)}"] if parts else []


def _role_words(rows: Tables) -> list[str]:
    if "roles" not in rows:
        return []
    held = rows["roles"].filter(pl.col("role") != "none")
    return held["words"].to_list()[:3] or ["has no role that a rule names"]


def _label(rows: Tables) -> list[tuple[str, str]]:
    """Each role with the measure that it rests on."""
    if "roles" not in rows:
        return []
    found = []
    for row in rows["roles"].iter_rows(named=True):
        if row["role"] == "none":
            return [("label", "none: no rule names it")]
        of = f" ({words.plain(row['of'])})" if row["of"] else ""
        bounds = "" if row["lo"] is None else f" ({row['lo']:.3g} to {row['hi']:.3g})"
        found.append((
            "label", f"{row['role']}{of}: {words.plain(row['metric'])} {row['value']:.3g}{bounds}, threshold "
            f"{row['threshold']:g}, q = {row['q']:.2g}",
        ))  # fmt: skip
    return found


def _kind(rows: Tables) -> list[tuple[str, str]]:
    if "kinds" not in rows:
        return []
    row = rows["kinds"].row(0, named=True)
    return [("looks at", f"{row['kind']}{': ' + row['regions'] if row['regions'] else ''}; matters: {row['relevant']}")]


def _parts(rows: Tables) -> list[tuple[str, str]]:
    """Routing and fixed part, clean and over shifts."""
    if "routing" not in rows:
        return []
    table = rows["routing"].filter(pl.col("scale") == rows["routing"]["scale"][0])
    factor, unit = (100, "points") if table["scale"][0] in ("accuracy", "relative_error") else (1, "nats")
    found = [("class", f"{table['class'][0]} (tolerance {table['tolerance'][0]:.1%})")]
    for row in table.filter(pl.col("shift") == "clean").head(1).iter_rows(named=True):
        for name, said in (("routing", "its map"), ("fixed", "what it gives whatever it looks at")):
            found.append((f"{name} part", f"{row[name] * factor:+.1f} {unit} ({row[f'{name}_lo'] * factor:.1f} to "
                          f"{row[f'{name}_hi'] * factor:.1f}), clean: {said}"))  # fmt: skip
    shift = table.filter(pl.col("shift") != "clean")
    if len(shift):
        means = ", ".join(f"{name} {shift[name].to_numpy().mean() * factor:+.1f}" for name in ("routing", "fixed"))
        found.append(
            ("under shift", f"{means} {unit}, mean over {shift.select(effects.CONDITION).unique().height} conditions")
        )
    return found


def _measures(tables: Tables, rows: Tables, head: Place) -> list[tuple[str, str]]:
    """The usual measures on clean images, each with its interval and the head's rank."""
    if "heads" not in rows:
        return []
    wanted = (pl.col("shift") == "clean") & (pl.col("weighting") == "attention") & (pl.col("query") != "class")
    every = tables["heads"].filter(wanted & pl.col("of").is_null())
    found = []
    for metric in USUAL:
        own = every.filter(pl.col("metric") == metric).unique(["layer", "head"], keep="first", maintain_order=True)
        mine = own.filter((pl.col("layer") == head[0]) & (pl.col("head") == head[1]))
        if len(mine):
            row = mine.row(0, named=True)
            bounds = "" if row["lo"] is None else f" ({row['lo']:.3g} to {row['hi']:.3g})"
            rank = int((own["value"] > row["value"]).sum()) + 1
            unit = "" if row["in_unit"] == "1" else f" {row['in_unit']}"
            found.append((TITLES[metric], f"{row['value']:.3g}{unit}{bounds}, {_ordinal(rank)} of {len(own)} heads"))
    return found


def _ordinal(number: int) -> str:
    ending = "th" if 10 < number % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
