"""`vhs specialize`: rows of heads and pairs."""

from pathlib import Path

import numpy as np
import polars as pl

from tests.commands import rows


class TestSpecialize:
    def test_heads_and_pairs(self, vhs, toy_checkpoint: Path) -> None:
        vhs("specialize", toy_checkpoint, "--shift", "contrast:5", "-o", "s.csv")
        heads, pairs = pl.read_csv("s.csv"), pl.read_parquet("s.pairs.parquet")
        assert len(pairs) == 2 * 2 * 15 and set(pairs["metric"]) == {"jsd", "cka"}
        counts = heads.group_by("shift", "metric", "of", "query", "weighting").len()
        assert (counts["len"] == 6).all() and counts.filter(pl.col("shift") == "clean").height >= 35
        only_shifted = set(heads.filter(pl.col("shift") != "clean")["metric"]) - set(
            heads.filter(pl.col("shift") == "clean")["metric"]
        )
        assert only_shifted == {"stability_jsd", "stability_cosine"}
        assert heads.filter(pl.col("metric") == "entropy_normalised")["value"].is_between(0, 1).all()
        assert (heads["lo"] <= heads["value"]).all() and (heads["value"] <= heads["hi"]).all()
        assert pairs.filter(pl.col("metric") == "jsd")["value"].is_between(0, np.log(2)).all()
        assert pairs["value"].is_between(-0.5, 1).all()
        within = rows(vhs("specialize", toy_checkpoint, "--pairs", "-", "--within-layer")[1])
        assert (within["layer"] == within["layer_b"]).all() and len(within) == 2 * 3

    def test_chunks_do_not_matter(self, vhs, toy_checkpoint: Path, monkeypatch) -> None:
        whole = vhs("specialize", toy_checkpoint)[1]
        monkeypatch.setattr("vhs.measures.specialization.CHUNK", {"cpu": 500})
        parts = vhs("specialize", toy_checkpoint)[1]
        assert np.allclose(rows(whole)["value"], rows(parts)["value"], atol=1e-5)
