"""One page that needs nothing else: no network, no library, no server."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib import resources
from typing import Any

import polars as pl

from vhs import __version__
from vhs.figures import style
from vhs.formats.schemas import SCHEMAS
from vhs.reports import arrays, contents, looks, sweeps
from vhs.reports.opening import SCORED, TALLIES, Named

SCRIPTS = (
    "numbers", "scores", "data", "dom", "colours", "charts", "tables", "state", "controls", "heads", "shifts", "card",
    "maps", "measures", "main",
)  # fmt: skip
"""Files of reports/page, in order."""
MOST_ROWS = 60_000
"""Of a table that the page holds whole."""


def render(named: Named, title: str | None, command: str) -> bytes:
    """The page as HTML. Equal tables give equal bytes."""
    tables, left_out = _tables(named)
    places = {table["kind"]: index for index, table in enumerate(tables)}
    pictures = list(contents.pictures(named, places))
    runs = _runs(named)
    maps = [item for file in named.maps if (item := looks.looks(file, _strongest(named)))]
    block = arrays.packed({
        "runs": runs, "tables": tables, "maps": maps, "cards": contents.cards(named), "chance": _chance(named, runs),
        "figures": [{"place": p.place, "svg": p.svg, "words": p.words, "table": p.table} for p in pictures],
    })  # fmt: skip
    script, css = script_text(), page_file("page.css")
    from jinja2 import Environment

    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(page_file("page.html"))
    return template.render(
        title=title or _title(named), version=__version__, command=command, says=contents.sentences(named),
        picture=contents.main_picture(named), heads=contents.head_rows(named), accuracy=contents.accuracy_rows(named),
        pictures=pictures, sources=named.sources, left_out=left_out, data=block, script=script, css=css,
        script_hash=_csp_hash(script), css_hash=_csp_hash(css), has_runs=bool(runs), has_maps=bool(maps),
        has_accuracy="evalshift" in named.tables or any(run["target"] == "class" for run in runs),
        has_measures="heads" in named.tables, has_shift=any(len(run["conditions"]) > 1 for run in runs),
        has_outcomes=any("bits" in run for run in runs), has_classes=any(run["target"] == "class" for run in runs),
    ).encode()  # fmt: skip


@cache
def script_text() -> str:
    """All scripts as one, without indentation, lines of comment, and blanks where no string can be."""
    lines = [line.strip() for name in SCRIPTS for line in page_file(f"{name}.js").splitlines()]
    return "\n".join(_tight(line) for line in lines if line and not line.startswith("//"))


def _tight(line: str) -> str:
    """A line without the blanks around signs outside of strings; as it is where it holds templates or patterns."""
    if "`" in line or "/" in line:
        return line
    parts = re.split('("[^"]*")', line)
    parts[::2] = [re.sub(r" *([{}(),;:=?&|*<>]) *|(?<![+-]) ([+-]) (?![+-])", r"\1\2", part) for part in parts[::2]]
    return "".join(parts)


def page_file(name: str) -> str:
    return resources.files("vhs.reports").joinpath("page", name).read_text(encoding="utf-8")


def _csp_hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _runs(named: Named) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for kind, folds in zip(SCORED, TALLIES, strict=False):
        if kind in named.tables:
            outcomes = named.outcomes if kind == "ablate" else []
            found += sweeps.sweeps(named.tables[kind], named.tables.get(folds), outcomes)
    return found


def _tables(named: Named) -> tuple[list[dict[str, Any]], list[str]]:
    """The tables that the page holds, and in words what of them it does not."""
    tables, left_out = [], []
    for kind, table in named.tables.items():
        if kind in TALLIES:
            continue
        files = [source.name for source in named.sources if source.kind == kind]
        if len(table) > MOST_ROWS:
            clean = table.filter(pl.col("shift") == "clean") if "shift" in table.columns else table
            kept = clean.head(MOST_ROWS)
            of = "its rows of clean images" if len(clean) <= MOST_ROWS else f"{MOST_ROWS:,} rows"
            left_out.append(f"Of the {kind} table's {len(table):,} rows the page holds {of}.")
            table = kept
        name = files[0].rsplit("/", 1)[-1] if len(files) == 1 else kind
        meanings = {
            column.name: f"{column.meaning}{f' ({column.unit})' if column.unit else ''}"
            for column in SCHEMAS[kind].columns
        }
        tables.append({
            "kind": kind, "title": name, "file": name.rsplit(".", 1)[0], "rows": len(table), "meanings": meanings,
            "columns": arrays.columns(table),
        })  # fmt: skip
    return tables, left_out


def _strongest(named: Named) -> list[str]:
    """Heads by the largest effect anywhere, for what there is not room for all of."""
    table = named.tables.get("ablate")
    if table is None:
        return []
    heads = table.filter(pl.col("unit") == "head").group_by("heads").agg(most=pl.col("drop").abs().max())
    return heads.sort("most", "heads", descending=[True, False])["heads"].to_list()


def _chance(named: Named, runs: list[dict[str, Any]]) -> dict[str, float]:
    """By model the share that guessing answers right, where it is known how many answers there are."""
    found = {run["model_id"]: 1 / len(run["samples"]["classes"]) for run in runs if "samples" in run}
    table = named.tables.get("evalshift")
    if table is not None and "n_classes" in table.columns:
        known = table.filter((pl.col("label_set") == "all") & pl.col("n_classes").is_not_null())
        found |= {model: 1 / count for model, count in known.select("model_id", "n_classes").unique().iter_rows()}
    return dict(sorted(found.items()))


def _title(named: Named) -> str:
    names = [style.short(name) for _, name in named.models_of()]
    whose = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"Attention heads of {whose or 'a vision transformer'}"
