"""How every figure looks, and the one way to turn it into bytes."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, ListedColormap, Normalize, SymLogNorm, TwoSlopeNorm, to_hex
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from vhs.errors import UsageError
from vhs.figures import labels, paper

FORMATS = ("png", "pdf", "svg")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, told apart with any colour vision."""
DIVERGING = "RdBu_r"
"""Red for positive (the head helps), blue for negative, white for none."""
SEQUENTIAL = "viridis"
SCREEN, PRINT = 200, 300
"""Pixels an inch of PNGs, and of those for a page."""
MISSING = "0.85"
"""Grey, for a cell of which the table says nothing: white would be no effect."""
NAME_GAP = (0.15, 0.07)
"""How near, across and down, as a share of the axes, a name may stand to another."""
UNTOUCHED = ("backend", "backend_fallback", "interactive", "toolbar", "timezone")
"""Keys of matplotlib's that are no look."""
RC: dict[Any, Any] = {
    "axes.titlesize": "medium", "axes.labelsize": "medium", "figure.titlesize": "medium", "figure.labelsize": "medium",
    "axes.titlelocation": "left", "axes.titlepad": 4, "axes.spines.top": False, "axes.spines.right": False,
    "savefig.dpi": "figure", "svg.hashsalt": "vhs", "svg.fonttype": "none", "pdf.fonttype": 42, "legend.frameon": False,
    "text.parse_math": False,  # a class may be called $x$
}  # fmt: skip


def colours(count: int) -> list[str]:
    """One each: of the palette, or of a scale from dark to bright where the palette is too small."""
    if count <= len(COLOURS):
        return list(COLOURS[:count])
    scale = mpl.colormaps[SEQUENTIAL]
    return [to_hex(scale(0.92 * index / (count - 1))) for index in range(count)]


@contextmanager
def house_style() -> Iterator[None]:
    """Inside the block figures are made in the house style, whatever the user's matplotlibrc says."""
    with mpl.rc_context():
        # not mpl.rcdefaults(), which reads every style sheet of matplotlib's for the names of these few
        mpl.rcParams.update({key: value for key, value in mpl.rcParamsDefault.items() if key not in UNTOUCHED})
        mpl.rcParams.update(RC)
        small = paper.small()
        sizes: dict[Any, Any] = {"font.size": paper.current().font, "legend.fontsize": small, "xtick.labelsize": small,
                 "ytick.labelsize": small, "legend.title_fontsize": small,
                 "figure.dpi": SCREEN if paper.current().width is None else PRINT}  # fmt: skip
        mpl.rcParams.update(sizes)
        yield


def new(width: float, height: float) -> Figure:
    """An empty figure; inches that it needs. On a page that is asked for it is as wide as that (figures/paper)."""
    return Figure(figsize=(paper.width_of(width), height), layout="constrained")


