"""What tables of many models and of training say, in sentences made from their numbers; as figures/findings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

from vhs.figures import arms, effects, words
from vhs.figures.matches import assigned
from vhs.figures.style import short

PRIMARY = "jsd_layer"
"""The measure of specialization that is named beforehand."""


def _metrics(table: pl.DataFrame) -> str:
    rows = table.filter(pl.col("model_id") == table["model_id"][0])
    scale = "loss" if "loss" in rows["scale"] else rows["scale"][0]
    rows = effects.first_condition(rows.filter(pl.col("scale") == scale))
    top = (
        rows.with_columns(size=pl.col("r").abs()).sort("size", descending=True, maintain_order=True).row(0, named=True)
    )
    beyond = rows.filter(pl.col("q") < effects.ALPHA).height
    name = " ".join([top["metric"], *([top["of"]] if top["of"] else [])])
    return (
        f"Of {len(rows)} measures {beyond} go with how much heads matter on clean images (by {scale}, q < 0.05), most "
        f"of all {name}: rank correlation {top['r']:.2f} (95 % over {top['n_heads']} heads {top['lo']:.2f} to "
        f"{top['hi']:.2f}), {top['r_within']:.2f} within layers; it adds {top['r2_added']:.0%} of variance to the "
        f"{top['r2_layer']:.0%} of depth, and importances repeat themselves at {top['reliability']:.2f}."
    )


def _matches(table: pl.DataFrame) -> str:
    rows = effects.first_condition(table.filter(pl.col("model_id") == table["model_id"][0]))
    matched = assigned(rows)
    specific = matched.filter((pl.col("q_specific") < effects.ALPHA) & (pl.col("q_above") < effects.ALPHA)).height
    above = matched.filter(pl.col("q_above") < effects.ALPHA).height
    left = len(rows) - len(matched)
    means = [matched[name].to_numpy().mean() for name in ("similarity", "across", "random")]
    digits = 4 if means[0] > 0.99 else 2  # nearly equal maps would all be 1.00
    text = (
        f"Of {len(matched)} heads of {short(rows['model'][0])}, {above} have a match in {short(rows['model_b'][0])} "
        f"that is more like them than a random partner, {specific} of these agree about what is in the image "
        f"(q < 0.05); mean similarity {means[0]:.{digits}f}, across images {means[1]:.{digits}f}, to a random partner "
        f"{means[2]:.{digits}f}"
    )
    text = f"{text}; {left} heads of either are left over." if left else f"{text}."
    return f"{text} {_by_answers(matched)}".rstrip()


def _by_answers(matched: pl.DataFrame) -> str:
    """Where maps differ: on images that both answer right, or only the other model."""
    parts = []
    for cell, who in (("both", "both answer"), ("other", f"only {short(matched['model_b'][0])} answers")):
        apart = matched[f"jsd_{cell}"].drop_nulls().to_numpy()
        if len(apart):
            count = matched[f"n_{cell}"].to_numpy().max()
            parts.append(f"{apart.mean():.3f} nats where {who} right ({count:,.0f} images)")
    return f"Their maps are {' and '.join(parts)} apart." if parts else ""


def _trajectory(table: pl.DataFrame) -> str:
    scale = "loss" if "loss" in table["scale"] else table["scale"][0]
    rows = effects.first_condition(table.filter((pl.col("scale") == scale) & (pl.col("run") == table["run"][0])))
    rows = rows.sort("step")
    first, last = rows.row(0, named=True), rows.row(-1, named=True)
    text = (
        f"From update {first['step']:,} to {last['step']:,} of {short(first['run'])} the inequality of heads' "
        f"importances (Gini, by {scale}, clean) goes from {first['gini']:.2f} ({first['gini_lo']:.2f} to "
        f"{first['gini_hi']:.2f}) to {last['gini']:.2f} ({last['gini_lo']:.2f} to {last['gini_hi']:.2f})"
    )
    if last["disattenuated"] is None:
        return f"{text}; their ranks at the end do not repeat themselves on other images (r = {last['r']:.2f})."
    near = rows.filter((pl.col("r") >= 0.8 * last["r"]) & (pl.col("step") < last["step"]))
    when = f"from update {near['step'][0]:,} on" if len(near) else "only at the end"
    return f"{text}; four fifths of the repeatable ranks of the end (r = {last['r']:.2f}) are there {when}."


def _effective(table: pl.DataFrame) -> str:
    mean = table.filter(pl.col("shift") == "mean")
    first = table.select("shift", "corruption", "severity").head(1)
    rows = mean if len(mean) else table.join(first, on=first.columns, how="semi", nulls_equal=True)
    under = "shift on average" if len(mean) else words.condition(*first.row(0))
    who = "20 of other runs" if len(mean) else "20 published ones"
    known = rows.drop_nulls("effective").sort("effective")
    if not len(known):
        return f"Of {len(rows)} models none has {who} around its clean accuracy: no effective robustness."
    low, high = known.row(0, named=True), known.row(-1, named=True)
    least, most = (
        _beyond(row, "over seeds and images" if len(mean) else "over those and images") for row in (low, high)
    )
    told = f"from {least} to {most}" if len(known) > 1 else least
    return (
        f"Beyond what clean accuracy gives, {len(known)} of {len(rows)} models can be compared ({who} "
        f"around them): {told} under {under}."
    )


def _beyond(row: dict[str, Any], over: str) -> str:
    """`+1.2 points (6h, seed 0, update 640, 95 % over seeds +0.3 to +2.0)`."""
    seed = "" if row["seed"] is None else f", seed {row['seed']}"
    step = "" if row["step"] is None else f", update {row['step']}"
    lo, hi = (row[f"effective_{end}"] for end in ("lo", "hi"))
    interval = "" if lo is None else f", 95 % {over} {lo * 100:+.1f} to {hi * 100:+.1f}"
    return f"{row['effective'] * 100:+.1f} points ({short(row['recipe'])}{seed}{step}{interval})"


def _models(table: pl.DataFrame) -> str | None:
    """Three sentences: do heads specialize, does it predict robustness, does the number of heads matter?"""
    of_named = table.filter((pl.col("what") == PRIMARY) & (pl.col("statistic") == "mean"))
    said = [_specialize(of_named), _predict(of_named), _number(table)]
    return " ".join(part for part in said if part) or None


def _specialize(rows: pl.DataFrame) -> str | None:
    found = rows.filter((pl.col("question") == "learned") & (pl.col("recipe") == "all"))
    if not len(found):
        return None
    row = found.row(0, named=True)
    sure = row["lo"] is not None and row["lo"] > 0
    verb = "specialize" if sure else "cannot be said to specialize"
    return (
        f"Heads {verb} in training: a head's map moves away from those of its layer by {row['value']:+.3f} nats "
        f"({_seeds(row)}, {row['n_models']} runs)."
    )


def _predict(rows: pl.DataFrame) -> str | None:
    found = rows.filter((pl.col("question") == "predicts") & pl.col("against").is_null())
    if not len(found):
        return None
    row = found.row(0, named=True)
    last = rows.filter((pl.col("question") == "predicts") & (pl.col("against") == "last"))
    ends = "".join(f"; {end['value']:+.2f} ({_seeds(end)}) among the {end['n_models']} at the end of training"
                   for end in last.iter_rows(named=True))  # fmt: skip
    sure = row["lo"] is not None and (row["lo"] > 0 or row["hi"] < 0) and (row["p"] is None or row["p"] < effects.ALPHA)
    verb = "goes" if sure else "cannot be shown to go"
    few = " (under 40 checkpoints say little)" if row["n_models"] < 40 else ""
    return (
        f"At equal clean accuracy that {verb} with accuracy under shift: partial correlation {row['value']:+.2f} "
        f"({_seeds(row)}, {_p(row)}{row['n_models']} checkpoints){few}{ends}."
    )


def _p(row: dict[str, float | None]) -> str:
    return "" if row["p"] is None else f"p = {row['p']:.2g}, "


def _number(table: pl.DataFrame) -> str | None:
    found = table.filter((pl.col("question") == "difference") & (pl.col("what") == "shifted"))
    if not len(found):
        return None
    told = [
        f"{row['recipe']} against {row['against']} {row['value'] * 100:+.1f} points of accuracy under shift "
        f"({row['lo'] * 100:+.1f} to {row['hi'] * 100:+.1f}, p = {row['p']:.2g})" for row in found.iter_rows(named=True)
    ]  # fmt: skip
    sure = ((found["lo"] > 0) | (found["hi"] < 0)).any()
    return f"Recipes {'differ' if sure else 'cannot be told apart'}: {'; '.join(told)}."


def _seeds(row: dict[str, float]) -> str:
    return f"95 % over {row['over']} {row['lo']:+.3f} to {row['hi']:+.3f}" if row["lo"] is not None else "one seed"


def _arms(table: pl.DataFrame) -> str | None:
    """The first effect that was asked for, and what so few runs could have shown; how many others are told from 0."""
    found = table.filter(pl.col("question") == "effect").drop_nulls("p")
    if not len(found):
        return None
    row = found.row(0, named=True)
    share = row["what"] in arms.SHARES
    value, lo, hi, least = (row[name] * (100 if share else 1) for name in ("value", "lo", "hi", "detectable"))
    unit = f"points of {words.plain(row['what'])}" if share else words.plain(row["what"])
    under = {None: "", "clean": " on clean images", "mean": " under shift"}.get(
        row["condition"], f" under {words.named(row['condition'] or '')}"
    )
    sure = (found["q"] < effects.ALPHA).sum()
    digits = 1 if share else 3
    return (
        f"{row['arm']}: {value:+.{digits}f} {unit}{under} (95 % over {row['n_runs']} runs {lo:+.{digits}f} to "
        f"{hi:+.{digits}f}, p = {row['p']:.2g}); so many runs find {least:.{digits}f} in four of five cases. Of "
        f"{len(found)} effects {sure} {'is' if sure == 1 else 'are'} told from 0 (q < 0.05)."
    )


SENTENCES: dict[str, Callable[[pl.DataFrame], str | None]] = {
    "metrics": _metrics,
    "matches": _matches,
    "trajectory": _trajectory,
    "effective": _effective,
    "models": _models,
    "arms": _arms,
}
