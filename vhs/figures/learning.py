"""Learning curves: losses and validation scores by epoch, of one run or of several beside each other; and what each
term of the loss was, where there are several."""

from __future__ import annotations

from typing import NamedTuple

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator

from vhs.errors import InputError
from vhs.figures import labels, paper, seeds, style, words


def classification(table: pl.DataFrame, metric: str = "top1") -> Figure:
    """Losses on the left, validation accuracy on the right; a colour a run, or a group of runs with its spread."""
    del metric  # both are drawn
    terms = _terms(table)
    figure, (left, right, *others) = _panels(["loss", "accuracy", *(["terms"] if terms else [])])
    runs = _runs(table)
    for colour, run in zip(style.colours(len(runs)), runs, strict=True):
        _spread(left, run.training, colour, ls=":")
        _spread(left, run.loss, colour)
        _spread(right, run.accuracy, colour)
    if left is not None:
        left.set_ylabel("loss (nats)")
        left.legend(*_kinds("training, answers alone" if terms else "training, as optimised", "validation"))
    if others and others[0] is not None:
        _draw_terms(others[0], table.partition_by("model", maintain_order=True), terms)
    if right is not None:
        right.set_ylabel("validation accuracy (%)")
    handles = [
        Line2D([], [], color=colour, label=run.told) for colour, run in zip(style.colours(len(runs)), runs, strict=True)
    ]
    bands = ["bands: ± standard deviation over runs"] if any(run.models > 1 for run in runs) else []
    labels.footer(figure, bands, handles=handles)
    labels.headline(
        figure, f"training, n = {table['n'][-1]:,} validation images; accuracy at the last epoch in brackets"
    )
    return _label_epochs(figure, table.partition_by("model", maintain_order=True))


class Run(NamedTuple):
    """A run, or a group of runs: (epoch, mean, sd) of each curve; told: its name and last accuracy."""

    told: str
    models: int
    training: pl.DataFrame
    loss: pl.DataFrame
    accuracy: pl.DataFrame


def _runs(table: pl.DataFrame) -> list[Run]:
    pattern = paper.current().group_by
    own = [(_name(part), part) for part in table.partition_by("model", maintain_order=True)]
    found = []
    for name, part in own if pattern is None else seeds.groups(table, pattern):
        answers = pl.Series(
            "value", [x for run in part.partition_by("model", maintain_order=True) for x in _of_answers(run)]
        )
        ordered = pl.concat(part.partition_by("model", maintain_order=True)).with_columns(answers)
        accuracy = _mean(ordered, pl.col("top1") * 100)
        count = part["model"].n_unique()
        last = accuracy.row(-1, named=True)
        sd = "" if count == 1 else f" ± {last['sd']:.1f}"
        told = f"{name} ({last['mean']:.1f}{sd} %{f', {count} runs' if count > 1 else ''})"
        found.append(Run(told, count, _mean(ordered, pl.col("value")), _mean(ordered, pl.col("loss")), accuracy))
    return found


def _mean(rows: pl.DataFrame, of: pl.Expr) -> pl.DataFrame:
    """By epoch over the runs that have it."""
    return rows.group_by("epoch").agg(mean=of.mean(), sd=of.std().fill_null(0.0)).sort("epoch")


def _spread(axes: Axes | None, rows: pl.DataFrame, colour: str, ls: str = "-") -> None:
    """The mean, and where there are several runs the standard deviation around it."""
    if axes is None:
        return
    axes.plot(rows["epoch"], rows["mean"], color=colour, ls=ls, lw=1.3)
    if (rows["sd"] > 0).any():
        axes.fill_between(
            rows["epoch"], rows["mean"] - rows["sd"], rows["mean"] + rows["sd"], color=colour, alpha=0.18, lw=0
        )


def regression(table: pl.DataFrame, metric: str = "r2") -> Figure:
    """Squared errors on the left, R² of each target on the validation split on the right; a colour a target."""
    del metric  # both are drawn
    if table["model"].n_unique() > 1:
        raise InputError("this figure draws the targets of one run. Name it with --model.")
    figure, (left, right) = _panels(["error", "R²"])
    targets = table.partition_by("target", maintain_order=True)
    colours = dict(zip(table["target"].unique(maintain_order=True), style.colours(len(targets)), strict=True))
    if left is not None:
        left.plot(targets[0]["epoch"], targets[0]["train_loss"], color="0.2", ls=":")
        for part in targets:
            left.plot(part["epoch"], part["mse"], color=colours[part["target"][0]])
        left.set_ylabel("squared error (deviations²)")
        left.legend(*_kinds("training, all targets", "validation, by target"))
    if right is not None:
        for part in targets:
            right.plot(part["epoch"], part["r2"], color=colours[part["target"][0]])
        right.set_ylabel("validation R²")
        right.set_ylim(min(0.0, float(table["r2"].min() or 0)), 1.02)  # type: ignore[arg-type]
    last = {part["target"][0]: part["r2"][-1] for part in targets}
    handles = [
        Line2D([], [], color=colours[name], label=f"{words.plain(name)} (R² {value:.2f})")
        for name, value in last.items()
    ]
    labels.footer(figure, [], handles=handles)
    labels.headline(
        figure, f"{_name(table)}, n = {table['n'][-1]:,} validation images; R² of the last epoch in brackets"
    )
    return _label_epochs(figure, targets[:1])


TERMS = {"attention": "-", "logits": "--", "token": "-.", "diversity": ":"}
"""Terms beside the answers' loss, and their lines."""


def _terms(table: pl.DataFrame) -> list[str]:
    """Those that any run has."""
    return [name for name in TERMS if f"loss_{name}" in table.columns and table[f"loss_{name}"].count()]


def _of_answers(run: pl.DataFrame) -> pl.Series:
    """The training loss that compares with the validation loss: without other terms."""
    return run["loss_class"] if "loss_class" in run.columns and run["loss_class"].count() else run["train_loss"]


def _draw_terms(axes: Axes, runs: list[pl.DataFrame], terms: list[str]) -> None:
    for colour, run in zip(style.colours(len(runs)), runs, strict=True):
        for name in terms:
            values = run[f"loss_{name}"]
            if values.count():
                axes.plot(run["epoch"], values, color=colour, ls=TERMS[name])
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
    axes.set_ylabel("other terms, before their weights")
    axes.legend([Line2D([], [], color="0.3", ls=TERMS[name]) for name in terms], terms)


def _panels(names: list[str]) -> tuple[Figure, list[Axes | None]]:
    """A panel a name; None for one that was not asked for."""
    kept = paper.keep(names, lambda name: name)
    figure, panels = style.panels(len(kept), 3, (3.2, 2.4), (0.3, 0.7), shared=False, least=0.8)
    places = dict(zip(kept, panels, strict=True))
    return figure, [places.get(name) for name in names]


def _label_epochs(figure: Figure, runs: list[pl.DataFrame]) -> Figure:
    """With how long an epoch is, where that is the same in all runs."""
    lengths = {int(run["step"][0]) for run in runs}
    words = f" ({lengths.pop()} updates each)" if len(lengths) == 1 else ""
    for axes in figure.axes:
        axes.set_xlabel(f"epoch{words}")
        axes.grid(axis="y", color="0.92")
    return figure


def _kinds(dotted: str, solid: str) -> tuple[list[Line2D], list[str]]:
    return [Line2D([], [], color="0.3", ls=":"), Line2D([], [], color="0.3")], [dotted, solid]


def _name(run: pl.DataFrame) -> str:
    return style.short(run["model"][0])
