"""What tables of heads' roles say, in one sentence made from their numbers; as figures/findings."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

from vhs.errors import InputError
from vhs.figures import effects, words
from vhs.figures.style import short
from vhs.grid import head_name


def _routing(table: pl.DataFrame) -> str:
    rows = table.filter(pl.col("model_id") == table["model_id"][0])
    heads = rows.unique(["target", "layer", "head"], maintain_order=True)
    counts = {name: heads.filter(pl.col("class") == name).height for name in ("unused", "static", "routing")}
    undecided = heads.filter(pl.col("class") == "undecided")
    conditions = rows.select(effects.CONDITION).unique().height
    text = (
        f"Of {short(table['model'][0])} {counts['unused']} of {len(heads)} heads are unused, {counts['static']} static "
        f"and {counts['routing']} routing, by {rows['tolerance'][0]:.1%} under {conditions} condition"
        f"{'s' * (conditions > 1)} of {rows['n'][0]:,} images"
    )
    if not len(undecided):
        return text + "."
    text += f"; {len(undecided)} are undecided"
    needed = undecided["images_needed"].drop_nulls()
    return (
        f"{text}, half of which would take {np.median(needed.to_numpy()):,.0f} images or fewer."
        if len(needed)
        else text + "."
    )


def _probes(table: pl.DataFrame) -> str:
    rows = effects.first_condition(table.filter(pl.col("model_id") == table["model_id"][0]))
    heads = rows.select("layer", "head").unique().height
    told = []
    for (attribute,), own in rows.filter(pl.col("source") == "output").group_by("attribute", maintain_order=True):
        beyond = own.filter(pl.col("q") < effects.ALPHA)
        best = own.sort("excess", descending=True).row(0, named=True)
        most = f"most {best['excess'] * 100:+.1f} points ({head_name(best['layer'], best['head'])})"
        told.append(f"{attribute} from {len(beyond)} ({most})")
    return (
        f"Of the {heads} heads of {short(rows['model'][0])}, beyond random directions, the untrained network and "
        f"shuffled values (q < 0.05), can be decoded: {', '.join(told)}."
    )


def _exclusivity(table: pl.DataFrame) -> str:
    rows = effects.first_condition(table)
    source = "direct" if "direct" in rows["source"] else "output"
    rows = rows.filter(pl.col("source") == source)
    counts = {kind: rows.filter(pl.col("kind") == kind).height for kind in ("robust", "spurious", "both", "neither")}
    models = rows["model_id"].n_unique()
    whose = short(rows["model"][0]) if models == 1 else f"{models} models"
    how = "give the logits" if source == "direct" else "hold"
    return (
        f"Of the {len(rows)} heads of {whose}, {counts['robust']} {how} the {rows['robust'][0]} attribute only, "
        f"{counts['spurious']} the {rows['spurious'][0]} one only, {counts['both']} both and {counts['neither']} "
        f"neither (q < 0.05){_costs(rows)}."
    )


def _costs(rows: pl.DataFrame) -> str:
    """What removing heads of each kind costs, where that is known."""
    known = rows.drop_nulls(["effect", "effect_clean"])
    if not len(known):
        return ""
    means = known.group_by("kind").agg(pl.col("effect", "effect_clean").mean() * 100)
    told = [
        f"{kind} {effect:+.1f} points (clean {clean:+.1f})"
        for name in ("robust", "spurious", "both", "neither")
        for kind, effect, clean in means.filter(pl.col("kind") == name).iter_rows()
    ]
    return f"; without one accuracy under {known['shift'][0]} falls by a mean of {', '.join(told)}"


def _shifts(table: pl.DataFrame) -> str | None:
    rows = table.filter((pl.col("model_id") == table["model_id"][0]) & ~pl.col("within_layer"))
    scale = "loss" if "loss" in rows["metric"] else rows["metric"][0]
    rows = rows.filter((pl.col("metric") == scale) & (pl.col("level") == "corruption"))
    alone, pairs = rows.filter(pl.col("a") == pl.col("b")), rows.filter(pl.col("a") != pl.col("b"))
    known = pairs.drop_nulls("disattenuated").sort("disattenuated")
    steady = alone.drop_nulls("disattenuated").height
    who = f"{steady} of {len(alone)} conditions of {short(rows['model'][0])}"
    if not len(known):
        return f"There are too few images to compare shifts: importances (by {scale}) repeat themselves in {who}."
    least, most, middle = known.row(0, named=True), known.row(-1, named=True), known["disattenuated"].to_numpy()
    ends = [f"{words.plain(row['a'])} and {words.plain(row['b'])}" for row in (least, most)]
    groups = len(set(alone["cluster_a"].drop_nulls().to_list()))
    return (
        f"Between shifts the importances of heads (by {scale}, noise taken out) correlate by a median of "
        f"{np.median(middle):.2f}, from {least['disattenuated']:.2f} ({ends[0]}) to "
        f"{min(most['disattenuated'], 1):.2f} ({ends[1]}), in {groups} cluster{'s' * (groups != 1)}; "
        f"{who} are measured well enough."
    )


def of_head(table: pl.DataFrame, layer: int, head: int) -> str:
    """What one head of a roles table is, in one sentence. Raises InputError for a head that is not there."""
    own = table.filter((pl.col("layer") == layer) & (pl.col("head") == head))
    if not len(own):
        raise InputError(f"the roles table has no head {head_name(layer, head)}.")
    said = own.with_columns(name=pl.col("role").str.replace("none", "nothing in particular", literal=True))
    told = [f"{row['words']} ({row['name']}{_test(row)})" if row["role"] != "none" else row["words"]
            for row in said.iter_rows(named=True)]  # fmt: skip
    return (
        f"{head_name(layer, head)} of {short(own['model'][0])} {'; '.join(told)}."
        if own["role"][0] != "none"
        else (f"{head_name(layer, head)} of {short(own['model'][0])} has no role that a rule names.")
    )


def _test(row: dict[str, float]) -> str:
    bounds = "" if row["lo"] is None else f", 95 % {row['lo']:.3g} to {row['hi']:.3g}"
    return f"{bounds}, threshold {row['threshold']:g}, q = {row['q']:.2g}"


def _roles(table: pl.DataFrame) -> str:
    rows = table.filter(pl.col("model_id") == table["model_id"][0])
    heads = rows.select("layer", "head").unique().height
    held = rows.filter(pl.col("role") != "none")
    without = heads - held.select("layer", "head").unique().height
    told = []
    for (role,), own in held.group_by("role", maintain_order=True):
        names = own.select("layer", "head", "of").unique(maintain_order=True).rows()
        shown = ", ".join(head_name(layer, head) + (f" ({of})" if of else "") for layer, head, of in names[:4])
        count = own.select("layer", "head").unique().height
        told.append(f"{role} {'is' if count == 1 else 'are'} {shown}{', …' if len(names) > 4 else ''} ({count})")
    return f"Of {heads} heads of {short(rows['model'][0])} {without} have no role that a rule names" + (
        f"; {'; '.join(told)}." if told else "."
    )


SENTENCES: dict[str, Callable[[pl.DataFrame], str | None]] = {
    "roles": _roles,
    "routing": _routing,
    "shifts": _shifts,
    "probes": _probes,
    "exclusivity": _exclusivity,
}
