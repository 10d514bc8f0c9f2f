"""What tables say together: shifts, metrics, trajectories, effective robustness, recipes; on planted numbers and by
simulation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.special import ndtr, ndtri
from scipy.stats import rankdata, spearmanr

from vhs.counts import SCALE
from vhs.errors import VhsError
from vhs.formats import schemas
from vhs.formats.tables import frame
from vhs.measures import association, role_rules
from vhs.roles import importance, models, robustness, roles, shifts, trajectory
from vhs.roles.recipes import recipe_of, run_of
from vhs.seeds import FOLDS

RUN = {"model": "m", "model_id": "i", "step": 9, "seed": 0, "data": "d/val", "origin": "generated", "group": "all",
       "label_set": "all", "category": None, "corruption": None, "severity": 0, "module": "attn"}  # fmt: skip
UNIT = {"unit": "head", "fill": "zero", "method": "exact", "rescale": "none", "precision": "float32", "target": "class",
        "n_correct_intact": 30, "n_correct": 30, "n_lost": 0, "n_gained": 0, "n_near_tie": 0, "loss_intact_sum": 0,
        "dloss_sq_sum": 0, "n": 40}  # fmt: skip
PER_LAYER = 4


def place(head: int) -> dict[str, int]:
    return {"layer": head // PER_LAYER, "head": head % PER_LAYER}


def folds_of(
    effects_KH: dict[tuple[str, str | None, int], np.ndarray], rng: np.random.Generator, noise: float, **keys: object
) -> pl.DataFrame:
    """A folds table whose losses are these effects with noise by fold; keys of conditions: shift, corruption, severity.
    The noise of an image is the same under all conditions by half, as of shared images."""
    rows, shared = [], None
    for (shift, corruption, severity), effects_H in effects_KH.items():
        if shared is None:
            shared = rng.normal(size=(len(effects_H), FOLDS))
        own = (shared + rng.normal(size=shared.shape)) / np.sqrt(2) * noise
        for head, value in enumerate(effects_H):
            for fold in range(FOLDS):
                rows.append(RUN | UNIT | place(head) | {
                    "shift": shift, "corruption": corruption, "severity": severity, "fold": fold,
                    "dloss_sum": int((value + own[head, fold]) * 40 * SCALE),
                } | keys)  # fmt: skip
    return frame(schemas.FOLDS, rows)


def heads_of(values: dict[str, np.ndarray], **keys: object) -> pl.DataFrame:
    rows = [
        RUN | {"shift": "clean", "metric": name, "query": "all", "weighting": "attention", "n": 100, "value": float(v),
               "lo": float(v) - 0.01, "hi": float(v) + 0.01, "in_unit": "1"} | place(head) | keys
        for name, of_heads in values.items() for head, v in enumerate(of_heads)
    ]  # fmt: skip
    return frame(schemas.HEADS, rows)


# --- shifts ---


def test_shifts_that_other_heads_serve_fall_into_clusters() -> None:
    rng = np.random.default_rng(0)
    noise, blur = rng.normal(size=(2, 24))
    effects = {("clean", None, 0): noise + 0.3 * rng.normal(size=24)}
    for name, served in (
        ("gaussian_noise", noise),
        ("shot_noise", noise),
        ("fog", blur),
        ("snow", blur),
        ("frost", blur),
    ):
        for severity in (1, 3):
            effects["imagenet-c", name, severity] = served + 0.2 * rng.normal(size=24)
    table = shifts.shifts(folds_of(effects, rng, 0.6), ("loss",))
    overall = table.filter(~pl.col("within_layer") & (pl.col("level") == "corruption"))
    cluster = dict(overall.select("a", "cluster_a").iter_rows()) | dict(overall.select("b", "cluster_b").iter_rows())
    assert cluster["gaussian_noise"] == cluster["shot_noise"] == cluster["clean"] == 1
    assert cluster["fog"] == cluster["snow"] == cluster["frost"] == 0, "the larger cluster comes first"
    row = overall.filter((pl.col("a") == "gaussian_noise") & (pl.col("b") == "shot_noise")).row(0, named=True)
    assert row["n_conditions_a"] == 2 and row["disattenuated"] > 0.9 > row["r"] - 0.1
    alone = overall.filter(pl.col("a") == pl.col("b"))
    assert np.allclose(alone["r"], alone["reliability_a"]) and np.allclose(alone["disattenuated"], 1)
    with pytest.raises(VhsError, match="have one condition"):
        shifts.shifts(folds_of({("clean", None, 0): noise}, rng, 0.1), ())


def test_noise_taken_out_the_correlation_of_shifts_is_the_true_one() -> None:
    """Sampling errors shared by half; a true correlation of .6, over 20 draws of 60 heads."""
    rng, found = np.random.default_rng(1), []
    for _ in range(12):
        a = rng.normal(size=60)
        b = 0.6 * a + 0.8 * rng.normal(size=60)
        folds = folds_of({("clean", None, 0): a, ("imagenet-c", "fog", 1): b}, rng, 3.0)
        table = shifts.shifts(folds, ("loss",)).filter(~pl.col("within_layer") & (pl.col("a") != pl.col("b")))
        found.append(table["disattenuated"][0])
    assert abs(np.mean(found) - 0.58) < 0.08, found


# --- metrics ---


def test_metrics_beside_importance_by_hand() -> None:
    rng = np.random.default_rng(2)
    layers = np.arange(32) // PER_LAYER
    measure = rng.normal(size=32)
    effect = 0.5 * layers + 1.5 * measure + 0.3 * rng.normal(size=32)
    heads = heads_of({"good": measure, "bad": rng.normal(size=32), "order": measure, "flat": np.ones(32)})
    folds = folds_of({("clean", None, 0): effect, ("imagenet-c", "fog", 2): -effect}, rng, 0.05)
    table = importance.metrics(heads, folds, ("loss",))
    assert set(table["metric"]) == {"good", "bad"} and table.height == 4
    good = table.filter((pl.col("metric") == "good") & (pl.col("shift") == "clean")).row(0, named=True)
    seen = folds.filter(pl.col("shift") == "clean").group_by("layer", "head", maintain_order=True).agg(
        pl.col("dloss_sum").sum()
    ).sort("layer", "head")["dloss_sum"].to_numpy()  # fmt: skip
    assert np.isclose(good["r"], spearmanr(measure, seen)[0])
    ranks = [rankdata(part) for part in (seen, layers, measure)]
    ours = [np.corrcoef(ranks[0], layers)[0, 1] ** 2]
    design = np.stack([np.ones(32), layers, ranks[2]], 1)
    fitted = design @ np.linalg.lstsq(design, ranks[0], rcond=None)[0]
    whole = 1 - ((ranks[0] - fitted) ** 2).sum() / ((ranks[0] - ranks[0].mean()) ** 2).sum()
    assert np.isclose(good["r2_layer"], ours[0]) and np.isclose(good["r2_added"], whole - ours[0])
    assert good["p"] < 0.001 and good["p_added"] < 1e-6 and good["reliability"] > 0.9 < good["reliability_metric"]
    assert good["measured_under"] == "clean" and good["lo"] < good["r"] < good["hi"]
    fog = table.filter((pl.col("metric") == "good") & (pl.col("shift") != "clean")).row(0, named=True)
    assert fog["measured_under"] == "clean" and fog["r"] < -0.5
    within = [rankdata(part[layers == layer]) - 2.5 for layer in range(8) for part in (measure, seen)]
    a, b = np.concatenate(within[::2]), np.concatenate(within[1::2])
    assert np.isclose(good["r_within"], a @ b / np.sqrt((a @ a) * (b @ b)), atol=0.05)
    with pytest.raises(VhsError, match="share no model"):
        importance.metrics(heads.with_columns(model_id=pl.lit("other")), folds, ("loss",))


def test_incremental_variance_is_what_was_put_in() -> None:
    """Depth explains a third and the measure another quarter of normal importances; ranks lose a few hundredths."""
    rng, found = np.random.default_rng(3), []
    for _ in range(40):
        layers = np.repeat(np.arange(12), 12)
        depth, measure = (layers - layers.mean()) / layers.std(), rng.normal(size=144)
        effect = np.sqrt(1 / 3) * depth + 0.5 * measure + np.sqrt(5 / 12) * rng.normal(size=144)
        found.append(association.added(measure, effect, layers)[:2])
    of_layer, more = np.mean(found, axis=0)
    assert abs(of_layer - 1 / 3) < 0.04 and abs(more - 0.25) < 0.04, (of_layer, more)


def test_levels_and_coverage_of_rank_correlations() -> None:
    rng, rejected, added, covered = np.random.default_rng(4), 0, 0, 0
    layers = np.repeat(np.arange(6), 4)
    for _ in range(300):
        x, y = rng.normal(size=(2, 24))
        ranks = association.ranks(np.stack([x, y]))
        rejected += association.permutation_p(ranks[:1], ranks[1], None, 0)[0] <= 0.05
        added += association.added(x, y + 0.5 * layers, layers)[2] <= 0.05
        z = 0.6 * x + 0.8 * rng.normal(size=24)
        lo, hi = association.rank_interval(np.array([spearmanr(x, z)[0]]), 24)
        covered += lo[0] <= 0.5821 <= hi[0]  # 6 / pi arcsin(.3)
    bound = 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)
    assert rejected / 300 <= bound and added / 300 <= bound and covered / 300 > 0.92


# --- trajectories, recipes ---


def test_trajectory_of_a_run_that_learns_its_heads() -> None:
    rng = np.random.default_rng(5)
    end = np.abs(rng.normal(size=24)) ** 3
    parts = [
        folds_of({("clean", None, 0): share * end + (1 - share) * rng.random(24)}, rng, 0.05, step=step,
                 model=name, model_id=name)
        for share, step, name in ((0, 1, "v.snapshots/step-1.safetensors"), (0.5, 8, "v.snapshots/step-8.safetensors"),
                                  (1, 64, "v.safetensors"))
    ]  # fmt: skip
    table = trajectory.trajectories(pl.concat(parts), ("loss",))
    assert table["run"].to_list() == ["v"] * 3 and table["step"].to_list() == [1, 8, 64]
    assert table["gini"][0] < table["gini"][1] < table["gini"][2] and (table["gini_lo"] <= table["gini"]).all()
    assert abs(table["r"][0]) < 0.5 < table["r"][1] < table["r"][2] and np.isclose(table["disattenuated"][2], 1)
    with pytest.raises(VhsError, match="no run has two snapshots"):
        trajectory.trajectories(parts[0], ())


def test_gini_of_known_values() -> None:
    assert association.gini(np.array([1.0, 1, 1, 1])) == 0
    assert np.isclose(association.gini(np.array([0.0, 0, 0, 1])), 0.75)
    assert np.isclose(association.gini(np.array([[1.0, 2, 3], [-5, 0, 4]])), [2 / 9, 2 / 3]).all()
    assert association.gini(np.zeros(3)) == 0


@pytest.mark.parametrize(
    ("model", "seed", "run", "recipe"),
    [
        ("runs/6h-2.safetensors", 2, "runs/6h-2", "6h"), ("runs/6h-2.snapshots/step-000004.safetensors", 2, "runs/6h-2", "6h"),
        ("vit.safetensors", 0, "vit", "vit"), ("dom-4.safetensors", 0, "dom-4", "dom-4"),
        ("wide_seed11.safetensors", 11, "wide_seed11", "wide"), ("timm:vit_tiny", None, "timm:vit_tiny", "timm:vit_tiny"),
        ("7.safetensors", 7, "7", "7"),
    ],
)  # fmt: skip
def test_runs_and_recipes_are_told_by_names(model: str, seed: int | None, run: str, recipe: str) -> None:
    assert run_of(model) == run and recipe_of(model, seed) == recipe


# --- many models ---


def many(rng: np.random.Generator, *, worth: float = 0.0) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, float]]:
    """(heads, shift table, extra robustness by model): two recipes of five seeds with six checkpoints each, whose shifted
    accuracy follows the clean one, and `worth` times how far their heads' maps lie apart, on the probit scale."""
    heads, shift, extra = [], [], {}
    for recipe in ("3h", "6h"):
        for seed in range(5):
            for step in (1, 4, 16, 64, 256, 1024):
                end = step == 1024
                name = f"runs/{recipe}-{seed}" + ("" if end else f".snapshots/step-{step}") + ".safetensors"
                apart = 0.05 + 0.02 * np.log2(step) / 10 + 0.01 * rng.normal()
                clean = 0.3 + 0.05 * np.log2(step) + 0.02 * rng.normal()
                shifted = ndtr(ndtri(clean) * 0.9 - 0.4 + worth * (apart - 0.06) + 0.02 * rng.normal())
                extra[name] = worth * (apart - 0.06)
                keys = {"model": name, "model_id": name, "seed": seed, "step": step}
                heads.append(heads_of({"jsd_layer": apart + 0.01 * rng.random(8), "entropy": rng.random(8)}, **keys))
                for condition, top in (("clean", clean), ("imagenet-c", shifted)):
                    shift.append(RUN | keys | {
                        "shift": condition, "corruption": None if condition == "clean" else "fog",
                        "severity": 0 if condition == "clean" else 3, "n": 10000, "n_correct": round(top * 10000),
                        "top1": top, "top1_lo": top, "top1_hi": top, "n_correct5": 1, "top5": 1.0, "loss": 1.0,
                        "ece": 0.1, "size": "1x1", "preprocess": "x",
                    })  # fmt: skip
    return pl.concat(heads), frame(schemas.EVALSHIFT, shift), extra


