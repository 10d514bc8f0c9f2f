"""Shards, tars, images, checkpoints and tables: round trips, and every kind of bad input in one line."""

import io
import json
import os
import resource
import struct
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.conftest import CLASSES, toy_images
from vhs.errors import InputError, UsageError, VhsError
from vhs.formats import checkpoints, schemas, tables, tar
from vhs.formats.atomic import whole_file, write_whole
from vhs.formats.images import decode, encode_png
from vhs.formats.manifest import Manifest
from vhs.formats.manifest_checks import check
from vhs.formats.sharding import write_set
from vhs.formats.shards import MANIFEST, ShardSet
from vhs.formats.split import from_arrays, sample_ids
from vhs.models.spec import ViTSpec


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
            ([("a.png", b"x"), ("a.cls", b"5")], "label b'5', expected a whole number below 5"),
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
        entry = {"name": "0.tar", "samples": 1, "bytes": len(data), "sha256": ""}
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


class TestImages:
    def test_png_and_jpeg(self) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (13, 7, 3), dtype=np.uint8)
        assert np.array_equal(decode(encode_png(pixels), 3, ""), pixels)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG")
        want = np.asarray(Image.open(io.BytesIO(buffer.getvalue())))
        assert np.array_equal(decode(buffer.getvalue(), 3, ""), want)
        assert decode(buffer.getvalue(), 1, "").shape == (13, 7, 1)

    def test_cmyk_and_sixteen_bit(self) -> None:
        buffer = io.BytesIO()
        Image.new("CMYK", (8, 8), (10, 20, 30, 40)).save(buffer, "JPEG")
        assert decode(buffer.getvalue(), 3, "").shape == (8, 8, 3)

    @pytest.mark.parametrize("kind", ["PNG", "JPEG"])
    def test_truncated_images_are_refused(self, kind: str) -> None:
        buffer = io.BytesIO()
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(buffer, kind)
        with pytest.raises(InputError, match="here: cannot be decoded"):
            decode(buffer.getvalue()[:-900], 3, "here")

    def test_other_bytes_and_bombs(self) -> None:
        with pytest.raises(InputError, match="is not a PNG, JPEG or WebP"):
            decode(b"<svg/>", 3, "x")
        header = (
            b"\x89PNG\r\n\x1a\n"
            + struct.pack(">I", 13)
            + b"IHDR"
            + struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
        )
        with pytest.raises(InputError, match="x: cannot be decoded"):
            decode(header + bytes(4), 3, "x")


SPEC = ViTSpec(depth=2, dim=12, heads=3, head_width=4, hidden=20, patch=5, height=15, width=10, channels=1, classes=5)


def checkpoint(path: Path, **change: object) -> checkpoints.CheckpointInfo:
    from vhs.models.building import build

    info = checkpoints.CheckpointInfo(
        spec=SPEC, classes=CLASSES, mean=(0.5,), std=(0.2,), timm=checkpoints.timm_arguments(SPEC)
    )
    torch.manual_seed(0)
    checkpoints.save(path, build(SPEC).state_dict(), info)
    if change:
        _rewrite(path, change)
    return info


def _rewrite(path: Path, change: dict) -> None:
    """Change the description in place, leaving the tensors."""
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    raw = json.loads(header["__metadata__"]["vhs"])
    spec = change.pop("spec", {})
    header["__metadata__"]["vhs"] = json.dumps(raw | change | {"spec": raw["spec"] | spec})
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


