"""Figures for a page: every kind at column and page width, its panels, title and letters; the table behind; cards."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from tests.commands import run_in
from vhs.errors import UsageError
from vhs.figures import behind, effects, gallery, paper, style, words
from vhs.formats import tables

SHIFT = ("--shift", "contrast", "--shift", "fog:3,5")
TABLES = {
    "ablate": "heads.csv", "evalshift": "shift.csv", "calibration": "shift.calibration.parquet", "heads": "looks.csv",
    "pairs": "looks.pairs.parquet", "compare": "agreement.csv", "contrast": "agreement.contrast.parquet", "rollup": "rollup.csv",
    "redundancy": "redundancy.csv", "shifts": "shifts.csv", "metrics": "metrics.csv", "roles": "roles.csv", "mce": "mce.csv",
    "train": "vit.train.csv", "routing": "routing.csv", "prune": "prune.csv", "estimated": "estimated.csv", "matches": "matches.csv",
    "arms": "arms.csv",
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, toy_shards: Path) -> Path:
    """Tables of real runs of two small models."""
    folder = tmp_path_factory.mktemp("pages")
    data = toy_shards / "val"
    size = (
        "--depth",
        "3",
        "--set",
        "dim=16",
        "--heads",
        "2",
        "--set",
        "patch=14",
        "--epochs",
        "3",
        "--set",
        "batch=24",
    )
    run_in(folder, [
        ("train", toy_shards, *size, "-o", "vit.safetensors"),
        ("train", toy_shards, *size, "--seed", "1", "-o", "other.safetensors"),
        ("ablate", "vit.safetensors", "--data", data, *SHIFT, "-o", "heads.csv"),
        ("evalshift", "vit.safetensors", "--data", data, *SHIFT, "--by", "label", "-o", "shift.csv"),
        ("evalshift", "vit.safetensors", "--data", data, "--shift", "imagenet-c", "--summary", "mce", "-o", "mce.csv"),
        ("specialize", "vit.safetensors", "--data", data, "--shift", "fog:3", "-o", "looks.csv"),
        (
            "specialize",
            "vit.safetensors",
            "--data",
            data,
            "--shift",
            "fog:3",
            "--top-images",
            "2",
            "--maps",
            "maps.safetensors",
        ),
        ("specialize", "vit.safetensors", "--data", data, "--against", "other.safetensors", "-o", "matches.csv"),
        ("compare", "heads.csv", "-o", "agreement.csv"),
        ("compare", "heads.csv", "--summary", "rollup", "-o", "rollup.csv"),
        ("compare", "heads.csv", "--summary", "redundancy", "-o", "redundancy.csv"),
        ("compare", "heads.csv", "--summary", "shifts", "-o", "shifts.csv"),
        ("compare", "looks.csv", "heads.csv", "--summary", "metrics", "-o", "metrics.csv"),
        ("compare", "looks.csv", "heads.csv", "--summary", "roles", "-o", "roles.csv"),
        (
            "ablate",
            "vit.safetensors",
            "--data",
            data,
            *SHIFT,
            "--fill",
            "mean-flat,mean-map,donor-map",
            "-o",
            "routes.csv",
        ),
        ("compare", "routes.csv", "--summary", "routing", "--tolerance", ".05", "-o", "routing.csv"),
        ("prune", "vit.safetensors", "heads.csv", "--data", data, "--shift", "fog:3", "--curve", "prune.csv"),
        ("ablate", "vit.safetensors", "--data", data, *SHIFT, "--method", "taylor", "-o", "taylor.csv"),
        ("compare", "heads.csv", "shift.csv", "--summary", "arms", "-o", "arms.csv"),
        ("compare", "taylor.csv", "--exact", "heads.csv", "-o", "estimated.csv"),
    ])  # fmt: skip
    return folder


def table(made: Path, kind: str) -> pl.DataFrame:
    return tables.read(str(made / TABLES[kind])).rows


def folds(made: Path) -> pl.DataFrame:
    return tables.read(str(made / "heads.folds.parquet")).rows


def drawn(made: Path, kind: str, name: str | None = None, **asked: object) -> Figure:
    with paper.drawn_for(paper.parse(**asked)):  # type: ignore[arg-type]
        figure = gallery.draw(kind, table(made, kind), name, None, folds(made) if kind == "ablate" else None)
        style.render(figure, "png")
    return figure


KINDS = [
    (kind, name)
    for kind in TABLES
    for name in gallery.FIGURES[kind]
    if name not in ("trajectory", "restored", "regions")
]


@pytest.mark.parametrize("width", ["column", pytest.param("page", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("kind", "name"), KINDS)
def test_every_kind_fits_its_page(
    made: Path, kind: str, name: str, width: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No word that is drawn is cut off at the edge, or too small to read."""
    words_drawn: list[Text] = []
    plain = Text.draw

    def draw(self: Text, *arguments: object, **named: object) -> None:
        words_drawn.append(self)
        plain(self, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Text, "draw", draw)
    figure = drawn(made, kind, name, width=width)
    assert figure.get_figwidth() == paper.WIDTHS[width] and figure.get_figheight() < 11
    whole = figure.bbox
    for text in words_drawn:
        if text.get_text().strip() and text.get_visible():
            box = text.get_window_extent()
            inside = (
                box.x0 >= whole.x0 - 3 and box.x1 <= whole.x1 + 3 and box.y0 >= whole.y0 - 3 and box.y1 <= whole.y1 + 3
            )
            assert inside, f"{text.get_text()!r} is cut off"
            assert text.get_fontsize() >= paper.READABLE - 0.01, text.get_text()
    assert len(words_drawn) > 5


