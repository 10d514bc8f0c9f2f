"""Runs on fake tensors of a GPU: tiles from the host, conditions, tallies back; and every wait that is listed happens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import pytest
from torch.utils._python_dispatch import _disable_current_modes

from tests.cuda_models import VIT, batch_of, images, numbers, on_device
from tests.cuda_training import RECIPES, SPLIT, begun, brought, check, resident
from tests.fake_cuda import DEVICE, forget, moved, on_cuda
from tests.waits import ALLOWED, LISTED
from vhs.fitting import validation
from vhs.fitting.training import CHECKED, Training
from vhs.formats.shards import ShardSet
from vhs.measures.ablation import HeadAblation
from vhs.measures.direct import DirectEstimate
from vhs.measures.evaluation import Evaluation
from vhs.measures.pruned import PrunedEvaluation
from vhs.measures.routes import Routes
from vhs.measures.scoring import Scope, View
from vhs.measures.steadiness import settle
from vhs.models.building import build
from vhs.models.model import Model
from vhs.runs import cache as decoded
from vhs.runs import conditions
from vhs.runs.run import Run, sweep
from vhs.runs.runtime import product_rate
from vhs.shifts.corruption import corrupt
from vhs.training import gates, loop
from vhs.training.recipe import Recipe

pytestmark = pytest.mark.usefixtures("no_tables")


@pytest.fixture(scope="module")
def run(toy_shards: Path) -> Run:
    source = ShardSet.open(toy_shards / "val")
    samples = decoded.choose(source, 20)
    names = (*source.manifest.classes, "fox", "gnu")
    model = replace(on_device(build(replace(VIT, classes=len(names))), (1, 42, 28)), classes=names)
    return Run(
        models=[model], source=source, data=decoded.decode(source, samples, tile=16), seed=0, tile=16, stack=3,
        conditions=conditions.parse(["contrast:3"], rejpeg=True), max_samples=20,
    )  # fmt: skip


@pytest.mark.parametrize(
    "make",
    [
        Evaluation,
        lambda model, scope: HeadAblation(model, scope, 3, keep=True),
        DirectEstimate,
    ],
)
def test_runs(run: Run, make: Callable[[Model, Scope], Evaluation]) -> None:
    with on_cuda(LISTED):
        names = [condition.name for condition, _ in sweep(run, make)]
    assert names == ["clean", "clean_c", "imagenet-c/contrast:3"]


def test_a_batch_waits_for_nothing(run: Run) -> None:
    with on_cuda(LISTED):
        (model,) = run.models
        views = (View("all", "all", numbers(5), numbers(5)), View("all", "some", numbers(5)))
        measure, batch = Evaluation(model, Scope(views, ("a", "b"), 20)), batch_of(model)
        model.preprocess(batch.images_BCHW)
    with on_cuda():
        measure.add(batch)


def test_settling(run: Run) -> None:
    with on_cuda(LISTED):
        assert settle(run.models[0], images(16, 1, 42, 28), 3).steady


def test_the_list_holds_nothing_that_does_not_happen(run: Run) -> None:
    """And nothing twice: each place has one reason."""
    assert sum(map(len, ALLOWED.values())) == len(LISTED)
    forget()
    with on_cuda(LISTED) as watch:
        for name in (
            "gaussian_noise", "shot_noise", "defocus_blur", "glass_blur", "elastic_transform", "pixelate", "frost",
            "jpeg_compression", "spatter", "low_pass", "circular_motion_blur", "transverse_chromatic_abberation",
        ):  # fmt: skip
            corrupt(images(2, 3, 32, 32), numbers(2), name, 3, 0)
        for make in (
            Evaluation, lambda model, scope: HeadAblation(model, scope, 3, keep=True),
            lambda model, scope: PrunedEvaluation(model, scope, [model.net]),
        ):  # fmt: skip
            list(sweep(replace(run, conditions=run.conditions[:1]), make))
        settle(run.models[0], images(16, 1, 42, 28), 3)
        Routes(run.models[0])
        _logged()
        _gated()
        product_rate(DEVICE)
    assert watch.seen == LISTED


def _gated() -> None:
    """Heads that are left, as the log of an epoch tells them."""
    with _disable_current_modes():
        net = build(VIT)
        gates.Gates(net, Recipe(prune_to=3))
        moved(net)
    gates.open_heads(net)


def _logged() -> None:
    """An epoch as a training run has it: its order, whether its losses are finite, its row of the log."""
    recipe = Recipe().with_values(RECIPES["nothing"], "")
    with _disable_current_modes():
        state = begun(recipe)
    state = brought(state, recipe)
    next(resident(recipe, numbers(SPLIT)).epoch(0, 0))
    state.step = CHECKED
    check(state)
    state.term_sums = numbers(3 + 2).double()
    training = SimpleNamespace(
        recipe=recipe,
        device=DEVICE,
        log=[],
        tracker=None,
        progress=print,
        epoch_done=print,
        _preprocess=None,
        _terms=lambda state: state.terms(SimpleNamespace(names=("class", "attention", "logits"))),
        _val=None,
    )
    with (
        patch.object(loop.TrainingState, "weights", lambda *_: None),
        patch.object(validation, "rows", lambda *_: [{}]),
        patch.object(validation, "in_words", str),
    ):
        Training._finish_epoch(training, state, 0.1)
    assert training.log[0]["train_loss"] == 0
