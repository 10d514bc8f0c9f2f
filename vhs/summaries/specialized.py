"""From the tallies of a specialization to the rows of the heads and the pairs table.

What a run knows besides (model, condition) is put before them in records/specialization.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from vhs.counts import Counts, from_fixed
from vhs.grid import Head
from vhs.measures import arrangement, intervals, ratios
from vhs.measures.listing import Listing, Quantity
from vhs.summaries.tallied import Row, means, number

SMALLEST = 3
"""Heads that can be laid out."""


def head_rows(listing: Listing, tallies: dict[str, Counts]) -> Iterator[Row]:
    """Every row of the heads table: means, then what is none; of a quantity all heads follow each other."""
    yield from _means(listing, tallies["means"])
    yield from _placed(listing, tallies)
    in_layer = zip(listing.grid, means(tallies["in_layer"]), listing.lonely(), strict=True)
    yield from (_row(head, "jsd_layer", "all", unit="nats") | row for head, row, alone in in_layer if not alone)
    yield from _ranks(listing)
    yield from _arranged(listing, tallies["jsd"])
    if listing.regions:
        yield from _regions(listing, tallies["regions"])


def pair_rows(listing: Listing, tallies: dict[str, Counts]) -> Iterator[Row]:
    """Every row of the pairs table: divergences of maps, then alignment of outputs."""
    heads = list(listing.grid)
    for (a, b), row in zip(listing.jsd_pairs(), means(tallies["jsd"]), strict=True):
        yield _pair(heads[a], heads[b], "jsd") | row
    for (a, b), row in _known(listing.disagreement, tallies["disagreement"]):
        yield _pair(heads[a], heads[b], "disagreement") | row
    if "gradients" in tallies:
        for (a, b), row in _known(listing.disagreement, tallies["gradients"]):
            yield _pair(heads[a], heads[b], "gradients") | row
    pairs = listing.alike_pairs()
    if pairs:
        found = zip(*intervals.jackknifed(tallies["alike"], ratios.cka), tallies["alike"].total("n"), strict=True)
        for (a, b), (value, lo, hi, n) in zip(pairs, found, strict=True):
            if not np.isnan(value):
                yield _pair(heads[a], heads[b], "cka") | _numbers(value, lo, hi, n)


def _known(pairs: Sequence[tuple[int, int]], sums: Counts) -> Iterator[tuple[tuple[int, int], Row]]:
    """Pairs of heads with their means, where anything was tallied."""
    if len(pairs) != len(sums.values):
        return
    known = sums.total("n") > 0
    kept = [pair for pair, there in zip(pairs, known, strict=True) if there]
    yield from zip(kept, means(Counts(sums.values[known], sums.fields)), strict=True)


def _means(listing: Listing, sums: Counts) -> Iterator[Row]:
    measured = sums.total("n") > 0
    part = Counts(sums.values[measured], sums.fields)
    entries = [entry for entry, there in zip(listing.entries(), measured, strict=True) if there]
    for entry, row, null in zip(entries, means(part), _nulls(part), strict=True):
        yield _of_entry(*entry) | row | null


def _nulls(sums: Counts) -> Iterator[Row]:
    """The 95 % band around 0 of the mean over as many images by chance, by how draws of single images vary."""
    draws, n = sums.total("n_null").astype(float), sums.total("n")
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = from_fixed(sums.total("null")) / draws
        spread = np.sqrt(np.maximum(from_fixed(sums.total("null_sq")) / draws - mean**2, 0) / n)
    half = intervals.z_value() * spread
    for width in half:
        yield {"null_lo": number(-width), "null_hi": number(width)}


def _placed(listing: Listing, tallies: dict[str, Counts]) -> Iterator[Row]:
    looking, counts = listing.looking(), tallies["offset"]
    if not looking:
        return
    found = zip(*intervals.jackknifed(counts, ratios.offset), counts.total("n"), strict=True)
    for (head, query), (value, lo, hi, n) in zip(looking, found, strict=True):
        yield _row(head, "offset", query) | _numbers(value, lo, hi, n)
    samples = {head: n for (head, _), n in zip(looking, counts.total("n").tolist(), strict=True)}
    for layer, query in listing.placed:
        heads = [head for head, _ in looking if head.layer == layer]
        sums = tallies[f"strongest.{layer}"].values
        counted = Counts(
            np.concatenate([sums.sum(-1, keepdims=True), sums], -1), ("n", *tallies[f"strongest.{layer}"].fields)
        )
        value, lo, hi = intervals.jackknifed(counted, _positional)
        for row in zip(heads, value, lo, hi, strict=True):
            yield _row(row[0], "positional", query) | _numbers(*row[1:], samples[row[0]])


def _positional(sums: Mapping[str, np.ndarray]) -> np.ndarray:
    return ratios.positional(np.stack([values for name, values in sums.items() if name != "n"], -1))


def _arranged(listing: Listing, jsd: Counts) -> Iterator[Row]:
    """Of each group of heads that are compared with each other: places in a plane, the order, the cluster."""
    heads = list(listing.grid)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = from_fixed(jsd.total("value")) / jsd.total("n")
    for group in listing.groups:
        count = len(group.heads)
        if count < SMALLEST:
            continue
        distances = np.zeros((count, count))
        for (a, b), value in zip(group.pairs, values[group.jsd :], strict=False):
            distances[a, b] = distances[b, a] = np.sqrt(max(value, 0.0))
        plane = arrangement.plane(distances)
        found = {"mds_1": plane[:, 0], "mds_2": plane[:, 1], "order": arrangement.order(distances),
                 "cluster": arrangement.clusters(distances)}  # fmt: skip
        n = int(jsd.total("n")[group.jsd])
        for metric, of_heads in found.items():
            unit = "sqrt(nats)" if metric.startswith("mds") else "1"
            for place, value in zip(group.heads, of_heads, strict=True):
                yield _row(heads[place], metric, "all", unit=unit) | {"n": n, "value": float(value)}


def _regions(listing: Listing, sums: Counts) -> Iterator[Row]:
    n, heads = sums.total("n"), list(listing.grid)
    for metric, statistic in ratios.OF_REGIONS.items():
        found = zip(listing.regions, *intervals.jackknifed(sums, statistic), n, strict=True)
        for entry, value, lo, hi, count in found:
            if not np.isnan(value) and count:
                named = _row(heads[entry.place], metric, entry.query, entry.region, entry.weighting)
                yield named | _numbers(value, lo, hi, count)


def _ranks(listing: Listing) -> Iterator[Row]:
    heads = list(listing.grid)
    for place, metric, value in listing.ranks:
        yield _row(heads[place], metric, "none") | {"n": 0, "value": value}


def _of_entry(head: Head, quantity: Quantity) -> Row:
    return _row(head, quantity.metric, quantity.query, quantity.of, quantity.weighting, quantity.unit)


def _row(
    head: Head, metric: str, query: str, of: str | None = None, weighting: str = "attention", unit: str = "1"
) -> Row:  # fmt: skip
    empty = dict.fromkeys(("lo", "hi", "null_lo", "null_hi"))
    named = {"metric": metric, "of": of, "query": query, "weighting": weighting, "in_unit": unit}
    return head._asdict() | named | empty


def _pair(a: Head, b: Head, metric: str) -> Row:
    return {"layer": a.layer, "head": a.head, "layer_b": b.layer, "head_b": b.head, "metric": metric}


def _numbers(value: float, lo: float, hi: float, n: int) -> Row:
    return {"n": int(n), "value": float(value), "lo": number(lo), "hi": number(hi)}
