"""A card for one head: its effect under every shift, its label and the measures behind it, what it looks at.

Letters: S samples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import blended_transform_factory

from vhs.errors import InputError, UsageError
from vhs.figures import canvas, effects, head_facts, labels, map_cells, paper, style, words
from vhs.figures.head_facts import Place, Tables
from vhs.figures.map_cells import Wanted
from vhs.formats.map_file import MapFile
from vhs.grid import head_name

IMAGES = 6
MOST_CONDITIONS = 3
EFFECTS = {"ablate": ("drop", "accuracy lost (points)"), "ablate_regression": ("dmse_rel", "squared error added (%)")}


def draw(tables: Tables, maps: Sequence[MapFile], head: Place) -> Figure:
    """The card of a head, from tables of one model by kind and maps of that model; what is not given is left out.

    Raises InputError where nothing is known of the head, UsageError for tables of several models.
    """
    models = {name for table in tables.values() if "model_id" in table.columns for name in table["model_id"].unique()}
    models |= {file.info.model_id for file in maps}
    if len(models) > 1:
        raise UsageError(
            f"--kind card: is of one model; the tables and maps are of {len(models)}. Name one with --model."
        )
    own = {kind: table for kind, table in tables.items() if {"layer", "head"} <= set(table.columns)}
    files = [file for file in maps if head in [place for layer in map_cells.stored(file) for place in layer.places]]
    if not files and not any(len(_of(table, head)) for table in own.values()):
        raise InputError(f"the tables and maps have no head {head_name(*head)}.")
    with style.house_style():
        return _figure(head_facts.known(own, head), _effects(own, head), files[0] if files else None, head)


def _figure(
    facts: head_facts.HeadFacts, panels: list[tuple[str, pl.DataFrame, str]], file: MapFile | None, head: Place
) -> Figure:
    """Effects above, facts below them, maps at the foot."""
    width = paper.width_of(7.2)
    columns = max(1, min(len(panels), int(width / 1.02)))
    rows = -(-len(panels) // columns) if panels else 0
    told = [labels.wrapped(f"{name}: {said}", width * 0.95) for name, said in facts.facts]
    lines = sum(text.count("\n") + 1 for text in told)
    line = 1.35 * paper.small() / 72
    sheet = _maps(file, head) if file is not None else None
    tall = sheet.shape[0] / sheet.shape[1] * (width - 0.9) if sheet is not None else 0.0
    heights = [
        max(1.05 * rows, 1.7) + 0.35 if rows else 0.0,
        lines * line + 0.15 * bool(lines),
        tall + 0.35 * bool(tall),
    ]
    figure = style.new(width, sum(heights) + 0.7)
    parts = figure.add_gridspec(3, 1, height_ratios=[max(height, 0.01) for height in heights])
    if panels:
        grid = parts[0].subgridspec(rows, columns)
        _draw_effects(figure, [figure.add_subplot(grid[i // columns, i % columns]) for i in range(len(panels))], panels)
    if told:
        axes = figure.add_subplot(parts[1])
        axes.axis("off")
        left = blended_transform_factory(figure.transFigure, axes.transAxes)
        axes.text(0.015, 1, "\n".join(told), va="top", fontsize=paper.small(), transform=left, linespacing=1.3)
    if sheet is not None and file is not None:
        _draw_maps(figure.add_subplot(parts[2]), sheet, file)
    labels.headline(figure, facts.sentence)
    return figure


def _of(table: pl.DataFrame, head: Place) -> pl.DataFrame:
    return table.filter((pl.col("layer") == head[0]) & (pl.col("head") == head[1]))


def _effects(tables: Tables, head: Place) -> list[tuple[str, pl.DataFrame, str]]:
    """(name, rows by severity with clean first, label) of each corruption and shift set."""
    kind = next((kind for kind in EFFECTS if kind in tables), None)
    if kind is None:
        return []
    column, label = EFFECTS[kind]
    label += f"\nfill {tables[kind]['fill'][0]}" if tables[kind]["fill"].n_unique() > 1 else ""
    rows = tables[kind].filter((pl.col("unit") == "head") & (pl.col("group") == "all"))
    rows = _of(rows.filter((pl.col("fill") == rows["fill"][0]) & (pl.col("target") == rows["target"][0])), head)
    shown = rows.select(*effects.CONDITION, "q", value=pl.col(column) * 100, lo=pl.col(f"{column}_lo") * 100,
                        hi=pl.col(f"{column}_hi") * 100, name=pl.coalesce("corruption", "shift"))  # fmt: skip
    clean = shown.filter(pl.col("shift") == "clean")
    shifted = shown.filter(pl.col("shift") != "clean").group_by("name", maintain_order=True)
    parts = [(words.plain(str(name)), pl.concat([clean, part]).sort("severity"), label) for (name,), part in shifted]
    return parts or ([("clean", clean, label)] if len(clean) else [])


def _draw_effects(figure: Figure, places: list[Axes], panels: list[tuple[str, pl.DataFrame, str]]) -> None:
    low = min(float(rows["lo"].to_numpy().min()) for _, rows, _ in panels)
    high = max(float(rows["hi"].to_numpy().max()) for _, rows, _ in panels)
    for axes, (name, rows, _) in zip(places, panels, strict=True):
        x = np.arange(len(rows)) if rows["severity"].n_unique() < len(rows) else rows["severity"].to_numpy()
        value, lo, hi = (rows[column].to_numpy() for column in ("value", "lo", "hi"))
        axes.axhline(0, color="0.6", lw=0.6)
        axes.fill_between(x, lo, hi, color=style.COLOURS[0], alpha=0.2, lw=0)
        axes.plot(x, value, "-", color=style.COLOURS[0], lw=1.1)
        marked = (rows["q"].fill_null(1.0) < effects.ALPHA).to_numpy()
        for chosen, face in ((marked, style.COLOURS[0]), (~marked, "white")):
            axes.plot(x[chosen], value[chosen], "o", ms=3, mec=style.COLOURS[0], mfc=face, mew=0.7)
        axes.set_ylim(low, high)
        axes.set_title(name, fontsize=paper.tiny(), pad=2)
        axes.tick_params(labelsize=paper.tiny())
        if axes.get_subplotspec().colspan.start:  # type: ignore[union-attr]
            axes.tick_params(labelleft=False)
    labels.label_below(places, "severity")
    figure.supylabel(panels[0][2], fontsize=paper.small(), y=0.7)
    labels.footer(
        figure, [f"filled: q < {effects.ALPHA:g} over the heads of the condition; severity 0: clean; bands: 95 %"]
    )


def _maps(file: MapFile, head: Place) -> np.ndarray:
    """float [height, width, 3]: images across, conditions down, each with what the head looks at."""
    samples = _samples(file, head)
    rows = []
    for condition in range(min(MOST_CONDITIONS, len(file.info.conditions))):
        every, images = list(map_cells.maps(file, condition, head, Wanted())), map_cells.images(file, condition)
        cells = [canvas.overlaid(images[s], every[s], float(every[s].max())) for s in samples]
        gap = np.ones((cells[0].shape[0], canvas.GAP, 3))
        rows.append(np.concatenate([part for cell in cells for part in (cell, gap)][:-1], axis=1))
    gap = np.ones((canvas.GAP, rows[0].shape[1], 3))
    return np.concatenate([part for row in rows for part in (row, gap)][:-1])


def _samples(file: MapFile, head: Place) -> list[int]:
    """The images that drive the head most, where the file ranks them; else its first ones."""
    ranked = file.info.top.get(head_name(*head))
    every = [int(sample) for sample, _ in ranked["most"]] if ranked else list(range(len(file.info.samples)))
    return every[:IMAGES]


def _draw_maps(axes: Axes, sheet: np.ndarray, file: MapFile) -> None:
    axes.imshow(np.clip(sheet, 0, 1), interpolation="nearest", aspect="equal")
    count = min(MOST_CONDITIONS, len(file.info.conditions))
    step = sheet.shape[0] / count
    names = [labels.wrapped(words.named(file.info.conditions[index]), 0.7) for index in range(count)]
    axes.set_yticks([step * (index + 0.5) for index in range(count)], names, fontsize=paper.tiny())
    axes.set_xticks([])
    style.bare(axes)
    ranked = "the images that drive it most" if file.info.top else "images"
    told = f"what it looks at: {ranked}. {map_cells.looker(file, Wanted())}"
    axes.set_title(labels.wrapped(told, 0.75 * paper.width_of(7.2)), fontsize=paper.small())
