"""A measuring run as a record: models, conditions and options, as far as rows of tables need them.

Built once from the run (runs/recording), or read from a file of tallies; the modules beside this one make rows of a
record and tallies, which is the only way, for runs and for merged parts alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from vhs.counts import Counts
from vhs.grid import HEADS, HeadGrid, Units
from vhs.measures.listing import Listing, Matchings
from vhs.summaries.tallied import Row

ALL = "all"
"""The group of all samples."""
ABLATE, ABLATE_REGRESSION, ESTIMATE = "ablate", "ablate regression", "estimate"
EVALSHIFT, EVALSHIFT_REGRESSION, SPECIALIZE, MATCH = "evalshift", "evalshift regression", "specialize", "match"
"""What was measured."""
Results = Sequence[dict[str, Counts]]
"""For each model, its named tallies under one condition."""


class View(NamedTuple):
    """Which samples are counted, over how many classes that may be answered."""

    group: str
    label_set: str
    n_classes: int


@dataclass(frozen=True)
class Samples:
    """All samples of a condition's data, in their order. groups: positions among the condition's, by sample."""

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    groups: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class ModelRecord:
    """grid: None where heads are of no account. listing, shifted: what is tallied of its heads, without and with images
    before their shift; matchings: what is tallied beside the other model's."""

    model: str
    model_id: str
    step: int | None
    seed: int | None
    precision: str
    grid: HeadGrid | None = None
    listing: Listing | None = None
    shifted: Listing | None = None
    matchings: Matchings | None = None

    @property
    def keys(self) -> Row:
        """The columns that name it."""
        return {"model": self.model, "model_id": self.model_id, "step": self.step, "seed": self.seed}

    @property
    def heads(self) -> HeadGrid:
        """The grid of a model whose heads were measured."""
        assert self.grid is not None
        return self.grid


@dataclass(frozen=True, kw_only=True)
class ConditionRecord:
    """name: as the journal has it; geometry: size and preprocessing in words, by model; samples: a place in the
    record's, where outcomes are kept."""

    name: str
    data: str
    shift: str
    category: str | None
    corruption: str | None
    severity: int
    origin: str
    label_set: str
    views: tuple[View, ...] = ()
    groups: tuple[str, ...] = ()
    geometry: tuple[tuple[str, str], ...] = ()
    samples: int | None = None

    @property
    def keys(self) -> Row:
        """The columns that name it, of rows of all samples."""
        names = ("data", "shift", "category", "corruption", "severity", "origin", "label_set")
        return {name: getattr(self, name) for name in names} | {"group": ALL}


@dataclass(frozen=True, kw_only=True)
class Record:
    """measured: one of the words above; method: of an ablation; fill_data: what the fill images are called; adaptive:
    whether the data decided how many samples; targets: of regression; classes: of the data; shares: of its training
    groups; other: name and id of the model that others are matched with; samples: for outcomes, by data."""

    measured: str
    models: tuple[ModelRecord, ...]
    conditions: tuple[ConditionRecord, ...]
    classes: int
    targets: tuple[str, ...] = ()
    units: Units = HEADS
    fills: tuple[str, ...] = ()
    fill_data: str | None = None
    rescale: bool = False
    method: str = "exact"
    adaptive: bool = False
    outcomes: bool = False
    shares: dict[str, dict[str, Any]] | None = None
    other: tuple[str, str] | None = None
    samples: tuple[Samples, ...] = ()

    def keys(self, condition: ConditionRecord, model: ModelRecord) -> Row:
        """The columns every measured row starts with."""
        return model.keys | condition.keys
