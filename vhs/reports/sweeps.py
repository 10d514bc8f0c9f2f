"""What a page scores anew: ablations as tallies by fold, or as the outcome of every sample.

Letters: C conditions, U heads, F folds, S samples.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl

from vhs.errors import InputError, MismatchError
from vhs.figures import words
from vhs.figures.style import short
from vhs.grid import HEAD, head_name
from vhs.seeds import FOLDS, folds, sample_keys
from vhs.summaries.outcome_bits import unpacked

CONDITION = ["shift", "category", "corruption", "severity"]
RUN = ["model_id", "model", "fill", "method", "target", "group"]
"""A sweep of the heads of one model, clean and under all shifts, also those that are sets of other samples."""
TOTALS = {
    "class": ("dloss", "dloss_lo", "dloss_hi"),
    "target": ("dmse", "dmse_lo", "dmse_hi", "dmse_rel_lo", "dmse_rel_hi"),
}


def sweeps(
    rows: pl.DataFrame, tallies: pl.DataFrame | None, outcomes: Sequence[pl.DataFrame] = ()
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """A description and arrays for each sweep of an ablation table, for `arrays.packed`.

    tallies: the folds table of the same ablation; outcomes: tables of what each sample answered, each of one fill.
    Raises MismatchError where they do not belong to the rows.
    """
    heads = rows.filter(pl.col("unit") == "head")
    keys = [*RUN, "data"] if _several_clean(heads) else RUN
    left = {index: answers for index, answers in enumerate(outcomes) if _has_heads(answers)}
    refused: dict[int, MismatchError] = {}
    for key, part in heads.group_by(keys, maintain_order=True):
        named = dict(zip(keys, key, strict=True))
        made = _described(named, part)
        own = _of(tallies, named, keys)
        if own is not None:
            made["folds"] = _by_fold(own.filter(pl.col("unit") == "head"), made)
            made["n_folds"] = made["folds"]["n"].shape[1]
        for index, answers in list(left.items()) if named["group"] == "all" else ():
            mine = _of(answers, named, ["model_id", *(["data"] if "data" in keys else [])])
            try:
                made |= {} if mine is None else _outcomes(mine, made) | {"n_folds": FOLDS}
            except MismatchError as error:
                refused[index] = error
                continue
            if mine is not None:  # outcomes are of one fill, and of each model once
                left[index] = answers.filter(pl.col("model_id") != named["model_id"])
                refused.pop(index, None)
                if not len(left[index]):
                    del left[index]
                break
        if own is not None:
            del made["totals"]  # folds add up to them
        yield made
    if refused:
        raise next(iter(refused.values()))


def _several_clean(heads: pl.DataFrame) -> bool:
    """Whether one model was measured on several sets of clean images, which are then sweeps of their own."""
    clean = heads.filter(pl.col("shift") == "clean").group_by("model_id").agg(pl.col("data").n_unique())
    return bool((clean["data"] > 1).any())


def _has_heads(answers: pl.DataFrame) -> bool:
    """Whether an outcomes table is of single heads, not of layers or sets."""
    return any(HEAD.fullmatch(word) for word in answers["units"][0].split())


def _described(named: dict[str, Any], part: pl.DataFrame) -> dict[str, Any]:
    """What a sweep is of, and its totals."""
    kind = "class" if "n_lost" in part.columns else "target"
    places = part.select("layer", "head").unique().sort("layer", "head")
    by_condition = part.unique(CONDITION, keep="first", maintain_order=True)
    conditions, samples = by_condition.select(CONDITION).rows(), by_condition.select("data", "label_set").rows()
    clean = next((index for index, key in enumerate(conditions) if key[0] == "clean"), None)
    base = samples[clean or 0]
    ordered = _ordered(part, conditions, ["layer", "head"])
    count, width = len(conditions), len(places)
    if len(ordered) != count * width:
        raise InputError(
            f"the ablation of {named['model']} has {len(ordered)} rows of heads for {count} conditions and {width} "
            f"heads. Was it cut off, or joined from unlike runs?"
        )
    firsts = ordered[::width]
    totals: dict[str, Any] = {"n": firsts["n"].to_numpy()}
    if kind == "class":
        totals["intact"] = firsts["n_correct_intact"].to_numpy()
        totals |= {"lost": ordered["n_lost"].to_numpy(), "gained": ordered["n_gained"].to_numpy()}
    else:
        totals["mse_intact"] = firsts["mse_intact"].to_numpy()
    totals |= {name: ordered[name].cast(pl.Float64).fill_null(float("nan")).to_numpy() for name in TOTALS[kind]}
    return {
        **named, "name": short(named["model"]), "target": named["target"] or "class",
        "heads": [head_name(layer, head) for layer, head in places.iter_rows()], "layer": places["layer"].to_numpy(),
        "head": places["head"].to_numpy(),
        "clean": clean, "data": base[0], "label_set": base[1], "paired": [item == base for item in samples],
        "conditions": [_condition(key) for key in conditions], "adaptive": bool(part["p"].is_null().all()),
        "totals": totals, "n_folds": 1,
    }  # fmt: skip


def _condition(key: tuple[Any, ...]) -> dict[str, Any]:
    shift, category, corruption, severity = key
    return {
        "shift": shift, "category": category, "corruption": corruption, "severity": severity,
        "name": words.condition(shift, corruption, severity),
    }  # fmt: skip


def _ordered(part: pl.DataFrame, conditions: list[tuple[Any, ...]], within: list[str]) -> pl.DataFrame:
    """Rows by condition, in the order of `conditions`, then by `within`."""
    places = {(key[0], key[2], key[3]): index for index, key in enumerate(conditions)}
    at = [places.get(key, -1) for key in part.select("shift", "corruption", "severity").iter_rows()]
    return part.with_columns(_at=pl.Series(at)).filter(pl.col("_at") >= 0).sort("_at", *within)


def _of(table: pl.DataFrame | None, named: dict[str, Any], columns: list[str]) -> pl.DataFrame | None:
    """The rows of one sweep, if there are any."""
    if table is None:
        return None
    own = table.filter(pl.all_horizontal(pl.col(name).eq_missing(pl.lit(named[name])) for name in columns))
    return own if len(own) else None


def _by_fold(rows: pl.DataFrame, made: dict[str, Any]) -> dict[str, np.ndarray]:
    """n and intact [C, F], the rest [C, F, U]; of squares the sums over folds, [C, U]."""
    keys = [tuple(item[name] for name in CONDITION) for item in made["conditions"]]
    ordered = _ordered(rows, keys, ["fold", "layer", "head"])
    count, width, found = len(keys), len(made["heads"]), ordered["fold"].n_unique()
    if len(ordered) != count * width * found:
        raise MismatchError(
            f"{made['model']}: the folds table has {len(ordered)} rows for {count} conditions, {width} heads and "
            f"{found} folds. Was it cut off, filtered or written by another run than the ablation table?"
        )
    cells = {name: ordered[name].to_numpy().reshape(count, found, width) for name in _summed(rows)}
    firsts = ("n", "n_correct_intact", "se_intact_sum")
    names = {"n_correct_intact": "intact", "n_lost": "lost", "n_gained": "gained"}
    by_fold = {names.get(name, name.removesuffix("_sum")): cells[name][..., 0] for name in firsts if name in cells}
    by_fold |= {
        names.get(name, name.removesuffix("_sum")): values for name, values in cells.items()
        if name not in firsts and "_sq" not in name
    }  # fmt: skip
    by_fold["squares"] = next(values for name, values in cells.items() if "_sq" in name).sum(1)
    if not np.array_equal(by_fold["n"].sum(1), made["totals"]["n"]):
        raise MismatchError(f"{made['model']}: the folds table counts other samples than the ablation table.")
    return by_fold


def _summed(rows: pl.DataFrame) -> tuple[str, ...]:
    if "n_lost" in rows.columns:
        return "n", "n_correct_intact", "n_lost", "n_gained", "dloss_sum", "dloss_sq_sum"
    return "n", "se_intact_sum", "dse_sum", "dse_sq_sum"


def _outcomes(rows: pl.DataFrame, made: dict[str, Any]) -> dict[str, Any]:
    """The samples, and of every condition bits [C, 1 + U, bytes]: whether the intact model is right, then whether that
    changes without each head; `present`: which samples were scored."""
    ids = rows["sample"].unique(maintain_order=True)
    first = rows.unique("sample", keep="first", maintain_order=True)
    place = {name: index for index, name in enumerate(ids.to_list())}
    count, size = len(made["conditions"]), -(-len(ids) // 8)
    bits, present = np.zeros((count, 1 + len(made["heads"]), size), np.uint8), np.zeros((count, size), np.uint8)
    for index, condition in enumerate(made["conditions"]):
        own = _of(rows, condition, ["shift", "corruption", "severity"])
        if own is None:
            raise MismatchError(
                f"{made['model']}: the outcomes table has no {condition['name']}, the ablation table has. Name tables "
                f"of one run."
            )
        right = _right(own, made["heads"])
        at = [place[name] for name in own["sample"].to_list()]
        every = np.zeros((len(ids), 1 + right.shape[1]), bool)
        every[at] = np.column_stack([np.ones(len(at), bool), right])
        every[:, 2:] ^= every[:, 1:2]
        every[:, 2:] &= every[:, :1]
        packed = np.packbits(every.T, axis=1, bitorder="little")
        present[index], bits[index] = packed[0], packed[1:]
        _check_outcomes(every, made, index)
    return {"samples": _samples(first), "bits": {"right": bits, "present": present, "bytes": size}}


def _check_outcomes(every: np.ndarray, made: dict[str, Any], index: int) -> None:
    """Raises MismatchError where outcomes [S, 2 + U] do not add up to the table's counts."""
    width = len(made["heads"])
    changed, right = every[:, 2:], every[:, 1:2]
    found = np.stack([(changed & right).sum(0), (changed & ~right).sum(0)])
    stated = np.stack([made["totals"][name][index * width : (index + 1) * width] for name in ("lost", "gained")])
    if every[:, 0].sum() != made["totals"]["n"][index] or not np.array_equal(found, stated):
        raise MismatchError(
            f"{made['model']}: under {made['conditions'][index]['name']} the outcomes do not add up to the ablation "
            f"table. They are of another run: name what one `vhs ablate --per-sample` wrote."
        )


