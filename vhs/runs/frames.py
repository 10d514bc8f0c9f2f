"""Tallies to table rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl

from vhs.counts import Counts, from_fixed
from vhs.formats import schemas
from vhs.formats.pixels import IMAGENET, in_words
from vhs.formats.shards import Sample
from vhs.formats.tables import frame
from vhs.grid import Unit, head_name
from vhs.measures import intervals
from vhs.measures.evaluation import calibration_error
from vhs.measures.fill_kinds import BANKED
from vhs.measures.specialization import Specialization
from vhs.models.model import Model
from vhs.runs import scopes
from vhs.runs.conditions import CLEAN_OWN, REJPEG, Condition
from vhs.runs.run import Run, own_geometry

Row = dict[str, Any]
TWINS = {"twin": "the clean twin", "twin-break": "the shifted twin, in the clean image"}


def measured(run: Run, condition: Condition, model: Model) -> Row:
    """The columns every measured row starts with."""
    data = run.data.manifest
    if condition.data and (condition.data.manifest.base or {}).get("hash") != data.hash:
        data = condition.data.manifest
    return {
        "model": model.name,
        "model_id": model.weights_id,
        "step": model.step,
        "seed": model.seed,
        "data": f"{data.name}/{data.split}",
        "shift": condition.shift,
        "category": condition.category,
        "corruption": condition.corruption,
        "severity": condition.severity,
        "origin": condition.origin,
        "group": scopes.ALL,
        "label_set": scopes.label_set(run, condition),
    }


def evaluation_frames(
    run: Run, condition: Condition, model: Model, tallies: dict[str, Counts]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The evalshift and the calibration rows of one model under one condition: each view, then each sample group."""
    rows, bins = [], []
    for keys, sums, binned in _scored(run, condition, model, tallies):
        if sums["n"]:
            rows.append(keys | _evaluated(sums, binned) | _geometry(run, condition, model))
            bins += _calibration(keys, binned)
    return frame(schemas.EVALSHIFT, rows), frame(schemas.CALIBRATION, bins)


def _scored(
    run: Run, condition: Condition, model: Model, tallies: dict[str, Counts]
) -> Iterator[tuple[Row, dict[str, int], Counts]]:
    """(keys, sums by field, confidence bins) of every row."""
    keys = measured(run, condition, model)
    views = scopes.views(run, condition)
    for index, view in enumerate(views):
        sums, binned = tallies[f"view{index}"], tallies[f"view{index}.bins"]
        totals = {name: int(sums.total(name)) for name in sums.fields}
        yield (
            keys | {"group": view.group, "label_set": view.label_set}, totals,
            Counts(binned.values.sum(0), binned.fields),
        )  # fmt: skip
    sums, binned = tallies["groups"], tallies["groups.bins"]
    for index, name in enumerate(run.groups(condition)):
        totals = {field: int(sums[field][index]) for field in sums.fields}
        yield (
            keys | {"group": name, "label_set": views[0].label_set}, totals,
            Counts(binned.values[index], binned.fields),
        )  # fmt: skip


def _evaluated(sums: dict[str, int], bins: Counts) -> Row:
    n, right, right5 = (sums[name] for name in ("n", "n_correct", "n_correct5"))
    lo, hi = intervals.wilson(right, n)
    loss = intervals.mean_interval(sums["loss"], sums["loss_sq"], n)
    return {
        "n": n, "n_correct": right, "top1": right / n, "top1_lo": float(lo), "top1_hi": float(hi),
        "n_correct5": right5, "top5": right5 / n,
        "loss": number(loss[0]), "loss_lo": number(loss[1]), "loss_hi": number(loss[2]),
        "ece": calibration_error(bins),
    }  # fmt: skip


def _geometry(run: Run, condition: Condition, model: Model) -> Row:
    size = f"{model.preprocess.height}x{model.preprocess.width}"
    own = own_geometry(model) if condition.shift == CLEAN_OWN else IMAGENET
    data = in_words(condition.data.manifest if condition.data else run.data.manifest, own)
    jpeg = f"; JPEG {REJPEG}" if condition.rejpeg else ""
    return {"size": size, "preprocess": f"{data}{jpeg}; model {size}"}


