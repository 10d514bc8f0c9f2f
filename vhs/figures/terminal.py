"""Tables as text: what a terminal shows instead of a thousand rows of CSV."""

from __future__ import annotations

import io
import os
import shutil
import textwrap

import numpy as np
import polars as pl
from rich.console import Console
from rich.text import Text

from vhs.figures import effects, findings, terminal_arms, terminal_pruning, words
from vhs.figures.effects import Effects
from vhs.figures.heads import TITLES, USUAL
from vhs.formats.schemas import recognise
from vhs.grid import head_name

STRONGEST = 5
LEGEND = [
    Text("accuracy lost without each head (points; red: it helps, blue: removing it helps)"),
    Text("* q < 0.05; of a mean over conditions: in at least half of them"),
    Text(),
]
RED, BLUE = (178, 24, 43), (33, 102, 172)
"""The ends of the diverging scale, as in the figures."""


def summary(table: pl.DataFrame) -> str:
    """What a table says, in a screenful, with colours unless NO_COLOR is set."""
    kind = recognise(table.columns, "table").name
    if kind in _SUMMARIES:
        return _render(_SUMMARIES[kind](table))
    said = findings.sentence(kind, table)
    lines = textwrap.wrap(said, max(shutil.get_terminal_size().columns, 40)) if said else []
    return _render([*map(Text, lines), *([Text()] if lines else []), *_first_rows(table)])


def heat_maps(table: pl.DataFrame) -> list[Text]:
    """The heat maps of an ablation table, clean and mean over shifts, for each model."""
    heads = effects.single_fill(table)
    lines = []
    for model, rows in heads.group_by("model", maintain_order=True):
        for effect in (effects.clean(rows, "drop"), effects.over_shifts(rows, "drop")):
            if effect is not None:
                lines += [Text(f"{model[0]}: {effect.title}"), *_heat_map(effect), Text()]
    return lines


def _ablation(table: pl.DataFrame) -> list[Text]:
    kinds = table["fill"].unique(maintain_order=True).to_list()
    agreement = _agreement(table, kinds)
    table = table.filter(pl.col("fill") == kinds[0])
    if not table["unit"].is_in(["head"]).any():
        return _first_rows(table)
    heads = effects.single_fill(table)
    lines = [*LEGEND, *heat_maps(table), *_strongest_clean(heads), *_strongest_shifted(heads)]
    return [*lines, *agreement, *_rest("heads.csv")]


def _strongest_clean(heads: pl.DataFrame) -> list[Text]:
    clean = heads.filter(pl.col("shift") == "clean").sort("drop", descending=True, maintain_order=True).head(STRONGEST)
    if not len(clean):
        return []
    lines = [Text(f"strongest on clean images (95 % interval, n = {clean['n'][0]:,})")]
    for row in clean.iter_rows(named=True):
        interval = f"{row['drop_lo'] * 100:+.1f} to {row['drop_hi'] * 100:+.1f}"
        q = "" if row["q"] is None else f"  q = {row['q']:.2g}"
        lines.append(Text(f"  {row['heads']:<6} {row['drop'] * 100:+5.1f} points  ({interval}){q}"))
    return lines


def _strongest_shifted(heads: pl.DataFrame) -> list[Text]:
    """By the mean over shifted conditions, and in how many of them a head's effect is significant."""
    shift = heads.filter(pl.col("shift") != "clean")
    count = shift.select(effects.CONDITION).unique().height
    if not count:
        return []
    mean = shift.group_by("model", "heads", maintain_order=True).agg(
        pl.col("drop").mean(), (pl.col("q") < effects.ALPHA).sum().alias("often"), pl.col("drop").max().alias("most")
    )
    lines = [Text(f"strongest under shift (mean over {count} condition{'s' * (count > 1)})")]
    for row in mean.sort("drop", descending=True, maintain_order=True).head(STRONGEST).iter_rows(named=True):
        often = f"q < {effects.ALPHA:g} in {row['often']} of {count}" if shift["q"].is_not_null().any() else ""
        lines.append(
            Text(f"  {row['heads']:<6} {row['drop'] * 100:+5.1f} points  (largest {row['most'] * 100:+.1f})  {often}")
        )
    return lines


