"""CIFAR-10 and CIFAR-100 in their public layouts, their pickles, CIFAR-C beside them, and MNIST above them."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest
from PIL import Image

from tests import cifar_folders
from tests.cifar_folders import CLASSES, COARSE, FINE, images_and_labels, python2
from vhs.errors import InputError
from vhs.formats.images import decode
from vhs.formats.shards import ShardSet
from vhs.sources import cifar, layouts, pickled

SETS = ("train", "val", "aligned", "randomised", "top-only", "val-randomised")


@pytest.fixture(params=["cifar-10-batches-py", "cifar-10-batches-bin"])
def cifar_10(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if request.param.endswith("py"):
        return cifar_folders.cifar_10_python(tmp_path / "root", monkeypatch)
    return cifar_folders.cifar_10_binary(tmp_path / "root")


@pytest.fixture(params=["cifar-100-python", "cifar-100-binary"])
def cifar_100(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if request.param.endswith("python"):
        return cifar_folders.cifar_100_python(tmp_path / "root", monkeypatch)
    return cifar_folders.cifar_100_binary(tmp_path / "root")


def test_cifar_10(cifar_10: Path) -> None:
    assert layouts.detect(str(cifar_10)) == "cifar"
    train, val = layouts.read(str(cifar_10), "cifar")
    assert [(part.name, part.split, len(part.ids)) for part in (train, val)] == [
        ("cifar-10", "train", 20),
        ("cifar-10", "val", 6),
    ]
    assert train.classes == val.classes == CLASSES and train.channels == 3
    assert (train.ids[19], val.ids[5]) == ("x-train-00019", "x-test-00005")
    assert list(train.labels) == [0, 1, 2, 3] * 5 and list(val.labels) == [0, 1, 2, 3, 4, 5]
    for part, position, (pixels, row) in (
        (train, 9, (images_and_labels(4, 3)[0], 1)), (val, 4, (images_and_labels(6, 6)[0], 4)),
    ):  # fmt: skip
        image = decode(part.encoded(position), 3, "")
        for plane in range(3):
            assert image[2, 5, plane] == pixels[row, 1024 * plane + 32 * 2 + 5], "planes R, G, B, rows within"
        assert np.array_equal(image, pixels[row].reshape(3, 32, 32).transpose(1, 2, 0))


def test_cifar_100_has_superclasses(cifar_100: Path) -> None:
    train, val = layouts.read(str(cifar_100), layouts.detect(str(cifar_100)))
    assert (train.name, train.classes, len(val.ids)) == ("cifar-100", FINE, 30)
    assert list(val.labels) == list(range(30))
    assert val.attributes["superclass"] == [COARSE[label % 20] for label in range(30)]
    assert val.extra["train_groups"]["superclass"]["coarse_3"] == 2 and val.ids[29] == "x-test-00029"
    assert np.array_equal(decode(val.encoded(7), 3, "")[..., 1].ravel(), images_and_labels(30, 2)[0][7, 1024:2048])


def test_both_versions_give_the_same_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vhs) -> None:
    for folder in (
        cifar_folders.cifar_10_python(tmp_path / "a", monkeypatch), cifar_folders.cifar_10_binary(tmp_path / "b"),
    ):  # fmt: skip
        assert vhs("shard", folder, folder.name)[0] == 0
    for name in ("train", "val"):
        one, other = (ShardSet.open(Path(f"cifar-10-batches-{form}", name)) for form in ("py", "bin"))
        assert one.manifest == other.manifest


def test_the_folder_around_it_will_do(cifar_10: Path, tmp_path: Path) -> None:
    assert layouts.detect(str(cifar_10.parent)) == "cifar"
    assert [part.name for part in cifar.splits(cifar_10.parent)] == ["cifar-10", "cifar-10"]
    other = cifar_folders.cifar_100_binary(cifar_10.parent)
    with pytest.raises(InputError, match=f"root: holds {cifar_10.name} and {other.name}; expected one of cifar-10-bat"):
        layouts.read(str(cifar_10.parent), layouts.detect(str(cifar_10.parent)))
    with pytest.raises(InputError, match="holds no CIFAR-10 or CIFAR-100"):
        cifar.splits(tmp_path)


def test_under_another_name(tmp_path: Path) -> None:
    folder = cifar_folders.cifar_10_binary(tmp_path).rename(tmp_path / "mine")
    assert layouts.detect(str(folder)) == "cifar" and len(cifar.splits(folder)[1].ids) == 6


class TestPickles:
    @pytest.fixture
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        return cifar_folders.cifar_10_python(tmp_path, monkeypatch)

    def test_another_md5_is_not_unpickled(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (folder / "data_batch_1").write_bytes((folder / "data_batch_3").read_bytes())
        unpickled = []
        monkeypatch.setattr(pickled._Unpickler, "load", lambda self: unpickled.append(self))
        with pytest.raises(InputError, match=r"_1: has .* bytes of md5 .*; expected .*, the published.* not unpickled"):
            pickled.load(folder / "data_batch_1", cifar.MD5[folder.name]["data_batch_1"], "Download it.")
        assert not unpickled
        assert pickled.load(folder / "data_batch_3", cifar.MD5[folder.name]["data_batch_3"], "") is None and unpickled

    def test_a_truncated_file_is_one_line(self, folder: Path, vhs) -> None:
        data = (folder / "data_batch_2").read_bytes()
        (folder / "data_batch_2").write_bytes(data[:-700])
        code, out, err = vhs("shard", folder, "out")
        assert code == 3 and not out and err.count("\n") == 1
        assert f"data_batch_2: has {len(data) - 700:,} bytes of md5" in err
        assert "Download cifar-10-python.tar.gz again and unpack it whole, or take the binary version." in err

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_a_pickle_that_calls_is_refused_though_its_md5_is_right(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, protocol: int
    ) -> None:
        mark = folder / "called"

        class Evil:
            def __reduce__(self) -> tuple:
                return Path.touch, (mark,)

        data = pickle.dumps({"labels": [0], "data": Evil()}, protocol)
        self.replace(folder, "data_batch_1", data, monkeypatch)
        with pytest.raises(
            InputError, match=r"data_batch_1: is no pickle of arrays .* it names (pathlib|builtins|__builtin)"
        ):
            cifar.splits(folder)
        assert not mark.exists()

    @pytest.mark.parametrize(
        "name",
        ["os\nsystem", "builtins\neval", "numpy\nload", "numpy.core.multiarray\nscalar", "numpy\nndarray.tofile", "numpy.testing\nos"],
    )  # fmt: skip
    def test_only_arrays_are_made(self, tmp_path: Path, name: str) -> None:
        data = f"c{name}\n(S'x'\ntR.".encode()
        (tmp_path / "p").write_bytes(data)
        with pytest.raises(
            InputError, match=r"p: is no pickle of arrays and plain values: it names .*not called. Again"
        ):
            pickled.load(tmp_path / "p", hashlib.md5(data).hexdigest(), "Again.")

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_arrays_of_python_3_are_read(self, tmp_path: Path, protocol: int) -> None:
        if protocol == pickle.HIGHEST_PROTOCOL:
            pytest.skip("numpy._core.numeric._frombuffer: nobody publishes these")
        array = images_and_labels(2, 3)[0]
        data = pickle.dumps({"data": array, "name": "é"}, protocol)
        (tmp_path / "p").write_bytes(data)
        found = pickled.load(tmp_path / "p", hashlib.md5(data).hexdigest(), "")
        assert np.array_equal(found["data"], array) and found["name"] == "é"

    @pytest.mark.parametrize(
        ("entry", "message"),
        [
            ([1, 2], "lacks one of data, labels"),
            ({"data": 3}, "lacks one of data, labels"),
            ({"data": 3, "labels": [1]}, r"its data are not uint8 \[N, 3,072\]"),
            ({"data": np.zeros((2, 5), np.uint8), "labels": [1, 2]}, r"its data are not uint8 \[N, 3,072\]"),
            ({"data": np.zeros((2, 3072), np.uint8), "labels": [1]}, "its labels are not 2 whole numbers"),
            ({"data": np.zeros((1, 3072), np.uint8), "labels": ["a"]}, "its labels are not 1 whole numbers"),
            ({"data": np.zeros((2, 3072), np.uint8), "labels": [1, 10]}, "labels of image 1 is 10; expected 0 to 9"),
            ({"data": np.zeros((1, 3072), np.uint8), "labels": [-1]}, "labels of image 0 is -1; expected 0 to 9"),
        ],
    )
    def test_odd_content(self, folder: Path, monkeypatch: pytest.MonkeyPatch, entry, message: str) -> None:
        self.replace(folder, "test_batch", python2(entry), monkeypatch)
        with pytest.raises(InputError, match=f"test_batch: {message}"):
            cifar.splits(folder)

    @pytest.mark.parametrize("names", [list("abc"), ["a"] * 10, [*"abcdefghi", 3], [*"abcdefghi", ""], "abcdefghij"])
    def test_odd_names(self, folder: Path, monkeypatch: pytest.MonkeyPatch, names) -> None:
        self.replace(folder, "batches.meta", python2({"label_names": names}), monkeypatch)
        with pytest.raises(InputError, match=r"batches.meta: expected 10 names of labels, each once"):
            cifar.splits(folder)

    @staticmethod
    def replace(folder: Path, name: str, data: bytes, patch: pytest.MonkeyPatch) -> None:
        (folder / name).write_bytes(data)
        patch.setitem(cifar.MD5[folder.name], name, hashlib.md5(data).hexdigest())


class TestRecords:
    @pytest.mark.parametrize("size", [0, 1, 3072, 4 * 3073 - 1])
    def test_a_truncated_file(self, tmp_path: Path, size: int) -> None:
        folder = cifar_folders.cifar_10_binary(tmp_path)
        path = folder / "data_batch_4.bin"
        path.write_bytes(path.read_bytes()[:size])
        with pytest.raises(
            InputError, match=f"data_batch_4.bin: has {size:,} bytes; expected records of 3,073, .* aga"
        ):
            cifar.splits(folder)

    def test_a_file_beyond_measure_is_not_read(self, tmp_path: Path) -> None:
        folder = cifar_folders.cifar_100_binary(tmp_path)
        with (folder / "test.bin").open("r+b") as file:
            file.truncate(3074 * 60_000)
        with pytest.raises(InputError, match=r"test.bin: has 184,440,000 bytes; at most 153,700,000 were expected"):
            cifar.splits(folder)

    @pytest.mark.parametrize(("place", "message"), [(0, "coarse_labels of image 2 is 20; expected 0 to 19"), (1, "fine_labels of image 2 is 100")])  # fmt: skip
    def test_labels_out_of_range(self, tmp_path: Path, place: int, message: str) -> None:
        folder = cifar_folders.cifar_100_binary(tmp_path)
        data = bytearray((folder / "train.bin").read_bytes())
        data[2 * 3074 + place] = (20, 100)[place]
        (folder / "train.bin").write_bytes(data)
        with pytest.raises(InputError, match=f"train.bin: {message}"):
            cifar.splits(folder)

    @pytest.mark.parametrize("name", ["data_batch_3.bin", "test_batch.bin", "batches.meta.txt"])
    def test_a_missing_file_is_named(self, tmp_path: Path, name: str) -> None:
        folder = cifar_folders.cifar_10_binary(tmp_path)
        (folder / name).unlink()
        with pytest.raises(
            InputError, match=f"{name}: is missing; expected data_batch_1.bin, .*cifar-10-binary.tar.gz"
        ):
            layouts.read(str(folder), layouts.detect(str(folder)))

    def test_names_that_are_too_few(self, tmp_path: Path) -> None:
        folder = cifar_folders.cifar_10_binary(tmp_path)
        (folder / "batches.meta.txt").write_text("airplane\n")
        with pytest.raises(InputError, match=r"batches.meta.txt: expected 10 names of labels, each once"):
            cifar.splits(folder)


def cifar_c(folder: Path, clean: np.ndarray, labels: np.ndarray) -> Path:
    """As Hendrycks' CIFAR-C: the test images in their order, five times, and their labels as often."""
    folder.mkdir()
    images = clean.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    np.save(folder / "labels.npy", np.tile(labels, 5))
    np.save(folder / "contrast.npy", np.concatenate([images // (severity + 1) for severity in range(1, 6)]))
    return folder


def test_cifar_10_c_pairs_with_the_test_images_by_id(tmp_path: Path, vhs) -> None:
    source = cifar_folders.cifar_10_binary(tmp_path, 8, 40)
    assert vhs("shard", source, "cifar")[0] == 0
    stored = cifar_c(tmp_path / "CIFAR-10-C", *images_and_labels(40, 6))
    code, out, err = vhs("shard", stored, "c", "--base", "cifar/val")
    assert code == 0 and len(out.split()) == 5, err
    clean, shifted = ShardSet.open(Path("cifar/val")), ShardSet.open(Path("c/contrast/3"))
    assert shifted.manifest.classes == CLASSES and shifted.manifest.base["hash"] == clean.manifest.hash
    for one, other in zip(clean.samples(), shifted.samples(), strict=True):
        assert one.id == other.id and one.label == other.label
        assert np.array_equal(clean.decode(one) // 4, shifted.decode(other))
    assert vhs("train", "cifar", "--depth", 1, "--dim", 16, "--heads", 2, "--patch", 16, "--epochs", 1, "-o", "m.safetensors")[0] == 0  # fmt: skip
    code, _, err = vhs("ablate", "m.safetensors", "--data", "cifar/val", "--shift", "c", "-o", "heads.csv")
    assert code == 0, err
    code, _, err = vhs("compare", "heads.csv", "-o", "agreement.csv")
    assert code == 0 and set(pl.read_csv("heads.csv")["severity"]) >= {1, 2, 3, 4, 5}, err


def test_other_test_images_are_refused_as_base(tmp_path: Path, vhs) -> None:
    assert vhs("shard", cifar_folders.cifar_10_binary(tmp_path, 8, 40), "cifar")[0] == 0
    pixels, labels = images_and_labels(40, 6)
    code, _, err = vhs("shard", cifar_c(tmp_path / "C", pixels, labels[::-1].copy()), "c", "--base", "cifar/val")
    assert code == 4 and "x-test-00000 has label 9, not 0 as in cifar/val" in err


def test_cifar_100_c_gets_names_and_superclasses(tmp_path: Path, vhs) -> None:
    assert vhs("shard", cifar_folders.cifar_100_binary(tmp_path), "cifar")[0] == 0
    stored = cifar_c(tmp_path / "CIFAR-100-C", *images_and_labels(30, 2, 100))
    assert vhs("shard", stored, "c", "--base", "cifar/val")[0] == 0
    shifted = ShardSet.open(Path("c/contrast/5"))
    assert shifted.manifest.classes == FINE and shifted.manifest.groups == ("superclass",)
    assert [sample.attributes[0] for sample in shifted.samples()] == [COARSE[label % 20] for label in range(30)]


class Shown(NamedTuple):
    """A domino as its pixels show it: whether the digit goes with the class, number of the digit, the bottom image."""

    agrees: bool
    top: int
    bottom: bytes


def shown(data: ShardSet) -> dict[str, Shown]:
    found = {}
    spurious = data.manifest.groups.index("spurious")
    for sample in data.samples():
        pixels = data.decode(sample)
        above, digit = pixels[:32].copy(), pixels[2, 2, 0] // 20
        assert pixels.shape == (64, 32, 3) and data.manifest.classes[digit] == sample.attributes[spurious]
        assert (above[2:29, 2:30] == digit * 20).all()
        above[2:30, 2:30] = 0
        assert not above.any(), "28 x 28 in the middle of 32 x 32"
        number = int(pixels[29, 28, 0]) * 256 + int(pixels[29, 29, 0])
        found[sample.id] = Shown(bool(digit == sample.label), number, pixels[32:].tobytes())
    return found


@pytest.mark.parametrize("form", ["py", "bin"])
def test_mnist_above_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vhs, form: str) -> None:
    """The data of DiverseViT by one command."""
    if form == "py":
        source = cifar_folders.cifar_10_python(tmp_path, monkeypatch, 400, 3000)
    else:
        source = cifar_folders.cifar_10_binary(tmp_path, 400, 3000)
    code, out, err = vhs(
        "shard", "dominoes", "d", "--top", cifar_folders.mnist(tmp_path / "mnist"), "--bottom", source, "--pairs",
        "0:automobile,1:truck", "--correlation", ".9", "--test-correlation", ".9", "--val-share", ".2",
    )  # fmt: skip
    assert code == 0 and out.split() == [f"d/{name}" for name in SETS], err
    sets = {name: ShardSet.open(Path("d", name)) for name in SETS}
    assert all(data.manifest.classes == ("automobile", "truck") for data in sets.values())
    found = {name: shown(data) for name, data in sets.items()}
    share = {name: np.mean([one.agrees for one in images.values()]) for name, images in found.items()}
    odds = {"train": 0.9, "val": 0.9, "aligned": 0.9, "randomised": 0.5, "top-only": 0.9, "val-randomised": 0.5}
    assert share == pytest.approx(odds, abs=0.09)
    assert len(found["train"]) == 400 and len(found["val"]) == pytest.approx(120, abs=30)
    assert len(found["val"]) + len(found["aligned"]) == 600
    for version, base in (("val-randomised", "val"), ("randomised", "aligned"), ("top-only", "aligned")):
        assert sets[version].manifest.base["hash"] == sets[base].manifest.hash
        assert list(found[version]) == list(found[base])
    assert {one.bottom for one in found["val-randomised"].values()} == {one.bottom for one in found["val"].values()}
    assert [one.top for one in found["top-only"].values()] == [one.top for one in found["aligned"].values()]
    for number in (1, 2):
        validation, test = (
            {one[number] for name in names for one in found[name].values()}
            for names in (("val", "val-randomised"), ("aligned", "randomised"))
        )
        assert validation and not validation & test


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ({"val_share": 0}, 2, "val_share 0: expected more than 0 and less than 1"),
        ({"val_share": 1.5}, 2, "val_share is 1.5; expected 0 to 1"),
        ({"test_correlation": -1}, 2, "test_correlation is -1; expected 0 to 1"),
        ({"val_share": 0.2}, 2, "val_share: both sources have train, val and test of their own"),
    ],
)
def test_shares_that_cannot_be(tmp_path: Path, options: dict, code: int, message: str) -> None:
    import vhs as library

    for split in ("train", "val", "test"):
        for name in ("a", "b"):
            (tmp_path / "own" / split / name).mkdir(parents=True)
            image = Image.fromarray(np.full((4, 4), ord(name), np.uint8))
            image.save(tmp_path / "own" / split / name / f"{split}{name}.png")
    own = str(tmp_path / "own")
    with pytest.raises(library.VhsError, match=message) as caught:
        library.shard("dominoes", tmp_path / "d", top=own, bottom=own, quiet=True, **options)
    assert caught.value.exit_code == code


def test_a_single_split_keeps_its_training_part_at_any_share(tmp_path: Path) -> None:
    from vhs.formats.split import from_arrays
    from vhs.sources.dominoes import Dominoes

    only = from_arrays(
        np.zeros((2000, 4, 4), np.uint8), np.arange(2000) % 2, name="one", split="val", classes="ab", prefix="x"
    )
    usual, other = (
        {part.folder: part for part in Dominoes([only], [only], val_share=share).splits()} for share in (0.5, 0.2)
    )
    assert usual["train"].ids == other["train"].ids and len(usual["train"].ids) == pytest.approx(1400, abs=60)
    assert len(usual["val"].ids) == pytest.approx(300, abs=50) and len(other["val"].ids) == pytest.approx(120, abs=35)
    assert set(other["val"].ids) < set(usual["val"].ids) and usual["val"].fingerprint != other["val"].fingerprint


def test_val_of_a_folder_of_dominoes_is_still_one(tmp_path: Path, vhs) -> None:
    import vhs as library

    source = cifar_folders.cifar_10_binary(tmp_path, 40, 200)
    library.shard("dominoes", "d", top=str(cifar_folders.mnist(tmp_path / "mnist")), bottom=str(source), quiet=True)
    assert library.open_shards("d").folder == Path("d/val")
