"""What a table says of each model in single numbers, which can be averaged over training seeds: its readings.

A reading has a name (`what`), what it is of (a target, a metric's region, an order of heads), a layer where it is of
one, a condition, and a value. Heads and pairs are averaged, since head 3 of one seed is not head 3 of another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import polars as pl

from vhs.arms.averaging import MEAN, UNSHIFTED, averaged, by_layer, long_rows, single, with_means
from vhs.errors import MismatchError, choices
from vhs.formats.schemas import SCHEMAS, Schema
from vhs.formats.tables import condition_name
from vhs.roles.importance import LAID_OUT
from vhs.shifts.names import CATEGORY

COLUMNS = ("model", "data", "condition", "what", "of", "layer", "value", "members")
"""members: of a mean over conditions, how many and which, as a word that is equal for equal ones."""
ALPHA, SCALES = 0.05, 2
"""A head's effect differs under shift where q is below ALPHA on so many scales."""
DONE = ("fill", "method", "rescale", "fill_data", "precision")
"""How a unit was removed: told beside it where a table has several ways."""
KINDS = ("one", "several", "diffuse", "undecided")
HELD = ("robust", "spurious", "both", "neither")


def readings(rows: pl.DataFrame, schema: Schema, tolerance: float, where: str = "the table") -> pl.DataFrame:
    """The readings of tables of one kind: a row a model, condition and number, with the columns COLUMNS.

    Snapshots are left out, but where the table is of their succession; so are single groups and sets of fewer classes,
    where a condition has all. tolerance: of what `removable` says of a prune table; where: whose rows these are. Raises
    MismatchError for a kind of table that has none, and for a model that says two things of one condition.
    """
    if schema.name not in READINGS:
        raise MismatchError(
            f"{where}: is of kind {schema.name}, of which nothing is averaged over seeds. Name tables of kinds "
            f"{choices(READINGS)}."
        )
    named = _named(_ends(rows) if schema.name != "trajectory" else rows.with_columns(model="run"))
    found = READINGS[schema.name](named.with_columns(tolerance=pl.lit(tolerance)))
    return (
        found.select(*(pl.col(name) if name in found.columns else pl.lit(None).alias(name) for name in COLUMNS))
        .cast({"data": pl.String, "of": pl.String, "layer": pl.Int64, "value": pl.Float64, "members": pl.String})
        .drop_nulls("value")
    )


