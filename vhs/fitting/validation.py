"""Scores of a network in training, on the validation split; each process measures its tiles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from vhs.counts import Counts
from vhs.measures.evaluation import Evaluation
from vhs.measures.regression import RegressionEvaluation
from vhs.measures.scoring import Scope
from vhs.models.model import Model, Preprocess
from vhs.runs import cache, ranks
from vhs.summaries.tallied import squared_errors
from vhs.training import loop

TILE = 256


def rows(net: nn.Module, preprocess: Preprocess, val: cache.Decoded, device: torch.device) -> Iterator[dict[str, Any]]:
    """The measured columns of the training log: one row, or one a target."""
    manifest = val.manifest
    outputs = manifest.outputs
    model = Model(
        net=loop.frozen_copy(net), preprocess=preprocess, name="training", weights_id="", classes=tuple(outputs)
    )
    if manifest.regression:
        sums = _measure(RegressionEvaluation(model, len(outputs)), val, device)["targets"]
        for index, target in enumerate(outputs):
            found = squared_errors(Counts(sums.values[index], sums.fields))
            yield {"target": target} | {name: found[name] for name in ("n", "mse", "r2")}
        return
    sums = _measure(Evaluation(model, Scope.whole(len(outputs), device)), val, device)["view0"]
    n, right = (int(sums.total(name)) for name in ("n", "n_correct"))
    yield {"n": n, "n_correct": right, "top1": right / n, "loss": float(sums.total_float("loss")) / n}


def in_words(scores: list[dict[str, Any]]) -> str:
    """The score that a progress bar shows."""
    if "top1" in scores[0]:
        return f"{scores[0]['top1']:.1%} right"
    return "R² " + ", ".join(f"{row['target']} {row['r2']:.2f}" for row in scores if row["r2"] is not None)


def _measure(measure: Evaluation | RegressionEvaluation, val: cache.Decoded, device: torch.device) -> dict[str, Counts]:
    for batch in val.tiles(TILE, device):
        measure.add(batch)
    (summed,) = ranks.add_up([measure.results()])
    return summed
