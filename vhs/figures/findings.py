"""What a table says, in one sentence made from its numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

from vhs.errors import InputError
from vhs.figures import effects, head_findings, model_findings, pruning_findings, words
from vhs.figures.style import short
from vhs.grid import head_name

MISFITS = (IndexError, KeyError, ValueError, TypeError, ZeroDivisionError, StopIteration)
"""What an edited or damaged table may lead to, whose rows are each legal."""
AGREEMENT = ((0.7, "agrees well"), (0.3, "agrees in part"), (-1.0, "does not agree"))
"""Median rank correlation from which on, and what is said of it."""
TELLING = 0.5
"""Where measurement allows less than this, a low correlation says more of the measurement than of the heads."""
OF_ONE = ("ablate", "compare", "shifts", "metrics", "routing", "roles", "probes", "matches")
"""Tables whose sentences are of one model and fill."""
NAMES = {"model_id": "models", "fill": "fills", "model_b_id": "other models"}
SHIFTED = ("effective", "probes", "exclusivity")
"""Tables that may well be of shifted conditions only."""


def sentence(kind: str, table: pl.DataFrame) -> str | None:
    """One sentence; None for a kind of table that has none, or for a part of one that lacks clean rows."""
    if kind not in SENTENCES or (kind not in SHIFTED and "shift" in table.columns and "clean" not in table["shift"]):
        return None
    try:
        one, left_out = _one(kind, table)
        said = SENTENCES[kind](one)
        return f"{said} (Of the first only: {left_out}.)" if said and left_out else said
    except MISFITS as error:
        raise InputError(f"nothing can be said of the {kind} table: its rows do not fit together ({error}).") from error


def _one(kind: str, table: pl.DataFrame) -> tuple[pl.DataFrame, str]:
    """The rows of the first model and fill, for sentences that are of one, and what else the table holds."""
    left = []
    for column in ("model_id", "fill", "model_b_id") if kind in OF_ONE else ():
        if column in table.columns and table[column].n_unique() > 1:
            left.append(f"the table holds {table[column].n_unique()} {NAMES[column]}")
            table = table.filter(pl.col(column).eq_missing(pl.lit(table[column][0])))
    return table, " and ".join(left)


def _evaluation(table: pl.DataFrame) -> str:
    model = table["model"][0]
    rows = table.filter((pl.col("model") == model) & (pl.col("group") == "all") & (pl.col("label_set") == "all"))
    rows = rows if len(rows) else table.filter(pl.col("model") == model)  # of one group, or of fewer classes
    clean, shift = rows.filter(pl.col("shift") == "clean"), rows.filter(pl.col("shift") != "clean")
    text = f"{short(model)} answers {clean['top1'][0]:.1%} of {clean['n'][0]:,} clean images right"
    if not len(shift):
        return text + "."
    worst = shift.sort("top1").row(0, named=True)
    name = words.condition(worst["shift"], worst["corruption"], worst["severity"])
    mean = shift["top1"].to_numpy().mean()
    conditions = f"{len(shift)} shifted conditions, worst {name} with {worst['top1']:.1%}"
    return f"{text} and {mean:.1%} on average over {conditions}."


def _ablation(table: pl.DataFrame) -> str | None:
    if "head" not in table["unit"]:
        return None
    heads = effects.single_fill(table)
    heads = heads.filter(pl.col("model") == heads["model"][0])
    clean, shift = heads.filter(pl.col("shift") == "clean"), heads.filter(pl.col("shift") != "clean")
    count = clean.filter(pl.col("q") < 0.05).height
    text = f"On clean images {count} of {len(clean)} heads matter{'s' * (count == 1)} (q < 0.05)"
    top = clean.sort("drop", descending=True, maintain_order=True).row(0, named=True)
    text += f", most of all {top['heads']}: {_points(top['drop'])} without it ({_range(top)})"
    if not len(shift):
        return text + "."
    mean = shift.group_by("heads", maintain_order=True).agg(pl.col("drop").mean()).sort("drop", descending=True)
    count = shift.select(effects.CONDITION).unique().height
    return f"{text}; over {count} shifted conditions it is {mean['heads'][0]}: {_points(mean['drop'][0])} on average."


def _agreement(table: pl.DataFrame) -> str:
    rows = table.filter(~pl.col("within_layer"))
    rows = rows.filter(pl.col("metric") == ("loss" if "loss" in rows["metric"] else rows["metric"][0])).sort("r")
    ceiling = np.median(effects.ceiling(rows["reliability_a"], rows["reliability_b"]))
    low, high = rows.row(0, named=True), rows.row(-1, named=True)
    least, most = (f"{words.named(row['b'])} ({row['r']:.2f})" for row in (low, high))
    median = np.median(rows["r"].to_numpy())
    verb = next((told for bound, told in AGREEMENT if median >= bound), AGREEMENT[-1][1])
    if ceiling < TELLING:
        matter = f"heads matter (by {low['metric']}) under shift as on clean images"
        first = f"There are too few images to tell whether {matter}"
    else:
        matter = f"How much each head matters (by {low['metric']}) on clean images"
        first = f"{matter} {verb} with how much it matters under shift"
    numbers = f"a median rank correlation of {median:.2f} (measurement allows {ceiling:.2f})"
    return f"{first}: {numbers}, least under {least} and most under {most}."


def _contrast(table: pl.DataFrame) -> str:
    signed = table.filter(pl.col("q") < 0.05).with_columns(sign=pl.col("diff").sign())
    hits = signed.group_by("model_id", "target", "layer", "head", "b", "sign").agg(pl.col("scale").n_unique())
    hits = hits.filter(pl.col("scale") >= 2).sort("layer", "head", "b")
    if not len(hits):
        return "No head's effect under a shift differs from its effect on clean images on two scales (q < 0.05)."
    heads = hits.group_by("layer", "head").len().sort("len", "layer", "head", descending=[True, False, False])
    names = ", ".join(f"{head_name(layer, head)} ({count})" for layer, head, count in heads.head(5).iter_rows())
    more = " and more" if len(heads) > 5 else ""
    return f"The effect of these heads differs under shift on two scales or more (q < 0.05; conditions): {names}{more}."


def _kinds(table: pl.DataFrame) -> str:
    rows = table.filter((pl.col("model") == table["model"][0]) & (pl.col("shift") == "clean"))
    counts = {kind: rows.filter(pl.col("kind") == kind).height for kind in ("one", "several", "diffuse", "undecided")}
    looked = rows.filter(pl.col("kind") == "one")["regions"].value_counts(sort=True)
    most = f", most often {looked[0, 0]} ({looked[0, 1]})" if len(looked) else ""
    matter = rows.filter(pl.col("relevant") == "yes")
    only = matter.filter(pl.col("kind") == "one").height
    return (
        f"On clean images {counts['one']} of {len(rows)} heads look at one region{most}, {counts['several']} at "
        f"several, {counts['diffuse']} at none, {counts['undecided']} cannot be told; {len(matter)} matter, {only} of "
        f"them of one region."
    )


def _redundancy(table: pl.DataFrame) -> str:
    rows = table.filter(pl.col("model") == table["model"][0])
    clean = effects.first_condition(rows).row(0, named=True)
    text = (
        f"Of {clean['n_heads']} heads {clean['n_redundant']} surely cost less than {clean['tolerance']:.1%} of "
        f"accuracy one at a time on {clean['n']:,} clean images, {clean['n_needed']} surely more, "
        f"{clean['n_undecided']} cannot be told"
    )
    shifted = rows.filter(pl.col("shift") != "clean")
    if not len(shifted):
        return f"{text}."
    counts = shifted["n_redundant"].to_list()
    return f"{text}; over {len(shifted)} shifted conditions {min(counts)} to {max(counts)} surely cost less."


def _points(drop: float) -> str:
    return f"{drop * 100:+.1f} points of accuracy lost"


def _range(row: dict[str, float]) -> str:
    return f"95 % {row['drop_lo'] * 100:.1f} to {row['drop_hi'] * 100:.1f}"


SENTENCES: dict[str, Callable[[pl.DataFrame], str | None]] = (
    {
        "evalshift": _evaluation,
        "ablate": _ablation,
        "compare": _agreement,
        "contrast": _contrast,
        "kinds": _kinds,
        "redundancy": _redundancy,
        "prune": pruning_findings.sentence,
    }
    | head_findings.SENTENCES
    | model_findings.SENTENCES
)
