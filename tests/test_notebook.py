"""docs/notebook.md from top to bottom, and what the functions of Python share with the commands."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import polars as pl
import pytest
import torch

from tests.commands import SHIFT, rows

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "notebook.md").read_text()


def test_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.S))
    said = io.StringIO()
    names: dict[str, object] = {}
    with contextlib.redirect_stdout(said):
        exec(compile(code, "notebook.md", "exec"), names)
    assert "<vhs model vit.safetensors: heads by layer 0-2: 4, images 28x28x1, 10 outputs, on cpu>" in said.getvalue()
    assert "answers change without L0H1 and L2H0" in said.getvalue()
    assert "shift contrst: is no shift and no shard set. Did you mean contrast?" in said.getvalue()
    assert (tmp_path / "heads.png").exists() and "--" not in said.getvalue().replace("---", "")
    assert names["figure"]._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]


def test_equal_to_the_commands(vhs, toy_checkpoint: Path) -> None:
    import vhs as package

    asked = ("--shift", "contrast:3", "--fill", "zero,mean", "--by", "label", "--threads", 1)
    assert vhs("ablate", toy_checkpoint, *asked, "-o", "t.parquet", "--per-sample", "s.parquet")[0] == 0
    made = package.ablate(
        str(toy_checkpoint),
        shift="contrast:3",
        fill=["zero", "mean"],
        by="label",
        per_sample=True,
        threads=1,
        quiet=True,
    )
    for name, frame in {"t.parquet": made.rows, "t.folds.parquet": made.folds, "s.parquet": made.outcomes}.items():
        assert frame.equals(pl.read_parquet(name).drop("table_rows")), name
    assert vhs("compare", "t.folds.parquet", "--summary", "redundancy", "-o", "r.csv")[0] == 0
    made_there = package.compare(made, summary="redundancy")
    assert made_there.write_csv() == pl.read_csv("r.csv", infer_schema=False).drop("table_rows").write_csv()


def test_functions_return_what_the_commands_write(vhs, toy_checkpoint: Path, toy_shards: Path) -> None:
    import vhs as package

    model = package.load_model(toy_checkpoint, device="cpu")
    data = package.open_shards(toy_shards)
    table, folds, _ = package.ablate(model, data, shift=["contrast:3", "gaussian_noise:5"])
    assert rows(vhs("ablate", toy_checkpoint, *SHIFT)[1])["dloss"].equals(table["dloss"])
    assert len(package.compare(folds)) == 8
    assert package.evalshift(model, shift="contrast:1").rows["n"].to_list() == [85, 85]
    heads, pairs = package.specialize(model)
    assert len(pairs) == 33 and set(pairs["metric"]) == {"jsd", "cka", "disagreement"} and "nmi" in heads["metric"]


def test_a_kept_run_goes_on(tmp_path: Path, toy_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import vhs

    monkeypatch.chdir(tmp_path)

    def stopping(what: str, _done: int, _total: int) -> None:
        if what.startswith("imagenet-c/contrast:2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        vhs.evalshift(toy_checkpoint, shift="contrast:1,2", keep="e", progress=stopping, quiet=True)
    assert len(list(Path("e.partial").glob("*.tallies"))) == 2
    assert vhs.evalshift(toy_checkpoint, shift="contrast:1,2", keep="e", resume=True, quiet=True).rows.height == 3
    assert not Path("e.partial").exists() and not Path("e.lock").exists()


def test_heads_are_removed_as_the_table_says(toy_checkpoint: Path, toy_shards: Path) -> None:
    import vhs

    model, data = vhs.load_model(toy_checkpoint, device="cpu"), vhs.open_shards(toy_shards)
    images, labels = vhs.read_images(data)
    table = vhs.ablate(model, data, select=["0.1,2.0"], quiet=True).rows
    with torch.no_grad(), vhs.without_heads(model, "L0H1,L2H0") as net:
        right = (net(model.model.preprocess(images)).argmax(1) == labels).sum()
    assert int(right) == table.filter(pl.col("unit") == "set")["n_correct"][0]
    before = model.model.net(model.model.preprocess(images))
    assert torch.equal(before, model.model.net(model.model.preprocess(images)))
    with pytest.raises(vhs.UsageError, match="fill twin: expected zero, mean or mean-flat"):
        vhs.without_heads(model, "0.0", fill="twin").__enter__()
    with pytest.raises(vhs.MismatchError, match="there is no head L9H0"):
        vhs.without_heads(model, "9.0").__enter__()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda vhs, m: vhs.ablate(m, unit="mlp", fill="mean"),
            "unit mlp: MLPs are removed by zeros, without fill and",
        ),
        (lambda vhs, m: vhs.ablate(m, method="taylor", per_sample=True), "method taylor: is of single heads"),
        (lambda vhs, m: vhs.ablate(m, resume=True), "resume: needs keep"),
        (lambda vhs, m: vhs.evalshift(m, summary="rollup"), "summary rollup: expected mce or groups"),
        (lambda vhs, _: vhs.plot(pl.DataFrame({"a": [1]})), "the frame: is no vhs table"),
        (lambda vhs, _: vhs.compare(pl.DataFrame({"a": [1]})), "the frame: is no vhs table"),
        (lambda vhs, _: vhs.train("nowhere", "x.safetensors", settings={"depht": 3}), "depht"),
        (
            lambda vhs, _: vhs.plot(3),
            "a table is a polars frame, a file, or what a function of vhs gave; this is a builtins.int",
        ),
        (
            lambda vhs, m: vhs.ablate(m.model.net),
            "a model is a reference, or what load_model and train give; this is a timm.",
        ),
        (
            lambda vhs, m: vhs.ablate(m, 5),
            "data is the folder or URL of a shard set, or what open_shards gives; this is a",
        ),
        (lambda vhs, _: vhs.train("nowhere", "x.pt"), "expected a name that ends in .safetensors"),
        (lambda vhs, _: vhs.shard("dominoes", "out"), "dominoes: needs top SOURCE and bottom SOURCE"),
    ],
)
def test_errors_are_in_the_words_of_python(call, words: str, toy_checkpoint: Path) -> None:
    import vhs

    with pytest.raises(vhs.VhsError) as caught:
        call(vhs, vhs.load_model(toy_checkpoint, device="cpu"))
    assert words in str(caught.value) and "--" not in str(caught.value)


ELSEWHERE = {
    "out", "form", "quiet", "verbose", "debug", "dry_run", "sbatch", "partial", "whole", "print_config",  # of files and terminals
    "folds", "pairs", "calibration", "contrast", "curve",  # second tables: they come back with the first
}  # fmt: skip
OTHERWISE = {
    "no_verify": "verify", "wanted": "class_name", "models": "models", "tables": "sources", "shards": "data",
    "things": "sources",
}  # fmt: skip
OF_MAPS = {"maps": "out", "full": "full", "image": "images", "sample": "samples", "top_images": "top_images"}
"""Options of specialize that `vhs.maps` has, and their names there."""
OF_FUNCTIONS = {"probe", "against"}
"""Options of specialize that are functions of their own: `vhs.probe` and `vhs.match`."""


@pytest.mark.parametrize("name", ["ablate", "evalshift", "specialize", "compare", "plot", "train", "shard", "prune"])
def test_functions_take_all_that_the_commands_take(name: str) -> None:
    import importlib
    import inspect

    from vhs import notebook
    from vhs.commands.train import EVERYDAY

    command = getattr(importlib.import_module(f"vhs.commands.{name}"), name)
    offered = set(inspect.signature(getattr(notebook, name)).parameters)
    wanted = {OTHERWISE.get(option, option) for option in inspect.signature(command).parameters} - ELSEWHERE
    wanted = {"tables" if option == "sources" else option for option in wanted} if name == "prune" else wanted
    wanted -= {"pairs"} if name != "shard" else set()
    wanted -= set(EVERYDAY) if name == "train" else set()
    wanted -= set(OF_MAPS) | OF_FUNCTIONS if name == "specialize" else set()
    assert set(OF_MAPS.values()) <= set(inspect.signature(notebook.maps).parameters)
    missing = wanted - offered
    assert not missing, f"vhs.{name} lacks {sorted(missing)}"


def test_models_keep_their_order_however_they_are_given(toy_checkpoint: Path, tmp_path: Path) -> None:
    import shutil

    import vhs

    other = tmp_path / "other.safetensors"
    shutil.copy(toy_checkpoint, other)
    model, data = vhs.load_model(toy_checkpoint, device="cpu"), toy_checkpoint.parent / "shards" / "val"
    rows_of = vhs.evalshift([model, other], data, quiet=True).rows["model"].to_list()
    assert rows_of == [str(toy_checkpoint), str(other)]
