"""Shard sets: manifest, tars, digests."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from tests.faults.cases import Files
from tests.faults.damage import blind, documents
from tests.faults.sound.format import MODEL, Format


def formats(toy: Files) -> list[Format]:
    found = {f"set/{Path(name).name}": data for name, data in toy.items() if name.startswith("shards/val/")}
    score = ("evalshift", MODEL, "--data", "set", "-q")
    some = (*score, "--max-samples", "6")
    json_ways = (*blind.TEXT, *[documents.as_json] * 10)
    tar_ways = (*blind.BLIND, *[blind.flip] * 3, blind.number)
    made = [
        Format("manifest", found, "set/shards.json", json_ways, ((93, ("info", "set")), (7, some)), share=6),
        Format("tar scored", found, "set/000001.tar", tar_ways, ((50, score), (50, some)), share=1, seal="same"),
        Format("tar", found, "set/000001.tar", tar_ways, ((100, partial(_samples, "set")),), share=5),
    ]
    digests = [name for name in found if name.endswith("digests")]
    made += [Format("digests", found, name, blind.TEXT, ((100, some),), share=0.7, seal="same") for name in digests]
    return made


def _samples(folder: str) -> object:
    from vhs.formats.shards import ShardSet

    data = ShardSet.open(Path(folder))
    return [data.decode(sample).sum() for sample in data.samples()]
