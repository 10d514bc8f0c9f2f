"""Published clean and shifted accuracies of reference models, from a table that the user names or from ours.

A row a model and condition; columns `model`, `shift`, `corruption` and `severity` (missing or empty: a set, or a whole
family), `clean`, `shifted` (shares of right answers), and whatever else, such as `source`.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import polars as pl

from vhs.errors import InputError, MismatchError
from vhs.shifts.names import FAMILIES, SEVERITIES
from vhs.summaries.comparison import CONDITION

PUBLISHED = "published"
"""The table that comes along: vhs/roles/published.csv."""
NEEDED = ("model", "shift", "clean", "shifted")
TYPES = {
    "model": pl.String, "shift": pl.String, "corruption": pl.String, "severity": pl.Int64, "clean": pl.Float64,
    "shifted": pl.Float64,
}  # fmt: skip


def read(source: str | Path | pl.DataFrame) -> pl.DataFrame:
    """The columns of TYPES. Raises InputError for a table that lacks some, or whose numbers are no shares."""
    if isinstance(source, pl.DataFrame):
        return _checked(source, "the table of baselines")
    if source == PUBLISHED:
        return _checked(pl.read_csv((files("vhs.roles") / "published.csv").read_bytes()), PUBLISHED)
    try:
        table = pl.read_parquet(source) if str(source).endswith(".parquet") else pl.read_csv(source)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"{source}: cannot be read: {str(error).splitlines()[0]}") from error
    return _checked(table, str(source))


def _checked(table: pl.DataFrame, where: str) -> pl.DataFrame:
    missing = [name for name in NEEDED if name not in table.columns]
    if missing:
        raise InputError(f"{where}: lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)} of baselines.")
    for name in ("corruption", "severity"):
        if name not in table.columns:
            table = table.with_columns(pl.lit(None).alias(name))
    try:
        table = table.select(pl.col(name).cast(of) for name, of in TYPES.items())
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{where}: {str(error).splitlines()[0]}. Accuracies are numbers such as .761.") from error
    table = table.with_columns(pl.col("corruption").replace("", None), pl.col("severity").fill_null(0))
    if not len(table):
        raise InputError(f"{where}: has no rows. Expected a model and a condition in each.")
    for row in table.iter_rows(named=True):
        if any(row[name] is None or not 0 < row[name] < 1 for name in ("clean", "shifted")):
            raise InputError(
                f"{where}: {row['model']} under {row['shift']} has {row['clean']} and {row['shifted']}; expected "
                f"shares between 0 and 1, not percent."
            )
    twice = table.filter(table.select("model", *CONDITION).is_duplicated())
    if len(twice):
        raise InputError(f"{where}: {twice['model'][0]} stands twice under {twice['shift'][0]}. Keep one of them.")
    return table


def with_families(single: pl.DataFrame, known: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Rows of models and conditions, with means over a whole family where the baselines have one and a model has all of
    it; the corruption is empty then."""
    asked = known.filter(pl.col("corruption").is_null())["shift"].unique(maintain_order=True).to_list()
    parts = [single]
    for family in (name for name in asked if name in FAMILIES):
        whole = len(FAMILIES[family]) * len(SEVERITIES)
        members = single.filter((pl.col("shift") == family) & pl.col("corruption").is_not_null())
        means = members.group_by(*keys, "shift", maintain_order=True).agg(
            pl.col("shifted").mean(), pl.col("n").min(), data=pl.col("data").first(), count=pl.len(),
            corruption=pl.lit(None, pl.String), severity=pl.lit(0, pl.Int64),
        )  # fmt: skip
        parts.append(means.filter(pl.col("count") == whole).select(single.columns))
    return pl.concat(parts)


def of_conditions(table: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """The rows whose condition has baselines. Raises MismatchError naming those there are."""
    found = table.join(
        known.select(CONDITION).unique(), on=CONDITION, how="semi", nulls_equal=True, maintain_order="left"
    )
    if not len(found):
        have = ", ".join(known["shift"].unique(maintain_order=True))
        raise MismatchError(
            f"--baselines: no condition of the shift table is among them; they are of {have}. Names must be equal; a "
            f"family without a corruption is its mean, which takes all of it."
        )
    return found


def is_same(one: str, other: str) -> bool:
    """Whether two names are one model's: `timm:` aside, and a tag (`.fb_in1k`) that one of them leaves out."""
    (first, _, tag), (second, _, other_tag) = (name.rpartition(":")[2].partition(".") for name in (one, other))
    return first == second and (tag == other_tag or not tag or not other_tag)
