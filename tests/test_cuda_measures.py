"""Measures on fake tensors of a GPU: devices never mix, and a batch makes the host wait for nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from unittest.mock import patch

import pytest
import timm
import torch
from torch import Tensor

from tests.cuda_models import ENGINES, EVA, SWIN, VIT, batch_of, images, model_of, on_device
from tests.fake_cuda import DEVICE, moved, on_cpu, on_cuda
from tests.waits import LISTED
from vhs.batch import Batch
from vhs.grid import Units as Wanted
from vhs.grid import named_sets
from vhs.measures.ablation import HeadAblation
from vhs.measures.ablation_options import Ablation
from vhs.measures.direct import DirectEstimate
from vhs.measures.evaluation import Evaluation
from vhs.measures.fill_kinds import FILLS
from vhs.measures.fills import Bank
from vhs.measures.head_values import Others
from vhs.measures.head_values import Wanted as Looking
from vhs.measures.matching import Matching
from vhs.measures.observation import Observer
from vhs.measures.probe_tally import Probing
from vhs.measures.pruned import PrunedEvaluation
from vhs.measures.regression import RegressionAblation, RegressionEvaluation
from vhs.measures.scoring import Scope, View
from vhs.measures.selection import HeadScores
from vhs.measures.specialization import Specialization
from vhs.measures.taylor import TaylorEstimate
from vhs.measures.weight_fills import Pruner
from vhs.models.building import build
from vhs.models.model import Model, Preprocess

pytestmark = pytest.mark.usefixtures("no_tables")
PLAIN = {
    "two distillation tokens' heads": lambda: timm.models.deit.VisionTransformerDistilled(
        **{**VIT.timm_kwargs(), "class_token": True}
    ),
    "average pool, registers": lambda: build(replace(VIT, pool="avg", registers=2)),
    "local attention, no last residual": lambda: build(replace(VIT, lsa=True, spt=True, last_residual=False)),
    "norms of queries and patches": lambda: timm.models.VisionTransformer(**VIT.timm_kwargs(), qk_norm=True),
}
STATS = Preprocess(height=42, width=28, channels=1, mean=(0.5,), std=(0.25,))
UNITS = ("head", "layer", "only", "pair", "mlp", "0.1+1.0 1.2")


def removing(kinds, unit: str = "head", *, rescale: bool = False) -> Ablation:
    units = Wanted(unit) if unit.isalpha() else named_sets(unit.split())
    return Ablation(units, tuple(FILLS[kind] for kind in kinds), rescale)


def ablation(model: Model, kinds: Sequence[str], unit: str = "head", *, rescale: bool = False, keep: bool = False):
    """The measure with all that it can be asked for; a stack of three variants has the sham and heads in it."""
    scope = replace(Scope.whole(5, DEVICE), groups=("a", "b"), samples=8)
    bank = Bank(model, [images(8, *batch_of(model).images_BCHW.shape[1:])], maps=True)
    return HeadAblation(model, scope, 3, removing(kinds, unit, rescale=rescale), bank=bank, keep=keep)


@pytest.mark.parametrize("grouped", [False, True])
def test_several_labels_and_superclasses(grouped: bool) -> None:
    model = model_of("fast")
    with on_cuda(LISTED):
        members = torch.zeros(2, 3, dtype=torch.int64, device=DEVICE) if grouped else None
        places = torch.zeros(5, dtype=torch.int64, device=DEVICE)
        scope = replace(Scope.whole(5, DEVICE), views=(View("all", "s", places, members_SE=members),))
        measures = [
            Evaluation(model, scope), HeadAblation(model, scope, 3),
            DirectEstimate(model, scope),
        ]  # fmt: skip
        model.preprocess(batch_of(model).images_BCHW)  # tables of levels come to a device once
        batch = replace(batch_of(model), labels_BL=torch.zeros(8, 3, dtype=torch.int64, device=DEVICE))
    with on_cuda():
        for measure in measures:
            measure.add(batch)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("engine", ENGINES)
def test_ablation(engine: str, unit: str) -> None:
    """Single heads with every fill; what is removed knows nothing of what stands in, so other units get one. Single
    heads and sets also with the kept ones rescaled: these are the two ways in which weights come to a network."""
    model = model_of(engine)
    assert model.engine.path == engine
    fills = list(FILLS) if unit == "head" else ["resample"]
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


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("views", [False, True])
def test_what_orders_of_heads_go_by(engine: str, views: bool) -> None:
    model = model_of(engine)
    with on_cuda(LISTED):
        batch = batch_of(model)
        measure = HeadScores(model, Scope.whole(5, DEVICE), 3, views=views, whole=model)
        model.preprocess(batch.images_BCHW)
    with on_cuda():
        measure.add(batch)
    with on_cuda(LISTED):
        assert set(measure.results()) == {"units"}


def test_pruned_networks() -> None:
    real = Model(net=build(VIT).eval(), preprocess=STATS, classes=tuple("abcde"), name="", weights_id="")
    made = Pruner(real)
    nets = [moved(made.without(removed)) for removed in ([], [(0, 1)], made.heads)]
    model = model_of("fast")
    with on_cuda(LISTED):
        batch, scope = batch_of(model), replace(Scope.whole(5, DEVICE), samples=8)
        measure = PrunedEvaluation(model, scope, nets)
        model.preprocess(batch.images_BCHW)
    with on_cuda():
        measure.add(batch)
    with on_cuda(LISTED):
        assert set(measure.results()) == {"sums", "bins", "outcomes"}


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


def looking(net: torch.nn.Module, size: tuple[int, int, int]) -> tuple[Observer, Model]:
    """What a model's maps are of is found out with real tensors, as where its heads are."""
    channels, height, width = size
    stats = Preprocess(height=height, width=width, channels=channels, mean=(0.5,) * channels, std=(0.25,) * channels)
    model = Model(net=net.eval(), preprocess=stats, classes=("x",) * 5, name="net", weights_id="")
    observer = Observer(model)
    moved(net)
    with on_cuda(LISTED):
        observer._roots = [None if root is None else torch.empty(root.shape, device=DEVICE) for root in observer._roots]
        observer.probe = observer.see(torch.zeros(2, *size, device=DEVICE))
    return observer, model


