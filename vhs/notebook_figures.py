"""Figures, cards, reports and the tables behind figures, as functions: a part of `vhs.notebook`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from matplotlib.figure import Figure

from vhs import accepted
from vhs.accepted import Ablated, Shifted, Specialized
from vhs.console import spoken
from vhs.errors import UsageError
from vhs.figures import behind as texts
from vhs.figures import card, gallery, map_cells, paper, selection, style
from vhs.formats import map_file, tables
from vhs.formats.atomic import check_outputs, write_whole
from vhs.formats.map_file import MapFile
from vhs.notebook_maps import Heads, drawn
from vhs.options import is_pictured
from vhs.progress import unheard
from vhs.reports import filled, model_card, named_tables, opening, page
from vhs.viewing import contact


def plot(
    *sources: Any, kind: str | None = None, metric: str | None = None, model: str | None = None,
    fill: str | None = None, class_name: str | None = None, head: Heads = (), layer: int | None = None,
    query: tuple[int, int] | None = None, weighting: str = "attention", width: str | float | None = None,
    font_size: float | None = None, panel: str | None = None, title: str | None = None, group_by: str | None = None,
    shift: str | Sequence[str] = (),
) -> Figure:  # fmt: skip
    """The figure of tables of one kind, of maps, of an image or of shard sets, as `vhs plot`; with `kind="card"` and
    `head` of tables of several kinds and maps.

    class_name: of shard sets; head, layer, query (row and column of a patch), weighting: of maps. width: "column",
    "page" or inches; font_size: points; panel: the name of one; title: "" for none; group_by: a regular expression.
    shift: of an image, under which corruptions.
    """
    with spoken(), paper.drawn_for(paper.parse(width, font_size, panel, title, group_by)):
        if kind == "card":
            figure = _card(sources, head, model)
        else:
            maps_figure = drawn(sources, kind, head, layer, query, weighting)
            if maps_figure is not None:
                figure = maps_figure
            elif any(isinstance(source, (str, Path)) and is_pictured(str(source)) for source in sources):
                shifts = [shift] if isinstance(shift, str) else list(shift)
                figure = contact.figure([str(source) for source in sources], class_name, kind, shifts)
            else:
                name, rows, part, folds = _rows(sources, model, fill)
                figure = gallery.draw(name, rows, kind, metric, folds)
                if part:
                    style.mark(figure, tables.PART)
    figure._repr_png_ = lambda: style.render(figure, "png")  # type: ignore[attr-defined]  # how a notebook shows it
    return figure


def behind(
    *sources: Any, form: str = "md", kind: str | None = None, metric: str | None = None, model: str | None = None,
    fill: str | None = None, group_by: str | None = None, title: str | None = None,
) -> str:  # fmt: skip
    """The table behind the figure of tables of one kind, as LaTeX (`tex`) or Markdown (`md`): `vhs plot --format`."""
    with spoken(), paper.drawn_for(paper.parse(title=title, group_by=group_by)):
        if form not in texts.FORMATS:
            raise UsageError(f"form is {form!r}; expected tex or md.")
        name, rows, _, folds = _rows(sources, model, fill)
        return texts.render(name, rows, kind, metric, form, folds)


def report(
    *sources: Any, out: str | Path | None = None, card: str | Path | None = None, title: str | None = None,
    template: str | Path | None = None, define: Mapping[str, Any] | None = None,
) -> str:  # fmt: skip
    """The page of tables of any kinds, maps and a checkpoint, as `vhs report`: its HTML, written to `out` if named.

    sources: frames, files, or what the other functions gave. card: where a model card goes too. template: the text of
    the page, into which the tables go instead; frames have names then, {"arms": frame}; define: values that it has
    by name.
    """
    with spoken():
        if template is not None:
            filled.check_alone(card, title)
            defined = filled.definitions([f"{name}={value}" for name, value in (define or {}).items()])
            return _filled((Path(template), defined), sources, accepted.path(out))
        if define:
            raise UsageError("--define: is of --template, which is not given.")
        things = [thing for source in sources for thing in _things(source)]
        named = opening.open_named(things, accepted.table, unheard)
        paths = [thing for thing in things if isinstance(thing, str)]
        check_outputs([accepted.path(out), accepted.path(card)], paths)
        command = "vhs.report(…)"
        if card is not None:
            write_whole(Path(card), model_card.render(named, command))
        made = page.render(named, title, command)
        if out is not None:
            write_whole(Path(out), made)
        return made.decode()


def _filled(page: tuple[Path, dict[str, str]], sources: Sequence[Any], out: Path | None) -> str:
    template, defined = page
    tables = named_tables.named([pair for source in sources for pair in _pairs(source)])
    files = [source for source in tables.values() if isinstance(source, str)]
    check_outputs([out], [str(template), *files])
    made = filled.render(template, named_tables.NamedTables(tables, accepted.table, unheard), defined)
    if out is not None:
        write_whole(out, made)
    return made.decode()


def _pairs(source: Any) -> list[Any]:
    """Files, and tables with their names. Raises UsageError for a table without one."""
    if isinstance(source, Mapping):
        return [pair for name, given in source.items() for pair in _parts(str(name), given)]
    if not isinstance(source, str | Path):
        raise UsageError("a table has no name for the template. Give it one, such as {'heads': table}.")
    return [str(source)]


def _parts(name: str, given: Any) -> list[tuple[str, Any]]:
    """A table by its name, and what came with it by names that begin so: heads, heads.folds."""
    beside = list(given._asdict().items())[1:] if isinstance(given, Ablated | Shifted | Specialized) else []
    return [(name, accepted.source(given)), *((f"{name}.{part}", rows) for part, rows in beside if len(rows))]


def _things(source: Any) -> list[Any]:
    """What a source stands for: of what a function gave, all of its tables."""
    if isinstance(source, tuple) and hasattr(source, "_fields"):
        return [part for part in source if isinstance(part, pl.DataFrame) and len(part)]
    return [str(source) if isinstance(source, Path) else source]


def _rows(
    sources: Sequence[Any], model: str | None, fill: str | None
) -> tuple[str, pl.DataFrame, bool, pl.DataFrame | None]:
    """(kind, rows, whether one is only a part, the folds beside them)."""
    found = [accepted.table(accepted.source(source)) for source in sources]
    names = [str(source) if isinstance(source, (str, Path)) else "the table" for source in sources]
    name, rows, part = selection.select_rows(found, names, model, fill)
    if all(isinstance(source, Ablated) for source in sources):
        return name, rows, part, pl.concat(source.folds for source in sources)
    files = all(isinstance(source, (str, Path)) for source in sources)
    return name, rows, part, selection.folds_beside(name, names, accepted.table, unheard) if files else None


def _card(sources: Sequence[Any], head: Heads, model: str | None) -> Figure:
    listed = [head] if isinstance(head, (str, pl.DataFrame)) else list(head)
    if len(listed) != 1:
        raise UsageError("a card is of one head. Name it, head='L3H1'.")
    named = listed[0] if isinstance(listed[0], str) else selection.strongest_head(tables.of_frame(listed[0]))
    every = [thing for source in sources for thing in _things(source)]
    are_maps = [isinstance(thing, MapFile) or str(thing).endswith(".safetensors") for thing in every]
    maps = [thing if isinstance(thing, MapFile) else map_file.read(Path(thing))
            for thing, is_map in zip(every, are_maps, strict=True) if is_map]  # fmt: skip
    found = [accepted.table(thing) for thing, is_map in zip(every, are_maps, strict=True) if not is_map]
    by_kind = selection.by_kind(found, ["the table"] * len(found), model)
    return card.draw(by_kind, maps, map_cells.parse([named], None, None, "attention").heads[0])
