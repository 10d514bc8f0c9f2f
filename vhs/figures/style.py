"""How every figure looks, and the one way to turn it into bytes."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

FORMATS = ("png", "pdf", "svg")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, told apart with any colour vision."""
DIVERGING = "RdBu_r"
"""Red for positive (the head helps), blue for negative, white for none."""
SEQUENTIAL = "viridis"
RC: dict[Any, Any] = {
    "font.size": 9, "axes.titlesize": 10, "axes.labelsize": 9, "legend.fontsize": 8, "xtick.labelsize": 8,
    "ytick.labelsize": 8, "axes.spines.top": False, "axes.spines.right": False, "figure.dpi": 100,
    "savefig.dpi": 200, "svg.hashsalt": "vhs", "svg.fonttype": "none", "pdf.fonttype": 42, "legend.frameon": False,
    "text.parse_math": False,  # a class may be called $x$
}  # fmt: skip


def colours(count: int) -> list[str]:
    """One each: of the palette, or of a scale from dark to bright where the palette is too small."""
    if count <= len(COLOURS):
        return list(COLOURS[:count])
    scale = mpl.colormaps[SEQUENTIAL]
    return [to_hex(scale(0.92 * index / (count - 1))) for index in range(count)]


@contextmanager
def styled() -> Iterator[None]:
    """Inside the block figures are made in the house style, whatever the user's matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(RC)
        yield


def new(width: float, height: float) -> Figure:
    """An empty figure; inches."""
    return Figure(figsize=(width, height), layout="constrained")


def panels(
    count: int, most: int, cell: tuple[float, float], margin: tuple[float, float], *, shared: bool = True
) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, at most `most` side by side, and its panels; inches, of one and around all.

    shared: one scale for all axes, told on the left and wherever nothing is below.
    """
    columns = min(count, most)
    rows = -(-count // columns)
    figure = new(cell[0] * columns + margin[0], cell[1] * rows + margin[1])
    grid = figure.subplots(rows, columns, squeeze=False, sharex=shared, sharey=shared)
    for index, axes in enumerate(grid.flat):
        axes.set_visible(index < count)
        if index < count <= index + columns:
            axes.tick_params(labelbottom=True)
    return figure, list(grid.flat)[:count]


def render(figure: Figure, form: str) -> bytes:
    """The figure as PNG, PDF or SVG; equal figures give equal bytes."""
    buffer = io.BytesIO()
    metadata = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Producer": None}, "svg": {"Date": None}}
    with styled(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a name in letters that the font lacks is drawn as boxes
        figure.savefig(buffer, format=form, metadata=metadata[form])
    return buffer.getvalue()


def whole_ticks(axes: Axes, *, x: int | None = None, y: int | None = None) -> None:
    """Ticks at whole numbers 0 to x - 1 and 0 to y - 1, thinned so that labels do not touch."""
    if x is not None:
        axes.set_xticks(range(0, x, max(1, -(-x // 16))))
    if y is not None:
        axes.set_yticks(range(0, y, max(1, -(-y // 16))))


def bare(axes: Axes) -> None:
    """No frame and no tick marks, for matrices."""
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def mark(figure: Figure, words: str) -> None:
    """A warning about the whole figure, on a strip of its own above it."""
    strip, height = 0.22, figure.get_figheight()
    figure.set_figheight(height + strip)
    share = height / (height + strip)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(rect=(0, 0, 1, share))  # type: ignore[call-arg]
    else:
        for axes in figure.axes:  # not by subplots_adjust, which would put them under their colour bar
            box = axes.get_position()
            axes.set_position((box.x0, box.y0 * share, box.width, box.height * share))
    figure.text(0.005, 0.995, words, ha="left", va="top", fontsize=9, color=COLOURS[1], weight="bold")


def short(name: str) -> str:
    """A model's name as a label: the file's stem."""
    return name.rsplit("/", 1)[-1].removesuffix(".safetensors")