LOOKING = {
    "fast": (lambda: build(VIT), (1, 42, 28)),
    "replay": (lambda: timm.create_model("eva02_tiny_patch14_224", **EVA), (3, 28, 28)),
    "windows": (lambda: timm.create_model("swin_tiny_patch4_window7_224", **SWIN), (3, 56, 56)),
}


@pytest.mark.parametrize(
    ("name", "asked"), [*((name, asked) for name in LOOKING for asked in ("all", "regions")), ("fast", "activity")]
)
def test_specialization(name: str, asked: str) -> None:
    net, size = LOOKING[name]
    observer, model = looking(net(), size)
    with on_cuda(LISTED):
        batch = batch_of(model)
        maps = torch.zeros(8, *size[1:], dtype=torch.uint8, device=DEVICE)
        batch = replace(batch, clean_BCHW=batch.images_BCHW, regions_BHW=maps, bare_BCHW=batch.images_BCHW)
        batch = replace(batch, added_BR=torch.zeros(8, 2, dtype=torch.bool, device=DEVICE))
        wanted = Looking(
            others=Others(batch.images_BCHW[:4], batch.keys_B[:4], maps[:4]), activity=2 * (asked == "activity"),
            regions=("a", "b") * (asked == "regions"),
        )  # fmt: skip
        with patch("vhs.measures.specialization.Observer", return_value=observer):
            measure = Specialization(model, replace(Scope.whole(5, DEVICE), twins=True), wanted)
        model.preprocess(batch.images_BCHW)
    with on_cuda():
        measure.add(batch)
    with on_cuda(LISTED):
        assert {"means", "jsd"} < set(measure.results())


@pytest.mark.parametrize("name", [*LOOKING])
def test_matching_and_the_features_of_probes(name: str) -> None:
    """Images are seen without a wait; what is fitted to them is read once a condition."""
    net, size = LOOKING[name]
    observer, model = looking(net(), size)
    with on_cuda(LISTED):
        batch = batch_of(model)
        model.preprocess(batch.images_BCHW)
        with patch("vhs.measures.matching.Observer", return_value=observer):
            matching = Matching(model, model)
        scope = replace(Scope.whole(5, DEVICE), groups=("a=1", "a=2"))
        probing = Probing(model, scope, 0, [model])
    with on_cuda():
        matching.add(batch)
        probing.add(batch)
    with on_cuda(LISTED):
        assert set(matching.results()) == {"pairs", "cells"}