def test_effective_robustness_is_what_was_put_in() -> None:
    _, shift, extra = many(np.random.default_rng(6), worth=12.0)
    table = robustness.effective(shift).filter(pl.col("shift") == "mean")
    known = table.drop_nulls("effective")
    assert 30 < known.height < 60 and (known["n_models"] == 54).all()
    assert (
        np.corrcoef(known["effective"], [extra[name] for name in known["model"]])[0, 1] > 0.75
    )  # the line takes a part
    lowest = table.sort("clean").row(0, named=True)
    assert lowest["effective"] is None, "no model of another run is as bad: that would be extrapolation"
    few = robustness.effective(shift.filter(pl.col("seed") < 2))
    assert few["effective"].null_count() == len(few), "18 models of other runs are too few"


def test_models_say_whether_heads_specialize_and_whether_that_predicts_robustness() -> None:
    rng = np.random.default_rng(7)
    heads, shift, _ = many(rng, worth=8.0)
    table = models.models(heads, shift)

    def row(question: str, what: str, **others: str) -> dict[str, object]:
        wanted = pl.all_horizontal(
            pl.col(name) == value for name, value in ({"question": question, "what": what} | others).items()
        )
        return table.filter(wanted).row(0, named=True)

    learned = row("learned", "jsd_layer", recipe="all", statistic="mean")
    assert 0 < learned["lo"] < 0.02 < learned["hi"] and learned["n_models"] == 10 and learned["q"] is None
    last = row("predicts", "jsd_layer", statistic="mean", against="last")
    assert last["n_models"] == 10 and last["lo"] < last["value"] < last["hi"]
    predicts = row("predicts", "jsd_layer", statistic="mean")
    assert predicts["value"] > 0.5 and predicts["lo"] > 0 and predicts["p"] < 0.01 and predicts["n_models"] == 60
    difference = row("difference", "shifted", recipe="6h", against="3h")
    last = shift.filter((pl.col("step") == 1024) & (pl.col("shift") != "clean")).sort("model")
    means = [last.filter(pl.col("model").str.contains(name))["top1"].to_numpy() for name in ("3h", "6h")]
    from scipy.stats import ttest_ind

    welch = ttest_ind(means[1], means[0], equal_var=False)
    assert np.isclose(difference["value"], means[1].mean() - means[0].mean(), atol=1e-4)
    assert np.isclose(difference["p"], welch.pvalue, atol=0.01)
    assert np.isclose(difference["lo"], welch.confidence_interval().low, atol=2e-3)
    nothing = models.models(*many(np.random.default_rng(8))[:2])
    assert nothing.filter((pl.col("question") == "predicts") & (pl.col("what") == "jsd_layer"))["p"][0] > 0.01