def test_panels_are_drawn_alone(made: Path) -> None:
    figure = drawn(made, "evalshift", width="column", panel="fog")
    assert [axes.get_title(loc="left") for axes in figure.axes if axes.get_visible()] == ["fog"]
    assert len(drawn(made, "ablate", panel="clean against shift").axes) == 2, "the scatter and its colours"
    with pytest.raises(UsageError, match="--panel snow: this figure has contrast or fog"):
        drawn(made, "evalshift", panel="snow")
    with pytest.raises(UsageError, match="--panel x: this figure has one panel"):
        drawn(made, "roles", panel="x")


def test_titles_letters_and_widths(made: Path) -> None:
    assert drawn(made, "ablate").get_suptitle().startswith("vit on toy/val, n = 85")
    assert (
        drawn(made, "ablate", title="Mine").get_suptitle() == "Mine"
        and drawn(made, "ablate", title="").get_suptitle() == ""
    )
    assert drawn(made, "ablate", width="5.5").get_figwidth() == 5.5 == drawn(made, "ablate", width=5.5).get_figwidth()
    large = drawn(made, "ablate", font=14.0)
    assert large.axes[0].xaxis.label.get_fontsize() == 14
    for bad in ("wide", "0.2", "900", "-3", "3cm"):
        with pytest.raises(UsageError, match=f"--width {bad}: expected column, page or inches from 1.5 to 40"):
            paper.parse(width=bad)
    with pytest.raises(UsageError, match="--font-size 99: expected 4 to 40 points"):
        paper.parse(font=99.0)


# --- what is drawn is what stands in the table ---


