"""Public layouts, in small files of the exact form."""

import gzip
import lzma
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vhs.errors import InputError
from vhs.sources import fashion, folders, idx, idx_array, layouts, npz

RNG = np.random.default_rng(0)


def write_idx(path: Path, array: np.ndarray) -> None:
    data = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def test_idx_folder(tmp_path: Path) -> None:
    images, labels = RNG.integers(0, 256, (7, 5, 3), dtype=np.uint8), np.arange(7, dtype=np.uint8) % 4
    write_idx(tmp_path / "train-images-idx3-ubyte.gz", images)
    write_idx(tmp_path / "train-labels-idx1-ubyte", labels)
    assert layouts.detect(str(tmp_path)) == "idx"
    (split,) = idx.splits(tmp_path)
    assert (split.split, split.classes, split.ids[6]) == ("train", ("0", "1", "2", "3"), "train-00006")
    write_idx(tmp_path / "train-labels-idx1-ubyte", labels[:5])
    with pytest.raises(InputError, match="7 images and 5 labels"):
        idx.splits(tmp_path)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"\0\0\x08\x03" + bytes(12) + b"\xff" * 3)[:-9])
    with pytest.raises(InputError, match="cannot be read"):
        idx.splits(tmp_path)


def test_idx_that_lies_about_its_size() -> None:
    with pytest.raises(InputError, match="truncated"):
        idx_array.parse(b"\0\0\x08\x02" + np.array([2**31, 2**31], ">u4").tobytes() + b"abc", "x")
    with pytest.raises(InputError, match="is not an IDX file"):
        idx_array.parse(b"PK34", "x")


def test_npz(tmp_path: Path) -> None:
    path = tmp_path / "tiny.npz"
    x, y = RNG.integers(0, 256, (6, 4, 4, 3), dtype=np.uint8), np.array([[0], [1], [2], [0], [1], [2]])
    np.savez(path, x_train=x, y_train=y, x_test=x[:2], y_test=y[:2])
    train, val = npz.splits(path)
    assert (train.split, val.split, train.channels, train.classes) == ("train", "val", 3, ("0", "1", "2"))
    assert len(val.classes) == 3, "classes are those of all splits"
    np.savez(path, x_train=x.astype(np.float32), y_train=y)
    with pytest.raises(InputError, match="x_train is float32"):
        npz.splits(path)
    np.savez(path, x_train=np.array([{}], dtype=object), y_train=y)
    with pytest.raises(InputError, match="no NumPy archive of plain arrays"):
        npz.splits(path)


def test_class_folders(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for name in ("10", "2"):
            (tmp_path / split / name).mkdir(parents=True)
            Image.fromarray(RNG.integers(0, 256, (5, 6), dtype=np.uint8)).save(
                tmp_path / split / name / f"{name}a.JPEG"
            )
    train, val = folders.splits(tmp_path)
    assert train.classes == ("2", "10"), "by number, because 10 sorts before 2 as text"
    assert (train.channels, val.split, list(val.ids)) == (1, "val", ["2a", "10a"])
    assert val.encoded(1) == (tmp_path / "val/10/10a.JPEG").read_bytes(), "passed on unchanged"


def test_an_empty_folder_of_classes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(InputError, match="holds no images in class folders"):
        folders.splits(tmp_path)


def test_nothing_known(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither class folders nor IDX"):
        layouts.detect(str(tmp_path))
    with pytest.raises(InputError, match="is not there"):
        layouts.detect(str(tmp_path / "no"))


def test_the_embedded_set() -> None:
    train, val = fashion.splits()
    assert (len(train.ids), len(val.ids), train.classes) == (10_000, 2_000, fashion.CLASSES)
    assert np.bincount(train.labels).tolist() == [1000] * 10 and np.bincount(val.labels).tolist() == [200] * 10
    path = Path(__file__).resolve().parent.parent / "shards" / fashion.FILE
    assert path.stat().st_size < 5e6
    # the first image of the training file is an ankle boot; pixel sums as in the source files
    assert train.labels[0] == 9 and train.ids[0] == "train-00000"


def test_packing_the_embedded_set_is_reproducible() -> None:
    per = fashion.PER_CLASS
    arrays = {}
    for split, prefix in zip(fashion.splits(), per, strict=True):
        from vhs.formats.images import decode

        images = np.stack([decode(split.encoded(i), 1, "")[..., 0] for i in range(0, len(split.ids), 50)])
        arrays[prefix] = (images, np.array(split.labels)[::50].astype(np.uint8))
    packed = fashion.pack(arrays)
    assert packed == fashion.pack(arrays)
    images, _ = idx_array.parse(lzma.decompress(packed), "x")
    assert np.array_equal(images, arrays["train"][0])


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/usr/share/datasets/fashion-mnist").exists(), reason="needs Debian's dataset-fashion-mnist"
)
def test_the_embedded_set_is_what_the_source_files_give() -> None:
    found = {split.ids[0][:5].rstrip("-"): split for split in idx.splits(Path("/usr/share/datasets/fashion-mnist"))}
    for split in fashion.splits():
        full = found[split.ids[0][:5].rstrip("-")]
        assert full.name == fashion.NAME and full.classes == fashion.CLASSES
        for position in range(0, len(split.ids), 97):
            where = list(full.ids).index(split.ids[position])
            assert full.labels[where] == split.labels[position] and full.encoded(where) == split.encoded(position)
