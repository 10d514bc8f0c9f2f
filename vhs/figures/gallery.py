"""Which figures each table can become."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
from matplotlib.figure import Figure

from vhs.errors import InputError, UsageError, choices
from vhs.figures import (
    agreement,
    arms,
    calibration,
    conditions,
    curves,
    estimated,
    findings,
    groups,
    heads,
    heatmap,
    kinds,
    learning,
    looks,
    matches,
    mce,
    metrics,
    models,
    paper,
    probes,
    pruning,
    regression,
    restored,
    roles,
    rollup,
    routing,
    shifts,
    style,
    trajectory,
)

SCALES = ("accuracy", "lost_rate", "loss", "log_odds", "relative_error", "error")
BY_LOSS = ("loss", *(name for name in SCALES if name != "loss"))
Draw = Callable[..., Figure]

ANY: tuple[str, ...] = ()
"""Metrics that the table itself names."""

FIGURES: dict[str, dict[str, tuple[Draw, tuple[str, ...]]]] = {
    "ablate": {
        "heads": (heatmap.overview, ("drop", "dloss")),
        "scatter": (heatmap.clean_against_shift, ("drop", "dloss")),
        "conditions": (conditions.blocks, ("drop", "dloss")),
        "trajectory": (trajectory.lines, ("drop", "dloss")),
        "restored": (restored.bars, ("drop",)),
    },
    "evalshift": {
        "severity": (curves.severity, ("top1", "loss", "top5", "ece")),
        "groups": (groups.by_group, ("top1", "loss")),
        "shifts": (groups.shift_sets, ("top1", "loss")),
    },
    "calibration": {"reliability": (calibration.reliability, ("accuracy",))},
    "prune": {"curve": (pruning.curves, tuple(pruning.METRICS))},
    "ablate_regression": {"heads": (regression.heat_maps, ("dmse_rel", "dmse"))},
    "estimated": {"scatter": (estimated.scatter, ("dloss",))},
    "mce": {"mce": (mce.bars, ("ce", "error"))},
    "heads": {
        "layers": (heads.by_layer, ("all", *heads.TITLES)),
        "features": (looks.features, ("attention", "value")),
        "regions": (looks.regions, ("attention", "value")),
        "plane": (looks.plane, ("attention",)),
    },
    "pairs": {"matrix": (heads.divergence, tuple(heads.LABELS))},
    "kinds": {"kinds": (kinds.by_layer, ("effect",))},
    "train_regression": {"training": (learning.regression, ("r2",))},
    "train": {"training": (learning.classification, ("top1",))},
    "compare": {"correlation": (agreement.correlations, ("all", *SCALES))},
    "rollup": {"rollup": (rollup.heat_maps, SCALES)},
    "redundancy": {"redundancy": (rollup.redundancy, ("accuracy",))},
    "shifts": {
        "corruptions": (shifts.by_corruption, BY_LOSS),
        "categories": (shifts.by_category, BY_LOSS),
    },
    "roles": {"roles": (roles.grid, ("role",))},
    "matches": {"matches": (matches.by_head, ("similarity",))},
    "metrics": {"metrics": (metrics.by_condition, BY_LOSS)},
    "trajectory": {"trajectory": (trajectory.summary, BY_LOSS)},
    "effective": {"effective": (models.effective, ("effective",))},
    "arms": {"arms": (arms.rows, ANY), "layers": (arms.layers, ANY)},
    "models": {"answers": (models.answers, ("value",))},
    "probes": {"heads": (probes.accuracies, ("output", "direct"))},
    "exclusivity": {"heads": (probes.exclusivity, ("direct", "output"))},
    "routing": {"parts": (routing.split, SCALES)},
    "contrast": {"contrast": (agreement.contrasts, SCALES)},
}
"""table -> kind of figure -> (function, metrics it can draw); the first of each is the default."""


WITH_FOLDS: tuple[Draw, ...] = (heatmap.overview, heatmap.clean_against_shift)
"""Those that take the folds beside a table."""


def draw(
    name: str, table: pl.DataFrame, kind: str | None, metric: str | None, folds: pl.DataFrame | None = None
) -> Figure:
    """The figure of a table, on the page of figures/paper. Raises UsageError listing the kinds and metrics there are.

    folds: the folds table of the same ablation, where there is one.
    """
    if name not in FIGURES:
        raise UsageError(f"tables of kind {name} are not drawn; {choices(FIGURES)} are.")
    kinds = FIGURES[name]
    if kind is not None and kind not in kinds:
        raise UsageError(f"--kind {kind}: {_a(name)} {name} table can be drawn as {choices(kinds)}.")
    function, drawn = kinds[kind or next(iter(kinds))]
    if metric is not None and drawn and metric not in drawn:
        raise UsageError(f"--metric {metric}: this figure draws {choices(drawn)}.")
    try:
        with style.house_style():
            chosen = metric or (_usual(drawn, table) if drawn else None)
            figure = function(table, chosen, folds) if function in WITH_FOLDS else function(table, chosen)
            _check_asked()
            return figure
    except findings.MISFITS as error:
        raise InputError(
            f"the {name} table cannot be drawn: its rows do not fit together ({error}). Was it edited?"
        ) from error


def _check_asked() -> None:
    """Raises UsageError where a panel was asked for of a figure that has one only, or groups of one that has none."""
    asked = paper.current()
    if asked.panel is not None and not asked.seen:
        raise UsageError(f"--panel {asked.panel}: this figure has one panel. Leave it out.")
    if asked.group_by is not None and not asked.grouped:
        raise UsageError(f"--group-by {asked.group_by}: severity curves and training logs have groups; this has none.")


def _usual(names: tuple[str, ...], table: pl.DataFrame) -> str:
    """The first of the metrics; of scales, the first that the table has."""
    column = next((name for name in ("scale", "metric") if name in table.columns), None)
    if column is None or names[0] not in SCALES:
        return names[0]
    held = table[column].unique().to_list()
    return next((name for name in names if name in held), names[0])


def unusual(name: str, kind: str | None, metric: str | None) -> list[str]:
    """Which of the kind and metric asked for are not what a table is drawn as by default."""
    kinds = FIGURES.get(name, {})
    first = next(iter(kinds), None)
    metrics = kinds[kind or first][1] if first and (kind or first) in kinds else ()
    found = [kind if kind != first else None, metric if metric not in metrics[:1] else None]
    return [word for word in found if word is not None]


def _a(name: str) -> str:
    return "an" if name[0] in "aeiou" else "a"