def _calibration(keys: Row, bins: Counts) -> list[Row]:
    confidence = from_fixed(bins["confidence_sum"])
    return [
        keys | {"bin": index, "n": int(bins["n"][index]), "confidence_sum": float(confidence[index]),
                "n_correct": int(bins["n_correct"][index])}
        for index in range(len(confidence))
    ]  # fmt: skip


def ablation_frames(run: Run, condition: Condition, model: Model, tallies: dict[str, Counts]) -> pl.DataFrame:
    """The ablate rows of one model under one condition, by fill: of all samples, then of each group of them."""
    parts = []
    for kind, sums in by_fill(run, model, tallies["units"]):
        parts.append(ablation_frame(run, condition, model, sums, kind))
    for kind, of_groups in by_fill(run, model, tallies["groups"]):
        for index, name in enumerate(run.groups(condition)):
            part = Counts(of_groups.values[:, index : index + 1], of_groups.fields)
            if part.total("n").all():
                parts.append(ablation_frame(run, condition, model, part, kind).with_columns(group=pl.lit(name)))
    return pl.concat(parts)


def by_fill(run: Run, model: Model, sums: Counts) -> Iterator[tuple[str, Counts]]:
    """(fill, its tallies [U, cells, fields]) of those of all fills."""
    units = len(list(model.grid.units(run.unit)))
    for index, kind in enumerate(run.fills):
        yield kind, Counts(sums.values[index * units : (index + 1) * units], sums.fields)


def outcome_frame(
    run: Run, condition: Condition, model: Model, outcomes: Counts, samples: Sequence[Sample]
) -> pl.DataFrame:
    """The outcomes rows of one model under one condition. samples: all of the run, in their order."""
    keys = measured(run, condition, model)
    classes = (condition.data.manifest if condition.data else run.data.manifest).classes
    units = " ".join(["intact", *(_told(unit) for unit in model.grid.units(run.unit))])
    return frame(schemas.OUTCOMES, [
        keys | {"sample": sample.id, "class": classes[sample.label], "units": units, "right": bits[1:].tobytes().hex()}
        for sample, bits in zip(samples, outcomes.values, strict=True) if bits[0]
    ])  # fmt: skip


def ablation_frame(run: Run, condition: Condition, model: Model, sums: Counts, kind: str = "zero") -> pl.DataFrame:
    """The ablate rows of one model under one condition: the sham, then the heads in grid order."""
    n, lost, gained = (sums.total(name) for name in ("n", "n_lost", "n_gained"))
    intact, right = sums.total("n_correct_intact"), sums.total("n_correct")
    drop_lo, drop_hi = intervals.bonett_price(lost, gained, n)
    p = intervals.mcnemar(lost, gained)
    q = intervals.benjamini_hochberg(p[1:])
    dloss, dloss_lo, dloss_hi = intervals.mean_interval(sums.total("dloss"), sums.total("dloss_sq"), n)
    loss_intact = sums.total_float("loss_intact") / n
    scored = [unit.kind in ("only", "pair") for unit in model.grid.units(run.unit)]
    score_lo, score_hi = intervals.signed_interval(sums.total("score"), sums.total("score_sq"), n)
    rows = []
    for unit, keys in enumerate(unit_keys(run, condition, model, kind)):
        rows.append(keys | _tallied(sums, unit, model.precision) | {
            "score": sums.total("score")[unit] / n[unit] if scored[unit] else None,
            "score_lo": number(score_lo[unit]) if scored[unit] else None,
            "score_hi": number(score_hi[unit]) if scored[unit] else None,
            "drop": (intact[unit] - right[unit]) / n[unit],
            "drop_lo": drop_lo[unit], "drop_hi": drop_hi[unit],
            "p": None if run.adaptive else p[unit], "q": q[unit - 1] if unit and not run.adaptive else None,
            "loss_intact": loss_intact[unit], "loss": loss_intact[unit] + dloss[unit], "dloss": dloss[unit],
            "dloss_lo": number(dloss_lo[unit]), "dloss_hi": number(dloss_hi[unit]),
        })  # fmt: skip
    return frame(schemas.ABLATE, rows)