def _ends(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(~pl.col("model").str.contains(".snapshots/", literal=True))


def _named(rows: pl.DataFrame) -> pl.DataFrame:
    """With `condition`, one word for shift, corruption and severity; of all samples and all classes."""
    measured = [name for name in ("model", "data", "shift", "corruption", "severity") if name in rows.columns]
    for name in ("group", "label_set"):
        if name in rows.columns:  # a set of fewer classes has no `all`, and is all there is of it
            rows = rows.filter((pl.col(name) == "all") | ~(pl.col(name) == "all").any().over(measured))
    if "shift" not in rows.columns:
        return rows.with_columns(condition=pl.lit(None, pl.String))
    told = rows.select("shift", "corruption", "severity").unique()
    names = [condition_name(*row) for row in told.rows()]
    known = told.with_columns(condition=pl.Series(names, dtype=pl.String))
    return rows.join(known, on=["shift", "corruption", "severity"], how="left", nulls_equal=True, maintain_order="left")


def _units(rows: pl.DataFrame) -> pl.DataFrame:
    """Of an ablation: units but the sham, named with the ways they were removed in where there are several."""
    units = rows.filter(pl.col("unit") != "none")
    ways = [name for name in DONE if units[name].n_unique() > 1]
    named = pl.concat_str(
        [pl.col("unit"), *(pl.col(name).cast(pl.String) for name in ways)], separator="/", ignore_nulls=True
    )
    return units.with_columns(of=named, unit_named=pl.struct("module", "layer", "head", "layer_b", "head_b", "heads"))


def _ablation(rows: pl.DataFrame) -> pl.DataFrame:
    """Mean effects over heads; `top1`, accuracy without; `matters`, the share of units with q < .05."""
    units = _units(rows).with_columns(
        top1=pl.col("n_correct") / pl.col("n"), matters=((pl.col("q") < ALPHA) & (pl.col("drop") > 0)).cast(pl.Float64)
    )
    return with_means(by_layer(_of_units(units, ("drop", "dloss", "top1", "matters"))))


def _errors_ablation(rows: pl.DataFrame) -> pl.DataFrame:
    units = _units(rows)
    of = pl.col("target") if units["of"].n_unique() < 2 else pl.format("{}/{}", "target", "of")
    units = units.with_columns(of=of, matters=((pl.col("q") < ALPHA) & (pl.col("dmse") > 0)).cast(pl.Float64))
    by_target = by_layer(_of_units(units, ("dmse_rel", "matters")))
    every = by_target.with_columns(
        of=pl.concat_str(pl.lit("all targets"), pl.col("of").str.extract("(/.*)$"), ignore_nulls=True)
    )
    return with_means(pl.concat([averaged(every), by_target]))


def _of_units(units: pl.DataFrame, values: Sequence[str]) -> pl.DataFrame:
    """The values of every unit once."""
    return single(long_rows(units, values, "of", "unit_named"), "unit_named")


def _evaluation(rows: pl.DataFrame) -> pl.DataFrame:
    return with_means(single(long_rows(rows, ("top1", "loss", "ece"))))


def _errors(rows: pl.DataFrame) -> pl.DataFrame:
    return with_means(single(long_rows(rows, ("r2", "mse"), "target")))


def _groups(rows: pl.DataFrame) -> pl.DataFrame:
    return with_means(single(long_rows(rows, ("worst_top1", "adjusted_top1", "top1"), "attribute")))


def _redundancy(rows: pl.DataFrame) -> pl.DataFrame:
    shares = rows.with_columns(
        (pl.col(f"n_{name}") / pl.col("n_heads")).alias(name) for name in ("needed", "undecided")
    )
    return with_means(single(long_rows(shares, ("redundant", "needed", "undecided"))))


def _contrast(rows: pl.DataFrame) -> pl.DataFrame:
    """Shares of heads that matter more, or less, under some shift than on clean images: on two scales, q < .05."""
    keys = ["model", "layer", "head"]
    every = rows.group_by(keys, maintain_order=True).len().select(keys)
    if rows["scale"].n_unique() < SCALES:
        raise MismatchError(
            f"the contrast table is of {rows['scale'][0]} alone; expected {SCALES} scales, on which a head must differ."
        )
    parts = []
    for name, sign in (("more_under_shift", 1), ("less_under_shift", -1)):
        hits = rows.filter((pl.col("q") < ALPHA) & (pl.col("diff").sign() == sign))
        held = hits.group_by(*keys, "b").agg(scales=pl.col("scale").n_unique()).filter(pl.col("scales") >= SCALES)
        found = every.join(held.select(keys).unique().with_columns(hit=1.0), on=keys, how="left")
        parts.append(averaged(found.select("model", what=pl.lit(name), value=pl.col("hit").fill_null(0.0))))
    return pl.concat(parts)


def _specialized(rows: pl.DataFrame) -> pl.DataFrame:
    kept = rows.filter(~pl.col("metric").is_in(LAID_OUT) & (pl.col("weighting") == "attention"))
    of = pl.concat_str(pl.col("of"), pl.when(pl.col("query") != "none").then("query"), separator=" ", ignore_nulls=True)
    told = kept.with_columns(what="metric", of=pl.when(of != "").then(of))
    keys = ["model", "data", "shift", "category", "condition", "layer", "what", "of"]
    return with_means(by_layer(told.select(*keys, "value")))


def _pairs(rows: pl.DataFrame) -> pl.DataFrame:
    own = rows.filter(pl.col("layer") == pl.col("layer_b")).with_columns(what="metric", of=pl.lit("within layers"))
    keys = ["model", "data", "shift", "category", "condition", "layer", "what", "of"]
    return with_means(by_layer(own.select(*keys, "value")))


def _matches(rows: pl.DataFrame) -> pl.DataFrame:
    """Divergence from the assigned head of the other model, by who answers right; `same`: how often head h of a layer
    is assigned head h of it."""
    paired = rows.filter(pl.col("assigned").fill_null("yes") == "yes").drop_nulls("head_b")
    told = paired.with_columns(
        same=((pl.col("layer") == pl.col("layer_b")) & (pl.col("head") == pl.col("head_b"))).cast(pl.Float64)
    )
    cells = ("similarity", "specific", "jsd_both", "jsd_other", "jsd_own", "jsd_neither", "same")
    return with_means(by_layer(long_rows(told, cells)))


def _kinds(rows: pl.DataFrame) -> pl.DataFrame:
    """Shares of heads of each kind, of those that matter besides, and of those that look at one region, by region."""
    shares = {f"{kind}": pl.col("kind") == kind for kind in KINDS}
    shares |= {f"{kind} and matters": (pl.col("kind") == kind) & (pl.col("relevant") == "yes") for kind in KINDS}
    regions = sorted(rows.filter(pl.col("kind") == "one")["regions"].drop_nulls().unique().to_list())
    shares |= {f"one region: {name}": (pl.col("kind") == "one") & (pl.col("regions") == name) for name in regions}
    told = rows.with_columns(
        share.fill_null(value=False).cast(pl.Float64).alias(name) for name, share in shares.items()
    )
    return with_means(by_layer(long_rows(told, tuple(shares))))


def _exclusivity(rows: pl.DataFrame) -> pl.DataFrame:
    told = rows.with_columns((pl.col("kind") == kind).cast(pl.Float64).alias(kind) for kind in HELD)
    return with_means(by_layer(long_rows(told, (*HELD, "exclusivity"), "source")))


def _pruned(rows: pl.DataFrame) -> pl.DataFrame:
    """Accuracy and calibration by order and heads left, on the images that report; random orders averaged; `removable`:
    the largest share of heads whose loss stays surely below the tolerance, `certified` the largest certified share."""
    held = rows.filter((pl.col("used_for") == "report") & (pl.col("over") != "corruption")).with_columns(
        kind=pl.col("order").str.replace(r"^random-\d+$", "random"),
        all_heads=pl.col("heads_left").max().over("model"),
        condition=pl.when(pl.col("over") == "mean").then(pl.lit(MEAN)).otherwise("condition"),
    )
    alone, held = held.filter(pl.col("order") == "single"), held.filter(pl.col("order") != "single")
    steps = held.with_columns(of=pl.format("{}@{}", "kind", "heads_left"))
    reached = averaged(long_rows(steps, ("top1", "drop", "ece", "images_per_s"), "of").drop("shift", "category"))
    shifted = steps.filter((pl.col("over") == "condition") & ~pl.col("shift").is_in(UNSHIFTED))
    calibrated = averaged(
        long_rows(shifted.with_columns(condition=pl.lit(MEAN)), ("ece",), "of").drop("shift", "category")
    )
    return pl.concat([reached, calibrated, _furthest(held), *_alone(alone)])


def _furthest(held: pl.DataFrame) -> pl.DataFrame:
    """How far each order goes, of random ones the mean over orders."""
    gone = 1 - pl.col("heads_left") / pl.col("all_heads")
    ends = held.with_columns(
        of="kind", removable=pl.when(pl.col("drop_hi") < pl.col("tolerance")).then(gone).otherwise(0.0),
        certified=pl.when(pl.col("certified").fill_null(value=False)).then(gone).otherwise(0.0),
    )  # fmt: skip
    values = ("removable", "certified") if held["certified"].null_count() < len(held) else ("removable",)
    far = long_rows(ends, values, "of", "order").drop("shift", "category")
    keys = [name for name in far.columns if name != "value"]
    return averaged(far.group_by(keys, maintain_order=True).agg(pl.col("value").max()).drop("order"))


def _alone(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Shares of heads that can surely go one at a time, and that surely cannot."""
    told = rows.filter(pl.col("heads_left") < pl.col("all_heads")).with_columns(
        of=pl.lit("alone"), removable=(pl.col("drop_hi") < pl.col("tolerance")).cast(pl.Float64),
        needed=(pl.col("drop_lo") > pl.col("tolerance")).cast(pl.Float64),
    )  # fmt: skip
    if len(told):
        yield averaged(long_rows(told, ("removable", "needed"), "of").drop("shift", "category"))


def _shifts(rows: pl.DataFrame) -> pl.DataFrame:
    """How alike the importances of heads are under two shifts, noise taken out: `shared`, mean over pairs; of single
    corruptions apart for pairs of one category, of two, and with clean images."""
    pairs = rows.filter(~pl.col("within_layer") & (pl.col("a") != pl.col("b"))).drop_nulls("disattenuated")
    a, b = (pl.col(name).replace_strict(CATEGORY, default=None, return_dtype=pl.String) for name in ("a", "b"))
    single = pl.col("level") == "corruption"
    clean = single & (pl.col("a").is_in(UNSHIFTED) | pl.col("b").is_in(UNSHIFTED))
    kind = pl.when(clean).then(pl.lit("with clean")).when(a == b).then(pl.lit("one category")).when(a != b)
    told = pairs.with_columns(
        what=pl.lit("shared"), value="disattenuated",
        of=pl.format("{}/{}", kind.then(pl.lit("two categories")).otherwise("level"), "metric"),
    )  # fmt: skip
    return averaged(told.select("model", "condition", "what", "of", "value"))


def _agreement(rows: pl.DataFrame) -> pl.DataFrame:
    told = rows.with_columns(
        of=pl.when(pl.col("within_layer")).then(pl.format("{}/within-layers", "metric")).otherwise("metric"),
        ceiling=(pl.col("reliability_a") * pl.col("reliability_b")).clip(0).sqrt(), condition=pl.lit(MEAN),
    )  # fmt: skip
    return averaged(long_rows(told, ("r", "disattenuated", "ceiling"), "of"))


def _importance(rows: pl.DataFrame) -> pl.DataFrame:
    of = pl.concat_str(
        "metric", "of", pl.when(pl.col("query") != "none").then("query"), separator=" ", ignore_nulls=True
    )
    told = rows.filter(pl.col("weighting") == "attention").with_columns(of=pl.format("{}/{}", of, "scale"))
    return with_means(averaged(long_rows(told, ("r", "r_within", "reliability"), "of")))


def _trajectory(rows: pl.DataFrame) -> pl.DataFrame:
    told = rows.with_columns(of=pl.format("{}@{}", "scale", "step"))
    return with_means(averaged(long_rows(told, ("gini", "r", "disattenuated"), "of")))


def _mce(rows: pl.DataFrame) -> pl.DataFrame:
    told = rows.with_columns(of=pl.coalesce("corruption", "category", pl.lit("all")), condition=pl.lit(MEAN))
    return averaged(long_rows(told, ("ce", "relative_ce", "error"), "of"))


READINGS: dict[str, Callable[[pl.DataFrame], pl.DataFrame]] = {
    "evalshift": _evaluation, "evalshift_regression": _errors, "groups": _groups, "mce": _mce, "ablate": _ablation,
    "ablate_regression": _errors_ablation, "redundancy": _redundancy, "contrast": _contrast, "compare": _agreement,
    "shifts": _shifts, "heads": _specialized, "pairs": _pairs, "matches": _matches, "kinds": _kinds,
    "exclusivity": _exclusivity, "metrics": _importance, "trajectory": _trajectory, "prune": _pruned,
}  # fmt: skip
"""Kind of table -> its readings."""
assert set(READINGS) <= set(SCHEMAS)
