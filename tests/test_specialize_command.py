"""`vhs specialize`: rows of heads and pairs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.commands import rows
from tests.shells import torchrun


class TestSpecialize:
    def test_heads_and_pairs(self, vhs, toy_checkpoint: Path) -> None:
        vhs("specialize", toy_checkpoint, "--shift", "contrast:5", "-o", "s.csv")
        heads, pairs = pl.read_csv("s.csv"), pl.read_parquet("s.pairs.parquet")
        assert len(pairs) == 2 * (2 * 15 + 3) and set(pairs["metric"]) == {"jsd", "cka", "disagreement"}
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
        assert (within["layer"] == within["layer_b"]).all() and len(within) == 3 * 3

    def test_chunks_do_not_matter(self, vhs, toy_checkpoint: Path, monkeypatch) -> None:
        whole = vhs("specialize", toy_checkpoint)[1]
        monkeypatch.setattr("vhs.measures.specialization.CHUNK", {"cpu": 500})
        parts = vhs("specialize", toy_checkpoint)[1]
        assert np.allclose(rows(whole)["value"], rows(parts)["value"], atol=1e-5)

    @pytest.mark.slow  # processes within a part: tests/test_partitions.py
    def test_two_processes_give_the_table_of_one(self, toy_checkpoint: Path, tmp_path: Path) -> None:
        """Tallies are integers and other images the same on both; stored versions find their images before the shift."""
        tables = []
        for ranks in (1, 2):
            out = tmp_path / f"s{ranks}.csv"
            done = torchrun(
                ranks, "specialize", toy_checkpoint, "--shift", "contrast:3", "--activity", 2, "--tile", 16,
                "--threads", 1, "--device", "cpu", "-q", "-o", out,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            tables.append(pl.read_csv(out))
        assert tables[0].equals(tables[1])

    def test_maps_are_made_by_one_process(self, vhs, toy_checkpoint: Path, monkeypatch) -> None:
        monkeypatch.setattr("vhs.commands.specialize.world", lambda: (0, 2))
        code, _, err = vhs("specialize", toy_checkpoint, "--maps", "m.safetensors")
        assert code == 2 and "--maps: shows a few images. Run it in one process." in err

    def test_a_stored_version_is_compared_with_its_images(self, vhs, toy_checkpoint, toy_shards, tmp_path) -> None:
        """The same images stored as a shifted version, in another order: nothing changes, and every head is stable."""
        from vhs.formats.sharding import write_set
        from vhs.formats.shards import ShardSet
        from vhs.formats.split import from_arrays

        data = ShardSet.open(toy_shards / "val")
        samples = list(data.samples())[::-1]
        images = np.stack([data.decode(sample) for sample in samples])
        labels = np.array([sample.label for sample in samples])
        order = np.array([int(sample.id.rpartition("-")[2]) for sample in samples])
        split = from_arrays(
            images, labels, name="again", split="val", classes=data.manifest.classes, prefix="val", indices=order
        )
        write_set(tmp_path / "again", replace(split, base={"name": "toy", "hash": data.manifest.hash}), per_tar=50)
        code, _, err = vhs("specialize", toy_checkpoint, "--shift", tmp_path / "again", "-o", "s.csv")
        assert code == 0, err
        table = pl.read_csv("s.csv").filter(pl.col("shift") == "again")
        assert table.filter(pl.col("metric") == "stability_jsd")["value"].to_list() == pytest.approx([0] * 6, abs=1e-6)
        assert table.filter(pl.col("metric") == "stability_cosine")["value"].to_list() == pytest.approx(
            [1] * 6, abs=1e-5
        )

    def test_reduced_precision_measures_the_same_things(self, vhs, toy_checkpoint: Path) -> None:
        tables = [rows(vhs("specialize", toy_checkpoint, "--precision", kind)[1]) for kind in ("float32", "bf16")]
        keys = ("layer", "head", "metric", "of", "query", "weighting")
        assert tables[0].select(keys).equals(tables[1].select(keys))
        ratio = [table.filter(pl.col("metric") == "distance_patch")["value"] for table in tables]
        assert np.allclose(*ratio, rtol=0.05)
