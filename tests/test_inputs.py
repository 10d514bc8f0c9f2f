"""Inputs that nobody should trust, options that mean nothing, and names from a file system."""

from __future__ import annotations

import gzip
import os
import resource
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from tests.conftest import CLASSES, toy_images
from vhs.errors import InputError, MismatchError, UsageError
from vhs.formats import regular, tables
from vhs.formats.sharding import write_set
from vhs.formats.shards import ShardSet
from vhs.formats.split import from_arrays
from vhs.sources import layouts


def packed(folder: Path, count: int = 40, seed: int = 3, prefix: str = "val", split: str = "val") -> Path:
    images, labels = toy_images(count, seed)
    write_set(folder, from_arrays(images, labels, name="toy", split=split, classes=CLASSES, prefix=prefix))
    return folder


class TestBounds:
    """Sizes are known before memory is taken."""

    @pytest.fixture(autouse=True)
    def little_memory(self):
        before = resource.getrlimit(resource.RLIMIT_AS)
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + (700 << 20), before[1]))
        yield
        resource.setrlimit(resource.RLIMIT_AS, before)

    def test_idx(self, tmp_path: Path) -> None:
        squeezer = zlib.compressobj(9, wbits=31)
        header = bytes([0, 0, 8, 3]) + struct.pack(">3I", 3 << 20, 32, 32)
        begun = squeezer.compress(header) + squeezer.flush(zlib.Z_FULL_FLUSH)
        block = squeezer.compress(bytes(1 << 24)) + squeezer.flush(zlib.Z_FULL_FLUSH)  # complete by itself: repeat it
        (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(begun + block * 192 + squeezer.flush())
        (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 0])))
        with pytest.raises(InputError, match=r"would unpack to 3,221,225,472; that is no data set of images"):
            layouts.read(str(tmp_path), "idx")

    def test_npz(self, tmp_path: Path) -> None:
        path = tmp_path / "a.npz"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x_train.npy", "w") as file:
            np.lib.format.write_array_header_1_0(
                file, {"descr": "|u1", "fortran_order": False, "shape": (1 << 20, 32, 32)}
            )
            for _ in range(64):
                file.write(bytes(1 << 24))
        with pytest.raises(InputError, match=r"x_train\.npy: [\d,]+ bytes would unpack to 1,073,741,9"):
            layouts.read(str(path), "npz")

    def test_an_npz_header_that_says_more_than_there_is(self, tmp_path: Path) -> None:
        path = tmp_path / "a.npz"
        with zipfile.ZipFile(path, "w") as archive, archive.open("x_train.npy", "w") as file:
            np.lib.format.write_array_header_1_0(
                file, {"descr": "|u1", "fortran_order": False, "shape": (1 << 30, 32, 32)}
            )
        with pytest.raises(
            InputError, match=r"x_train\.npy says \(1073741824, 32, 32\), which is more than its 128 bytes"
        ):
            layouts.read(str(path), "npz")

    def test_parquet(self, tmp_path: Path) -> None:
        path = tmp_path / "t.parquet"
        pl.select(pl.repeat(1, 30_000_000, dtype=pl.Int32).alias("x")).write_parquet(path)
        assert path.stat().st_size < 200_000
        with pytest.raises(InputError, match="30000000 rows of 1 columns in"):
            tables.read(str(path))


