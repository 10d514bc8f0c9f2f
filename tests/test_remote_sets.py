"""Sets behind URLs: a real web server and a real object store, on this machine, with faults."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.foreign_tars import imagenet_1k_wds
from tests.trainings import training
from tests.web import Faults, served
from vhs.errors import InputError, UsageError
from vhs.formats import excerpts, places, subsets, tar_cache, transfers
from vhs.formats.places import Remote
from vhs.formats.shards import ShardSet, pick
from vhs.runs import cache
from vhs.training.recipe import Recipe

STREAMED = Recipe(depth=1, dim=8, heads=2, patch=14, batch=24, epochs=3, resized_crop=True, mixup=0.5, lr=1e-2)


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and pauses too short to wait for."""
    monkeypatch.setenv("VHS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(transfers, "PAUSE", 0.001)
    monkeypatch.setattr(transfers, "BLOCK", 1 << 13)
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The URL of a bucket of an S3 server that runs here."""
    from moto.server import ThreadedMotoServer

    told = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    before = dict(os.environ)
    os.environ.update(told | {"AWS_ENDPOINT_URL": f"http://{host}:{port}"})
    import s3fs

    s3fs.S3FileSystem(skip_instance_cache=True).mkdir("sets")
    yield "s3://sets"
    os.environ.clear()
    os.environ.update(before)
    server.stop()


def decoded(place: object) -> cache.Decoded:
    data = pick(places.parse(place), lambda manifest: manifest.split == "val", "validation")
    return cache.decode(data, cache.choose(data))


def same(one: cache.Decoded, other: cache.Decoded) -> bool:
    return (
        one.ids == other.ids and torch.equal(one.images_NCHW, other.images_NCHW) and one.labels_N.equal(other.labels_N)
    )


class TestEveryCommand:
    def test_evaluates_trains_and_ablates_as_from_disk(self, vhs, toy_shards: Path) -> None:
        small = ("--depth", 1, "--dim", 8, "--heads", 2, "--patch", 14, "--epochs", 1, "--batch", 24)
        with served(toy_shards) as url:
            for where, name in ((toy_shards, "disk"), (url, "web")):
                assert vhs("train", where, *small, "-o", f"{name}.safetensors")[0] == 0
                code, _, err = vhs(
                    "ablate", f"{name}.safetensors", "--fill", "mean", "--shift", "contrast:3", "-o", f"{name}.csv"
                )  # fmt: skip
                assert code == 0, err
            tables = [Path(f"{name}.csv").read_text().replace(f"{name}.safetensors", "m") for name in ("disk", "web")]
            assert tables[0].splitlines()[2].split(",")[3:] == tables[1].splitlines()[2].split(",")[3:]
            assert tables[0] == tables[1]
            for arguments in (("evalshift", "web.safetensors", "--data", f"{url}/val"),
                              ("specialize", "web.safetensors", "--data", f"{url}/val", "--max-samples", 20)):  # fmt: skip
                remote = vhs(*arguments)
                local = vhs(*(str(item).replace(url, str(toy_shards)) for item in arguments))
                assert remote[0] == local[0] == 0 and remote[1] == local[1]
            assert vhs("info", url)[1].count("toy/") == 2
            assert vhs("plot", f"{url}/val", "-o", "sheet.png")[0] == 0

    def test_shifts_are_stored_elsewhere_too(self, vhs, toy_shards: Path, toy_checkpoint: Path, tmp_path: Path) -> None:
        folder = tmp_path / "src" / "fog"
        data = ShardSet.open(toy_shards / "val")
        for severity in range(1, 6):
            for sample in data.samples():
                place = folder / str(severity) / data.manifest.classes[sample.label] / f"{sample.id}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(bytes(sample.image))
        assert vhs("shard", folder.parent, "c/stored", "--base", toy_shards / "val")[0] == 0
        with served(Path("c")) as url:
            one = vhs("evalshift", toy_checkpoint, "--data", toy_shards / "val", "--shift", f"{url}/stored")
            other = vhs("evalshift", toy_checkpoint, "--data", toy_shards / "val", "--shift", "c/stored")
        assert one[0] == other[0] == 0 and one[1] == other[1] and one[1].count(",fog,") == 5

    def test_the_default_data_is_found_where_it_was_recorded(self, vhs, toy_shards: Path) -> None:
        with served(toy_shards) as url:
            arguments = ("--depth", 1, "--dim", 8, "--heads", 2, "--patch", 14, "--epochs", 1, "--batch", 24)
            assert vhs("train", url, *arguments, "-o", "m.safetensors")[0] == 0
            code, out, err = vhs("evalshift", "m.safetensors")
        assert code == 0 and "toy/val" in out and not err


class TestFaults:
    @pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))])
    def test_200_faults_change_nothing(self, tmp_path: Path, seed: int) -> None:
        folder = packed(tmp_path / "set", 400)
        told = Faults(left=200, odds=0.4, seed=seed)
        local = decoded(folder)
        found = 0
        with served(folder, told) as url:
            while told.left:
                assert same(decoded(url), local)
                found += 1
                for path in (tmp_path / "cache").iterdir():
                    path.unlink()
        assert sum(told.done.values()) == 200 and set(told.done) == {"drop", "503", "short", "late"} and found >= 1

    def test_an_epoch_of_training_is_complete_whatever_breaks(self, tmp_path: Path) -> None:
        folder = packed(tmp_path / "set", 120)
        assert training(tmp_path / "disk", folder, recipe=STREAMED).run(resuming=False)
        with served(folder, Faults(left=200, odds=0.5, seed=3)) as url:
            sets = {split: ShardSet.open(places.parse(f"{url}/{split}")) for split in ("train", "val")}
            assert training(tmp_path / "web", folder, recipe=STREAMED, workers=2, **sets).run(resuming=False)
        one, other = (weights_of(tmp_path / name / "m.safetensors") for name in ("disk", "web"))
        assert one == other

    def test_what_broke_off_is_continued(self, toy_shards: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(transfers, "TRIES", 1)
        tars = ShardSet.open(toy_shards / "val").manifest.tars
        told = Faults()
        with served(toy_shards, told) as url:
            data = ShardSet.open(places.parse(f"{url}/val"))
            assert data.index
            quarter = tars[0].bytes // 4 + 1
            monkeypatch.setattr(transfers, "BLOCK", quarter)
            part = part_of(kept, tars[0].sha256)
            part.write_bytes((toy_shards / "val" / tars[0].name).read_bytes()[:quarter])
            told.left, told.odds, told.kinds = 1, 1.0, ("drop",)
            with pytest.raises(InputError, match=r"000000\.tar: cannot be read: .*; given up after 1 tries"):
                data.tars.data(tars[0])
            sent = told.sent
            data.tars.data(tars[0])
            assert 0 < told.sent - sent <= tars[0].bytes - quarter

    def test_silence_is_not_waited_for(self, toy_shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(transfers, "SILENCE", 0.2)
        transfers._open_system.cache_clear()
        told = Faults(left=3, odds=1.0, kinds=("late",), late=1.0)
        with served(toy_shards, told) as url:
            assert same(decoded(url), decoded(toy_shards))
        transfers._open_system.cache_clear()
        assert told.done["late"] == 3

    def test_a_server_without_ranges_is_read_at_once(self, toy_shards: Path) -> None:
        told = Faults(ranges=False)
        with served(toy_shards, told) as url:
            assert same(decoded(url), decoded(toy_shards))
        tars = [count for path, count in told.asked.items() if path.endswith(".tar")]
        assert max(tars) <= 2

    def test_content_that_is_another_is_never_used(self, tmp_path: Path, kept: Path) -> None:
        folder = packed(tmp_path / "set", 60)
        tar = folder / "val/000000.tar"
        data = bytearray(tar.read_bytes())
        data[700] ^= 1
        tar.write_bytes(data)
        with (
            served(folder) as url,
            pytest.raises(InputError, match=r"000000\.tar: its content is not what the manifest"),
        ):
            decoded(url)
        assert not list(kept.glob("*.tar"))

    def test_a_damaged_copy_is_fetched_again(self, toy_shards: Path, kept: Path) -> None:
        with served(toy_shards) as url:
            first = decoded(url)
            for path in kept.glob("*.tar"):
                data = bytearray(path.read_bytes())
                data[2000] ^= 255
                path.write_bytes(data)
            assert same(decoded(url), first)

    def test_credentials_are_not_told(self, vhs, toy_shards: Path, toy_checkpoint: Path, monkeypatch) -> None:
        monkeypatch.setattr(transfers, "TRIES", 2)
        told = Faults(left=1000, odds=1.0, kinds=("503",))
        with served(toy_shards, told) as url:
            secret = url.replace("http://", "http://me:sesame@") + "/val?token=hidden"
            code, out, err = vhs("evalshift", toy_checkpoint, "--data", secret)
            assert code == 3 and not out and len(err.splitlines()) == 1
            assert (
                "sesame" not in err
                and "hidden" not in err
                and "/val/shards.json: cannot be read" in err
                and "503" in err
            )
            assert any("Authorization" in headers for headers in told.headers)
            told.left = 0
            monkeypatch.setattr(
                sys, "argv", ["vhs", "evalshift", str(toy_checkpoint), "--data", secret, "-o", "t.parquet"]
            )
            code, out, err = vhs(*sys.argv[1:])
            assert code == 0, err
            assert "/val" in read_provenance("t.parquet")["command"]
            assert b"sesame" not in Path("t.parquet").read_bytes() and b"hidden" not in Path("t.parquet").read_bytes()

    def test_a_missing_set_is_one_line_at_once(self, vhs, toy_shards: Path, toy_checkpoint: Path) -> None:
        with served(toy_shards) as url:
            code, _, err = vhs("evalshift", toy_checkpoint, "--data", f"{url}/nothing")
        assert (
            code == 3
            and len(err.splitlines()) == 1
            and "/nothing/shards.json: cannot be read: the server answers 404" in err
        )


class TestCache:
    def test_it_stays_within_its_bounds(self, tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = packed(tmp_path / "set", 400)
        sizes = [entry.bytes for entry in ShardSet.open(folder / "val").manifest.tars]
        assert len(sizes) == 8
        monkeypatch.setenv("VHS_CACHE_GB", str(3.5 * max(sizes) / 1e9))
        with served(folder) as url:
            assert same(decoded(url), decoded(folder))
            held = [path.stat().st_size for path in kept.glob("*.tar*")]
        assert 0 < sum(held) <= 3.5 * max(sizes) and len(held) == 3

    def test_a_tar_that_never_fits_is_told(self, toy_shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VHS_CACHE_GB", "0.00001")
        with served(toy_shards) as url, pytest.raises(InputError, match=r"Allow more in \$VHS_CACHE_GB"):
            decoded(url)
        monkeypatch.setenv("VHS_CACHE_GB", "many")
        with (
            served(toy_shards) as url,
            pytest.raises(UsageError, match=r"\$VHS_CACHE_GB is 'many'; expected gigabytes"),
        ):
            decoded(url)

    def test_runs_at_once_share_it(self, toy_shards: Path, toy_checkpoint: Path, tmp_path: Path) -> None:
        told = Faults()
        with served(toy_shards, told) as url:
            command = [sys.executable, "-m", "vhs", "evalshift", str(toy_checkpoint), "--data", f"{url}/val", "-q"]
            runs = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
            found = [run.communicate(timeout=120)[0] for run in runs]
        assert len(set(found)) == 1 and all(run.returncode == 0 for run in runs)
        assert not list((tmp_path / "cache").glob("*.part"))
        tars = {path: count for path, count in told.asked.items() if path.endswith(".tar")}
        blocks = {entry.name: -(-entry.bytes // (8 << 20)) for entry in ShardSet.open(toy_shards / "val").manifest.tars}
        assert all(count <= 1 + blocks[path.rpartition("/")[2]] for path, count in tars.items())  # its size, too

    def test_a_set_without_an_index_is_walked_through(self, tmp_path: Path) -> None:
        folder = packed(tmp_path / "set", 60)
        (folder / "val/shards.index").unlink()
        with served(folder) as url:
            assert ShardSet.open(places.parse(f"{url}/val")).index is None
            assert same(decoded(url), decoded(folder))


class TestExcerpts:
    """Of few samples no more is fetched than they need."""

    FEW = 24

    @pytest.fixture(autouse=True)
    def apart(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(excerpts, "GAP", 2048)  # those of small images that are next to each other come as one

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return packed(tmp_path / "set", 400)

    def few(self, place: object) -> cache.Decoded:
        data = ShardSet.open(places.parse(f"{place}/val"))
        return cache.decode(data, cache.choose(data, self.FEW))

    def test_little_comes_and_it_is_kept(self, folder: Path, kept: Path) -> None:
        told = Faults()
        whole = sum(entry.bytes for entry in ShardSet.open(folder / "val").manifest.tars)
        with served(folder, told) as url:
            assert same(self.few(url), self.few(folder))
            assert sum(told.asked[f"/val/{n:06d}.tar"] for n in range(8)) >= 8  # a subset is spread over all tars
            first = told.sent
            beside = sum(path.stat().st_size for path in (folder / "val").glob("shards.*"))
            assert first - beside < whole / 4 and not list(kept.glob("*.part"))
            assert same(self.few(url), self.few(folder)) and told.sent - first == beside
            assert same(decoded(url), decoded(folder))  # then all: whole tars, beside the excerpts
            before = told.sent
            assert same(self.few(url), self.few(folder)) and told.sent - before == beside

    def test_a_whole_tar_in_the_cache_brings_no_others(self, folder: Path) -> None:
        told = Faults()
        with served(folder, told) as url:
            data = ShardSet.open(places.parse(f"{url}/val"))
            data.tars.in_order = False
            data.tars.path(data.manifest.tars[0])
            before = dict(told.asked)
            sent = told.sent
            assert same(self.few(url), self.few(folder))
            beside = sum(path.stat().st_size for path in (folder / "val").glob("shards.*"))
            assert told.sent - sent < beside + sum(entry.bytes for entry in data.manifest.tars) / 4
            assert told.asked["/val/000000.tar"] == before["/val/000000.tar"]

    def test_samples_that_were_not_expected_are_read_all_the_same(self, folder: Path) -> None:
        with served(folder) as url:
            data, local = (ShardSet.open(places.parse(f"{where}/val")) for where in (url, folder))
            one, *_, other = data.samples()
            subsets.expect(data, [one])
            wanted = {sample.id: bytes(sample.image) for sample in local.samples()}
            assert bytes(one.image) == wanted[one.id] and bytes(other.image) == wanted[other.id]
            neighbour = list(data.samples())[1]  # of a tar of which an excerpt is open
            assert bytes(neighbour.image) == wanted[neighbour.id]

    @pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 4))])
    def test_200_faults_change_nothing(self, folder: Path, kept: Path, seed: int) -> None:
        told = Faults(left=200, odds=0.4, seed=seed)
        local = self.few(folder)
        with served(folder, told) as url:
            while told.left:
                assert same(self.few(url), local)
                for path in kept.iterdir():
                    path.unlink()

    def test_a_server_without_ranges_sends_tars_as_before(self, folder: Path) -> None:
        told = Faults(ranges=False)
        with served(folder, told) as url:
            assert same(self.few(url), self.few(folder))
        whole = sum(entry.bytes for entry in ShardSet.open(folder / "val").manifest.tars)
        largest = max(entry.bytes for entry in ShardSet.open(folder / "val").manifest.tars)
        beside = sum(path.stat().st_size for path in (folder / "val").glob("shards.*"))
        assert told.sent < 1.1 * beside + whole + 2 * largest  # the first of which a part was asked for came, too

    def test_a_damaged_excerpt_is_fetched_again(self, folder: Path, kept: Path) -> None:
        with served(folder) as url:
            local = self.few(url)
            for path in kept.glob("*.tar"):
                path.write_bytes(bytes(path.stat().st_size))
            assert same(self.few(url), local)

    def test_what_has_other_digests_is_fetched_whole_and_believed_by_its_hash(self, folder: Path, kept: Path) -> None:
        path = folder / "val/shards.digests"
        local = self.few(folder)
        path.write_bytes(path.read_bytes()[: -8 * 400] + bytes(8 * 400))
        with served(folder) as url:
            assert same(self.few(url), local)
        assert all(path.stem in {entry.sha256 for entry in ShardSet.open(folder / "val").manifest.tars}
                   for path in kept.glob("*.tar"))  # fmt: skip

    def test_what_changed_on_the_server_is_told(self, folder: Path) -> None:
        tar = folder / "val/000003.tar"
        tar.write_bytes(bytes(tar.stat().st_size))
        with served(folder) as url, pytest.raises(InputError, match=r"000003\.tar: its content is not what the manif"):
            self.few(url)

    def test_tars_larger_than_the_cache_are_no_hindrance(
        self, folder: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        smallest = min(entry.bytes for entry in ShardSet.open(folder / "val").manifest.tars)
        monkeypatch.setenv("VHS_CACHE_GB", str(smallest / 2 / 1e9))
        with served(folder) as url:
            assert same(self.few(url), self.few(folder))
            with pytest.raises(InputError, match="Allow more in"):
                decoded(url)
        assert list(kept.glob("*.tar"))

    def test_fill_images_and_parts_fetch_their_own(self, vhs, folder: Path, toy_checkpoint: Path) -> None:
        told = Faults()
        words = ("ablate", toy_checkpoint, "--fill", "mean", "--max-samples", 64, "--tile", 16)
        local = vhs(*words, "--data", folder / "val", "--fill-data", folder / "train")
        assert local[0] == 0, local[2]
        with served(folder, told) as url:
            words = (*words, "--data", f"{url}/val", "--fill-data", f"{url}/train")
            assert vhs(*words)[1] == local[1]
            for part in range(2):
                assert vhs(*words, "--part", f"{part}/2", "-o", f"{part}.part")[0] == 0
        assert vhs("merge", "0.part", "1.part")[1] == local[1]


class TestTarsOfNoVersion:
    """Of a server that tells neither ETag nor date a tar of the same size may be another one."""

    def test_they_are_fetched_anew_by_each_process(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vhs) -> None:
        imagenet_1k_wds(tmp_path / "src", train=20, val=20)
        tar = tmp_path / "src/imagenet1k-validation-00.tar"
        data = tar.read_bytes()
        told = Faults()
        with served(tmp_path / "src", told) as url:
            assert vhs("shard", f"{url}/{tar.name}", "one")[0] == 0
            once = told.sent
            assert once < 1.2 * len(data)  # looked through and copied: fetched once
            changed = bytearray(data)
            place = data.index(b".cls") // 512 * 512 + 512
            changed[place : place + 1] = b"4"
            tar.write_bytes(bytes(changed))
            monkeypatch.setattr(tar_cache, "FETCHED", set())  # as another process has it
            assert vhs("shard", f"{url}/{tar.name}", "other")[0] == 0
        labels = [[sample.label for sample in ShardSet.open(Path(name)).samples()] for name in ("one", "other")]
        assert labels[0] != labels[1]

    def test_a_date_tells_versions_too(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vhs) -> None:
        imagenet_1k_wds(tmp_path / "src", train=20, val=20)
        told = Faults(dated=True)
        with served(tmp_path / "src", told) as url:
            for name in ("one", "other"):
                monkeypatch.setattr(tar_cache, "FETCHED", set())
                assert vhs("shard", f"{url}/imagenet1k-validation-00.tar", name)[0] == 0
                sent, told.sent = told.sent, 0
        assert sent == 0


class TestHostileServers:
    """A manifest, an index or a server that lies."""

    @pytest.mark.parametrize("wrong", ["/home/me/backup", "../x", "", "A" * 64, "0" * 63])
    def test_a_hash_that_is_none_is_no_name_of_a_file(self, tmp_path: Path, wrong: str) -> None:
        folder = packed(tmp_path / "set", 20)
        manifest = folder / "val/shards.json"
        told = ShardSet.open(folder / "val").manifest.tars[0].sha256
        manifest.write_text(manifest.read_text().replace(told, wrong))
        with served(folder) as url, pytest.raises(InputError, match="has no sha256"):
            ShardSet.open(places.parse(f"{url}/val"))

    @pytest.mark.parametrize(
        "change",
        [
            {"tars": [99] * 20}, {"members": ["png:1"] * 20}, {"members": ["png:-5:10"] * 20},
            {"members": [f"png:{'9' * 5000}:1"] * 20}, {"members": ["png:512:99999999"] * 20}, {"members": [""] * 20},
        ],
    )  # fmt: skip
    def test_an_index_that_points_outside_is_told(self, tmp_path: Path, change: dict) -> None:
        from dataclasses import replace

        from vhs.formats import index

        folder = packed(tmp_path / "set", 20)
        data = ShardSet.open(folder / "val")
        sizes = [entry.bytes for entry in data.manifest.tars]
        sound = index.read(folder / "val", data.manifest.hash, 20, sizes)
        assert sound is not None
        index.write(folder / "val", replace(sound, **change), data.manifest.hash)
        with served(folder) as url, pytest.raises(InputError, match=r"shards\.index: row 0: .* lies in none"):
            decoded(url)

    def test_the_cache_keeps_its_hands_off_other_files(self, tmp_path: Path, kept: Path, monkeypatch) -> None:
        folder = packed(tmp_path / "set", 400)
        most = max(entry.bytes for entry in ShardSet.open(folder / "val").manifest.tars)
        monkeypatch.setenv("VHS_CACHE_GB", str(2.5 * most / 1e9))
        kept.mkdir()
        own = [kept / "holiday.tar", kept / "thesis.tar.gz", kept / f"{'0' * 63}.tar"]
        for path in own:
            path.write_bytes(b"mine" * most)
        with served(folder) as url:
            decoded(url)
        assert all(path.exists() for path in own)

    def test_an_unreachable_tar_is_no_bad_sample(self, toy_shards: Path, tmp_path: Path) -> None:
        import shutil

        folder = tmp_path / "set"
        shutil.copytree(toy_shards, folder)
        (folder / "val/000001.tar").unlink()
        with served(folder) as url:
            data = pick(places.parse(url), lambda manifest: manifest.split == "val", "validation")
            with pytest.raises(InputError, match=r"000001\.tar: cannot be read: the server answers 404"):
                cache.decode(data, cache.choose(data), skip_bad=True)

    def test_a_damaged_copy_that_cannot_be_removed_is_not_read(self, toy_shards: Path, kept: Path, monkeypatch) -> None:
        with served(toy_shards) as url:
            decoded(url)
            path = next(kept.glob("*.tar"))
            data = bytearray(path.read_bytes())
            data[2000] ^= 255
            path.write_bytes(data)

            def refuse(self: Path, missing_ok: bool = False) -> None:
                raise PermissionError(13, "Permission denied")

            monkeypatch.setattr(Path, "unlink", refuse)
            with pytest.raises(InputError, match="is damaged and cannot be removed: Permission denied"):
                decoded(url)

    def test_a_tar_of_another_size_is_told_at_once(self, tmp_path: Path) -> None:
        folder = packed(tmp_path / "set", 60)
        tar = folder / "val/000000.tar"
        tar.write_bytes(tar.read_bytes()[:-512])
        with served(folder) as url, pytest.raises(InputError, match=r"has [\d,]+ bytes, [\d,]+ were expected"):
            decoded(url)

    def test_a_file_that_changes_while_it_is_fetched_is_not_kept(self, tmp_path: Path, monkeypatch) -> None:
        from tests.conftest import toy_images
        from tests.foreign_tars import jpeg, write

        images, labels = toy_images(20, 0)
        made = [{"__key__": f"s{n}", "jpg": jpeg(image), "cls": str(label).encode()}
                for n, (image, label) in enumerate(zip(images, labels, strict=True))]  # fmt: skip
        write(tmp_path / "a-%d.tar", made, 20, mtime=0)
        place, system = Remote("http://127.0.0.1:1/a-0.tar"), Changing(tmp_path / "a-0.tar")
        monkeypatch.setattr(transfers, "_system", {"http": system}.get)
        with pytest.raises(InputError, match="changes while it is read"):
            tar_cache.default().unhashed(place)
        system.steady = True
        assert tar_cache.default().unhashed(place).read_bytes() == system.data

    def test_a_page_with_links_is_not_crawled(self, tmp_path: Path) -> None:
        (tmp_path / "site/here").mkdir(parents=True)
        links = "".join(f"<a href='/there/d{number}/'>there</a>" for number in range(50))
        (tmp_path / "site/here/index.html").write_text(f"<a href='below/'>below</a>{links}")
        told = Faults()
        with served(tmp_path / "site", told) as url, pytest.raises(InputError, match="the server answers 404"):
            pick(places.parse(f"{url}/here"), bool, "validation")
        assert not any("there" in path for path in told.asked) and len(told.headers) < 20


class Changing:
    """A file system whose only file has another version at every question, until it is steady."""

    def __init__(self, path: Path) -> None:
        self.data, self.steady, self.asked = path.read_bytes(), False, 0

    def info(self, _url: str) -> dict[str, object]:
        self.asked += not self.steady
        return {"size": len(self.data), "type": "file", "ETag": str(self.asked)}

    def cat_ranges(self, _urls: list[str], begins: list[int], ends: list[int], **_options: str) -> list[bytes]:
        return [self.data[begin:end] for begin, end in zip(begins, ends, strict=True)]


@pytest.mark.parametrize("options", [("--max-samples", "20"), pytest.param((), marks=pytest.mark.slow)])
def test_a_signal_ends_a_run_that_waits_for_a_tar(toy_shards: Path, toy_checkpoint: Path, options: tuple) -> None:
    told = Faults(left=1000, odds=1.0, kinds=("late",), late=0.0)
    with served(toy_shards, told) as url:
        command = [sys.executable, "-m", "vhs", "evalshift", str(toy_checkpoint), "--data", f"{url}/val", *options]
        run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        until = time.monotonic() + 60
        while not any(path.endswith("shards.digests") for path in told.asked) and time.monotonic() < until:
            time.sleep(0.01)
        told.late = 20.0
        time.sleep(1.5)
        begun = time.monotonic()
        run.send_signal(signal.SIGINT)
        assert run.wait(timeout=60) in (130, 0) and time.monotonic() - begun < 10


class TestWindows:
    def test_tars_drawn_in_windows_give_what_the_disk_gives(self, tmp_path: Path, monkeypatch, kept: Path) -> None:
        folder = packed(tmp_path / "set", 240, train=240)
        recipe = Recipe(**{**vars(STREAMED), "tar_window": 1, "epochs": 2})
        most = max(entry.bytes for entry in ShardSet.open(folder / "train").manifest.tars)
        monkeypatch.setenv("VHS_CACHE_GB", str(2.2 * most / 1e9))
        assert training(tmp_path / "disk", folder, recipe=recipe).run(resuming=False)
        told = Faults()
        with served(folder, told) as url:
            sets = {split: ShardSet.open(places.parse(f"{url}/{split}")) for split in ("train", "val")}
            with pytest.raises(UsageError, match=r"Draw them in windows with --set tar_window=1, or allow more"):
                training(tmp_path / "none", folder, recipe=STREAMED, **sets)
            seen = [0]

            def stop() -> bool:
                seen[0] += 1
                return seen[0] == 7

            assert not training(tmp_path / "web", folder, recipe=recipe, workers=1, stop=stop, **sets).run(
                resuming=False
            )
            assert training(tmp_path / "web", folder, recipe=recipe, workers=1, **sets).run(resuming=True)
            assert sum(path.stat().st_size for path in kept.glob("*.tar*")) <= 2.2 * most
        assert weights_of(tmp_path / "disk/m.safetensors") == weights_of(tmp_path / "web/m.safetensors")

    @pytest.mark.parametrize("window", [1, 2, 3, 10])
    def test_every_sample_once_and_few_tars_at_a_time(self, window: int) -> None:
        from vhs.training import feed

        tars = torch.tensor([0] * 5 + [1] * 5 + [2] * 5 + [3] * 4 + [4] * 1)
        recipe = Recipe(tar_window=window, batch=4)
        orders = [feed.order(recipe, epoch, 20, tars)[0] for epoch in range(4)]
        assert all(sorted(order.tolist()) == list(range(20)) for order in orders)
        assert len({tuple(order.tolist()) for order in orders}) == 4
        for order in orders:
            met: list[int] = []
            for tar in tars[order].tolist():
                if tar not in met:
                    met.append(tar)
            places_of = {tar: [i for i, t in enumerate(tars[order].tolist()) if t == tar] for tar in met}
            groups = [met[start : start + window] for start in range(0, 5, window)]
            ends = [max(max(places_of[tar]) for tar in group) for group in groups]
            begins = [min(min(places_of[tar]) for tar in group) for group in groups]
            assert all(end < begin for end, begin in zip(ends, begins[1:], strict=False))


class TestObjectStore:
    def test_a_set_on_s3_is_as_on_disk(self, bucket: str, toy_shards: Path, toy_checkpoint: Path, vhs) -> None:
        put(toy_shards, f"{bucket}/toy")
        assert same(decoded(f"{bucket}/toy"), decoded(toy_shards))
        one = vhs("ablate", toy_checkpoint, "--data", f"{bucket}/toy/val")
        other = vhs("ablate", toy_checkpoint, "--data", toy_shards / "val")
        assert one[0] == other[0] == 0 and one[1] == other[1]
        code, _, err = vhs("evalshift", toy_checkpoint, "--data", "s3://sets/none")
        assert (
            code == 3
            and len(err.splitlines()) == 1
            and "s3://sets/none/shards.json: cannot be read: it is not there" in err
        )

    def test_few_samples_on_s3_come_alone(self, bucket: str, tmp_path: Path, kept: Path, monkeypatch) -> None:
        monkeypatch.setattr(excerpts, "GAP", 2048)
        folder = packed(tmp_path / "set", 400)
        put(folder, f"{bucket}/few")
        found = []
        for place in (f"{bucket}/few/val", folder / "val"):
            data = ShardSet.open(places.parse(place))
            chosen = cache.choose(data, 24)
            found.append(cache.decode(data, chosen))
        assert same(*found)
        tars, held = {sample.tar.entry.sha256 for sample in chosen}, {path.stem for path in kept.glob("*.tar")}
        assert len(held) == len(tars) > 4 and not held & tars

    def test_tars_of_others_on_s3_are_described_and_copied(self, bucket: str, tmp_path: Path, vhs) -> None:
        put(imagenet_1k_wds(tmp_path / "wds"), f"{bucket}/wds")
        pattern = f"{bucket}/wds/imagenet1k-{{train-{{0000..0002}},validation-{{00..01}}}}.tar"
        for where, options in (("copied", ()), ("at", ("--in-place",))):
            code, _, err = vhs("shard", pattern, where, *options)
            assert code == 0, err
        assert not list(Path("at").rglob("*.tar"))
        assert ShardSet.open(Path("at/val")).manifest.tars_at == f"{bucket}/wds"
        assert same(decoded("at"), decoded("copied"))


def test_hugging_face_urls_are_asked_of_their_own_library(monkeypatch: pytest.MonkeyPatch, toy_shards: Path) -> None:
    """`hf://datasets/NAME/PATH`: the library's file system, on a stand-in for its network."""
    from huggingface_hub import HfFileSystem

    def local(self, path: str) -> Path:
        name = (
            str(path)
            .removeprefix("hf://")
            .removeprefix("datasets/someone/toy@main/")
            .removeprefix("datasets/someone/toy/")
        )
        return toy_shards / name

    def info(self, path: str, **options: object) -> dict[str, object]:
        file = local(self, path)
        if not file.is_file():
            raise FileNotFoundError(path)
        return {"name": path, "size": file.stat().st_size, "type": "file"}

    def cat(self, path: str, start: int | None = None, end: int | None = None, **options: object) -> bytes:
        return local(self, path).read_bytes()[start:end]

    def nothing(self, path: str, **options: object) -> list[str]:
        return []

    monkeypatch.setattr(HfFileSystem, "info", info)
    monkeypatch.setattr(HfFileSystem, "cat_file", cat)
    monkeypatch.setattr(HfFileSystem, "glob", nothing)
    transfers._open_system.cache_clear()
    assert same(decoded("hf://datasets/someone/toy"), decoded(toy_shards))


@pytest.mark.parametrize(
    "url, package, extra",
    [
        ("https://h/x", "aiohttp", "vhs-heads[http]"),
        ("s3://b/x", "s3fs", "vhs-heads[s3]"),
        ("gs://b/x", "gcsfs", "vhs-heads[gs]"),
    ],
)
def test_a_missing_package_is_told_at_once(vhs, monkeypatch, url: str, package: str, extra: str) -> None:
    import fsspec

    monkeypatch.setitem(sys.modules, package, None)
    opened = fsspec.filesystem

    def lacking(protocol: str, **options: object) -> object:  # what is imported once stays in fsspec's registry
        __import__(package)
        return opened(protocol, **options)

    monkeypatch.setattr(fsspec, "filesystem", lacking)
    transfers._open_system.cache_clear()
    code, _, err = vhs("info", url)
    assert (
        code == 2
        and err.count("\n") == 1
        and f"needs a package that is not here. Install it: pip install '{extra}'" in err
    )


@pytest.mark.parametrize(
    "url, told",
    [
        ("s3://AKIA:s3cret@bucket/val", "holds credentials, which s3 takes from the environment"),
        ("http://user:p/s3cret@host/val", "is no URL: its host or port cannot be read"),
    ],
)
def test_credentials_are_shown_nowhere(vhs, url: str, told: str) -> None:
    code, out, err = vhs("info", url)
    assert code == 2 and told in err and "s3cret" not in out + err and len(err.splitlines()) == 1


def test_a_login_that_is_missing_is_the_reason_that_is_told(
    vhs, toy_shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = ("--depth", 1, "--dim", 8, "--heads", 2, "--patch", 14, "--epochs", 1, "--batch", 24)
    told = Faults()
    with served(toy_shards, told) as url:
        assert vhs("train", url, *small, "-o", "m.safetensors")[0] == 0
        told.closed = True
        code, _, err = vhs("ablate", "m.safetensors")
    assert code == 3 and "validation split toy: not found in" in err and "the server answers 401" in err
    assert "Name the URL of a folder" not in vhs("info", url)[2]


def test_what_waiting_does_not_mend_is_told_at_once(bucket: str, vhs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfers, "PAUSE", 60.0)
    code, _, err = vhs("info", "s3://Not_A_Bucket/val")
    assert code == 3 and "given up after" not in err and len(err.splitlines()) == 1


def test_places_are_parsed_and_named_without_credentials() -> None:
    assert "pw" not in repr(places.parse("https://me:pw@host/a?sig=1")) and "sig" not in repr(Remote("s3://b/x?sig=1"))
    assert places.parse("data/val") == Path("data/val") and places.parse("file:///data/val") == Path("/data/val")
    assert places.parse(Path("s3://b/x")) == Remote("s3://b/x")
    place = places.parse("https://me:pw@host:8/a/b?sig=1") / "shards.json"
    assert place.url == "https://me:pw@host:8/a/b/shards.json?sig=1" and str(place) == "https://host:8/a/b/shards.json"
    assert str(place.parent) == "https://host:8/a/b" and place.name == "shards.json"
    assert places.redacted("x https://me:pw@host/a?sig=1 y") == "x https://host/a y"
    for wrong in ("pipe:cat x", "ftp://host/x"):
        with pytest.raises(UsageError):
            places.parse(wrong)


def read_provenance(path: str) -> dict:
    import json

    import polars as pl

    return json.loads(next(value for value in pl.read_parquet_metadata(path).values() if "command" in value))


def packed(folder: Path, val: int, train: int = 48) -> Path:
    """A train and a val set of small grey images, 50 a tar."""
    from tests.conftest import CLASSES, toy_images
    from vhs.formats.sharding import write_set
    from vhs.formats.split import from_arrays

    for split, count, seed in (("train", train, 1), ("val", val, 2)):
        images, labels = toy_images(count, seed)
        data = from_arrays(images, labels, name="toy", split=split, classes=CLASSES, prefix=split)
        write_set(folder / split, data, per_tar=50)
    return folder


def weights_of(path: Path) -> dict[str, bytes]:
    from vhs.formats import checkpoints

    return {name: tensor.numpy().tobytes() for name, tensor in checkpoints.load(path)[1].items()}


def part_of(folder: Path, sha256: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{sha256}.tar{tar_cache.PART}"


def put(folder: Path, url: str) -> None:
    import s3fs

    system = s3fs.S3FileSystem(skip_instance_cache=True)
    for path in folder.rglob("*"):
        if path.is_file():
            system.pipe_file(f"{url}/{path.relative_to(folder)}", path.read_bytes())
