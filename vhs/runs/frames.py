"""Tallies of a run to tables: what the run knows of each row, before the numbers of summaries/tallied."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import polars as pl

from vhs.counts import Counts
from vhs.formats import schemas
from vhs.formats.pixels import IMAGENET, in_words
from vhs.formats.shards import Sample
from vhs.formats.tables import frame
from vhs.grid import Unit, head_name
from vhs.measures.fill_kinds import FillKind
from vhs.models.model import Model
from vhs.runs import sample_groups, scopes
from vhs.runs.conditions import CLEAN_OWN, REJPEG, Condition
from vhs.runs.run import Run, own_geometry
from vhs.summaries import tallied
from vhs.summaries.tallied import Row

INTERACTING = ("only", "pair")
"""Kinds of unit that are scored against others."""


def measured_keys(run: Run, condition: Condition, model: Model) -> Row:
    """The columns every measured row starts with."""
    data = run.data.manifest
    if condition.data and not run.has_clean(condition.data):
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
        "label_set": run.label_set(condition),
    }


def evaluation_frames(
    run: Run, condition: Condition, model: Model, tallies: dict[str, Counts]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The evalshift and the calibration rows of one model under one condition: each view, then each sample group."""
    rows, bins = [], []
    for keys, sums, binned in _evaluations(run, condition, model, tallies):
        if sums["n"]:
            rows.append(keys | tallied.evaluation_row(sums, binned) | _geometry(run, condition, model))
            bins += [keys | row for row in tallied.confidence_bins(binned)]
    return frame(schemas.EVALSHIFT, rows), frame(schemas.CALIBRATION, bins)


def _evaluations(
    run: Run, condition: Condition, model: Model, tallies: dict[str, Counts]
) -> Iterator[tuple[Row, dict[str, int], Counts]]:
    """(keys, sums by field, confidence bins) of every row."""
    keys = measured_keys(run, condition, model)
    views = run.views(condition)
    for index, view in enumerate(views):
        sums, binned = tallies[f"view{index}"], tallies[f"view{index}.bins"]
        totals = {name: int(sums.total(name)) for name in sums.fields}
        answers = view.answers(len(model.classes))
        named = keys | {"group": view.group, "label_set": view.label_set, "n_classes": answers}
        yield named, totals, Counts(binned.values.sum(0), binned.fields)
    sums, binned = tallies["groups"], tallies["groups.bins"]
    for index, name in enumerate(run.groups(condition)):
        totals = {field: int(sums[field][index]) for field in sums.fields}
        answers = views[0].answers(len(model.classes))
        named = keys | {"group": name, "label_set": views[0].label_set, "n_classes": answers}
        yield named, totals, Counts(binned.values[index], binned.fields)


def _geometry(run: Run, condition: Condition, model: Model) -> Row:
    size = f"{model.preprocess.height}x{model.preprocess.width}"
    own = own_geometry(model) if condition.shift == CLEAN_OWN else IMAGENET
    data = in_words(run.manifest(condition), own)
    jpeg = f"; JPEG {REJPEG}" if condition.rejpeg else ""
    return {"size": size, "preprocess": f"{data}{jpeg}; model {size}"}


def ablation_frames(run: Run, condition: Condition, model: Model, tallies: dict[str, Counts]) -> pl.DataFrame:
    """The ablate rows of one model under one condition, by fill: of all samples, then of each group of them."""
    parts = [ablation_frame(run, condition, model, sums, kind) for kind, sums in by_fill(run, model, tallies["units"])]
    for kind, of_groups in by_fill(run, model, tallies["groups"]):
        for index, name in enumerate(run.groups(condition)):
            part = Counts(of_groups.values[:, index : index + 1], of_groups.fields)
            if part.total("n").all():
                parts.append(ablation_frame(run, condition, model, part, kind).with_columns(group=pl.lit(name)))
    return pl.concat(parts)


def by_fill(run: Run, model: Model, sums: Counts) -> Iterator[tuple[FillKind, Counts]]:
    """(fill, its tallies [U, cells, fields]) of those of all fills."""
    units = len(list(model.grid.units(run.ablation.units)))
    for index, kind in enumerate(run.ablation.fills):
        yield kind, Counts(sums.values[index * units : (index + 1) * units], sums.fields)


