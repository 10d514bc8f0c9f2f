"""Tallies of an ablation to tables: what a record knows of each row, before the numbers of summaries/tallied."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from vhs.counts import Counts
from vhs.formats import schemas
from vhs.formats.tables import frame
from vhs.grid import Unit, head_name
from vhs.measures.fill_kinds import FILLS, FillKind
from vhs.records.record import ConditionRecord, ModelRecord, Record, Results
from vhs.summaries import tallied
from vhs.summaries.tallied import Row

INTERACTING = ("only", "pair")
"""Kinds of unit that are scored against others."""


@dataclass(frozen=True)
class Ablated:
    """What one finished condition gives: the ablate rows, the folds rows, and the outcomes rows where asked for."""

    rows: pl.DataFrame
    folds: pl.DataFrame
    outcomes: pl.DataFrame


def tables(record: Record, condition: ConditionRecord, results: Results) -> Ablated:
    """The tables of one condition."""
    pairs = list(zip(record.models, results, strict=True))
    folds = [
        fold_frame(record, condition, model, sums, kind)
        for model, tallies in pairs
        for kind, sums in by_fill(record, model, tallies["units"])
    ]
    rows = [ablation_frames(record, condition, model, tallies) for model, tallies in pairs]
    outcomes = [
        outcome_frame(record, condition, model, tallies["outcomes"]) for model, tallies in pairs if record.outcomes
    ]
    return Ablated(pl.concat(rows), pl.concat(folds), pl.concat(outcomes or [frame(schemas.OUTCOMES, [])]))


def estimates(record: Record, condition: ConditionRecord, results: Results) -> Ablated:
    """The tables of one condition of estimates: rows alone."""
    pairs = zip(record.models, results, strict=True)
    parts = [estimate_frame(record, condition, model, tallies["units"]) for model, tallies in pairs]
    return Ablated(pl.concat(parts), pl.DataFrame(), pl.DataFrame())


def ablation_frames(
    record: Record, condition: ConditionRecord, model: ModelRecord, tallies: dict[str, Counts]
) -> pl.DataFrame:  # fmt: skip
    """The ablate rows of one model under one condition, by fill: of all samples, then of each group of them."""
    parts = [
        ablation_frame(record, condition, model, sums, kind) for kind, sums in by_fill(record, model, tallies["units"])
    ]
    for kind, of_groups in by_fill(record, model, tallies["groups"]):
        for index, name in enumerate(condition.groups):
            part = Counts(of_groups.values[:, index : index + 1], of_groups.fields)
            if part.total("n").all():
                parts.append(ablation_frame(record, condition, model, part, kind).with_columns(group=pl.lit(name)))
    return pl.concat(parts)


def by_fill(record: Record, model: ModelRecord, sums: Counts) -> Iterator[tuple[FillKind, Counts]]:
    """(fill, its tallies [U, cells, fields]) of those of all fills."""
    units = len(list(model.heads.units(record.units)))
    for index, name in enumerate(record.fills):
        yield FILLS[name], Counts(sums.values[index * units : (index + 1) * units], sums.fields)


def ablation_frame(
    record: Record, condition: ConditionRecord, model: ModelRecord, sums: Counts, kind: FillKind
) -> pl.DataFrame:  # fmt: skip
    """The ablate rows of one model under one condition: the sham, then the units in their order."""
    scored = [unit.kind in INTERACTING for unit in model.heads.units(record.units)]
    numbers = tallied.ablation_rows(sums, scored=scored, adaptive=record.adaptive, reduced=is_reduced(model))
    keys = unit_keys(record, condition, model, kind)
    return frame(schemas.ABLATE, [key | row for key, row in zip(keys, numbers, strict=True)])


def is_reduced(model: ModelRecord) -> bool:
    """Whether its precision was, so that flips were counted."""
    return model.precision != "float32"


def fold_frame(
    record: Record, condition: ConditionRecord, model: ModelRecord, sums: Counts, kind: FillKind
) -> pl.DataFrame:  # fmt: skip
    """The folds rows of one model under one condition: by unit, then by fold."""
    by_unit = zip(*tallied.folds(sums, reduced=is_reduced(model)), strict=True)
    keys = unit_keys(record, condition, model, kind)
    return frame(schemas.FOLDS, [key | row for key, rows in zip(keys, by_unit, strict=True) for row in rows])


def outcome_frame(
    record: Record, condition: ConditionRecord, model: ModelRecord, outcomes: Counts
) -> pl.DataFrame:  # fmt: skip
    """The outcomes rows of one model under one condition, of the samples that were measured."""
    keys = record.keys(condition, model)
    assert condition.samples is not None
    samples = record.samples[condition.samples]
    units = " ".join(["intact", *(_word(unit) for unit in model.heads.units(record.units))])
    found = zip(samples.ids, samples.classes, samples.groups, outcomes.values, strict=True)
    return frame(schemas.OUTCOMES, [
        keys | {
            "sample": name, "class": label, "units": units, "right": bits[1:].tobytes().hex(),
            "groups": json.dumps([condition.groups[member] for member in members]) if members else None,
        }
        for name, label, members, bits in found if bits[0]
    ])  # fmt: skip


def estimate_frame(record: Record, condition: ConditionRecord, model: ModelRecord, sums: Counts) -> pl.DataFrame:
    """The estimates rows of one model under one condition, of the record's first fill."""
    keys = record.keys(condition, model) | {
        "fill": record.fills[0], "fill_data": record.fill_data, "method": record.method, "precision": model.precision,
    }  # fmt: skip
    numbers = zip(model.heads, tallied.estimate_rows(sums), strict=True)
    return frame(schemas.ESTIMATES, [keys | head._asdict() | row for head, row in numbers])


def unit_keys(record: Record, condition: ConditionRecord, model: ModelRecord, kind: FillKind) -> Iterator[Row]:
    """The keys of the rows of one model under one condition and fill: the sham, then the units in order."""
    images = record.fill_data if kind.bank else None
    keys = record.keys(condition, model) | {
        "fill": kind.name, "fill_data": kind.twin or images, "method": "exact",
        "rescale": "H/kept" if record.rescale else "none", "precision": model.precision,
        "target": "class",
    }  # fmt: skip
    for unit in model.heads.units(record.units):
        yield keys | {"unit": unit.kind} | (_place(model, unit) if unit.kind != "none" else {})


def _place(model: ModelRecord, unit: Unit) -> Row:
    heads = "+".join(head_name(*head) for head in unit.removed) or None
    module = None if unit.layer is None else model.heads.module(unit.layer)
    where = {"layer": unit.layer, "head": unit.head, "head_b": unit.head_b}
    return {"heads": heads, "module": module, "layer_b": None if unit.head_b is None else unit.layer} | where


def _word(unit: Unit) -> str:
    """A unit in one word: `none`, `L3H1`, `layer3`, `onlyL3H1`, `pairL3H1+L3H2`, `mlp3`, `setL3H1+L5H0`."""
    heads = "+".join(head_name(*head) for head in unit.removed)
    where = {"only": head_name(unit.layer or 0, unit.head or 0), "layer": unit.layer, "mlp": unit.layer}.get(
        unit.kind, heads
    )
    return {"none": "none", "head": heads}.get(unit.kind, f"{unit.kind}{where}")