def test_a_large_image_is_packed_in_little_memory(tmp_path: Path) -> None:
    """An 8192 x 8192 PNG took 3 GB in int64 sums of its pixels."""
    (tmp_path / "in" / "a").mkdir(parents=True)
    Image.new("L", (8192, 8192)).save(tmp_path / "in/a/x.png")
    code = (  # VmHWM: ru_maxrss would count what this process had before it became another
        "from vhs.cli import main\nmain(['shard', 'in', 'out'])\n"
        "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert int(done.stdout.splitlines()[-1]) < 400_000, done.stdout + done.stderr
    assert ShardSet.open(tmp_path / "out").manifest.samples == 1


class TestFiles:
    def test_a_fifo_is_refused_wherever_a_file_is_read(self, vhs, toy_checkpoint: Path) -> None:
        for place in ("in/a/x.png", "set/shards.json", "meta/metadata.csv"):
            Path(place).parent.mkdir(parents=True)
            os.mkfifo(place)
        with pytest.raises(InputError, match="is no regular file but a FIFO"):
            regular.read(Path("in/a/x.png"))
        assert "is no regular file but a FIFO" in vhs("shard", "in", "out")[2]
        assert "is no regular file but a FIFO" in vhs("shard", "meta", "out", "--layout", "metadata")[2]
        assert "is no regular file but a FIFO" in vhs("evalshift", toy_checkpoint, "--data", "set")[2]

    def test_links_out_of_the_source_are_followed_on_request_only(self, vhs, tmp_path: Path) -> None:
        (tmp_path / "in" / "a").mkdir(parents=True)
        (tmp_path / "elsewhere").mkdir()
        for name in ("in/a/x.png", "elsewhere/secret.png"):
            Image.fromarray(toy_images(1, 0)[0][0]).save(name)
        Path("in/a/inside.png").symlink_to(tmp_path / "in/a/x.png")
        assert vhs("shard", "in", "fine")[0] == 0
        Path("in/a/out.png").symlink_to(tmp_path / "elsewhere/secret.png")
        code, _, err = vhs("shard", "in", "out")
        assert (
            code == 3 and "in/a/out.png: is a link to" in err and "--follow-links" in err and not Path("out").exists()
        )
        assert vhs("shard", "in", "out", "--follow-links")[0] == 0
        Path("in/a/out.png").unlink()
        Path("in/b").symlink_to(tmp_path / "elsewhere")
        assert "is a link to" in vhs("shard", "in", "out2")[2]

    def test_names_that_are_not_utf8(self, vhs, tmp_path: Path) -> None:
        folder = os.fsencode(tmp_path / "in") + b"/\xff\xfe"
        os.makedirs(folder)
        Image.fromarray(toy_images(1, 0)[0][0]).save("x.png")
        os.replace("x.png", folder + b"/\xfd.png")
        code, _, err = vhs("shard", "in", "out")
        assert code == 3 and "is a name that is not UTF-8. Rename it." in err and err.count("\n") == 1

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            ({"y_train": np.eye(5, dtype=np.uint8)[[0, 1, 2, 3]]}, r"y_train is \(4, 5\); expected one class index"),
            ({"x_train": np.zeros((4, 0, 8), np.uint8)}, "images of 0x8 px; expected 1 px or more"),
            ({"y_train": np.zeros(3, int)}, "4 images and 3 labels"),
        ],
    )
    def test_odd_arrays(self, tmp_path: Path, arrays: dict, message: str) -> None:
        np.savez(
            tmp_path / "a.npz", **({"x_train": np.zeros((4, 8, 8), np.uint8), "y_train": np.zeros(4, int)} | arrays)
        )
        with pytest.raises(InputError, match=message):
            layouts.read(str(tmp_path / "a.npz"), "npz")

    @pytest.mark.parametrize("label", ["1" * 5000, "a\0b"])
    def test_odd_metadata(self, vhs, label: str) -> None:
        Path("in").mkdir()
        Image.fromarray(toy_images(1, 0)[0][0]).save("in/x.png")
        Path("in/metadata.csv").write_text(f"path,label\nx.png,{label}\nx\0.png,2\n")
        code, _, err = vhs("shard", "in", "out")
        assert code == 3 and err.count("\n") == 1 and len(err) < 2000 and "defect" not in err

    def test_odd_class_names_are_drawn_as_they_are(self, vhs) -> None:
        images, labels = toy_images(10, 0)
        names = ["$x_$", "\\frac{", "a$b", "<b>", "日本"]
        write_set(Path("a"), from_arrays(images, labels, name="$q_{$", split="val", classes=names, prefix="v"))
        code, _, err = vhs("plot", "a", "a", "--class", "$x_$", "-o", "x.svg")
        assert (code, err) == (0, "") and "class $x_$" in Path("x.svg").read_text()