def panels(
    count: int,
    most: int,
    cell: tuple[float, float],
    margin: tuple[float, float],
    *,
    shared: bool = True,
    least: float = 0.75,
) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, at most `most` side by side, and its panels; inches, of one and around all.

    shared: one scale for all axes, told on the left and wherever nothing is below; least: the share of its width to
    which a panel may shrink.
    """
    columns = paper.across(count, cell[0], margin[0], most, least)
    rows = -(-count // columns)
    wide = (paper.width_of(cell[0] * columns + margin[0]) - margin[0]) / columns
    tall = cell[1] * min(1.0, max(0.75, wide / cell[0]))
    figure = new(cell[0] * columns + margin[0], tall * rows + margin[1])
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
    with house_style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a name in letters that the font lacks is drawn as boxes
        warnings.filterwarnings("error", message="constrained_layout not applied")
        try:
            figure.savefig(buffer, format=form, metadata=metadata[form])
        except UserWarning as error:
            told = "the words of this figure leave no room for it. Take a smaller --font-size or a larger --width."
            raise UsageError(told) from error
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


def symmetric_norm(values: Iterable[np.ndarray]) -> TwoSlopeNorm:
    """A scale symmetric about zero that holds all values: one matrix, or several of any shapes; NaN is passed over."""
    limit = float(np.nanmax(np.abs(np.concatenate([np.ravel(part) for part in values])))) or 1e-9
    return TwoSlopeNorm(0, -limit, limit)


def symmetric_log_norm(values: Iterable[np.ndarray]) -> SymLogNorm:
    """The same, logarithmic beyond the middle of what is there: effects that differ by powers of ten stay visible."""
    sizes = np.abs(np.concatenate([np.ravel(part) for part in values]))
    sizes = sizes[np.isfinite(sizes) & (sizes > 0)]
    limit = float(sizes.max()) if len(sizes) else 1e-9
    middle = float(np.median(sizes)) if len(sizes) else limit
    return SymLogNorm(max(middle, limit * 1e-4), vmin=-limit, vmax=limit, base=10)


def diverging(*, blank: str = MISSING) -> Colormap:
    """The scale of signed values; blank: the colour of what is not there."""
    return mpl.colormaps[DIVERGING].with_extremes(bad=blank)


def heat_map(
    axes: Axes, values: np.ndarray, *, norm: Normalize, marked: np.ndarray | None = None, dot: float = 4
) -> AxesImage:
    """A matrix as colours, its first row on top, with whole numbers as ticks; returns it for `colour_bar`.

    values: [rows, columns] in the colour bar's unit, layers x heads or other; NaN, a missing cell, is grey.
    norm: `symmetric_norm` for signed values, drawn red and blue; any other is drawn from dark to bright.
    marked: bool [rows, columns], the significant cells, which get a dot; dot: its size in points.
    """
    signed = isinstance(norm, (TwoSlopeNorm, SymLogNorm))
    colours = diverging() if signed else mpl.colormaps[SEQUENTIAL].with_extremes(bad=MISSING)
    image = axes.imshow(values, cmap=colours, norm=norm, aspect="auto")
    if marked is not None:
        rows, columns = np.nonzero(marked)
        edge = 0.6 if dot >= 4 else 0.4
        axes.plot(columns, rows, "o", color="black", markersize=dot, markeredgecolor="white", markeredgewidth=edge)
    whole_ticks(axes, x=values.shape[1], y=values.shape[0])
    bare(axes)
    return image


def colour_bar(
    shown: ScalarMappable, panels: Sequence[Axes], *, label: str, share: float = 0.05, aspect: float = 20,
    below: bool = False,
) -> None:  # fmt: skip
    """The bar of `shown`, a heat map or points, beside the panels that have its colours, or below them.

    label: what the colours say, with its unit in brackets. share: the most of the panels' width that it takes;
    aspect: its height over its width.
    """
    figure = panels[0].get_figure(root=True)
    assert figure is not None
    gap = 0.02 if figure.get_layout_engine() else 0.03  # nothing else keeps it apart without an engine
    side = "bottom" if below else "right"
    bar = figure.colorbar(shown, ax=panels, fraction=share, pad=gap, aspect=aspect, location=side)
    inches = figure.get_figwidth() if below else figure.get_figheight()
    bar.set_label(labels.wrapped(label, 0.9 * inches))
    if isinstance(shown.norm, SymLogNorm):
        ticks = _powers(shown.norm)
        bar.set_ticks(ticks, labels=[f"{tick:g}".replace("-", "−") for tick in ticks], minor=False)
        bar.ax.minorticks_off()
    else:
        bar.locator = MaxNLocator(5)
        bar.update_ticks()
    bar.outline.set_visible(False)


def severity_colour(severity: int) -> str:
    """From light, severity 1 (or none), to dark, severity 5."""
    return to_hex(mpl.colormaps["Blues"](0.35 + 0.13 * min(max(severity - 1, 0), 5)))


def layer_colours() -> Colormap:
    """From the first layer, dark, to the last; without the yellow end, which is not seen on white."""
    return ListedColormap(mpl.colormaps[SEQUENTIAL](np.linspace(0, 0.85, 256)))


def _powers(norm: SymLogNorm) -> list[float]:
    """0 and the powers of ten, every second or third where they are many, on both sides."""
    most, least = float(norm.vmax or 1), float(norm.linthresh)
    first, last = math.ceil(math.log10(least)), math.floor(math.log10(most))
    powers = [10.0**power for power in range(last, first - 1, -max(1, -(-(last - first + 1) // 3)))] or [least]
    return [*(-power for power in powers), 0.0, *reversed(powers)]


def mark(figure: Figure, words: str) -> None:
    """A warning about the whole figure, before its headline."""
    told = figure.get_suptitle()
    text = labels.wrapped(f"{words}: {told}" if told else words, 0.97 * figure.get_figwidth())
    figure.suptitle(text, x=0.01, ha="left", color=COLOURS[1], weight="bold")


def short(name: str) -> str:
    """A model's name as a label: the file's stem."""
    return name.rsplit("/", 1)[-1].removesuffix(".safetensors")


def apart(x: np.ndarray, y: np.ndarray, wanted: np.ndarray) -> list[int]:
    """Of `wanted`, in order, those whose points are not too near one already taken."""
    spread = np.array([np.ptp(x) or 1.0, np.ptp(y) or 1.0])
    points = np.stack([x, y], axis=1) / spread
    taken: list[int] = []
    for index in wanted.tolist():
        if all((np.abs(points[index] - points[other]) > NAME_GAP).any() for other in taken):
            taken.append(index)
    return taken
