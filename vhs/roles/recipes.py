"""Which models are of one training run, and which runs of one recipe: told by their names and seeds."""

from __future__ import annotations

import re

import polars as pl

from vhs.errors import MismatchError

SNAPSHOT = re.compile(r"(.*?)\.snapshots/[^/]*$")


def run_of(model: str) -> str:
    """The run of a checkpoint: its own name, or that of the run whose snapshot it is, without `.safetensors`."""
    found = SNAPSHOT.fullmatch(model)
    return (found[1] if found else model).removesuffix(".safetensors")


def recipe_of(model: str, seed: int | None) -> str:
    """The recipe of a checkpoint: the name of its run without the seed at its end: `runs/6h-2` of seed 2 is `6h`."""
    name = run_of(model).rsplit("/", 1)[-1]
    end = re.search(r"[-_.]?(?:seed[-_]?)?(\d+)$", name)
    return name[: end.start()] if end and end.start() and seed is not None and int(end[1]) == seed else name


def named(table: pl.DataFrame) -> pl.DataFrame:
    """With the columns `run` and `recipe`; of snapshots and a run's end at one step only the end is left, which comes
    first."""
    told = table.with_columns(
        run=pl.col("model").map_elements(run_of, return_dtype=pl.String),
        recipe=pl.struct("model", "seed").map_elements(
            lambda item: recipe_of(item["model"], item["seed"]), return_dtype=pl.String
        ),
        ends=~pl.col("model").str.contains(".snapshots/", literal=True),
    )  # fmt: skip
    last = pl.col("ends").any().over("run", pl.col("step").fill_null(-1))
    kept = told.filter(pl.col("ends") | ~last)
    return kept.sort("ends", descending=True, maintain_order=True).drop("ends")


def check_one_set(table: pl.DataFrame) -> None:
    """Raises MismatchError where a model was measured on clean images of two data sets."""
    clean = table.filter(pl.col("shift") == "clean")
    sets = clean.group_by("model_id", maintain_order=True).agg(pl.col("model").first(), pl.col("data").unique())
    odd = sets.filter(pl.col("data").list.len() > 1)
    if len(odd):
        model, names = odd.select("model", "data").row(0)
        raise MismatchError(f"{model}: has clean images of {' and of '.join(sorted(names))}. Compare them apart.")
