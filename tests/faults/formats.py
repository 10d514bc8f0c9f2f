"""Every kind of file that vhs reads: a sound one, where it lies, ways to damage it, and the commands that read it."""

from __future__ import annotations

import gzip
import io
import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from tests.conftest import CLASSES
from tests.faults import cases, events, mutators, toys, warm
from tests.faults.cases import Files
from tests.faults.mutators import BLIND, Mutator

Reading = tuple[str, ...] | Callable[[], object]
"""A command, or a function of ours called directly, which costs less."""

PLACES = ("folder", "missing", "fifo", "dangling", "loop", "zeros", "socket")
"""What stands where the file should: inputs 0 to 6 of each format."""
NAMED = ("folder", "missing", "dangling", "loop", "socket")
"""Of files named on the command line, which may be pipes."""
OURS = ("folder", "missing", "fifo")
"""Of files that vhs made for itself."""


@dataclass(frozen=True)
class Format:
    """files: a folder of sound files, `file` of which is damaged.

    readings: what reads it, each with how often, of 100 times. share: of all inputs, relative to other formats.
    seal: what a success must mean: `same`, that stdout and products are those of the sound file; `done`, that it must
    succeed so; `refused`, that it must not. "": that there is no hash to tell. places: what else may stand there. stdin:
    whether it is read from there.
    """

    name: str
    files: Files
    file: str
    ways: tuple[Mutator, ...]
    readings: tuple[tuple[int, Reading], ...]
    share: float = 1.0
    seal: str = ""
    places: tuple[str, ...] = PLACES
    stdin: bool = False


TEXT = (*BLIND, mutators.number, mutators.number)
MODEL = "../toys/a.safetensors"
TRAIN = ("train", "../toys/shards", *toys.SMALL, "--seed", "0", "-o", "m.safetensors")


def formats(root: Path) -> list[Format]:
    """All of them, made from the toys at `root / "toys"`; commands run in a folder beside it."""
    toy = cases.files(root / "toys")
    return [
        *_tables(toy), *_models(toy), *_shards(toy), *_images(), *_arrays(), *_texts(toy), *_unfinished(root),
    ]  # fmt: skip


def _tables(toy: Files) -> list[Format]:
    found = []
    for name in ("heads", "shift", "looks", "agreement"):
        draw = ("plot", "t.csv", "-q", "-o", "x.png")
        readings = ((6, draw), (30, ("info", "--say", "t.csv")), (64, ("info", "t.csv")))
        found.append(
            Format(f"csv {name}", {"t.csv": toy[f"{name}.csv"]}, "t.csv", (*TEXT, *[mutators.as_csv] * 5), readings, share=4, places=NAMED)
        )  # fmt: skip
    cut = ((100, ("info", "-")),)
    found.append(
        Format("csv rows cut", {"t.csv": toy["heads.csv"]}, "t.csv", (mutators.row_cut,), cut, seal="refused", stdin=True, share=0.5, places=("missing",))
    )  # fmt: skip
    lines, parquet = _converted(toy["heads.csv"])
    for suffix, data, own in (("jsonl", lines, mutators.as_jsonl), ("parquet", parquet, mutators.as_parquet)):
        file = f"t.{suffix}"
        readings = ((5, ("plot", file, "-q", "-o", "x.png")), (95, ("info", file)))
        found.append(Format(suffix, {file: data}, file, (*BLIND, *[own] * 5), readings, share=5, places=NAMED))
    files = {"h.csv": toy["heads.csv"], "h.folds.parquet": toy["heads.folds.parquet"]}
    readings = ((20, ("compare", "h.csv")), (80, ("info", "h.folds.parquet")))
    found.append(
        Format("folds", files, "h.folds.parquet", (*BLIND, *[mutators.as_parquet] * 5), readings, share=4, places=NAMED)
    )
    return found


def _converted(table: bytes) -> tuple[bytes, bytes]:
    """A CSV table as JSON lines and as Parquet. By hand and by a child: polars must not run in the parent."""
    import csv

    rows = list(csv.DictReader(io.StringIO(table.decode())))
    typed = [{key: _typed(value) for key, value in row.items()} for row in rows]
    return ("".join(json.dumps(row) + "\n" for row in typed)).encode(), warm.answer(partial(_parquet, table))


def _parquet(table: bytes) -> bytes:
    import polars as pl

    made = io.BytesIO()
    pl.read_csv(io.BytesIO(table), infer_schema_length=None).write_parquet(made)
    return made.getvalue()


