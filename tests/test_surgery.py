"""Heads that are taken out for real: the network without them answers as the masked one does, and keeps their numbers."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tests.networks import SPECS, TIMM, network, networks, randomised
from vhs.errors import InputError, MismatchError
from vhs.grid import Place, Units
from vhs.models import surgery
from vhs.models.building import build, parameter_shapes
from vhs.models.engine import engine_of, zero
from vhs.models.removal import Removal
from vhs.models.spec import ViTSpec, spec_from_json

PARTS = {
    "locality self-attention": {"lsa": True},
    "shifted patches": {"spt": True},
    "normed patches": {"patch_norm": True},
    "no last residual": {"last_residual": False},
    "distilled": {"distilled": True},
}
OTHERS = {
    "eva": ("eva02_tiny_patch14_224", {"img_size": 56, "depth": 3}, 56),
    "eva, fused with biases": ("eva_giant_patch14_224", {"img_size": 56, "depth": 2, "embed_dim": 64, "num_heads": 4}, 56),
    "dinov3": ("vit_small_patch16_dinov3", {"img_size": 64, "depth": 2}, 64),
    "dinov3, with biases": ("vit_small_patch16_dinov3_qkvb", {"img_size": 64, "depth": 2}, 64),
    "rope by head and layer": ("vit_small_patch16_rope_mixed_224", {"img_size": 64, "depth": 2}, 64),
    "attention pooling": ("vit_base_patch16_siglip_224", {"img_size": 64, "depth": 2, "embed_dim": 60, "num_heads": 5}, 64),
}  # fmt: skip
SCALE_NORM = "norm before the projection"
Made = tuple[nn.Module, tuple[int, int, int]]


def gated() -> nn.Module:
    return randomised(timm_vit(gated=True))


def timm_vit(**more: bool) -> nn.Module:
    import timm

    class Gated(timm.layers.Attention):
        def __init__(self, *sizes: object, **options: object) -> None:
            super().__init__(*sizes, **options, **more)  # type: ignore[arg-type]

    return timm.models.VisionTransformer(**SPECS["class token"].timm_kwargs(), attn_layer=Gated)


FAMILIES: dict[str, Callable[[], Made]] = {
    **{name: lambda name=name: (randomised(networks()[name]), (1, 33, 22)) for name in (*SPECS, *TIMM)
       if name not in (SCALE_NORM, "one layer")},
    **{name: lambda part=part: (randomised(build(replace(SPECS["class token"], **part))), (1, 33, 22))
       for name, part in PARTS.items()},
    **{name: lambda of=of: (network(of[0], of[1]), (3, of[2], of[2])) for name, of in OTHERS.items()},
    "gate": lambda: (gated(), (1, 33, 22)),
}  # fmt: skip


def masked(net: nn.Module, size: tuple[int, int, int], gone: Sequence[Place], pixels: Tensor) -> Tensor:
    removal = Removal(net, engine_of(net, size), Units("set", (tuple(sorted(gone)),)))
    with torch.inference_mode(), removal.without(removal.units[-1], zero):
        return net(pixels)


def cut(net: nn.Module, size: tuple[int, int, int], gone: Sequence[Place]) -> nn.Module:
    grid = engine_of(net, size).grid
    small = surgery.copy_sharing_weights(net)
    surgery.keep(small, [
        [place for place, number in enumerate(grid.numbers(layer)) if (layer, number) not in gone]
        for layer in range(grid.depth)
    ])  # fmt: skip
    return small


def some(places: list[Place], share: float, draw: int) -> list[Place]:
    return random.Random(draw).sample(places, max(1, int(len(places) * share)))


@pytest.mark.parametrize("family", FAMILIES)
def test_pruned_is_masked(family: str) -> None:
    net, size = FAMILIES[family]()
    grid = engine_of(net, size).grid
    places = [(head.layer, head.head) for head in grid if head.module != "attn_pool"]
    pixels = torch.randn(3, *size, generator=torch.Generator().manual_seed(1))
    intact = net(pixels).detach()
    whole = [place for place in places if place[0] == 0]
    sets = [some(places, 0.3, 1), some(places, 0.6, 2), sorted({*whole, *some(places, 0.2, 3)}), places]
    for gone in sets:
        want = masked(net, size, gone, pixels)
        small = cut(net, size, gone)
        with torch.inference_mode():
            got = small(pixels)
        tolerance = 1e-5 * float(intact.abs().max())
        assert torch.allclose(got, want, rtol=0, atol=tolerance)
        assert float((want - intact).abs().max()) > 10 * tolerance  # the heads do something
        left = [str(head) for head in engine_of(small, size).grid] if len(gone) < len(grid) else []
        assert left == [str(head) for head in grid if (head.layer, head.head) not in gone]
    fewer = sum(parameter.numel() for parameter in small.parameters())
    assert fewer < sum(parameter.numel() for parameter in net.parameters())
    assert torch.equal(net(pixels), intact)  # what was cut was a copy


@pytest.mark.parametrize("family", ["class token", "locality self-attention", "dinov3", "rope by head and layer"])
def test_what_was_pruned_is_pruned_again_and_measured(family: str) -> None:
    net, size = FAMILIES[family]()
    places = [(head.layer, head.head) for head in engine_of(net, size).grid]
    pixels = torch.randn(2, *size, generator=torch.Generator().manual_seed(1))
    first = some(places, 0.4, 5)
    left = [place for place in places if place not in first]
    second = some(left, 0.5, 6)
    once = cut(net, size, first)
    twice = cut(once, size, second)
    with torch.inference_mode():
        assert torch.allclose(twice(pixels), masked(net, size, [*first, *second], pixels), atol=1e-4)
    assert torch.allclose(twice(pixels), masked(once, size, second, pixels), atol=1e-4)
    assert twice.state_dict().keys() == cut(net, size, [*first, *second]).state_dict().keys()
    engine = engine_of(once, size)
    removal = Removal(once, engine)
    with torch.inference_mode():
        _, (answers,) = removal.scores(pixels, 3, [zero], lambda logits: logits)
        for unit, logits in zip(removal.units, answers, strict=True):
            assert torch.allclose(logits, masked(net, size, [*first, *unit.removed], pixels), atol=1e-4)


def test_a_norm_over_all_heads_forbids_it() -> None:
    net = randomised(networks()[SCALE_NORM])
    with pytest.raises(MismatchError, match="norm over all its heads together before the projection"):
        surgery.keep(net, [[0]] * 3)
    surgery.keep(net, [range(7)] * 3)  # nothing goes
    swin = network(
        "swin_tiny_patch4_window7_224", {"img_size": 56, "depths": (1, 1), "num_heads": (3, 6), "embed_dim": 24}
    )
    with pytest.raises(MismatchError, match="is a WindowAttention, and heads are taken out of timm's own"):
        surgery.keep(swin, [[0], [1]])
    with pytest.raises(MismatchError, match="2 layers with heads, 1 were expected"):
        surgery.keep(swin, [[0]])
    net = randomised(networks()["class token"])
    with pytest.raises(MismatchError, match="has 7 heads, more were expected"):
        surgery.keep(net, [[7], [0], [0]])


KEPT = ((1, 4, 6), (), (0, 1, 2, 3, 4, 5, 6))


def test_a_ragged_spec_builds_what_was_pruned() -> None:
    for spec in (SPECS["class token"], replace(SPECS["free head width"], lsa=True, qk_norm=False)):
        net = randomised(build(spec))
        surgery.keep(net, KEPT)
        ragged = replace(spec, heads=(3, 0, 7), kept=KEPT)
        same = build(ragged)
        same.load_state_dict(net.state_dict(), strict=True)
        pixels = torch.randn(2, 1, 33, 22)
        assert torch.equal(same.eval()(pixels), net(pixels))
        assert parameter_shapes(ragged) == {name: tuple(t.shape) for name, t in net.state_dict().items()}
        assert spec_from_json(ragged.to_json(), "x") == ragged and not ragged.stock
        assert ragged.to_json()["heads"] == (3, 0, 7)
    assert SPECS["class token"].to_json()["heads"] == 7 and "kept" not in SPECS["class token"].to_json()


def test_a_timm_architecture_is_built_without_heads() -> None:
    name, options, side = OTHERS["dinov3"]
    net = network(name, options)
    grid = engine_of(net, (3, side, side)).grid
    kept = [list(range(count - 1 - layer)) for layer, count in enumerate(grid.per_layer)]
    surgery.keep(net, kept)
    text = {"name": name, "height": side, "width": side, "channels": 3, "classes": 7, "arguments": "depth=2"}
    spec = spec_from_json(text | {"kept": kept}, "x")
    assert parameter_shapes(spec) == {key: tuple(value.shape) for key, value in net.state_dict().items()}
    assert spec_from_json(spec.to_json(), "x") == spec
    with pytest.raises(InputError, match="more were expected"):
        parameter_shapes(spec_from_json(text | {"kept": [[0], [99]]}, "x"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"heads": [3, 0]}, "heads of 2 layers, the model has 3"),
        ({"heads": [3, -1, 7]}, "heads is -1, expected a whole number"),
        ({"heads": [3, True, 7]}, "heads is True"),
        ({"heads": [3, "a", 7]}, "heads is 'a'"),
        ({"heads": 0}, "heads is 0, expected a whole number 1"),
        ({"kept": [[1, 4], [], [0]]}, "tell of different numbers of heads"),
        ({"heads": [2, 0, 1], "kept": [[4, 1], [], [0]]}, "kept is damaged"),
        ({"heads": [2, 0, 1], "kept": [[1, 1], [], [0]]}, "kept is damaged"),
        ({"heads": [2, 0, 1], "kept": [[1, 10**9], [], [0]]}, "kept is damaged"),
        ({"heads": [2, 0, 1], "kept": {"a": 1}}, "kept is damaged"),
        ({"heads": [2, 0, 1], "kept": "abc"}, "kept is damaged"),
    ],
)  # fmt: skip
def test_a_damaged_layout_of_heads_is_told(change: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        spec_from_json(ViTSpec.to_json(SPECS["class token"]) | change, "x")
