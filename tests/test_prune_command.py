"""`vhs prune`: orders, curves, smaller checkpoints and what becomes of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors import safe_open

from tests.commands import rows
from vhs.formats import checkpoints, references
from vhs.measures.pruning_options import ORDERS
from vhs.seeds import folds, sample_keys

QUICK = ("--threads", 1, "--random", 2)
HEADS = 6
"""Of the toy checkpoint: 3 layers of 2."""


@pytest.fixture(scope="module")
def small(toy_checkpoint: Path, toy_shards: Path) -> Path:
    """The toy checkpoint without four heads, one layer having none."""
    import vhs

    out = toy_checkpoint.parent / "small.safetensors"
    if not out.exists():
        vhs.prune(str(toy_checkpoint), select="0.0,0.1,1.1,2.0", out=out, random_orders=0, threads=1, quiet=True)
    return out


def accuracy(vhs, model: Path, *more: object) -> list[int]:
    return rows(vhs("evalshift", model, "--threads", 1, *more)[1])["n_correct"].to_list()


def test_the_curve_is_what_masking_gives(vhs, toy_checkpoint: Path) -> None:
    """At every step as many right as `ablate --select` counts, over both parts of the images."""
    code, out, err = vhs("prune", toy_checkpoint, "--shift", "contrast:3", *QUICK)
    assert code == 0, err
    table = rows(out)
    effect = table.filter((pl.col("order") == "effect") & (pl.col("over") == "condition"))
    gone: list[str] = []
    for number in range(1, HEADS + 1):
        step = effect.filter(pl.col("round") == number)
        gone.append(step["removed"][0])
        masked = rows(vhs("ablate", toy_checkpoint, "--shift", "contrast:3", "--select", "+".join(gone))[1])
        wanted = masked.filter(pl.col("unit") == "set")["n_correct"].to_list()
        found = step.group_by("shift", maintain_order=True).agg(pl.col("n_correct").sum())["n_correct"].to_list()
        assert found == wanted
    whole = effect.filter(pl.col("round") == 0)
    assert whole["drop"].to_list() == [0] * 4 and whole["heads_left"].to_list() == [HEADS] * 4
    parts = whole.filter(pl.col("shift") == "clean")["n"].to_list()
    ids = [f"val-{index}" for index in range(85)]
    assert sum(parts) == 85 and len(ids) == 85
    assert table["order"].unique(maintain_order=True).to_list() == ["effect", "single", "random-0", "random-1"]
    single = table.filter(pl.col("order") == "single")
    assert single["heads_left"].unique().to_list() == [HEADS - 1] and single["removed"].n_unique() == HEADS


def test_parts_are_folds(vhs, toy_checkpoint: Path, toy_shards: Path) -> None:
    from vhs.formats.shards import ShardSet

    table = rows(vhs("prune", toy_checkpoint, "--random", 0)[1]).filter(pl.col("round") == 0)
    ids = [sample.id for sample in ShardSet.open(toy_shards / "val").samples()]
    chosen = int((folds(sample_keys(ids)) < 7).sum())
    counts = dict(table.filter(pl.col("order") == "effect").select("used_for", "n").iter_rows())
    assert counts == {"choose": chosen, "report": 85 - chosen} and 0 < chosen < 42


def test_effects_of_a_table_choose_on_its_folds_alone(vhs, toy_checkpoint: Path, tmp_path: Path) -> None:
    vhs("ablate", toy_checkpoint, "--threads", 1, "-o", "h.csv")
    by_table = rows(vhs("prune", toy_checkpoint, "h.csv", *QUICK)[1])
    measured = rows(vhs("prune", toy_checkpoint, *QUICK)[1])
    assert by_table.equals(measured)
    tallies = pl.read_parquet("h.folds.parquet")
    turned = tallies.with_columns(
        dloss_sum=pl.when(pl.col("fold") >= 7).then(-1000 * pl.col("dloss_sum")).otherwise(pl.col("dloss_sum"))
    )
    turned.write_parquet("turned.parquet")
    assert rows(vhs("prune", toy_checkpoint, "turned.parquet", *QUICK)[1]).equals(measured)
    (tmp_path / "h.folds.parquet").unlink()
    code, _, err = vhs("prune", toy_checkpoint, "h.csv", *QUICK)
    assert code == 3 and "folds" in err


def test_every_order_removes_every_head_once(vhs, toy_checkpoint: Path) -> None:
    names = ",".join(ORDERS)
    code, out, err = vhs("prune", toy_checkpoint, "--shift", "contrast:5", "--order", names, "--random", 1)
    assert code == 0, err
    table = rows(out).filter((pl.col("over") == "condition") & (pl.col("shift") == "clean"))
    for name in ORDERS:
        steps = table.filter((pl.col("order") == name) & (pl.col("used_for") == "report")).sort("round")
        gone = [head for removed in steps["removed"].to_list() if removed for head in removed.split("+")]
        assert sorted(gone) == ["L0H0", "L0H1", "L1H0", "L1H1", "L2H0", "L2H1"], name
        assert steps["heads_left"].to_list() == list(range(HEADS, -1, -1))


def naive(model: torch.nn.Module, pixels: torch.Tensor, gone: set[tuple[int, int]], width: int) -> torch.Tensor:
    """Logits without heads, by hooks of our own."""
    handles = []
    for layer, block in enumerate(model.blocks):  # type: ignore[arg-type]

        def cut(_module, args, layer=layer):
            values = args[0].clone()
            for at, head in gone:
                if at == layer:
                    values[..., head * width : (head + 1) * width] = 0
            return (values,)

        handles.append(block.attn.proj.register_forward_pre_hook(cut))
    with torch.inference_mode():
        logits = model(pixels)
    for handle in handles:
        handle.remove()
    return logits.double()


def chosen_images(toy_checkpoint: Path, toy_shards: Path) -> tuple:
    import vhs
    from vhs.formats.shards import ShardSet

    model = references.load(str(toy_checkpoint), torch.device("cpu")).model
    images, labels = vhs.read_images(str(toy_shards))
    ids = [sample.id for sample in ShardSet.open(toy_shards / "val").samples()]
    inside = torch.from_numpy(folds(sample_keys(ids)) < 7)
    return model, images[inside], labels[inside]


def test_orders_are_those_of_naive_loops(vhs, toy_checkpoint: Path, toy_shards: Path) -> None:
    model, images, labels = chosen_images(toy_checkpoint, toy_shards)
    pixels, every = model.preprocess(images), [(layer, head) for layer in range(3) for head in range(2)]

    def loss(gone: set[tuple[int, int]], seen: torch.Tensor = pixels) -> float:
        return float(torch.nn.functional.cross_entropy(naive(model.net, seen, gone, 8), labels))

    def greedy(cost) -> list[tuple[int, int]]:
        gone: list[tuple[int, int]] = []
        while len(gone) < HEADS:
            gone.append(min((place for place in every if place not in gone), key=lambda place: cost({*gone, place})))
        return gone

    back: list[tuple[int, int]] = []
    while len(back) < HEADS:
        back.append(
            min((p for p in every if p not in back), key=lambda p: loss({q for q in every if q not in {*back, p}}))
        )
    whole = naive(model.net, pixels, set(), 8).log_softmax(1)

    def apart(gone: set[tuple[int, int]]) -> float:
        logs = naive(model.net, pixels, gone, 8).log_softmax(1)
        return float((whole.exp() * (whole - logs)).sum(1).mean())

    def entropy(gone: set[tuple[int, int]]) -> float:
        logs = naive(model.net, pixels, gone, 8).log_softmax(1)
        return -float((logs.exp() * logs).sum(1).mean())

    def right(gone: set[tuple[int, int]]) -> tuple[int, float]:
        logits = naive(model.net, pixels, gone, 8)
        return -int((logits.argmax(1) == labels).sum()), loss(gone)

    wanted = {
        "effect": sorted(every, key=lambda place: loss({place})),
        "backward": greedy(loss),
        "forward": back[::-1],
        "disagreement": sorted(every, key=lambda place: apart({place})),
        "entropy": sorted(every, key=lambda place: entropy({place})),
        "oracle": sorted(every, key=lambda place: right({place})),
    }
    table = rows(vhs("prune", toy_checkpoint, "--order", ",".join(wanted), "--random", 0)[1])
    for name, path in wanted.items():
        steps = table.filter((pl.col("order") == name) & (pl.col("used_for") == "report")).sort("round")
        assert steps["removed"].to_list()[1:] == [f"L{layer}H{head}" for layer, head in path], name


def test_the_saved_model_is_smaller_and_is_the_masked_one(vhs, toy_checkpoint: Path, toy_shards: Path) -> None:
    code, out, err = vhs("prune", toy_checkpoint, "--keep", 3, *QUICK, "-o", "s.safetensors")
    assert (code, out) == (0, "s.safetensors\n"), err
    assert Path("s.safetensors").stat().st_size < toy_checkpoint.stat().st_size
    info = checkpoints.read_info(Path("s.safetensors"))
    assert info.timm is None and sum(info.spec.heads_by_layer) == 3 and info.pruned is not None
    assert info.parent == f"{toy_checkpoint} {checkpoints.read_info(toy_checkpoint).weights_id}"
    gone = info.pruned["removed"].replace("+", ",")
    masked = rows(vhs("ablate", toy_checkpoint, "--select", gone)[1]).filter(pl.col("unit") == "set")
    assert accuracy(vhs, Path("s.safetensors")) == masked["n_correct"].to_list()
    model = references.load(str(toy_checkpoint), torch.device("cpu")).model
    fewer = references.load("s.safetensors", torch.device("cpu")).model
    _, images, _ = chosen_images(toy_checkpoint, toy_shards)
    removed = {(int(name[1]), int(name[3])) for name in info.pruned["removed"].split("+")}
    want = naive(model.net, model.preprocess(images), removed, 8)
    with torch.inference_mode():
        assert float((fewer.net(fewer.preprocess(images)).double() - want).abs().max()) < 1e-5


def test_a_pruned_model_goes_through_every_command(vhs, small: Path, toy_checkpoint: Path, toy_shards: Path) -> None:
    quick = ("--threads", 1, "--data", toy_shards)
    ablated = rows(vhs("ablate", small, *quick)[1])
    assert ablated["heads"].to_list() == [None, "L1H0", "L2H1"]
    for more in (["--unit", "pair"], ["--unit", "only"], ["--unit", "layer"], ["--unit", "mlp"], ["--method", "taylor"],
                 ["--method", "direct"], ["--select", "1.0,2.1"], ["--fill", "mean,resample,uniform,donor-map"]):  # fmt: skip
        code, _, err = vhs("ablate", small, *quick, *more)
        assert code == 0, (more, err)
    code, _, err = vhs("ablate", small, *quick, "--select", "1.1")
    assert code == 4 and "there is no head L1H1: the model has kept L1H0, L2H1." in err
    assert len(accuracy(vhs, small, "--data", toy_shards, "--shift", "contrast:3")) == 2
    seen = rows(vhs("specialize", small, *quick, "--shift", "contrast:3", "--gradients")[1])
    assert seen.select("layer", "head").unique().sort("layer").rows() == [(1, 0), (2, 1)]
    for more in (
        ["--probe", "label", "-o", "p.csv"],
        ["--against", toy_checkpoint, "-o", "a.csv"],
        ["--maps", "m.safetensors"],
    ):
        code, _, err = vhs("specialize", small, *quick, *more)
        assert code == 0, (more, err)
    for kind in ("sheet", "conditions", "layers", "rollout", "relevance", "aligned"):
        assert vhs("plot", "m.safetensors", "--kind", kind, "-o", "m.png")[0] == 0, kind
    assert "the file has L1H0 of layer 1" in vhs("plot", "m.safetensors", "--head", "1.1")[2]
    assert vhs("train", toy_shards, "--init", small, "--epochs", 1, "-o", "tuned.safetensors")[0] == 0
    tuned = checkpoints.read_info(Path("tuned.safetensors"))
    assert tuned.spec == checkpoints.read_info(small).spec and tuned.pruned is None
    code, _, err = vhs(
        "prune", "tuned.safetensors", "--keep", 1, "--order", "backward", *QUICK, "-o", "one.safetensors"
    )
    assert code == 0, err
    last = checkpoints.read_info(Path("one.safetensors"))
    assert last.spec.kept in (((), (0,), ()), ((), (), (1,))) and last.pruned["removed"] in ("L2H1", "L1H0")
    assert "0: 0" in vhs("info", "one.safetensors")[1]
    code, _, err = vhs("prune", "one.safetensors", "--keep", 0, *QUICK, "-o", "none.safetensors")
    assert code == 0 and len(accuracy(vhs, Path("none.safetensors"))) == 1
    code, _, err = vhs("ablate", "none.safetensors")
    assert code == 4 and "no head" in err and "defect" not in err
    assert vhs("prune", "none.safetensors", "--keep", 0, "-o", "again.safetensors")[0] == 4


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")  # torch, of layers without heads
def test_without_vhs_the_file_is_loaded_by_the_lines_of_the_docs(small: Path, toy_shards: Path, tmp_path: Path) -> None:
    """docs/formats.md promises a loader of at most 20 lines in plain timm and torch."""
    text = (Path(__file__).parent.parent / "docs" / "formats.md").read_text()
    code = text.split("<!-- loader -->")[1].split("```python\n")[1].split("```")[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    namespace: dict = {}
    exec(code, namespace)
    ours = references.load(str(small), torch.device("cpu")).model
    pixels = torch.randn(3, 1, 42, 28)
    with torch.inference_mode():
        assert torch.equal(namespace["load"](str(small)).eval()(pixels), ours.net(pixels))


def test_a_certificate_is_in_the_table_the_file_and_a_sentence(vhs, toy_checkpoint: Path) -> None:
    from vhs.measures.margins import below_p

    asked = ("prune", toy_checkpoint, "--shift", "contrast:3", "--certify", 0.3, "--random", 0)
    assert vhs(*asked, "-o", "c.safetensors")[0] == 0
    table = pl.read_csv("c.prune.csv").filter(pl.col("order") == "effect")
    tested = table.filter(pl.col("p").is_not_null())
    assert set(tested["shift"]) == {"imagenet-c"} and set(tested["used_for"]) == {"report"}
    for row in tested.iter_rows(named=True):
        assert np.isclose(row["p"], float(below_p(row["n_lost"], row["n_gained"], row["n"], 0.3)))
    passed = [row["p"] <= 0.05 for row in tested.sort("round").iter_rows(named=True)]
    count = passed.index(False) if False in passed else len(passed)
    assert tested.sort("round")["certified"].to_list() == [index < count for index in range(len(passed))]
    info = checkpoints.read_info(Path("c.safetensors"))
    assert HEADS - sum(info.spec.heads_by_layer) == count > 0
    assert info.pruned["certificate"]["epsilon"] == 0.3 and info.pruned["certificate"]["certified"]
    said = vhs("info", "--say", "c.prune.csv")[1]
    assert said.startswith(f"Without {count} of 6 heads at most 30 points of accuracy are lost under ")
    assert "certified" in vhs("info", "c.safetensors")[1]
    assert (
        vhs("train", toy_checkpoint.parent / "shards", "--init", "c.safetensors", "--epochs", 1, "-o", "t.safetensors")[
            0
        ]
        == 0
    )
    assert checkpoints.read_info(Path("t.safetensors")).pruned is None  # fine-tuning voids it
    code, _, err = vhs(*asked[:-4], "--certify", 0.001, "--random", 0, "-o", "n.safetensors")
    assert code == 1 and "no step is certified, so that no model is saved" in err
    assert Path("n.prune.csv").exists() and not Path("n.safetensors").exists()


@pytest.mark.parametrize("over", ["mean", "corruption"])
def test_means_are_certified_of_images(vhs, toy_checkpoint: Path, over: str) -> None:
    shifts = ("--shift", "contrast:1,3,5", "--shift", "fog:2,4")
    code, _, err = vhs(
        "prune", toy_checkpoint, *shifts, "--certify", 0.3, "--over", over, "--random", 0, "-o", "c.safetensors"
    )
    assert code == 0, err
    table = pl.read_csv("c.prune.csv").filter((pl.col("order") == "effect") & (pl.col("over") == over))
    tested = table.filter(pl.col("p").is_not_null())
    assert set(tested["corruption"]) == ({"contrast", "fog"} if over == "corruption" else {None})
    assert (tested["drop_lo"] <= tested["drop"]).all() and (tested["bound"] >= tested["drop"] - 1e-9).all()
    each = pl.read_csv("c.prune.csv").filter(
        (pl.col("order") == "effect") & (pl.col("over") == "condition") & (pl.col("shift") != "clean")
    )
    if over == "mean":
        means = (
            each.group_by("round", "used_for")
            .agg(pl.col("drop").mean(), pl.col("top1").mean())
            .sort("round", "used_for")
        )
        found = table.sort("round", "used_for")
        assert np.allclose(means["drop"], found["drop"]) and np.allclose(means["top1"], found["top1"])
    said = vhs("info", "--say", "c.prune.csv")[1]
    assert "heads by order effect" in said and "go together at a cost of surely less than 0.5 points" in said
    assert ("in the mean of 5 conditions" if over == "mean" else "of each of 2 corruptions") in said


@pytest.mark.slow
def test_flops_parameters_and_speed(vhs, toy_checkpoint: Path) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    assert vhs("prune", toy_checkpoint, "--flops", 0.9, "--speed", "--random", 0, "-o", "f.safetensors")[0] == 0
    table = pl.read_csv("f.prune.csv").filter((pl.col("order") == "effect") & (pl.col("used_for") == "report"))
    assert (table["images_per_s"] > 0).all() and table["flops"].is_sorted(descending=True)
    info, state = checkpoints.load(Path("f.safetensors"))
    left = table.filter(pl.col("heads_left") == sum(info.spec.heads_by_layer)).row(0, named=True)
    assert left["parameters"] == sum(value.numel() for value in state.values())
    net = references.load("f.safetensors", torch.device("cpu")).model.net
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 1, 42, 28))
    assert left["flops"] == counter.get_total_flops() <= 0.9 * table["flops"][0]
    more = table.filter(pl.col("heads_left") == left["heads_left"] + 1)["flops"][0]
    assert more > 0.9 * table["flops"][0]


def test_a_tolerance_is_of_the_images_that_choose(vhs, toy_checkpoint: Path) -> None:
    assert vhs("prune", toy_checkpoint, "--tolerance", 0.1, "--random", 0, "-o", "t.safetensors")[0] == 0
    table = pl.read_csv("t.prune.csv").filter((pl.col("order") == "effect") & (pl.col("used_for") == "choose"))
    fewest = table.filter(pl.col("drop") <= 0.1)["heads_left"].min()
    assert sum(checkpoints.read_info(Path("t.safetensors")).spec.heads_by_layer) == fewest


@pytest.mark.parametrize("more", [["--fill", "mean-flat"], ["--compensate"]])
def test_fills_go_into_the_file(vhs, toy_checkpoint: Path, more: list[str]) -> None:
    assert vhs("prune", toy_checkpoint, "--keep", 2, *more, "--random", 0, "-o", "f.safetensors")[0] == 0
    table = pl.read_csv("f.prune.csv").filter((pl.col("order") == "effect") & (pl.col("heads_left") == 2))
    assert accuracy(vhs, Path("f.safetensors")) == [int(table["n_correct"].sum())]
    fill = checkpoints.read_info(Path("f.safetensors")).pruned["fill"]
    assert fill == ("compensate" if more == ["--compensate"] else "mean-flat")


@pytest.mark.slow
def test_two_runs_and_two_processes_give_the_same_bytes(vhs, toy_checkpoint: Path, tmp_path: Path) -> None:
    from tests.shells import torchrun

    asked = ("prune", toy_checkpoint, "--shift", "contrast:3", "--keep", 3, "--again", "--tile", 16, *QUICK)
    for name in ("a", "b"):
        assert vhs(*asked, "-o", f"{name}.safetensors")[0] == 0
    assert Path("a.safetensors").read_bytes() == Path("b.safetensors").read_bytes()
    assert Path("a.prune.csv").read_bytes() == Path("b.prune.csv").read_bytes()
    done = torchrun(2, *asked, "--device", "cpu", "-q", "-o", tmp_path / "c.safetensors")
    assert done.returncode == 0, done.stderr
    assert pl.read_csv("a.prune.csv").equals(pl.read_csv(tmp_path / "c.prune.csv"))
    assert (
        checkpoints.load(Path("a.safetensors"))[0].weights_id
        == checkpoints.load(tmp_path / "c.safetensors")[0].weights_id
    )


def test_a_killed_run_goes_on(vhs, toy_checkpoint: Path, monkeypatch) -> None:
    from vhs.measures.pruned import PrunedEvaluation

    asked = ("prune", toy_checkpoint, "--shift", "contrast:3", "--keep", 3, *QUICK)
    vhs(*asked, "-o", "whole.safetensors")
    add, calls = PrunedEvaluation.add, []

    def stop(self, batch) -> None:
        calls.append(batch)
        if len(calls) == 2:
            raise KeyboardInterrupt
        add(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(PrunedEvaluation, "add", stop)
        code, _, err = vhs(*asked, "-o", "cut.safetensors")
    assert code == 130 and "finished conditions are kept" in err and not Path("cut.safetensors").exists()
    code, _, err = vhs(*asked, "--resume", "-o", "cut.safetensors")
    assert code == 0 and "continuing after 1 of 2 conditions" in err
    assert Path("cut.safetensors").read_bytes() == Path("whole.safetensors").read_bytes()
    assert Path("cut.prune.csv").read_bytes() == Path("whole.prune.csv").read_bytes()
    assert not Path("cut.safetensors.partial").exists()


def test_down_the_pipe(vhs, toy_checkpoint: Path, toy_shards: Path) -> None:
    out = vhs("prune", toy_checkpoint, "--random", 0, "--keep", 4, "-o", "x.safetensors", "--curve", "-")[1]
    assert rows(out)["order"].to_list()[0] == "effect" and Path("x.safetensors").exists()
    assert not Path("x.prune.csv").exists()
    assert vhs("prune", toy_checkpoint, "--random", 0, "--curve", "only.parquet")[1] == "only.parquet\n"
    assert vhs("plot", "only.parquet")[0] == 0 and Path("only.png").exists()


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (["-o", "x.safetensors"], 2, "how many heads shall go? Give --keep, --flops"),
        (["--keep", 3, "--flops", 0.5], 2, "--keep and --flops: both say how far heads go."),
        (["--keep", 9, "-o", "x.safetensors"], 2, "--keep 9: "),
        (["--flops", 0.01, "-o", "x.safetensors"], 2, "of the FLOPs are left"),
        (["--select", "0.0", "--keep", 3], 2, "--select and --keep"),
        (["--select", "9.9", "-o", "x.safetensors"], 4, "--select L9H9: there is no such head to take out; L0H0"),
        (["--select", "abc"], 2, "expected heads like"),
        (["--order", "best"], 2, "--order best: expected effect, taylor"),
        (["--fill", "resample"], 2, "weights hold zero and mean-flat alone"),
        (["--fill", "mean-flat", "--compensate"], 2, "has no place beside --fill"),
        (["--over", "all"], 2, "--over all: expected worst, corruption or mean"),
        (["--ridge", -1], 2, "--ridge -1: expected a number above 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told_in_a_line(vhs, toy_checkpoint: Path, more: list, code: int, words: str) -> None:
    found, out, err = vhs("prune", toy_checkpoint, "--random", 0, *more)
    assert found == code and words in err and not out and err.count("\n") == 1, err
    assert not Path("x.safetensors").exists()


def test_tables_that_do_not_fit(vhs, toy_checkpoint: Path, small: Path) -> None:
    vhs("ablate", small, "-o", "other.csv")
    code, _, err = vhs("prune", toy_checkpoint, "other.csv", *QUICK)
    assert code == 4 and "the tables are of" in err and "not of" in err
    vhs("ablate", toy_checkpoint, "-o", "h.csv")
    code, _, err = vhs("prune", toy_checkpoint, "h.csv", "--fill", "mean-flat", *QUICK)
    assert code == 4 and "the tables fill with zero; mean-flat is wanted here" in err
    code, _, err = vhs("prune", toy_checkpoint, "h.csv", "--order", "taylor")
    assert code == 2 and "tables of effects are what --order effect goes by" in err


def test_the_metadata_tells_what_was_done(small: Path) -> None:
    with safe_open(small, "pt") as file:
        told = json.loads(file.metadata()["vhs"])
    assert told["spec"]["heads"] == [0, 1, 1] and told["spec"]["kept"] == [[], [0], [1]]
    assert told["pruned"]["removed"] == "L0H0+L0H1+L1H1+L2H0" and told["pruned"]["order"] == "list"
    assert told["shell"]["kwargs"]["embed_dim"] == 16 and told["timm"] is None


def test_what_else_is_trained_of_a_pruned_model(vhs, small: Path, toy_checkpoint: Path, toy_shards: Path) -> None:
    begin = ("train", toy_shards, "--init", small, "--epochs", 1, "--threads", 1, "-o", "t.safetensors")
    assert vhs(*begin, "--lora", 2)[0] == 0 and vhs(*begin, "--freeze", 2)[0] == 0
    taught = (*begin, "--teacher", toy_checkpoint, "--distill", "attention")
    code, _, err = vhs(*taught)
    assert code == 2 and "layer 0 of the student has no heads. Name others with --grain." in err
    code, _, err = vhs(*taught, "--grain", "head:2.1:2.0")
    assert code == 0, err
    code, _, err = vhs(*taught, "--grain", "head:2.0:2.0")
    assert code == 2 and "layer 2 of the student has heads 1, 0 was named" in err
    code, _, err = vhs(*taught, "--grain", "block:1,2", "--distill-heads", "relations")
    assert code == 4 and "have different numbers of heads" in err
    code, _, err = vhs(*begin, "--diversity", 1)
    assert code == 2 and "a layer of the model has fewer than two" in err


@pytest.mark.parametrize(
    ("name", "more"),
    [
        pytest.param("vit_small_patch16_dinov3", "depth=2", marks=pytest.mark.slow),
        ("vit_tiny_patch16_224", "depth=2"),
        ("eva02_tiny_patch14_224", "depth=2"),
    ],
)
def test_models_of_timm_are_pruned(vhs, toy_shards: Path, name: str, more: str) -> None:
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(0)
    side = 28 if "14" in name.split("patch")[1] else 32
    net = timm.create_model(name, img_size=side, in_chans=1, num_classes=5, depth=2)
    save_file(net.state_dict(), "w.safetensors")
    reference = f"timm:{name}:img_size={side},in_chans=1,num_classes=5,{more}@w.safetensors"
    code, _, err = vhs(
        "prune", reference, "--data", toy_shards, "--keep", 2, "--random", 1, "--threads", 1, "-o", "p.safetensors"
    )
    assert code == 0, err
    info = checkpoints.read_info(Path("p.safetensors"))
    assert sum(map(len, info.spec.kept)) == 2 and info.spec.name == name and info.timm is None
    table = pl.read_csv("p.prune.csv").filter((pl.col("order") == "effect") & (pl.col("heads_left") == 2))
    assert accuracy(vhs, Path("p.safetensors"), "--data", toy_shards) == [int(table["n_correct"].sum())]
    heads = (
        rows(vhs("ablate", "p.safetensors", "--data", toy_shards, "--threads", 1)[1])["heads"].drop_nulls().to_list()
    )
    assert heads == [f"L{layer}H{head}" for layer, kept in enumerate(info.spec.kept) for head in kept]
    assert vhs("info", "p.safetensors")[0] == 0


def test_kept_out_of_the_measure_are_heads_that_cannot_go(vhs, toy_shards: Path) -> None:
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(0)
    net = timm.create_model(
        "vit_base_patch16_siglip_224", img_size=32, in_chans=1, num_classes=5, depth=2, embed_dim=24, num_heads=3
    )
    save_file(net.state_dict(), "w.safetensors")
    more = "img_size=32,in_chans=1,num_classes=5,depth=2,embed_dim=24,num_heads=3"
    reference = f"timm:vit_base_patch16_siglip_224:{more}@w.safetensors"
    code, _, err = vhs("prune", reference, "--data", toy_shards, "--keep", 3, "--random", 0, "-o", "p.safetensors")
    assert code == 0 and "attn_pool is a AttentionPoolLatent" in err and "its heads stay" in err, err
    code, _, err = vhs("prune", reference, "--data", toy_shards, "--keep", 2, "--random", 0, "-o", "q.safetensors")
    assert code == 2 and "has 9 heads, 6 of which can go" in err


def test_a_model_in_transformers_layout_is_pruned(vhs, toy_shards: Path, tmp_path: Path) -> None:
    import timm
    from safetensors.torch import save_file

    from tests.hf_folders import PIXELS, VIT, on_disk

    torch.manual_seed(0)
    net = timm.models.VisionTransformer(
        img_size=33, patch_size=11, in_chans=3, num_classes=5, embed_dim=30, depth=3, num_heads=5, mlp_ratio=53.5 / 30
    )
    folder = tmp_path / "hf"
    folder.mkdir()
    save_file(on_disk(net), folder / "model.safetensors")
    labels = {"id2label": dict(zip("01234", ("ant", "bee", "cat", "dog", "eel"), strict=True))}
    (folder / "config.json").write_text(json.dumps(VIT | labels))
    (folder / "preprocessor_config.json").write_text(json.dumps(PIXELS))
    code, _, err = vhs("prune", f"hf:{folder}", "--data", toy_shards, "--keep", 9, "--random", 0, "-o", "p.safetensors")
    assert code == 0, err
    gone = checkpoints.read_info(Path("p.safetensors")).pruned["removed"]
    masked = rows(vhs("ablate", f"hf:{folder}", "--data", toy_shards, "--select", gone)[1]).filter(
        pl.col("unit") == "set"
    )
    assert accuracy(vhs, Path("p.safetensors"), "--data", toy_shards) == masked["n_correct"].to_list()
