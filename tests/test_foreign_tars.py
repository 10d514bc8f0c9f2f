"""Tars that others wrote: read by webdataset's pipeline, rewritten or described where they lie."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import CLASSES, toy_images
from tests.foreign_tars import imagenet_1k_wds, jpeg, write
from tests.trainings import weights
from vhs.errors import InputError
from vhs.formats.images import decode
from vhs.formats.shards import ShardSet
from vhs.formats.split import Split
from vhs.sources import foreign

RECIPE = ("--depth", 2, "--dim", 16, "--heads", 2, "--patch", 8, "--epochs", 2, "--batch", 20,
          "--set", "resized_crop=true", "--workers", 0)  # fmt: skip


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return imagenet_1k_wds(tmp_path_factory.mktemp("wds"))


def by_webdataset(tars: list[Path]) -> list[dict[str, object]]:
    """What webdataset itself makes of them."""
    from webdataset import WebDataset

    return list(WebDataset([str(path) for path in tars], shardshuffle=False))


def test_the_public_layout_goes_through_shard_train_and_ablate(vhs, public: Path) -> None:
    pattern = f"{public}/imagenet1k-{{train-{{0000..0002}},validation-{{00..01}}}}.tar"
    before = {path.name: path.read_bytes() for path in public.iterdir()}
    assert vhs("shard", pattern, "copied", "--class-names", "json:class_name")[0] == 0
    assert vhs("shard", public, "described", "--class-names", "json:class_name", "--in-place")[0] == 0
    assert {path.name: path.read_bytes() for path in public.iterdir()} == before
    assert sum(path.stat().st_size for path in Path("described").rglob("*") if path.is_file()) < 40_000
    assert not list(Path("described").rglob("*.tar"))
    for split in ("train", "val"):
        copied, described = (ShardSet.open(Path(where, split)) for where in ("copied", "described"))
        assert copied.manifest.classes == described.manifest.classes == CLASSES
        assert copied.manifest.mean == described.manifest.mean and copied.manifest.std == described.manifest.std
        theirs = by_webdataset(sorted(public.glob(f"imagenet1k-{split}*.tar")))
        for ours, other, their in zip(copied.samples(), described.samples(), theirs, strict=True):
            assert ours.id == other.id and ours.label == other.label == int(their["cls"])
            assert ours.id == f"{Path(their['__url__']).stem}/{their['__key__']}"
            assert bytes(ours.image) == bytes(other.image) == their["jpg"]
    for where in ("copied", "described"):
        assert vhs("train", where, *RECIPE, "-o", f"{where}.safetensors")[0] == 0
        code, _, err = vhs("ablate", f"{where}.safetensors", "--shift", "contrast:3", "-o", f"{where}.csv")
        assert code == 0, err
    one, other = weights("copied.safetensors"), weights("described.safetensors")
    assert all((one[name] == other[name]).all() for name in one)
    rows = [Path(f"{where}.csv").read_text().replace(f"{where}.safetensors", "m") for where in ("copied", "described")]
    assert rows[0] == rows[1]


def test_a_description_is_left_as_it_is_and_a_changed_tar_is_told(vhs, tmp_path: Path) -> None:
    imagenet_1k_wds(tmp_path / "src", train=20, val=20)
    assert vhs("shard", "src", "at", "--in-place")[0] == 0
    times = {path: path.stat().st_mtime_ns for path in Path("at").rglob("*")}
    assert vhs("shard", "src", "at", "--in-place")[0] == 0
    assert {path: path.stat().st_mtime_ns for path in Path("at").rglob("*")} == times
    tar = Path("src/imagenet1k-validation-00.tar")
    data = bytearray(tar.read_bytes())
    data[data.index(b"\xff\xd8\xff") + 300] ^= 1  # within the first image
    tar.write_bytes(data)
    code, _, err = vhs("shard", "src", "at", "--in-place")
    assert code == 2 and "validation-00.tar: has changed since at/val was begun" in err
    from vhs.runs import cache

    with pytest.raises(InputError, match="its content is not what the manifest says"):
        cache.decode(ShardSet.open(Path("at/val")), cache.choose(ShardSet.open(Path("at/val"))))


def test_a_description_that_was_cut_goes_on(vhs, public: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vhs.sources import in_place

    decoded: list[str] = []
    attempt = in_place._attempt

    def cut(split: Split, tar: in_place._Tar, position: int) -> object:
        decoded.append(tar.place.name)
        if len(decoded) == 50:
            raise KeyboardInterrupt
        return attempt(split, tar, position)

    monkeypatch.setattr(in_place, "_attempt", cut)
    assert vhs("shard", public, "at", "--in-place")[0] == 130
    assert not Path("at/train/shards.json").exists()
    assert vhs("shard", public, "at", "--in-place")[0] == 0
    assert decoded.count("imagenet1k-train-0000.tar") == 20 < decoded.count("imagenet1k-train-0002.tar")
    monkeypatch.setattr(in_place, "_attempt", attempt)
    assert vhs("shard", public, "whole", "--in-place")[0] == 0
    assert not Path("at/train/shards.in-place.json").exists()
    for split in ("train", "val"):
        whole, continued = (ShardSet.open(Path(where, split)) for where in ("whole", "at"))
        assert [bytes(sample.image) for sample in whole.samples()] == [
            bytes(sample.image) for sample in continued.samples()
        ]
        assert whole.manifest.tars == continued.manifest.tars and whole.manifest.mean == continued.manifest.mean


def samples(kind: str, count: int = 10) -> list[dict[str, object]]:
    """Samples that tell their class in one of several ways, with members that vhs does not know."""
    images, labels = toy_images(count, 5)
    made: list[dict[str, object]] = []
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        sample: dict[str, object] = {"__key__": f"s{number:03d}", "depth.npy": b"unknown", "JPG": jpeg(image)}
        told = {"txt": {"txt": CLASSES[label]}, "json": {"json": json.dumps({"cls": int(label)}).encode()},
                "names": {"cls": CLASSES[label].encode()}}[kind]  # fmt: skip
        made.append(sample | told)
    return made


def damaged(made: list[dict[str, object]]) -> list[dict[str, object]]:
    """The second one's image cut short, the fifth one's no image at all."""
    made[1]["JPG"] = bytes(made[1]["JPG"])[:300]
    made[4]["JPG"] = b"no image"
    return made


@pytest.mark.parametrize(
    "kind, options, classes",
    [
        ("txt", (), CLASSES),
        ("names", (), CLASSES),
        ("json", (), ("0", "1", "2", "3", "4")),
        ("json", ("--class-names", "names.txt"), ("A", "B", "C", "D", "E", "F")),
        ("txt", ("--class-names", "known.txt", "--label", "txt"), tuple(reversed(CLASSES))),
    ],
)
def test_classes_come_from_members_or_from_a_file(vhs, kind: str, options: tuple, classes: tuple) -> None:
    write(Path("t/some-%02d.tar"), samples(kind), 4, mtime=0)
    Path("names.txt").write_text("\n".join("ABCDEF") + "\n")
    Path("known.txt").write_text("\n".join(reversed(CLASSES)))
    code, _, err = vhs("shard", "t", "out", *options)
    assert code == 0, err
    data = ShardSet.open(Path("out"))
    assert data.manifest.classes == classes and data.manifest.split == "val" and data.manifest.name == "some"
    found = [(sample.id, sample.label) for sample in data.samples()]
    expected = [classes.index(CLASSES[n % 5]) if kind in ("txt", "names") else n % 5 for n in range(10)]
    assert found == [(f"some-{n // 4:02d}/s{n:03d}", label) for n, label in enumerate(expected)]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("t/{00..03}.tar", "o"), r"t/01.tar: is not there, one of 4 tars that t/{00..03}.tar names"),
        (("t/{00..03.tar", "o"), "braces do not match"),
        (("t", "t"), "t: holds 00.tar, which is read. Name another folder, or take --in-place"),
        (("t", "o", "--label", "json:x"), "s000: has no label in json:x"),
        (("t", "o", "--label", "jpg"), "--label jpg: expected cls, txt or json:KEY"),
        (
            ("t", "o", "--in-place", "--region-maps", "c", "--region-names", "a"),
            "--in-place: adds nothing to tars; --region-maps adds images",
        ),
        (("t", "o", "--columns", "path=x"), "--columns: are of metadata.csv or Parquet"),
        (("bad", "o", "--in-place"), "bad/00.tar: s001.JPG: cannot be decoded"),
        (("t", "o", "--class-names", "few.txt"), "s003: class 'dog' is not among the 3 of --class-names"),
        (("c", "o", "--in-place"), "is of layout folders; only tars are described where they lie"),
        (("pipe:cat t/00.tar", "o"), "would run a command"),
        (("ftp://host/x.tar", "o"), "is no protocol that vhs reads"),
        (("c", "o", "--label", "txt"), "--label: is of tars that others wrote; c is of layout folders"),
    ],
)
def test_what_cannot_be_is_one_line(vhs, arguments: tuple, message: str) -> None:
    write(Path("t/%02d.tar"), samples("txt"), 10)
    write(Path("bad/%02d.tar"), damaged(samples("txt")), 10)
    Path("few.txt").write_text("ant\nbee\ncat\n")
    (Path("c") / "ant").mkdir(parents=True)
    (Path("c") / "ant" / "a.jpg").write_bytes(jpeg(toy_images(1, 0)[0][0]))
    code, out, err = vhs("shard", *arguments)
    assert code in (2, 3) and not out
    assert message in err and len(err.strip().splitlines()) == 1


def read(where: str) -> tuple[object, ...]:
    """All of a set but where its images lie."""
    data = ShardSet.open(Path(where))
    told = data.manifest
    return (
        [sample._replace(tar=None, members=None) for sample in data.samples()],
        [bytes(sample.image) for sample in data.samples()], told.classes, told.members, told.base, told.values,
        told.mean, told.std, told.height, told.extra["skipped"], told.extra.get("train_groups"),
    )  # fmt: skip


class TestNothingIsSilentlyOther:
    def test_folders_tell_splits_where_names_do_not(self, vhs) -> None:
        """As CLIP_benchmark lays out its wds_ sets: train/0.tar, test/0.tar, keys that both have."""
        for split, count in (("train", 20), ("test", 10)):
            write(Path(f"wds/{split}/%d.tar"), samples("txt", count), 10)
        (Path("wds") / "classnames.txt").write_text("\n".join(CLASSES))
        for source, where in (("wds", "one"), ("wds/{train/{0..1},test/0}.tar", "other")):
            code, _, err = vhs("shard", source, where)
            assert code == 0, err
            train, test = (ShardSet.open(Path(where, split)) for split in ("train", "test"))
            assert (train.manifest.samples, test.manifest.samples) == (20, 10)
            assert train.manifest.name == test.manifest.name == "wds"
            assert {sample.id.split("/")[0] for sample in train.samples()} == {"0", "1"}

    def test_tars_beside_unpacked_images_are_not_taken_for_the_set(self, vhs) -> None:
        """As ImageNet lies where its archives were unpacked."""
        image = jpeg(toy_images(1, 0)[0][0])
        for split in ("train", "val"):
            for label in ("ant", "bee"):
                place = Path("imagenet", split, label, f"{label}-{split}.jpg")
                place.parent.mkdir(parents=True)
                place.write_bytes(image)
        write(Path("imagenet/train/backup-%d.tar"), samples("txt"), 20)
        assert vhs("shard", "imagenet", "out")[0] == 0
        assert {path.name: ShardSet.open(path).manifest.samples for path in sorted(Path("out").iterdir())} == {
            "train": 2, "val": 2,
        }  # fmt: skip
        write(Path("sets/train/%d.tar"), samples("txt"), 20)
        write(Path("sets/extra/%d.tar"), samples("txt"), 20)
        assert vhs("shard", "sets", "none")[0] == 3  # nothing is left out without a word

    def test_tars_of_one_name_in_two_folders_stay_apart(self, vhs) -> None:
        for part in ("a", "b"):
            write(Path(f"t/{part}/%d.tar"), samples("txt"), 10)
        assert vhs("shard", "t/{a,b}/0.tar", "out")[0] == 0
        assert {sample.id for sample in ShardSet.open(Path("out")).samples()} == {
            f"{part}/0/s{n:03d}" for part in "ab" for n in range(10)
        }

    def test_the_label_is_one_member_s_over_all_tars(self, vhs) -> None:
        made = samples("json", 20)
        for number, sample in enumerate(made):
            if number != 10:  # the first one of the second tar
                sample["cls"] = b"0"
        write(Path("t/%d.tar"), made, 10)
        code, _, err = vhs("shard", "t", "out")
        assert code == 3 and "1.tar: s010: has no label in cls" in err

    @pytest.mark.parametrize("options", [(), ("--in-place",)])
    def test_what_lies_behind_the_end_is_told(self, vhs, options: tuple) -> None:
        write(Path("t/%d.tar"), samples("txt", 20), 10)
        Path("joined.tar").write_bytes(Path("t/0.tar").read_bytes() + Path("t/1.tar").read_bytes())
        code, _, err = vhs("shard", "joined.tar", "out", *options)
        assert code == 3 and "joined.tar: holds more behind the mark of its end, at byte" in err
        assert len(err.splitlines()) == 1

    def test_labels_without_an_image_are_counted(self, vhs) -> None:
        made = samples("txt")
        made += [
            {"__key__": "x1", "cls": b"1", "bmp": b"BM"},
            {"__key__": "x2", "txt": "ant"},
            {"__key__": "x3", "npy": b""},
        ]
        write(Path("t/%d.tar"), made, 20)
        code, _, err = vhs("shard", "t", "out")
        assert code == 0 and "2 samples have a label but no image" in err and "the first: t/0.tar: x1" in err
        assert ShardSet.open(Path("out")).manifest.samples == 10

    @pytest.mark.parametrize("options", [(), ("--in-place",), ("--per-tar", 7)])
    def test_colours_behind_a_hundred_grey_images_are_kept(self, vhs, options: tuple) -> None:
        images, labels = toy_images(120, 3)
        grey, made = [], []
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            buffer = io.BytesIO()
            kept = Image.fromarray(image)
            (kept if number < 110 else kept.convert("RGB")).save(buffer, "PNG")
            grey.append(number < 110)
            made.append({"__key__": f"s{number:03d}", "png": buffer.getvalue(), "cls": str(label).encode()})
        write(Path("t/%d.tar"), made, 40)
        for _ in range(2):
            code, _, err = vhs("shard", "t", "out", *options)
            assert code == 0 and ShardSet.open(Path("out")).manifest.channels == 3, err
        assert "s110" not in err or "is written anew, with three channels" in err
        assert len(list(ShardSet.open(Path("out")).samples())) == 120

    def test_names_by_line_have_no_gaps(self, vhs) -> None:
        write(Path("t/%d.tar"), samples("json"), 10)
        Path("names.txt").write_text("zero\n\ntwo\nthree\nfour\nfive\n\n")
        code, _, err = vhs("shard", "t", "out", "--class-names", "names.txt")
        assert code == 3 and "names.txt: expected one class a line" in err and "line 2 is empty" in err

    def test_a_key_twice_is_called_so(self, vhs) -> None:
        made = samples("txt", 2)
        with tarfile.open("x.tar", "w") as archive:
            for name in ("a.jpg", "a.cls", "b.jpg", "b.cls", "a.jpg", "a.cls"):
                data = bytes(made[0]["JPG"]) if name.endswith("jpg") else b"1"
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        code, _, err = vhs("shard", "x.tar", "out")
        assert code == 3 and "a.jpg: stands twice in the tar" in err


@pytest.mark.parametrize("kind, suffix", [("gz", ".tar.gz"), ("gz", ".tgz"), ("bz2", ".tar.bz2"), ("xz", ".tar.xz")])
def test_compressed_tars_are_read_as_plain_ones(vhs, kind: str, suffix: str) -> None:
    write(Path("plain/x-%02d.tar"), samples("txt"), 4)
    Path("packed").mkdir()
    for path in sorted(Path("plain").iterdir()):
        pack = {"gz": gzip, "bz2": bz2, "xz": lzma}[kind].compress
        Path("packed", path.stem + suffix).write_bytes(pack(path.read_bytes()))
    for source, where in (("plain", "one"), ("packed", "other"), (f"packed/x-{{00..02}}{suffix}", "third")):
        code, _, err = vhs("shard", source, where)
        assert code == 0, err
    assert read("one") == read("other") == read("third")
    assert ShardSet.open(Path("other")).manifest.name == "x"
    code, _, err = vhs("shard", "packed", "at", "--in-place")
    assert code == 3 and f"packed/x-00{suffix}: is compressed, so that no image has a place in it" in err
    first = Path(f"packed/x-00{suffix}")
    first.write_bytes(first.read_bytes()[:-200])
    code, _, err = vhs("shard", "packed", "cut")
    assert code == 3 and f"x-00{suffix}: cannot be unpacked" in err and len(err.splitlines()) == 1


def test_what_unpacks_to_far_too_much_is_told(vhs, monkeypatch: pytest.MonkeyPatch) -> None:
    from vhs.formats import regular

    monkeypatch.setattr(regular, "MAX_UNPACKED", 1 << 20)
    Path("x.tar.gz").write_bytes(gzip.compress(bytes(1 << 24)))
    code, _, err = vhs("shard", "x.tar.gz", "out")
    assert code == 3 and "x.tar.gz" in err and "that is no data set of images" in err and len(err.splitlines()) == 1


OTHERWISE = [
    ("--attributes", "told.csv"), ("--classes", "eel,ant"), ("--per-class", 1), ("--class-map", "map.csv"),
    ("--class-map", "map.csv", "--superclasses"), ("--skip-bad",), ("--base", "clean"),
    ("--attributes", "told.csv", "--attribute-columns", "pose", "--classes", "dog,bee", "--per-class", 2, "--skip-bad"),
]  # fmt: skip


@pytest.mark.parametrize("options", OTHERWISE, ids=lambda options: " ".join(map(str, options)))
def test_what_a_description_says_is_what_a_copy_would_say(vhs, options: tuple) -> None:
    bad = "--skip-bad" in options
    write(Path("t/x-train-%02d.tar"), damaged(samples("txt", 20)) if bad else samples("txt", 20), 4)
    rows = [f"s{n:03d}.jpg,{('front', 'back')[n % 2]},{n}" for n in range(20)]
    Path("told.csv").write_text("\n".join(["file_name,pose,number", *rows]))
    Path("map.csv").write_text("ant,n01440764\nbee,n01443537,n01484850\ncat,n01491361\ndog,n01494475\neel,n01496331\n")
    assert "--base" not in options or vhs("shard", "t", "clean")[0] == 0
    for where, more in (("copied", ()), ("described", ("--in-place",))):
        code, _, err = vhs("shard", "t", where, *options, *more)
        assert code == 0 and (" bad samples skipped" in err) == bad, err
    assert read("copied") == read("described")
    before = {path.name: path.read_bytes() for path in Path("described").iterdir()}
    assert vhs("shard", "t", "described", *options, "--in-place")[0] == 0
    assert {path.name: path.read_bytes() for path in Path("described").iterdir()} == before


class TestAttributesOfTars:
    """Keys are joined as paths of images in a folder are."""

    def told(self, vhs, keys: list[list[str]], rows: list[str], where: str = "out") -> dict[str, str] | str:
        """id -> value; or what it said."""
        image = jpeg(toy_images(1, 0)[0][0])
        for number, of_tar in enumerate(keys):
            tar = [{"__key__": key, "jpg": image, "cls": b"0"} for key in of_tar]
            write(Path(f"{where}-src/b-{number:03d}-%d.tar"), tar, 1000)
        Path("t.csv").write_text("\n".join(["file_name,snow", *rows]))
        code, _, err = vhs("shard", f"{where}-src", where, "--attributes", "t.csv")
        if code:
            return err
        return {sample.id.split("/", 1)[1]: sample.attributes[0] for sample in ShardSet.open(Path(where)).samples()}

    def test_a_row_of_another_folder_is_not_taken(self, vhs) -> None:
        keys = [["n0/img0", "n0/img1", "n1/img0", "n1/img1"]]
        found = self.told(vhs, keys, ["n0/img0.png,yes", "n0/img1.png,yes", "*,no"])
        assert found == {"n0/img0": "yes", "n0/img1": "yes", "n1/img0": "no", "n1/img1": "no"}

    def test_keys_that_each_tar_counts_anew_need_their_tar(self, vhs) -> None:
        keys = [["0000", "0001"], ["0000", "0001"]]
        assert "has no row for 4 of 4 images" in self.told(vhs, keys, ["0000.png,a", "0001.png,b"])
        rows = [f"b-00{tar}-0/000{n}.png,{tar}{n}" for tar in (0, 1) for n in (0, 1)]
        assert self.told(vhs, keys, rows, "again") == {"0000": "10", "0001": "11"}  # of the last tar; ids without tars

    def test_base_names_tell_where_they_differ(self, vhs) -> None:
        assert self.told(vhs, [["n0/a"], ["n1/b"]], ["a.JPEG,x", "b.JPEG,y"]) == {"n0/a": "x", "n1/b": "y"}


def test_effects_of_heads_by_factors_of_tars_in_place(vhs, tmp_path: Path, toy_checkpoint: Path) -> None:
    """ImageNet-X by the base names of its files, over tars whose keys have folders."""
    imagenet_1k_wds(tmp_path / "src", train=20, val=20)
    keys = [sample["__key__"] for sample in by_webdataset([Path("src/imagenet1k-validation-00.tar")])]
    rows = [{"file_name": f"{Path(key).name}.JPEG", "pose": n % 2, "style": 0} for n, key in enumerate(keys)]
    Path("x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pattern = "src/imagenet1k-validation-{00..00}.tar"
    told = ("--class-names", "json:class_name", "--attributes", "x.jsonl")
    tables = []
    for where, more in (("copied", ()), ("described", ("--in-place",))):
        assert vhs("shard", pattern, where, *told, *more)[0] == 0
        code, out, err = vhs("ablate", toy_checkpoint, "--data", where, "--by", "pose")
        assert code == 0, err
        tables.append(out)
    assert tables[0] == tables[1] and "pose=1" in tables[0]


def test_links_and_other_members_of_foreign_tars_are_left_alone(vhs) -> None:
    image = jpeg(toy_images(1, 0)[0][0])
    with tarfile.open("train-0.tar", "w") as archive:
        for name, data in (("./d.1/a.jpg", image), ("./d.1/a.cls", b"0"), ("__meta__.json", b"{}"), ("d.1/b.jpg", image),
                           ("d.1/b.cls", b"1")):  # fmt: skip
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("d.1/b.link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    for arguments in (("copied",), ("at", "--in-place")):
        assert vhs("shard", "train-0.tar", *arguments)[0] == 0
        data = ShardSet.open(Path(arguments[0]))
        assert [sample.id for sample in data.samples()] == ["train-0/d_1/a", "train-0/d_1/b"]
        assert np.array_equal(data.decode(next(data.samples())), decode(image, 3, ""))
    assert data.manifest.split == "train"


def test_sets_are_told_by_their_names(tmp_path: Path) -> None:
    for name in ("x-train-0", "x-train-1", "x_val_0", "x.test.0"):
        (tmp_path / f"{name}.tar").touch()
    found = {one.split: (one.name, [tar.name for tar in one.tars]) for one in foreign.sets(str(tmp_path))}
    assert found == {
        "train": ("x", ["x-train-0.tar", "x-train-1.tar"]), "val": ("x", ["x_val_0.tar"]), "test": ("x", ["x.test.0.tar"]),
    }  # fmt: skip
    (tmp_path / "more.tar").touch()
    with pytest.raises(InputError, match="names of others tell their split"):
        foreign.sets(str(tmp_path))


class TestFilesOfTheUser:
    def test_nothing_of_theirs_is_written_over_or_removed(self, vhs) -> None:
        write(Path("real/%06d.tar"), samples("txt"), 10)
        Path("links").mkdir()
        Path("links/000000.tar").symlink_to("../real/000000.tar")
        Path("out/train").mkdir(parents=True)
        Path("out/000000.tar").write_bytes(b"mine")
        Path("out/train/000000.tar").write_bytes(b"mine")
        before = Path("real/000000.tar").read_bytes()
        for arguments, words in (
            (("links", "links"), "links: holds 000000.tar, which is read"),
            (("real", "out"), "out/000000.tar: would be written over, and it is of no set of vhs"),
            (("real", "out/train"), "out/train/000000.tar: would be written over"),
        ):
            code, _, err = vhs("shard", *arguments)
            assert code == 2 and words in err and len(err.splitlines()) == 1
        assert Path("real/000000.tar").read_bytes() == before
        assert Path("out/000000.tar").read_bytes() == Path("out/train/000000.tar").read_bytes() == b"mine"

    def test_a_damaged_journal_removes_nothing(self, vhs) -> None:
        write(Path("src/%06d.tar"), samples("txt"), 10)
        Path("out").mkdir()
        Path("out/123456.tar").write_bytes(b"mine")
        Path("out/shards.partial.json").write_bytes(b"{damaged")
        code, _, err = vhs("shard", "src", "out")
        assert code == 2 and "would be written over, and shards.partial.json is damaged" in err
        assert Path("out/123456.tar").exists()

    def test_the_same_command_again_where_the_tars_are(self, vhs, tmp_path: Path) -> None:
        write(Path("one/%d.tar"), samples("txt", 20), 10)
        imagenet_1k_wds(tmp_path / "two", train=20, val=20)
        for arguments in (("one", "one", "--in-place"), ("two", "two", "--in-place"), ("two", "two/out")):
            for _ in range(2):
                code, _, err = vhs("shard", *arguments)
                assert code == 0, (arguments, err)
        assert (
            ShardSet.open(Path("one")).manifest.samples == ShardSet.open(Path("two/out/train")).manifest.samples == 20
        )

    def test_tars_behind_links_are_described(self, vhs) -> None:
        """As the cache of the Hugging Face hub lays them out."""
        write(Path("blobs/%d.tar"), samples("txt"), 10)
        Path("snapshot").mkdir()
        Path("snapshot/train-0.tar").symlink_to("../blobs/0.tar")
        assert vhs("shard", "snapshot", "at", "--in-place")[0] == 0
        assert len(list(ShardSet.open(Path("at")).samples())) == 10

    def test_a_touched_tar_is_the_same_tar(self, vhs) -> None:
        write(Path("src/%d.tar"), samples("txt"), 10)
        assert vhs("shard", "src", "at", "--in-place")[0] == 0
        Path("src/0.tar").touch()
        assert vhs("shard", "src", "at", "--in-place")[0] == 0


@pytest.mark.parametrize(
    "odd, told", [("-1", "label '-1'"), ("10.0", "label '10.0'"), ("999999999", "label '999999999'")]
)
def test_a_label_that_is_no_index_is_told(vhs, odd: str, told: str) -> None:
    made = samples("txt")
    for number, sample in enumerate(made):
        sample["cls"] = (odd if number == 7 else str(number)).encode()
    write(Path("t/%d.tar"), made, 10)
    code, _, err = vhs("shard", "t", "out")
    assert code == 3 and told in err and "others are whole numbers" in err


def test_a_label_far_beyond_all_others_is_told(vhs) -> None:
    made = samples("txt")
    for number, sample in enumerate(made):
        sample["cls"] = b"9999999" if number == 7 else str(number).encode()
    write(Path("t/%d.tar"), made, 10)
    code, _, err = vhs("shard", "t", "out")
    assert code == 3 and "label 9999999 among 10 different ones" in err


def test_keys_that_are_alike_when_made_safe_stay_apart(vhs) -> None:
    made = samples("txt", 2)
    made[0]["__key__"], made[1]["__key__"] = "a b", "a_b"
    write(Path("t/x-%d.tar"), made, 10)
    for options in ((), ("--in-place",)):
        assert vhs("shard", "t", f"out{len(options)}", *options)[0] == 0
    ids = [[sample.id for sample in ShardSet.open(Path(where)).samples()] for where in ("out0", "out1")]
    assert ids[0] == ids[1] and len(set(ids[0])) == 2 and all(name.startswith("x-0/a_b-") for name in ids[0])