def fold_frame(run: Run, condition: Condition, model: Model, sums: Counts, kind: str = "zero") -> pl.DataFrame:
    """The folds rows of one model under one condition."""
    rows = []
    for unit, keys in enumerate(unit_keys(run, condition, model, kind)):
        for fold in range(sums.values.shape[1]):
            part = Counts(sums.values[:, fold : fold + 1], sums.fields)
            rows.append(keys | {"fold": fold} | _tallied(part, unit, model.precision) | {
                f"{name}_sum": int(part.total(name)[unit]) for name in ("loss_intact", "dloss", "dloss_sq")
            })  # fmt: skip
    return frame(schemas.FOLDS, rows)


def head_frame(run: Run, condition: Condition, measure: Specialization, sums: Counts) -> pl.DataFrame:
    """The heads rows of one model under one condition."""
    keys = measured(run, condition, measure.model)
    rows = []
    for position, (metric, query, unit) in enumerate(measure.metrics):
        part = Counts(sums.values[position], sums.fields)
        for index, head in enumerate(measure.model.grid):
            rows.append(keys | head._asdict() | _mean(part, index) | {
                "metric": metric, "query": query, "weighting": "attention", "in_unit": unit,
            })  # fmt: skip
    return frame(schemas.HEADS, rows)


def pair_frame(run: Run, condition: Condition, measure: Specialization, sums: Counts) -> pl.DataFrame:
    """The pairs rows of one model under one condition."""
    keys = measured(run, condition, measure.model)
    heads = list(measure.model.grid)
    rows = []
    for index, (a, b) in enumerate(measure.pair_heads()):
        rows.append(keys | _mean(sums, index) | {
            "layer": heads[a].layer, "head": heads[a].head, "model_b": measure.model.name,
            "layer_b": heads[b].layer, "head_b": heads[b].head, "metric": "jsd",
        })  # fmt: skip
    return frame(schemas.PAIRS, rows)


def number(value: Any) -> float | None:
    """A float for a table; NaN is null."""
    return None if math.isnan(value) else float(value)


def unit_keys(run: Run, condition: Condition, model: Model, kind: str) -> Iterator[Row]:
    """The keys of the rows of one model under one condition and fill: the sham, then the units in order."""
    source = run.calibration.name if run.calibration and kind in BANKED else None
    source = TWINS.get(kind, source)
    keys = measured(run, condition, model) | {
        "fill": kind, "fill_data": source, "method": "exact",
        "rescale": "H/kept" if run.rescale else "none", "precision": model.precision,
        "target": "class",
    }  # fmt: skip
    for unit in model.grid.units(run.unit):
        yield keys | {"unit": unit.kind} | (_place(model, unit) if unit.kind != "none" else {})


def _place(model: Model, unit: Unit) -> Row:
    heads = "+".join(head_name(*head) for head in unit.removed) or None
    module = None if unit.layer is None else model.grid.module(unit.layer)
    where = {"layer": unit.layer, "head": unit.head, "head_b": unit.head_b}
    return {"heads": heads, "module": module, "layer_b": None if unit.head_b is None else unit.layer} | where


def _told(unit: Unit) -> str:
    """A unit in one word: `none`, `L3H1`, `layer3`, `onlyL3H1`, `pairL3H1+L3H2`, `mlp3`, `setL3H1+L5H0`."""
    heads = "+".join(head_name(*head) for head in unit.removed)
    where = {"only": head_name(unit.layer or 0, unit.head or 0), "layer": unit.layer, "mlp": unit.layer}.get(
        unit.kind, heads
    )
    return {"none": "none", "head": heads}.get(unit.kind, f"{unit.kind}{where}")


def _tallied(sums: Counts, unit: int, precision: str) -> Row:
    names = ("n", "n_correct_intact", "n_correct", "n_lost", "n_gained", "n_near_tie")
    counted: Row = {name: int(sums.total(name)[unit]) for name in names}
    told = unit == 0 and precision != "float32"
    return counted | {"n_flip": int(sums.total("n_flip")[unit]) if told else None}


def _mean(sums: Counts, index: int) -> Row:
    n = int(sums.total("n")[index])
    value, lo, hi = intervals.mean_interval(sums.total("value")[index], sums.total("value_sq")[index], n)
    return {"n": n, "value": float(value), "lo": number(lo), "hi": number(hi)}