@pytest.mark.slow
def test_level_of_prediction_where_specialization_is_worth_nothing() -> None:
    found = []
    for seed in range(40):
        table = models._values(*many(np.random.default_rng(100 + seed))[:2])
        own = table.filter((pl.col("what") == "entropy") & (pl.col("statistic") == "mean"))
        found += [row["p"] for row in models._predictions(own, None, 0)]
    assert np.mean(np.array(found) <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 40)


@pytest.mark.slow
def test_whole_runs_are_permuted_not_their_checkpoints() -> None:
    """Runs that differ by more than their checkpoints do, and a measure that has nothing to do with it."""
    rng, rejected, total = np.random.default_rng(12), 0, 60
    for _ in range(total):
        runs, kinds = np.repeat(np.arange(10), 6), np.repeat(np.arange(2), 30)
        x, y = (3 * rng.normal(size=10)[runs] + rng.normal(size=60) for _ in range(2))
        p = models._permuted_p(x, y, rng.normal(size=60), (runs, kinds), rng)
        rejected += p is not None and p <= 0.05
    assert rejected / total <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / total)
    assert models._permuted_p(x[1:], y[1:], y[1:] ** 2, (runs[1:], kinds[1:]), rng) is None


@pytest.mark.slow
def test_checkpoints_count_once_and_data_sets_are_kept_apart() -> None:
    heads, shift, _ = many(np.random.default_rng(13))
    plain = models.models(heads, shift)
    name = "runs/3h-0"
    again = [
        part.filter(pl.col("model") == f"{name}.safetensors").with_columns(
            model=pl.lit(f"{name}.snapshots/step-1024.safetensors"), model_id=pl.lit(f"{name}.safetensors")
        ) for part in (heads, shift)
    ]  # fmt: skip
    other = shift.filter(pl.col("shift") != "clean").with_columns(shift=pl.lit("imagenet-r"), data=pl.lit("r/val"))
    own = shift.filter(pl.col("shift") == "clean").with_columns(shift=pl.lit("clean_c"))
    one_more = shift.filter((pl.col("shift") != "clean") & pl.col("model").str.contains("6h")).with_columns(
        severity=pl.lit(5, pl.Int64), n_correct=pl.lit(100, pl.Int64)
    )  # fmt: skip
    for further in ((again[1],), (own,), (one_more,)):
        table = models.models(pl.concat([heads, again[0]]), pl.concat([shift, *further]))
        assert table.select("value", "n_models").equals(plain.select("value", "n_models"))
    both = models.models(heads, pl.concat([shift, other]))
    assert both["n_models"].equals(plain["n_models"]), "another set's images are another condition, not another model"
    two = pl.concat([shift, shift.with_columns(data=pl.lit("e/val"))])
    with pytest.raises(VhsError, match=r"has clean images of d/val and of e/val\. Compare them apart\."):
        robustness.effective(two)
    effects = {("clean", None, 0): np.arange(24.0), ("imagenet-c", "fog", 1): np.arange(24.0)}
    folds = folds_of(effects, np.random.default_rng(0), 0.1)
    with pytest.raises(VhsError, match="has clean images of d/val and of e/val"):
        shifts.shifts(pl.concat([folds, folds.with_columns(data=pl.lit("e/val"))]), ())


