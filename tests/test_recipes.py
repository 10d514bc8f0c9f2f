"""The recipes that come with vhs against what their sources publish, and what every update is given."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from timm.layers import DropPath
from torch import nn

from tests.trainings import plain
from vhs.models.building import parameter_shapes
from vhs.seeds import sample_keys
from vhs.training import droppath, feed, loop
from vhs.training.augmentation import AREAS, erase
from vhs.training.recipe import NAMED, Recipe, from_toml, preset
from vhs.training.schedule import learning_rate

DEIT = {
    # Touvron et al. 2021, arXiv:2012.12877, table 9, and the defaults of the published main.py
    "depth": 12, "dim": 192, "heads": 3, "head_width": 0, "mlp_ratio": 4.0, "patch": 16, "pool": "token", "registers": 0,
    "epochs": 300, "batch": 1024, "rate": 1e-3, "min_lr": 1e-5, "warmup_epochs": 5.0, "warmup_lr": 1e-6,
    "weight_decay": 0.05, "drop_path": 0.1, "label_smoothing": 0.1, "mixup": 0.8, "cutmix": 1.0, "mix_prob": 1.0,
    "mix_switch": 0.5, "randaug": "rand-m9-mstd0.5-inc1", "erase": 0.25, "repeats": 3, "ema": 0.99996, "clip": 0.0,
    "resized_crop": True, "flip": True, "saved": "raw",
}  # fmt: skip


def test_deit_is_what_was_published() -> None:
    recipe = preset("deit")
    assert {key: getattr(recipe, key) for key in DEIT} == DEIT
    for batch, rate in ((256, 2.5e-4), (512, 5e-4), (1024, 1e-3)):
        assert recipe.with_values({"batch": batch}, "").rate == pytest.approx(rate)
    spec = recipe.spec(channels=3, height=224, width=224, classes=1000)
    parameters = sum(math.prod(shape) for shape in parameter_shapes(spec).values())
    assert parameters == 5_717_416  # DeiT-Ti: 5.7 M


def test_the_proposals_models_differ_in_their_heads_alone() -> None:
    three, six, wide = (preset(f"proposal-{name}") for name in ("3h", "6h", "6h-wide"))
    assert (three.depth, three.dim, three.batch) == (8, 192, 256) and three.rate == pytest.approx(2.5e-4)
    assert [(r.heads, r.head_width or r.dim // r.heads) for r in (three, six, wide)] == [(3, 64), (6, 32), (6, 64)]
    same = [r.with_values({"heads": 3, "head_width": 0}, "") for r in (three, six, wide)]
    assert same[0] == same[1] == same[2]
    assert three.with_values({"depth": 12, "batch": 1024}, "") == preset("deit")


@pytest.mark.parametrize("name", NAMED)
def test_every_recipe_resolves_says_its_cost_and_is_fed_back(vhs, name: str) -> None:
    from importlib.resources import files

    text = (files("vhs.training") / "recipes" / f"{name}.toml").read_text()
    head = text.split("\n", 1)[0] + text
    assert head.startswith("# ") and all(word in text for word in ("Cost: ", "Expected: ", "Source: "))
    code, out, err = vhs("train", "nowhere", "--recipe", name, "--print-config")
    assert code == 0 and from_toml(out.encode(), "printed") == preset(name), err
    Path("again.toml").write_text(out)
    assert vhs("train", "nowhere", "--recipe", "again.toml", "--print-config")[1] == out


def test_the_demo_recipe_is_the_default(vhs) -> None:
    assert preset("demo") == Recipe()
    code, _, err = vhs("train", "nowhere", "--recipe", "diet", "-o", "x.safetensors")
    assert code == 3 and "demo, deit, proposal-3h" in err


@pytest.mark.parametrize("name", ["deit", "plain", "small"])
def test_the_rate_of_every_update_equals_an_independent_computation(name: str) -> None:
    recipe, per_epoch = preset(name).with_values({"epochs": 30}, ""), 7
    total = 30 * per_epoch
    warm = int(recipe.warmup_epochs * per_epoch)
    for step in range(total):
        if step < warm:
            want = recipe.warmup_lr + (step + 1) / (warm + 1) * (recipe.rate - recipe.warmup_lr)
        else:
            angle = math.pi * (step - warm) / (total - 1 - warm)
            want = recipe.min_lr + (recipe.rate - recipe.min_lr) * math.cos(angle / 2) ** 2
        assert learning_rate(recipe, step, total, per_epoch) == pytest.approx(want, rel=1e-9, abs=1e-15)


def test_the_average_and_drop_path_of_every_update_equal_an_independent_computation() -> None:
    recipe = Recipe(depth=4, dim=8, heads=2, patch=7, batch=6, epochs=2, ema=0.9, drop_path=0.3, lr=0.1)
    spec = recipe.spec(channels=1, height=14, width=14, classes=3)
    torch.manual_seed(0)
    images = torch.randint(0, 256, (24, 1, 14, 14), dtype=torch.uint8)
    samples = feed.Samples(torch.arange(24) % 3, torch.arange(24))
    state = loop.start(recipe, spec, 24, torch.device("cpu"))
    odds = [m.odds for m in state.net.modules() if isinstance(m, droppath.SharedDropPath)]
    assert odds == pytest.approx([0.3 * layer / 3 for layer in range(1, 4) for _ in range(2)])  # none in block 0
    from vhs.models.model import Preprocess

    preprocess = Preprocess(height=14, width=14, channels=1, mean=(0.5,), std=(0.25,))
    average = {name: value.double().clone() for name, value in state.net.state_dict().items()}
    steps = 0
    for _ in loop.updates(state, recipe, feed.Resident(recipe, samples, images), preprocess, plain(recipe, 3)):
        steps += 1
        for name, value in state.net.state_dict().items():
            average[name] = 0.9 * average[name] + 0.1 * value.double()
        kept = state.average.module.state_dict()
        assert all(torch.allclose(kept[name].double(), value, atol=1e-5) for name, value in average.items())
    assert steps == 8


def test_drop_path_drops_whole_rows_and_keeps_the_mean() -> None:
    net = nn.Sequential(DropPath(0.25))
    rows = droppath.share(net)
    torch.manual_seed(1)
    out = net.train()(torch.ones(4000, 3, 2))
    kept = out[:, 0, 0] != 0
    assert torch.equal(out, kept[:, None, None] * torch.full_like(out, 1 / 0.75))
    assert kept.float().mean() == pytest.approx(0.75, abs=0.02)
    torch.manual_seed(1)
    rows.batch, rows.rows_b = 4000, torch.tensor([5, 17, 3999])
    assert torch.equal(net(torch.ones(3, 3, 2)), out[[5, 17, 3999]])
    assert torch.equal(net.eval()(torch.ones(2, 1)), torch.ones(2, 1))


def test_erasing_belongs_to_the_sample_and_has_timms_areas() -> None:
    keys = torch.from_numpy(sample_keys([str(i) for i in range(2000)]).view("int64"))
    pixels = torch.full((2000, 2, 32, 24), 7.0)
    erased = erase(pixels, keys, 0.25, 3)
    changed = (erased != 7).all(1)
    assert torch.equal((erased != 7).any(1), changed)  # all channels together
    touched = changed.flatten(1).any(1)
    assert touched.float().mean() == pytest.approx(0.25, abs=0.03)
    share = changed[touched].flatten(1).float().mean(1)
    assert share.min() > AREAS[0] / 2 and share.max() < AREAS[1] * 1.2
    for box in changed[touched][:50]:
        rows, columns = box.any(1).nonzero()[:, 0], box.any(0).nonzero()[:, 0]
        assert box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    noise = erased[touched][:, 0][changed[touched]]
    assert abs(noise.mean()) < 0.02 and noise.std() == pytest.approx(1, abs=0.02)
    order = torch.tensor([1999, 3, 700])
    assert torch.equal(erase(pixels[order], keys[order], 0.25, 3), erased[order])


def test_repeats_follow_each_other_and_an_epoch_keeps_its_length() -> None:
    recipe = Recipe(repeats=3, batch=10)
    images, versions = feed.order(recipe, 0, 100)
    assert len(images) == 100 and len(images.unique()) == 34
    assert torch.equal(images[:99:3], images[1:99:3]) and versions[:6].tolist() == [0, 1, 2, 0, 1, 2]
    assert not torch.equal(feed.order(recipe, 1, 100)[0], images)


def test_processes_share_a_batch_in_mirrored_pairs(monkeypatch) -> None:
    found = []
    for rank in range(3):
        monkeypatch.setattr(feed, "world", lambda rank=rank: (rank, 3))
        found.append(feed.rows(12))
    assert torch.equal(torch.cat(found).sort().values, torch.arange(12))
    assert all(torch.equal(rows + rows.flip(0), torch.full_like(rows, 11)) for rows in found)
    with pytest.raises(Exception, match="cannot be shared in pairs by 3 processes"):
        feed.rows(8)


def test_fixed_positions_are_waves_and_do_not_learn() -> None:
    recipe = Recipe(depth=1, dim=16, heads=2, patch=7, positions="sincos", batch=4, epochs=1, registers=2)
    spec = recipe.spec(channels=1, height=14, width=21, classes=3)
    state = loop.start(recipe, spec, 8, torch.device("cpu"))
    positions = state.net.pos_embed[0].detach().clone()
    assert not positions[:3].any() and not state.net.pos_embed.requires_grad
    across, down = torch.meshgrid(torch.arange(3.0), torch.arange(2.0), indexing="xy")
    rates = 10000 ** -(torch.arange(4) / 4)
    want = torch.cat([f(side.flatten()[:, None] * rates) for f in (torch.sin, torch.cos) for side in (down, across)], 1)
    assert torch.allclose(positions[3:], want, atol=1e-6)
