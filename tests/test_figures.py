"""Figures: what they show stands in the table, and equal tables give equal bytes."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from vhs.errors import InputError, UsageError
from vhs.figures import effects, gallery, learning, paper, style
from vhs.figures.terminal import summary
from vhs.formats import tables

INPUTS = Path(__file__).parent / "transcripts"


def read(name: str) -> pl.DataFrame:
    return tables.read(str(INPUTS / f"{name}.csv"))[1]


def test_the_heat_map_shows_the_tables_drops_and_marks() -> None:
    table = read("heads")
    figure = gallery.draw("ablate", table, None, None)
    image = figure.axes[0].images[0].get_array()
    clean = table.filter((pl.col("shift") == "clean") & (pl.col("unit") == "head"))
    assert np.allclose(image.ravel(), clean["drop"] * 100)
    dots = figure.axes[0].lines[0].get_xydata()
    marked = clean.filter(pl.col("q") < 0.05)
    assert sorted(map(tuple, dots.tolist())) == sorted(zip(marked["head"], marked["layer"], strict=True))
    mean = (
        table.filter((pl.col("shift") != "clean") & (pl.col("unit") == "head"))
        .group_by("layer", "head")
        .agg(pl.col("drop").mean())
    )
    assert np.allclose(figure.axes[1].images[0].get_array(), effects.grid(mean, "drop") * 100)
    norm = figure.axes[0].images[0].norm
    assert norm.vmin == -norm.vmax and norm.vcenter == 0


def test_red_is_for_heads_that_help() -> None:
    red, _, blue, _ = style_colour(1.0)
    assert red > blue
    red, _, blue, _ = style_colour(-1.0)
    assert blue > red


def test_a_missing_cell_is_grey_and_no_effect_is_white() -> None:
    values = np.array([[1.0, np.nan, 0.0]])
    image = style.heat_map(style.new(2, 1).subplots(), values, norm=style.symmetric_norm(values))
    _, missing, none = image.to_rgba(values)[0]
    assert missing.tolist() == [0.85, 0.85, 0.85, 1] and min(none[:3]) > 0.96


def style_colour(value: float):
    import matplotlib as mpl

    return mpl.colormaps[style.DIVERGING](style.symmetric_norm(np.array([1.0, -1.0]))(value))


@pytest.mark.parametrize("form", style.FORMATS)
@pytest.mark.parametrize(("name", "kind"), [("heads", "ablate"), ("shift", "evalshift"), ("agreement", "compare")])
def test_equal_tables_give_equal_bytes(name: str, kind: str, form: str) -> None:
    found = []
    for _ in range(2):
        figure = gallery.draw(kind, read(name), None, None)
        with style.house_style():
            found.append(style.render(figure, form))
    assert found[0] == found[1] and len(found[0]) > 5000


@pytest.mark.parametrize("kind", ["heads", "scatter", "conditions"])
@pytest.mark.parametrize("metric", ["drop", "dloss"])
def test_every_kind_is_labelled(kind: str, metric: str) -> None:
    figure = gallery.draw("ablate", read("heads"), kind, metric)
    words = " ".join(text.get_text() for text in figure.findobj() if hasattr(text, "get_text"))
    assert {"drop": "points", "dloss": "nats"}[metric] in words


def test_severity_curves_start_at_clean() -> None:
    table = read("shift")
    figure = gallery.draw("evalshift", table, None, None)
    line = next(line for line in figure.axes[0].lines if len(line.get_xdata()) > 2)
    clean = table.filter(pl.col("shift") == "clean")["top1"][0] * 100
    assert line.get_xdata().tolist() == [0, 3, 5] and line.get_ydata()[0] == pytest.approx(clean)


def test_only_clean_is_drawn_too() -> None:
    clean = read("heads").filter(pl.col("shift") == "clean")
    assert len(gallery.draw("ablate", clean, None, None).axes) == 2
    with pytest.raises(InputError, match="needs clean and a shift"):
        gallery.draw("ablate", clean, "scatter", None)


def test_a_mixture_of_fills_is_not_averaged() -> None:
    table = read("heads")
    mixed = pl.concat([table, table.with_columns(fill=pl.lit("mean"))])
    with pytest.raises(InputError, match=r"several values of `fill` \(mean, zero\)"):
        gallery.draw("ablate", mixed, None, None)


def test_a_part_of_a_family_is_never_called_the_family() -> None:
    title = effects.shifted_title(read("heads").filter(pl.col("shift") != "clean"))
    assert title == "mean over 4 conditions of 2 corruptions"


@pytest.mark.parametrize("name", ["heads", "shift", "agreement"])
def test_summaries_fit_a_terminal(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    lines = summary(read(name)).splitlines()
    assert len(lines) < 45 and max(map(len, lines)) <= 110 and "\x1b" not in "".join(lines)


def test_a_contact_sheet_of_an_image_and_of_a_shard_set(vhs, toy_shards: Path) -> None:
    from PIL import Image

    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)).save("photo.png")
    assert vhs("plot", "photo.png")[:2] == (0, "photo.contact.png\n")
    assert vhs("plot", toy_shards / "val", "-o", "sheet.png")[0] == 0
    for name in ("photo.contact.png", "sheet.png"):
        assert Image.open(name).size[0] > 2000
    code, out, err = vhs("plot", "photo.png", "sheet.png")
    assert (code, out) == (2, "") and "is drawn alone" in err
    code, out, err = vhs("plot", "missing.jpg")
    assert (code, out) == (3, "") and "missing.jpg: cannot be read: No such file" in err


def test_rollups_redundancy_groups_and_twins_are_drawn(vhs, toy_checkpoint: Path, toy_shards: Path) -> None:
    """Each from a real run; what the panels hold is counted."""
    shift = ("--shift", "contrast:2,5", "--shift", "fog:3")
    assert vhs("ablate", toy_checkpoint, *shift, "--fill", "zero,twin", "--unit", "only", "-o", "o.csv")[0] == 0
    assert vhs("ablate", toy_checkpoint, *shift, "--fill", "twin", "-o", "h.csv")[0] == 0
    assert vhs("ablate", toy_checkpoint, *shift, "-o", "z.csv")[0] == 0
    assert vhs("compare", "z.csv", "--summary", "rollup", "-o", "r.csv")[0] == 0
    assert vhs("compare", "z.csv", "--summary", "redundancy", "-o", "d.csv")[0] == 0
    assert vhs("evalshift", toy_checkpoint, *shift, "--by", "label", "-o", "g.csv")[0] == 0
    twins = tables.read("h.csv")[1].unique(["shift", "corruption", "severity"], maintain_order=True)["n_correct_intact"]
    damaged = int((twins[0] - twins >= 10).sum())
    assert 0 < damaged < 3, "some lose enough to be drawn"
    for name, kind, panels in (("r", None, 3), ("d", None, 1), ("g", "groups", 4), ("h", "restored", damaged)):
        table = tables.read(f"{name}.csv")
        figure = gallery.draw(table[0].name, table[1], kind, None)
        assert sum(axes.get_visible() for axes in figure.axes) - (name == "r") == panels, name
    bars = gallery.draw("redundancy", tables.read("d.csv")[1], None, None).axes[0].patches
    assert sum(bar.get_height() for bar in bars) == 4 * 6, "every head of every condition in one of three parts"
    assert vhs("plot", "o.csv", "--fill", "median")[0] == 3
    code, _, err = vhs("plot", toy_shards / "train", toy_shards / "val", "--class", "bee", "-o", "bees.png")
    assert code == 0 and Path("bees.png").stat().st_size > 5000, err
    code, _, err = vhs("plot", toy_shards / "train", toy_shards / "val", "--class", "yak")
    assert code == 4 and "not the class yak" in err


def logs(runs: int) -> pl.DataFrame:
    rows = [
        {"model": f"run-{run}.safetensors", "epoch": epoch, "step": 9 * epoch, "steps_planned": 27, "lr": 1e-3,
         "train_loss": 2 / epoch, "n": 8, "n_correct": epoch + run % 4, "top1": (epoch + run % 4) / 8, "loss": 1 / epoch}
        for run in range(runs) for epoch in (1, 2, 3)
    ]  # fmt: skip
    return pl.DataFrame(rows)


@pytest.mark.parametrize("runs", [1, 3, 9, 12])
def test_learning_curves_are_a_line_a_run_in_its_own_colour(runs: int) -> None:
    figure = learning.classification(logs(runs))
    drawn = figure.axes[1].lines
    assert [line.get_xdata().tolist() for line in drawn] == [[1, 2, 3]] * runs
    assert len({str(line.get_color()) for line in drawn}) == runs
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert named[0] == "run-0 (37.5 %)" and len(named) == runs


def test_runs_are_grouped_with_their_spread() -> None:
    with paper.drawn_for(paper.parse(group_by=r"run-[0-3]")):
        figure = gallery.draw(
            "train", logs(4).with_columns(pl.col("model").str.replace("run-[0-3]", "run-0-x")), None, None
        )
    assert len(figure.axes[1].lines) == 1
    table = logs(8).with_columns(model=pl.col("model").str.replace(r"run-(\d)", "${1}-of") + pl.when(
        pl.col("model").str.contains("[0-3]")).then(pl.lit("a")).otherwise(pl.lit("b")))  # fmt: skip
    with paper.drawn_for(paper.parse(group_by="([ab])$")):
        figure = gallery.draw("train", table, None, None)
    lines, bands = figure.axes[1].lines, figure.axes[1].collections
    last = table.filter(pl.col("model").str.ends_with("a") & (pl.col("epoch") == 3))["top1"] * 100
    assert len(lines) == 2 and lines[0].get_ydata()[-1] == pytest.approx(last.mean())
    edges = bands[0].get_paths()[0].vertices[:, 1]
    assert edges.max() == pytest.approx(last.mean() + last.std())
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert f"a ({last.mean():.1f} ± {last.std():.1f} %, 4 runs)" in words
    with pytest.raises(UsageError, match="groups none of the models"), paper.drawn_for(paper.parse(group_by="zzz")):
        gallery.draw("train", logs(3), None, None)
    with pytest.raises(UsageError, match="is no regular expression"), paper.drawn_for(paper.parse(group_by="(")):
        gallery.draw("train", logs(3), None, None)


def test_targets_of_several_runs_are_not_drawn_as_one() -> None:
    rows = [{"model": name, "epoch": 1, "step": 9, "train_loss": 1.0, "target": "time", "n": 8, "mse": 1.0, "r2": 0.1}
            for name in "ab"]  # fmt: skip
    with pytest.raises(InputError, match="one run"):
        learning.regression(pl.DataFrame(rows))


def test_legends_are_words_not_mathtext() -> None:
    """Class names may hold dollars, so mathtext is off, and no formatter may count on it."""
    figure = gallery.draw("ablate", read("heads"), None, None)
    texts = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert texts and not any("$" in text for text in texts)


def test_a_part_of_a_table_is_marked_in_the_headline() -> None:
    figure = gallery.draw("ablate", read("heads"), "conditions", None)
    told = figure.get_suptitle()
    style.mark(figure, "part of a table")
    assert " ".join(figure.get_suptitle().split()) == " ".join(f"part of a table: {told}".split())
    with paper.drawn_for(paper.parse(title="")):
        bare = gallery.draw("ablate", read("heads"), "conditions", None)
        assert bare.get_suptitle() == ""
        style.mark(bare, "part of a table")
    assert bare.get_suptitle() == "part of a table"


def test_a_roll_up_draws_families_not_the_corruptions_that_two_of_them_share() -> None:
    from vhs.figures.rollup import _order

    shared = ["sparkles (imagenet-c-bar)", "sparkles (cifar-c-bar)"]
    assert _order(["imagenet-c-bar", "cifar-c-bar", "plasma_noise", *shared]) == ["imagenet-c-bar", "cifar-c-bar"]
    assert _order(["noise", "noise (imagenet-3dcc)", "fog"]) == ["noise", "noise (imagenet-3dcc)"]
    assert _order(shared) == shared