def test_the_mean_over_shifts_has_the_folds_interval(made: Path) -> None:
    from vhs.summaries.rollup import over_shifts

    heads = effects.single_fill(table(made, "ablate"))
    mean = effects.over_shifts(heads, "drop", folds(made))
    known = over_shifts(folds(made), "accuracy")
    assert mean is not None and mean.bounded and mean.dots == effects.DIFFERS
    assert np.allclose(mean.low_LH, effects.grid(known, "lo") * 100) and np.array_equal(
        mean.marked_LH, effects.grid(known, "q") < 0.05
    )
    figure = drawn(made, "ablate", "scatter")
    bars = figure.axes[0].collections
    lengths = [
        np.diff(segment[:, 1])[0]
        for part in bars
        for segment in getattr(part, "get_segments", list)()
        if segment[0, 0] == segment[1, 0]
    ]
    assert sorted(np.round(lengths, 9)) == sorted(np.round((known["hi"] - known["lo"]).to_numpy() * 100, 9))
    alone = effects.over_shifts(heads, "drop")
    assert alone is not None and not alone.bounded and "half of the conditions" in alone.dots
    other = folds(made).with_columns(n_lost=pl.col("n_lost") + 1)
    assert not effects.over_shifts(heads, "drop", other).bounded, "folds of another table are not believed"  # type: ignore[union-attr]


def test_blocks_hold_every_condition(made: Path) -> None:
    figure = drawn(made, "ablate", "conditions")
    rows = table(made, "ablate").filter(pl.col("unit") == "head")
    blocks = {axes.get_title(loc="left"): axes for axes in figure.axes if axes.get_title(loc="left")}
    assert list(blocks) == ["clean", "contrast", "fog"]
    values = np.ma.filled(blocks["contrast"].images[0].get_array(), np.nan)
    for index, severity in enumerate((1, 2, 3, 4, 5)):
        own = rows.filter((pl.col("corruption") == "contrast") & (pl.col("severity") == severity))
        assert np.allclose(values[:, 3 * index : 3 * index + 2], effects.grid(own, "drop") * 100), severity
        dots = {tuple(point) for line in blocks["contrast"].lines for point in line.get_xydata().tolist()}
        marked = own.filter(pl.col("q") < 0.05)
        assert {(3 * index + head, layer) for layer, head in marked.select("layer", "head").rows()} <= dots
    assert np.isnan(values[:, 2]).all(), "a gap between two maps"


def test_agreement_shows_every_severity_and_the_ceilings(made: Path) -> None:
    rows = table(made, "compare").filter((pl.col("metric") == "loss") & ~pl.col("within_layer"))
    figure = drawn(made, "compare", panel="loss, all heads")
    axes = figure.axes[0]
    dots = np.concatenate(
        [
            part.get_offsets()
            for part in axes.collections
            if len(part.get_offsets()) > 0 and part.get_paths()[0].vertices.shape[0] > 10
        ]
    )
    assert sorted(np.round(dots[:, 0], 9)) == sorted(np.round(rows["r"].to_numpy(), 9))
    assert [label.get_text() for label in axes.get_yticklabels()] == ["contrast", "fog"]
    contrast = rows.filter(pl.col("b").str.contains("contrast"))
    bar = next(
        line for line in axes.lines if len(line.get_xdata()) == 2 and line.get_ydata()[0] == 0 and line.get_lw() > 1
    )
    assert list(bar.get_xdata()) == pytest.approx([contrast["lo"].min(), contrast["hi"].max()])


def test_contrasts_lie_by_corruption(made: Path) -> None:
    rows = table(made, "contrast").filter(pl.col("scale") == "accuracy")
    image = drawn(made, "contrast").axes[0].images[0].get_array()
    conditions = rows["b"].unique(maintain_order=True).to_list()
    first = rows.filter((pl.col("layer") == 1) & (pl.col("head") == 1) & (pl.col("b") == conditions[3]))
    assert image.shape == (6, 7) and image[3, 3] == pytest.approx(first["diff"][0] * 100)


def test_attention_has_heads_in_order_and_joins_clean_and_shift(made: Path) -> None:
    rows = table(made, "heads").filter((pl.col("metric") == "nmi") & (pl.col("weighting") == "attention"))
    axes = drawn(made, "heads", panel="NMI of query and key").axes[0]
    clean = rows.filter(pl.col("shift") == "clean").sort("layer", "head")
    points = axes.containers[0].lines[0].get_xydata()
    assert np.allclose(points[:, 1], clean["value"]) and (np.diff(points[:, 0]) > 0).all()
    joined = next(part for part in axes.collections if len(part.get_segments()) == 6 and part.get_linewidth()[0] == 0.9)
    ends = np.array([segment[:, 1] for segment in joined.get_segments()])
    assert np.allclose(ends[:, 0], clean["value"]) and np.allclose(
        ends[:, 1], rows.filter(pl.col("shift") != "clean").sort("layer", "head")["value"]
    )
    assert axes.get_ylim()[0] == 0