class TestCheckpoints:
    def test_round_trip(self, tmp_path: Path) -> None:
        info = checkpoint(tmp_path / "a.safetensors")
        loaded, state = checkpoints.load(tmp_path / "a.safetensors")
        assert loaded == replace(info, weights_id=checkpoints.weights_id(state)) and len(loaded.weights_id) == 12
        checkpoint(tmp_path / "b.safetensors")
        assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()

    def test_opens_in_timm_with_what_its_metadata_says(self, tmp_path: Path) -> None:
        import timm
        from safetensors import safe_open
        from safetensors.torch import load_file

        from vhs.formats import references

        checkpoint(tmp_path / "a.safetensors")
        with safe_open(tmp_path / "a.safetensors", "pt") as file:
            made = json.loads(file.metadata()["vhs"])["timm"]
        net = timm.create_model(made["name"], **made["kwargs"])
        net.load_state_dict(load_file(tmp_path / "a.safetensors"), strict=True)
        ours = references.load(str(tmp_path / "a.safetensors"), torch.device("cpu")).model.net
        pixels = torch.randn(3, 1, 15, 10)
        assert torch.equal(net.eval()(pixels), ours(pixels))

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"spec": {"depth": 10**9}}, "depth is 1000000000, expected a whole number 1 to 1024"),
            ({"spec": {"depth": 900}}, "says depth 900 but holds"),
            ({"spec": {"dim": 65000}}, "has shape .* its architecture says"),
            ({"spec": {"heads": True}}, "heads is True"),
            ({"spec": {"heads": "3"}}, "heads is '3'"),
            ({"spec": {"patch": 4}}, "is not a whole number of 4 px patches"),
            ({"spec": {"pool": "map"}}, "pool is 'map', expected token or avg"),
            ({"spec": {"more": 1}}, "missing or unknown: more"),
            ({"classes": ["a"]}, "1 class names for 5 outputs"),
            ({"std": [0]}, "std above 0"),
            ({"mean": ["x"]}, "must be numbers"),
            ({"format": 2}, "checkpoint format 2, this vhs reads 1"),
            ({"data": []}, "data is \\[\\], expected dict"),
            ({"data": {"val": "x"}}, "data 'val' is damaged"),
            ({"data": {"val": {"path": "x" * 5000}}}, "data 'val' is damaged"),
            ({"step": "ten"}, "step is 'ten', expected int"),
            ({"step": 10**30}, "step is 1000"),
            ({"timm": {"x": 1}}, "expected name and kwargs"),
            ({"classes": [1, 2, 3, 4, 5]}, "its class names are not text"),
        ],
    )
    def test_hostile_descriptions_are_refused_before_anything_is_built(
        self, tmp_path: Path, change: dict, message: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "a.safetensors"
        checkpoint(path, **change)
        monkeypatch.setattr("timm.models.VisionTransformer.__init__", lambda *_: pytest.fail("built"))
        with pytest.raises(InputError, match=message):
            checkpoints.load(path)

    def test_other_files(self, tmp_path: Path) -> None:
        path = tmp_path / "x.safetensors"
        save_file({"a": torch.zeros(2)}, path)
        with pytest.raises(InputError, match=r"not a vhs checkpoint\. For timm weights"):
            checkpoints.load(path)
        path.write_bytes(struct.pack("<Q", 2**60) + b"{}")
        with pytest.raises(InputError, match="claims to be over 100 MB"):
            checkpoints.load(path)
        path.write_bytes(b"PK\x03\x04 this is a zip, such as torch.save writes")
        with pytest.raises(InputError, match="is not a safetensors file"):
            checkpoints.load(path)
        path.write_bytes(struct.pack("<Q", 100_000) + b"[" * 100_000)
        with pytest.raises(InputError, match="is not a safetensors file"):
            checkpoints.load(path)
        checkpoint(path)
        path.write_bytes(path.read_bytes()[:-500])
        with pytest.raises(InputError, match="lies outside the file, which is cut off"):
            checkpoints.load(path)


ROW = {
    "model": "m.safetensors",
    "epoch": 1,
    "step": 9,
    "steps_planned": 18,
    "lr": 1e-3,
    "train_loss": 1 / 3,
    "n": 7,
    "n_correct": 5,
    "top1": 5 / 7,
    "loss": 1e-17,
}


def test_half_precision_weights_are_read_as_float32(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    checkpoint(tmp_path / "a.safetensors")
    info = replace(checkpoints.load(tmp_path / "a.safetensors")[0], weights_id=None)  # others' files have none
    half = {name: tensor.half() for name, tensor in load_file(tmp_path / "a.safetensors").items()}
    save_file(half, tmp_path / "h.safetensors", metadata={"vhs": info.to_json()})
    _, state = checkpoints.load(tmp_path / "h.safetensors")
    assert all(tensor.dtype == torch.float32 for tensor in state.values())
    save_file({n: t.int() for n, t in half.items()}, tmp_path / "i.safetensors", metadata={"vhs": info.to_json()})
    with pytest.raises(InputError, match="of type I32"):
        checkpoints.load(tmp_path / "i.safetensors")


class TestTables:
    @pytest.mark.parametrize("form", tables.FORMATS)
    def test_round_trip(self, tmp_path: Path, form: str) -> None:
        table = tables.frame(schemas.TRAIN, [ROW, ROW | {"epoch": 2}])
        path = tmp_path / "t"
        path.write_bytes(tables.render(table, form, provenance={"seed": 3}))
        schema, read, part = tables.read(str(path))
        assert schema is schemas.TRAIN and read.equals(table) and not part
        if form == "parquet":
            assert tables.read_provenance(path) == {"seed": 3}

    def test_every_schema_round_trips_with_nulls(self, tmp_path: Path) -> None:
        sample = {"string": "x", "integer": 2**40, "real": 0.1 + 0.2, "flag": False}
        for schema in schemas.SCHEMAS.values():
            row = {c.name: None if c.nullable else sample[c.kind] for c in schema.columns}
            table = tables.frame(schema, [row])
            (tmp_path / "t.csv").write_bytes(tables.render(table, "csv"))
            found, read, _ = tables.read(str(tmp_path / "t.csv"))
            assert found is schema and read.equals(table), schema.name

    @pytest.mark.parametrize(
        ("edit", "message"),
        [
            (
                lambda t: t.replace("lr,", "").replace("0.001,", ""),
                "column `lr` is missing from this train table. `vhs train` writes it",
            ),
            (lambda t: t.rstrip("\n"), "ends in the middle of a row"),
            (lambda t: t.replace("0.001", "quick"), "row 1: column `lr` is 'quick', expected a value of type real"),
            (lambda t: t.replace("0.001", ""), "row 1: column `lr` is empty"),
            (lambda t: t.replace(",1e-17,", ",,"), "row 1: column `loss` is empty"),
            (lambda t: t.splitlines()[0] + "\n", "has no rows"),
            (lambda t: t + t, "row 2 is a second header; tables were joined"),
            (lambda t: t.replace("0.001", "inf"), "row 1: column `lr` is 'inf'"),
            (lambda t: "\0\1" + t, "is no table but a binary file"),
            (lambda _: "", "is empty, a table was expected"),
            (lambda _: "a,b\n1,2\n", "is no vhs table: it starts with a, b, not with columns such as model"),
        ],
    )
    def test_bad_tables_name_file_row_and_column(self, tmp_path: Path, edit, message: str) -> None:
        path = tmp_path / "t.csv"
        path.write_text(edit(tables.render(tables.frame(schemas.TRAIN, [ROW]), "csv").decode()))
        with pytest.raises(InputError, match=message) as caught:
            tables.read(str(path))
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)

    def test_a_condition_without_all_heads_is_refused(self) -> None:
        keys = {
            "model_id": "m",
            "shift": "clean",
            "severity": 0,
            "group": "all",
            "fill": "zero",
            "method": "exact",
            "unit": "head",
        }
        rows = [keys | {"layer": layer, "head": head} for layer in range(2) for head in range(2)]
        cut = [row | {"shift": "imagenet-c", "corruption": "contrast", "severity": 1} for row in rows[:3]]
        table = pl.DataFrame(
            [row | {"corruption": row.get("corruption")} for row in rows + cut], infer_schema_length=None
        )
        tables.check_grid(table.head(4), "t")
        with pytest.raises(InputError, match="condition imagenet-c/contrast:1 has 3 heads of 4"):
            tables.check_grid(table, "t")


class TestAtomic:
    def test_nothing_is_left_when_writing_fails(self, tmp_path: Path) -> None:
        target = tmp_path / "x"
        target.write_text("old")
        with pytest.raises(ValueError, match="stop"), whole_file(target) as file:
            file.write(b"half")
            raise ValueError("stop")
        assert target.read_text() == "old" and os.listdir(tmp_path) == ["x"]

    def test_umask_links_and_devices(self, tmp_path: Path) -> None:
        before = os.umask(0o027)
        try:
            write_whole(tmp_path / "x", b"1")
        finally:
            os.umask(before)
        assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640
        (tmp_path / "link").symlink_to(tmp_path / "x")
        write_whole(tmp_path / "link", b"2")
        assert (tmp_path / "link").is_symlink() and (tmp_path / "x").read_bytes() == b"2"
        write_whole(Path("/dev/null"), b"3")
        with pytest.raises(VhsError, match="/dev/full: cannot be written: No space left"):
            write_whole(Path("/dev/full"), b"4")

    def test_a_full_disk(self, tmp_path: Path) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        try:
            with pytest.raises(VhsError, match=r"cannot be written: File too large\. Nothing was left"):
                write_whole(tmp_path / "x", bytes(5000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert os.listdir(tmp_path) == []
