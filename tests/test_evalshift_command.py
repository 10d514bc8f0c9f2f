"""`vhs evalshift`: its counts and bins, and where models and data come from."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from safetensors.torch import save_file

from tests.commands import SHIFT, rows
from tests.conftest import toy_images


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


def test_models_whose_classes_stand_in_another_order_are_not_run_together(vhs, toy_checkpoint, tmp_path) -> None:
    """They would be scored by the first one's."""
    from dataclasses import replace

    from vhs.formats import checkpoints

    info, state = checkpoints.load(toy_checkpoint)
    checkpoints.save(tmp_path / "turned.safetensors", state, replace(info, classes=info.classes[::-1]))
    code, _, err = vhs(
        "evalshift", toy_checkpoint, tmp_path / "turned.safetensors", "--data", toy_checkpoint.parent / "shards"
    )
    assert code == 4 and "has other classes than" in err and "Run them one at a time." in err
