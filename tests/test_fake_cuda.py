"""The GPU path on fake tensors: devices never mix, and the host waits where the list below says and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.utils._python_dispatch import _disable_current_modes

from tests.fake_cuda import (
    DEVICE,
    READ,
    TO_DEVICE,
    TO_HOST,
    HostWaits,
    Wait,
    fake,
    forget,
    moved,
    on_cpu,
    on_cuda,
)  # fmt: skip
from vhs.batch import Batch
from vhs.errors import VhsError
from vhs.fitting import validation
from vhs.fitting.training import CHECKED, Training
from vhs.formats.shards import ShardSet
from vhs.grid import Units as Wanted
from vhs.grid import named_sets
from vhs.measures.ablation import HeadAblation
from vhs.measures.ablation_options import Ablation
from vhs.measures.direct import DirectEstimate
from vhs.measures.evaluation import Evaluation
from vhs.measures.fill_kinds import FILLS
from vhs.measures.fills import Bank
from vhs.measures.regression import RegressionAblation, RegressionEvaluation
from vhs.measures.scoring import Scope, View
from vhs.measures.specialization import Specialization
from vhs.measures.steadiness import settle
from vhs.measures.taylor import TaylorEstimate
from vhs.models.building import build
from vhs.models.model import Model, Preprocess
from vhs.models.spec import ViTSpec
from vhs.runs import cache as decoded
from vhs.runs import conditions
from vhs.runs.run import Run, sweep
from vhs.runs.runtime import product_rate
from vhs.shifts import fields
from vhs.shifts.corruption import corrupt
from vhs.shifts.kinds import CORRUPTIONS
from vhs.training import feed, loop, optimization
from vhs.training.recipe import Recipe

TABLES = {
    Wait(f"shifts/{place}", TO_DEVICE)
    for place in (
        "blur.py:_scan", "digital.py:_box", "digital.py:_corners", "digital.py:_nearest", "fields.py:normal_table",
        "fields.py:poisson_table", "filters.py:_spectrum", "filters.py:blur_matrix", "spatter.py:_colour",
        "spatter.py:_slope", "textures.py:Textures._place", "textures.py:Textures.pixels_P3",
    )
} | {Wait("models/model.py:_levels", TO_DEVICE)}  # fmt: skip

ALLOWED = {
    "a table that a device gets once and keeps": TABLES,
    "JPEG is encoded and decoded on the host, by the library that made the published files": {
        Wait("shifts/digital.py:jpeg_compression", TO_HOST), Wait("shifts/digital.py:jpeg_compression", TO_DEVICE),
    },
    "a condition is over: its tallies are read, once": {
        Wait("measures/scoring.py:Tally.counts", TO_HOST), Wait("measures/evaluation.py:Scores.sums", TO_HOST),
        Wait("measures/evaluation.py:Scores.bins", TO_HOST), Wait("measures/ablation.py:HeadAblation._pack", TO_HOST),
    },
    "a condition begins: which of the model's outputs its classes are": {Wait("runs/scopes.py:_both", TO_DEVICE)},
    "a run begins: one tile is moved about and compared": {
        Wait("measures/steadiness.py:is_steady", READ), Wait("measures/steadiness.py:is_steady", TO_DEVICE),
    },
    "an epoch begins: its order": {Wait("training/feed.py:_batches", TO_DEVICE)},
    "losses were finite: asked every 50 updates, and before anything is saved": {
        Wait("training/loop.py:TrainingState.first_bad_step", READ),
    },
    "an epoch is over: its mean loss goes into the log": {Wait("fitting/training.py:Training._finish_epoch", READ)},
    "`info` times a product, and waits for it": {Wait("runs/runtime.py:product_rate", READ)},
}  # fmt: skip
"""Every place where the host may wait for a GPU, and why it must. A wait anywhere else fails the tests."""
LISTED = set().union(*ALLOWED.values())
EVERY_BATCH = ALLOWED["JPEG is encoded and decoded on the host, by the library that made the published files"]
"""What may wait in every batch, with all tables there."""


@pytest.fixture(scope="module", autouse=True)
def tables() -> Iterator[None]:
    """No table of other tests comes in, and none of fake tensors gets out."""
    forget()
    yield
    forget()


def images(count: int, *size: int) -> Tensor:
    return torch.zeros(count, *size, dtype=torch.uint8, device=DEVICE)


def numbers(*size: int) -> Tensor:
    return torch.zeros(*size, dtype=torch.int64, device=DEVICE)


# --- the harness itself ---


@pytest.mark.parametrize(
    ("planted", "kind"),
    [
        (lambda x: x.sum().item(), READ),
        (lambda x: bool((x > 0).any()), READ),
        (lambda x: x.tolist(), READ),
        (lambda x: torch.equal(x, x), READ),
        (lambda x: x.nonzero(), READ),
        (lambda x: x[x > 0], READ),
        (lambda x: x.masked_select(x > 0), READ),
        (lambda x: x.unique(), READ),
        (lambda x: torch.linalg.solve(x, x), READ),
        (lambda x: x.cpu(), TO_HOST),
        (lambda x: x.to("cpu", non_blocking=True), TO_HOST),
        (lambda x: torch.zeros(3, 3).copy_(x), TO_HOST),
        (lambda x: x[[0, 1]], TO_DEVICE),
        (lambda x: x[torch.tensor([0, 1])], TO_DEVICE),
        (lambda x: x.index_put_((torch.tensor([0]),), x[0]), TO_DEVICE),
        (lambda x: x.new_tensor([1.0]), TO_DEVICE),
        (lambda x: torch.tensor([1.0], device=x.device), TO_DEVICE),
        (lambda x: torch.ones(3).to(x), TO_DEVICE),
        (lambda x: x.copy_(torch.ones(3, 3)), TO_DEVICE),
        (lambda x: torch.from_numpy(np.ones(3)).to(x.device), TO_DEVICE),
    ],
)
def test_a_planted_wait_is_found(planted: Callable[[Tensor], object], kind: str) -> None:
    with on_cuda(LISTED):
        x = torch.zeros(3, 3, device=DEVICE)
        with pytest.raises(HostWaits, match=kind):
            planted(x)
    others = {Wait("test_fake_cuda.py:<lambda>", other) for other in (READ, TO_HOST, TO_DEVICE) if other != kind}
    with on_cuda(others), pytest.raises(HostWaits):  # a place is listed for one kind of waiting only
        planted(x)


def test_what_does_not_wait_passes() -> None:
    with on_cuda() as watch:
        x = torch.zeros(3, 3, device=DEVICE)
        assert torch.tensor([0, 1]).to(DEVICE, non_blocking=True).device == DEVICE
        assert torch.tensor([3.0, 4.0]).tolist() == [3, 4] and torch.from_numpy(np.ones(2)).numpy().sum() == 2
        x[:, 1:] = 1
        assert torch.where(x > 0, 1.0, x).device == x.cumsum(0).device == DEVICE
    assert not watch.seen


@pytest.mark.parametrize(
    "planted",
    [
        lambda x: x + torch.ones(3, 3),
        lambda x: torch.cat([x, torch.ones(1, 3)]),
        lambda x: nn.Linear(3, 2).requires_grad_(False)(x),
        lambda x: torch.where(x > 0, torch.ones(3, 3), x),
        lambda x: x.gather(1, torch.zeros(3, 1, dtype=torch.int64)),
        lambda x: x.index_select(0, torch.zeros(2, dtype=torch.int64)),
    ],
)
def test_planted_mixed_devices_are_found(planted: Callable[[Tensor], object]) -> None:
    with on_cuda(LISTED):
        x = torch.zeros(3, 3, device=DEVICE)
        with pytest.raises(RuntimeError, match="device"):
            planted(x)


def test_a_planted_wait_is_found_inside_vhs() -> None:
    """In the middle of a corruption, by its own place; a listed place is good for its own kind only."""

    def waiting(table: Tensor, index: Tensor) -> Tensor:
        return table[: 1 + int(index.max())].index_select(0, index.flatten()).view(index.shape)

    with (
        patch.object(fields, "pick", waiting),
        on_cuda(LISTED),
        pytest.raises(HostWaits, match=r"fields\.py:normal read"),
    ):
        corrupt(images(2, 3, 32, 32), numbers(2), "gaussian_noise", 3, 0)


BY_OPERATION = (
    lambda x: x.sum().item(), lambda x: bool(x.sum() > 0), lambda x: float(x.sum()), lambda x: torch.equal(x, x),
    lambda x: x.nonzero(), lambda x: x[x > 0],
)  # fmt: skip
BY_PYTHON = (lambda x: x.tolist(), lambda x: x.cpu(), lambda x: x.detach().numpy())


@pytest.mark.parametrize("planted", BY_OPERATION + BY_PYTHON)
def test_a_planted_wait_is_found_on_the_cpu_too(planted: Callable[[Tensor], object]) -> None:
    with on_cpu(LISTED), pytest.raises(HostWaits):
        planted(torch.ones(3))


@pytest.mark.parametrize("planted", BY_OPERATION)
def test_a_planted_wait_is_found_in_the_backward_pass(planted: Callable[[Tensor], object]) -> None:
    x = torch.ones(3, requires_grad=True)
    x.register_hook(lambda gradient: planted(gradient) and None)
    with on_cpu(LISTED), pytest.raises(HostWaits):
        (x**2).sum().backward()


# --- corruptions ---


def quick_field(blocks_BN: Tensor, _samples_BN: Tensor, _key: int, _stream: int) -> Tensor:
    """In the place of the generator, whose hundreds of operations would be most of what these tests do."""
    return blocks_BN.new_zeros(len(blocks_BN), 4 * blocks_BN.shape[1])


def test_random_fields() -> None:
    with on_cuda():
        words = fields.words(numbers(3), 21, 2**63 + 5, stream=1)
        assert (words.device, words.shape, words.dtype) == (DEVICE, (3, 21), torch.int32)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruptions(name: str) -> None:
    """At two sizes, whose parameters and ways differ; with all tables there, only JPEG waits."""

    def made(channels: int, side: int, severity: int) -> None:
        given = images(2, channels, side, side)
        got = corrupt(given, numbers(2), name, 2 if name == "patch_shuffle" else severity, 0)
        assert (got.device, got.shape, got.dtype) == (DEVICE, given.shape, given.dtype)

    strong = 1 if name == "grayscale" else 5
    with patch.object(fields, "philox", quick_field):
        with on_cuda(TABLES | EVERY_BATCH):
            made(3, 224, strong)
            made(1, 32, 1)
            made(3, 32, strong)
        with on_cuda(EVERY_BATCH):
            made(3, 32, strong)


@pytest.mark.parametrize(("given", "wanted"), [(1, 3), (3, 1), (3, 3)])
def test_preprocessing(given: int, wanted: int) -> None:
    """Channels matched, resized and not; statistics are on the device after the first batch."""
    stats = Preprocess(height=42, width=28, channels=wanted, mean=(0.4,) * wanted, std=(0.2,) * wanted)
    with on_cuda(TABLES):
        assert stats(images(2, given, 42, 28)).device == DEVICE
    with on_cuda():
        assert stats(images(2, given, 50, 61)).shape == (2, wanted, 42, 28)


# --- measures ---


def on_device(net: nn.Module, size: tuple[int, int, int], classes: int = 5) -> Model:
    """The network with its parameters on the device; where its heads are was found out before, with real tensors."""
    channels, height, width = size
    stats = Preprocess(height=height, width=width, channels=channels, mean=(0.5,) * channels, std=(0.25,) * channels)
    model = Model(net=net.eval(), preprocess=stats, classes=("x",) * classes, name="net", weights_id="")
    assert model.has_heads
    moved(net)
    assert model.device == DEVICE
    return model


def batch_of(model: Model, count: int = 8) -> Batch:
    stats = model.preprocess
    shape = (stats.channels, stats.height, stats.width)
    return Batch(
        images(count, *shape), numbers(count), numbers(count), numbers(count), numbers(2, count), count,
        numbers(count), torch.zeros(count, 3, device=DEVICE), images(count, *shape),
    )  # fmt: skip


VIT = ViTSpec(
    depth=2, dim=12, heads=3, head_width=4, hidden=8, patch=14, height=42, width=28, channels=1, classes=5, layer_scale=True
)  # fmt: skip
EVA = {"img_size": 28, "depth": 2, "num_classes": 5}
SWIN = {"img_size": 56, "depths": (1, 1), "num_heads": (2, 3), "embed_dim": 12, "num_classes": 5}


@cache
def model_of(engine: str) -> Model:
    if engine == "fast":
        return on_device(build(VIT), (1, 42, 28))
    if engine == "replay":
        return on_device(timm.create_model("eva02_tiny_patch14_224", **EVA), (3, 28, 28))
    return on_device(timm.create_model("swin_tiny_patch4_window7_224", **SWIN), (3, 56, 56))


ENGINES = ("fast", "replay", "hooks")


def removing(kinds, unit: str = "head", *, rescale: bool = False) -> Ablation:
    units = Wanted(unit) if unit.isalpha() else named_sets(unit.split())
    return Ablation(units, tuple(FILLS[kind] for kind in kinds), rescale)


UNITS = ("head", "layer", "only", "pair", "mlp", "0.1+1.0 1.2")


def ablation(model: Model, kinds: Sequence[str], unit: str = "head", *, rescale: bool = False, keep: bool = False):
    """The measure with all that it can be asked for; a stack of three variants has the sham and heads in it."""
    scope = replace(Scope.whole(5, DEVICE), groups=("a", "b"), samples=8)
    bank = Bank(model, [images(8, *batch_of(model).images_BCHW.shape[1:])], maps=model.plain is not None)
    return HeadAblation(model, scope, 3, removing(kinds, unit, rescale=rescale), bank=bank, keep=keep)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("engine", ENGINES)
def test_ablation(engine: str, unit: str) -> None:
    """Single heads with every fill; what is removed knows nothing of what stands in, so other units get one. Single
    heads and sets also with the kept ones rescaled: these are the two ways in which weights come to a network."""
    model = model_of(engine)
    assert model.engine.path == engine
    fills = [kind for kind in FILLS if engine == "fast" or not FILLS[kind].values] if unit == "head" else ["resample"]
    with on_cuda(LISTED):
        measures = [ablation(model, fills, unit, keep=True)]
        if unit == "head" or "+" in unit:
            measures.append(ablation(model, ["zero"], unit, rescale=True))
        batch = batch_of(model)
    with on_cuda():
        for measure in measures:
            measure.add(batch)
    with on_cuda(LISTED):
        assert set(measures[0].results()) == {"units", "groups", "outcomes"}


PLAIN = {
    "two distillation tokens' heads": lambda: timm.models.deit.VisionTransformerDistilled(
        **{**VIT.timm_kwargs(), "class_token": True}
    ),
    "average pool, registers": lambda: build(replace(VIT, pool="avg", registers=2)),
    "local attention, no last residual": lambda: build(replace(VIT, lsa=True, spt=True, last_residual=False)),
    "norms of queries and patches": lambda: timm.models.VisionTransformer(**VIT.timm_kwargs(), qk_norm=True),
}


@pytest.mark.parametrize(("fused", "precision"), [(True, "float32"), (False, "bf16")])
@pytest.mark.parametrize("name", PLAIN)
def test_relatives_of_the_plain_vit(name: str, fused: bool, precision: str) -> None:
    model = replace(on_device(PLAIN[name](), (1, 42, 28)), precision=precision)
    for block in model.plain.blocks:
        block.attn.fused_attn = fused
    with on_cuda(LISTED):
        measure, batch = ablation(model, ["zero", "uniform"]), batch_of(model)
    with on_cuda():
        measure.add(batch)


def test_reduced_precision_is_what_is_tried() -> None:
    """Autocast takes part: a product on the device is one in bf16."""
    model = replace(model_of("fast"), precision="bf16")
    with on_cuda(LISTED), model.autocast():
        assert model.net(model.preprocess(batch_of(model).images_BCHW)).dtype == torch.bfloat16


@pytest.mark.parametrize("engine", ENGINES)
def test_squared_errors(engine: str) -> None:
    model = model_of(engine)
    with on_cuda(LISTED):
        batch = replace(batch_of(model), targets_BT=torch.zeros(8, 5, device=DEVICE))
        measures = RegressionAblation(model, 3, 5, removing(["zero", "twin"])), RegressionEvaluation(model, 5)
        model.preprocess(batch.images_BCHW)
    with on_cuda():
        for measure in measures:
            measure.add(batch)
    with on_cuda(LISTED):
        assert [set(measure.results()) for measure in measures] == [{"units"}, {"targets"}]


@pytest.mark.parametrize("kind", ["zero", "mean", "uniform", "twin"])
@pytest.mark.parametrize("name", [*list(PLAIN)[:2], "norms of queries and patches"])
def test_direct_estimates(name: str, kind: str) -> None:
    model = on_device(PLAIN[name](), (1, 42, 28))
    with on_cuda(LISTED):
        batch = batch_of(model)
        measure = DirectEstimate(model, Scope.whole(5, DEVICE), kind=FILLS[kind], bank=Bank(model, [batch.images_BCHW]))
    with on_cuda():
        measure.add(batch)
    with on_cuda(LISTED):
        measure.results()


@pytest.mark.parametrize("kind", FILLS)
def test_taylor_estimates(kind: str) -> None:
    """The devices on fake tensors, with a gradient from nowhere; the backward pass on the CPU."""
    model = model_of("fast")
    none = patch.object(Tensor, "backward", lambda _loss: None)
    with none, patch.object(Tensor, "retain_grad", _given_gradient):
        with on_cuda(LISTED):
            batch = batch_of(model)
            measure = taylor(model, batch, kind)
        with on_cuda():
            measure.add(batch)
    real = Model(net=build(VIT).eval(), preprocess=model.preprocess, classes=model.classes, name="", weights_id="")
    parts = {name: torch.zeros(p.shape, dtype=p.dtype) for name, p in vars(batch).items() if isinstance(p, Tensor)}
    measure = taylor(real, replace(batch, **parts), kind)
    with on_cpu():
        measure.add(replace(batch, **parts))
    assert measure.results()["units"]["n"].sum() == 8 * 6


def taylor(model: Model, batch: Batch, kind: str) -> TaylorEstimate:
    bank = Bank(model, [batch.images_BCHW], maps=True)
    return TaylorEstimate(model, Scope.whole(5, model.device), kind=FILLS[kind], bank=bank)


retain_grad = Tensor.retain_grad


def _given_gradient(received: Tensor) -> None:
    retain_grad(received)
    received.grad = torch.zeros_like(received)


# --- runs: tiles from the host, conditions, tallies back ---


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
        lambda model, _: Specialization(model, across=True),
        lambda model, _: Specialization(model, across=False),
        DirectEstimate,
    ],
)
def test_runs(run: Run, make: Callable[[Model, Scope], Evaluation]) -> None:
    with on_cuda(LISTED):
        names = [condition.name for condition, _ in sweep(run, make)]
    assert names == ["clean", "clean_c", "imagenet-c/contrast:3"]


@pytest.mark.parametrize("make", [Evaluation, lambda model, _: Specialization(model, across=True)])
def test_a_batch_waits_for_nothing(run: Run, make: Callable[[Model, Scope], Evaluation]) -> None:
    with on_cuda(LISTED):
        (model,) = run.models
        views = (View("all", "all", numbers(5), numbers(5)), View("all", "some", numbers(5)))
        measure, batch = make(model, Scope(views, ("a", "b"), 20)), batch_of(model)
        model.preprocess(batch.images_BCHW)
    with on_cuda():
        measure.add(batch)


def test_settling(run: Run) -> None:
    with on_cuda(LISTED):
        assert settle(run.models[0], images(16, 1, 42, 28), 3).steady


# --- training ---

ALL = {
    "depth": 2, "dim": 12, "heads": 3, "patch": 14, "batch": 8, "epochs": 2, "crop": True, "flip": True, "erase": 0.5,
    "mixup": 0.8, "cutmix": 1.0, "label_smoothing": 0.1, "drop_path": 0.2, "clip": 1.0, "accumulate": 2,
    "layer_scale": 1e-4, "layer_decay": 0.8, "repeats": 2, "ema": 0.9,
}  # fmt: skip
RECIPES = {
    "everything": ALL,
    "nothing": {"depth": 2, "dim": 12, "heads": 3, "patch": 14, "batch": 8, "precision": "float32"},
    "mixup alone": ALL | {"cutmix": 0.0, "accumulate": 1, "ema": 0.0},
    "cutmix alone": ALL | {"mixup": 0.0, "layer_decay": 1.0},
    "smoothing alone": ALL | {"mixup": 0.0, "cutmix": 0.0, "repeats": 1},
    "low rank": ALL | {"lora": 2},
    "first block frozen": ALL | {"freeze": "1", "positions": "sincos"},
    "classifier alone": ALL | {"freeze": "all", "pool": "avg"},
    "small data": ALL | {"spt": True, "lsa": True, "last_residual": False},
    "normalised patches": ALL | {"patch_norm": True, "registers": 2},
}
SPLIT = 16
STATS = Preprocess(height=42, width=28, channels=1, mean=(0.5,), std=(0.25,))


def begun(recipe: Recipe) -> loop.TrainingState:
    return loop.start(recipe, recipe.spec(channels=1, height=42, width=28, classes=5), SPLIT, torch.device("cpu"))


def brought(state: loop.TrainingState, recipe: Recipe) -> loop.TrainingState:
    """The state as it would have begun on the device. Fake tensors cannot be copied there, so it is begun before."""
    for net in (state.net, *([state.average.module] if state.average else [])):
        moved(net)
    with on_cuda():
        state.optimizer = optimization.optimizer(state.net, recipe, DEVICE)
    state.loss_sum, state.bad_step, state.own_rows = map(fake, (state.loss_sum, state.bad_step, state.own_rows))
    return state


def no_backward(state: loop.TrainingState) -> Callable[[Tensor], None]:
    """In the place of the backward pass: every weight that learns has a gradient."""

    def backward(loss: Tensor) -> None:
        assert loss.requires_grad and loss.device == DEVICE
        for parameter in state.net.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.zeros_like(parameter)

    return backward


def resident(recipe: Recipe, answers: Tensor) -> feed.Resident:
    return feed.Resident(recipe, feed.Samples(answers, numbers(SPLIT)), images(SPLIT, 1, 42, 28))


@pytest.mark.parametrize("name", RECIPES)
def test_training_up_to_the_loss_and_from_the_gradients_on(name: str) -> None:
    """An epoch: its order, augmentation, mixing, the network in bf16, the loss, clipping, AdamW, the average, the sums."""
    recipe = Recipe().with_values(RECIPES[name], name)
    state = brought(begun(recipe), recipe)
    field = nullcontext() if name == "everything" else patch.object(fields, "philox", quick_field)
    with field, patch.object(Tensor, "backward", no_backward(state)):
        with on_cuda(LISTED):
            updates = loop.updates(state, recipe, resident(recipe, numbers(SPLIT)), STATS)
            next(updates)  # the epoch begins, tables are made
        with on_cuda():
            next(updates)
    assert state.step == 2 and state.loss_sum.device == state.bad_step.device == DEVICE


def test_training_on_targets_up_to_the_loss() -> None:
    recipe = Recipe().with_values(ALL, "targets")
    state = brought(begun(recipe), recipe)
    with patch.object(fields, "philox", quick_field), patch.object(Tensor, "backward", no_backward(state)):
        with on_cuda(LISTED):
            source = resident(recipe, torch.zeros(SPLIT, 5, device=DEVICE))
            updates = loop.updates(state, recipe, source, STATS, regression=True)
            next(updates)
        with on_cuda():
            next(updates)


@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true:UserWarning")
def test_a_streamed_batch_waits_for_nothing() -> None:
    """Images come from the host, pinned; which samples they are was told the device when the epoch began."""
    recipe = Recipe().with_values(ALL, "streamed")
    with on_cuda(LISTED):
        samples = feed.Samples(numbers(SPLIT), numbers(SPLIT))
        batches = feed.Streamed(recipe, samples, lambda _: np.zeros((1, 42, 28), np.uint8), 0).epoch(0, 0)
        next(batches)
    with on_cuda():
        (second,) = batches
        assert {part.device for part in second} == {DEVICE}


@pytest.mark.parametrize("name", RECIPES)
def test_the_backward_pass_and_the_average_wait_for_nothing(name: str) -> None:
    """On the CPU, whose fused AdamW stands for the device's; nothing in an update asks for a value."""
    recipe = Recipe().with_values(RECIPES[name], name)
    state = begun(recipe)
    rates = [{**group, "fused": True} for group in state.optimizer.param_groups]
    state.optimizer = AdamW(rates, fused=True)
    criterion = loop.Criterion(recipe, 5, regression=False)
    before = [parameter.clone() for parameter in state.net.parameters()]
    pixels, labels = torch.randn(8, 1, 42, 28), torch.arange(8) % 5
    with on_cpu():
        loop._update(state, recipe, criterion, (pixels, labels), 0.01)
    assert any(not torch.equal(a, b) for a, b in zip(before, state.net.parameters(), strict=True))
    assert state.first_bad_step() is None


