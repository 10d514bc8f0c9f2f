"""Texts: metadata.csv, recipes, lists, digits as JSON, a baseline table."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from tests.faults.cases import Files
from tests.faults.damage import blind, documents, tables
from tests.faults.sound.format import MODEL, NAMED, Format


def formats(toy: Files) -> list[Format]:
    from vhs.training.recipe import preset

    pictures = {f"wild/{name.rpartition('/')[2]}": data for name, data in toy.items() if name.startswith("source/val/")}
    names = sorted(Path(name).name for name in pictures)
    table = "path,label,split,place,weight\n" + "".join(
        f"{name},{number % 2},{number % 3},sea,{number}.5\n" for number, name in enumerate(names)
    )
    wild = pictures | {"wild/metadata.csv": table.encode()}
    pack = ("shard", "wild", "out", "-q", "--columns", "path=path,label=label,split=split,group=label+place,attr=place")
    goal = ("shard", "wild", "out", "-q", "--columns", "path=path,target=weight,split=split", "--dry-run")
    source = {name: data for name, data in toy.items() if name.startswith("source/val/")}
    recipe = preset("demo").to_toml().encode()
    digits = {f"m/{digit}.json": json.dumps({"data": [0.5] * 784}).encode() for digit in range(10)}
    listed = ("evalshift", "@models.txt", "--data", "../toys/shards/val", "--dry-run", "-q")
    return [
        Format("metadata.csv", wild, "wild/metadata.csv", (*blind.TEXT, *[tables.as_csv] * 6),
               ((50, (*pack, "--dry-run")), (20, pack), (30, goal)), share=5),
        Format("recipe", {"r.toml": recipe}, "r.toml", (*blind.TEXT, *[documents.as_toml] * 8),
               ((85, ("train", "x", "--recipe", "r.toml", "--print-config")),
                (15, ("train", "../toys/shards", "--recipe", "r.toml", "--dry-run", "-q", "-o", "m.safetensors"))), share=5, places=NAMED),
        Format("@models", {"models.txt": f"# one\n{MODEL}\n".encode()}, "models.txt", blind.TEXT,
               ((90, partial(_expanded, "models.txt")), (10, listed)), share=1.5, places=NAMED),
        Format("@classes", source | {"classes.txt": b"ant\nbee\neel\n"}, "classes.txt", blind.TEXT,
               ((100, ("shard", "source/val", "out", "--classes", "@classes.txt", "--dry-run", "-q")),), share=1.5, places=NAMED),
        Format("mnist-json", digits, "m/3.json", (*blind.TEXT, *[documents.as_json] * 4), ((100, ("shard", "m", "out", "-q", "--dry-run")),)),
        Format("baseline csv", {"b.csv": toy["shift.csv"]}, "b.csv", (*blind.TEXT, *[tables.as_csv] * 5),
               ((100, ("compare", "../toys/shift.csv", "--summary", "mce", "--normalise-by", "b.csv")),), places=NAMED),
    ]  # fmt: skip


def _expanded(name: str) -> object:
    from vhs.formats import reference_names

    return list(reference_names.expand([f"@{name}"]))
