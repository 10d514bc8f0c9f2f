"""What each kind of record gives: its tables of a condition, and where they go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from vhs.formats import schemas
from vhs.formats.schemas import Schema
from vhs.records import ablation, evaluation, regression, specialization
from vhs.records.record import (
    ABLATE,
    ABLATE_REGRESSION,
    ESTIMATE,
    EVALSHIFT,
    EVALSHIFT_REGRESSION,
    MATCH,
    SPECIALIZE,
    ConditionRecord,
    Record,
    Results,
)


class Product(NamedTuple):
    """A table of a condition: what it is called among these, its kind, and how an option and a file name call it."""

    name: str
    schema: Schema
    option: str = ""


class Kind(NamedTuple):
    """make: the tables of one condition; main: the one that -o names; beside: the one that stands beside it."""

    command: str
    make: Callable[[Record, ConditionRecord, Results], Any]
    main: Product
    beside: Product | None = None


FOLDS = Product("folds", schemas.FOLDS, "folds")
BINS = Product("bins", schemas.CALIBRATION, "calibration")
KINDS = {
    ABLATE: Kind("ablate", ablation.tables, Product("rows", schemas.ABLATE), FOLDS),
    ABLATE_REGRESSION: Kind("ablate", regression.ablation, Product("rows", schemas.ABLATE_REGRESSION), FOLDS),
    ESTIMATE: Kind("ablate", ablation.estimates, Product("rows", schemas.ESTIMATES), FOLDS),
    EVALSHIFT: Kind("evalshift", evaluation.tables, Product("rows", schemas.EVALSHIFT), BINS),
    EVALSHIFT_REGRESSION: Kind(
        "evalshift", regression.evaluation, Product("rows", schemas.EVALSHIFT_REGRESSION), BINS
    ),
    SPECIALIZE: Kind(
        "specialize", specialization.tables, Product("heads", schemas.HEADS), Product("pairs", schemas.PAIRS, "pairs")
    ),
    MATCH: Kind("specialize", specialization.matched, Product("rows", schemas.MATCHES)),
}  # fmt: skip
