"""Shard sets: tars, manifests and sample ids, round trips, and every kind of bad one in one line."""

import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import CLASSES, toy_images
from vhs.errors import InputError, UsageError
from vhs.formats import tar
from vhs.formats.manifest import Manifest
from vhs.formats.manifest_checks import check
from vhs.formats.sharding import write_set
from vhs.formats.shards import MANIFEST, ShardSet
from vhs.formats.split import from_arrays, sample_ids


def toy_split(count: int = 60):
    images, labels = toy_images(count, 3)
    return from_arrays(images, labels, name="toy", split="val", classes=CLASSES, prefix="val")


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


class TestShards:
    def test_round_trip_and_byte_identity(self, tmp_path: Path) -> None:
        images, labels = toy_images(60, 3)
        for name in ("a", "b"):
            write_set(tmp_path / name, toy_split(), per_tar=25)
        assert content(tmp_path / "a") == content(tmp_path / "b")
        data = ShardSet.open(tmp_path / "a")
        samples = list(data.samples())
        assert [s.id for s in samples] == [f"val-{i:05d}" for i in range(60)]
        assert [s.label for s in samples] == labels.tolist()
        assert all(np.array_equal(data.decode(s)[..., 0], image) for s, image in zip(samples, images, strict=True))
        assert data.manifest.mean[0] == pytest.approx(images.mean() / 255, abs=1e-6)
        assert data.manifest.std[0] == pytest.approx(images.std() / 255, abs=1e-6)

    def test_an_interrupted_run_keeps_its_tars_and_ends_alike(self, tmp_path: Path) -> None:
        write_set(tmp_path / "whole", toy_split(), per_tar=25)
        split = toy_split()
        failing = type(split)(**{**vars(split), "encoded": lambda i: split.encoded(i) if i < 30 else os.abort_not()})  # type: ignore[attr-defined]
        with pytest.raises(AttributeError):
            write_set(tmp_path / "cut", failing, per_tar=25)
        assert not (tmp_path / "cut" / MANIFEST).exists()
        first = (tmp_path / "cut" / "000000.tar").stat().st_mtime_ns
        write_set(tmp_path / "cut", split, per_tar=25)
        assert (tmp_path / "cut" / "000000.tar").stat().st_mtime_ns == first
        assert content(tmp_path / "cut") == content(tmp_path / "whole")

    def test_a_complete_set_is_left_alone_and_another_is_refused(self, tmp_path: Path) -> None:
        write_set(tmp_path, toy_split())
        before = (tmp_path / MANIFEST).stat().st_mtime_ns
        write_set(tmp_path, toy_split())
        assert (tmp_path / MANIFEST).stat().st_mtime_ns == before
        with pytest.raises(UsageError, match="already holds another shard set"):
            write_set(tmp_path, toy_split(40))

    def test_opens_in_webdataset(self, toy_shards: Path) -> None:
        import webdataset

        urls = [str(path) for path in sorted((toy_shards / "val").glob("*.tar"))]
        found = list(webdataset.WebDataset(urls, shardshuffle=False).decode("l8").to_tuple("__key__", "png", "cls"))
        images, labels = toy_images(85, 2)
        assert [label for _, _, label in found] == labels.tolist()
        assert all(np.array_equal(pixels, image) for (_, pixels, _), image in zip(found, images, strict=True))

    @pytest.mark.parametrize(
        ("members", "message"),
        [
            ([("a.cls", b"0")], "a: has no image; it has cls"),
            ([("a.png", b"x")], "a: has no .cls"),
            ([("a.png", b"x"), ("a.cls", b"5")], "label '5', expected a whole number below 5"),
            ([("a.png", b"x"), ("a.cls", b"-1")], "expected a whole number below 5"),
            ([("a.png", b"x"), ("a.cls", b"1"), ("a.pickle", b"")], "unexpected kind of member"),
            ([("a.png", b"x"), ("a.cls", b"1"), ("b.png", b"x"), ("b.cls", b"1"), ("a.png", b""), ("a.cls", b"1")], "a: this sample id stands twice"),
            ([("../a.png", b"x")], "leaves the archive"),
            ([("/a.png", b"x")], "leaves the archive"),
        ],
    )  # fmt: skip
    def test_bad_members_are_named(self, tmp_path: Path, members: list, message: str) -> None:
        with pytest.raises(InputError, match=message):
            list(self._set_of(tmp_path, tar.tar_bytes(members)).samples())

    @pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
    def test_links_and_fifos_are_refused(self, tmp_path: Path, kind: bytes) -> None:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            info = tarfile.TarInfo("a.png")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        with pytest.raises(InputError, match="a shard holds regular files only"):
            list(self._set_of(tmp_path, buffer.getvalue()).samples())

    def test_a_truncated_tar_is_named(self, tmp_path: Path) -> None:
        write_set(tmp_path, toy_split())
        path = tmp_path / "000000.tar"
        path.write_bytes(path.read_bytes()[:3000])
        with pytest.raises(InputError, match=r"000000.tar: 3000 bytes, shards.json says \d+; truncated"):
            list(ShardSet.open(tmp_path).samples())

    def test_a_tar_cut_where_the_manifest_agrees_is_found_too(self, tmp_path: Path) -> None:
        data = tar.tar_bytes([("a.png", bytes(2000)), ("a.cls", b"1")])
        for cut in (700, 1024, 2560, 2800):
            with pytest.raises(InputError, match=r"truncated|has no .cls"):
                list(self._set_of(tmp_path, data[:cut]).samples())

    @pytest.mark.parametrize("long", ["pax", "gnu"])
    def test_long_names_of_other_writers_are_read(self, tmp_path: Path, long: str) -> None:
        name, buffer = "k" * 150, io.BytesIO()
        form = tarfile.PAX_FORMAT if long == "pax" else tarfile.GNU_FORMAT
        with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
            for suffix, data in (("png", b"x"), ("cls", b"3")):
                info = tarfile.TarInfo(f"{name}.{suffix}")
                info.size, info.mtime = len(data), 1.5
                archive.addfile(info, io.BytesIO(data))
        assert [(s.id, s.label) for s in self._set_of(tmp_path, buffer.getvalue()).samples()] == [(name, 3)]

    @pytest.mark.parametrize(
        ("patch", "message"),
        [
            (b"-0000001000\0", "damaged header"),
            (b"0x000001000\0", "damaged header"),
            (b"99999999999\0", "damaged header"),
        ],
    )
    def test_sizes_that_are_no_octal_numbers_end_at_once(self, tmp_path: Path, patch: bytes, message: str) -> None:
        data = bytearray(tar.tar_bytes([("a.png", bytes(600)), ("a.cls", b"1")]))
        data[124:136] = patch
        data[148:156] = b" " * 8
        data[148:156] = f"{sum(data[:512]):06o}\0 ".encode()
        with pytest.raises(InputError, match=message):
            list(self._set_of(tmp_path, bytes(data)).samples())

    @pytest.mark.parametrize("record", [b"13 size=-512\n", b"12 size=abc\n", b"0 size=1\n", b"-3 path=x\n"])
    def test_bad_pax_records_end_at_once(self, tmp_path: Path, record: bytes) -> None:
        with pytest.raises(InputError, match="damaged PAX"):
            tar._pax(record, tmp_path)

    def test_pax_records_of_others_may_hold_any_bytes(self, tmp_path: Path) -> None:
        """Extended attributes, as macOS writes them, and names that are not UTF-8, as Python writes them."""
        record = b"SCHILY.xattr.com.apple.provenance=\x01\x02\x00\xff\x8f\n\xfe"
        length = len(record) + 4
        told = b"%d %s\n" % (length, record)
        assert len(told) == length and tar._pax(told + b"14 path=x.png\n", tmp_path)[0] == "x.png"
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, encoding="latin-1") as archive:
            info = tarfile.TarInfo("gr\udcfcn" + "x" * 100 + ".png")
            info.size = 1
            archive.addfile(info, io.BytesIO(b"x"))
        (member,) = tar.members(buffer.getvalue(), tmp_path)
        assert member.name.startswith("gr\udcfcnx")

    def test_sums_of_headers_count_every_byte(self, tmp_path: Path) -> None:
        """Also of names beyond ASCII, whose bytes may add up to more than Adler's first half holds."""
        names = ["a.png", "bild-\u00e4.png", "\u7fff" * 30 + ".png", "\udcff" * 90 + ".png"]
        data = tar.tar_bytes([(name, b"x") for name in names])
        assert [member.name for member in tar.members(data, tmp_path)] == names
        for at in (0, 99, 124, 345, 511):
            for start in range(0, len(names) * 1024, 1024):
                broken = data[: start + at] + bytes([data[start + at] ^ 1]) + data[start + at + 1 :]
                with pytest.raises(InputError, match="damaged header"):
                    list(tar.members(broken, tmp_path))

    def test_a_fifo_is_no_tar(self, tmp_path: Path) -> None:
        folder = self._set_of(tmp_path, b"x").folder
        (folder / "0.tar").unlink()
        os.mkfifo(folder / "0.tar")
        with pytest.raises(InputError, match="is no regular file"):
            list(ShardSet.open(folder).samples())

    def test_no_tar_at_all(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="damaged header"):
            list(self._set_of(tmp_path, b"GIF89a" * 200).samples())

    def _set_of(self, folder: Path, data: bytes) -> ShardSet:
        (folder / "0.tar").write_bytes(data)
        entry = {"name": "0.tar", "samples": 1, "bytes": len(data), "sha256": "0" * 64}
        raw = {
            "format": 1, "name": "x", "split": "val", "classes": list(CLASSES), "samples": 1, "tars": [entry], "channels": 1,
            "height": None, "width": None, "mean": [0.5], "std": [0.5],
        }  # fmt: skip
        (folder / MANIFEST).write_text(json.dumps(raw))
        return ShardSet.open(folder)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"format": 9}, "format 9, this vhs reads 1"),
            ({"tars": [], "samples": 0}, "the shard set is empty"),
            ({"tars": [{"name": "../x.tar", "samples": 60, "bytes": 1, "sha256": ""}]}, "leaves the folder"),
            ({"samples": 10**18}, "its counts are not whole numbers"),
            ({"samples": 3}, "its tars hold another number"),
            ({"height": "28"}, "images of '28' x 28 px"),
            ({"mean": ["a"]}, "must be numbers"),
            ({"channels": 2}, "2 channels"),
            ({"classes": None}, "is not a shard manifest"),
        ],
    )
    def test_bad_manifests(self, tmp_path: Path, change: dict, message: str) -> None:
        write_set(tmp_path, toy_split())
        raw = json.loads((tmp_path / MANIFEST).read_text()) | change
        with pytest.raises(InputError, match=message):
            check(Manifest.from_bytes(json.dumps(raw).encode(), tmp_path), tmp_path)

    def test_sample_ids(self) -> None:
        assert sample_ids([Path("a/x.1.png"), Path("b/y.png")]) == ["x_1", "y"]
        assert sample_ids([Path("a/x.png"), Path("b/x.png")]) == ["a__x", "b__x"]
        assert len(sample_ids([Path("z" * 200 + ".png")])[0]) == 90
        with pytest.raises(InputError, match="'a_b'"):
            sample_ids([Path("a.b.png"), Path("a_b.png")])
