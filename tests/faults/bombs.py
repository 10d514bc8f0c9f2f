"""Small files that say they are large: refused before memory is taken for what they say."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.faults import cases, warm
from tests.faults.cases import Files
from tests.faults.report import Report

MANY = 60_000
"""Images of 224 x 224 px: 3 GB."""


@dataclass(frozen=True)
class Bomb:
    """files: made in a child; large: whether making it takes seconds, and so is not for a sample."""

    name: str
    files: Callable[[Path], Files]
    argv: tuple[str, ...]
    large: bool = False


def bombs(root: Path, report: Report, *, sample: bool) -> None:
    """Each bomb in its own process; its peak above that of a command that does nothing."""
    from tests.faults.mutations import verdicts
    from tests.faults.worker import shortened

    (root / "bombs").mkdir()
    room = cases.Room(root / "bombs")
    idle = warm.run(("--version",), room.new()).peak
    for bomb in BOMBS:
        if bomb.large and sample:
            continue
        place = room.new()
        warm.apart(lambda bomb=bomb, place=place: _laid(bomb, place, root / "toys"), place)
        ended = warm.run(bomb.argv, place, warm.fenced)
        told = {"code": "hangs" if ended.hung else ended.code, "seconds": ended.cpu, "peak": ended.peak - idle}
        told |= shortened(ended.err)
        report.count("bombs", f"exit {ended.code}")
        report.measure("MiB", told["peak"] / 2**20, f"bomb {bomb.name}")
        report.measure("seconds", ended.cpu, f"bomb {bomb.name}")
        for what in verdicts(told):
            report.violation(f"bomb {bomb.name}: {what}", f"vhs {' '.join(bomb.argv)}: {ended.err[-250:]}")


def _laid(bomb: Bomb, place: Path, toys: Path) -> None:
    for name, data in bomb.files(toys).items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)


def _png(width: int, height: int, channels: int, *, whole: bool) -> bytes:
    """A black PNG; not whole: its data end after the first rows."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = height if whole else 4
    squeezer = zlib.compressobj(1)
    data = b"".join(squeezer.compress(bytes(1 + width * channels)) for _ in range(rows)) + squeezer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 2 if channels == 3 else 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def _picture(data: bytes) -> Files:
    return {"source/cat/1.png": data}


def _idx(toys: Path) -> Files:
    """Two gzip members that repeat zeros: 3 MB for 3 GB."""
    shape = struct.pack(">III", MANY, 224, 224)
    zeros = gzip.compress(bytes(1 << 24), 1)
    count = MANY * 224 * 224 // (1 << 24) + 1
    labels = b"\0\0\x08\x01" + struct.pack(">I", MANY) + bytes(MANY)
    return {
        "idx/t10k-images-idx3-ubyte.gz": gzip.compress(b"\0\0\x08\x03" + shape) + zeros * count,
        "idx/t10k-labels-idx1-ubyte.gz": gzip.compress(labels),
    }


def _npz(toys: Path) -> Files:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("x_test.npy", "w", force_zip64=True) as member:
            head = {"descr": "|u1", "fortran_order": False, "shape": (MANY, 224, 224)}
            np.lib.format.write_array_header_1_0(member, head)
            for _ in range(MANY * 224 * 224 // (1 << 24) + 1):
                member.write(bytes(1 << 24))
        with archive.open("y_test.npy", "w") as member:
            np.save(member, np.zeros(MANY, np.uint8))
    return {"a.npz": made.getvalue()}


def _lying_npz(toys: Path) -> Files:
    """A header that says 3 TB above 10 bytes."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name in ("x_test", "y_test"):
            head = io.BytesIO()
            shape = (MANY * 1000, 224, 224) if name == "x_test" else (MANY * 1000,)
            np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": shape})
            archive.writestr(f"{name}.npy", head.getvalue() + b"0123456789")
    return {"a.npz": made.getvalue()}


def _parquet(toys: Path) -> Files:
    """Ten million equal rows of every column of an ablation table."""
    import polars as pl

    table = pl.read_csv(toys / "heads.csv", infer_schema_length=None).head(1)
    one = io.BytesIO()
    wide = table.select(pl.all().repeat_by(1_000_000).explode())
    pl.concat([wide] * 10, rechunk=False).write_parquet(one, row_group_size=1_000_000)
    return {"t.parquet": one.getvalue()}


def _manifest(**change: object) -> Callable[[Path], Files]:
    """The validation set with a manifest that says otherwise."""

    def files(toys: Path) -> Files:
        found = {f"set/{name}": data for name, data in cases.files(toys / "shards/val").items()}
        told = json.loads(found["set/shards.json"]) | change
        return found | {"set/shards.json": json.dumps(told).encode()}

    return files


def _checkpoint(toys: Path) -> Files:
    """A description of a network of a million layers above the tensors of two."""
    data = (toys / "a.safetensors").read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    told = json.loads(header["__metadata__"]["vhs"])
    told["spec"]["dim"] = told["spec"]["head_width"] = 1 << 30
    header["__metadata__"]["vhs"] = json.dumps(told)
    text = json.dumps(header).encode()
    return {"c.safetensors": struct.pack("<Q", len(text)) + text + data[8 + length :]}


def _expanded(toys: Path) -> Files:
    """A pickled tensor of 40 GB whose storage is one number."""
    import torch

    made = io.BytesIO()
    torch.save({"head.weight": torch.zeros(1).expand(100_000, 100_000)}, made)
    return {"w.pth": made.getvalue()}


def _hf(toys: Path) -> Files:
    config = {"model_type": "vit", "hidden_size": 1 << 17, "num_hidden_layers": 1000, "num_attention_heads": 2, "image_size": 1 << 16,
              "patch_size": 1, "intermediate_size": 1 << 19}  # fmt: skip
    return {
        "vit/config.json": json.dumps(config).encode(),
        "vit/model.safetensors": (toys / "a.safetensors").read_bytes(),
    }


SCORE = ("evalshift", "../../toys/a.safetensors", "--data", "set", "-q", "--max-samples", "4")
PACK = ("shard", "source", "out", "-q")
BOMBS = (
    Bomb("png 60000x60000", lambda _: _picture(_png(60000, 60000, 3, whole=False)), PACK),
    Bomb("png 8192x8192", lambda _: _picture(_png(8192, 8192, 3, whole=True)), PACK, large=True),
    Bomb("idx.gz", _idx, ("shard", "idx", "out", "-q", "--dry-run"), large=True),
    Bomb("npz", _npz, ("shard", "a.npz", "out", "-q", "--dry-run"), large=True),
    Bomb("npz that lies", _lying_npz, ("shard", "a.npz", "out", "-q", "--dry-run")),
    Bomb("parquet", _parquet, ("info", "t.parquet"), large=True),
    Bomb("manifest of large images", _manifest(height=16384, width=16384), SCORE),
    Bomb("manifest of a million classes", _manifest(classes=[str(n) for n in range(1_000_000)]), SCORE, large=True),
    Bomb("checkpoint", _checkpoint, ("info", "c.safetensors")),
    Bomb("torch pickle", _expanded, ("info", "timm:vit_tiny_patch16_224@w.pth")),
    Bomb("hf config", _hf, ("info", "hf:vit")),
)  # fmt: skip
