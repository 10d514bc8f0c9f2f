"""Effective robustness beside published models: known answers, rules, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.special import ndtr, ndtri
from scipy.stats import linregress

from vhs.errors import InputError, MismatchError
from vhs.formats import schemas
from vhs.formats.tables import frame
from vhs.roles import baselines, robustness
from vhs.shifts.names import FAMILIES

N = 50_000


def shift_table(
    model: str, clean: float, shifted: dict[tuple[str, str | None, int], float], n: int = N
) -> pl.DataFrame:
    """A shift table of one model."""
    rows: list[dict[str, Any]] = []
    for (shift, corruption, severity), top in {("clean", None, 0): clean, **shifted}.items():
        rows.append({
            "model": model, "model_id": model, "seed": None, "step": None, "data": f"{shift}/val", "split": "val",
            "shift": shift, "category": None, "corruption": corruption, "severity": severity, "origin": "stored",
            "group": "all", "label_set": "all", "n": n, "n_correct": round(top * n), "top1": top, "top1_lo": top,
            "top1_hi": top, "n_correct5": 1, "top5": 1.0, "loss": 1.0, "ece": 0.1, "size": "1x1", "preprocess": "x",
        })  # fmt: skip
    return frame(schemas.EVALSHIFT, rows)


def published(count: int = 24, bend: float = 0.0) -> pl.DataFrame:
    clean = np.linspace(0.6, 0.85, count)
    shifted = ndtr(0.8 * ndtri(clean) - 0.9 + bend * np.sin(np.arange(count) * 2.0))
    names = [f"net{number}" for number in range(count)]
    return baselines.read(
        pl.DataFrame({"model": names, "shift": "imagenet-sketch", "clean": clean, "shifted": shifted})
    )


SKETCH = ("imagenet-sketch", None, 0)


def test_what_lies_on_the_line_of_published_models_has_no_effective_robustness() -> None:
    on = shift_table("mine", 0.7, {SKETCH: ndtr(0.8 * ndtri(0.7) - 0.9)})
    above = shift_table("better", 0.75, {SKETCH: ndtr(0.8 * ndtri(0.75) - 0.9) + 0.05})
    row, other = robustness.effective(pl.concat([on, above]), known=published()).iter_rows(named=True)
    assert abs(row["effective"]) < 1e-4 and row["n_models"] == 24 and row["shift"] == "imagenet-sketch"
    assert other["effective"] == pytest.approx(0.05, abs=1e-4)
    alone = robustness.effective(above, known=published()).row(0, named=True)
    assert alone["expected"] == other["expected"], "other models of the table are no references"


def test_the_line_and_its_interval_are_those_of_the_published_models() -> None:
    """Against SciPy's regression, and a bootstrap of our own that draws models and, image by image, answers."""
    known = published(30, bend=0.1)
    row = robustness.effective(shift_table("mine", 0.7, {SKETCH: 0.35}), known=known).row(0, named=True)
    x, y = (ndtri(known[name].to_numpy()) for name in ("clean", "shifted"))
    own = ndtri(row["clean"])
    fit = linregress(x, y)
    assert row["expected"] == pytest.approx(ndtr(fit.intercept + fit.slope * own), abs=1e-9)
    rng, draws = np.random.default_rng(1), []
    for _ in range(2000):
        chosen = rng.integers(0, 30, 30)
        drawn = linregress(x[chosen], y[chosen])
        clean, shifted = ((rng.random(N) < row[name]).mean() for name in ("clean", "shifted"))
        draws.append(shifted - ndtr(drawn.intercept + drawn.slope * ndtri(clean)))
    lo, hi = np.quantile(draws, [0.025, 0.975])
    width = hi - lo
    assert abs(row["effective_lo"] - lo) < 0.15 * width and abs(row["effective_hi"] - hi) < 0.15 * width
    assert row["effective_lo"] < row["effective"] < row["effective_hi"]


@pytest.mark.parametrize("images", [200, pytest.param(5000, marks=pytest.mark.slow)])
def test_intervals_of_models_on_the_line_hold_it(images: int) -> None:
    """Reference models and the model measured on images, which a shift only takes right answers from."""
    rng, runs, held = np.random.default_rng(5), 60, 0
    slope, offset, own = 0.8, -0.9, 0.72
    for number in range(runs):
        clean = rng.uniform(0.6, 0.85, 24)
        shifted = ndtr(slope * ndtri(clean) + offset + rng.normal(0, 0.02, 24))
        known = baselines.read(pl.DataFrame({
            "model": [f"net{n}" for n in range(24)], "shift": "imagenet-sketch",
            "clean": rng.binomial(N, clean) / N, "shifted": rng.binomial(N, shifted) / N,
        }))  # fmt: skip
        right = rng.random(images) < own
        still = right & (rng.random(images) < ndtr(slope * ndtri(own) + offset) / own)
        table = shift_table("mine", right.mean(), {SKETCH: still.mean()}, n=images)
        row = robustness.effective(table, known=known, seed=number).row(0, named=True)
        held += row["effective_lo"] <= 0 <= row["effective_hi"]
    assert 0.95 - 3 * np.sqrt(0.05 * 0.95 / runs) <= held / runs


