"""The commands, in one process: what they write, where, and with which exit code."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image
from safetensors.torch import save_file

from tests.conftest import CLASSES, toy_images

SHIFT = ("--shift", "contrast:3", "--shift", "gaussian_noise:5")


def rows(text: str) -> pl.DataFrame:
    return pl.read_csv(text.encode())


class TestAblate:
    def test_a_table_to_a_pipe(self, vhs, toy_checkpoint: Path) -> None:
        code, out, err = vhs("ablate", toy_checkpoint, *SHIFT)
        table = rows(out)
        assert code == 0 and len(table) == 3 * 7
        assert table["shift"].unique(maintain_order=True).to_list() == ["clean", "imagenet-c"]
        sham = table.filter(pl.col("unit") == "none")
        assert sham["n_lost"].sum() == sham["n_gained"].sum() == 0 and sham["q"].null_count() == 3
        heads = table.filter(pl.col("unit") == "head")
        assert (heads["n_correct"] == heads["n_correct_intact"] - heads["n_lost"] + heads["n_gained"]).all()
        assert ((heads["n_correct_intact"] - heads["n_correct"]) / heads["n"] == heads["drop"]).all()
        assert heads["n_lost"].sum() > 0, "an ablation that changes nothing proves nothing"
        assert "resized" not in err and "corruption strengths for 28 px images" in err

    @pytest.mark.parametrize("form", ["csv", "parquet", "jsonl"])
    def test_two_runs_are_byte_identical(self, vhs, toy_checkpoint: Path, form: str) -> None:
        for name in ("a", "b"):
            assert vhs("ablate", toy_checkpoint, *SHIFT, "--seed", 3, "-o", f"{name}/t.{form}")[0] == 0
        assert (one := Path(f"a/t.{form}").read_bytes()) and (
            form == "parquet" or one == Path(f"b/t.{form}").read_bytes()
        )
        assert pl.read_parquet("a/t.folds.parquet").equals(pl.read_parquet("b/t.folds.parquet"))
        if form == "parquet":
            assert pl.read_parquet("a/t.parquet").equals(pl.read_parquet("b/t.parquet"))

    def test_the_same_command_gives_the_same_parquet_bytes(self, vhs, toy_checkpoint: Path) -> None:
        found = []
        for _ in range(2):
            vhs("ablate", toy_checkpoint, "--shift", "contrast:3", "-o", "t.parquet")
            found.append([Path(name).read_bytes() for name in ("t.parquet", "t.folds.parquet")])
        assert found[0] == found[1]

    def test_samples_in_another_order_give_the_same_integers(self, vhs, toy_checkpoint: Path, toy_shards: Path) -> None:
        from vhs.formats.sharding import write_set
        from vhs.formats.split import from_arrays

        images, labels = toy_images(85, 2)
        order = np.random.default_rng(0).permutation(85)
        split = from_arrays(
            images[order], labels[order], name="toy", split="val", classes=CLASSES, prefix="val", indices=order
        )
        write_set(Path("mixed"), split)
        straight, mixed = (
            rows(vhs("ablate", toy_checkpoint, *SHIFT, "--data", data)[1]) for data in (toy_shards / "val", "mixed")
        )
        counts = [name for name in straight.columns if name.startswith("n")]
        assert straight.select(counts).equals(mixed.select(counts))
        subset = [
            rows(vhs("ablate", toy_checkpoint, *SHIFT, "--data", d, "--max-samples", 40)[1])
            for d in (toy_shards / "val", "mixed")
        ]
        assert subset[0].select(counts).equals(subset[1].select(counts)) and subset[0]["n"][0] == 40

    def test_folds_add_up_to_the_table(self, vhs, toy_checkpoint: Path) -> None:
        vhs("ablate", toy_checkpoint, *SHIFT, "-o", "t.csv")
        table, folds = rows(Path("t.csv").read_text()), pl.read_parquet("t.folds.parquet")
        keys = ["shift", "corruption", "severity", "unit", "layer", "head"]
        sums = folds.group_by(keys, maintain_order=True).agg(pl.col("n", "n_lost", "n_gained", "n_correct").sum())
        assert sums.equals(table.select(sums.columns))
        piped = vhs("ablate", toy_checkpoint, *SHIFT, "--folds", "-")[1]
        assert rows(piped).select("n_lost", "fold").equals(folds.select("n_lost", "fold"))

    def test_resume_continues_and_ends_with_the_same_bytes(self, vhs, toy_checkpoint: Path, monkeypatch) -> None:
        from vhs.runs.conditions import Condition

        command = ("ablate", toy_checkpoint, *SHIFT, "-o", "t.csv")
        assert vhs(*command)[0] == 0
        whole = Path("t.csv").read_bytes()
        Path("t.csv").unlink()
        apply, calls = Condition.apply, []

        def fail_at_the_last(self, batch, seed):
            calls.append(self.name)
            if self.corruption == "gaussian_noise":
                raise KeyboardInterrupt
            return apply(self, batch, seed)

        monkeypatch.setattr(Condition, "apply", fail_at_the_last)
        assert vhs(*command)[0] == 130
        assert not Path("t.csv").exists() and len(list(Path("t.csv.partial").glob("*.tallies"))) == 2
        monkeypatch.setattr(
            Condition, "apply", lambda self, batch, seed: calls.append(self.name) or apply(self, batch, seed)
        )
        code, _, err = vhs(*command, "--max-samples", 9, "--resume")
        assert code == 4 and "was begun with --max-samples None, now it is 9" in err
        calls.clear()
        code, _, err = vhs(*command, "--resume")
        assert code == 0 and set(calls) == {"imagenet-c/gaussian_noise:5"}
        assert Path("t.csv").read_bytes() == whole and not Path("t.csv.partial").exists()

    def test_dry_run(self, vhs, toy_checkpoint: Path) -> None:
        code, out, _ = vhs("ablate", toy_checkpoint, *SHIFT, "--dry-run", "-o", "t.csv")
        assert code == 0 and "3 layers, 6 heads" in out and "255 intact, 1,785 from a head on" in out
        assert not Path("t.csv").exists() and not Path("t.csv.partial").exists()

    def test_families_are_whole(self, vhs, toy_checkpoint: Path) -> None:
        _, out, err = vhs("evalshift", toy_checkpoint, "--shift", "imagenet-c", "--shift", "imagenet-c-extra")
        table = rows(out)
        assert table["corruption"].drop_nulls().n_unique() == 19 and len(table) == 1 + 19 * 5
        assert "frost is made of procedural textures" in err or set(table["origin"]) == {"stored", "generated"}

    def test_texture_and_shape_filters(self, vhs, toy_checkpoint: Path) -> None:
        shifts = [part for name in ("grayscale", "low_pass:2", "patch_shuffle:5") for part in ("--shift", name)]
        table = rows(vhs("evalshift", toy_checkpoint, *shifts)[1])
        assert table["severity"].to_list() == [0, 1, 2, 5]
        assert table["shift"].to_list() == ["clean"] + ["texture-shape"] * 3

    def test_a_shifted_shard_set(self, vhs, toy_checkpoint: Path, toy_shards: Path) -> None:
        table = rows(vhs("ablate", toy_checkpoint, "--shift", toy_shards / "train")[1])
        assert table["n"].unique(maintain_order=True).to_list() == [85, 120]


class TestModels:
    def test_a_checkpoint_on_stdin_and_a_list_of_references(
        self, vhs, toy_checkpoint: Path, toy_shards: Path, monkeypatch
    ) -> None:
        direct = rows(vhs("evalshift", toy_checkpoint)[1])
        with toy_checkpoint.open("rb") as file:
            monkeypatch.setattr("sys.stdin", type("In", (), {"buffer": file, "isatty": lambda _: False})())
            piped = rows(vhs("evalshift", "-", "--data", toy_shards / "val")[1])
        assert piped["model"][0] == "stdin" and piped["n_correct"].equals(direct["n_correct"])
        Path("list").write_text(f"{toy_checkpoint}\n\n{toy_checkpoint}\n")
        assert rows(vhs("evalshift", "@list")[1])["model_id"].to_list() == direct["model_id"].to_list() * 2

    def test_local_timm_weights_are_the_checkpoint(self, vhs, toy_shards: Path) -> None:
        import timm
        import torch

        net = timm.create_model("vit_tiny_patch16_224", num_classes=1000)
        save_file({k: v.contiguous() for k, v in net.state_dict().items()}, "w.safetensors")
        from vhs.formats import references

        model = references.load("timm:vit_tiny_patch16_224@w.safetensors", torch.device("cpu")).model
        pixels = torch.randn(1, 3, 224, 224)
        assert torch.equal(model.net(pixels), net.eval()(pixels)) and model.classes[0] == "n01440764"
        code, _, err = vhs("ablate", "timm:vit_tiny_patch16_224@w.safetensors", "--data", toy_shards / "val")
        assert code == 4 and "has 1000 classes" in err
        assert vhs("ablate", "timm:vit_tinny")[0] == 3

    def test_data_is_found_by_the_checkpoint_or_the_environment(
        self, vhs, toy_checkpoint: Path, toy_shards: Path, monkeypatch
    ) -> None:
        shutil.copy(toy_checkpoint, "moved.safetensors")
        code, _, err = vhs("evalshift", "moved.safetensors")
        assert code == 3 and "validation split toy: not found in" in err and "--data" in err
        monkeypatch.setenv("VHS_SHARDS", str(toy_shards))
        assert vhs("evalshift", "moved.safetensors")[0] == 0
        monkeypatch.delenv("VHS_SHARDS")
        shutil.copytree(toy_shards, "shards")
        assert vhs("evalshift", "moved.safetensors")[0] == 0
        manifest = Path("shards/val/shards.json")
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"licence": "changed"}))
        code, _, err = vhs("evalshift", "moved.safetensors")
        assert code == 0 and "is not the validation split the checkpoint records" in err


class TestEvalshift:
    def test_calibration_bins_add_up_to_the_table(self, vhs, toy_checkpoint: Path) -> None:
        code, _, err = vhs("evalshift", toy_checkpoint, "--shift", "contrast:5", "-o", "s.csv")
        assert code == 0, err
        table, bins = pl.read_csv("s.csv"), pl.read_parquet("s.calibration.parquet")
        assert len(bins) == 15 * len(table)
        for row, part in zip(
            table.iter_rows(named=True), bins.partition_by("severity", maintain_order=True), strict=True
        ):
            assert (part["n"].sum(), part["n_correct"].sum()) == (row["n"], row["n_correct"])
            ece = (part["confidence_sum"] - part["n_correct"]).abs().sum() / row["n"]
            assert ece == pytest.approx(row["ece"], abs=1e-12)
        piped = rows(vhs("evalshift", toy_checkpoint, "--shift", "contrast:5", "--calibration", "-")[1])
        assert piped["n"].to_list() == bins["n"].to_list()
        assert vhs("evalshift", toy_checkpoint, "--summary", "mce", "--calibration", "c.csv")[0] == 2

    def test_counts_are_those_of_a_plain_loop(self, vhs, toy_checkpoint: Path) -> None:
        import torch

        from vhs.formats import references

        row = rows(vhs("evalshift", toy_checkpoint)[1]).row(0, named=True)
        model = references.load(str(toy_checkpoint), torch.device("cpu")).model
        images, labels = toy_images(85, 2)
        logits = model.net(model.preprocess(torch.from_numpy(images)[:, None])).double()
        target = torch.from_numpy(labels)
        assert row["n_correct"] == int((logits.argmax(1) == target).sum())
        assert row["n_correct5"] == int((logits.topk(5).indices == target[:, None]).any(1).sum()) == 85
        assert row["loss"] == pytest.approx(torch.nn.functional.cross_entropy(logits, target).item(), abs=1e-5)
        confidence, answer = logits.softmax(1).max(1)
        bins = torch.clamp((confidence * 15).ceil().long() - 1, 0, 14)
        ece = (
            sum(abs((confidence[bins == b] - (answer == target)[bins == b].double()).sum().item()) for b in range(15))
            / 85
        )
        assert row["ece"] == pytest.approx(ece, abs=1e-6)
        assert row["top1_lo"] < row["top1"] < row["top1_hi"] and row["size"] == "42x28"

    def test_many_models_in_one_run(self, vhs, toy_checkpoint: Path) -> None:
        shutil.copy(toy_checkpoint, toy_checkpoint.with_name("twin.safetensors"))
        table = rows(vhs("evalshift", toy_checkpoint, toy_checkpoint.with_name("twin.safetensors"), *SHIFT)[1])
        assert len(table) == 6 and table["n_correct"][::2].equals(table["n_correct"][1::2])


class TestSpecialize:
    def test_heads_and_pairs(self, vhs, toy_checkpoint: Path) -> None:
        vhs("specialize", toy_checkpoint, "--shift", "contrast:5", "-o", "s.csv")
        heads, pairs = pl.read_csv("s.csv"), pl.read_parquet("s.pairs.parquet")
        assert len(heads) == 2 * 6 * 6 and len(pairs) == 2 * 15
        assert heads.filter(pl.col("metric") == "entropy_normalised")["value"].is_between(0, 1).all()
        assert (heads["lo"] <= heads["value"]).all() and (heads["value"] <= heads["hi"]).all()
        assert pairs["value"].is_between(0, np.log(2)).all()
        within = rows(vhs("specialize", toy_checkpoint, "--pairs", "-", "--within-layer")[1])
        assert (within["layer"] == within["layer_b"]).all() and len(within) == 3

    def test_chunks_do_not_matter(self, vhs, toy_checkpoint: Path, monkeypatch) -> None:
        whole = vhs("specialize", toy_checkpoint)[1]
        monkeypatch.setattr("vhs.measures.specialization.CHUNK_ELEMENTS", 2000)
        parts = vhs("specialize", toy_checkpoint)[1]
        assert np.allclose(rows(whole)["value"], rows(parts)["value"], atol=1e-6)


class TestCompare:
    def test_from_the_table_its_folds_and_a_pipe(self, vhs, toy_checkpoint: Path) -> None:
        vhs("ablate", toy_checkpoint, *SHIFT, "-o", "t.csv")
        code, _, _ = vhs("compare", "t.csv", "-o", "c.csv")
        table, contrasts = pl.read_csv("c.csv"), pl.read_parquet("c.contrast.parquet")
        assert code == 0 and len(table) == 2 * 2 * 2 and len(contrasts) == 2 * 2 * 6
        assert vhs("compare", "t.folds.parquet")[1] == Path("c.csv").read_text()
        assert vhs("compare", "t.csv", "t.folds.parquet")[1] == Path("c.csv").read_text(), "equal rows count once"
        clean = pl.read_csv("t.csv").filter((pl.col("shift") == "clean") & (pl.col("unit") == "head"))
        drops = contrasts.filter(pl.col("scale") == "accuracy")["value_a"][:6]
        assert np.allclose(drops, clean["drop"])
        assert rows(vhs("compare", "t.csv", "--contrast", "-")[1])["diff"].equals(contrasts["diff"])

    def test_unequal_duplicates_and_missing_folds(self, vhs, toy_checkpoint: Path) -> None:
        vhs("ablate", toy_checkpoint, *SHIFT, "-o", "t.csv")
        vhs("ablate", toy_checkpoint, *SHIFT, "--seed", 1, "-o", "u.csv")
        code, _, err = vhs("compare", "t.csv", "u.csv")
        assert code == 4 and "stands in the tables twice with unlike counts" in err
        Path("t.folds.parquet").unlink()
        code, _, err = vhs("compare", "t.csv")
        assert code == 3 and "t.folds.parquet is not there" in err
        vhs("ablate", toy_checkpoint, "-o", "clean.csv")
        code, _, err = vhs("compare", "clean.csv")
        assert code == 3 and "no shifted condition" in err

    def test_conditions_on_other_samples_are_correlated_and_named(
        self, vhs, toy_checkpoint: Path, toy_shards: Path
    ) -> None:
        vhs("ablate", toy_checkpoint, *SHIFT, "--shift", toy_shards / "train", "-o", "t.csv")
        code, out, err = vhs("compare", "t.csv")
        assert (
            rows(out)["b"].n_unique() == 3 and "toy: was measured on other samples than clean: correlations only" in err
        )
        assert code == 0

    def test_two_sets_of_one_name_are_refused(self, vhs, toy_checkpoint: Path, toy_shards: Path) -> None:
        code, _, err = vhs("evalshift", toy_checkpoint, "--shift", toy_shards / "train", "--shift", toy_shards / "val")
        assert code == 2 and "another condition is called toy too" in err


class TestShard:
    def test_folders_to_shards_and_skip_bad(self, vhs) -> None:
        for name in ("a", "b"):
            Path("in", name).mkdir(parents=True)
            for index in range(3):
                Image.fromarray(toy_images(1, index)[0][0]).save(Path("in", name, f"{name}{index}.png"))
        Path("in/b/b1.png").write_bytes(Path("in/b/b1.png").read_bytes()[:60])
        code, _, err = vhs("shard", "in", "out")
        assert code == 3 and "in/val: b1: cannot be decoded" in err and "--skip-bad" in err
        assert not Path("out/shards.json").exists()
        code, out, err = vhs("shard", "in", "out", "--skip-bad")
        assert code == 0 and out == "out\n" and "1 bad samples skipped; the first: in/val: b1" in err
        assert json.loads(Path("out/shards.json").read_text())["samples"] == 5

    def test_a_corrupt_image_inside_a_tar_is_named_or_skipped(
        self, vhs, toy_checkpoint: Path, toy_shards: Path
    ) -> None:
        shutil.copytree(toy_shards / "val", "val")
        path = Path("val/000000.tar")
        data = bytearray(path.read_bytes())
        start = data.index(b"\x89PNG", 3000)
        data[start + 45 : start + 60] = bytes(15)
        path.write_bytes(data)
        code, _, err = vhs("evalshift", toy_checkpoint, "--data", "val")
        assert code == 3 and "000000.tar: val-00001.png: cannot be decoded" in err and err.count("\n") == 1
        code, _, err = vhs("evalshift", toy_checkpoint, "--data", "val", "--skip-bad")
        assert code == 3 and "000000.tar: its content is not what the manifest says" in err
        code, out, err = vhs("evalshift", toy_checkpoint, "--data", "val", "--skip-bad", "--no-verify")
        assert code == 0 and rows(out)["n"][0] == 84 and "1 bad samples skipped" in err


class TestTrain:
    def test_flags_settings_and_files_resolve(self, vhs, toy_shards: Path) -> None:
        code, out, _ = vhs("train", toy_shards, "--heads", 2, "--set", "mixup=0.2", "--print-config")
        assert code == 0 and "heads = 2\n" in out and "mixup = 0.2\n" in out
        Path("r.toml").write_text(out)
        assert vhs("train", toy_shards, "--recipe", "r.toml", "--print-config")[1] == out
        for setting, message in (
            ("mixpu=1", "unknown key 'mixpu'. Did you mean mixup?"),
            ("lr=fast", "lr is 'fast', expected a number"),
            ("ema=1.0", "ema is 1.0, expected 0 to below 1"),
            ("lr", "expected key=value"),
        ):
            code, _, err = vhs("train", toy_shards, "--set", setting, "--print-config")
            assert code == 2 and message in err

    def test_sizes_that_do_not_fit(self, vhs, toy_shards: Path) -> None:
        for flags, message in (
            (("--patch", 4), "42x28 is not a whole number of 4 px patches"),
            (("--dim", 10, "--heads", 3, "--patch", 5), "dim 10 is no multiple of 3 heads"),
        ):
            code, _, err = vhs("train", toy_shards, *flags, "-o", "x.safetensors")
            assert code == 2 and message in err
        assert vhs("train", toy_shards)[0] == 2


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
            (("shard", "fashion-mnist", "out", "--layout", "x"), 2, "--layout x: expected fashion-mnist, idx, imagenet-c"),
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
            (("plot", "m.safetensors", "-o", "x.png"), 3, "is no table but a binary file"),
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
            (("ablate", "m.safetensors", "--shift", "imagenet-c:3"), 2, "a family is taken whole"),
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


def test_info_says_what_things_are(vhs, toy_checkpoint: Path, toy_shards: Path) -> None:
    code, out, _ = vhs("info", toy_checkpoint, toy_shards)
    assert code == 0 and "ViT, depth 3, dim 16, 2 heads of 8 a layer" in out and "toy/val in" in out


def test_notebook_functions_return_what_the_commands_write(vhs, toy_checkpoint: Path, toy_shards: Path) -> None:
    import vhs as package

    model = package.load_model(toy_checkpoint, device="cpu")
    data = package.open_shards(toy_shards)
    table, folds, _ = package.ablate(model, data, shift=["contrast:3", "gaussian_noise:5"])
    assert rows(vhs("ablate", toy_checkpoint, *SHIFT)[1])["dloss"].equals(table["dloss"])
    assert len(package.compare(folds)) == 8
    assert package.evalshift(model, shift="contrast:1").rows["n"].to_list() == [85, 85]
    assert len(package.specialize(model)[1]) == 15


def test_a_model_is_drawn_as_a_block_diagram(vhs, toy_checkpoint: Path) -> None:
    code, _, err = vhs("info", toy_checkpoint, "-o", "m.svg")
    assert code == 0, err
    drawn = Path("m.svg").read_text()
    assert all(f">L{layer}H{head}<" in drawn for layer in range(3) for head in range(2)) and "fast: " in drawn
    code, out, err = vhs("info", "timm:swin_tiny_patch4_window7_224", "timm:resnet18")
    assert code == 0 and "0-1: 3, 2-3: 6, 4-9: 12, 10-11: 24" in out and "hooks: " in out
    assert "cannot be ablated: ResNet: it has no attention modules" in out
    for options in ((toy_checkpoint, toy_checkpoint, "-o", "m.svg"), (toy_checkpoint, "-o", "m.txt")):
        assert vhs("info", *options)[0] == 2