def test_divergence_has_a_difference(made: Path) -> None:
    figure = drawn(made, "pairs", "matrix")
    arrays = {
        axes.get_title(loc="left"): axes.images[0].get_array()
        for axes in figure.axes
        if axes.images and axes.get_title(loc="left")
    }
    assert list(arrays) == ["clean", "fog 3", "shift less clean"]
    assert np.allclose(arrays["shift less clean"], arrays["fog 3"] - arrays["clean"])


def test_chance_is_drawn_where_it_is_known(made: Path) -> None:
    axes = drawn(made, "evalshift").axes[0]
    assert any(list(line.get_ydata()) == [20.0, 20.0] for line in axes.lines), "5 classes"
    old = table(made, "evalshift").with_columns(n_classes=pl.lit(None, pl.Int64))
    assert not any(line.get_linestyle() == ":" for line in gallery.draw("evalshift", old, None, None).axes[0].lines)


def test_reliability_is_the_calibration_table(made: Path) -> None:
    rows = table(made, "calibration").filter(
        (pl.col("shift") == "clean") & (pl.col("group") == "all") & (pl.col("n") >= 10)
    )
    axes = drawn(made, "calibration", panel="clean").axes[0]
    line = next(
        line for line in axes.lines if len(line.get_xdata()) == len(rows) and list(line.get_xdata()) != [0, 100]
    )
    assert np.allclose(line.get_ydata(), 100 * (rows["n_correct"] / rows["n"]).to_numpy())
    ece = table(made, "evalshift").filter((pl.col("shift") == "clean") & (pl.col("group") == "all"))["ece"][0]
    assert f"ECE {100 * ece:.1f} %" in axes.get_title(loc="left")


def test_groups_of_models_have_the_interval_over_them(made: Path) -> None:
    from scipy import stats

    one = table(made, "evalshift").filter(pl.col("group") == "all")
    several = pl.concat(
        [
            one.with_columns(model=pl.lit(f"seed{seed}.safetensors"), top1=pl.col("top1") + 0.01 * seed)
            for seed in range(3)
        ]
    )
    with paper.drawn_for(paper.parse(group_by="seed")):
        figure = gallery.draw("evalshift", several, None, None)
    axes = figure.axes[0]
    clean = several.filter(pl.col("shift") == "clean")["top1"].to_numpy() * 100
    assert axes.lines[0].get_ydata()[0] == pytest.approx(clean.mean())
    band = axes.collections[0].get_paths()[0].vertices
    half = stats.t.ppf(0.975, 2) * stats.sem(clean)
    assert band[band[:, 0] == 0][:, 1].max() == pytest.approx(clean.mean() + half)


# --- words ---


def test_a_condition_is_written_one_way() -> None:
    assert (
        words.condition("imagenet-c", "gaussian_noise", 3)
        == "gaussian noise 3"
        == words.named("imagenet-c/gaussian_noise:3")
    )
    assert (
        words.condition("clean", None, 0) == "clean" == words.named("clean")
        and words.named("imagenet-r") == "imagenet-r"
    )


# --- the command ---


