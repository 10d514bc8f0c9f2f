"""mCE: AlexNet against itself, published cells, missing cells, intervals."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from vhs.errors import MismatchError
from vhs.formats import schemas
from vhs.formats.tables import frame
from vhs.measures import mce
from vhs.measures.mce import ALEXNET, ALEXNET_CLEAN, AVERAGED
from vhs.summaries import mce as summaries

PUBLISHED = Path(__file__).parent / "data" / "imagenet_c_5k_top1.csv"
N = 10**6


def shift_table(
    errors_CS: np.ndarray, clean: float | None = None, model: str = "m", origin: str = "stored"
) -> pl.DataFrame:
    """An evalshift table with these errors."""
    cells = [("imagenet-c", name, s + 1, errors_CS[c, s]) for c, name in enumerate(AVERAGED) for s in range(5)]
    if clean is not None:
        cells.insert(0, ("clean", None, 0, clean))
    rows = []
    for shift, corruption, severity, error in cells:
        right = round(N * (1 - error))
        rows.append({
            "model": model, "model_id": model, "data": "imagenet/val", "shift": shift, "corruption": corruption,
            "severity": severity, "origin": origin, "group": "all", "label_set": "all", "n": N, "n_correct": right,
            "top1": right / N, "top1_lo": 0.0, "top1_hi": 1.0, "n_correct5": N, "top5": 1.0, "loss": 1.0, "ece": 0.0,
            "size": "224x224", "preprocess": "resize 256, crop 224; model 224x224",
        })  # fmt: skip
    return frame(schemas.EVALSHIFT, rows)


def of(table: pl.DataFrame, corruption: str = "all", category: str | None = None) -> dict:
    found = table.filter((pl.col("corruption") == corruption) & pl.col("category").eq_missing(category))
    return found.row(0, named=True)


def test_alexnet_against_itself_is_exactly_one() -> None:
    table = summaries.summarise(shift_table(ALEXNET, ALEXNET_CLEAN), mce.alexnet())
    whole = of(table)
    assert whole["ce"] == pytest.approx(1, abs=1e-9) and whole["relative_ce"] == pytest.approx(1, abs=1e-9)
    assert mce.summarise(ALEXNET, None, list(range(15)), mce.alexnet()).ce == 1
    assert whole["metric"] == "mce" and len(table) == 15 + 4 + 1


def test_the_constants_have_the_published_means() -> None:
    means = {"gaussian_noise": 0.886428, "glass_blur": 0.826268, "snow": 0.866816, "jpeg_compression": 0.6065}
    for name, mean in means.items():
        assert ALEXNET[AVERAGED.index(name)].mean() == pytest.approx(mean, abs=1e-6)


def test_published_cells_fed_as_tables_give_the_published_mce(vhs) -> None:
    cells = pl.read_csv(PUBLISHED)
    order = [(name, severity) for name in AVERAGED for severity in range(1, 6)]
    by = {(name, severity): row for name, severity, *row in cells.rows()}
    alexnet, resnet = (1 - np.array([by[cell][i] for cell in order]).reshape(15, 5) for i in (0, 1))
    shift_table(alexnet, model="alexnet").write_csv("alexnet.csv")
    shift_table(resnet, model="resnet50").write_csv("resnet50.csv")
    code, _, err = vhs("compare", "resnet50.csv", "--summary", "mce", "--normalise-by", "alexnet.csv", "-o", "mce.csv")
    assert code == 0, err
    whole = of(pl.read_csv("mce.csv"))
    assert whole["ce"] == pytest.approx(0.76377, abs=1e-5) and whole["metric"] == "mce_normalised"
    assert vhs("plot", "mce.csv", "-o", "mce.png")[0] == 0 and Path("mce.png").stat().st_size > 10_000


def test_a_missing_cell_stops_the_mean_and_is_named(vhs) -> None:
    table = shift_table(ALEXNET).filter(~((pl.col("corruption") == "fog") & (pl.col("severity") == 4)))
    with pytest.raises(MismatchError, match="no mean over a part: fog:4 not measured"):
        summaries.summarise(table, mce.alexnet())
    table.write_csv("t.csv")
    code, out, err = vhs("compare", "t.csv", "--summary", "mce")
    assert code == 4 and out == "" and "fog:4 not measured" in err
    with pytest.raises(MismatchError, match="stands in the table twice"):
        summaries.summarise(pl.concat([shift_table(ALEXNET)] * 2), mce.alexnet())


def test_generated_images_are_named_so() -> None:
    table = summaries.summarise(shift_table(ALEXNET, origin="generated"), mce.alexnet())
    assert of(table)["metric"] == "mce_generated"
    assert of(summaries.summarise(shift_table(ALEXNET), None))["metric"] == "mean_error"


def test_intervals_are_clustered_by_sample() -> None:
    """A difficulty shared by all 75 conditions of a sample widens the interval of the mean."""
    rng = np.random.default_rng(0)
    samples, folds = 4000, rng.integers(0, 20, 4000)
    shared = rng.random((samples, 1, 1)) < 0.5
    wrong = np.broadcast_to(shared, (samples, 15, 5))
    n = np.bincount(folds, minlength=20)
    tallies = {
        ("m", name, s + 1): (n, n - np.bincount(folds, wrong[:, c, s], minlength=20).astype(int))
        for c, name in enumerate(AVERAGED) for s in range(5)
    }  # fmt: skip
    errors = wrong.mean(0)
    lo, hi = mce.summarise(errors, None, list(range(15)), None, summaries._left_out(tallies, "m")).bounds
    independent = 2 * 1.96 * np.sqrt(0.25 / (samples * 75))
    assert 5 < (hi - lo) / independent < 14  # sqrt(75) = 8.7


def test_evalshift_summarises_its_own_run(vhs, toy_checkpoint: Path) -> None:
    code, _, err = vhs("evalshift", toy_checkpoint, "--shift", "imagenet-c", "--summary", "mce", "-o", "m.csv")
    table = pl.read_csv("m.csv")
    assert code == 0, err
    whole = of(table)
    assert (
        whole["metric"] == "mean_error"
        and whole["lo"] < whole["error"] < whole["hi"]
        and whole["frost"] in ("procedural", "generated")
    )
    code, _, err = vhs("evalshift", toy_checkpoint, "--shift", "contrast", "--summary", "mce")
    assert code == 4 and "no mean over a part: gaussian_noise:1, gaussian_noise:2, gaussian_noise:3 and 67 more" in err
