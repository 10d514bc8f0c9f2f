"""The table behind a figure, for a paper: LaTeX (booktabs) or Markdown.

What is drawn is what stands here: heads for heat maps, conditions for curves; of other tables every row, without the
columns that are the same all through, which are told above.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import polars as pl

from vhs.errors import UsageError
from vhs.figures import effects, paper, seeds, words
from vhs.figures.effects import METRICS
from vhs.figures.style import short
from vhs.formats.schemas import SCHEMAS
from vhs.grid import head_name

FORMATS = ("tex", "md")
SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "−": "$-$", "²": "$^2$", "√": r"$\surd$", "±": r"$\pm$",
    "<": "$<$", ">": "$>$",
}  # fmt: skip
UNTOLD = ("model_id", "origin", "step", "fill_data", "rescale", "precision", "preprocess", "size", "module")


class Behind(NamedTuple):
    """caption: what is the same all through; names of columns; rows of words."""

    caption: str
    columns: list[str]
    rows: list[list[str]]


def render(
    name: str, table: pl.DataFrame, kind: str | None, metric: str | None, form: str, folds: pl.DataFrame | None = None
) -> str:
    """The table behind a figure of a table called `name`, as text that ends in a line break.

    kind: of the figure. Raises UsageError for what is of figures only.
    """
    asked = paper.current()
    if asked.panel is not None:
        raise UsageError(f"--panel {asked.panel}: is of figures; the table behind one has no panels.")
    known = TABLES.get(name)
    if known is not None and (kind is None or kind in known[1]):
        made = known[0](table, metric, folds)
    elif asked.group_by is not None:
        raise UsageError(f"--group-by {asked.group_by}: the table behind this figure has no groups.")
    else:
        made = plain(_of_metric(table, metric), name)
    made = made if asked.title is None else made._replace(caption=asked.title)
    return _latex(made) if form == "tex" else _markdown(made)


def _of_metric(table: pl.DataFrame, metric: str | None) -> pl.DataFrame:
    """The rows of a metric or scale, where the table has rows by metric."""
    column = next((name for name in ("metric", "scale") if name in table.columns), None)
    known = column is not None and metric is not None and metric in table[column]
    return table.filter(pl.col(str(column)) == metric) if known else table


def ablation(table: pl.DataFrame, metric: str | None, folds: pl.DataFrame | None) -> Behind:
    """A row a head: its effect on clean images and averaged over shifts, with intervals and q."""
    metric = metric or "drop"
    heads = effects.single_fill(table)
    told, unit, factor = METRICS[metric]
    digits = 1 if factor > 1 else 3
    rows = []
    for (model,), part in heads.group_by("model", maintain_order=True):
        clean, shift = effects.clean(part, metric), effects.over_shifts(part, metric, folds)
        q = {} if clean is None else dict(_clean_q(part, metric))
        for layer, head in part.select("layer", "head").unique().sort("layer", "head").rows():
            cells = [head_name(layer, head)]
            cells += [_bounded(clean, layer, head, digits), _p(q.get((layer, head)))] if clean else []
            cells += [_bounded(shift, layer, head, digits)] if shift else []
            rows.append([short(str(model)), *cells] if heads["model"].n_unique() > 1 else cells)
    first = heads.row(0, named=True)
    columns = [*(["model"] if heads["model"].n_unique() > 1 else []), "head"]
    columns += ["clean", "q"] if (heads["shift"] == "clean").any() else []
    columns += ["under shift"] if (heads["shift"] != "clean").any() else []
    shift = effects.over_shifts(heads.filter(pl.col("model") == first["model"]), metric, folds)
    of = f"; under shift: {shift.title}" if shift else ""
    return Behind(f"{told} ({unit}), 95 % interval in brackets, n = {first['n']:,}{of}", columns, rows)


def evaluation(table: pl.DataFrame, metric: str | None, _folds: pl.DataFrame | None) -> Behind:
    """A row a corruption or shift set, a column a severity; of several models one below the other."""
    metric = metric or "top1"
    scale = 1 if metric == "loss" else 100
    whole = table.filter((pl.col("group") == "all") & (pl.col("label_set") == "all"))
    rows, severities = [], sorted(set(whole["severity"].to_list()))
    lines = seeds.lines(whole, ["shift", "corruption", "severity"], metric, scale)
    for line in lines:
        named = line.rows.with_columns(name=pl.coalesce("corruption", "shift"))
        for (name,), part in named.group_by("name", maintain_order=True):
            at = {row["severity"]: row for row in part.iter_rows(named=True)}
            cells = [
                _interval(at[s]["value"], at[s]["lo"], at[s]["hi"], 3 if metric == "loss" else 1) if s in at else ""
                for s in severities
            ]
            rows.append([*([line.name] if len(lines) > 1 else []), words.plain(str(name)), *cells])
    columns = [
        *(["model"] if len(lines) > 1 else []),
        "condition",
        *("clean" if s == 0 else str(s) for s in severities),
    ]
    unit = "nats" if metric == "loss" else "%"
    return Behind(f"{metric} ({unit}) by severity, 95 % interval in brackets, n = {whole['n'][0]:,}", columns, rows)


def plain(table: pl.DataFrame, kind: str) -> Behind:
    """Every row; bounds go beside their value, in brackets."""
    constant = [name for name in table.columns if table[name].n_unique() == 1]
    kept = [name for name in table.columns if name not in constant and name not in UNTOLD]
    bounds = {name for name in kept for end in ("_lo", "_hi") if name.endswith(end) and name.removesuffix(end) in kept}
    bounds |= {"lo", "hi"} & set(kept)
    value = next((name for name in ("r", "value", "ce", "diff", "excess", "top1") if name in kept), None)
    shown = [name for name in kept if name not in bounds]
    rows = []
    for row in table.iter_rows(named=True):
        cells = []
        for name in shown:
            lo, hi = row.get(f"{name}_lo"), row.get(f"{name}_hi")
            if name == value and {"lo", "hi"} <= bounds:
                lo, hi = row["lo"], row["hi"]
            cells.append(_cell(name, row[name], lo, hi))
        rows.append(cells)
    told = [
        f"{name} {_cell(name, table[name][0], None, None)}"
        for name in constant
        if name not in UNTOLD and table[name][0] is not None
    ]
    return Behind(f"{SCHEMAS[kind].row}; {', '.join(told)}", [words.plain(name) for name in shown], rows)


def _clean_q(part: pl.DataFrame, metric: str) -> list[tuple[tuple[int, int], float | None]]:
    rows = effects.with_q(part.filter(pl.col("shift") == "clean"), metric)
    return [((layer, head), q) for layer, head, q in rows.select("layer", "head", "q").iter_rows()]


def _bounded(effect: effects.Effects, layer: int, head: int, digits: int) -> str:
    lo, hi = (float(x[layer, head]) if effect.bounded else None for x in (effect.low_LH, effect.high_LH))
    return _interval(float(effect.value_LH[layer, head]), lo, hi, digits)


def _interval(value: float | None, lo: float | None, hi: float | None, digits: int) -> str:
    if value is None:
        return ""
    bounds = "" if lo is None or hi is None else f" [{lo:.{digits}f}, {hi:.{digits}f}]"
    return f"{value:.{digits}f}{bounds}".replace("-", "−")


def _cell(name: str, value: object, lo: float | None, hi: float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, float):
        return words.named(value) if name in ("a", "b") and isinstance(value, str) else str(value)
    if name in ("p", "q") or name.startswith(("p_", "q_")):
        return _p(value)
    bounds = "" if lo is None or hi is None else f" [{lo:.3g}, {hi:.3g}]"
    return f"{value:.3g}{bounds}".replace("-", "−")


def _p(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}"


def _markdown(made: Behind) -> str:
    return "\n".join([made.caption, "", *markdown(made.columns, made.rows)]) + "\n"


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table."""

    def line(cells: Sequence[str]) -> str:
        plain = (" ".join(cell.split()) for cell in cells)
        return "| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in plain) + " |"

    return [line(columns), "|" + "---|" * len(columns), *(line(row) for row in rows)]


def _latex(made: Behind) -> str:
    body = [" & ".join(map(tex, row)) + r" \\" for row in made.rows]
    head = [r"\begin{table}", r"\centering", rf"\caption{{{tex(made.caption)}}}"]
    names = " & ".join(map(tex, made.columns)) + r" \\"
    head += [rf"\begin{{tabular}}{{{'l' * len(made.columns)}}}", r"\toprule", names]
    return "\n".join([*head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}", r"\end{table}"]) + "\n"


def tex(text: str) -> str:
    """Words as LaTeX has them, on one line."""
    return "".join(SPECIAL.get(letter, letter) for letter in " ".join(text.split()))


TABLES: dict[str, tuple[Callable[[pl.DataFrame, str | None, pl.DataFrame | None], Behind], tuple[str, ...]]] = {
    "ablate": (ablation, ("heads", "scatter")),
    "evalshift": (evaluation, ("severity",)),
}
"""Kinds of table of which figures draw something else than their rows: which table is behind which of their figures."""