def vhs(made: Path, *arguments: object) -> tuple[int, str, str]:
    done = subprocess.run([sys.executable, "-m", "vhs", *map(str, arguments)], cwd=made, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_pictures_are_as_wide_as_asked(made: Path) -> None:
    from PIL import Image

    assert vhs(made, "plot", "heads.csv", "--width", "column", "-o", "c.png")[0] == 0
    assert Image.open(made / "c.png").size[0] == round(3.25 * 300)
    assert vhs(made, "plot", "maps.safetensors", "--width", "page", "-o", "m.png")[0] == 0
    assert Image.open(made / "m.png").size[0] == round(6.875 * 300)
    code, _, err = vhs(made, "plot", "heads.csv", "--width", "wide")
    assert code == 2 and "--width wide: expected column, page or inches" in err
    code, out, _ = vhs(made, "plot", "shift.csv", "--panel", "fog")
    assert (code, out) == (0, "shift.fog.png\n"), "a panel has a name of its own"


def test_folds_of_another_table_are_named_and_left_out(made: Path, tmp_path: Path) -> None:
    for name in ("heads.csv", "heads.folds.parquet"):
        shutil.copy(made / name, tmp_path / name)
    table(made, "ablate").filter(pl.col("corruption").ne_missing("fog")).write_csv(tmp_path / "heads.csv")
    code, _, err = vhs(tmp_path, "plot", "heads.csv")
    assert (
        code == 0
        and "heads.folds.parquet: was written beside another heads.csv: means over shifts have no intervals" in err
    )


def test_the_table_behind_a_figure(made: Path) -> None:
    code, out, _ = vhs(made, "plot", "heads.csv", "--format", "md")
    lines = out.splitlines()
    assert code == 0 and lines[2] == "| head | clean | q | under shift |" and len(lines) == 4 + 6
    clean = (
        table(made, "ablate")
        .filter((pl.col("shift") == "clean") & (pl.col("unit") == "head") & (pl.col("heads") == "L1H0"))
        .row(0, named=True)
    )
    cell = f"{clean['drop'] * 100:.1f} [{clean['drop_lo'] * 100:.1f}, {clean['drop_hi'] * 100:.1f}]".replace("-", "−")
    assert f"| L1H0 | {cell} | {clean['q']:.2g} |" in out
    code, out, _ = vhs(made, "plot", "shift.csv", "-o", "shift.tex")
    text = (made / "shift.tex").read_text()
    assert (code, out) == (0, "shift.tex\n") and text.count(r"\\") == 1 + 3 and r"\begin{tabular}{lllllll}" in text
    assert text.count("&") == 6 * 4, "one cell a severity"
    code, _, err = vhs(made, "plot", "maps.safetensors", "--format", "tex")
    assert code == 2 and "tex and md are of tables" in err
    code, _, err = vhs(made, "plot", "heads.csv", "--format", "tex", "-o", "t.md")
    assert code == 2 and "the suffix says md and --format says tex" in err


@pytest.mark.parametrize("kind", TABLES)
def test_every_table_has_one_behind_it(made: Path, kind: str) -> None:
    rows = table(made, kind)
    markdown = behind.render(kind, rows, None, None, "md")
    body = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in body}) == 1 and len(body) > 2
    latex = behind.render(kind, rows, None, None, "tex")
    plain = re.sub(r"\\[a-z]+\{\}|\\[&%$#_{}]", "", latex)
    assert "#" not in plain and "_" not in plain and plain.count("{") == plain.count("}")


def test_names_are_escaped_for_latex() -> None:
    made = behind.Behind("50 % of a_b & {c}", ["x"], [["$1^2~\\"]])
    text = behind._latex(made)
    assert r"50 \% of a\_b \& \{c\}" in text and r"\$1\textasciicircum{}2\textasciitilde{}\textbackslash{}" in text


# --- the card of a head ---


