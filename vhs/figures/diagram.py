"""A model as a block diagram: what its heads are called, and how they are reached."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import fill

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

from vhs.figures.style import COLOURS, new, short
from vhs.grid import HeadGrid, head_name

IN_A_ROW = 12
"""Layers side by side; more go into further rows."""
CELL = 0.78
"""Inches a layer."""
LETTERS = 14
"""Of the smallest words in an inch."""


@dataclass(frozen=True)
class Diagram:
    """What is drawn. model: its name; before, after: what comes before the first layer and after the last.

    path: how its heads are reached, in words.
    """

    model: str
    before: str
    after: str
    path: str
    grid: HeadGrid


def draw(diagram: Diagram) -> Figure:
    """Layers from left to right, in each a square per head, numbered as in tables."""
    grid = diagram.grid
    columns = min(IN_A_ROW, grid.depth)
    rows = -(-grid.depth // IN_A_ROW)
    tallest = max(grid.per_layer)
    height = 0.9 + rows * (0.6 + 0.2 * tallest)
    width = 2.6 + CELL * columns
    figure = new(width, height)
    axes = figure.add_subplot()
    axes.set_xlim(-1.75, columns + 1.35)
    pitch = tallest + 3
    axes.set_ylim(-pitch * (rows - 1) - 1.9, tallest + 0.8)
    axes.axis("off")
    for layer, heads in enumerate(grid.per_layer):
        _layer(axes, layer % IN_A_ROW, -pitch * (layer // IN_A_ROW), layer, heads)
    _words(axes, -1.05, max(grid.per_layer[0], 2) / 2, diagram.before)
    last = (grid.depth - 1) % IN_A_ROW
    _words(axes, last + 1.7, -pitch * (rows - 1) + grid.per_layer[-1] / 2, diagram.after)
    _arrow(axes, -0.45, -0.02, grid.per_layer[0] / 2)
    figure.suptitle(f"{short(diagram.model)}: {len(grid)} heads in {grid.depth} layers", fontsize=10)
    figure.supxlabel(fill(diagram.path, int(width * LETTERS)), fontsize=8)
    return figure


def _layer(axes: Axes, x: float, y: float, layer: int, heads: int) -> None:
    """One attention module with its heads, and its number below."""
    box = FancyBboxPatch((x + 0.14, y - 0.35), 0.72, heads + 0.7, boxstyle="round,pad=0,rounding_size=.12")
    box.set(facecolor="#f2f2f2", edgecolor="#666666", linewidth=0.8)
    axes.add_patch(box)
    for head in range(heads):
        at = y + heads - 1 - head
        axes.add_patch(Rectangle((x + 0.24, at + 0.08), 0.52, 0.84, facecolor=COLOURS[5], edgecolor="white"))
        axes.text(x + 0.5, at + 0.5, head_name(layer, head), ha="center", va="center", fontsize=6.5)
    axes.text(x + 0.5, y - 0.85, f"layer {layer}", ha="center", va="top", fontsize=7)
    _arrow(axes, x + 0.88, x + 1.12, y + heads / 2)


def _arrow(axes: Axes, start: float, end: float, y: float) -> None:
    axes.annotate("", (end, y), (start, y), arrowprops={"arrowstyle": "->", "lw": 0.8, "color": "#444444"})


def _words(axes: Axes, x: float, y: float, words: str) -> None:
    axes.text(x, y, words, ha="center", va="center", fontsize=7.5, linespacing=1.5)
