"""Contact sheets: one image under every corruption and severity; one class in several shard sets."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from vhs.figures import paper, style, words

CELL, LEAST = 0.72, 0.33
LEFT, RIGHT, TOP = 0.75, 0.75, 1.15
"""Inches: a picture, the least of one, and the margins that hold the labels."""
LETTER = 0.05
"""Inches that a letter of a turned label takes along either axis, with room to spare."""


def sheet(pictures: dict[str, list[np.ndarray]], title: str) -> Figure:
    """One column a corruption, one row a severity; the first row is the clean image.

    pictures: name -> the image clean and at severities 1 to 5, uint8 [H, W, 1 or 3]. Names are turned to fit.
    """
    names, severities = list(pictures), max(len(column) for column in pictures.values())
    asked = paper.current().width
    across = len(names) if asked is None else max(1, min(len(names), int((asked - LEFT - RIGHT) / LEAST)))
    bands = -(-len(names) // across)  # on a narrow page one below the other
    across = -(-len(names) // bands)
    cell = CELL if asked is None else (asked - LEFT - RIGHT) / across
    longest = LETTER * max(len(name) for name in names)
    width, band = cell * across + LEFT + max(RIGHT, longest - cell / 2), cell * severities + max(TOP, longest)
    figure = Figure(figsize=(width, band * bands))
    for index, name in enumerate(names):
        left, top = LEFT + cell * (index % across), band * (index // across) + band - cell * severities
        for row, image in enumerate(pictures[name]):
            bottom = band * bands - top - cell * (row + 1)
            axes = figure.add_axes(
                (left / width, bottom / (band * bands), 0.95 * cell / width, 0.95 * cell / (band * bands))
            )
            _clear(axes)
            _show(axes, image)
            if index % across == 0:
                axes.set_ylabel("clean" if row == 0 else str(row), rotation=0, ha="right", va="center")
            if row == 0:
                axes.text(0.3, 1.06, words.plain(name), rotation=40, fontsize=paper.small(), transform=axes.transAxes)
    figure.text(0.1 / width, 0.5, "severity", rotation=90, va="center")
    _headline(figure, LEFT, title)
    return figure


def _headline(figure: Figure, left: float, text: str) -> None:
    """The title that was asked for, or this one."""
    width, height = figure.get_size_inches()
    asked = paper.current().title
    figure.text(left / width, 1 - 0.1 / height, text if asked is None else asked, va="top")


def side_by_side(rows: dict[str, list[np.ndarray]], title: str) -> Figure:
    """One row a shard set, with samples of one class. rows: name -> images, uint8 [H, W, 1 or 3]."""
    columns = max(len(images) for images in rows.values())
    left, top = 1.6, 0.45
    side = _side(1.1, columns, left)
    width, height = side * columns + left, side * len(rows) + top
    figure = Figure(figsize=(width, height))
    figure.subplots_adjust(left / width, 0.02, 0.99, 1 - top / height, wspace=0.05, hspace=0.05)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for line, (name, images) in zip(grid, rows.items(), strict=True):
        for number, axes in enumerate(line):
            _clear(axes)
            if number < len(images):
                _show(axes, images[number])
        line[0].set_ylabel(textwrap.fill(name, 20), rotation=0, ha="right", va="center", labelpad=8)
    _headline(figure, left, title)
    return figure


def with_regions(rows: dict[str, list[np.ndarray]], maps: list[np.ndarray], names: Sequence[str], title: str) -> Figure:
    """Images, twins, and below them their regions in colours with a legend. maps: positions in `names`, [H, W]."""
    columns, left, top, bottom = len(maps), 0.9, 0.45, 0.4
    side = _side(1.35, columns, left)
    width, height = side * columns + left, side * (len(rows) + 1) + top + bottom
    figure = Figure(figsize=(width, height))
    figure.subplots_adjust(left / width, bottom / height, 0.99, 1 - top / height, wspace=0.05, hspace=0.05)
    grid = figure.subplots(len(rows) + 1, columns, squeeze=False)
    colours = ListedColormap(["white", "0.75", *style.COLOURS[: max(len(names) - 2, 0)]][: len(names)])
    for line, (name, images) in zip(grid, [*rows.items(), ("regions", maps)], strict=True):
        for axes, image in zip(line, images, strict=False):
            _clear(axes)
            if name == "regions":
                axes.imshow(image, cmap=colours, vmin=0, vmax=len(names) - 1, interpolation="nearest")
            else:
                _show(axes, image)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", labelpad=8)
    patches = [Patch(facecolor=colours(index), edgecolor="0.5", label=name) for index, name in enumerate(names)]
    figure.legend(handles=patches, loc="lower center", ncols=len(names), frameon=False)
    _headline(figure, left, title)
    return figure


def _side(usual: float, columns: int, left: float) -> float:
    """Inches of a picture."""
    asked = paper.current().width
    return usual if asked is None else max((asked - left) / columns, 0.1)


def _show(axes: Axes, image_HWC: np.ndarray) -> None:
    axes.imshow(image_HWC.squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")


def _clear(axes: Axes) -> None:
    style.bare(axes)
    axes.set_xticks([])
    axes.set_yticks([])
