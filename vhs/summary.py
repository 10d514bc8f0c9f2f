"""What may be asked of tables, a row a summary: the table it gives, the kind of table it takes, and what makes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from vhs.arms import readings
from vhs.arms import table as arms_table
from vhs.arms.table import Study
from vhs.errors import MismatchError, UsageError, check_range, choices
from vhs.formats import schemas
from vhs.formats.schemas import Schema
from vhs.formats.tables import Table
from vhs.measures.contrast import SCALES
from vhs.progress import Progress, silent
from vhs.roles import baselines, exclusivity, importance, kinds, models, robustness, roles, routing, shifts, trajectory
from vhs.summaries import comparison, estimated, mce, redundancy, rollup, versus, worst_groups

Read = Callable[[Any], Table]
"""A table's name (or the table itself, from Python) -> its kind and rows."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options of a summary, as they are typed.

    summary: one of SUMMARIES; baselines: a table of published models, or `published`; attributes: a robust and a
    spurious one; against, exact: a further table, which decides
    what is made; classes, folds, shares: what a run knows beside its shift table (worst_groups.Shares, mce.Folds);
    study: what arms are compared, and how; beside: rows of other tables that were named.
    """

    summary: str | None = None
    scales: Sequence[str] = ()
    tolerance: float = 0.005
    normalise_by: str | None = None
    baselines: Any = None
    against: Any = None
    exact: Any = None
    attributes: Sequence[str] = ()
    seed: int = 0
    classes: int | None = None
    folds: mce.Folds | None = None
    shares: worst_groups.Shares | None = None
    study: Study = field(default_factory=Study)
    beside: pl.DataFrame | None = None

    def check(self, *, of_shift: bool = False) -> Asked:
        """Itself. of_shift: whether only summaries of shift tables can be had.

        Raises UsageError for what there is not, or what does not go together.
        """
        among = OF_SHIFT if of_shift else tuple(SUMMARIES)
        if self.summary is not None and self.summary not in among:
            raise UsageError(f"--summary {self.summary}: expected {choices(among)}.")
        if self.normalise_by is not None and self.summary != "mce":
            raise UsageError("--normalise-by: belongs to --summary mce.")
        if self.baselines is not None and self.summary != "effective":
            raise UsageError("--baselines: belongs to --summary effective.")
        further = [name for name in ("against", "exact") if getattr(self, name) is not None]
        if further and (self.summary is not None or len(further) > 1):
            beside = "--summary" if self.summary is not None else f"--{further[1]}"
            raise UsageError(f"--{further[0]}: has no place beside {beside}. Run them apart.")
        if self.study != Study() and self.summary != "arms":
            raise UsageError("--group-by, --reference, --effect and their like: belong to --summary arms.")
        if self.attributes and self.summary != "exclusivity":
            raise UsageError("--attributes: belongs to --summary exclusivity.")
        check_range("tolerance", self.tolerance, 0, 1)
        for name in self.scales:
            if name not in SCALES:
                raise UsageError(f"--scale {name}: expected {choices(SCALES)}.")
        return self


@dataclass(frozen=True)
class Summary:
    """schema: of what it gives; of: of what it takes, None for folds; make: from those rows; beside: other tables that
    it takes, which stand among the first and come to `make` in `Asked.beside`; optional: whether it does without;
    any_kind: whether it takes the readings of any tables."""

    schema: Schema
    of: Schema | None
    make: Callable[[pl.DataFrame, Asked, Read, Progress], pl.DataFrame]
    beside: tuple[Schema, ...] = ()
    optional: bool = False
    any_kind: bool = False

    @property
    def takes_folds(self) -> bool:
        """Whether it is made of folds, or of something beside folds."""
        return (self.of is None and not self.any_kind) or schemas.FOLDS in self.beside


def of(asked: Asked) -> Summary:
    """The summary that is asked for; correlations without any other word."""
    if asked.exact is not None:
        return _ESTIMATED
    if asked.against is not None:
        return _VERSUS
    return SUMMARIES[asked.summary] if asked.summary is not None else _CORRELATIONS


def join(sources: Sequence[Any], wanted: Schema | None, read: Read) -> pl.DataFrame:
    """The rows of tables of one kind, equal ones once; None: folds, and those beside ablation tables."""
    if wanted is None:
        return comparison.read_folds(sources, read)
    return _joined([(source, read(source)) for source in sources], wanted)


VALIDATION = (schemas.EVALSHIFT, schemas.EVALSHIFT_REGRESSION)
"""What arms are chosen by."""


def _readings(sources: Sequence[Any], read: Read, asked: Asked, only: Sequence[Schema] = ()) -> pl.DataFrame:
    """What tables of any kinds say of their models in single numbers; those of one kind together. only: legal kinds."""
    tables = [(source, read(source)) for source in sources]
    for source, table in tables if only else ():
        if table.schema not in only:
            name = source if isinstance(source, str) else "the table"
            raise MismatchError(f"{name}: is of kind {table.schema.name}; --choose-by takes one of evalshift.")
    found = []
    for schema in {table.schema.name: table.schema for _, table in tables}.values():
        own = [(source, table) for source, table in tables if table.schema is schema]
        where = own[0][0] if isinstance(own[0][0], str) else "the table"
        found.append(readings.readings(_joined(own, schema), schema, asked.tolerance, where))
    return pl.concat(found)


def _joined(tables: Sequence[tuple[Any, Table]], wanted: Schema) -> pl.DataFrame:
    """The rows of tables that must all be of one kind."""
    for source, (schema, _, _) in tables:
        if schema is not wanted:
            name = source if isinstance(source, str) else "the table"
            raise MismatchError(
                f"{name}: is of kind {schema.name}; expected {wanted.name}. `vhs {wanted.writer}` writes it."
            )
    return pl.concat([table.rows for _, table in tables]).unique(maintain_order=True)


def read_all(sources: Sequence[Any], asked: Asked, read: Read) -> tuple[pl.DataFrame, Asked]:
    """(the rows that the summary takes, the options with those of other tables it takes beside them).

    Raises UsageError where these are missing.
    """
    wanted = of(asked)
    if wanted.any_kind:
        by = asked.study.choose_by
        beside = None if by is None else _readings([by], read, asked, only=VALIDATION)
        return _readings(sources, read, asked), replace(asked, beside=beside)
    if not wanted.beside:
        return join(sources, wanted.of, read), asked
    tables = [(source, read(source)) for source in sources]  # once: one may come through a pipe
    other = [pair for pair in tables if pair[1].schema in wanted.beside]
    first = [pair for pair in tables if pair[1].schema not in wanted.beside]
    assert wanted.of is not None
    if not other and wanted.optional:
        return _joined(first, wanted.of), asked
    if not other or not first:
        names = " or ".join(schema.name for schema in wanted.beside[:2])
        raise UsageError(f"--summary {asked.summary}: takes a {wanted.of.name} table and an {names} table together.")
    rows = _joined(first, wanted.of)
    if schemas.FOLDS not in wanted.beside:
        further = _joined(other, other[0][1].schema)
    else:
        further = comparison.read_folds([source for source, _ in other], _remembering(other, read))
    return rows, replace(asked, beside=further)


def _remembering(tables: Sequence[tuple[Any, Table]], read: Read) -> Read:
    """Reads what was read already no more than once."""

    def again(source: Any) -> Table:
        return next((table for known, table in tables if known is source), None) or read(source)

    return again


def summarise(sources: Sequence[Any], asked: Asked, read: Read, progress: Progress = silent) -> pl.DataFrame:
    """Read what the summary takes, and make it."""
    rows, asked = read_all(sources, asked, read)
    return of(asked).make(rows, asked, read, progress)


def beside(asked: Asked) -> pl.DataFrame:
    """The rows of the tables that stand beside the first."""
    assert asked.beside is not None
    return asked.beside


def _arms(rows: pl.DataFrame, asked: Asked, *_: Any) -> pl.DataFrame:
    return arms_table.arms(rows, asked.study, asked.beside)


def _mce(rows: pl.DataFrame, asked: Asked, *_: Any) -> pl.DataFrame:
    return mce.summarise(rows, mce.normaliser(asked.normalise_by, rows, classes=asked.classes), asked.folds)


WITH_FOLDS = (schemas.ABLATE, schemas.ABLATE_REGRESSION, schemas.FOLDS, schemas.FOLDS_REGRESSION)
"""Tables that are folds or have them beside them."""
SUMMARIES = {
    "contrast": Summary(
        schemas.CONTRAST, None, lambda rows, asked, _read, _progress: comparison.contrasts(rows, asked.scales)
    ),
    "rollup": Summary(schemas.ROLLUP, None, lambda rows, asked, _read, _progress: rollup.rollups(rows, asked.scales)),
    "redundancy": Summary(
        schemas.REDUNDANCY, None,
        lambda rows, asked, _read, _progress: redundancy.redundancies(rows, asked.tolerance, seed=asked.seed),
    ),
    "routing": Summary(
        schemas.ROUTING, None,
        lambda rows, asked, _read, _progress: routing.routes(rows, asked.scales, asked.tolerance),
    ),
    "metrics": Summary(
        schemas.METRICS, schemas.HEADS,
        lambda rows, asked, _read, progress: importance.metrics(
            rows, beside(asked), asked.scales, seed=asked.seed, progress=progress
        ), WITH_FOLDS,
    ),
    "roles": Summary(
        schemas.ROLES, schemas.HEADS,
        lambda rows, asked, _read, _progress: roles.roles(rows, beside(asked), asked.tolerance), WITH_FOLDS,
    ),
    "models": Summary(
        schemas.MODELS, schemas.HEADS,
        lambda rows, asked, _read, _progress: models.models(rows, beside(asked), seed=asked.seed),
        (schemas.EVALSHIFT,),
    ),
    "arms": Summary(
        schemas.ARMS, None, _arms, any_kind=True,
    ),
    "trajectory": Summary(
        schemas.TRAJECTORY, None,
        lambda rows, asked, _read, progress: trajectory.trajectories(
            rows, asked.scales, seed=asked.seed, progress=progress
        ),
    ),
    "effective": Summary(
        schemas.EFFECTIVE, schemas.EVALSHIFT,
        lambda rows, asked, _read, _progress: robustness.effective(
            rows, seed=asked.seed, known=None if asked.baselines is None else baselines.read(asked.baselines)
        ),
    ),
    "shifts": Summary(
        schemas.SHIFTS, None,
        lambda rows, asked, _read, progress: shifts.shifts(rows, asked.scales, seed=asked.seed, progress=progress),
    ),
    "exclusivity": Summary(
        schemas.EXCLUSIVITY, schemas.PROBES,
        lambda rows, asked, _read, _progress: exclusivity.exclusive(rows, asked.attributes, asked.beside),
        (schemas.ABLATE,), optional=True,
    ),
    "mce": Summary(schemas.MCE, schemas.EVALSHIFT, _mce),
    "groups": Summary(
        schemas.GROUPS, schemas.EVALSHIFT,
        lambda rows, asked, _read, _progress: worst_groups.summarise(rows, asked.shares or {}),
    ),
    "kinds": Summary(
        schemas.KINDS, schemas.HEADS,
        lambda rows, asked, _read, _progress: kinds.kinds(rows, asked.beside, asked.tolerance),
        (schemas.ABLATE, schemas.ABLATE_REGRESSION),
    ),
}  # fmt: skip
OF_SHIFT = tuple(name for name, summary in SUMMARIES.items() if summary.schema.writer.startswith("evalshift"))
"""Those that `vhs evalshift` can make of its own rows."""

_CORRELATIONS = Summary(
    schemas.COMPARE, None,
    lambda rows, asked, _read, progress: comparison.correlations(
        rows, asked.scales, seed=asked.seed, progress=progress
    ),
)  # fmt: skip
_VERSUS = Summary(
    schemas.VERSUS, schemas.OUTCOMES,
    lambda rows, asked, read, _progress: versus.versus(rows, join([asked.against], schemas.OUTCOMES, read)),
)  # fmt: skip
_ESTIMATED = Summary(
    schemas.ESTIMATED, schemas.ESTIMATES,
    lambda rows, asked, read, _progress: estimated.beside_exact(rows, join([asked.exact], schemas.ABLATE, read)),
)  # fmt: skip
