"""Learning curves: losses and validation scores by epoch, of one run or of several beside each other; and what each
term of the loss was, where there are several."""

from __future__ import annotations

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator

from vhs.errors import InputError
from vhs.figures import style

BESIDE = 9
"""Runs that a legend within the panel has room for."""


def classification(table: pl.DataFrame, metric: str = "top1") -> Figure:
    """Losses on the left, validation accuracy on the right; a colour a run."""
    del metric  # both are drawn
    terms = _terms(table)
    figure, left, right = _panels(bool(terms))
    runs = table.partition_by("model", maintain_order=True)
    for colour, run in zip(style.colours(len(runs)), runs, strict=True):
        left.plot(run["epoch"], _of_answers(run), color=colour, ls=":")
        left.plot(run["epoch"], run["loss"], color=colour)
        right.plot(run["epoch"], run["top1"] * 100, color=colour, label=f"{_name(run)} ({run['top1'][-1]:.1%})")
    left.set_ylabel("loss (nats)")
    left.legend(*_kinds("training, answers alone" if terms else "training, as optimised", "validation"))
    if terms:
        _draw_terms(figure.axes[2], runs, terms)
    right.set_ylabel("validation accuracy (%)")
    title = f"last epoch, n = {table['n'][-1]:,}"
    if len(runs) <= BESIDE:
        right.legend(title=title, loc="lower right")
    else:
        figure.legend(*right.get_legend_handles_labels(), title=title, loc="outside right center")
        figure.set_figwidth(figure.get_figwidth() + 2)
    return _label_epochs(figure, runs)


def regression(table: pl.DataFrame, metric: str = "r2") -> Figure:
    """Squared errors on the left, R² of each target on the validation split on the right; a colour a target."""
    del metric  # both are drawn
    if table["model"].n_unique() > 1:
        raise InputError("this figure draws the targets of one run. Name it with --model.")
    figure, left, right = _panels()
    targets = table.partition_by("target", maintain_order=True)
    left.plot(targets[0]["epoch"], targets[0]["train_loss"], color="0.2", ls=":")
    for colour, part in zip(style.colours(len(targets)), targets, strict=True):
        name = f"{part['target'][0].replace('_', ' ')} ({part['r2'][-1]:.2f})"
        left.plot(part["epoch"], part["mse"], color=colour)
        right.plot(part["epoch"], part["r2"], color=colour, label=name)
    left.set_ylabel("squared error (deviations²)")
    left.legend(*_kinds("training, all targets", "validation, by target"))
    right.set_ylabel("validation R²")
    right.set_ylim(min(0.0, float(table["r2"].min() or 0)), 1.02)  # type: ignore[arg-type]
    right.legend(title=f"{_name(table)}, last epoch, n = {table['n'][-1]:,}", loc="lower right")
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


def _panels(terms: bool = False) -> tuple[Figure, Axes, Axes]:
    figure = style.new(10.2 if terms else 7.2, 3.0)
    left, right = figure.subplots(1, 2 + terms)[:2]
    return figure, left, right


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