class TestOptions:
    def test_from_python_as_from_the_command_line(self, toy_checkpoint: Path) -> None:
        import vhs

        model = vhs.load_model(toy_checkpoint, device="cpu")
        with pytest.raises(UsageError, match="max_samples is -1; expected 1 or more"):
            vhs.ablate(model, max_samples=-1)
        with pytest.raises(UsageError, match=r"^shift: is empty"):
            vhs.evalshift(model, shift="")
        for named, told in {"half_width": 0.9, "threads": 0}.items():
            with pytest.raises(vhs.VhsError, match=f"{named} is {told}; expected"):
                vhs.ablate(model, **{named: told})
        with pytest.raises(vhs.VhsError, match="tolerance is 5; expected 0 to 1"):
            vhs.compare("x.csv", summary="redundancy", tolerance=5)

    @pytest.mark.parametrize(
        ("command", "message"),
        [
            (("ablate", "{m}", "--shift", ""), "--shift: is empty; name a shift such as"),
            (("ablate", "{m}", "--shift", "contrst"), "Did you mean contrast?"),
            (("ablate", "{m}", "--device", "tpu"), "--device tpu: expected auto, cpu, cuda or cuda:N."),
            (("compare", "x.csv", "--summary", "redundancy", "--tolerance", "5"), "less than or equal to 1"),
            (("plot", "x.csv", "--whole", "--partial"), "ask for opposite things"),
        ],
    )
    def test_what_cannot_be(self, vhs, toy_checkpoint: Path, command: tuple[str, ...], message: str) -> None:
        code, out, err = vhs(*(word.format(m=toy_checkpoint) for word in command))
        assert (code, out) == (2, "") and message in err and err.count("\n") == 1

    def test_tolerance_in_python(self) -> None:
        from vhs.counts import Counts
        from vhs.measures.redundancy import redundancy

        with pytest.raises(UsageError, match="tolerance is 5; expected a share"):
            redundancy(Counts(np.ones((2, 20, 3), int), ("n", "n_lost", "n_gained")), 5.0)

    def test_the_shell_offers_what_is_accepted(self) -> None:
        from vhs import options
        from vhs.runs import runtime

        assert options.FORMATS == tables.FORMATS and options.PRECISIONS == runtime.PRECISIONS
        for device in options.DEVICES:
            runtime.check(device, options.PRECISIONS[0], None)

    def test_categories_are_shifts(self) -> None:
        from vhs.runs import conditions
        from vhs.shifts.corruption import MODULES
        from vhs.shifts.kinds import CORRUPTIONS
        from vhs.shifts.names import IMAGENET_C

        found = [item.corruption for item in conditions.parse(["weather"])[1:]]
        assert found == [name for name in IMAGENET_C["weather"] for _ in range(5)]
        assert all(callable(getattr(MODULES[kind.module], name)) for name, kind in CORRUPTIONS.items())

    @pytest.mark.parametrize("more", [("--shift", "contrst"), ("--device", "tpu"), ("--tile", "7"), ("--fill", "zer")])
    def test_a_slip_is_told_before_torch_is_imported(self, toy_checkpoint: Path, more: tuple[str, str]) -> None:
        argv = ["ablate", str(toy_checkpoint), *more]
        code = f"import sys\nfrom vhs.cli import main\nprint(main({argv!r}), 'torch' in sys.modules, 'timm' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout == "2 False False\n", done.stderr


class TestFillImages:
    def run(self, source: Path, scored: Path, toy_checkpoint: Path, notes: list[str], samples: int | None = None):
        import torch

        from vhs.formats import references
        from vhs.runs.conditions import parse
        from vhs.runs.fill_images import Scored, collect
        from vhs.runs.opening import open_run

        loaded = references.load(str(toy_checkpoint), torch.device("cpu"))
        run = open_run([loaded.model], ShardSet.open(scored), parse([]), max_samples=samples)
        scored = Scored(run.source, run.max_samples, run.seed, run.data)
        return collect(ShardSet.open(source), scored, skip_bad=False, note=notes.append)

    def test_no_class_is_dropped_with_the_rest_of_a_batch(self, tmp_path: Path, toy_checkpoint: Path) -> None:
        images, labels = toy_images(45, 9)
        order = np.argsort(labels, kind="stable")  # stored by class: the last 13 were all of one class, and more
        made = from_arrays(images[order], labels[order], name="toy", split="train", classes=CLASSES, prefix="t")
        write_set(tmp_path / "t", made)
        found = self.run(tmp_path / "t", packed(tmp_path / "v"), toy_checkpoint, [])
        place = dict(zip(made.ids, made.labels, strict=True))
        counts = np.bincount([place[name] for name in found.ids])
        assert len(found.ids) == 32 and counts.min() >= 6 and counts.max() <= 7

    def test_images_that_are_scored_under_another_name_are_refused(self, tmp_path: Path, toy_checkpoint: Path) -> None:
        scored = packed(tmp_path / "v", 60)
        with pytest.raises(MismatchError, match=r"60 of its 60 fill images, such as other-00000, are scored too"):
            self.run(packed(tmp_path / "copy", 60, prefix="other", split="train"), scored, toy_checkpoint, [])

    def test_a_few_images_in_both_splits_are_left_out(self, tmp_path: Path, toy_checkpoint: Path) -> None:
        train, labels = toy_images(100, 1)
        val, others = toy_images(60, 2)
        train[17] = val[5]
        write_set(tmp_path / "t", from_arrays(train, labels, name="toy", split="train", classes=CLASSES, prefix="t"))
        write_set(tmp_path / "v", from_arrays(val, others, name="toy", split="val", classes=CLASSES, prefix="v"))
        notes: list[str] = []
        found = self.run(tmp_path / "t", tmp_path / "v", toy_checkpoint, notes)
        assert (
            len(found.ids) == 96 and "t-00017" not in found.ids and any("1 fill images are scored" in n for n in notes)
        )


