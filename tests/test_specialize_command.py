"""`vhs specialize`: rows of heads and pairs."""

from pathlib import Path

import numpy as np
import polars as pl

from tests.commands import rows


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
