"""`vhs compare`: from tables, folds and pipes, and what cannot be compared."""

from pathlib import Path

import numpy as np
import polars as pl

from tests.commands import SHIFT, rows


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
