"""A prune table on a terminal: what is left at each step of the first order."""

from __future__ import annotations

import shutil
import textwrap

import polars as pl
from rich.text import Text

from vhs.figures.pruning_findings import sentence

MOST = 26
"""Steps that are shown; of more, as many at equal distances."""


def lines(table: pl.DataFrame) -> list[Text]:
    """The sentence, then a line a step: clean, the mean of the shifts, random orders beside it."""
    width = max(shutil.get_terminal_size().columns, 40)
    found = [Text(line) for line in textwrap.wrap(sentence(table), width)]
    report = table.filter((pl.col("used_for") == "report") & (pl.col("model_id") == table["model_id"][0]))
    first = report.filter(pl.col("order") == report["order"][0])
    shifted = _shifted(first)
    rounds = first["round"].unique().sort().to_list()
    shown = rounds[:: -(-len(rounds) // MOST)]
    head = f"{'heads left':>10} {'clean':>7} {'shifted':>8} {'random':>7}  gone (order {first['order'][0]})"
    found += [Text(), Text(head)]
    for number in [*shown, *(rounds[-1:] if rounds[-1] not in shown else [])]:
        step = first.filter(pl.col("round") == number)
        left = int(step["heads_left"][0])
        mark = " certified" if step["certified"].fill_null(False).any() else ""
        control = report.filter(pl.col("order").str.starts_with("random-") & (pl.col("heads_left") == left))
        found.append(Text(
            f"{left:>10} {_percent(step.filter(pl.col('shift') == 'clean'))} {_percent(_of(step, shifted)):>8} "
            f"{_percent(_of(control, shifted))}  {step['removed'][0] or ''}{mark}"
        ))  # fmt: skip
    return [*found, Text("accuracy on images that did not choose; random: mean of the random orders, shifted"),
            Text("all columns: --curve prune.csv, or pipe it; a figure: … | vhs plot")]  # fmt: skip


def _shifted(first: pl.DataFrame) -> tuple[str, str | None, int]:
    """The condition shown beside clean: the mean, the only shift, or clean again."""
    found = first.filter(pl.col("over") == "mean")
    found = found if len(found) else first.filter(pl.col("shift") != "clean")
    return (found if len(found) else first).select("shift", "corruption", "severity").row(0)


def _of(rows: pl.DataFrame, condition: tuple[str, str | None, int]) -> pl.DataFrame:
    shift, corruption, severity = condition
    return rows.filter(
        (pl.col("shift") == shift)
        & pl.col("corruption").eq_missing(pl.lit(corruption))
        & (pl.col("severity") == severity)
    )


def _percent(rows: pl.DataFrame) -> str:
    return f"{float(rows['top1'].to_numpy().mean()):>7.1%}" if len(rows) else f"{'':>7}"