def _agreement(table: pl.DataFrame, kinds: list[str]) -> list[Text]:
    """How far the heads' ranks on clean images agree between the first fill, which is shown, and each other one."""
    from scipy.stats import spearmanr

    clean = table.filter((pl.col("shift") == "clean") & (pl.col("unit") == "head") & (pl.col("group") == "all"))
    added = {kind: clean.filter(pl.col("fill") == kind)["dloss"].to_numpy() for kind in kinds}
    lines = []
    for kind in kinds[1:]:
        if len(added[kind]) == len(added[kinds[0]]) > 2:
            r = spearmanr(added[kinds[0]], added[kind])[0]
            lines.append(
                Text(f"fill {kinds[0]} (shown) and {kind}: rank correlation {r:+.2f} of the loss added, clean")
            )
    return lines


def _evaluation(table: pl.DataFrame) -> list[Text]:
    lines = [Text(f"{'model':<24} {'condition':<34} {'top-1':>6}  {'95 % interval':>15} {'loss':>7}")]
    for row in table.iter_rows(named=True):
        name = words.condition(row["shift"], row["corruption"], row["severity"])
        name += "".join(f", {row[key]}" for key in ("group", "label_set") if row[key] != "all")
        interval = f"{row['top1_lo']:.1%} to {row['top1_hi']:.1%}"
        lines.append(
            Text(f"{_tail(row['model'], 24):<24} {name:<34} {row['top1']:>6.1%}  {interval:>15} {row['loss']:>7.3f}")
        )
    return [*lines, *_rest("shift.csv")]


def _correlation(table: pl.DataFrame) -> list[Text]:
    lines = [Text(f"{'clean against':<34} {'by':<9} {'heads':<13} {'r':>6}  {'95 % interval':<16} {'ceiling':>7}")]
    for row in table.iter_rows(named=True):
        ceiling = np.sqrt(max(row["reliability_a"], 0) * max(row["reliability_b"], 0))
        within = "within layers" if row["within_layer"] else "all"
        interval = f"{row['lo']:+.2f} to {row['hi']:+.2f}"
        lines.append(
            Text(
                f"{words.named(row['b']):<34} {row['metric']:<9} {within:<13} {row['r']:>+6.2f}  {interval:<16} "
                f"{ceiling:>7.2f}"
            )
        )
    return [*lines, *_rest("agreement.csv")]


def _looks(table: pl.DataFrame) -> list[Text]:
    """By measure the head that has most of it, the one that has least, and the middle; clean, of the first model."""
    rows = table.filter((pl.col("model") == table["model"][0]) & (pl.col("weighting") == "attention"))
    rows = rows.filter((pl.col("shift") == "clean") & pl.col("metric").is_in(USUAL) & (pl.col("query") != "class"))
    if not len(rows):
        return _first_rows(table)
    lines = [Text(f"{'measure, clean':<34} {'most (95 %)':<30} {'least (95 %)':<30} {'median':>8}")]
    for metric in USUAL:
        own = rows.filter(pl.col("metric") == metric).sort("value", descending=True)
        if len(own):
            ends = (_end(own.row(place, named=True)) for place in (0, -1))
            lines.append(
                Text(
                    f"{TITLES[metric]:<34} {next(ends):<30} {next(ends):<30} {np.median(own['value'].to_numpy()):>8.3g}"
                )
            )
    return [*lines, Text(f"{len(table):,} rows, {table['metric'].n_unique()} measures"), *_rest("looks.csv")]


def _kinds(table: pl.DataFrame) -> list[Text]:
    """By layer how many heads are of which kind and matter, and what removing one costs: mean ± sd over heads."""
    first = table.filter((pl.col("model") == table["model"][0]) & (pl.col("shift") == table["shift"][0]))
    heads = f"{'one region':>11} {'several':>8} {'diffuse':>8} {'undecided':>10} {'matter':>7}"
    lines = [Text(f"{'layer':<6} {heads}  cost, mean ± sd")]
    for layer, own in first.group_by("layer", maintain_order=True):
        counts = [own.filter(pl.col("kind") == kind).height for kind in ("one", "several", "diffuse", "undecided")]
        matter = own.filter(pl.col("relevant") == "yes").height
        effects = own["effect"].to_numpy() * 100
        cost = f"{effects.mean():+.1f} ± {effects.std(ddof=1) if len(effects) > 1 else 0:.1f} %"
        columns = zip(counts, (11, 8, 8, 10), strict=True)
        lines.append(Text(f"{layer[0]!s:<6} {' '.join(f'{n:>{width}}' for n, width in columns)} {matter:>7}  {cost}"))
    return [*lines, *_rest("kinds.csv")]