def test_figures_of_the_loss_mark_by_the_losss_test() -> None:
    from vhs.figures import effects

    table = tables.read(str(Path(__file__).parent / "transcripts" / "heads.csv")).rows
    heads = effects.single_fill(table)
    clean = heads.filter(pl.col("shift") == "clean")
    by_drop, by_loss = effects.clean(heads, "drop").marked_LH, effects.clean(heads, "dloss").marked_LH
    se = (clean["dloss_hi"] - clean["dloss_lo"]).to_numpy() / 2 / 1.959964
    from scipy.stats import false_discovery_control, norm

    q = false_discovery_control(2 * norm.sf(abs(clean["dloss"].to_numpy() / se)))
    expected = np.zeros_like(by_loss)
    expected[clean["layer"].to_numpy(), clean["head"].to_numpy()] = q < 0.05
    assert (by_loss == expected).all() and (by_drop != by_loss).any()
    empty = clean.with_columns(q=pl.lit(None, pl.Float64))
    assert not effects.clean(empty, "dloss").marked_LH.any()


def test_a_figure_promises_no_interval_it_does_not_draw() -> None:
    from vhs.figures import gallery

    table = tables.read(str(Path(__file__).parent / "transcripts" / "shift.csv")).rows
    figures = {metric: gallery.draw("evalshift", table, None, metric) for metric in ("top1", "ece")}
    assert figures["ece"].get_supylabel() == "expected calibration error (%)"
    told = {
        metric: [text.get_text() for legend in figure.legends for text in legend.get_texts()]
        for metric, figure in figures.items()
    }
    assert told == {"top1": ["band: 95 % interval"], "ece": []}


@pytest.mark.parametrize(("r", "words"), [(-0.12, "does not agree"), (0.9, "agrees well"), (0.4, "agrees in part")])
def test_what_is_said_of_agreement_is_true(r: float, words: str) -> None:
    from vhs.figures import findings

    table = tables.read(str(Path(__file__).parent / "transcripts" / "agreement.csv")).rows.with_columns(r=pl.lit(r))
    well = table.with_columns(reliability_a=pl.lit(0.9), reliability_b=pl.lit(0.9))
    assert f" on clean images {words} with " in findings.sentence("compare", well)
    badly = table.with_columns(reliability_a=pl.lit(0.2), reliability_b=pl.lit(0.2))
    assert findings.sentence("compare", badly).startswith("There are too few images to tell whether heads matter")