def test_losses_are_asked_for_every_so_often() -> None:
    state = brought(begun(Recipe().with_values(RECIPES["nothing"], "")), Recipe())
    asked = []
    for state.step in range(1, 2 * CHECKED + 1):
        with on_cuda(LISTED) as watch:
            _check(state)
        asked += [state.step] * len(watch.seen)
    assert asked == [CHECKED, 2 * CHECKED]


def _check(state: loop.TrainingState) -> None:
    """A zero, which is what a fake tensor is taken for, is the number of a bad update."""
    with suppress(VhsError):
        Training._check_finite(SimpleNamespace(device=DEVICE, _saved_step=0), state, now=False)


# --- the list ---


def test_the_list_holds_nothing_that_does_not_happen(run: Run) -> None:
    """And nothing twice: each place has one reason."""
    assert sum(map(len, ALLOWED.values())) == len(LISTED)
    forget()
    with on_cuda(LISTED) as watch:
        for name in (
            "gaussian_noise", "shot_noise", "defocus_blur", "glass_blur", "elastic_transform", "pixelate", "frost",
            "jpeg_compression", "spatter", "low_pass",
        ):  # fmt: skip
            corrupt(images(2, 3, 32, 32), numbers(2), name, 3, 0)
        for make in (Evaluation, lambda model, scope: HeadAblation(model, scope, 3, keep=True)):
            list(sweep(replace(run, conditions=run.conditions[:1]), make))
        settle(run.models[0], images(16, 1, 42, 28), 3)
        _logged()
        product_rate(DEVICE)
    assert watch.seen == LISTED


def _logged() -> None:
    """An epoch as a training run has it: its order, whether its losses are finite, its row of the log."""
    recipe = Recipe().with_values(RECIPES["nothing"], "")
    with _disable_current_modes():
        state = begun(recipe)
    state = brought(state, recipe)
    next(resident(recipe, numbers(SPLIT)).epoch(0, 0))
    state.step = CHECKED
    _check(state)
    training = SimpleNamespace(
        recipe=recipe,
        device=DEVICE,
        log=[],
        tracker=None,
        progress=print,
        epoch_done=print,
        _preprocess=None,
        _val=None,
    )
    with (
        patch.object(loop.TrainingState, "weights", lambda *_: None),
        patch.object(validation, "rows", lambda *_: [{}]),
        patch.object(validation, "in_words", str),
    ):
        Training._finish_epoch(training, state, 0.1)
    assert training.log[0]["train_loss"] == 0
