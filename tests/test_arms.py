"""Arms of a study: means over seeds, effects, what so few seeds could have shown; readings of every kind of table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import stats

import vhs
from vhs.arms import effects, naming, readings
from vhs.arms.table import Study, arms
from vhs.cli import main
from vhs.errors import MismatchError, UsageError
from vhs.formats import schemas, tables
from vhs.measures import replicates

RNG = np.random.default_rng(5)


def test_means_and_effects_are_scipys() -> None:
    a, b, c = RNG.normal(3, 1, 6), RNG.normal(2, 2, 9), RNG.normal(0, 0.5, 4)
    known = stats.ttest_ind(a, b, equal_var=False)
    found = replicates.welch([a, b], [1, -1])
    assert found.value == pytest.approx(a.mean() - b.mean())
    assert (found.lo, found.hi) == pytest.approx(tuple(known.confidence_interval()))
    assert found.p == pytest.approx(known.pvalue)
    one = stats.ttest_1samp(a, 0)
    assert (replicates.mean(a).lo, replicates.mean(a).hi) == pytest.approx(tuple(one.confidence_interval()))
    pair = stats.ttest_rel(a, b[:6])
    assert replicates.paired([a, b[:6]], [1, -1]).p == pytest.approx(pair.pvalue)
    errors = np.array([s.var(ddof=1) / len(s) for s in (a, b, c)]) * np.array([1, 4, 9])
    freedom = errors.sum() ** 2 / (errors**2 / np.array([5, 8, 3])).sum()
    summed = replicates.welch([a, b, c], [1, -2, 3])
    assert summed.hi - summed.value == pytest.approx(stats.t.ppf(0.975, freedom) * np.sqrt(errors.sum()))


@pytest.mark.parametrize(
    ("error", "freedom", "known"), [(1 / 5**0.5, 4, 1.68), (0.4**0.5, 8, 2.02), (0.2**0.5, 18, 1.32)]
)
def test_the_smallest_detectable_effect_is_that_of_known_designs_and_is_found_so_often(error, freedom, known) -> None:
    least = replicates.detectable(error, freedom)
    assert least == pytest.approx(known, abs=0.01)  # 5 pairs, 5 against 5, 10 against 10, in standard deviations
    power = stats.nct.sf(stats.t.ppf(0.975, freedom), freedom, least / error)
    assert power == pytest.approx(0.8, abs=1e-6)


def test_intervals_cover_and_tests_hold_their_level_in_simulation() -> None:
    covered = rejected = detected = 0
    for _ in range(2000):
        a, b = RNG.normal(1, 1, 5), RNG.normal(0.3, 2, 5)
        found = replicates.welch([a, b], [1, -1])
        covered += found.lo <= 0.7 <= found.hi
        rejected += replicates.welch([a - 1, b - 0.3], [1, -1]).p < 0.05
        shifted = RNG.normal(replicates.detectable(1 / 5**0.5, 4), 1, 5)
        detected += replicates.mean(shifted).p < 0.05
    assert covered > 1860 and rejected < 130  # 95 % and 5 %, three Monte Carlo errors
    assert 1546 < detected < 1654


def test_runs_that_are_all_alike_have_no_interval() -> None:
    for found in (replicates.mean(np.ones(4)), replicates.welch([np.ones(3), np.zeros(3)], [1, -1])):
        assert found.value == 1 and np.isnan([found.lo, found.hi, found.p, found.detectable]).all()
    assert np.isnan(replicates.mean(np.ones(1)).lo)


@pytest.mark.parametrize(
    ("model", "by", "known"),
    [
        ("runs/told-3.safetensors", None, ("told", "3")), ("a/3h-0.safetensors", None, ("3h", "0")),
        ("h8.safetensors", None, ("h8", "")), ("l100-1e-3-12.safetensors", None, ("l100-1e-3", "12")),
        ("x/6h_seed-4.safetensors", None, ("6h", "4")), ("runs/told-3.safetensors", "(told|alone)", ("told", "runs/-3")),
        ("s3/told.safetensors", r"s(?P<seed>\d)/(?:x|told)", ("3", "3")), ("timm:vit_tiny", None, ("timm:vit_tiny", "")),
    ],
)  # fmt: skip
def test_names_tell_arms_and_seeds(model: str, by: str | None, known: tuple[str, str]) -> None:
    assert naming.named(model, naming.pattern(by)) == known


def test_an_expression_that_fits_no_model_leaves_it_out() -> None:
    assert naming.named("other.safetensors", naming.pattern("^(told)")) is None
    with pytest.raises(UsageError, match="is no regular expression"):
        naming.pattern("(")


@pytest.mark.parametrize(
    ("text", "name", "weights"),
    [
        ("told - alone", "told - alone", {"told": 1, "alone": -1}),
        ("gain = a - b - c + d", "gain", {"a": 1, "b": -1, "c": -1, "d": 1}),
        ("0.5 a + 0.5 b - 1e-3", "0.5 a + 0.5 b - 1e-3", {"a": 0.5, "b": 0.5, "1e-3": -1}),
        ("'my arm' - 2 b", "my arm - 2 b", {"my arm": 1, "b": -2}), ("1e-3 - 3e-4", "1e-3 - 3e-4", {"1e-3": 1, "3e-4": -1}),
        ("a - nan", "a - nan", {"a": 1, "nan": -1}), ("a - nan b", "", None),
        ("l100-1e-3 - l0-1e-3", "l100-1e-3 - l0-1e-3", {"l100-1e-3": 1, "l0-1e-3": -1}),
        ("- a", "- a", {"a": -1}),
    ],
)  # fmt: skip
def test_effects_are_typed_as_sums(text: str, name: str, weights: dict[str, float] | None) -> None:
    if weights is None:
        with pytest.raises(UsageError, match="no \\+ or - before b"):
            effects.parse(text)
        return
    assert effects.parse(text) == effects.Effect(name, weights)


@pytest.mark.parametrize("text", ["a b", "a -", "", "a - - b", "a + "])
def test_a_wrong_effect_is_told_in_one_line(text: str) -> None:
    with pytest.raises(UsageError, match="Expected arms between"):
        effects.parse(text)


def shift_table(values: dict[str, float], condition: str = "clean", data: str = "toy/val") -> pl.DataFrame:
    """A shift table of models with these accuracies."""
    rows = [
        {
            "model": model, "model_id": model, "data": data, "shift": condition, "severity": 0, "origin": "stored",
            "group": "all", "label_set": "all", "n": 1000, "n_correct": round(1000 * value), "top1": value,
            "top1_lo": value, "top1_hi": value, "n_correct5": 1000, "top5": 1.0, "loss": 1 - value, "ece": 0.1,
            "size": "1x1", "preprocess": "",
        } for model, value in values.items()
    ]  # fmt: skip
    return tables.frame(schemas.EVALSHIFT, rows)


def told(accuracies: dict[str, list[float]]) -> pl.DataFrame:
    return shift_table({f"{arm}-{seed}.safetensors": x for arm, xs in accuracies.items() for seed, x in enumerate(xs)})


def test_a_shift_table_gives_means_effects_and_q() -> None:
    table = told({"alone": [0.8, 0.81, 0.79], "told": [0.85, 0.86, 0.87], "wide": [0.8, 0.83, 0.78]})
    found = vhs.compare(table, summary="arms", reference="alone", what="top1")
    means = found.filter(pl.col("question") == "mean")
    assert dict(means.select("arm", "n_runs").iter_rows()) == {"alone": 3, "told": 3, "wide": 3}
    row = found.filter(pl.col("arm") == "told - alone").row(0, named=True)
    known = stats.ttest_ind([0.85, 0.86, 0.87], [0.8, 0.81, 0.79])
    assert row["value"] == pytest.approx(0.06) and row["p"] == pytest.approx(known.pvalue) and row["how"] == "welch"
    other = found.filter(pl.col("arm") == "wide - alone").row(0, named=True)
    assert row["q"] == pytest.approx(min(2 * row["p"], other["p"])) and other["q"] == pytest.approx(other["p"])
    assert row["together"] == pytest.approx(np.corrcoef([0.8, 0.81, 0.79], [0.85, 0.86, 0.87])[0, 1])
    pair = vhs.compare(table, summary="arms", effect="told - alone", what="top1", paired=True)
    assert pair.filter(pl.col("how") == "paired")["deviation"][0] == pytest.approx(np.std([0.05, 0.05, 0.08], ddof=1))


def test_every_two_arms_are_compared_unless_something_is_asked() -> None:
    found = vhs.compare(told({"a": [0.1, 0.2], "b": [0.2, 0.4], "c": [0.5, 0.6]}), summary="arms", what="top1")
    assert found.filter(pl.col("question") == "effect")["arm"].to_list() == ["b - a", "c - a", "c - b"]


def test_means_over_shifts_and_categories_are_of_each_model() -> None:
    clean = told({"a": [0.9, 0.8]})
    parts = [clean]
    for number, (corruption, category) in enumerate([("fog", "weather"), ("snow", "weather"), ("contrast", "digital")]):
        part = told({"a": [0.5 + number / 10, 0.4]}).with_columns(
            shift=pl.lit("imagenet-c"),
            corruption=pl.lit(corruption),
            category=pl.lit(category),
            severity=pl.lit(3, pl.Int64),
        )
        parts.append(part)
    found = vhs.compare(pl.concat(parts), summary="arms", what="top1")
    values = dict(found.select("condition", "value").iter_rows())
    assert values["clean"] == pytest.approx(0.85) and values["mean"] == pytest.approx((0.6 + 0.4) / 2)
    assert values["mean of weather"] == pytest.approx((0.55 + 0.4) / 2)


def test_rates_are_chosen_by_validation_and_named() -> None:
    table = told({"l0-1": [0.6, 0.7], "l0-2": [0.9, 0.8], "l9-1": [0.5, 0.4], "l9-2": [0.2, 0.3]})
    validation = told({"l0-1": [0.9, 0.8], "l0-2": [0.1, 0.2], "l9-1": [0.1, 0.1], "l9-2": [0.5, 0.6]})
    found = vhs.compare(table, summary="arms", effect="tuned = l9-* - l0-*", choose_by=validation, what="top1")
    row = found.filter(pl.col("question") == "effect").row(0, named=True)
    assert row["arm"] == "tuned (l9-2 - l0-1)" and row["value"] == pytest.approx(0.25 - 0.65)
    with pytest.raises(UsageError, match="choose_by"):
        vhs.compare(table, summary="arms", effect="l9-* - l0-*")
    with pytest.raises(MismatchError, match=r"no arm of choose_by is x-\*"):
        vhs.compare(table, summary="arms", effect="x-* - l0-*", choose_by=validation)


def test_what_does_not_fit_is_told() -> None:
    table = told({"a": [0.1, 0.2]})
    with pytest.raises(MismatchError, match="no model is of the arm b"):
        vhs.compare(table, summary="arms", reference="b")
    with pytest.raises(UsageError, match="the tables say nothing of that; they have top1, loss, ece"):
        vhs.compare(table, summary="arms", what="r2")
    with pytest.raises(UsageError, match="condition fog: the tables say nothing of that; they have clean"):
        vhs.compare(table, summary="arms", condition="fog")
    twice = pl.concat([table, shift_table({"b/a-0.safetensors": 0.5})])
    with pytest.raises(MismatchError, match="both are seed 0 of the arm a"):
        vhs.compare(twice, summary="arms")
    with pytest.raises(UsageError, match="belong to"):
        vhs.compare(table, summary="mce", reference="a")
    with pytest.raises(MismatchError, match="nothing is averaged over seeds"):
        readings.readings(table, schemas.FOLDS, 0.005)


def test_snapshots_are_left_out() -> None:
    table = pl.concat([told({"a": [0.1, 0.2]}), shift_table({"a-0.snapshots/step-000001.safetensors": 0.9})])
    assert vhs.compare(table, summary="arms", what="top1")["n_runs"].to_list() == [2]


def test_every_reading_is_of_a_kind_of_table_and_notebook_and_command_agree(
    toy_checkpoint: Path, tmp_path: Path
) -> None:
    """Of real tables of two models of one arm, made by the commands."""
    for seed in (0, 1):
        (tmp_path / f"toy-{seed}.safetensors").symlink_to(toy_checkpoint)
    data = str(toy_checkpoint.parent / "shards" / "val")
    models = [str(tmp_path / f"toy-{seed}.safetensors") for seed in (0, 1)]
    few = ["--data", data, "--shift", "contrast:3", "--shift", "fog:3", "--max-samples", "60", "-q", "--threads", "1"]
    made = {
        "evalshift": ["evalshift", *models, *few], "ablate": ["ablate", *models, *few],
        "heads": ["specialize", *models, *few, "--within-layer"],
        "matches": ["specialize", *models, *few, "--against", models[0]],
        "prune": ["prune", models[0], *few, "--random", "2"],
    }  # fmt: skip
    for name, words in made.items():
        out = ["--curve" if name == "prune" else "-o", str(tmp_path / f"{name}.csv")]
        assert main([*words, *out]) == 0
    for name in ("contrast", "redundancy", "shifts"):
        assert (
            main(
                ["compare", str(tmp_path / "ablate.csv"), "--summary", name, "-o", str(tmp_path / f"{name}.csv"), "-q"]
            )
            == 0
        )
    assert main(["compare", str(tmp_path / "ablate.csv"), "-o", str(tmp_path / "compare.csv"), "-q"]) == 0
    for name in (*made, "contrast", "redundancy", "shifts", "compare"):
        file = str(tmp_path / f"{name}.csv")
        assert main(["compare", file, "--summary", "arms", "-q", "-o", str(tmp_path / "arms.csv")]) == 0, name
        written = tables.read(str(tmp_path / "arms.csv")).rows
        found = vhs.compare(file, summary="arms")
        assert len(found) and found["value"].is_finite().all(), name
        assert written.equals(found), name
        equal = found.filter((pl.col("question") == "mean") & (pl.col("n_runs") == 2))
        assert name == "prune" or len(equal), name
        assert (equal["deviation"].drop_nulls() < 1e-12).all(), "equal weights are equal"


def test_layers_of_a_run_are_compared_within_it(tmp_path: Path) -> None:
    values = {(seed, layer): layer**2 + RNG.normal() for seed in range(4) for layer in range(3)}
    rows = [
        (f"fine-{seed}.safetensors", "toy", "clean", "drop", "head", layer, x, None)
        for (seed, layer), x in values.items()
    ]
    table = pl.DataFrame(rows, schema=list(readings.COLUMNS), orient="row")
    study = Study(across="layer", effects=("late = L2 - 0.5 L0 - 0.5 L1",), paired=True)
    row = arms(table, study).filter(pl.col("question") == "effect").row(0, named=True)
    apart = [values[seed, 2] - (values[seed, 0] + values[seed, 1]) / 2 for seed in range(4)]
    assert row["value"] == pytest.approx(np.mean(apart)) and row["p"] == pytest.approx(
        stats.ttest_1samp(apart, 0).pvalue
    )
    with pytest.raises(UsageError, match="expected layer, of or condition"):
        arms(table, Study(across="head"))


def test_layers_ascend_whichever_arm_tells_of_which_first() -> None:
    told_of = [("a-0", 3), ("a-1", 3), *((f"b-{seed}", layer) for layer in (None, 1, 3, 0) for seed in (0, 1))]
    rows = [(f"{name}.safetensors", "toy", "clean", "drop", "head", layer, 0.5, None) for name, layer in told_of]
    found = arms(pl.DataFrame(rows, schema=list(readings.COLUMNS), orient="row"), Study())
    means = found.filter(pl.col("question") == "mean").select("layer", "arm")
    assert means.rows() == [(None, "b"), (0, "b"), (1, "b"), (3, "a"), (3, "b")]


@pytest.mark.parametrize("count", [1, 2, 24])
@pytest.mark.parametrize("width", ["column", "page"])
def test_figures_hold_any_number_of_arms_and_draw_what_stands_in_the_table(count: int, width: str) -> None:
    table = told({f"arm {number}": list(RNG.uniform(0.5, 0.9, 3)) for number in range(count)})
    effects_asked = ["arm_1 - arm_0"] if count > 1 else []
    table = table.with_columns(pl.col("model").str.replace("arm ", "arm_", literal=True))
    found = vhs.compare(table, summary="arms", effect=effects_asked, what="top1")
    figure = vhs.plot(found, width=width)
    drawn = sorted(
        float(x) for line in figure.axes[0].lines for x in np.atleast_1d(line.get_xdata()) if line.get_marker() == "o"
    )
    means = found.filter(pl.col("question") == "mean")
    assert drawn == pytest.approx(sorted(100 * means["value"].to_numpy()))
    assert len(figure.axes) == (2 if count > 1 else 1) and figure.get_figheight() < 11


def test_the_sentence_says_what_so_few_runs_could_have_shown() -> None:
    from vhs.figures import findings

    table = told({"alone": [0.8, 0.81, 0.79], "told": [0.85, 0.86, 0.87]})
    found = vhs.compare(table, summary="arms", reference="alone", what="top1")
    row = found.filter(pl.col("question") == "effect").row(0, named=True)
    said = findings.sentence("arms", found)
    assert said is not None and said.startswith("told - alone: +6.0 points of top1 on clean images (95 % over 6 runs ")
    assert f"find {100 * row['detectable']:.1f} in four of five cases" in said
    assert findings.sentence("arms", found.filter(pl.col("question") == "mean")) is None


# --- what a review found ---


def shifted(table: pl.DataFrame, corruption: str, category: str = "weather") -> pl.DataFrame:
    return table.with_columns(
        shift=pl.lit("imagenet-c"), corruption=pl.lit(corruption), category=pl.lit(category),
        severity=pl.lit(3, pl.Int64),
    )  # fmt: skip


def test_a_set_of_fewer_classes_is_kept_and_stands_for_itself() -> None:
    clean = told({"a": [0.9, 0.8]})
    few = told({"a": [0.5, 0.4]}).with_columns(shift=pl.lit("imagenet-r"), label_set=pl.lit("imagenet-r"))
    own = clean.with_columns(label_set=pl.lit("imagenet-r"), top1=pl.col("top1") + 0.05)
    found = vhs.compare(pl.concat([clean, own, few]), summary="arms", what="top1")
    values = dict(found.select("condition", "value").iter_rows())
    assert values == pytest.approx({"clean": 0.85, "imagenet-r": 0.45})


def test_means_over_unlike_conditions_are_refused() -> None:
    a, b = told({"a": [0.5, 0.6]}), told({"b": [0.5, 0.6]})
    both = [shifted(x, name) for x in (a, b) for name in ("fog", "snow")]
    assert len(vhs.compare(*both, summary="arms", what="top1"))
    with pytest.raises(MismatchError, match=r"`mean` is over unlike conditions \(3 and 2 of them\)"):
        vhs.compare(*both, shifted(a, "contrast", "digital"), summary="arms", what="top1")


def test_one_model_measured_in_parts_is_one_model() -> None:
    a = told({"a": [0.5, 0.6]})
    found = vhs.compare(shifted(a, "fog"), shifted(a, "snow"), summary="arms", what="top1")
    assert found.filter(pl.col("condition") == "mean")["value"].to_list() == pytest.approx([0.55])


def test_rounding_is_no_spread() -> None:
    found = vhs.compare(told({"a": [0.1] * 3, "b": [0.6] * 3}), summary="arms", what="top1")
    assert found["p"].null_count() == len(found) and found["lo"].null_count() == len(found)


def test_two_values_of_one_thing_are_refused() -> None:
    table = told({"a": [0.5, 0.6]})
    with pytest.raises(MismatchError, match="has several values of top1"):
        vhs.compare(pl.concat([table, table.with_columns(top1=pl.col("top1") + 0.1)]), summary="arms")
    groups = [table.with_columns(group=pl.lit(f"place={name}"), top1=pl.col("top1") + 0.1 * name) for name in (0, 1)]
    with pytest.raises(MismatchError, match="groups without all samples"):
        vhs.compare(pl.concat(groups), summary="arms")


def test_a_contrast_of_one_scale_does_not_say_that_no_head_differs() -> None:
    table = tables.frame(schemas.CONTRAST, [
        {"model": "a-0", "model_id": "a", "fill": "zero", "target": "class", "layer": 0, "head": 0, "a": "clean",
         "b": "fog", "scale": "loss", "value_a": 0.0, "value_b": 1.0, "diff": 1.0, "lo": 0.5, "hi": 1.5, "q": 0.01,
         "p": 0.01, "n": 9}
    ])  # fmt: skip
    with pytest.raises(MismatchError, match="of loss alone; expected 2 scales"):
        vhs.compare(table, summary="arms")


def prune_row(order: str, left: int, drop_hi: float) -> dict[str, object]:
    return {
        "model": "a-0", "model_id": "a", "data": "toy/val", "shift": "mean", "severity": 0, "origin": "generated",
        "group": "all", "label_set": "all", "order": order, "round": 0, "heads_left": left, "over": "mean",
        "used_for": "report", "n": 100, "top1": 0.5, "loss": 1.0, "drop": 0.0, "drop_lo": -1.0, "drop_hi": drop_hi,
        "parameters": 1, "flops": 1,
    }  # fmt: skip


def test_random_orders_are_averaged_after_each_has_gone_as_far_as_it_goes() -> None:
    steps = [("random-0", 4, 0.0), ("random-0", 2, 0.0), ("random-1", 4, 0.0), ("random-1", 2, 0.1),
             ("effect", 4, 0.0), ("effect", 1, 0.0), ("single", 4, 0.0), ("single", 3, 0.0), ("single", 3, 0.1)]  # fmt: skip
    found = vhs.compare(
        tables.frame(schemas.PRUNE, [prune_row(*step) for step in steps]), summary="arms", what="removable"
    )
    assert dict(found.select("of", "value").iter_rows()) == {"random": 0.25, "effect": 0.75, "alone": 0.5}


def test_chosen_arms_keep_their_weights() -> None:
    scores = {"l0-1": 0.9, "l0-2": 0.1}
    assert effects.tuned(effects.parse("t = l0-* - l0-1"), scores).weights == {"l0-1": 0.0}
    made = effects.tuned(effects.parse("m = 0.5 l0-* + 0.25 l0-1 - l0-2"), scores)
    assert made == effects.Effect("m (0.75 l0-1 - l0-2)", {"l0-1": 0.75, "l0-2": -1.0})


def test_what_was_asked_and_cannot_be_had_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    a, b = told({"a": [0.5, 0.6, 0.7]}), shifted(told({"b": [0.5, 0.6]}), "fog")
    with pytest.raises(MismatchError, match="its arms have no reading in common"):
        vhs.compare(a, b, summary="arms", effect="a - b")
    with pytest.raises(UsageError, match=r"no effect has one|no --effect has one"):
        vhs.compare(a, summary="arms", choose_by=a, what="top1")
    with pytest.raises(MismatchError, match="is of kind arms"):
        vhs.compare(a, summary="arms", effect="a-* - a", choose_by=vhs.compare(a, summary="arms"))
    path = tmp_path / "t.csv"
    path.write_bytes(tables.render(pl.concat([a, told({"b": [0.5, 0.6]}), told({"other": [0.1]})]), "csv"))
    assert (
        main(
            [
                "compare",
                str(path),
                "--summary",
                "arms",
                "--paired",
                "--group-by",
                "^([ab])-",
                "-o",
                str(tmp_path / "o.csv"),
            ]
        )
        == 0
    )
    said = capsys.readouterr().err
    assert "b - a: 2 of 3 seeds have a partner" in said and "other-0.safetensors: --group-by does not fit" in said


def test_names_of_published_models_are_no_seeds() -> None:
    assert naming.named("timm:vit_small_patch16_224", None) == ("timm:vit_small_patch16_224", "")
    by = naming.pattern("/(a|b)-")
    assert [naming.named(f"data/{x}-0.safetensors", by) for x in "ab"] == [("a", "data/-0"), ("b", "data/-0")]


def test_an_effect_that_was_not_tested_is_hollow() -> None:
    figure = vhs.plot(vhs.compare(told({"a": [0.5], "b": [0.6]}), summary="arms", what="top1"))
    assert [
        line.get_markerfacecolor()
        for line in figure.axes[1].lines
        if len(np.atleast_1d(line.get_xdata())) and line.get_marker() == "o"
    ] == ["white"]
