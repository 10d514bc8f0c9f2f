"""The probing run: what can be decoded from every head."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
from scipy.special import stdtr, stdtrit

from vhs.counts import Counts, from_fixed
from vhs.errors import MismatchError, UsageError
from vhs.formats import schemas
from vhs.formats.tables import frame
from vhs.measures.intervals import LEVEL, benjamini_hochberg, wilson
from vhs.measures.probe_tally import CHANCE, NUMBERS, Entry, Probing, twins_of
from vhs.measures.scoring import Scope
from vhs.models.model import Model
from vhs.runs.recording import measured_keys
from vhs.runs.run import Run, sweep
from vhs.summaries.tallied import Row
from vhs.world import world


def check() -> None:
    """Raises UsageError where several processes share the run: a probe is fitted to all images at once."""
    if world()[1] > 1:
        raise UsageError("--probe: is fitted to all images at once. Run it in one process.")


def probe(run: Run) -> Iterator[pl.DataFrame]:
    """Yield, by finished condition, the probes rows of all models."""
    check()
    if run.data.manifest.targets:
        raise UsageError("--probe: decodes classes and attributes; this data has numbers to predict.")
    twins = {id(model): twins_of(model, run.seed) for model in run.models}
    made: list[Probing] = []
    told, entangled = 0, ""

    def make(model: Model, scope: Scope) -> Probing:
        made.append(Probing(model, scope, run.seed, twins[id(model)]))
        return made[-1]

    for condition, results in sweep(run, make, measure={"measure": "probe"}):
        parts = []
        for model, measure, tallies in zip(run.models, made, results, strict=True):
            keys = measured_keys(run, condition, model)
            parts.append(frame(schemas.PROBES, [keys | row for row in rows(measure.entries, tallies["probes"])]))
            for entangled in dict.fromkeys(measure.entangled):
                run.note(f"{model.name}, {condition.name}: {entangled}; they are left out")
        made.clear()
        told += sum(map(len, parts))
        yield pl.concat(parts)
    if not told:
        raise MismatchError(f"--probe: {entangled}. Probe data where they vary, or more images (--max-samples).")


def rows(entries: list[Entry], sums: Counts) -> list[Row]:
    """The rows of one model and condition, without the run's keys."""
    numbers = {name: sums.total(name) if name == "n" else from_fixed(sums.total(name)) for name in sums.fields}
    lo, hi = wilson(numbers["accuracy"] * numbers["effective"], numbers["effective"])
    excess, errors, freedom = (np.stack([numbers[f"{what}_{name}"] for name in CHANCE]) for what in NUMBERS)
    nearest = excess.argmin(0)[None]
    least, spread, own = (np.take_along_axis(part, nearest, 0)[0] for part in (excess, errors, freedom))
    half = stdtrit(own, (1 + LEVEL) / 2) * spread
    p = stdtr(freedom, -excess / np.maximum(errors, 1e-12)).max(0)
    found = []
    for index, entry in enumerate(entries):
        found.append(entry.head._asdict() | {
            "attribute": entry.attribute, "source": entry.source, "token": entry.token, "values": entry.values,
            "dimensions": round(float(numbers["dimensions"][index])), "n": int(numbers["n"][index]),
            "n_effective": float(numbers["effective"][index]), "accuracy": float(numbers["accuracy"][index]),
            "accuracy_lo": float(lo[index]), "accuracy_hi": float(hi[index]), "excess": float(least[index]),
            "excess_lo": float(least[index] - half[index]), "excess_hi": float(least[index] + half[index]),
            "p": float(p[index]),
        } | {name: float(numbers[name][index]) for name in CHANCE})  # fmt: skip
    return _with_q(found)


def _with_q(found: list[Row]) -> list[Row]:
    """q over the heads of each attribute and source."""
    kinds = [(row["attribute"], row["source"]) for row in found]
    for kind in dict.fromkeys(kinds):
        own = [row for row, of in zip(found, kinds, strict=True) if of == kind]
        for row, q in zip(own, benjamini_hochberg([row["p"] for row in own]), strict=True):
            row["q"] = float(q)
    return found
