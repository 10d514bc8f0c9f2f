"""Training other architectures of timm's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vhs.formats import checkpoints, references


def test_any_timm_architecture_trains_is_stored_and_ablated(vhs, squares: Path, toy_shards: Path) -> None:
    code, _, err = vhs("train", squares, "--set", "arch=test_vit", "--epochs", 1, "--batch", 40, "-o", "t.safetensors")
    assert code == 0, err
    info = checkpoints.read_info(Path("t.safetensors"))
    assert info.spec.name == "test_vit" and info.timm["name"] == "test_vit"
    loaded = references.load("t.safetensors", torch.device("cpu"))
    assert loaded.model.engine.path == "fast" and loaded.model.classes == info.classes
    assert vhs("ablate", "t.safetensors", "--max-samples", 40, "-o", "t.csv")[0] == 0
    code, out, _ = vhs("info", "t.safetensors")
    assert code == 0 and "test_vit" in out and "fast" in out
    code, _, err = vhs(
        "train", squares, "--set", "arch=test_resnet", "--epochs", 1, "--batch", 40, "-o", "r.safetensors"
    )
    assert code == 0 and vhs("evalshift", "r.safetensors", "-o", "r.csv")[0] == 0, err
    code, _, err = vhs("train", squares, "--set", "arch=no_such_net", "-o", "r.safetensors")
    assert code == 3 and "timm knows no architecture 'no_such_net'" in err
    code, _, err = vhs("train", toy_shards, "--set", "arch=test_vit", "-o", "r.safetensors")
    assert code == 2 and "test_vit: does not take images of 42x28 px with 1 channels: Input height (42)" in err


def test_drop_path_of_blocks_with_several_rows_an_image(vhs, squares: Path) -> None:
    from vhs.training.droppath import Rows, SharedDropPath

    rows = Rows(6, torch.tensor([1, 4]))
    module = SharedDropPath(0.5, rows).train()
    torch.manual_seed(0)
    whole = torch.rand(6, 3) >= 0.5
    torch.manual_seed(0)
    assert torch.equal((module(torch.ones(6, 2)) > 0)[:, 0].view(2, 3), whole[[1, 4]])
    assert (
        vhs("train", squares, "--set", "arch=vit_tiny_patch16_224", "--epochs", 1, "-o", "ok.safetensors", "--dry-run")[
            0
        ]
        == 0
    )


def test_checkpoints_of_hostile_architectures_are_refused(toy_checkpoint: Path) -> None:
    from vhs.errors import InputError
    from vhs.models.spec import spec_from_json

    size = {"height": 32, "width": 32, "channels": 3, "classes": 2}
    for name in ("vit_tiny_patch16_224.nosuchtag", "resnet18.a/b", "os.system", "", 7):
        with pytest.raises(InputError, match="timm knows no architecture"):
            spec_from_json(size | {"name": name}, "x")
    with pytest.raises(InputError, match="height is 9999"):
        spec_from_json(size | {"name": "test_vit", "height": 9999}, "x")