def test_rules_are_those_for_own_models() -> None:
    """20 models at least, the model itself left out, nothing beyond their clean accuracies."""
    table = shift_table("timm:net3.in1k", 0.7, {SKETCH: 0.35})
    assert robustness.effective(table, known=published(21))["n_models"].to_list() == [20]
    assert robustness.effective(table, known=published(21))["effective"][0] is not None
    assert robustness.effective(table, known=published(20))["effective"][0] is None
    for clean in (0.55, 0.9):
        row = robustness.effective(shift_table("mine", clean, {SKETCH: 0.35}), known=published()).row(0, named=True)
        assert row["n_models"] == 24 and row["effective"] is None and row["expected"] is None
    assert baselines.is_same("timm:net3.in1k", "net3") and baselines.is_same("net3.in1k", "net3.in1k")
    assert not baselines.is_same("net3.in1k", "net3.in21k") and not baselines.is_same("net31", "net3")


def test_a_family_is_its_mean_and_only_whole() -> None:
    cells = [("imagenet-c", name, severity) for name in FAMILIES["imagenet-c"] for severity in range(1, 6)]
    tops = {cell: 0.2 + 0.005 * number for number, cell in enumerate(cells)}
    known = published().with_columns(shift=pl.lit("imagenet-c"))
    row = robustness.effective(shift_table("mine", 0.7, tops), known=known).row(0, named=True)
    mean = np.mean([(round(top * N) + 0.5) / (N + 1) for top in tops.values()])
    assert (row["shift"], row["corruption"], row["severity"]) == ("imagenet-c", None, 0)
    assert row["shifted"] == pytest.approx(mean, abs=1e-12) and row["effective"] is not None
    single = known.with_columns(corruption=pl.lit("fog"), severity=pl.lit(3, pl.Int64))
    row = robustness.effective(shift_table("mine", 0.7, tops), known=single).row(0, named=True)
    assert (row["corruption"], row["severity"]) == ("fog", 3)
    tops.pop(cells[0])
    with pytest.raises(MismatchError, match="no condition of the shift table is among them; they are of imagenet-c"):
        robustness.effective(shift_table("mine", 0.7, tops), known=known)


def test_the_published_table() -> None:
    known = baselines.read("published")
    assert len(known) == 24 and known["model"].n_unique() == 24 and set(known["shift"]) == {"imagenet-sketch"}
    deit = known.row(by_predicate=pl.col("model") == "deit_tiny_patch16_224.fb_in1k", named=True)
    assert (deit["clean"], deit["shifted"]) == (0.7219, 0.2014)
    row = robustness.effective(shift_table("mine", 0.78, {SKETCH: 0.27}), known=known).row(0, named=True)
    assert row["n_models"] == 24 and abs(row["effective"]) < 0.05


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model,shift,clean\na,b,.5\n", "lacks the column shifted of baselines"),
        ("model,shift,clean,shifted\na,b,76.1,24\n", "a under b has 76.1 and 24.0; expected shares between 0 and 1"),
        ("model,shift,clean,shifted\na,b,.7,\n", "a under b has 0.7 and None"),
        ("model,shift,clean,shifted\na,b,.7,good\n", "Accuracies are numbers such as"),
        ("model,shift,clean,shifted\na,b,.7,.5\na,b,.7,.4\n", "a stands twice under b"),
        ("", "cannot be read"),
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "known.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        baselines.read(path)


def test_the_command_takes_them_and_its_table_is_drawn_and_told(tmp_path: Path, vhs) -> None:
    shift_table("mine", 0.7, {SKETCH: 0.35}).write_parquet("shift.parquet")
    published(30, bend=0.1).write_csv("known.csv")
    code, out, err = vhs(
        "compare", "shift.parquet", "--summary", "effective", "--baselines", "known.csv", "-o", "e.csv"
    )
    assert code == 0, err
    table = pl.read_csv("e.csv")
    assert len(table) == 1 and table["n_models"][0] == 30
    assert vhs("plot", "e.csv", "-o", "e.png")[0] == 0
    assert "20 published ones around them" in vhs("info", "--say", "e.csv")[1]
    code, out, err = vhs("compare", "shift.parquet", "--summary", "mce", "--baselines", "known.csv")
    assert (code, out) == (2, "") and "--baselines: belongs to --summary effective" in err
    code, out, err = vhs("compare", "shift.parquet", "--summary", "effective")
    assert code == 4 and "--baselines takes published ones" in err
    code, out, err = vhs("compare", "shift.parquet", "--summary", "effective", "--baselines", "missing.csv")
    assert code == 3 and "missing.csv: cannot be read" in err


def test_one_model_alone_has_ticks_around_it_and_a_dash_for_what_is_expected() -> None:
    from vhs.figures import models

    row = {"model": "m.safetensors", "model_id": "0" * 12, "recipe": "m", "step": None, "seed": 0, "data": "d/val", "shift": "imagenet-sketch", "corruption": None, "severity": 0,
           "clean": 0.8, "shifted": 0.3, "expected": 0.31, "effective": -0.01, "effective_lo": -0.02, "effective_hi": 0.01, "n_models": 24, "n": 100}  # fmt: skip
    (axes,) = models.effective(pl.DataFrame([row])).axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["20", "30", "40"]
    assert [line.get_marker() for line in axes.lines if len(line.get_xdata()) == 1].count("_") == 1
