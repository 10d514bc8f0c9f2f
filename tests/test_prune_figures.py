"""What is drawn and said of a prune table is what it holds."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from vhs.errors import UsageError
from vhs.figures import gallery
from vhs.figures.pruning_findings import sentence
from vhs.figures.terminal import summary
from vhs.formats import schemas
from vhs.formats.tables import frame

ORDERS = ("effect", "forward", *(f"random-{draw}" for draw in range(3)))
CONDITIONS = (("condition", "clean", None, 0), ("condition", "imagenet-c", "fog", 3), ("condition", "imagenet-c", "contrast", 3),
              ("mean", "all", None, 0))  # fmt: skip


def accuracy(model: int, order: int, left: int, condition: int, part: str) -> float:
    return 0.1 + 0.1 * left - 0.01 * order - 0.02 * condition + 0.005 * model + 0.03 * (part == "choose")


def table(models: int = 1) -> pl.DataFrame:
    rows = []
    for model in range(models):
        for number, order in enumerate(ORDERS):
            for step, left in enumerate((6, 4, 2, 0)):
                for index, (over, shift, corruption, severity) in enumerate(CONDITIONS):
                    for part in ("choose", "report"):
                        top1 = accuracy(model, number, left, index, part)
                        whole = accuracy(model, number, 6, index, part)
                        tested = order == "effect" and index in (1, 2) and part == "report" and step > 0
                        rows.append({
                            "model": f"runs/m{model}.safetensors", "model_id": f"id{model}", "data": "toy/val", "shift": shift,
                            "category": None, "corruption": corruption, "severity": severity, "origin": "generated",
                            "group": "all", "label_set": "all", "order": order, "round": step, "heads_left": left,
                            "removed": None if step == 0 else f"L0H{step}+L1H{step}", "over": over, "used_for": part, "n": 300,
                            "n_correct": int(top1 * 300), "top1": top1, "top1_lo": top1 - 0.02, "top1_hi": top1 + 0.02,
                            "loss": 2 - top1, "ece": None if over == "mean" else 0.1 + 0.01 * left, "drop": whole - top1,
                            "drop_lo": whole - top1 - 0.02, "drop_hi": whole - top1 + 0.02, "parameters": 100, "flops": 10,
                            "epsilon": 0.25 if tested else None, "confidence": 0.95 if tested else None,
                            "p": 0.01 if tested else None, "bound": 0.2 if tested else None,
                            "certified": (step == 1) if tested else None,
                        })  # fmt: skip
    return frame(schemas.PRUNE, rows)


def test_lines_are_the_reported_accuracies() -> None:
    figure = gallery.draw("prune", table(), None, None)
    clean, mean = figure.axes
    assert clean.get_title(loc="left") == "clean" and mean.get_title(loc="left") == "mean of 2 conditions"
    for axes, condition in ((clean, 0), (mean, 3)):
        full = [line for line in axes.lines if len(line.get_ydata()) == 4]

        def along(part: str, *orders: int, condition: int = condition) -> list[float]:
            """From no head to all."""
            return [
                float(np.mean([accuracy(0, o, left, condition, part) for o in orders])) * 100 for left in (0, 2, 4, 6)
            ]

        def like(values: list[float], full: list = full) -> list:
            return [
                line
                for line in full
                if np.allclose(line.get_ydata(), values) and list(line.get_xdata()) == [0, 2, 4, 6]
            ]

        assert (
            len(like(along("report", 0))) == len(like(along("report", 1))) == len(like(along("report", 2, 3, 4))) == 1
        )
        assert [line.get_linestyle() for line in like(along("choose", 0))] == [":"]
        assert axes.get_xlim() == (6, 0) and axes.get_xlabel() == "heads left"
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == [
        "effect",
        "forward",
        "3 random orders: mean, range",
        "on the images that chose",
        "certified: at most 25 points lost",
    ]
    assert "m0, toy/val, 300 images that did not choose" in figure.get_suptitle()


def test_a_row_of_panels_a_model_and_other_metrics() -> None:
    figure = gallery.draw("prune", table(models=2), "curve", "loss")
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "m0, clean", "m0, mean of 2 conditions", "m1, clean", "m1, mean of 2 conditions",
    ]  # fmt: skip
    fewer = table(models=2).with_columns(n=pl.when(pl.col("model_id") == "id1").then(120).otherwise(pl.col("n")))
    assert "toy/val, 120 to 300 images that did not choose" in gallery.draw("prune", fewer, None, None).get_suptitle()
    more = pl.concat([table(), table().filter(pl.col("corruption") == "fog").with_columns(corruption=pl.lit("frost"))])
    assert gallery.draw("prune", more, "curve", "ece").get_suptitle().endswith("; the first 3 of 4 conditions")
    calibration = gallery.draw("prune", table(), "curve", "ece")  # has no mean over conditions
    shown = [axes for axes in calibration.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in shown] == ["clean", "fog 3", "contrast 3"]
    with pytest.raises(UsageError, match="--metric drop"):
        gallery.draw("prune", table(), "curve", "drop")


def test_sentences() -> None:
    said = sentence(table())
    assert said.startswith(
        "Without 2 of 6 heads at most 25 points of accuracy are lost in each of 2 conditions, with confidence 0.95, for "
        "images like these 300. Without 2 of 6 heads by order effect 20.0 points of accuracy are lost (mean of the shifts; "
        "18.0 to 22.0); random ones 20.0 on average. 0 go together"
    )
    none = table().with_columns(certified=pl.when(pl.col("certified").is_not_null()).then(pl.lit(False)))
    assert sentence(none).startswith("No head of 6 is certified to cost at most 25 points on 300 images.")
    plain = table().with_columns(certified=pl.lit(None, pl.Boolean))
    assert sentence(plain).startswith("Without 2 of 6 heads")


def test_the_terminal_has_a_line_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    lines = summary(table()).splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("heads left"))
    assert lines[start + 1].split()[:4] == ["6", "70.0%", "64.0%", "61.0%"]
    assert lines[start + 2].split() == ["4", "50.0%", "44.0%", "41.0%", "L0H1+L1H1", "certified"]
