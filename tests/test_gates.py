"""Gates of heads in training: draws, prices, schedules, and the networks that are saved."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import polars as pl
import pytest
import torch

from tests.networks import SMALL
from vhs.errors import UsageError
from vhs.formats import checkpoints
from vhs.models import surgery
from vhs.models.building import build
from vhs.models.spec import ViTSpec
from vhs.training import gates
from vhs.training.gates import BEGIN, END, Gates, Learned, Scheduled
from vhs.training.lora import merge
from vhs.training.recipe import Recipe

PIXELS = torch.randn(4, 1, 33, 22, generator=torch.Generator().manual_seed(0))
HEADS = 9


def network(**recipe: object) -> tuple[torch.nn.Module, Gates]:
    torch.manual_seed(1)
    net = build(ViTSpec(**SMALL))
    return net, Gates(net, Recipe(**recipe))  # type: ignore[arg-type]


def test_a_gate_multiplies_what_a_head_gives() -> None:
    net, _ = network(prune_gates=0.1)
    plain = build(ViTSpec(**SMALL))
    plain.load_state_dict(merge_open(net))
    factors = [torch.tensor([0.5, 1.0, 0.0]), torch.tensor([0.25, 0.0, 1.0]), torch.tensor([1.0, 1.0, 0.75])]
    for gate, wanted in zip(gates.of(net), factors, strict=True):
        assert isinstance(gate, Learned)
        gate.log_alpha.data = torch.logit(((wanted + 0.1) / 1.2).clamp(1e-6, 1 - 1e-6))
        gate.eval()
        assert torch.allclose(gate.values(), wanted, atol=1e-5)
    for block, wanted in zip(plain.blocks, factors, strict=True):
        block.attn.proj.register_forward_pre_hook(lambda _m, args, of=wanted: args[0] * of.repeat_interleave(8))
    with torch.inference_mode():
        assert torch.allclose(net.eval()(PIXELS), plain.eval()(PIXELS), atol=1e-5)


def merge_open(net: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Its weights as if it had no gates."""
    return {
        name.replace("parametrizations.weight.original", "weight"): value
        for name, value in net.state_dict().items()
        if ".0." not in name.partition("parametrizations")[2]
    }


def test_draws_are_hard_concrete() -> None:
    """Mean, odds of 0 and odds of 1 of the drawn gates, against the distribution's own."""
    net, made = network(prune_gates=0.1)
    gate = gates.of(net)[0]
    assert isinstance(gate, Learned)
    gate.log_alpha.data = torch.tensor([-2.0, 0.0, 1.5])
    drawn = []
    for step in range(8000):
        made.before_update(step)
        drawn.append(gate.values().detach())
    values = torch.stack(drawn)
    open_odds = torch.sigmoid(gate.log_alpha - 0.33 * math.log(0.1 / 1.1)).detach()
    assert torch.allclose((values > 0).float().mean(0), open_odds, atol=0.02)
    assert torch.allclose(gate.odds().detach(), open_odds)
    whole = torch.sigmoid(gate.log_alpha + 0.33 * math.log(0.1 / 1.1)).detach()
    assert torch.allclose((values == 1).float().mean(0), whole, atol=0.02)
    made.before_update(3)
    again = gate.values().detach()
    assert torch.equal(again, values[3])  # a draw belongs to its update
    assert float(gates.expected(net).detach()) == pytest.approx(
        float(sum(part.odds().detach().sum() for part in gates.of(net)))
    )  # type: ignore[operator, misc]


def test_a_closed_gate_is_a_head_less() -> None:
    net, made = network(prune_gates=0.1)
    for gate, shut in zip(gates.of(net), ([1], [], [0, 1, 2]), strict=True):
        assert isinstance(gate, Learned)
        gate.log_alpha.data[shut] = -5.0
    assert gates.open_heads(net) == [[0, 2], [0, 1, 2], []] and all(gate.training for gate in gates.of(net))
    plain = merge(net)
    surgery.keep(plain, gates.open_heads(net))
    with torch.inference_mode():
        assert torch.allclose(plain(PIXELS), net.eval()(PIXELS), atol=1e-5)
    assert made.heads == HEADS