def _roles(table: pl.DataFrame) -> list[Text]:
    """A line a head that has a role, and how many have none."""
    lines = []
    for model, own in table.group_by("model", maintain_order=True):
        held = own.filter(pl.col("role") != "none")
        heads = own.select("layer", "head").unique().height
        without = heads - held.select("layer", "head").unique().height
        lines.append(Text(f"{model[0]}: {without} of {heads} heads have no role that a rule names; the others:"))
        for row in held.iter_rows(named=True):
            name = head_name(row["layer"], row["head"])
            lines.append(Text(f"  {name:<6} {row['role']:<19} {row['words']}, q = {row['q']:.2g}"))
    return [*lines, *_rest("roles.csv")]


def _end(row: dict[str, float]) -> str:
    interval = "" if row["lo"] is None else f" ({row['lo']:.3g} to {row['hi']:.3g})"
    return f"{head_name(int(row['layer']), int(row['head']))} {row['value']:.3g}{interval}"


def _first_rows(table: pl.DataFrame) -> list[Text]:
    shown = [name for name in table.columns if name in _TOLD]
    with pl.Config(tbl_rows=20, tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True, fmt_str_lengths=28):
        text = str(table.select(shown))
    return [*(Text(line) for line in text.splitlines()), Text(f"{len(table):,} rows"), *_rest("table.csv")]


_TOLD = (
    "shift", "corruption", "severity", "layer", "head", "layer_b", "head_b", "metric", "query", "value", "lo", "hi",
    "in_unit", "heads", "n", "drop", "score", "scale", "b", "value_a", "value_b", "over", "diff", "q", "unit",
    "n_correct_a", "n_correct_b", "worst", "worst_top1", "top1", "adjusted_top1", "n_heads", "n_redundant", "n_needed",
    "n_undecided", "equal_p", "total", "routing", "fixed", "class", "images_needed", "role", "of", "kind", "attribute",
    "source", "accuracy", "excess", "exclusivity", "r", "r_within", "r2_added", "a", "disattenuated", "gini",
    "effective",
    "clean", "shifted", "model_b", "similarity", "specific", "above", "question", "recipe", "against", "what", "words",
)  # fmt: skip


def _rest(name: str) -> list[Text]:
    return [Text(f"all columns: -o {name}, or pipe it; a figure: … | vhs plot")]


def _heat_map(effect: Effects) -> list[Text]:
    """One line a layer, one cell a head."""
    limit = float(np.nanmax(np.abs(effect.value_LH))) or 1.0
    lines = [Text("layer " + "".join(f"{head:>6} " for head in range(effect.value_LH.shape[1])))]
    for layer, row in enumerate(effect.value_LH):
        line = Text(f"{layer:>5} ")
        for head, value in enumerate(row):
            mark = "*" if effect.marked_LH[layer, head] else " "
            cell = " " * 7 if np.isnan(value) else f"{value:>+6.1f}{mark}"
            line.append(cell, style=_shade(value / limit))
        lines.append(line)
    return lines


def _shade(share: float) -> str:
    """Black or white on a shade from blue (-1) over white (0) to red (1)."""
    if np.isnan(share):
        return ""
    end = RED if share > 0 else BLUE
    red, green, blue = (round(255 + (channel - 255) * min(abs(share), 1)) for channel in end)
    return f"{'white' if abs(share) > 0.55 else 'black'} on rgb({red},{green},{blue})"


def _render(lines: list[Text]) -> str:
    buffer = io.StringIO()
    width = max(shutil.get_terminal_size().columns, 20)
    console = Console(
        file=buffer, force_terminal=not os.environ.get("NO_COLOR"), width=width, highlight=False, markup=False,
        color_system="truecolor" if os.environ.get("COLORTERM") in ("truecolor", "24bit") else "256",
    )  # fmt: skip
    for line in lines:
        line.plain = "".join(c if c.isprintable() else "?" for c in line.plain)  # a file's names may hold escapes
        console.print(line, no_wrap=True, crop=False, overflow="ignore")
    return buffer.getvalue()


def _tail(name: str, width: int) -> str:
    return name if len(name) <= width else "…" + name[-width + 1 :]


_SUMMARIES = {
    "ablate": _ablation, "evalshift": _evaluation, "compare": _correlation, "heads": _looks,
    "kinds": _kinds, "roles": _roles, "prune": terminal_pruning.lines, "arms": terminal_arms.lines,
}  # fmt: skip


def plot_summary(name: str, table: pl.DataFrame, note: str = "") -> str:
    """What `vhs plot` shows on a terminal beside the figure it wrote; empty where there is no heat map."""
    if name != "ablate":
        return ""
    return _render([*([Text(f"({note})")] if note else []), *LEGEND, *heat_maps(table)])