def _typed(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text or None


def _models(toy: Files) -> list[Format]:
    checkpoint = {"c.safetensors": toy["a.safetensors"]}
    score = ("evalshift", "c.safetensors", "--data", "../toys/shards/val", "-q")
    header = ((90, ("info", "c.safetensors")), (10, (*score, "--max-samples", "4")))
    tensors = tuple(mutators.below_header(way) for way in (*BLIND, mutators.flip, mutators.flip))
    folder = {f"vit/{name}": data for name, data in _hugging().items()}
    ask = ((97, ("info", "hf:vit")), (3, ("evalshift", "hf:vit", "--data", "../toys/shards/val", "-q")))
    json_ways = (*TEXT, *[mutators.as_json] * 8)
    return [
        Format("checkpoint header", checkpoint, "c.safetensors", (mutators.safetensors_header,), header, share=6, places=NAMED),
        Format("checkpoint weights", checkpoint, "c.safetensors", tensors, ((100, score),), share=1, seal="same", places=NAMED),
        Format("checkpoint", checkpoint, "c.safetensors", BLIND, ((95, ("info", "c.safetensors")), (5, score)), share=3, places=NAMED),
        Format("hf config.json", folder, "vit/config.json", json_ways, ask, share=1.5),
        Format("hf preprocessor", folder, "vit/preprocessor_config.json", json_ways, ask, share=0.7),
        Format("hf weights", folder, "vit/model.safetensors", (*BLIND, mutators.safetensors_header), ask, share=1),
        Format("torch pickle", {"w.pth": _pickle()}, "w.pth", (*BLIND, *[mutators.as_pth] * 4),
               ((99, partial(_weights, "w.pth")), (1, ("info", "timm:vit_tiny_patch16_224@w.pth"))), share=4),
    ]  # fmt: skip


def _weights(name: str) -> object:
    from vhs.formats import weights

    return weights.read(Path(name))


def _pickle() -> bytes:
    import torch

    made = io.BytesIO()
    torch.save({"norm.weight": torch.zeros(8), "head.weight": torch.zeros(3, 8), "head.bias": torch.zeros(3)}, made)
    return made.getvalue()


def _hugging() -> Files:
    """A folder as transformers writes it, one layer of width 8."""
    import timm
    import torch
    from safetensors.torch import save

    from tests.test_huggingface import on_disk

    net = timm.models.VisionTransformer(
        img_size=28, patch_size=14, in_chans=1, num_classes=5, embed_dim=8, depth=1, num_heads=2, mlp_ratio=2
    )
    config = {
        "model_type": "vit", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "num_channels": 1,
        "intermediate_size": 16, "image_size": 28, "patch_size": 14, "layer_norm_eps": 1e-6, "hidden_act": "gelu", "qkv_bias": True,
        "id2label": {str(number): name for number, name in enumerate(CLASSES)},
    }  # fmt: skip
    told = {
        "image_mean": [0.5], "image_std": [0.5], "do_normalize": True, "do_rescale": True, "rescale_factor": 1 / 255,
        "do_resize": True, "size": {"height": 28, "width": 28},
    }  # fmt: skip
    with torch.no_grad():
        tensors = {name: tensor.contiguous() for name, tensor in on_disk(net).items()}
    return {
        "config.json": json.dumps(config).encode(), "preprocessor_config.json": json.dumps(told).encode(),
        "model.safetensors": save(tensors),
    }  # fmt: skip


def _shards(toy: Files) -> list[Format]:
    found = {f"set/{Path(name).name}": data for name, data in toy.items() if name.startswith("shards/val/")}
    score = ("evalshift", MODEL, "--data", "set", "-q")
    some = (*score, "--max-samples", "6")
    json_ways = (*TEXT, *[mutators.as_json] * 10)
    tar_ways = (*BLIND, *[mutators.flip] * 3, mutators.number)
    made = [
        Format("manifest", found, "set/shards.json", json_ways, ((93, ("info", "set")), (7, some)), share=6),
        Format("tar scored", found, "set/000001.tar", tar_ways, ((50, score), (50, some)), share=1, seal="same"),
        Format("tar", found, "set/000001.tar", tar_ways, ((100, partial(_samples, "set")),), share=5),
    ]
    digests = [name for name in found if name.endswith("digests")]
    made += [Format("digests", found, name, TEXT, ((100, some),), share=0.7, seal="same") for name in digests]
    return made


def _samples(folder: str) -> object:
    from vhs.formats.shards import ShardSet

    data = ShardSet.open(Path(folder))
    return [data.decoded(sample).sum() for sample in data.samples()]


def _images() -> list[Format]:
    from PIL import Image

    rng = np.random.default_rng(0)
    grey = Image.fromarray(np.kron(rng.integers(0, 255, (4, 4), dtype=np.uint8), np.ones((8, 8), np.uint8)))
    found = []
    for kind, mode in (("png", "L"), ("png", "RGB"), ("png", "P"), ("jpg", "RGB"), ("jpg", "L"), ("webp", "RGB")):
        made = io.BytesIO()
        grey.convert(mode).save(made, {"jpg": "JPEG"}.get(kind, kind.upper()))
        file = f"source/cat/1.{kind}"
        pack = ("shard", "source", "out", "-q")
        readings = ((97, partial(_decoded, file)), (3, pack))
        found.append(Format(f"{kind} {mode}", {file: made.getvalue()}, file, BLIND, readings, share=4))
    return found


def _decoded(name: str) -> object:
    from vhs.formats.images import decode

    return decode(Path(name).read_bytes(), 3, name)


def _arrays() -> list[Format]:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 255, (12, 9, 8), dtype=np.uint8), (np.arange(12) % 5).astype(np.uint8)
    idx = {
        "idx/t10k-images-idx3-ubyte": b"\0\0\x08\x03" + np.array(images.shape, ">u4").tobytes() + images.tobytes(),
        "idx/t10k-labels-idx1-ubyte": b"\0\0\x08\x01" + np.array(labels.shape, ">u4").tobytes() + labels.tobytes(),
    }
    zipped = {f"{name}.gz": gzip.compress(data, mtime=0) for name, data in idx.items()}
    made = io.BytesIO()
    np.savez(made, x_test=images, y_test=labels)
    cifar = {
        f"cifar/{name}.npy": _npy(data)
        for name, data in (("labels", labels), ("fog", np.repeat(images[..., None], 3, 3)))
    }
    look, pack = ((70, ("shard", "idx", "out", "-q", "--dry-run")), (30, ("shard", "idx", "out", "-q")))
    found = [
        Format(name.rpartition("/")[2], idx, name, (*BLIND, *[mutators.idx_header] * 4), (look, pack), share=2)
        for name in idx
    ]
    ways = (*BLIND, *(mutators.gzipped(way) for way in (mutators.idx_header, mutators.cut, mutators.extended)))
    found += [Format(name.rpartition("/")[2], zipped, name, ways, (look, pack), share=1.5) for name in zipped]
    archive = ((70, ("shard", "a.npz", "out", "-q", "--dry-run")), (30, ("shard", "a.npz", "out", "-q")))
    found.append(Format("npz", {"a.npz": made.getvalue()}, "a.npz", (*BLIND, *[mutators.as_npz] * 8), archive, share=4))
    found += [
        Format(f"cifar-c {Path(name).stem}", cifar, name, BLIND, ((100, ("shard", "cifar", "out", "-q", "--dry-run")),), share=0.5)
        for name in cifar
    ]  # fmt: skip
    return found