def test_a_card_holds_all_that_is_known_of_a_head(made: Path) -> None:
    from PIL import Image

    files = ("heads.csv", "looks.csv", "roles.csv", "routing.csv", "maps.safetensors")
    code, out, err = vhs(made, "plot", *files, "--kind", "card", "--head", "L1H0")
    assert (code, out) == (0, "heads.card.L1H0.png\n"), err
    assert min(Image.open(made / "heads.card.L1H0.png").size) > 800
    from vhs.figures import card, selection
    from vhs.formats import map_file

    found = [tables.read(str(made / name)) for name in files[:4]]
    by_kind = selection.by_kind(found, list(files[:4]), None)
    figure = card.draw(by_kind, [map_file.read(made / "maps.safetensors")], (1, 0))
    rows = table(made, "ablate").filter((pl.col("heads") == "L1H0") & (pl.col("unit") == "head"))
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes}
    assert {"contrast", "fog"} <= set(panels)
    curve = panels["contrast"].lines[1]
    wanted = [
        rows.filter(pl.col("shift") == "clean"),
        *(rows.filter((pl.col("corruption") == "contrast") & (pl.col("severity") == s)) for s in range(1, 6)),
    ]
    assert list(curve.get_xdata()) == [0, 1, 2, 3, 4, 5] and np.allclose(
        curve.get_ydata(), [part["drop"][0] * 100 for part in wanted]
    )
    told = figure.get_suptitle().replace("\n", " ")
    assert told.startswith("L1H0 of vit costs") and "on average over 7 shifted conditions" in told
    facts = " ".join(text.get_text() for text in figure.findobj(Text))
    assert (
        "NMI of query and key: " in facts
        and "routing part: " in facts
        and "what it looks at: the images that drive it most" in facts
    )


def test_a_card_is_of_one_head_of_one_model(made: Path) -> None:
    code, _, err = vhs(made, "plot", "heads.csv", "--kind", "card")
    assert code == 2 and "--kind card: is of one head. Name it with --head L3H1" in err
    code, _, err = vhs(made, "plot", "heads.csv", "--kind", "card", "--head", "L9H9")
    assert code == 3 and "have no head L9H9" in err
    assert vhs(made, "plot", "heads.csv", "--kind", "card", "--head", "heads.csv", "-o", "strongest.png")[0] == 0
    other = table(made, "heads").with_columns(model_id=pl.lit("another"), model=pl.lit("another"))
    other.write_csv(made / "another.csv")
    code, _, err = vhs(made, "plot", "heads.csv", "another.csv", "--kind", "card", "--head", "L1H0")
    assert code == 2 and "is of one model; the tables and maps are of 2" in err


# --- what a reviewer found ---


def test_what_a_figure_does_not_know_is_refused(made: Path) -> None:
    code, _, err = vhs(made, "plot", "agreement.csv", "--group-by", "vit")
    assert code == 2 and "--group-by vit: severity curves and training logs have groups; this has none" in err
    code, _, err = vhs(made, "plot", "shift.csv", "--group-by", "zzz")
    assert code == 2 and "--group-by zzz: groups none of the models vit" in err
    code, _, err = vhs(made, "plot", "heads.csv", "--format", "md", "--panel", "clean")
    assert code == 2 and "--panel clean: is of figures" in err
    code, out, _ = vhs(made, "plot", "heads.csv", "--format", "tex", "--title", "My & own")
    assert code == 0 and r"\caption{My \& own}" in out
    code, out, _ = vhs(made, "plot", "shift.csv", "--kind", "groups", "--format", "md")
    assert code == 0 and "label=" in out
    code, out, _ = vhs(made, "plot", "agreement.csv", "--metric", "loss", "--format", "md")
    assert code == 0 and "accuracy" not in out.split("\n\n")[1]


def test_a_figure_without_room_says_so(made: Path) -> None:
    code, _, err = vhs(made, "plot", "heads.csv", "--font-size", "40", "--width", "column")
    assert code == 2 and "Take a smaller --font-size or a larger --width" in err and "UserWarning" not in err
    figure = drawn(made, "ablate", "conditions", panel="clean")
    assert min(figure.get_size_inches()) > 2


def test_text_stays_on_its_line() -> None:
    made = behind.Behind("c", ["x"], [["a\n\nb <img> | c"]])
    assert behind._markdown(made).splitlines()[-1] == "| a b &lt;img> \\| c |" and "a b" in behind._latex(made)
