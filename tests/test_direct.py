"""Direct contributions against the network's own last steps with its norms' statistics held fixed."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import torch
from torch import Tensor, nn

from tests.networks import MODELS, model_of, pixels_of
from vhs.batch import Batch
from vhs.counts import from_fixed
from vhs.errors import MismatchError
from vhs.measures.direct import DirectEstimate
from vhs.measures.scoring import Scope, outcome

KINDS = ["class token", "average pool", "layer scale", "registers", "distillation token"]


class Held(nn.Module):
    """A LayerNorm with the statistics of the first input it saw."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.norm, self.seen = norm, None

    def forward(self, x: Tensor) -> Tensor:
        if self.seen is None:
            self.seen = x.mean(-1, keepdim=True), x.std(-1, correction=0, keepdim=True)
        mean, deviation = self.seen
        return (x - mean) / deviation * self.norm.weight + self.norm.bias


@pytest.mark.parametrize("kind", KINDS)
def test_contributions_are_the_networks_own(kind: str) -> None:
    model = model_of(kind)
    images, labels = pixels_of(model, 4, 1), torch.tensor([0, 3, 1, 2])
    batch = Batch(images, labels, labels, torch.tensor([0, 1, 2, 20]), torch.empty(0, 4, dtype=torch.int64), 3)
    measure = DirectEstimate(model, Scope.whole(len(model.classes), model.device))
    measure.add(batch)
    counts = measure.results()["units"]
    net, received, residual = model.net, [], []
    for block in net.blocks:
        block.attn.proj.register_forward_pre_hook(lambda _m, args: received.append(args[0]))
    with torch.inference_mode():
        handle = net.norm.register_forward_pre_hook(lambda _m, args: residual.append(args[0]))
        net(model.preprocess(images))
        handle.remove()
        for name in ("norm", "fc_norm"):
            if isinstance(getattr(net, name), nn.LayerNorm):
                setattr(net, name, Held(getattr(net, name)))
        intact = net.forward_head(net.norm(residual[0]))
        index = 0
        for layer, block in enumerate(net.blocks):
            heads = block.attn.num_heads
            width = received[layer].shape[-1] // heads
            for head in range(heads):
                own = slice(head * width, (head + 1) * width)
                gone = block.ls1(received[layer][..., own] @ block.attn.proj.weight[:, own].T)
                less = net.forward_head(net.norm(residual[0] - gone))
                want = (outcome(less, labels).loss - outcome(intact, labels).loss)[:3].sum()
                assert from_fixed(counts.total("dloss"))[index] == pytest.approx(float(want), abs=3e-5)
                given = intact - less
                score = (given - given.mean(1, keepdim=True)).gather(1, labels[:, None])[:3].sum()
                assert from_fixed(counts.total("score"))[index] == pytest.approx(float(score), abs=3e-5)
                index += 1
    assert index == len(model.grid) and abs(from_fixed(counts.total("score"))).max() > 1e-3


def test_no_direct_path_is_said() -> None:
    model = MODELS["replay"]()
    with pytest.raises(MismatchError, match="--method direct is of timm's plain"):
        DirectEstimate(model, Scope.whole(7, model.device))


def test_the_table_of_direct_estimates(vhs, toy_checkpoint: Path) -> None:
    code, _, err = vhs("ablate", toy_checkpoint, "--shift", "contrast:2", "--method", "direct", "-o", "d.csv")
    assert code == 0, err
    table = pl.read_csv("d.csv")
    assert table.height == 12 and set(table["method"]) == {"direct"} and table["score_token"].null_count() == 12
    assert vhs("ablate", toy_checkpoint, "--shift", "contrast:2", "-o", "e.csv")[0] == 0
    code, _, err = vhs("compare", "d.csv", "--exact", "e.csv", "-o", "both.csv")
    assert code == 0, err
    assert set(pl.read_csv("both.csv")["method"]) == {"direct"}
    code, _, err = vhs("plot", "both.csv", "-o", "both.png")
    assert code == 0, err