def _npy(data: np.ndarray) -> bytes:
    made = io.BytesIO()
    np.save(made, data)
    return made.getvalue()


def _texts(toy: Files) -> list[Format]:
    from vhs.training.recipe import named

    pictures = {f"wild/{name.rpartition('/')[2]}": data for name, data in toy.items() if name.startswith("source/val/")}
    names = sorted(Path(name).name for name in pictures)
    table = "path,label,split,place,weight\n" + "".join(
        f"{name},{number % 2},{number % 3},sea,{number}.5\n" for number, name in enumerate(names)
    )
    wild = pictures | {"wild/metadata.csv": table.encode()}
    pack = ("shard", "wild", "out", "-q", "--columns", "path=path,label=label,split=split,group=label+place,attr=place")
    goal = ("shard", "wild", "out", "-q", "--columns", "path=path,target=weight,split=split", "--dry-run")
    source = {name: data for name, data in toy.items() if name.startswith("source/val/")}
    recipe = named("demo").to_toml().encode()
    digits = {f"m/{digit}.json": json.dumps({"data": [0.5] * 784}).encode() for digit in range(10)}
    listed = ("evalshift", "@models.txt", "--data", "../toys/shards/val", "--dry-run", "-q")
    return [
        Format("metadata.csv", wild, "wild/metadata.csv", (*TEXT, *[mutators.as_csv] * 6),
               ((50, (*pack, "--dry-run")), (20, pack), (30, goal)), share=5),
        Format("recipe", {"r.toml": recipe}, "r.toml", (*TEXT, *[mutators.as_toml] * 8),
               ((85, ("train", "x", "--recipe", "r.toml", "--print-config")),
                (15, ("train", "../toys/shards", "--recipe", "r.toml", "--dry-run", "-q", "-o", "m.safetensors"))), share=5, places=NAMED),
        Format("@models", {"models.txt": f"# one\n{MODEL}\n".encode()}, "models.txt", TEXT,
               ((90, partial(_expanded, "models.txt")), (10, listed)), share=1.5, places=NAMED),
        Format("@classes", source | {"classes.txt": b"ant\nbee\neel\n"}, "classes.txt", TEXT,
               ((100, ("shard", "source/val", "out", "--classes", "@classes.txt", "--dry-run", "-q")),), share=1.5, places=NAMED),
        Format("mnist-json", digits, "m/3.json", (*TEXT, *[mutators.as_json] * 4), ((100, ("shard", "m", "out", "-q", "--dry-run")),)),
        Format("baseline csv", {"b.csv": toy["shift.csv"]}, "b.csv", (*TEXT, *[mutators.as_csv] * 5),
               ((100, ("compare", "../toys/shift.csv", "--summary", "mce", "--normalise-by", "b.csv")),), places=NAMED),
    ]  # fmt: skip