# --- from the command line ---


def test_summaries_from_the_command_line(toy_checkpoint: Path, vhs) -> None:
    options = ("--shift", "contrast:2,5", "--shift", "fog:3")
    assert vhs("ablate", toy_checkpoint, *options, "-o", "a.csv")[0] == 0
    assert vhs("specialize", toy_checkpoint, "--shift", "fog:3", "-o", "h.csv")[0] == 0
    for summary, sources in (("shifts", ("a.csv",)), ("metrics", ("h.csv", "a.csv"))):
        code, _, err = vhs("compare", *sources, "--summary", summary, "-o", "s.csv")
        assert code == 0, err
        assert vhs("plot", "s.csv", "-o", "s.png")[0] == 0
        code, out, err = vhs("info", "--say", "s.csv")
        assert code == 0 and len(out) > 60, err
    code, _, err = vhs("compare", "h.csv", "--summary", "metrics")
    assert code == 2 and "takes a heads table and an ablate or ablate_regression table together" in err
    code, _, err = vhs("compare", "a.csv", "--summary", "trajectory")
    assert code == 2 and "no run has two snapshots" in err
    metrics = pl.read_csv("s.csv")
    assert set(metrics.filter(pl.col("corruption") == "fog")["measured_under"]) == {"the same"}
    assert set(metrics.filter(pl.col("corruption") == "contrast")["measured_under"]) == {"clean"}


