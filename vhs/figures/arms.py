"""Arms of a study: means over seeds and effects, a row each; or a line an arm over layers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vhs.errors import InputError, UsageError, choices
from vhs.figures import effects, labels, paper, style, words

SHARES = ("top1", "ece", "drop", "redundant", "needed", "undecided", "matters", "same", "removable", "certified",
          "more_under_shift", "less_under_shift", "worst_top1", "adjusted_top1", "dmse_rel")  # fmt: skip
"""What is drawn in percent."""
WORDS = {
    "top1": "accuracy",
    "drop": "accuracy lost without a head",
    "dloss": "loss added without a head",
    "dmse_rel": "squared error added without a head, of the intact error",
    "ece": "calibration error",
    "removable": "heads that can go",
    "needed": "heads that cannot go alone",
    "certified": "heads certified to go",
    "jsd_layer": "divergence of maps within layers",
    "matters": "heads that matter (q < 0.05)",
    "jsd_both": "divergence from the other model's maps, both right",
    "r2": "R²",
    "more_under_shift": "heads that matter more under shift",
    "less_under_shift": "heads that matter less under shift",
}
"""Readings as they are written on figures, where their name does not say it."""
UNITS = {"loss": "nats", "dloss": "nats", "jsd_layer": "nats", "jsd_both": "nats", "jsd_other": "nats"}
MOST_EFFECTS = 30
"""Effects that are drawn, those of the least p."""
MOST = 3
"""Conditions told apart by colour; clean, means and shard sets come first."""


def rows(table: pl.DataFrame, metric: str | None) -> Figure:
    """Every arm's mean over seeds, and below it every effect; filled where q (or p) is below .05."""
    what, own = _of(table, metric)
    own = own.filter(pl.col("layer").is_null())
    if not len(own):
        raise InputError(f"{what} is told by layer only: --kind layers draws it.")
    shown = conditions(own)
    means, found = (own.filter(pl.col("question") == question) for question in ("mean", "effect"))
    parts = [("arms", means), ("effects", _surest(found))]
    parts = paper.keep([part for part in parts if len(part[1])], lambda part: part[0])
    heights = [0.26 * part["arm"].n_unique() + 0.7 for _, part in parts]
    figure = style.new(5.4, sum(heights) + 1.2)
    panels = figure.subplots(len(parts), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (name, part) in zip(panels, parts, strict=True):
        _dots(axes, part, shown, _factor(what))
        labels.title(axes, name)
        axes.set_xlabel(_label(what, effect=name == "effects"), fontsize=paper.small())
    colours = dict(zip([_told(name) for name in shown], style.colours(len(shown)), strict=True))
    left = own["condition"].n_unique() - len(shown)
    more = [f"{left} more conditions are in the table"] if left > 0 else []
    hidden = found["arm"].n_unique() - MOST_EFFECTS
    more += [f"{hidden} more effects are in the table, with larger p"] if hidden > 0 else []
    more += _other_data(table, what, own)
    handles = labels.dots(colours) if len(shown) > 1 else []
    labels.footer(figure, ["95 % over seeds; filled: q < 0.05", *more], handles=handles)
    labels.headline(figure, _headline(own, what, shown))
    return figure


def layers(table: pl.DataFrame, metric: str | None) -> Figure:
    """A line an arm over its layers, with the 95 % interval over seeds; a panel a condition."""
    what, own = _of(table, metric)
    own = own.filter(pl.col("layer").is_not_null() & (pl.col("question") == "mean"))
    if not len(own):
        raise InputError(f"{what} is not told by layer. --kind arms draws it.")
    shown = conditions(own)
    figure, panels = style.panels(len(shown), 3, (2.3, 1.9), (0.6, 0.9))
    arms = own["arm"].unique(maintain_order=True).to_list()
    factor = _factor(what)
    for axes, condition in zip(panels, shown, strict=True):
        for arm, colour in zip(arms, style.colours(len(arms)), strict=True):
            line = own.filter((pl.col("arm") == arm) & pl.col("condition").eq_missing(pl.lit(condition))).sort("layer")
            x = line["layer"].to_numpy()
            value, lo, hi = (line[name].cast(pl.Float64).to_numpy() * factor for name in ("value", "lo", "hi"))
            axes.plot(x, value, "o-", ms=3, lw=1.2, color=colour, label=arm)
            axes.fill_between(x, lo, hi, color=colour, alpha=0.18, lw=0)
        labels.title(axes, _told(condition))
    for axes in panels:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    labels.label_below(panels, "layer, from 0")
    panels[0].set_ylabel(labels.wrapped(_label(what), 1.9))
    handles, _ = panels[0].get_legend_handles_labels()
    labels.footer(figure, ["band: 95 % over seeds", *_other_data(table, what, own)], handles=handles)
    labels.headline(figure, _headline(own, what, []))
    return figure


def _of(table: pl.DataFrame, metric: str | None) -> tuple[str, pl.DataFrame]:
    """The readings that are drawn: of one name, and of the first thing that it is of."""
    held = table["what"].unique(maintain_order=True).to_list()
    if metric is not None and metric not in held:
        raise UsageError(f"--metric {metric}: the table has {choices(held)}.")
    what = metric or held[0]
    own = table.filter(pl.col("what") == what)
    first = own.row(0, named=True)
    same = [pl.col(name).eq_missing(pl.lit(first[name], pl.String)) for name in ("of", "data")]
    return what, own.filter(pl.all_horizontal(same))


def _surest(found: pl.DataFrame) -> pl.DataFrame:
    """Effects in their order, of too many those that are surest."""
    least = found.group_by("arm", maintain_order=True).agg(pl.col("p").min())
    kept = least.sort("p", nulls_last=True, maintain_order=True)["arm"].head(MOST_EFFECTS)
    return found.filter(pl.col("arm").is_in(kept.to_list()))


def _other_data(table: pl.DataFrame, what: str, own: pl.DataFrame) -> list[str]:
    """Data sets that the table has and the figure has not."""
    held = table.filter(pl.col("what") == what)["data"].drop_nulls().unique(maintain_order=True).to_list()
    others = [name for name in held if name not in own["data"].to_list()]
    return [f"of {own['data'].to_list()[0]}; {', '.join(others)} in the table, too"] if others else []


def conditions(own: pl.DataFrame) -> list[str | None]:
    """The conditions that are drawn: clean, the mean over shifts, shard sets; of none of these single corruptions."""
    known = own["condition"].unique(maintain_order=True).to_list()
    first = [name for name in known if name is None or not (":" in name or name.startswith("mean of "))]
    ranks = {"clean": 0, "mean": 1}
    return sorted(first or known, key=lambda name: ranks.get(str(name), len(ranks)))[:MOST]


def _dots(axes: Axes, part: pl.DataFrame, shown: Sequence[str | None], factor: float) -> None:
    arms = part["arm"].unique(maintain_order=True).to_list()
    step = 0.6 / max(len(shown), 1)
    for place, (condition, colour) in enumerate(zip(shown, style.colours(len(shown)), strict=True)):
        own = part.filter(pl.col("condition").eq_missing(pl.lit(condition, pl.String)))
        y = np.array([arms.index(arm) for arm in own["arm"]]) + (place - (len(shown) - 1) / 2) * step
        value, lo, hi = (own[name].cast(pl.Float64).to_numpy() * factor for name in ("value", "lo", "hi"))
        axes.errorbar(value, y, xerr=np.nan_to_num([value - lo, hi - value]), fmt="none", ecolor=colour, elinewidth=0.9)
        tested = zip(own["question"], own.select(pl.coalesce("q", "p")).to_series(), strict=True)
        filled = np.array([what == "mean" or (p is not None and p < effects.ALPHA) for what, p in tested])
        axes.plot(value[filled], y[filled], "o", ms=4, color=colour)
        axes.plot(value[~filled], y[~filled], "o", ms=4, mfc="white", mec=colour)
    axes.set_yticks(range(len(arms)), [labels.wrapped(arm, 2.0) for arm in arms], fontsize=paper.tiny())
    axes.set_ylim(len(arms) - 0.5, -0.5)
    if (part["question"] == "effect").all():
        axes.axvline(0, color="0.7", lw=0.8)


def _factor(what: str) -> float:
    return 100.0 if what in SHARES else 1.0


def _label(what: str, *, effect: bool = False) -> str:
    unit = ("points" if effect else "%") if what in SHARES else UNITS.get(what)
    return WORDS.get(what, words.plain(what)) + (f" ({unit})" if unit else "")


def _told(condition: str | None) -> str:
    if condition == "mean":
        return "mean of shifts"
    return words.named(condition) if condition else "all"


def _headline(own: pl.DataFrame, what: str, shown: Sequence[str | None]) -> str:
    first = own["of"].to_list()[0]
    of = f", {first}" if first and first != "head" else ""
    under = f", {_told(shown[0])}" if len(shown) == 1 and shown[0] else ""
    runs = own.filter(pl.col("question") == "mean")["n_runs"].to_list()
    arms = own["arm"].filter(own["question"] == "mean").unique(maintain_order=True).to_list()
    whose = f": {style.short(arms[0])}" if len(arms) == 1 else " by arm"
    return f"{WORDS.get(what, words.plain(what))}{of}{under}{whose}{_seeds(runs)}"


def _seeds(runs: Sequence[int]) -> str:
    if not runs:
        return ""
    least, most = min(runs), max(runs)
    return f", {least} to {most} seeds" if least != most else f", {most} seed{'s' * (most > 1)}"
