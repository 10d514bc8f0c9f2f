"""Bad input of every command: one line, the right code, and nothing lost."""

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.conftest import toy_images


class TestBadInput:
    @pytest.mark.parametrize(
        ("command", "code", "message"),
        [
            (("ablate", "no.safetensors"), 3, "vhs ablate: no.safetensors: No such file or directory. Name an existing"),
            (("ablate", "{ckpt}", "--shift", "fogg"), 2, "--shift fogg: is no shift and no shard set. Did you mean fog? Shifts are clean, clean_own, imagenet-c,"),
            (("ablate", "{ckpt}", "--shift", "contrast:9"), 2, "severities are 1 to 5, such as contrast:3,5"),
            (("ablate", "{ckpt}", "--tile", "20"), 2, "--tile 20: expected a positive multiple of 16"),
            (("ablate", "{ckpt}", "--precision", "half"), 2, "expected float32, tf32 or bf16"),
            (("ablate", "{ckpt}", "--device", "tpu9"), 2, "expected auto, cpu, cuda or cuda:N"),
            (("ablate", "{ckpt}", "--device", "meta"), 2, "expected auto, cpu, cuda or cuda:N"),
            (("ablate", "{ckpt}", "--data", "nowhere"), 3, "nowhere: is not there. Make one with"),
            (("ablate", "{ckpt}", "--format", "xls"), 2, "expected csv, parquet or jsonl"),
            (("ablate", "{ckpt}", "-o", "t.csv", "--format", "parquet"), 2, "the suffix says csv"),
            (("ablate", "{ckpt}", "-o", "/proc/x/t.csv"), 1, "t.csv"),
            (("ablate", "{ckpt}", "--resume"), 2, "--resume: needs -o FILE"),
            (("ablate", "{ckpt}", "--max-samples", "0"), 2, "--max-samples"),
            (("ablate", "hf:./x"), 3, "hf:./x: is no folder here, and no name that the hub could have"),
            (("ablate",), 2, "MODEL"),
            (("nonsense",), 2, "No such command 'nonsense'"),
            (("plot", "no.csv"), 3, "no.csv: No such file or directory"),
            (("plot", "{shards}/val/shards.json"), 3, "shards.json"),
            (("plot", "{shift}", "-o", "x.gif"), 2, "expected a name that ends in .png, .pdf or .svg"),
            (("plot", "{shift}", "--kind", "pie"), 2, "an evalshift table can be drawn as severity"),
            (("plot", "{shift}", "--metric", "f1"), 2, "this figure draws top1, loss, top5 or ece"),
            (("plot", "{shift}", "--model", "x"), 3, "--model x: not in the table"),
            (("compare", "{shift}"), 3, "is of kind evalshift; an ablation or folds table was expected"),
            (("compare", "{shift}", "--scale", "f1"), 2, "--scale f1"),
            (("shard", "nowhere", "out"), 3, "nowhere: is not there"),
            (("shard", "fashion-mnist", "out", "--layout", "x"), 2, "--layout x: expected fashion-mnist, digits, idx, imagenet-c"),
            (("train", "{shards}/val", "-o", "x.safetensors"), 4, "is a val split, a train split was expected"),
            (("info", "nothing"), 3, "nothing"),
        ],
    )  # fmt: skip
    def test_one_line_and_the_right_code(self, vhs, toy_checkpoint, toy_shards, command, code, message) -> None:
        shift = Path(__file__).parent / "transcripts" / "shift.csv"
        words = [word.format(ckpt=toy_checkpoint, shards=toy_shards, shift=shift) for word in command]
        found, _, err = vhs(*words)
        assert found == code, err
        assert err.count("\n") == 1 and err.startswith(f"vhs {command[0]}: ") and "Traceback" not in err
        assert message in err

    @pytest.mark.parametrize(
        ("command", "code", "message"),
        [
            (("evalshift", "m.safetensors", "-o", "m.safetensors"), 2, "a table's name ends in" ),
            (("evalshift", "m.safetensors", "-o", "m.safetensors", "--format", "csv"), 2, "is an input of this command"),
            (("evalshift", "m.safetensors", "-o", "x.png"), 2, "a table's name ends in .csv, .parquet, .jsonl"),
            (("ablate", "m.safetensors", "-o", "t.csv", "--folds", "t.csv"), 2, "two results would be written to this one"),
            (("ablate", "m.safetensors", "-o", "folder"), 1, "folder: is a folder"),
            (("plot", "t.png"), 3, "t.png: is not a PNG, JPEG or WebP image"),
            (("plot", "{shift}", "-o", "folder"), 1, "folder: is a folder"),
            (("plot", "m.safetensors", "-o", "x.png"), 3, "m.safetensors: is no maps file"),
            (("train", "{shards}", "-o", "r.resume"), 2, "expected a name that ends in .safetensors"),
            (("train", "{shards}", "-o", "n.safetensors", "--log", "folder"), 1, "folder: is a folder"),
            (("train", "{shards}", "--set", "mlp_ratio=0.01", "-o", "n.safetensors"), 2, "no unit"),
            (("train", "{shards}", "--set", "precision=zz", "-o", "n.safetensors"), 2, "precision is 'zz'"),
            (("train", "{shards}", "--set", "registers=-1", "-o", "n.safetensors"), 2, "registers is -1"),
            (("train", "{shards}", "--set", "lr=nan", "-o", "n.safetensors"), 2, "lr is nan, expected a finite"),
            (("train", "{shards}", "--seed", 10**22, "-o", "n.safetensors"), 2, "seed is 1000"),
            (("train", "{shards}", "--depth", 10**8, "--dry-run", "-o", "n.safetensors"), 2, "depth is 100000000"),
            (("train", "{shards}", "--patch", 4, "--dry-run", "-o", "n.safetensors"), 2, "4 px patches"),
            (("train", "{shards}", "--snapshots", "zz", "--dry-run", "-o", "n.safetensors"), 2, "expected update numbers"),
            (("evalshift", "@m.safetensors"), 3, "is no list of references"),
            (("evalshift", "@empty"), 3, "lists no models"),
            (("evalshift", "-", "-"), 2, "stdin can be read once"),
            (("ablate", "m.safetensors", "--shift", "patch_shuffle"), 2, "the patches along a side, 2 to 64"),
            (("ablate", "m.safetensors", "--shift", "imagenet-c:6"), 2, "severities are 1 to 5"),
            (("ablate", "m.safetensors", "--shift", "noise:"), 2, "names no severity after the colon"),
            (("ablate", "m.safetensors", "--data", "{shards}", "--tile", 1600000000), 2, "at most 65536"),
            (("shard", "empty.npz", "out"), 3, "no NumPy archive"),
            (("shard", "big.npz", "out"), 3, "label 1000000000; expected class indices below 1048576"),
        ],
    )  # fmt: skip
    def test_nothing_is_lost_and_nothing_is_a_defect(
        self, vhs, toy_checkpoint, toy_shards, command, code, message
    ) -> None:
        shutil.copy(toy_checkpoint, "m.safetensors")
        shift = Path(__file__).parent / "transcripts" / "shift.csv"
        shutil.copy(shift, "t.png")
        Path("folder").mkdir()
        Path("empty").write_text("# nothing\n")
        Path("empty.npz").write_bytes(b"")
        np.savez("big.npz", images=np.zeros((1, 4, 4), np.uint8), labels=np.array([10**9]))
        before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
        found, _, err = vhs(*(str(word).format(shards=toy_shards, shift=shift) for word in command))
        assert found == code and err.count("\n") == 1 and "defect" not in err, err
        assert message in err, err
        assert before == {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}

    def test_a_folder_of_the_users_is_not_taken_for_ours(self, vhs, toy_checkpoint: Path) -> None:
        Path("t.csv.partial").mkdir()
        Path("t.csv.partial/notes.txt").write_text("mine")
        code, _, err = vhs("ablate", toy_checkpoint, "-o", "t.csv")
        assert (
            code == 1
            and "holds files that are not ours" in err
            and Path("t.csv.partial/notes.txt").read_text() == "mine"
        )

    def test_escapes_in_files_do_not_reach_the_terminal(self, vhs) -> None:
        table = pl.read_csv(Path(__file__).parent / "transcripts" / "shift.csv").with_columns(
            model=pl.lit("\x1b[31mred")
        )
        table.write_csv("t.csv")
        _, out, err = vhs("info", "t.csv")
        _, _, more = vhs("plot", "t.csv", "--model", "\x1b[32m")
        assert "\x1b" not in out + err + more and "\\x1b[31mred" in out

    def test_bare_vhs_is_the_help(self, vhs) -> None:
        code, out, err = vhs()
        assert code == 0 and err == "" and "Commands:" in out and out.count("\n") > 15

    def test_parts_of_tables_are_described(self, vhs) -> None:
        for name in ("shift", "heads"):
            table = pl.read_csv(Path(__file__).parent / "transcripts" / f"{name}.csv", infer_schema_length=None)
            table.filter(pl.col("shift") != "clean").write_csv("part.csv")
            code, out, _ = vhs("info", "part.csv")
            assert code == 0 and "rows" in out and "says" not in out
            assert vhs("plot", "part.csv", "-o", "x.png")[0] == 0

    def test_debug_shows_the_traceback(self, vhs) -> None:
        code, _, err = vhs("info", "nothing", "--debug")
        assert code == 3 and "Traceback" in err

    def test_data_with_other_classes(self, vhs, toy_checkpoint: Path) -> None:
        from vhs.formats.sharding import write_set
        from vhs.formats.split import from_arrays

        images, labels = toy_images(20, 0)
        write_set(Path("other"), from_arrays(images, labels, name="o", split="val", classes="vwxyz", prefix="o"))
        code, _, err = vhs("ablate", toy_checkpoint, "--data", "other")
        assert code == 4 and "has 5 classes (ant, bee, cat, …), other has 5 (v, w, x, …)" in err
