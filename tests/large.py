"""Tables of a large ablation whose outcomes are drawn: for sizes and times, not for what they say."""

from __future__ import annotations

import numpy as np
import polars as pl

from vhs.formats import schemas
from vhs.grid import head_name
from vhs.measures import intervals
from vhs.seeds import folds, sample_keys
from vhs.shifts.names import IMAGENET_C

FLIPS = 0.02
"""Share of answers that change without a head."""


def ablation(layers: int, heads: int, conditions: int, samples: int) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """(ablate, folds and outcomes table) of one model, clean and under the first conditions of ImageNet-C."""
    drawn = np.random.default_rng(0)
    corruptions = [
        (category, name, level) for category, names in IMAGENET_C.items() for name in names for level in range(1, 6)
    ]
    keys = [("clean", None, None, 0)] + [("imagenet-c", *key) for key in corruptions[: conditions - 1]]
    ids = [f"val/{index:06d}" for index in range(samples)]
    fold = folds(sample_keys(ids))
    places = [(layer, head) for layer in range(layers) for head in range(heads)]
    made = [_condition(drawn, key, places, ids, fold) for key in keys]
    return tuple(pl.concat(part) for part in zip(*made, strict=True))  # type: ignore[return-value]


def _condition(drawn, key, places, ids, fold):  # type: ignore[no-untyped-def]
    width, count = len(places), len(ids)
    intact = drawn.random(count) < 0.8
    right = intact[:, None] ^ (drawn.random((count, width)) < FLIPS * drawn.random(width))
    dloss = drawn.normal(0.01, 0.1, (count, width))
    shift, category, corruption, severity = key
    measured = {
        "model": "large.safetensors", "model_id": "0123456789ab", "step": 1, "seed": 0, "data": "large/val", "shift": shift,
        "category": category, "corruption": corruption, "severity": severity, "origin": "generated", "group": "all", "label_set": "all",
    }  # fmt: skip
    unit = measured | {
        "unit": "head",
        "module": "attn",
        "fill": "zero",
        "method": "exact",
        "rescale": "none",
        "precision": "float32",
        "target": "class",
    }
    by_fold = [fold == index for index in range(20)]
    lost, gained = intact[:, None] & ~right, ~intact[:, None] & right
    tallies = {
        "layer": np.repeat([p[0] for p in places], 20), "head": np.repeat([p[1] for p in places], 20), "fold": np.tile(np.arange(20), width),
        "n": np.tile([int(m.sum()) for m in by_fold], width), "n_correct_intact": np.tile([int(intact[m].sum()) for m in by_fold], width),
        "n_correct": _summed(right, by_fold), "n_lost": _summed(lost, by_fold), "n_gained": _summed(gained, by_fold),
        "dloss_sum": _summed(np.rint(dloss * 2**24).astype(np.int64), by_fold), "dloss_sq_sum": _summed(np.rint(dloss**2 * 2**24).astype(np.int64), by_fold),
    }  # fmt: skip
    folded = _frame(schemas.FOLDS, unit | {"n_near_tie": 0, "loss_intact_sum": 0}, tallies)
    n_lost, n_gained = lost.sum(0), gained.sum(0)
    lo, hi = intervals.bonett_price(n_lost, n_gained, count)
    p = intervals.mcnemar(n_lost, n_gained)
    mean, low, high = intervals.mean_interval(
        np.rint(dloss * 2**24).astype(np.int64).sum(0), np.rint(dloss**2 * 2**24).astype(np.int64).sum(0), count
    )
    numbers = {
        "layer": [p[0] for p in places], "head": [p[1] for p in places], "heads": [head_name(*p) for p in places],
        "n_correct": right.sum(0), "n_lost": n_lost, "n_gained": n_gained, "drop": (n_lost - n_gained) / count, "drop_lo": lo,
        "drop_hi": hi, "p": p, "q": intervals.benjamini_hochberg(p), "dloss": mean, "dloss_lo": low, "dloss_hi": high, "loss": 0.5 + mean,
    }  # fmt: skip
    rows = _frame(
        schemas.ABLATE,
        unit | {"n": count, "n_correct_intact": int(intact.sum()), "n_near_tie": 0, "loss_intact": 0.5},
        numbers,
    )
    bits = np.packbits(np.column_stack([intact, intact, right]), axis=1, bitorder="little")
    answers = _frame(schemas.OUTCOMES, measured | {"units": " ".join(["intact", "none", *(head_name(*p) for p in places)])}, {
        "sample": ids, "class": [f"class-{index % 100:03d}" for index in range(count)], "right": [row.tobytes().hex() for row in bits],
    })  # fmt: skip
    return rows, folded, answers


def _summed(values, by_fold):  # type: ignore[no-untyped-def]
    """[units x folds], heads first."""
    return np.stack([values[mask].sum(0) for mask in by_fold], axis=1).ravel()


def _frame(schema, same, columns):  # type: ignore[no-untyped-def]
    from vhs.formats.tables import DTYPES

    height = len(next(iter(columns.values())))
    series = []
    for column in schema.columns:
        values = columns.get(column.name, [same.get(column.name)] * height)
        series.append(pl.Series(column.name, list(values), DTYPES[column.kind], strict=False))
    return pl.DataFrame(series)
