"""`vhs ablate`: the same bytes and counts from run to run, folds, resuming, and which shifts there are."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.commands import SHIFT, rows
from tests.conftest import CLASSES, toy_images


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
