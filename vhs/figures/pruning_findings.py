"""What a prune table says, in a sentence or two that a paper can quote."""

from __future__ import annotations

import polars as pl

from vhs.figures import words

REDUNDANT = 0.005
"""Accuracy lost, as a fraction, below which heads are dispensable."""
OVER = {
    "condition": "in each of {count} conditions",
    "corruption": "in the mean over severities of each of {count} corruptions",
    "mean": "in the mean of {count} conditions",
}  # fmt: skip


def sentence(table: pl.DataFrame) -> str:
    """Of the first order: the certificate, or what the heads cost; and what random orders cost."""
    first = table.filter((pl.col("order") == table["order"][0]) & (pl.col("model_id") == table["model_id"][0]))
    tested = first.filter(pl.col("certified").is_not_null())
    parts = [_certified(first, tested)] if len(tested) else []
    return " ".join([*parts, _half(table, first), _redundant(table, first)])


def _certified(first: pl.DataFrame, tested: pl.DataFrame) -> str:
    whole, passed = int(first["heads_left"].max()), tested.filter(pl.col("certified"))  # type: ignore[arg-type]
    epsilon, confidence = float(tested["epsilon"][0]) * 100, float(tested["confidence"][0])
    over = tested["over"][0]
    if over == "mean":
        count = first.filter((pl.col("over") == "condition") & (pl.col("shift") != "clean")).select(
            "shift", "corruption", "severity").unique().height  # fmt: skip
    else:
        count = tested.select("shift", "corruption", "severity").unique().height
    images = int(tested["n"][0])
    if not len(passed):
        return f"No head of {whole} is certified to cost at most {epsilon:g} points on {images:,} images."
    gone = whole - int(passed["heads_left"].min())  # type: ignore[arg-type]
    where = OVER[over].format(count=count) if count > 1 else f"under {_condition(tested)}"
    return (
        f"Without {gone} of {whole} heads at most {epsilon:g} points of accuracy are lost {where}, with confidence "
        f"{confidence:g}, for images like these {images:,}."
    )


def _condition(tested: pl.DataFrame) -> str:
    return words.condition(*tested.select("shift", "corruption", "severity").row(0))


def _half(table: pl.DataFrame, first: pl.DataFrame) -> str:
    """What about half of the heads cost, beside random orders."""
    whole = int(first["heads_left"].max())  # type: ignore[arg-type]
    joint = _reported(first)
    name, where = _where(joint)
    steps = joint.filter(pl.col("shift") == name)
    nearest = steps.with_columns(far=(pl.col("heads_left") - whole / 2).abs()).sort("far", maintain_order=True)
    row = nearest.row(0, named=True)
    drop, lo, hi = (row[key] * 100 for key in ("drop", "drop_lo", "drop_hi"))
    left = row["heads_left"]
    control = _reported(table).filter(
        pl.col("order").str.starts_with("random-") & (pl.col("heads_left") == left) & (pl.col("shift") == name)
    )
    beside = f"; random ones {control['drop'].to_numpy().mean() * 100:.1f} on average" if len(control) else ""
    return (
        f"Without {whole - left} of {whole} heads by order {first['order'][0]} {drop:.1f} points of accuracy are lost "
        f"({where}; {lo:.1f} to {hi:.1f}){beside}."
    )


def _redundant(table: pl.DataFrame, first: pl.DataFrame) -> str:
    """How many heads cost little together, beside how many cost little alone."""
    whole = int(first["heads_left"].max())  # type: ignore[arg-type]
    alone = _reported(table.filter(pl.col("order") == "single"))
    joint = _reported(first)
    name, _ = _where(joint)
    joint = joint.filter(pl.col("shift") == name)
    cheap = joint.filter(pl.col("drop_hi") < REDUNDANT)
    gone = whole - int(cheap["heads_left"].min()) if len(cheap) else 0  # type: ignore[arg-type]
    single = alone.filter((pl.col("shift") == name) & (pl.col("drop_hi") < REDUNDANT)).height
    beside = f"; one at a time {single} do" if len(alone) else ""
    return f"{gone} go together at a cost of surely less than {REDUNDANT * 100:g} points (95 % interval){beside}."


def _reported(table: pl.DataFrame) -> pl.DataFrame:
    return table.filter((pl.col("used_for") == "report") & pl.col("over").is_in(["mean", "condition"]))


def _where(rows: pl.DataFrame) -> tuple[str, str]:
    """The mean of conditions where there is one, else clean."""
    return ("all", "mean of the shifts") if "all" in rows["shift"] else (rows["shift"][0], f"{rows['shift'][0]} images")