def _expanded(name: str) -> object:
    from vhs.formats import references

    return list(references.expand([f"@{name}"]))


def _unfinished(root: Path) -> list[Format]:
    """What killed runs leave: journals and training states. Resuming must give what the whole run gives, or refuse."""
    sweep = ("ablate", MODEL, "--shift", "contrast:3,5", "--max-samples", "20", "-q", "-o", "t.csv")
    journal = _cut_off(
        root, sweep, lambda name: events.kind(name) == events.CREATING and ".partial" not in name and "lock" not in name
    )
    state = _cut_off(root, TRAIN, lambda name: name.startswith("create .m.safetensors"))
    pack = ("shard", "../toys/source/val", "out", "--per-tar", "4", "-q")
    shards = _cut_off(root, pack, lambda name: name.startswith("rename out/shards.json"))
    resumed = ((100, (*sweep, "--resume")),)
    trained = ((100, (*TRAIN, "--resume")),)
    json_ways = (*TEXT, *[mutators.as_json] * 8)
    entry = next(name for name in journal if name.endswith(".npz"))
    found = [
        Format(
            "journal entry",
            journal,
            entry,
            (*BLIND, *[mutators.as_npz] * 6),
            resumed,
            share=0.8,
            seal="done",
            places=OURS,
        )
    ]
    prints = [name for name in journal if name.endswith("fingerprint.json")]
    found += [
        Format("journal fingerprint", journal, name, json_ways, resumed, share=0.8, seal="same", places=OURS)
        for name in prints
    ]
    for name in (name for name in state if name.endswith(".resume")):
        found.append(
            Format(".resume header", state, name, (mutators.safetensors_header,), trained, share=0.8, places=OURS)
        )
        found.append(Format(".resume", state, name, BLIND, trained, share=0.8, places=OURS))
    for name in (name for name in shards if name.endswith("partial.json")):
        found.append(
            Format("shard journal", shards, name, json_ways, ((100, pack),), share=1, seal="same", places=OURS)
        )
    return found


def _cut_off(root: Path, argv: tuple[str, ...], when: Callable[[str], bool]) -> Files:
    """What a run leaves that is killed at its first event for which `when` is true."""
    place = root / "cut-off"
    place.mkdir()

    def act(_number: int, name: str) -> None:
        if when(name):
            os.kill(os.getpid(), signal.SIGKILL)

    ended = warm.run(argv, place, lambda: events.watch(place, act))
    if ended.code != -signal.SIGKILL:
        raise RuntimeError(f"{argv}: was to be killed; {ended}")
    found = {name: data for name, data in cases.files(place).items() if not name.endswith((".tmp", ".lock"))}
    cases.remove(place)
    return found
