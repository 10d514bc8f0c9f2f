"""What stands in a page: sentences, the main picture, tables for readers without scripts, further figures."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any, NamedTuple

import polars as pl

from vhs.errors import InputError
from vhs.figures import effects, findings, gallery, style, words
from vhs.figures.head_facts import known, of_model
from vhs.grid import head_name
from vhs.reports.opening import TALLIES, Named

LIVE = ("ablate", "ablate_regression", "evalshift", "heads", *TALLIES)
"""Kinds that the page draws itself."""
MOST_MODELS = 4
TITLES = {
    "prune": "Fewer heads",
    "train": "Training",
    "train_regression": "Training",
    "compare": "Agreement with clean images",
    "contrast": "Heads under shift against clean images",
    "pairs": "How alike heads are",
    "roles": "What each head is",
    "routing": "Routing and fixed parts",
    "shifts": "Which shifts the same heads serve",
    "mce": "Corruption errors",
    "kinds": "What heads look at, and whether they matter",
    "probes": "What can be decoded from heads",
    "exclusivity": "Which attribute heads hold",
    "matches": "Heads of another model",
    "rollup": "Roll-ups",
    "redundancy": "Dispensable heads",
    "metrics": "Measures and importance",
    "trajectory": "Training trajectory",
    "effective": "Effective robustness",
    "models": "What goes with robustness",
    "estimated": "Estimates and exact effects",
    "groups": "Groups of samples",
    "versus": "Two models on the same samples",
    "evalshift_regression": "Errors under shift",
    "estimates": "Estimated effects",
    "calibration": "Calibration",
}


class Picture(NamedTuple):
    """A figure of a table. svg: its text; table: which of the page's tables it draws, if that is in the page."""

    title: str
    place: str
    svg: str
    words: str
    table: int | None


def sentences(named: Named) -> list[str]:
    """One sentence a table that has one."""
    said = [findings.sentence(kind, table) for kind, table in named.tables.items() if kind not in TALLIES]
    return [text for text in said if text]


def main_picture(named: Named) -> tuple[str, str] | None:
    """(data URI, words) of the figure that readers without scripts see; None for maps alone."""
    for kind, table in named.tables.items():
        if kind in gallery.FIGURES:
            for figure in _drawn(kind, table, named.tables.get("folds") if kind == "ablate" else None):
                data = base64.b64encode(style.render(figure, "svg")).decode()
                return f"data:image/svg+xml;base64,{data}", f"the {kind} table as a figure"
    return None


def pictures(named: Named, places: dict[str, int]) -> Iterator[Picture]:
    """Figures of the kinds that the page does not draw itself. places: where each table is among the page's."""
    for kind, table in named.tables.items():
        if kind in LIVE or kind not in gallery.FIGURES:
            continue
        title = TITLES.get(kind, words.plain(kind))
        for index, figure in enumerate(_drawn(kind, table)):
            svg = style.render(figure, "svg").decode()
            yield Picture(title, f"figure-{kind}-{index}", svg, f"{title}, the {kind} table", places.get(kind))


def _drawn(kind: str, table: pl.DataFrame, folds: pl.DataFrame | None = None) -> Iterator[Any]:
    """The usual figure of a table, or one a model where it draws one only."""
    try:
        yield gallery.draw(kind, table, None, None, folds)
        return
    except InputError:
        models = table["model_id"].unique(maintain_order=True).to_list() if "model_id" in table.columns else []
        fills = table["fill"].unique(maintain_order=True).to_list() if "fill" in table.columns else [None]
    for model in models[:MOST_MODELS]:
        own = table.filter(pl.col("model_id") == model)
        own = own if fills == [None] else own.filter(pl.col("fill") == own["fill"][0])
        try:
            yield gallery.draw(kind, own, None, None, folds)
        except InputError:
            continue  # the table is in the page all the same


def cards(named: Named) -> dict[str, dict[str, Any]]:
    """What is known of every head, by `MODEL_ID L3H1`."""
    found = {}
    for model_id, _ in named.models_of():
        own = of_model({kind: table for kind, table in named.tables.items() if kind not in TALLIES}, model_id)
        for layer, head in _places(own):
            facts = known(own, (layer, head))
            found[f"{model_id} {head_name(layer, head)}"] = {
                "sentence": facts.sentence,
                "facts": [list(x) for x in facts.facts],
            }
    return found


def _places(tables: dict[str, pl.DataFrame]) -> list[tuple[int, int]]:
    found = [
        table.select("layer", "head").drop_nulls()
        for table in tables.values()
        if {"layer", "head"} <= set(table.columns)
    ]
    return pl.concat(found).unique().sort("layer", "head").rows() if found else []


def head_rows(named: Named) -> list[list[str]]:
    """Heads of the first ablation, the strongest first, for readers without scripts."""
    table = named.tables.get("ablate")
    if table is None or not table["unit"].is_in(["head"]).any():
        return []
    table = table.filter((pl.col("model_id") == table["model_id"][0]) & (pl.col("fill") == table["fill"][0]))
    heads = effects.single_fill(table)
    shift = heads.filter(pl.col("shift") != "clean").group_by("heads").agg(mean=pl.col("drop").mean() * 100)
    clean = heads.filter(pl.col("shift") == "clean").join(shift, on="heads", how="left")
    return [
        [row["heads"], f"{row['drop'] * 100:+.1f}", f"{row['drop_lo'] * 100:.1f} to {row['drop_hi'] * 100:.1f}",
         "" if row["q"] is None else f"{row['q']:.2g}", "" if row["mean"] is None else f"{row['mean']:+.1f}"]
        for row in clean.sort("drop", descending=True, maintain_order=True).iter_rows(named=True)
    ]  # fmt: skip


def accuracy_rows(named: Named) -> list[list[str]]:
    """Accuracy under each condition, for the same readers."""
    table = named.tables.get("evalshift")
    if table is not None:
        rows = table.filter((pl.col("group") == "all") & (pl.col("label_set") == "all"))
        return [
            [*_condition_of(row), f"{row['top1']:.1%}", f"{row['top1_lo']:.1%} to {row['top1_hi']:.1%}"]
            for row in rows.iter_rows(named=True)
        ]
    table = named.tables.get("ablate")
    if table is None:
        return []
    rows = table.filter((pl.col("unit") == "none") & (pl.col("group") == "all"))
    rows = rows.unique(["model_id", *effects.CONDITION], maintain_order=True)
    return [
        [*_condition_of(row), f"{row['n_correct_intact'] / row['n']:.1%}", ""] for row in rows.iter_rows(named=True)
    ]


def _condition_of(row: dict[str, Any]) -> tuple[str, str]:
    return style.short(row["model"]), words.condition(row["shift"], row["corruption"], row["severity"])
