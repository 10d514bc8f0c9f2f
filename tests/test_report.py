"""The page of `vhs report`: what it holds, what it scores anew, what it refuses; and the model card."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import special, stats

from tests.commands import run_in
from tests.javascript import Scripts
from vhs.counts import Counts
from vhs.formats import tables
from vhs.measures import contrast, intervals
from vhs.reports import page
from vhs.seeds import folds as folds_of
from vhs.seeds import sample_keys

SHIFT = ("--shift", "contrast:2,5", "--shift", "fog:3")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, toy_checkpoint: Path) -> Path:
    """A folder with the tables of a real run of a small model, and their page."""
    folder = tmp_path_factory.mktemp("report")
    shutil.copy(toy_checkpoint, folder / "vit.safetensors")

    data = toy_checkpoint.parent / "shards" / "val"
    by = ("--by", "label", "--per-sample", "heads.outcomes.parquet")
    run_in(folder, [
        ("ablate", "vit.safetensors", "--data", data, *SHIFT, *by, "-o", "heads.csv"),
        ("evalshift", "vit.safetensors", "--data", data, *SHIFT, "-o", "shift.csv"),
        ("specialize", "vit.safetensors", "--data", data, "--shift", "fog:3", "-o", "looks.csv"),
        ("specialize", "vit.safetensors", "--data", data, "--shift", "fog:3", "--maps", "maps.safetensors"),
        ("compare", "heads.csv", "-o", "agreement.csv"),
    ])  # fmt: skip
    subprocess.run([sys.executable, "-m", "vhs", "report", *FILES, "-o", "report.html"], cwd=folder, check=True)
    return folder


FILES = ("heads.csv", "shift.csv", "looks.csv", "agreement.csv", "maps.safetensors")


@pytest.fixture(scope="module")
def html(made: Path) -> str:
    return (made / "report.html").read_text()


@pytest.fixture(scope="module")
def scripts(html: str) -> Scripts:
    return Scripts(html)


def rows(made: Path, name: str) -> pl.DataFrame:
    return tables.read(str(made / name)).rows


def close(found: list[float | None], wanted: np.ndarray | pl.Series) -> bool:
    mine = np.array([np.nan if value is None else value for value in found], float)
    other = np.asarray(wanted, float)
    return mine.shape == other.shape and np.allclose(mine, other, rtol=1e-9, atol=1e-9, equal_nan=True)


def heads_under(made: Path, name: str) -> pl.DataFrame:
    heads = rows(made, "heads.csv").filter((pl.col("unit") == "head") & (pl.col("group") == "all"))
    own = heads.filter(pl.coalesce("corruption", "shift") + pl.col("severity").cast(pl.String) == name)
    return own.sort("layer", "head")


# --- formulas, against scipy ---


def test_special_functions_are_scipys(scripts: Scripts) -> None:
    for t in (0.0, 1e-9, 0.3, 1.7, 2.093, 8.0, 40.0, 400.0):
        for df in (1, 2, 19, 200):
            assert scripts(f"studentTails({t}, {df})") == pytest.approx(2 * special.stdtr(df, -t), rel=1e-10, abs=1e-9)
    for z in (0.0, 1e-8, 0.5, 1.2, 1.7, 1.96, 5.0, 12.0, 37.0):
        assert scripts(f"normalTails({z})") == pytest.approx(2 * special.ndtr(-z), rel=1e-10, abs=1e-300)
    for df in (1, 2, 5, 19):
        assert scripts(f"studentQuantile({df})") == pytest.approx(special.stdtrit(df, 0.975), rel=1e-12)
    for lost, gained in ((0, 0), (0, 1), (3, 9), (9, 3), (5, 5), (120, 160), (2000, 2400), (0, 60)):
        wanted = float(intervals.mcnemar(lost, gained))
        assert scripts(f"mcnemar({lost}, {gained})") == pytest.approx(wanted, rel=1e-9)
    assert scripts("normalTails(NaN)") is None and scripts("studentTails(Infinity, 19)") == 0


def test_false_discovery_rates_are_scipys(scripts: Scripts) -> None:
    p = np.random.default_rng(0).random(200) ** 3
    p[:4] = [0.0, 1.0, p[5], p[5]]
    found = scripts(f"benjaminiHochberg({p.tolist()})")
    assert close(found, stats.false_discovery_control(p)) and close(found, intervals.benjamini_hochberg(p))
    assert scripts("benjaminiHochberg([NaN, 0.01, 0.04])") == [None, 0.02, 0.04]


# --- numbers, against the tables ---


def test_every_condition_is_the_tables(scripts: Scripts, made: Path) -> None:
    names = scripts("data.runs[0].conditions.map((c) => (c.corruption || c.shift) + c.severity)")
    assert names == ["clean0", "contrast2", "contrast5", "fog3"]
    for index, name in enumerate(names):
        table = heads_under(made, name)
        found = scripts(f"effects(data.runs[0], [{index}], null, 'accuracy')")
        for ours, column in (("value", "drop"), ("lo", "drop_lo"), ("hi", "drop_hi"), ("p", "p"), ("q", "q")):
            assert close(found[ours], table[column]), (name, column)
        found = scripts(f"effects(data.runs[0], [{index}], null, 'loss')")
        for ours, column in (("value", "dloss"), ("lo", "dloss_lo"), ("hi", "dloss_hi")):
            assert close(found[ours], table[column]), (name, column)
        share, lo, hi, n = scripts(f"intact(data.runs[0], {index}, null)")
        assert (share, n) == (table["n_correct_intact"][0] / table["n"][0], table["n"][0])
        assert close([lo, hi], np.ravel(intervals.wilson(table["n_correct_intact"][0], n)))


@pytest.mark.parametrize("scale", ["accuracy", "loss", "lost_rate", "log_odds"])
def test_means_over_conditions_are_the_roll_ups(scripts: Scripts, made: Path, scale: str) -> None:
    tallies = rows(made, "heads.folds.parquet").filter(pl.col("unit") == "head")
    parts = [counts(tallies.filter(pl.col("corruption").eq_missing(pl.lit(name)) & (pl.col("severity") == level)))
             for name, level in ((None, 0), ("contrast", 2), ("contrast", 5), ("fog", 3))]  # fmt: skip
    wanted = contrast.averages(parts[0], parts[1:], scale)
    found = scripts(f"effects(data.runs[0], [1, 2, 3], null, '{scale}')")
    pairs = {"value": "value", "lo": "lo", "hi": "hi", "p": "value_p", "clean": "clean", "diff": "diff", "diffLo": "diff_lo",
             "diffHi": "diff_hi", "diffP": "p"}  # fmt: skip
    for ours, theirs in pairs.items():
        assert close(found[ours], wanted[theirs]), ours
    assert close(found["diffQ"], intervals.benjamini_hochberg(wanted["p"]))
    single = contrast.differences(parts[0], parts[2], scale)
    found = scripts(f"effects(data.runs[0], [2], null, '{scale}')")
    assert (
        close(found["diff"], single["diff"])
        and close(found["diffP"], single["p"])
        and close(found["diffLo"], single["lo"])
    )


def counts(part: pl.DataFrame) -> Counts:
    from vhs.summaries.fold_tallies import fold_counts

    return fold_counts(part)


def scored_again(made: Path, condition: tuple[str | None, int], keep: pl.Expr, heads: list[str]) -> Counts:
    """Tallies [H, F] of chosen samples, counted one by one from the outcomes table."""
    name, level = condition
    table = rows(made, "heads.outcomes.parquet")
    own = table.filter(pl.col("corruption").eq_missing(pl.lit(name)) & (pl.col("severity") == level) & keep)
    units = own["units"][0].split()
    found = np.zeros((len(heads), 20, 5), np.int64)
    for sample, right in own.select("sample", "right").iter_rows():
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(right), np.uint8), bitorder="little")
        fold = int(folds_of(sample_keys([sample]))[0])
        intact = int(bits[units.index("intact")])
        for index, head in enumerate(heads):
            without = int(bits[units.index(head)])
            found[index, fold] += (1, intact, without, intact & ~without & 1, without & ~intact & 1)
    return Counts(found, ("n", "n_correct_intact", "n_correct", "n_lost", "n_gained"))


def test_chosen_classes_are_scored_anew(scripts: Scripts, made: Path) -> None:
    classes = scripts("data.runs[0].samples.classes")[:2]
    heads = scripts("data.runs[0].heads")
    keep = pl.col("class").is_in(classes)
    parts = [scored_again(made, key, keep, heads) for key in ((None, 0), ("contrast", 5), ("fog", 3))]
    mask = f"maskOf(data.runs[0].samples, {{classes: {classes}, groups: {{}}}})"
    found = scripts(f"effects(data.runs[0], [2, 3], {mask}, 'accuracy')")
    wanted = contrast.averages(parts[0], parts[1:], "accuracy")
    assert found["n"] == parts[0].total("n")[0] < 85
    for ours, theirs in (("value", "value"), ("lo", "lo"), ("hi", "hi"), ("diff", "diff"), ("diffP", "p")):
        assert close(found[ours], wanted[theirs]), ours
    single = scripts(f"effects(data.runs[0], [2], {mask}, 'accuracy')")
    lost, gained, n = (parts[1].total(name) for name in ("n_lost", "n_gained", "n"))
    assert close(single["lo"], intervals.bonett_price(lost, gained, n)[0]) and close(
        single["p"], intervals.mcnemar(lost, gained)
    )
    assert scripts(f"effects(data.runs[0], [2], {mask}, 'loss')") is None, (
        "outcomes do not say what an answer's loss was"
    )
    assert scripts(f"intact(data.runs[0], 2, {mask})")[0] == pytest.approx(parts[1].total("n_correct_intact")[0] / n[0])


def test_chosen_groups_are_scored_anew(scripts: Scripts, made: Path) -> None:
    attribute = scripts("data.runs[0].samples.groups.map((g) => g.name)")
    assert attribute == ["label"]
    value = scripts("data.runs[0].samples.groups[0].values")[0]
    table = heads_under(made, "contrast5")
    wanted = rows(made, "heads.csv").filter(
        (pl.col("unit") == "head") & (pl.col("group") == f"label={value}") & (pl.col("corruption") == "contrast") & (pl.col("severity") == 5)
    ).sort("layer", "head")  # fmt: skip
    mask = f"maskOf(data.runs[0].samples, {{classes: null, groups: {{label: ['{value}']}}}})"
    found = scripts(f"effects(data.runs[0], [2], {mask}, 'accuracy')")
    for ours, column in (("value", "drop"), ("lo", "drop_lo"), ("hi", "drop_hi"), ("p", "p"), ("q", "q")):
        assert close(found[ours], wanted[column]), column
    assert found["n"] == wanted["n"][0] < table["n"][0]


def test_nothing_chosen_is_nothing_said(scripts: Scripts) -> None:
    assert scripts("effects(data.runs[0], [], null, 'accuracy')") is None
    assert (
        scripts("effects(data.runs[0], [1], maskOf(data.runs[0].samples, {classes: [], groups: {}}), 'accuracy')")
        is None
    )


def test_without_folds_means_have_no_interval(made: Path, tmp_path: Path, vhs) -> None:
    shutil.copy(made / "heads.csv", "alone.csv")
    code, _, err = vhs("report", "alone.csv", "-o", "alone.html")
    assert code == 0 and "no folds.parquet beside the ablation table: means over conditions have no interval" in err
    found = Scripts(Path("alone.html").read_text())
    table = heads_under(made, "contrast5")
    one = found("effects(data.runs[0], [2], null, 'accuracy')")
    assert close(one["value"], table["drop"]) and close(one["q"], table["q"]) and close(one["hi"], table["drop_hi"])
    loss = found("effects(data.runs[0], [2], null, 'loss')")
    assert close(loss["value"], table["dloss"]) and close(loss["lo"], table["dloss_lo"])
    mean = found("effects(data.runs[0], [1, 2, 3], null, 'accuracy')")
    assert set(mean["lo"]) == set(mean["p"]) == {None} and None not in mean["value"]


# --- the address ---


def test_the_address_keeps_a_choice_and_takes_no_other(scripts: Scripts) -> None:
    scripts(
        "(page.state = {...initial(), left: ['contrast 5'], classes: data.runs[0].samples.classes.slice(1), head: 'L1H0', scale: 'loss'}, 0)"
    )
    address = scripts("toHash()")
    assert scripts(f"JSON.stringify(fromHash({address!r})) === JSON.stringify(page.state)") is True
    scripts("(page.state = initial(), 0)")
    usual = scripts("JSON.stringify(initial())")
    for bad in (
        "x=%220-99%22&h=%22L9H9%22&s=%22toString%22",
        "m=[7]",
        "k=1&g=null&c=5&f=[]",
        "x={",
        "m=[]",
        "s=%22__proto__%22",
        "%",
    ):
        assert scripts(f"JSON.stringify(fromHash({bad!r}))") == usual or "0-99" in bad
    assert scripts("fromHash('x=%220-99%22').left") == ["contrast 2", "contrast 5", "fog 3"]


# --- the page ---


def test_the_page_needs_nothing_else(html: str) -> None:
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', html)
    assert policy is not None and policy[1].startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy[1] and " style=" not in html and not re.search(r'(src|href)="(?!data:|#)', html)
    assert "http://" not in re.sub(r"http://www\.w3\.org/2000/svg", "", html) and "https://" not in html
    assert html.count("<script") == 2 and html.count("</script>") == 2
    assert 30_000 < len(page.script_text()) < 61_000


def test_scripts_off_shows_the_main_picture_and_tables(html: str, made: Path) -> None:
    static = html[: html.index('<script type="text/plain"')]
    assert '<img class="main" src="data:image/svg+xml;base64,' in static
    top = heads_under(made, "clean0").sort("drop", descending=True).row(0, named=True)
    assert f'<tr><th scope="row">{top["heads"]}</th><td class="number">{top["drop"] * 100:+.1f}</td>' in static
    assert "fog 3" in static and "contrast 5" in static
    assert "vhs report heads.csv" in static, "how to make it again"


def test_equal_tables_give_equal_pages(made: Path, html: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vhs", "report", *FILES, "-o", "report.html"], cwd=made, capture_output=True, check=True
    )
    assert done.stdout == b"report.html\n" and (made / "report.html").read_text() == html


def test_names_full_of_markup_stay_text(made: Path, vhs) -> None:
    evil = "<img src=x onerror=alert(1)></script><script>alert(2)</script>\"'&"
    for name in ("heads", "heads.outcomes", "heads.folds", "shift"):
        suffix = "parquet" if "." in name else "csv"
        table = rows(made, f"{name}.{suffix}").with_columns(
            model=pl.lit("<img src=x onerror=alert(1)>"), data=pl.lit(evil)
        )
        if "class" in table.columns:
            table = table.with_columns(pl.lit(evil).alias("class"))
        table.write_parquet(f"evil.{name.replace('.', '-')}.parquet")
    names = ("evil.heads.parquet", "evil.heads-outcomes.parquet", "evil.heads-folds.parquet", "evil.shift.parquet")
    assert vhs("report", *names, "-o", "evil.html")[0] == 0
    text = Path("evil.html").read_text()
    static = text[: text.index('<script type="text/plain"')]
    assert "<img src=x" not in static and "alert(2)</script>" not in static and "&lt;img src=x" in static
    assert Scripts(text)("data.runs[0].samples.classes") == [evil]


def test_what_a_page_is_made_of_belongs_together(made: Path, vhs) -> None:
    outcomes = rows(made, "heads.outcomes.parquet")
    flipped = outcomes.with_columns(right=pl.when(pl.col("shift") == "clean").then(pl.lit("00" * 4)).otherwise("right"))
    shutil.copy(made / "heads.csv", "h.csv")
    flipped.write_parquet("o.parquet")
    code, _, err = vhs("report", "h.csv", "o.parquet", "-o", "p.html")
    assert code == 4 and "under clean the outcomes do not add up to the ablation table" in err
    outcomes.filter(pl.col("corruption").is_null()).write_parquet("o.parquet")
    code, _, err = vhs("report", "h.csv", "o.parquet", "-o", "p.html")
    assert code == 4 and "the outcomes table has no contrast 2" in err
    outcomes.with_columns(right=pl.lit("zz")).write_parquet("o.parquet")
    code, _, err = vhs("report", "h.csv", "o.parquet", "-o", "p.html")
    assert code == 3 and "the outcomes table cannot be read" in err
    shutil.copy(made / "heads.folds.parquet", "h.folds.parquet")
    Path("h.csv").write_text(Path("h.csv").read_text().replace("L0H0", "L0H0", 1) + "")
    tables_changed = rows(made, "heads.csv")[:-1]
    tables_changed.write_csv("h.csv")
    code, _, err = vhs("report", "h.csv", "-o", "p.html")
    assert code == 4 and "was written beside another h.csv" in err and not Path("p.html").exists()


def test_tables_that_are_none_get_a_line(made: Path, vhs) -> None:
    Path("odd.csv").write_text("model,shift,severity,top1,n_correct5\na,clean,0,.5,3\n")
    code, out, err = vhs("report", "odd.csv", "-o", "p.html")
    assert (code, out) == (
        3,
        "",
    ) and "odd.csv: is no vhs table: it is nearest to an evalshift table, of which it lacks model_id" in err
    assert err.count("\n") == 1
    (lines := (made / "heads.csv").read_text().splitlines(keepends=True))
    Path("cut.csv").write_text("".join(lines[:9]) + lines[9][:40])
    code, _, err = vhs("report", "cut.csv")
    assert code == 3 and "ends in the middle of a row" in err
    Path("mixed.csv").write_text((made / "shift.csv").read_text() + "".join(lines[:5]))
    code, _, err = vhs("report", "mixed.csv")
    assert code == 3 and "rows have unlike numbers of fields. Were tables joined?" in err
    assert vhs("report", made / "heads.csv", "-o", "p.pdf")[0] == 2
    code, _, err = vhs("report", "missing.safetensors")
    assert code == 3 and "missing.safetensors: no such file" in err
    assert not list(Path().glob("*.html"))


def test_a_page_down_the_pipe(made: Path, html: str) -> None:
    line = f"cat heads.csv | {sys.executable} -m vhs report -o - - | head -c 200"
    done = subprocess.run(["bash", "-c", line], cwd=made, capture_output=True, text=True)
    assert done.stdout.startswith("<!doctype html>") and "Traceback" not in done.stderr


def test_no_torch_is_needed(made: Path) -> None:
    code = "import sys; from vhs.cli import main; main(sys.argv[1:]); print('torch' in sys.modules)"
    arguments = ["report", *FILES, "vit.safetensors", "--card", "README.md", "-o", "again.html"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=made, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "False", done.stderr


def test_from_python(made: Path, html: str, toy_shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import vhs

    monkeypatch.chdir(made)
    frames = [
        tables.read(name).rows for name in ("heads.csv", "heads.folds.parquet", "heads.outcomes.parquet", "shift.csv")
    ]
    found = Scripts(vhs.report(*frames, title="Mine"))
    assert found("effects(data.runs[0], [1, 2, 3], null, 'accuracy')") == Scripts(html)(
        "effects(data.runs[0], [1, 2, 3], null, 'accuracy')"
    )
    ablated = vhs.ablate("vit.safetensors", toy_shards, shift="fog:3", per_sample=True, quiet=True)
    page_of = vhs.report(ablated, out="python.html")
    assert Path("python.html").read_text() == page_of and Scripts(page_of)("Boolean(data.runs[0].bits)") is True
    assert vhs.plot(ablated, kind="card", head="L0H0", width="column").get_figwidth() == 3.25
    assert vhs.behind(ablated).startswith("accuracy lost without the head (points)")


# --- size ---


@pytest.mark.parametrize(
    ("shape", "samples", "most"), [((6, 4), 500, 1e6), pytest.param((12, 12), 2000, 6e6, marks=pytest.mark.slow)]
)
def test_the_size_of_a_page(shape: tuple[int, int], samples: int, most: float) -> None:
    """76 conditions, where removing a head changes 2 % of answers: the demo's shape under 1 MB, ViT-B's under 6."""
    from tests.large import ablation
    from vhs.reports import opening

    table, tallies, outcomes = ablation(*shape, conditions=76, samples=samples)
    named = opening.Named({"ablate": table, "folds": tallies}, [], {}, [], [outcomes])
    made = page.render(named, None, "vhs report")
    assert most / 6 < len(made) < most, f"{len(made):,} bytes"


# --- the card ---


def test_the_model_card_is_read_by_the_hub(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import ModelCard

    monkeypatch.chdir(made)
    subprocess.run(
        [sys.executable, "-m", "vhs", "report", "vit.safetensors", "heads.csv", "shift.csv", "--card", "README.md"],
        check=True,
        capture_output=True,
    )
    card = ModelCard.load("README.md")
    shift = rows(made, "shift.csv")
    clean, shifted = shift.filter(pl.col("shift") == "clean"), shift.filter(pl.col("shift") != "clean")
    results = {result.dataset_config: result for result in card.data.eval_results}
    assert results["clean"].metric_value == clean["top1"][0] and results["clean"].metric_type == "accuracy"
    assert results["imagenet-c, mean of 3 conditions"].metric_value == pytest.approx(shifted["top1"].mean())
    assert card.data.library_name == "timm" and card.data.pipeline_tag == "image-classification"
    assert f"| clean | {clean['top1'][0]:.1%} |" in card.text and "timm.create_model" in card.text
    code = re.search(r"```python\n(.*?)```", card.text, re.S)
    assert code is not None
    monkeypatch.chdir(made)
    exec(compile(code[1], "card", "exec"), {})


def test_a_card_has_the_corruption_error(made: Path, toy_shards: Path, vhs) -> None:
    from huggingface_hub import ModelCard

    asked = ("--data", toy_shards / "val", "--shift", "imagenet-c", "--max-samples", 20, "--summary", "mce")
    assert vhs("evalshift", made / "vit.safetensors", *asked, "-o", "mce.csv")[0] == 0
    assert vhs("report", made / "vit.safetensors", "mce.csv", "--card", "README.md")[0] == 0
    table = tables.read("mce.csv").rows.filter((pl.col("corruption") == "all") & pl.col("category").is_null())
    result = ModelCard.load("README.md").data.eval_results[0]
    assert (result.metric_type, result.metric_value) == ("mean_error", table["error"][0])


def test_a_card_is_of_one_model(made: Path, vhs) -> None:
    two = rows(made, "shift.csv")
    pl.concat([two, two.with_columns(model_id=pl.lit("other"), model=pl.lit("b.safetensors"))]).write_csv("two.csv")
    code, _, err = vhs("report", "two.csv", "--card", "README.md")
    assert code == 2 and "the tables hold 2 models. Name the checkpoint it is of" in err
    two.with_columns(model_id=pl.lit("other")).write_csv("other.csv")
    code, _, err = vhs("report", made / "vit.safetensors", "other.csv", "--card", "README.md")
    assert code == 2 and "no table is of" in err and not Path("README.md").exists()


# --- what a reviewer found ---


def test_models_called_alike_are_told_apart(made: Path, vhs) -> None:
    for name, wrong in (("heads.csv", "n_lost"), ("shift.csv", "n_correct")):
        one = rows(made, name)
        other = one.with_columns(model_id=pl.lit("ffffff000000"), top1=pl.col("top1") / 2) if "top1" in one.columns else (
            one.with_columns(model_id=pl.lit("ffffff000000"), drop=-pl.col("drop"), n_lost=pl.col("n_gained"), n_gained=pl.col("n_lost")))  # fmt: skip
        one.write_csv(f"a.{name}")
        other.write_csv(f"b.{name}")
        assert wrong in one.columns
    model_id = rows(made, "heads.csv")["model_id"][0]
    code, out, _ = vhs("plot", "a.heads.csv", "b.heads.csv", "--format", "md")
    assert (
        code == 0
        and f"| vit@{model_id[:6]} | L0H0 |" in out
        and "| vit@ffffff | L0H0 |" in out
        and out.count("| L0H0 |") == 2
    )
    code, out, _ = vhs("plot", "a.shift.csv", "b.shift.csv", "--format", "md")
    assert code == 0 and f"| vit@{model_id[:6]} | clean |" in out and "| vit@ffffff | clean |" in out
    assert vhs("report", "a.heads.csv", "b.heads.csv", "a.shift.csv", "b.shift.csv", "-o", "two.html")[0] == 0
    names = Scripts(Path("two.html").read_text())("[...new Set(data.runs.map((run) => run.name))]")
    assert names == [f"vit@{model_id[:6]}", "vit@ffffff"]
    assert vhs("plot", "a.heads.csv", "b.heads.csv", "--model", "vit@ffffff", "-o", "one.png")[0] == 0


def test_families_with_one_corruption_are_told_apart(made: Path, vhs) -> None:
    one = rows(made, "shift.csv")
    stored = one.filter(pl.col("shift") != "clean").with_columns(
        shift=pl.lit("toy-c"), top1=pl.col("top1") / 2, n_correct=pl.col("n_correct") // 2
    )
    pl.concat([one, stored]).write_csv("both.csv")
    code, out, _ = vhs("plot", "both.csv", "--format", "md")
    assert code == 0 and "| contrast (imagenet-c) |" in out and "| contrast (toy-c) |" in out


def test_a_shift_set_is_in_the_same_map(made: Path, toy_shards: Path, vhs) -> None:
    asked = (
        "--data",
        toy_shards / "val",
        "--shift",
        toy_shards / "train",
        "--shift",
        "contrast:5",
        "--per-sample",
        "s.outcomes.parquet",
    )
    assert vhs("ablate", made / "vit.safetensors", *asked, "-o", "s.csv")[0] == 0
    assert vhs("report", "s.csv", "-o", "s.html")[0] == 0
    found = Scripts(Path("s.html").read_text())
    assert found("data.runs.length") == 1 and found("data.runs[0].conditions.map((c) => c.name)") == [
        "clean",
        "toy",
        "contrast 5",
    ]
    assert found("data.runs[0].paired") == [True, False, True]
    table = (
        tables.read("s.csv").rows.filter((pl.col("unit") == "head") & (pl.col("shift") == "toy")).sort("layer", "head")
    )
    alone = found("effects(data.runs[0], [1], null, 'accuracy')")
    assert close(alone["value"], table["drop"]) and close(alone["hi"], table["drop_hi"]) and "diff" not in alone
    assert (alone["n"], found("effects(data.runs[0], [0], null, 'accuracy').n")) == (120, 85)
    assert "diff" in found("effects(data.runs[0], [2], null, 'accuracy')")


def test_several_fills_and_files_are_one_page(made: Path, toy_shards: Path, vhs) -> None:
    for fill in ("zero", "mean"):
        asked = (
            "--data",
            toy_shards / "val",
            "--shift",
            "contrast:5",
            "--fill",
            fill,
            "--fill-data",
            toy_shards / "train",
            "--per-sample",
            f"{fill}.outcomes.parquet",
        )
        assert vhs("ablate", made / "vit.safetensors", *asked, "-o", f"{fill}.csv")[0] == 0
    code, _, err = vhs("report", "zero.csv", "mean.csv", "-o", "fills.html")
    assert code == 0, err
    found = Scripts(Path("fills.html").read_text())
    assert found("data.runs.map((run) => [run.fill, Boolean(run.bits)])") == [["zero", True], ["mean", True]]
    for index, fill in enumerate(("zero", "mean")):
        table = (
            tables.read(f"{fill}.csv")
            .rows.filter((pl.col("unit") == "head") & (pl.col("shift") != "clean"))
            .sort("layer", "head")
        )
        assert close(found(f"effects(data.runs[{index}], [1], null, 'accuracy')")["value"], table["drop"])
    assert (
        vhs(
            "ablate",
            made / "vit.safetensors",
            "--data",
            toy_shards / "val",
            "--unit",
            "layer",
            "--per-sample",
            "l.outcomes.parquet",
            "-o",
            "l.csv",
        )[0]
        == 0
    )
    assert vhs("report", "zero.csv", "l.outcomes.parquet", "-o", "layers.html")[0] == 0, (
        "outcomes of layers are of no head map"
    )


def test_one_or_two_answers_are_no_certainty(scripts: Scripts) -> None:
    assert scripts("jackknife(1, new Array(20).fill(1))") == {"lo": None, "hi": None, "p": None}
    assert scripts("jackknife(0.5, [0.5, 0.4, 0.6])")["p"] is None, "too few folds"
    assert scripts("jackknife(0, new Array(20).fill(0))")["p"] == 1
    assert scripts("SCALES.lost_rate.of({lost: 0, intact: 0, n: 5})") is None
    few = scripts(
        "(data.runs[0].samples.fold.length, replicates(tallied(data.runs[0], 0, Uint8Array.from(data.runs[0].samples.fold, (_, i) => (i < 3 ? 1 : 0))), 6, 'accuracy').without[0].length)"
    )
    assert few <= 3, "folds without samples are no replicates"


def test_effects_on_targets_are_tested_as_the_table_tests_them(tmp_path: Path, vhs) -> None:
    assert vhs("shard", "chirps", "chirps", "--count", 160)[0] == 0
    size = ("--patch", 32, "--depth", 2, "--epochs", 2, "--set", "dim=16", "--heads", 2, "--set", "batch=32")
    assert vhs("train", "chirps", *size, "-o", "chirp.safetensors")[0] == 0
    assert vhs("ablate", "chirp.safetensors", "--shift", "chirps/val-bare", "-o", "h.csv")[0] == 0
    assert vhs("report", "h.csv", "chirp.safetensors", "-o", "c.html", "--card", "README.md")[0] == 0
    assert (
        "that predicts 3 numbers" in Path("README.md").read_text()
        and "| targets | 3: " in Path("README.md").read_text()
    )
    found = Scripts(Path("c.html").read_text())
    table = tables.read("h.csv").rows.filter((pl.col("unit") == "head") & (pl.col("shift") == "clean"))
    for index, target in enumerate(found("data.runs.map((run) => run.target)")):
        own = table.filter(pl.col("target") == target).sort("layer", "head")
        for scale, column in (("relative_error", "dmse_rel"), ("error", "dmse")):
            mine = found(f"effects(data.runs[{index}], [0], null, '{scale}')")
            assert (
                close(mine["value"], own[column])
                and close(mine["lo"], own[f"{column}_lo"])
                and close(mine["hi"], own[f"{column}_hi"])
            )
            assert close(mine["p"], own["p"]) and close(mine["q"], own["q"])
    assert "To choose classes" not in Path("c.html").read_text()


def test_cards_count_no_groups_and_quote_names(made: Path, toy_shards: Path, vhs) -> None:
    name = 'a";import os;os.system("id")#$(id) `x`.safetensors'
    shutil.copy(made / "vit.safetensors", name)
    asked = ("--data", toy_shards / "val", "--shift", "contrast:2,5")
    assert vhs("evalshift", f"./{name}", *asked, "--by", "label", "-o", "g.csv")[0] == 0
    assert vhs("report", "g.csv", f"./{name}", "--card", "README.md")[0] == 0
    text = Path("README.md").read_text()
    assert "| digital, mean of 2 |" in text
    code = re.search(r"```python\n(.*?)```", text, re.S)
    assert code is not None and f"load_file({name!r})" in code[1]
    shell = re.search(r"```sh\nvhs ablate (.*?) --data", text)
    assert (
        shell is not None
        and subprocess.run(["bash", "-c", f"printf %s {shell[1]}"], capture_output=True, text=True).stdout == name
    )
