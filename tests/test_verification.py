"""What is read is what was written: hashes of tars, samples, weights and training states."""

from __future__ import annotations

import io
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import toy_images
from vhs.errors import InputError
from vhs.formats import checkpoints, digests, resume
from vhs.formats.sharding import write_set
from vhs.formats.shards import ShardSet
from vhs.formats.split import from_arrays
from vhs.runs import cache


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    images, labels = toy_images(60, 3)
    write_set(tmp_path / "set", split(images, labels), per_tar=25)
    return tmp_path / "set"


def split(images: np.ndarray, labels: np.ndarray):
    return from_arrays(images, labels, name="toy", split="val", classes=list("abcde"), prefix="val")


def changed(folder: Path, name: str, member: str, old: bytes, new: bytes) -> None:
    """Change a member in place: equal length, so that sizes and headers stay right."""
    path = folder / name
    data = path.read_bytes()
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        info = archive.getmember(member)
    content = data[info.offset_data : info.offset_data + info.size].replace(old, new, 1)
    path.write_bytes(data[: info.offset_data] + content + data[info.offset_data + info.size :])


def read(folder: Path, samples: int | None = None, *, verify: bool = True) -> cache.Decoded:
    data = replace(ShardSet.open(folder), verify=verify)
    return cache.decode(data, cache.choose(data, samples))


def test_a_changed_label_is_not_scored(toy: Path) -> None:
    read(toy)
    read(toy, 20)
    changed(toy, "000001.tar", "val-00030.cls", b"0", b"3")
    for samples in (None, 20):
        with pytest.raises(InputError, match=r"its labels or ids are not what was sharded\. Shard it again"):
            read(toy, samples)
    assert len(read(toy, verify=False)) == 60


def test_changed_pixels_are_not_scored(toy: Path) -> None:
    changed(toy, "000000.tar", "val-00003.png", b"IEND", b"IENE")
    with pytest.raises(InputError, match=r"000000\.tar: its content is not what the manifest says .* --no-verify"):
        read(toy)
    data = ShardSet.open(toy)
    chosen = cache.choose(data)
    with pytest.raises(InputError, match=r"000000\.tar: val-00003\.png: its content is not what was sharded"):
        cache.decode(data, chosen[:10])
    assert len(cache.decode(data, chosen[10:])) == 50  # a subset is checked alone


def test_a_set_without_digests_is_hashed_whole(toy: Path) -> None:
    (toy / digests.FILE).unlink()
    assert len(read(toy, 10)) == 10
    changed(toy, "000001.tar", "val-00030.cls", b"0", b"3")
    with pytest.raises(InputError, match=r"000001\.tar: its content"):
        read(toy, 10)


def test_digests_of_another_set_are_not_used(toy: Path, tmp_path: Path) -> None:
    images, labels = toy_images(60, 4)
    write_set(tmp_path / "other", split(images, labels), per_tar=25)
    shutil.copy(tmp_path / "other" / digests.FILE, toy / digests.FILE)
    assert ShardSet.open(toy).digests is None and len(read(toy, 10)) == 10


def test_the_manifest_is_the_same_with_and_without_digests(toy: Path) -> None:
    before = ShardSet.open(toy).manifest.hash
    (toy / digests.FILE).unlink()
    assert ShardSet.open(toy).manifest.hash == before


def test_a_rerun_mends_what_is_damaged_and_touches_nothing_else(toy: Path) -> None:
    whole = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in toy.iterdir()}
    images, labels = toy_images(60, 3)
    changed(toy, "000001.tar", "val-00030.cls", b"0", b"3")
    (toy / "000002.tar").unlink()
    (toy / digests.FILE).unlink()
    write_set(toy, split(images, labels), per_tar=25)
    found = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in toy.iterdir()}
    assert {name: data for name, (data, _) in found.items()} == {name: data for name, (data, _) in whole.items()}
    kept = {name for name in whole if whole[name] == found[name]}
    assert kept == {"000000.tar", "shards.json", "shards.index"}


def test_a_source_that_changed_cannot_mend(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (toy / "000001.tar").unlink()
    images, labels = toy_images(60, 3)
    made = split(images, labels)
    other = replace(made, encoded=lambda position: made.encoded(59 - position))
    with pytest.raises(InputError, match=r"000001\.tar: is damaged, and its source no longer gives what it held"):
        write_set(toy, other, per_tar=25)


def test_the_tars_of_a_dead_run_of_another_plan_go(tmp_path: Path) -> None:
    images, labels = toy_images(60, 3)

    def stop(what: str, done: int, total: int) -> None:
        if done == 50:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_set(tmp_path / "set", split(images, labels), per_tar=10, progress=stop)
    assert len(list((tmp_path / "set").glob("*.tar"))) == 5
    write_set(tmp_path / "set", split(images, labels), per_tar=30)
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == [
        "000000.tar", "000001.tar", "shards.digests", "shards.index", "shards.json",
    ]  # fmt: skip


def test_every_flipped_bit_of_the_weights_is_seen(toy_checkpoint: Path, tmp_path: Path) -> None:
    data = toy_checkpoint.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    rng = np.random.default_rng(0)
    for place in rng.integers(start, len(data), 40).tolist():
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(rng.integers(8))
        (tmp_path / "m.safetensors").write_bytes(damaged)
        with pytest.raises(InputError, match="its weights are damaged"):
            checkpoints.load(tmp_path / "m.safetensors")


def test_a_changed_description_is_seen(toy_checkpoint: Path, tmp_path: Path) -> None:
    data = toy_checkpoint.read_bytes()
    assert data.count(b'\\"step\\": 20') == 1
    (tmp_path / "m.safetensors").write_bytes(data.replace(b'\\"step\\": 20', b'\\"step\\": 24'))
    with pytest.raises(InputError, match=r"its `vhs` description is damaged \(another checksum\)"):
        checkpoints.read_info(tmp_path / "m.safetensors")


def test_a_damaged_training_state_is_not_continued(tmp_path: Path) -> None:
    path = tmp_path / "m.resume"
    resume.save(path, {"a": torch.arange(100.0), "b": torch.arange(3)}, {"step": 4})
    assert resume.load(path, {})[1]["step"] == 4
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"is no training state: it is damaged\. Remove it to start anew"):
        resume.load(path, {})


def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path) -> None:
    import struct
    import zlib

    from vhs.formats.images import decode

    values = np.array([[0, 255, 256, 257 * 100, 32768, 65535]], np.uint16)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    for colour, channels in ((0, 1), (2, 3), (4, 2), (6, 4)):
        rows = np.repeat(values[..., None], channels, -1).astype(">u2").tobytes()
        header = struct.pack(">IIBBBBB", values.shape[1], 1, 16, colour, 0, 0, 0)
        png = (
            b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", header)
            + chunk(b"IDAT", zlib.compress(b"\0" + rows))
            + chunk(b"IEND", b"")
        )
        for wanted in (1, 3):
            assert decode(png, wanted, "x")[0, :, 0].tolist() == [0, 0, 1, 100, 128, 255]