# --- a name for each head ---


def role_tables(rng: np.random.Generator) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Heads of which the first few are surely something: positional, local, follower of edges, sink, reader, chirp; the
    eighth carries noise."""
    count = 12
    values = {
        "positional": np.full(count, 0.2), "distance_ratio": np.full(count, 1.0), "sink_mass": np.full(count, 0.1),
        "class_mass": np.full(count, 0.1), "offset": np.full(count, 0.3),
    }  # fmt: skip
    values["positional"][0], values["distance_ratio"][1] = 0.9, 0.2
    values["sink_mass"][3], values["class_mass"][4] = 0.8, 0.7
    heads = [heads_of(values)]
    for metric, of, planted, band in (("follows", "edges", 2, 0.02), ("follows", "brightness", None, 0.02),
                                      ("region_excess", "chirp", 5, None), ("follows", "centre", 6, 0.02)):  # fmt: skip
        own = np.full(count, 0.02)
        if planted is not None:
            own[planted] = 0.9
        heads.append(heads_of({metric: own}, of=of, null_lo=None if band is None else -band, null_hi=band))
    lost = np.full((3, count), 0)
    lost[1:, 7] = 8  # of 40 in a fold
    folds = []
    for index, (shift, category, corruption, severity) in enumerate(
        (("clean", None, None, 0), ("imagenet-c", "noise", "shot_noise", 1), ("imagenet-c", "noise", "shot_noise", 3))
    ):
        for head in range(count):
            for fold in range(FOLDS):
                n = int(lost[index, head] and lost[index, head] + rng.integers(-2, 3))
                folds.append(RUN | UNIT | place(head) | {
                    "shift": shift, "category": category, "corruption": corruption, "severity": severity, "fold": fold,
                    "n_lost": n, "n_correct": 30 - n, "dloss_sum": n,
                })  # fmt: skip
    return pl.concat(heads), frame(schemas.FOLDS, folds)


def test_planted_heads_are_called_what_they_are_and_others_nothing() -> None:
    table = roles.roles(*role_tables(np.random.default_rng(9)), 0.01)
    found = {
        (row[0] * PER_LAYER + row[1], row[2], row[3]) for row in table.select("layer", "head", "role", "of").iter_rows()
    }
    assert found == {
        (0, "positional", None), (1, "local", None), (2, "follower", "edges"), (3, "sink", None),
        (4, "class-token reader", None), (5, "region detector", "chirp"), (6, "none", None), (7, "carrier", "noise"),
        (8, "none", None), (9, "none", None), (10, "none", None), (11, "none", None),
    }  # fmt: skip
    positional = table.filter(pl.col("role") == "positional").row(0, named=True)
    assert (
        positional["words"] == "looks at one displacement from 90% of patches (offset 0.30)" and positional["q"] < 0.01
    )
    assert (table.filter(pl.col("role") != "none")["q"] < 0.05).all()
    heads, folds = role_tables(np.random.default_rng(9))
    with pytest.raises(VhsError, match="share no model"):
        roles.roles(heads.with_columns(model_id=pl.lit("x")), folds, 0.01)


def test_what_is_unused_for_one_target_is_so_for_that_target() -> None:
    heads, folds = role_tables(np.random.default_rng(10))
    rng, parts = np.random.default_rng(1), []
    keep = [name for name in schemas.FOLDS_REGRESSION.names if name in folds.columns]
    for target, cost in (("start", 0.0), ("end", 0.2)):
        for fill in ("mean-flat", "mean-map", "donor-map"):
            noise = rng.normal(size=len(folds)) * 1e-3
            parts.append(folds.select(keep).with_columns(
                fill=pl.lit(fill), target=pl.lit(target), se_intact_sum=pl.lit(int(40 * SCALE)),
                dse_sum=pl.Series(((cost + noise) * 40 * SCALE).astype(np.int64)), dse_sq_sum=pl.lit(1),
            ).select(schemas.FOLDS_REGRESSION.names))  # fmt: skip
    table = roles.roles(heads, pl.concat(parts), 0.05)
    unused = table.filter(pl.col("role") == "unused")
    assert unused.height == 12 and set(unused["of"]) == {"start"}


def test_unused_and_static_heads_have_names_where_their_fills_were_measured() -> None:
    heads, folds = role_tables(np.random.default_rng(10))
    routed = []
    for fill, lost_by in (("mean-flat", {8: 0, 9: 8}), ("mean-map", {8: 0, 9: 0}), ("donor-map", {8: 0, 9: 0})):
        own = folds.with_columns(fill=pl.lit(fill), n_lost=pl.lit(8))
        for head, lost in lost_by.items():
            is_head = (pl.col("layer") == head // PER_LAYER) & (pl.col("head") == head % PER_LAYER)
            own = own.with_columns(n_lost=pl.when(is_head).then(lost).otherwise(pl.col("n_lost")).cast(pl.Int64))
        routed.append(own)
    table = roles.roles(heads, pl.concat([folds, *routed]), 0.02)
    assert (2, 0, "unused") in table.select("layer", "head", "role").rows()
    assert (2, 1, "static") in table.select("layer", "head", "role").rows()
    assert table.filter(pl.col("role").is_in(["unused", "static"])).height == 2


@pytest.mark.parametrize("rule", role_rules.RULES, ids=lambda rule: rule.role)
def test_heads_at_a_threshold_are_rarely_named(rule: role_rules.Rule) -> None:
    """Twelve heads exactly at the threshold, their intervals as they are made: by folds, or from normal errors."""
    from scipy.stats import t

    from vhs.measures.intervals import benjamini_hochberg, z_value

    rng, hits, runs = np.random.default_rng(11), 0, 2000
    for _ in range(runs):
        if rule.folds:
            samples = rule.threshold + rng.normal(size=(FOLDS, 12))
            error, width = samples.std(0, ddof=1) / np.sqrt(FOLDS), t.ppf(0.975, FOLDS - 1)
        else:
            samples = rule.threshold + rng.normal(size=(200, 12))
            error, width = samples.std(0, ddof=1) / np.sqrt(200), z_value()
        value = samples.mean(0)
        p = role_rules.p_values(rule, value, value - width * error, value + width * error, np.full(12, 1e-6))
        hits += bool((benjamini_hochberg(p) < 0.05).any())
    assert hits / runs <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / runs)


def test_roles_from_the_command_line(toy_checkpoint: Path, vhs) -> None:
    assert vhs("ablate", toy_checkpoint, "--shift", "contrast:3", "-o", "a.csv")[0] == 0
    assert vhs("specialize", toy_checkpoint, "-o", "h.csv")[0] == 0
    code, _, err = vhs("compare", "h.csv", "a.csv", "--summary", "roles", "-o", "r.csv")
    assert code == 0, err
    table = pl.read_csv("r.csv")
    assert table.select("layer", "head").unique().height == 6
    assert vhs("plot", "r.csv", "-o", "r.png")[0] == 0
    code, out, _ = vhs("info", "--say", "r.csv")
    assert code == 0 and "Of 6 heads" in out
    for head in ("L0H1", "0.1"):
        code, out, _ = vhs("info", "--say", "r.csv", "--head", head)
        assert code == 0 and out.startswith("L0H1 of toy")
    code, _, err = vhs("info", "--say", "r.csv", "--head", "L9H9")
    assert code == 3 and "has no head L9H9" in err
    code, _, err = vhs("info", "--say", "a.csv", "--head", "L0H1")
    assert code == 2 and "--head takes a roles table" in err