def ablation_frame(run: Run, condition: Condition, model: Model, sums: Counts, kind: FillKind) -> pl.DataFrame:
    """The ablate rows of one model under one condition: the sham, then the units in their order."""
    scored = [unit.kind in INTERACTING for unit in model.grid.units(run.ablation.units)]
    numbers = tallied.ablation_rows(sums, scored=scored, adaptive=run.adaptive, reduced=model.precision != "float32")
    keys = unit_keys(run, condition, model, kind)
    return frame(schemas.ABLATE, [key | row for key, row in zip(keys, numbers, strict=True)])


def fold_frame(run: Run, condition: Condition, model: Model, sums: Counts, kind: FillKind) -> pl.DataFrame:
    """The folds rows of one model under one condition: by unit, then by fold."""
    by_unit = zip(*tallied.folds(sums, reduced=model.precision != "float32"), strict=True)
    keys = unit_keys(run, condition, model, kind)
    return frame(schemas.FOLDS, [key | row for key, rows in zip(keys, by_unit, strict=True) for row in rows])


def outcome_frame(
    run: Run, condition: Condition, model: Model, outcomes: Counts, samples: Sequence[Sample]
) -> pl.DataFrame:
    """The outcomes rows of one model under one condition. samples: all of the run, in their order."""
    keys = measured_keys(run, condition, model)
    manifest = run.manifest(condition)
    classes = manifest.classes
    groups = sample_groups.group(manifest, samples, sample_groups.of(manifest, run.by))
    units = " ".join(["intact", *(_word(unit) for unit in model.grid.units(run.ablation.units))])
    return frame(schemas.OUTCOMES, [
        keys | {
            "sample": sample.id, "class": classes[sample.label], "units": units, "right": bits[1:].tobytes().hex(),
            "groups": json.dumps([groups.names[member] for member in members]) if members else None,
        }
        for sample, members, bits in zip(samples, groups.members_NA.tolist(), outcomes.values, strict=True) if bits[0]
    ])  # fmt: skip


def estimate_frame(run: Run, condition: Condition, model: Model, sums: Counts, method: str) -> pl.DataFrame:
    """The estimates rows of one model under one condition, of the run's first fill."""
    keys = measured_keys(run, condition, model) | {
        "fill": run.ablation.fills[0].name, "fill_data": run.fill_images.name if run.fill_images else None,
        "method": method, "precision": model.precision,
    }  # fmt: skip
    numbers = zip(model.grid, tallied.estimate_rows(sums), strict=True)
    return frame(schemas.ESTIMATES, [keys | head._asdict() | row for head, row in numbers])


def unit_keys(run: Run, condition: Condition, model: Model, kind: FillKind) -> Iterator[Row]:
    """The keys of the rows of one model under one condition and fill: the sham, then the units in order."""
    images = run.fill_images.name if run.fill_images and kind.bank else None
    keys = measured_keys(run, condition, model) | {
        "fill": kind.name, "fill_data": kind.twin or images, "method": "exact",
        "rescale": "H/kept" if run.ablation.rescale else "none", "precision": model.precision,
        "target": "class",
    }  # fmt: skip
    for unit in model.grid.units(run.ablation.units):
        yield keys | {"unit": unit.kind} | (_place(model, unit) if unit.kind != "none" else {})


def _place(model: Model, unit: Unit) -> Row:
    heads = "+".join(head_name(*head) for head in unit.removed) or None
    module = None if unit.layer is None else model.grid.module(unit.layer)
    where = {"layer": unit.layer, "head": unit.head, "head_b": unit.head_b}
    return {"heads": heads, "module": module, "layer_b": None if unit.head_b is None else unit.layer} | where


def _word(unit: Unit) -> str:
    """A unit in one word: `none`, `L3H1`, `layer3`, `onlyL3H1`, `pairL3H1+L3H2`, `mlp3`, `setL3H1+L5H0`."""
    heads = "+".join(head_name(*head) for head in unit.removed)
    where = {"only": head_name(unit.layer or 0, unit.head or 0), "layer": unit.layer, "mlp": unit.layer}.get(
        unit.kind, heads
    )
    return {"none": "none", "head": heads}.get(unit.kind, f"{unit.kind}{where}")