class TestShell:
    def complete(self, words: str, folder: Path) -> list[str]:
        environment = os.environ | {
            "_VHS_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1),
        }  # fmt: skip
        code = "import sys\nsys.argv = ['vhs']\nfrom vhs.cli import app\napp(prog_name='vhs')"
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=folder)
        return done.stdout.split()

    def test_values_and_files_complete(self, tmp_path: Path) -> None:
        for name in ("a.safetensors", "b.csv", "c.txt"):
            (tmp_path / name).write_bytes(b"")
        (tmp_path / "runs").mkdir()
        assert self.complete("vhs ablate a.safetensors --shift contr", tmp_path) == ["contrast"]
        assert self.complete("vhs ablate a.safetensors --fill zero,mean-", tmp_path) == [
            "zero,mean-flat",
            "zero,mean-map",
        ]
        assert self.complete("vhs ablate ", tmp_path) == ["timm:", "hf:", "a.safetensors", "runs/"]
        assert self.complete("vhs plot ", tmp_path) == ["b.csv", "runs/"]
        (tmp_path / "c.part").touch()
        assert self.complete("vhs merge ", tmp_path) == ["c.part", "runs/"]
        assert self.complete("vhs plot b.csv --kind sev", tmp_path) == ["severity"]
        assert self.complete("vhs train x --recipe de", tmp_path) == ["demo", "deit"]

    @pytest.mark.parametrize(
        "closed", ["2>&- <&-", *(pytest.param(one, marks=pytest.mark.slow) for one in ("2>&-", "2>/dev/full"))]
    )
    def test_closed_streams_stop_nothing(self, closed: str, tmp_path: Path, toy_checkpoint: Path) -> None:
        script = f"{sys.executable} -m vhs evalshift {toy_checkpoint} -o t.csv {closed}"
        done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0 and not tables.read(str(tmp_path / "t.csv")).part

    @pytest.mark.slow
    def test_a_product_is_there_though_nobody_hears_where(self, tmp_path: Path) -> None:
        packed(tmp_path / "t", 30, split="train")
        packed(tmp_path / "v", 10)
        train = "train t --val v --depth 1 --dim 8 --heads 2 --patch 14 --epochs 1 --batch 10 -o m.safetensors"
        for command in (train, "plot m.train.csv", "shard fashion-mnist out"):
            script = f"{sys.executable} -m vhs {command} >&-"
            done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True)
            assert done.returncode == 0, (command, done.stderr)
        assert (tmp_path / "m.train.png").exists() and (tmp_path / "out/val/shards.json").exists()

    def test_a_reader_that_leaves_stops_no_set_of_several(self, tmp_path: Path) -> None:
        script = f"set -o pipefail; {sys.executable} -m vhs shard fashion-mnist out --per-class 20 | true"
        done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0 and done.stderr == "" and (tmp_path / "out/val/shards.json").exists()

    def test_help_onto_a_full_device(self) -> None:
        script = f"{sys.executable} -m vhs --help > /dev/full"
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
        assert done.returncode == 1 and done.stderr == "vhs: [Errno 28] No space left on device\n"

    def test_help_into_a_pipe_that_nobody_reads(self, tmp_path: Path) -> None:
        script = f"set -o pipefail; for i in 1 2 3; do {sys.executable} -m vhs ablate --help | true; echo $?; done"
        done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True)
        assert set(done.stdout.split()) == {"0"} and done.stderr == ""

    def test_processes_without_an_address(self, vhs, toy_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.delenv("MASTER_ADDR", raising=False)
        code, _, err = vhs("evalshift", toy_checkpoint)
        assert code == 2 and "WORLD_SIZE is 2 but MASTER_ADDR is not set. Start several processes with torchrun" in err

    def test_escapes_in_names_stay_out_of_a_terminal(self, vhs, monkeypatch: pytest.MonkeyPatch) -> None:
        from vhs import output

        monkeypatch.setattr(output, "is_terminal", lambda: True)
        packed(Path("a"), 10)
        os.rename("a", "a\x1b[31m")
        _, out, err = vhs("info", "a\x1b[31m")
        assert "\x1b" not in out + err and "a\\x1b[31m" in out


def test_figures_are_named_by_what_they_draw(vhs) -> None:
    import shutil

    shutil.copy(Path(__file__).parent / "transcripts" / "heads.csv", "heads.csv")
    for options, name in (((), "heads.png"), (("--kind", "conditions"), "heads.conditions.png"),
                          (("--metric", "dloss"), "heads.dloss.png"), (("--kind", "heads"), "heads.png")):  # fmt: skip
        assert vhs("plot", "heads.csv", *options)[:2] == (0, f"{name}\n")


def test_the_cache_on_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from vhs.errors import VhsError
    from vhs.runs import cache

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "memory_bytes", lambda: 0)
    data = ShardSet.open(packed(tmp_path / "v", 10))
    assert len(cache.decode(data, cache.choose(data))) == 10
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(
        VhsError, match=r"has no room for 0\.0 GiB of decoded images: No space left on device\. Name another"
    ):
        cache.decode(data, cache.choose(data))


def test_a_hostile_manifest_is_one_line(tmp_path: Path) -> None:
    import json

    from vhs.formats.manifest import Manifest
    from vhs.formats.manifest_checks import check

    good = json.loads((packed(tmp_path / "v", 10) / "shards.json").read_bytes())
    changes = (
        {"name": None}, {"classes": "abc"}, {"classes": ["a", "a", "b", "c", "d"]}, {"tars": [{"name": "../x.tar"}]},
        {"extra": []}, {"extra": {"target_stats": {"a": 3}}}, {"base": [1]}, {"mean": 3}, {"std": [0]}, {"height": -1},
        {"task": "regression"}, {"groups": ["g"]}, {"targets": [1]}, {"source": {}}, {"classes": ["\ud800", *"abcd"]},
    )  # fmt: skip
    for change in changes:
        with pytest.raises(InputError, match=r"x: .*\.$"):
            check(Manifest.from_bytes(json.dumps(good | change).encode(), Path("x")), Path("x"))