def test_the_schedule_falls_along_a_cubic_curve() -> None:
    total, wanted = 1_000, 4
    counts = [gates.left(step, total, 24, wanted) for step in range(total + 1)]
    assert counts[0] == 24 and counts[int(BEGIN * total)] == 24 and counts[int(END * total)] == wanted == counts[-1]
    assert all(a >= b for a, b in itertools.pairwise(counts))
    middle = int((BEGIN + END) / 2 * total)
    assert counts[middle] == wanted + math.ceil(20 * 0.5**3)
    assert gates.left(0, 0, 24, 4) == 24


def test_importance_is_the_squared_slope_of_the_loss() -> None:
    """Against finite differences of the loss in each gate."""
    net, made = network(prune_to=2)
    net = net.double().eval()
    pixels, labels = PIXELS.double(), torch.tensor([0, 1, 2, 3])

    def loss() -> torch.Tensor:
        return torch.nn.functional.cross_entropy(net(pixels), labels)

    made.before_update(0)
    loss().backward()
    made.after_update(1, 1_000)
    for gate in gates.of(net):
        assert isinstance(gate, Scheduled)
        for head in range(3):
            sides = []
            for change in (1e-5, -1e-5):
                gate.open[head] += change
                with torch.no_grad():
                    sides.append(float(loss()))
                gate.open[head] -= change
            slope = (sides[0] - sides[1]) / 2e-5
            assert float(gate.importance[head]) == pytest.approx(slope**2, rel=1e-3, abs=1e-12)


def test_the_least_important_head_goes_and_stays_away() -> None:
    net, made = network(prune_to=7)
    for index, gate in enumerate(gates.of(net)):
        assert isinstance(gate, Scheduled)
        gate.importance.copy_(torch.tensor([3.0, 1.0, 2.0]) * (index + 1))
    made._close([gate for gate in gates.of(net) if isinstance(gate, Scheduled)], 8)
    assert gates.open_heads(net) == [[0, 2], [0, 1, 2], [0, 1, 2]]
    anew = torch.tensor([[2.0, 99.0, 1.0], [3.0, 4.0, 5.0], [3.0, 4.0, 5.0]])
    for gate, importance in zip(gates.of(net), anew, strict=True):
        assert isinstance(gate, Scheduled) and not gate.importance.any()
        gate.importance.copy_(importance)
    made._close([gate for gate in gates.of(net) if isinstance(gate, Scheduled)], 7)
    assert gates.open_heads(net) == [[0], [0, 1, 2], [0, 1, 2]]


TINY = ("--threads", 1, "--depth", 3, "--dim", 16, "--heads", 2, "--patch", 14, "--batch", 24, "--lr", 0.01)


