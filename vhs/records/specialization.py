"""Tallies of what heads look at to tables, and of heads beside those of another model."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from vhs.formats import schemas
from vhs.formats.tables import frame
from vhs.measures.listing import Listing
from vhs.records.record import ConditionRecord, ModelRecord, Record, Results
from vhs.roles import matches
from vhs.summaries import specialized


@dataclass(frozen=True)
class Specialized:
    """What one finished condition gives: the heads rows and the pairs rows."""

    heads: pl.DataFrame
    pairs: pl.DataFrame


@dataclass(frozen=True)
class Matched:
    """What one finished condition gives: the matches rows."""

    rows: pl.DataFrame


def tables(record: Record, condition: ConditionRecord, results: Results) -> Specialized:
    """The tables of one condition."""
    heads, pairs = [], []
    for model, tallies in zip(record.models, results, strict=True):
        listing = _that_gave(model, len(tallies["means"].values))
        keys = record.keys(condition, model)
        heads.append(frame(schemas.HEADS, [keys | row for row in specialized.head_rows(listing, tallies)]))
        keys |= {"model_b": model.model}
        pairs.append(frame(schemas.PAIRS, [keys | row for row in specialized.pair_rows(listing, tallies)]))
    return Specialized(pl.concat(heads), pl.concat(pairs))


def matched(record: Record, condition: ConditionRecord, results: Results) -> Matched:
    """The matches rows of one condition, of all models beside the other."""
    assert record.other is not None
    parts = []
    for model, tallies in zip(record.models, results, strict=True):
        assert model.matchings is not None
        keys = record.keys(condition, model) | dict(zip(("model_b", "model_b_id"), record.other, strict=True))
        found = matches.rows(model.matchings, tallies["pairs"], tallies["cells"])
        parts.append(frame(schemas.MATCHES, [row | keys for row in found]))
    return Matched(pl.concat(parts))


def _that_gave(model: ModelRecord, means: int) -> Listing:
    """The listing with so many means: whether images before their shift were there decides."""
    assert model.listing is not None
    alone = len(list(model.listing.entries())) == means
    return model.listing if alone or model.shifted is None else model.shifted
