"""Words on figures: headlines, names of panels, ticks, what marks mean; in lines that fit the page."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vhs.figures import paper

MOST_NAMED = 12
"""Lines of a legend; more are counted."""


def label_below(panels: Sequence[Axes], text: str) -> None:
    """The axis below: on every panel that has none below it, in letters that fit its width."""
    for axes in panels:
        spec = axes.get_subplotspec()
        lower = [other for other in panels if (o := other.get_subplotspec()) and spec and other.get_visible()
                 and o.colspan.start == spec.colspan.start and o.rowspan.start > spec.rowspan.start]  # fmt: skip
        if not lower and axes.get_visible():
            axes.set_xlabel(wrapped(text, _inches(axes)), fontsize=paper.small())


def title(axes: Axes, text: str) -> None:
    """A panel's name, in lines that fit its width."""
    axes.set_title(wrapped(text, _inches(axes)), fontsize=paper.small())


def _inches(axes: Axes) -> float:
    """About how wide a panel is."""
    figure, spec = axes.get_figure(root=True), axes.get_subplotspec()
    assert figure is not None
    columns = spec.get_gridspec().ncols if spec else 1
    return max(0.92 * figure.get_figwidth() / columns * (len(spec.colspan) if spec else 1) - 0.35, 0.7)


def head_ticks(axes: Axes, names: Sequence[str]) -> None:
    """Names of heads below, turned; as many as do not touch."""
    step = max(1, -(-len(names) * 13 // max(int(100 * _inches(axes)), 1)))
    axes.set_xticks(range(0, len(names), step), list(names[::step]), rotation=90, fontsize=paper.tiny())


def grouped_ticks(axes: Axes, names: Sequence[str], *, rotation: float = 60) -> None:
    """One tick for each run of equal names across, in its middle, and a line between two."""
    starts = [index for index, name in enumerate(names) if index == 0 or name != names[index - 1]]
    ends = [*starts[1:], len(names)]
    middles = [(a + b - 1) / 2 for a, b in zip(starts, ends, strict=True)]
    axes.set_xticks(middles, [names[a] for a in starts], rotation=rotation, ha="right", rotation_mode="anchor")
    for start in starts[1:]:
        axes.axvline(start - 0.5, color="white", lw=1.0)


def wrapped(text: str, inches: float) -> str:
    """Text in lines that fit a width at the letters of labels."""
    letters = max(10, int(inches * 72 / (0.52 * paper.current().font)))
    return "\n".join(
        line for part in text.split("\n") for line in textwrap.wrap(part, letters, break_long_words=False) or [""]
    )


def headline(figure: Figure, text: str) -> None:
    """What and whose a figure is, above it; the title that was asked for instead, or none."""
    asked = paper.current().title
    shown = text if asked is None else asked
    if shown:
        figure.suptitle(wrapped(shown, 0.97 * figure.get_figwidth()), x=0.01, ha="left")


def dots(named: Mapping[str, str]) -> list[Line2D]:
    """For a legend: a dot a name in its colour."""
    return [Line2D([], [], ls="", marker="o", ms=4, color=colour, label=name) for name, colour in named.items()]


def footer(figure: Figure, words: Sequence[str], *, dots: str | None = None, handles: Sequence[Any] = ()) -> None:
    """A line below the figure: what marks say. dots: what a dot on a heat map means."""
    shown = list(handles[:MOST_NAMED])
    if len(handles) > MOST_NAMED:
        words = [*words, f"and {len(handles) - MOST_NAMED} more; --group-by REGEX makes groups of models"]
    if dots is not None:
        shown.append(
            Line2D(
                [],
                [],
                ls="",
                marker="o",
                ms=4,
                mfc="black",
                mec="white",
                label=wrapped(dots, 0.85 * figure.get_figwidth()),
            )
        )
    shown += [Line2D([], [], ls="", label=wrapped(word, 0.85 * figure.get_figwidth())) for word in words]
    longest = max(len(line) for item in shown for line in str(item.get_label()).split("\n"))
    columns = max(1, min(4, int(figure.get_figwidth() / (longest * paper.small() * 0.0085 + 0.5))))
    figure.legend(
        handles=shown, loc="outside lower left", ncols=min(columns, len(shown)), handletextpad=0.4, borderaxespad=0.5
    )