class TestCommand:
    def test_a_schedule_leaves_so_many(self, vhs, toy_shards: Path) -> None:
        code, _, err = vhs(
            "train", toy_shards, *TINY, "--epochs", 6, "--prune-to", 3, "--snapshots", "10", "-o", "s.safetensors"
        )
        assert code == 0, err
        info = checkpoints.read_info(Path("s.safetensors"))
        assert sum(info.spec.heads_by_layer) == 3 and info.timm is None and info.recipe["prune_to"] == 3
        log = pl.read_csv("s.train.csv")
        assert log["heads_left"].to_list()[-1] == 3 and log["heads_left"].is_sorted(descending=True)
        counts = vhs("evalshift", "s.safetensors", "--threads", 1)[1].splitlines()
        header, row = (line.split(",") for line in counts[:2])
        assert (
            int(row[header.index("n_correct")]) == log["n_correct"].to_list()[-1]
        )  # what was saved is what was scored
        snapshot = checkpoints.read_info(Path("s.snapshots/step-000010.safetensors"))
        assert 3 < sum(snapshot.spec.heads_by_layer) <= 6
        assert vhs("ablate", "s.safetensors", "--threads", 1, "-o", "a.csv")[0] == 0

    def test_gates_close_where_they_cost_much(self, vhs, toy_shards: Path) -> None:
        for price, most in ((1e-6, 6), (50.0, 0)):
            code, _, err = vhs(
                "train",
                toy_shards,
                *TINY,
                "--epochs",
                12,
                "--prune-gates",
                price,
                "--set",
                "gate_rate=20",
                "-o",
                "g.safetensors",
            )
            assert code == 0, err
            spec = checkpoints.read_info(Path("g.safetensors")).spec
            assert sum(spec.heads_by_layer) == most
        log = pl.read_csv("g.train.csv")
        assert log["heads_expected"].to_list()[-1] < log["heads_expected"].to_list()[0] <= 6
        assert log["loss_class"].is_not_null().all()

    @pytest.mark.parametrize("more", [("--prune-to", 3), ("--prune-gates", 0.5), ("--prune-to", 3, "--set", "ema=0.9")])
    def test_a_stopped_run_goes_on_to_the_same_bytes(self, toy_shards: Path, tmp_path: Path, more: tuple) -> None:
        from tests.trainings import training

        keys = {str(more[0]).removeprefix("--").replace("-", "_"): more[1]} | ({"ema": 0.9} if len(more) > 2 else {})
        sizes = {"depth": 3, "dim": 16, "heads": 2, "patch": 14, "epochs": 5, "batch": 24, "lr": 1e-2}
        whole = training(tmp_path / "whole", toy_shards, recipe=Recipe(**sizes, **keys))
        whole.run(resuming=False)
        calls: list[int] = []
        cut = training(
            tmp_path / "cut",
            toy_shards,
            recipe=Recipe(**sizes, **keys),
            stop=lambda: calls.append(1) or len(calls) == 13,
        )
        assert not cut.run(resuming=False)
        again = training(tmp_path / "cut", toy_shards, recipe=Recipe(**sizes, **keys))
        assert again.run(resuming=True)
        assert whole.out.read_bytes() == cut.out.read_bytes()

    def test_it_begins_with_a_pruned_model_and_prunes_it_further(
        self, vhs, toy_shards: Path, toy_checkpoint: Path
    ) -> None:
        assert vhs("prune", toy_checkpoint, "--select", "0.0,0.1,2.1", "--random", 0, "-o", "p.safetensors")[0] == 0
        code, _, err = vhs(
            "train",
            toy_shards,
            "--init",
            "p.safetensors",
            "--epochs",
            3,
            "--prune-to",
            2,
            "--threads",
            1,
            "-o",
            "q.safetensors",
        )
        assert code == 0, err
        spec = checkpoints.read_info(Path("q.safetensors")).spec
        kept = [(layer, head) for layer, heads in enumerate(spec.kept) for head in heads]
        assert len(kept) == 2 and set(kept) < {(1, 0), (1, 1), (2, 0)}

    @pytest.mark.parametrize(
        ("more", "code", "words"),
        [
            (["--prune-to", 3, "--prune-gates", 0.1], 2, "prune_gates and prune_to both take heads out"),
            (["--prune-to", 7], 2, "--prune-to 7: the model has 6 heads"),
            (["--prune-to", 3, "--compile"], 2, "--compile: what heads are worth is measured while they run"),
        ],
    )  # fmt: skip
    def test_what_does_not_go_together(self, vhs, toy_shards: Path, more: list, code: int, words: str) -> None:
        found, _, err = vhs("train", toy_shards, *TINY, *more, "-o", "x.safetensors")
        assert found == code and words in err, err

    def test_networks_without_heads_that_can_go(self) -> None:
        import timm

        with pytest.raises(UsageError, match="--prune-to: ResNet: has no attention by heads"):
            Gates(timm.create_model("resnet18"), Recipe(prune_to=1))


def test_without_gates_nothing_changes() -> None:
    assert "prune_to" not in Recipe().recorded() and "gate_rate" not in Recipe().recorded()
