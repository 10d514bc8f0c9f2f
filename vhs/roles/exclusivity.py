"""From the probes table to the exclusivity table: which heads hold the robust attribute, which the spurious one.

As DiverseViT counts heads (Nicolicioiu et al. 2023, arXiv:2308.16274), with baselines and false discovery rates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl

from vhs.errors import MismatchError, UsageError, choices
from vhs.formats import schemas
from vhs.formats.tables import frame

KEYS = ["model", "model_id", "step", "seed", "data", "shift", "category", "corruption", "severity"]
PLACE = ("model_id", "data", "shift", "corruption", "severity", "layer", "head")
USUAL = ("robust", "spurious")
LEVEL = 0.05


def exclusive(
    probes: pl.DataFrame, pair: Sequence[str] = (), ablation: pl.DataFrame | None = None
) -> pl.DataFrame:  # fmt: skip
    """The exclusivity table. pair: the names of the robust and the spurious attribute; ablation: what removing each
    head costs under the same condition and on clean images. Raises UsageError for what the table has not."""
    held = probes["attribute"].unique(maintain_order=True).to_list()
    names = tuple(pair) or USUAL
    if len(names) != 2 or names[0] == names[1]:
        raise UsageError(f"--attributes {','.join(names)}: expected two, the robust one first.")
    missing = next((name for name in names if name not in held), None)
    if missing is not None:
        raise UsageError(
            f"--summary exclusivity: the table has no attribute {missing}, it has {choices(held)}. Name two with "
            f"--attributes ROBUST,SPURIOUS."
        )
    parts = probes.group_by([*KEYS, "layer", "head", "source"], maintain_order=True)
    effects = _effects(ablation)
    rows = [row for _, part in parts for row in _rows(part, names)]
    if ablation is not None and not any(_costs(row, effects) for row in rows):
        raise MismatchError(
            "--summary exclusivity: the ablation has no head of these models under the same condition of the same "
            "data. Name the data and the shift alike in both: --data dominoes/aligned --shift dominoes/randomised."
        )
    return frame(schemas.EXCLUSIVITY, [row | _costs(row, effects) for row in rows])


def _costs(row: dict[str, Any], effects: dict[tuple, dict[str, float]]) -> dict[str, float]:
    """What removing the head costs under the row's condition, and on clean images."""
    clean = effects.get((row["model_id"], row["data"], "clean", None, 0, row["layer"], row["head"]), {})
    own = effects.get(tuple(row[name] for name in PLACE), {})
    return own | {f"{name}_clean": value for name, value in clean.items()}


def _effects(ablation: pl.DataFrame | None) -> dict[tuple, dict[str, float]]:
    """(model, condition, head) -> accuracy lost without it, of the first fill."""
    if ablation is None:
        return {}
    rows = ablation.filter(
        (pl.col("unit") == "head") & (pl.col("group") == "all") & (pl.col("fill") == ablation["fill"][0])
    )
    columns = {"effect": "drop", "effect_lo": "drop_lo", "effect_hi": "drop_hi"}
    return {
        tuple(row[name] for name in PLACE): {name: row[column] for name, column in columns.items()}
        for row in rows.iter_rows(named=True)
    }


def _rows(part: pl.DataFrame, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    found = [part.filter(pl.col("attribute") == name).rows(named=True) for name in names]
    if not all(found):
        return
    robust, spurious = (rows[0] for rows in found)
    holds = [row["q"] < LEVEL for row in (robust, spurious)]
    kind = {(True, True): "both", (True, False): "robust", (False, True): "spurious"}.get(tuple(holds), "neither")
    levels = [_from_chance(row) for row in (robust, spurious)]
    value = levels[0][0] - levels[1][0]
    half = float(np.hypot(levels[0][1], levels[1][1]))  # the two taken as independent
    yield {name: part[name][0] for name in [*KEYS, "layer", "head", "source"]} | {
        "robust": names[0], "spurious": names[1], "exclusivity": value, "exclusivity_lo": value - half,
        "exclusivity_hi": value + half, "kind": kind,
    } | {f"robust_{name}": robust[name] for name in ("excess", "excess_lo", "excess_hi")} | {
        f"spurious_{name}": spurious[name] for name in ("excess", "excess_lo", "excess_hi")
    }  # fmt: skip


def _from_chance(row: dict[str, Any]) -> tuple[float, float]:
    """(accuracy from 0 at chance to 1, half its interval)."""
    chance = 1 / row["values"]
    half = max(row["accuracy_hi"] - row["accuracy"], row["accuracy"] - row["accuracy_lo"]) / (1 - chance)
    return (row["accuracy"] - chance) / (1 - chance), half