def _right(rows: pl.DataFrame, heads: list[str]) -> np.ndarray:
    """bool [S, 1 + U]: intact, then without each head."""
    units = rows["units"][0].split()
    missing = [name for name in ("intact", *heads) if name not in units]
    if missing or rows["units"].n_unique() > 1:
        lacking = f"no {missing[0]}" if missing else "unlike lists of heads"
        raise MismatchError(f"the outcomes table has {lacking}, unlike the ablation table. Name tables of one run.")
    try:
        return unpacked(rows["right"])[:, [units.index(name) for name in ("intact", *heads)]]
    except (ValueError, IndexError) as error:
        raise InputError(f"the outcomes table cannot be read: {error}. Was it edited?") from error


def _samples(first: pl.DataFrame) -> dict[str, Any]:
    """Classes, folds and groups of the samples, a row each."""
    classes = first["class"].unique(maintain_order=True).to_list()
    codes = {name: index for index, name in enumerate(classes)}
    keys = sample_keys(first["sample"].to_list())
    return {
        "classes": classes, "label": np.array([codes[name] for name in first["class"].to_list()]),
        "fold": folds(keys), "groups": _groups(first["groups"].to_list()),
    }  # fmt: skip


def _groups(listed: list[str | None]) -> list[dict[str, Any]]:
    """By attribute its values and each sample's; none where not every sample has groups."""
    if any(item is None for item in listed):
        return []
    try:
        members = [dict(name.split("=", 1) for name in json.loads(item or "[]")) for item in listed]
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"the outcomes table's groups cannot be read: {error}. Was it edited?") from error
    found = []
    for attribute in members[0] if members else ():
        of_sample = [item.get(attribute, "") for item in members]
        values = list(dict.fromkeys(of_sample))
        codes = {value: index for index, value in enumerate(values)}
        found.append({"name": attribute, "values": values, "value": np.array([codes[value] for value in of_sample])})
    return found
