"""Distillation: a student that is its teacher loses nothing, heads are found again, and what does not fit is said."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import timm
import torch
from torch import Tensor, nn

from tests.lessons import OUTPUTS, SIZES, STUDENT, drawn, lesson, pixels_of, preprocess_of, teacher_of, terms_of
from tests.networks import randomised
from tests.shells import torchrun
from tests.trainings import RECIPE, training
from vhs.errors import MismatchError, UsageError
from vhs.fitting import likeness, teaching
from vhs.formats import checkpoints, references
from vhs.formats.tables import render
from vhs.models import seam
from vhs.models.building import build
from vhs.models.maps import MapReader
from vhs.models.model import Preprocess
from vhs.models.shared_tokens import SharedTokens
from vhs.models.spec import TimmSpec
from vhs.models.taps import SCORES, Tap, Tapped
from vhs.training import grain, objective
from vhs.training.adaptive import Adaptive
from vhs.training.recipe import Recipe

GRAINS = ("encoder", "block:0,2", "head:0.1:0.1,2.0:2.0")
TINY_SWIN = TimmSpec(name="swin_tiny_patch4_window7_224", height=56, width=56, channels=3, classes=5,
                     arguments="depths=1x2,num_heads=3x6,embed_dim=24,window_size=7")  # fmt: skip


def learned(net: nn.Module) -> list[Tensor]:
    return [parameter for parameter in net.parameters() if parameter.requires_grad]


@pytest.mark.parametrize("distilled", GRAINS)
@pytest.mark.parametrize("loss", ["mse", "mse-centred", "ce", "kl"])
def test_a_teacher_that_is_the_student_teaches_nothing(distilled: str, loss: str) -> None:
    net = drawn(STUDENT)
    teacher = teacher_of(drawn(STUDENT), STUDENT)
    found = teaching.objective(lesson(teacher, distill="attention", grain=distilled, distill_loss=loss))
    _, value = terms_of(found, net, pixels_of())["attention"]
    if loss != "ce":
        assert abs(value.item()) < 1e-6
    gradients = torch.autograd.grad(value, learned(net), allow_unused=True)
    assert max(gradient.abs().max().item() for gradient in gradients if gradient is not None) < 1e-5
    other = randomised(build(STUDENT))
    with torch.no_grad():
        seam.incoming(seam.blocks(other)[0]).weight.mul_(0.5)
    assert terms_of(found, other, pixels_of())["attention"][1].item() > value.item() + 1e-3


@pytest.mark.parametrize("heads", ["first", "mean", "relations", "match"])
def test_so_it_is_however_heads_are_put_together(heads: str) -> None:
    found = teaching.objective(lesson(teacher_of(drawn(STUDENT), STUDENT), distill="attention", distill_heads=heads))
    assert abs(terms_of(found, drawn(STUDENT), pixels_of())["attention"][1].item()) < 1e-5


def test_a_planted_permutation_of_heads_is_found() -> None:
    """The teacher's heads in another order, and two more of them than the student has."""
    spec = replace(STUDENT, heads=5)
    teacher, net = drawn(spec), build(STUDENT).eval()
    net.load_state_dict({name: value for name, value in drawn(STUDENT).state_dict().items()})
    rng, planted = np.random.default_rng(1), []
    with torch.no_grad():
        for name in ("patch_embed.proj.weight", "patch_embed.proj.bias", "pos_embed", "cls_token"):
            net.get_parameter(name).copy_(teacher.get_parameter(name))
        for own, its in zip(seam.blocks(net), seam.blocks(teacher), strict=True):
            order = rng.permutation(5)[:2]
            planted.append(order.tolist())
            split = seam.incoming(its).weight.view(3, 5, 5, -1), seam.incoming(its).bias.view(3, 5, 5)
            seam.incoming(own).weight.copy_(split[0][:, order].flatten(0, 2))
            seam.incoming(own).bias.copy_(split[1][:, order].flatten())
            for whole in (own.norm1, own.norm2, own.mlp.fc1, own.mlp.fc2):
                path = next(name for name, module in own.named_modules() if module is whole)
                whole.load_state_dict(its.get_submodule(path).state_dict())
            for block in (own, its):  # attention adds nothing, so that both have the same residual stream
                seam.projection(block).weight.zero_(), seam.projection(block).bias.zero_()
    found = teaching.objective(lesson(teacher_of(teacher, spec), distill="attention", distill_heads="match"))
    assert found.distillation is not None and found.distillation.assignment is not None
    assignment = found.distillation.assignment
    assert assignment.due(0, 10, 100)
    from vhs.training.loop import seen_by

    assignment.update(0, 100, lambda pixels: seen_by(net, found, pixels))
    assert assignment.chosen == [[[0, 1], order] for order in planted]
    assert abs(terms_of(found, net, pixels_of())["attention"][1].item()) < 1e-5
    assert assignment.in_words().split()[0] == f"L0H0=L0H{planted[0][0]}"


def test_heads_are_assigned_in_the_first_fifth_and_then_stay() -> None:
    found = teaching.objective(lesson(teacher_of(drawn(STUDENT), STUDENT), distill="attention", distill_heads="match"))
    assignment = found.distillation.assignment  # type: ignore[union-attr]
    assert assignment is not None
    steps = []
    for step in range(100):
        if assignment.due(step, 8, 100):
            steps.append(step)
            assignment.last, assignment.done = step, step >= 20
    assert steps == [0, 8, 16, 20]
    assignment.last, assignment.done, assignment.chosen = 8, False, [[[0, 1], [1, 0]]] * 3
    saved = assignment.to_json()
    assignment.last = None
    assignment.from_json(saved)
    assert (
        assignment.last == 8
        and not assignment.due(8, 8, 100)
        and assignment.term.pairs[2].other_heads.tolist() == [1, 0]
    )


def test_keys_that_are_set_for_nothing_are_named() -> None:
    for keys, idle in (
        ({"alpha": 0.3, "grain": "block:0"}, "alpha, grain"), ({"diversity_pairs": 3}, "diversity_pairs"),
        ({"distill": "logits", "distill_loss": "mse"}, "distill_loss"), ({"distill": "attention", "temperature": 2.0}, "temperature"),
    ):  # fmt: skip
        (line,) = likeness.notes(SIZES.with_values(keys, "test"), STUDENT, None)
        assert line == f"{idle}: of no account, nothing here makes use of it"
    used = {"distill": "attention,logits", "alpha": 0.1, "temperature": 2.0, "grain": "block:0", "diversity": 1.0}
    assert likeness.notes(SIZES.with_values(used | {"diversity_layers": "all"}, "test"), STUDENT, None) == []


@pytest.mark.parametrize(
    ("text", "depths", "rule", "pairs"),
    [
        ("encoder", (3, 3), "uniform", [(0, 0), (1, 1), (2, 2)]),
        ("encoder", (3, 12), "uniform", [(0, 3), (1, 7), (2, 11)]),
        ("encoder", (4, 6), "uniform", [(0, 1), (1, 2), (2, 4), (3, 5)]),
        ("encoder", (6, 4), "uniform", [(0, 0), (1, 1), (2, 1), (3, 2), (4, 3), (5, 3)]),
        ("encoder", (3, 5), "first", [(0, 0), (1, 1), (2, 2)]),
        ("encoder", (3, 5), "last", [(0, 2), (1, 3), (2, 4)]),
        ("encoder", (5, 3), "last", [(2, 0), (3, 1), (4, 2)]),
        ("block:0,2", (3, 6), "uniform", [(0, 1), (2, 5)]),
        ("block:0:5,2:1", (3, 6), "uniform", [(0, 5), (2, 1)]),
        ("head:0.1:2.3,0.0:2.1,1.0:0.0", (3, 6), "uniform", [(0, 2), (1, 0)]),
        ("head:L0H1:L2H3", (3, 6), "uniform", [(0, 2)]),
    ],
)
def test_layers_are_paired_by_stated_rules(text: str, depths: tuple, rule: str, pairs: list) -> None:
    assert grain.parse(text).pairs(*depths, rule) == pairs


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("blocks", "expected encoder, block:0,3"), ("encoder:1", "expected encoder"), ("encoder:", "expected encoder"), ("block:", "expected encoder"),
        ("head:1:2", "expected encoder"), ("block:a", "expected encoder"), ("head:0.1", "expected encoder"),
        ("head:0.1:0.2,0.1:0.3", "a head of the student stands in two pairs"), ("block:1,1", "stands twice"),
    ],
)  # fmt: skip
def test_a_wrong_grain_is_one_line(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        grain.parse(text)


def test_layers_and_heads_that_are_not_there_are_named() -> None:
    teacher = teacher_of(drawn(STUDENT), STUDENT)
    for text, words in (
        ("block:3", "the student has layers 0 to 2, 3 was named"), ("block:0:9", "the teacher has layers 0 to 2, 9 was"),
        ("head:0.2:0.0", "layer 0 of the student has heads 0, 1, 2 was named"), ("head:0.0:1.7", "layer 1 of the teacher has"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=words):
            teaching.objective(lesson(teacher, distill="attention", grain=text))


NETWORKS = {
    "plain": lambda: (STUDENT, drawn(STUDENT)),
    "norms": lambda: (spec := replace(STUDENT, qk_norm=True, pre_norm=True), drawn(spec)),
    "locality": lambda: (spec := replace(STUDENT, lsa=True), drawn(spec)),
    "distilled": lambda: (spec := replace(STUDENT, distilled=True), drawn(spec)),
    "windows": lambda: (TINY_SWIN, randomised(build(TINY_SWIN))),
    "rotary": lambda: (
        spec := TimmSpec(
            name="eva02_tiny_patch14_224", height=56, width=56, channels=3, classes=5, arguments="depth=2"
        ),
        randomised(build(spec)),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_scores_are_what_the_softmax_receives(name: str) -> None:
    spec, net = NETWORKS[name]()
    model = teacher_of(net, spec).model
    reader = MapReader(net, model.engine.seams, model.noise())
    tapped = Tapped(net, [Tap(SCORES, layer) for layer in range(len(reader.layouts))],
                    (spec.channels, spec.height, spec.width))  # fmt: skip
    pixels = pixels_of(spec, 3)
    with torch.no_grad():
        logits, seen = tapped(pixels)
    assert torch.equal(logits, net(pixels).detach())
    for layer, watched in enumerate(reader.read(pixels)):
        assert torch.allclose(seen[Tap(SCORES, layer)].softmax(-1), watched.weights_RHQK, atol=1e-5), layer


def test_a_teacher_sees_the_students_images_in_its_own_way() -> None:
    """Another size, other statistics, other channels: what it would have made of the images itself."""
    images = torch.randint(0, 256, (4, 3, 42, 28), dtype=torch.uint8)
    colour = Preprocess(height=42, width=28, channels=3, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    larger = Preprocess(height=63, width=56, channels=3, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    grey = Preprocess(height=42, width=28, channels=1, mean=(0.5,), std=(0.2,))
    for own, other, seen in ((colour, larger, images), (grey, larger, images[:, :1]), (colour, grey, images)):
        got, want = other.of_pixels(own(seen), own), other(seen)
        assert torch.allclose(got, want, atol=0.5 / 255 / min(other.std) + 1e-4)
    assert larger.of_pixels(pixels := torch.randn(2, 3, 63, 56), larger) is pixels


def test_teachers_of_other_grids_heads_depths_and_windows() -> None:
    """Each works as said or is refused in one line."""
    finer = replace(STUDENT, patch=14, heads=3, depth=5, registers=2)
    for heads in ("first", "mean", "match"):
        found = teaching.objective(lesson(teacher_of(drawn(finer), finer, mean=0.1), distill="attention",
                                          distill_heads=heads))  # fmt: skip
        value = terms_of(found, drawn(STUDENT), pixels_of())["attention"][1]
        assert math.isfinite(value.item()) and value.item() > 0 and value.requires_grad
    few = replace(STUDENT, heads=1)
    with pytest.raises(
        UsageError, match=r"its layer 0 has 1 heads, the student's layer 0 has 2\. Set distill_heads to mean"
    ):
        teaching.objective(lesson(teacher_of(drawn(few), few), distill="attention"))
    assert teaching.objective(lesson(teacher_of(drawn(few), few), distill="attention", distill_heads="relations")).names
    swin = randomised(build(TINY_SWIN))
    with pytest.raises(
        MismatchError, match=r"its layer 0 and the student's layer 0 attend between other tokens \(windows"
    ):
        teaching.objective(lesson(teacher_of(swin, TINY_SWIN), distill="attention"))
    same = teaching.objective(lesson(teacher_of(swin, TINY_SWIN), TINY_SWIN, distill="attention", grain="block:0,1"))
    assert abs(terms_of(same, swin, pixels_of(TINY_SWIN, 2))["attention"][1].item()) < 1e-6
    wider = replace(TINY_SWIN, height=112, width=112)
    with pytest.raises(MismatchError, match="in equal windows"):
        teaching.objective(lesson(teacher_of(randomised(build(wider)), wider), TINY_SWIN, distill="attention"))


def test_windows_that_lie_otherwise_hold_other_pixels() -> None:
    """Swin's second block of a stage has shifted windows; MaxViT's second attention spreads them over the image."""
    deep = replace(TINY_SWIN, arguments=TINY_SWIN.arguments.replace("depths=1x2", "depths=2x2"))
    swin = randomised(build(deep))
    teacher = teacher_of(swin, deep)
    same = teaching.objective(lesson(teacher, deep, distill="attention", grain="block:0:0,1:1"))
    assert abs(terms_of(same, swin, pixels_of(deep, 2))["attention"][1].item()) < 1e-6
    for text in ("block:0:1", "block:1:0"):
        with pytest.raises(MismatchError, match=r"windows shifted by 3x3, 49 queries.* in equal windows"):
            teaching.objective(lesson(teacher, deep, distill="attention", grain=text))
    maxvit = timm.create_model("maxvit_rmlp_pico_rw_256", img_size=64, num_classes=5)
    spec = TimmSpec(name="maxvit_rmlp_pico_rw_256", height=64, width=64, channels=3, classes=5)
    model = teacher_of(maxvit, spec).model
    layouts = MapReader(model.net, model.engine.seams, model.noise()).layouts
    assert [layout.arrangement for layout in layouts[:2]] == ["", "spread over the image"]
    assert SharedTokens(layouts[0], layouts[1]).refusal() is not None


def test_a_convolutional_teacher_tells_logits_only() -> None:
    spec = TimmSpec(name="resnet10t", height=42, width=28, channels=1, classes=5)
    teacher = teacher_of(timm.create_model("resnet10t", num_classes=5, in_chans=1), spec)
    found = teaching.objective(lesson(teacher, distill="logits"))
    assert found.taps == () and math.isfinite(terms_of(found, drawn(STUDENT), pixels_of())["logits"][1].item())
    with pytest.raises(MismatchError, match=r"--teacher teacher: its attention cannot be read: ResNet.* Distil logits"):
        teaching.objective(lesson(teacher, distill="attention"))


def test_logits_and_tokens_equal_their_formulas() -> None:
    spec = replace(STUDENT, distilled=True)
    teacher, net = teacher_of(drawn(STUDENT), STUDENT), randomised(build(spec)).train()
    pixels = pixels_of(spec)
    with torch.no_grad():
        t = teacher.model.net(pixels).double().numpy()
    for kind in ("token", "token-soft", "logits"):
        found = teaching.objective(lesson(teacher, spec, distill=f"{kind}=2", alpha=0.3, temperature=3.0))
        terms = terms_of(found, net, pixels)
        weight, value = terms[kind.partition("-")[0]]
        assert weight == pytest.approx(1.4) and terms["class"][0] == 0.3
        tapped = Tapped(net, found.taps)
        logits, seen = tapped(pixels)
        by_token = {tap.what: part.detach().double() for tap, part in seen.items()}
        own = logits.detach().double() if kind == "logits" else by_token["distilled"]
        if kind == "token":
            want = -own.log_softmax(-1).numpy()[np.arange(6), t.argmax(1)].mean()
        else:
            p, q = (torch.as_tensor(x / 3).softmax(-1).numpy() for x in (t, own.numpy()))
            want = 9 * (p * np.log(p / q)).sum(1).mean()
        assert value.item() == pytest.approx(want, rel=1e-4)
        labels = torch.arange(6) % 5
        answers = logits if kind == "logits" else seen[Tap("class")]
        assert terms["class"][1].item() == pytest.approx(nn.functional.cross_entropy(answers, labels).item(), rel=1e-5)
    assert objective.total({"a": (0.5, torch.tensor(4.0)), "b": (2.0, torch.tensor(3.0))}).item() == 8


def test_a_teacher_of_more_classes_answers_for_the_students() -> None:
    order = ("z", "e", "d", "c", "b", "a", "y")
    spec = replace(STUDENT, classes=7)
    net = drawn(spec)
    teacher = teacher_of(net, spec, order)
    found = teaching.objective(lesson(teacher, distill="logits"))
    pixels = pixels_of()
    taught = found.distillation.teacher(pixels).logits_BO  # type: ignore[union-attr]
    assert torch.equal(taught, net(pixels).detach()[:, [5, 4, 3, 2, 1]])
    with pytest.raises(MismatchError, match=r"knows no class 'a' \(1 of 5 are unknown to it\)"):
        teaching.objective(lesson(teacher_of(net, spec, ("A", *order[:5], "q")[:7]), distill="logits"))
    told = teaching.objective(lesson(teacher_of(net, spec, tuple("1234567")), distill="attention"))
    assert told.distillation.teacher(pixels).logits_BO is None  # type: ignore[union-attr]


def test_adaptive_weights_and_their_control() -> None:
    student = torch.tensor([True, True, False, False, True, False, True, True])
    teacher = torch.tensor([True, False, True, False, True, True, False, True])
    rows = torch.arange(8)
    for by, right in (("student", student), ("teacher", teacher), ("both", student & teacher)):
        weights = Adaptive(by, 0.25, False, 0).weights(student, teacher, rows, 8, 3)
        want = np.where(right.numpy(), 1.0, 0.25)
        assert weights.numpy() == pytest.approx(want / want.mean()) and weights.mean().item() == pytest.approx(1)
        control = Adaptive(by, 0.25, True, 0).weights(student, teacher, rows, 8, 3)
        assert sorted(control.tolist()) == pytest.approx(sorted(weights.tolist()))
        others = [Adaptive(by, 0.25, True, 0).weights(student, teacher, rows, 8, step).tolist() for step in range(6)]
        assert len({tuple(other) for other in others}) > 1
    found = teaching.objective(lesson(teacher_of(drawn(STUDENT), STUDENT), distill="attention", adaptive="both"))
    assert math.isfinite(terms_of(found, drawn(STUDENT), pixels_of())["attention"][1].item())


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"distill": "attention", "adaptive": "student", "mixup": 0.5}, "leaves no sample one label"),
        ({"distill": "attention", "adaptive": "student", "accumulate": 2}, "weighs the samples of a whole update"),
        ({"distill": "logits", "adaptive": "teacher"}, "weighs attention; add it to distill"),
        ({"distill": "maps"}, "expected attention, logits, token or token-soft"),
        ({"distill": "attention=0"}, "with a weight: attention=3"), ({"distill": "attention=x"}, "with a weight"),
        ({"distill": "attention,attention=3"}, "attention stands twice"),
        ({"distill": "token,token-soft"}, "hard answers or soft ones, not both"),
        ({"distill": "token", "registers": 2}, "leave out registers"), ({"alpha": 1.5}, "alpha is 1.5, expected at most 1"),
        ({"distill_loss": "l1"}, "expected mse, mse-centred, ce or kl"),
        ({"grain": "head:0.0:0.0", "distill_heads": "mean"}, "grain names pairs of heads"),
        ({"distill_heads": "relations", "distill_loss": "mse"}, "relations are compared by kl"),
        ({"adaptive_control": True}, "set adaptive"), ({"temperature": 0.0}, "expected more than 0"),
        ({"qk_norm": True, "lsa": True}, "leave out qk_norm"), ({"pre_norm": True, "spt": True}, "leave out spt"),
    ],
)  # fmt: skip
def test_keys_that_do_not_go_together_are_one_line(keys: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        SIZES.with_values(keys, "test")


def test_parts_that_a_student_lacks_are_named_and_built(tmp_path: Path) -> None:
    spec = replace(STUDENT, layer_scale=True, registers=4, qk_norm=True, pre_norm=True)
    teacher = teacher_of(drawn(spec), spec)
    (line,) = likeness.notes(SIZES, STUDENT, teacher)
    assert line == (
        "teacher has 4 registers, LayerScale, a norm before the first block, norms of queries and keys, which the student "
        "lacks: its attention may teach less; --like-teacher builds it with them"
    )
    like, built = likeness.like(SIZES, teacher)
    assert built == "built like teacher: registers=4, layer_scale=0.0001, pre_norm=True, qk_norm=True"
    typed, built = likeness.like(SIZES.with_values({"layer_scale": 0.1, "registers": 2}, "test"), teacher)
    assert (typed.layer_scale, typed.registers) == (
        0.1,
        2,
    ) and built == "built like teacher: pre_norm=True, qk_norm=True"
    with pytest.raises(UsageError, match="beside which a distillation token cannot stand"):
        likeness.like(SIZES.with_values({"distill": "token"}, "test"), teacher)
    assert (like.layer_scale, like.registers, like.qk_norm, like.pre_norm) == (1e-4, 4, True, True)
    assert likeness.notes(SIZES, like.spec(channels=1, height=42, width=28, classes=5), teacher) == []
    assert likeness.notes(SIZES, STUDENT, teacher_of(drawn(STUDENT), STUDENT)) == []
    rotary = TimmSpec(name="eva02_tiny_patch14_224", height=56, width=56, channels=1, classes=5, arguments="depth=2")
    (line,) = likeness.notes(SIZES, STUDENT, teacher_of(build(rotary), rotary))
    assert "rotary positions" in line and "gated MLPs" in line and "--like-teacher" not in line
    checkpoint = tmp_path / "like.safetensors"
    net = build(like.spec(channels=1, height=42, width=28, classes=5))
    info = checkpoints.CheckpointInfo(spec=like.spec(channels=1, height=42, width=28, classes=5), classes=OUTPUTS,
                                      mean=(0.5,), std=(0.2,))  # fmt: skip
    checkpoints.save(checkpoint, net.state_dict(), info)
    assert references.load(str(checkpoint), torch.device("cpu")).model.spec == info.spec


TAUGHT = {
    "attention and logits": {"distill": "attention,logits=0.5", "ema": 0.0},
    "matched": {"distill": "attention", "distill_heads": "match", "mixup": 0.0},
    "adaptive": {"distill": "attention", "adaptive": "both", "adaptive_control": True, "mixup": 0.0},
    "token": {"distill": "token", "alpha": 0.3},
    "diverse": {"diversity": 10.0, "diversity_layers": "all", "diversity_pairs": 1, "mixup": 0.0},
    "told and diverse": {"distill": "attention", "diversity": 10.0, "last_residual": False, "clip": 0.0},
}


def taught(folder: Path, shards: Path, checkpoint: Path, name: str, **change: object):  # type: ignore[no-untyped-def]
    recipe = replace(RECIPE, **TAUGHT[name])
    teacher = references.load(str(checkpoint), torch.device("cpu")) if recipe.distill else None
    return training(folder, shards, recipe=recipe, teacher=teacher, **change)


@pytest.mark.parametrize("name", TAUGHT)
def test_a_stopped_and_resumed_run_is_byte_identical(
    name: str, tmp_path: Path, toy_shards: Path, toy_checkpoint: Path
) -> None:
    whole = taught(tmp_path / "whole", toy_shards, toy_checkpoint, name)
    assert whole.run(resuming=False)
    step = [0]

    def stop() -> bool:
        step[0] += 1
        return step[0] in (2, 7)

    for _ in range(3):
        parts = taught(tmp_path / "parts", toy_shards, toy_checkpoint, name, stop=stop)
        finished = parts.run(resuming=True)
    assert finished and parts.log == whole.log
    assert (tmp_path / "whole/m.safetensors").read_bytes() == (tmp_path / "parts/m.safetensors").read_bytes()
    assert all(math.isfinite(value) for row in whole.log for value in row.values() if isinstance(value, float))
    info = checkpoints.read_info(tmp_path / "whole/m.safetensors")
    if whole.teacher is not None:
        assert info.teacher == f"{toy_checkpoint} {whole.teacher.model.weights_id}"
    assert (info.assigned is not None) == (name == "matched")


OTHERWISE = {
    "bf16": {"distill": "attention,logits", "precision": "bf16"},
    "bf16, diverse": {"diversity": 10.0, "precision": "bf16"},
    "low rank": {"distill": "attention", "diversity": 10.0, "lora": 2},
    "frozen": {"distill": "attention", "freeze": "1", "diversity": 1.0},
    "classifier alone": {"distill": "attention", "freeze": "all"},
    "no weight on answers": {"distill": "attention", "alpha": 0.0},
    "nothing from the teacher": {"distill": "attention", "alpha": 1.0},
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_terms_go_with_whatever_else_a_recipe_asks_for(
    name: str, tmp_path: Path, toy_shards: Path, toy_checkpoint: Path
) -> None:
    keys = {"epochs": 2} | OTHERWISE[name]
    recipe = replace(RECIPE, **keys)
    teacher = references.load(str(toy_checkpoint), torch.device("cpu")) if recipe.distill else None
    run = training(tmp_path, toy_shards, recipe=recipe, teacher=teacher)
    assert run.run(resuming=False)
    for row in run.log:
        numbers = {key: value for key, value in row.items() if key.startswith("loss") or key == "train_loss"}
        assert all(math.isfinite(value) for value in numbers.values()), numbers
    assert ("gradient_ratio" in run.log[0]) == (name not in ("classifier alone", "nothing from the teacher"))
    pl.read_csv(io.BytesIO(render(run.table(), "csv")), infer_schema_length=None)
    assert all(math.isfinite(value) for row in run.log for value in row.values() if isinstance(value, float))
    if name == "no weight on answers":
        assert run.log[0]["gradient_ratio"] == 0 and run.log[0]["loss_attention"] == pytest.approx(
            run.log[0]["train_loss"]
        )


def test_targets_are_told_attention(tmp_path: Path) -> None:
    """Of chirps: squared errors of targets beside it, by target in the log."""
    from vhs.fitting.training import Training
    from vhs.formats.shards import ShardSet
    from vhs.sources import packing

    packing.pack("chirps", tmp_path / "chirps", packing.Asked(count=48, side=128))
    sets = {split: ShardSet.open(tmp_path / "chirps" / split) for split in ("train", "val")}
    recipe = Recipe(depth=2, dim=12, heads=2, patch=32, epochs=1, batch=12)
    plain = Training(out=tmp_path / "t.safetensors", **sets, recipe=recipe, device=torch.device("cpu"))
    assert plain.run(resuming=False)
    teacher = references.load(str(tmp_path / "t.safetensors"), torch.device("cpu"))
    told = Training(out=tmp_path / "s.safetensors", **sets, recipe=replace(recipe, distill="attention", seed=1),
                    device=torch.device("cpu"), teacher=teacher)  # fmt: skip
    assert told.run(resuming=False)
    table = told.table()
    assert table["loss_attention"].null_count() == 0 and table["target"].n_unique() == len(sets["val"].manifest.outputs)
    with pytest.raises(UsageError, match="diversity: is of answers among classes; targets have none"):
        teaching.check(replace(recipe, diversity=1.0), None, regression=True)


@pytest.mark.parametrize("name", ["attention and logits", "token", "diverse", "told and diverse"])
def test_accumulated_parts_are_one_update(name: str, tmp_path: Path, toy_shards: Path, toy_checkpoint: Path) -> None:
    logs = []
    for parts in (1, 3):
        recipe = replace(RECIPE, **TAUGHT[name] | {"accumulate": parts, "drop_path": 0.0})
        teacher = references.load(str(toy_checkpoint), torch.device("cpu")) if recipe.distill else None
        run = training(tmp_path / str(parts), toy_shards, recipe=recipe, teacher=teacher)
        assert run.run(resuming=False)
        logs.append(run.table().select("^(loss_.*|train_loss|gradient_ratio|head_overlap)$"))
    for column in logs[0].columns:
        if logs[0][column].null_count() == 0:
            assert np.allclose(logs[0][column], logs[1][column], rtol=1e-3), column


@pytest.mark.slow
@pytest.mark.parametrize("name", TAUGHT)
def test_processes_share_an_update(name: str, tmp_path: Path, toy_shards: Path, toy_checkpoint: Path) -> None:
    keys = {"depth": 2, "dim": 14, "heads": 2, "patch": 14, "epochs": 3, "batch": 24, "lr": 5e-3} | TAUGHT[name]
    settings = [part for key, value in keys.items() for part in ("--set", f"{key}={str(value).lower()}")]
    logs = []
    for ranks in (1, 2):
        out = tmp_path / f"m{ranks}.safetensors"
        teacher = ("--teacher", toy_checkpoint) if "distill" in keys else ()
        done = torchrun(ranks, "train", toy_shards, *settings, *teacher, "--threads", 1, "--device", "cpu", "-o", out)
        assert done.returncode == 0, done.stderr
        logs.append(pl.read_csv(out.with_suffix(".train.csv")))
    for column in ("train_loss", "loss_class", "loss_attention", "loss_diversity", "gradient_ratio", "loss"):
        if logs[0][column].null_count() == 0:
            near = 2e-2 if name == "adaptive" else 2e-3  # there an answer that flips moves a weight
            assert np.allclose(logs[0][column], logs[1][column], rtol=near), column


@pytest.mark.slow
@pytest.mark.parametrize("name", ["attention and logits", "matched", "token"])
def test_compiled_distillation_is_that_of_eager(
    name: str, tmp_path: Path, toy_shards: Path, toy_checkpoint: Path
) -> None:
    eager, compiled = (
        taught(tmp_path / str(asked), toy_shards, toy_checkpoint, name, compiled=asked) for asked in (False, True)
    )
    assert eager.run(resuming=False) and compiled.run(resuming=False)
    columns = [name for name in eager.table().columns if name.startswith(("loss", "train_loss", "gradient"))]
    for column in columns:
        if eager.table()[column].null_count() == 0:
            assert np.allclose(eager.table()[column], compiled.table()[column], rtol=2e-3), column


def test_the_command_says_what_is_wrong_in_one_line(
    vhs, toy_shards: Path, toy_checkpoint: Path, tmp_path: Path
) -> None:
    base = ("train", toy_shards, "--patch", 14, "--dim", 16, "--heads", 2, "--depth", 2, "--epochs", 1)
    for options, code, words in (
        (("--distill", "attention"), 2, "from whom? Name a model with --teacher"),
        (("--teacher", toy_checkpoint), 2, "to tell what? Add --distill attention"),
        (("--teacher", "none.safetensors", "--distill", "logits"), 3, "none.safetensors: No such file"),
        (("--diversity", 1, "--compile"), 2, "cannot be differentiated twice"),
        (("--diversity", 1, "--diversity-layers", "9"), 2, "the model has layers 0 to 1"),
        (("--diversity", 1, "--heads", 1), 2, "has fewer than two"),
        (("--diversity", 1, "--freeze", 2), 2, "layer 1 is frozen (freeze 2)"),
        (("--teacher", toy_checkpoint, "--distill", "attention", "--grain", "block:7", "--dry-run"), 2, "layers 0 to 1, 7"),
        (("--like-teacher",), 2, "needs a --teacher"),
        (("--teacher", toy_checkpoint, "--distill", "attention", "--init", toy_checkpoint, "--like-teacher"), 2, "--init"),
        (("--teacher", tmp_path / "m.safetensors", "--distill", "logits"), 2, "is an input of this command"),
    ):  # fmt: skip
        got, _, err = vhs(*base, *options, "-o", tmp_path / "m.safetensors")
        assert got == code and words in err and err.count("\n") == 1, err
    assert not (tmp_path / "m.safetensors").exists()


def test_a_finished_run_stays_finished_and_another_teacher_is_another_run(
    vhs, toy_shards: Path, toy_checkpoint: Path
) -> None:  # fmt: skip
    command = ("train", toy_shards, "--patch", 14, "--dim", 16, "--heads", 2, "--depth", 3, "--epochs", 1, "--resume",
               "-o", "m.safetensors")  # fmt: skip
    told = (*command, "--teacher", toy_checkpoint, "--distill", "attention")
    assert vhs(*told)[0] == 0 and "is already trained" in vhs(*told)[2]
    assert "is already trained" not in vhs(*command)[2] and "is already trained" in vhs(*command)[2]
    info = checkpoints.read_info(Path("m.safetensors"))
    assert info.teacher is None and "distill" not in info.recipe and "qk_norm" not in info.spec.to_json()


def test_a_teacher_that_does_not_fit_is_one_line(vhs, toy_shards: Path, toy_checkpoint: Path, monkeypatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    monkeypatch.setattr(nn.Module, "to", full)
    code, _, err = vhs("train", toy_shards, "--teacher", toy_checkpoint, "--distill", "logits", "-o", "m.safetensors")
    assert code == 1 and "does not fit in the memory of cpu. Take a smaller one." in err and err.count("\n") == 1


def test_statistics_of_a_teacher_are_its_own() -> None:
    teacher = teacher_of(drawn(STUDENT), STUDENT, mean=0.1, std=0.7)
    found = teaching.objective(lesson(teacher, distill="logits"))
    images = torch.randint(0, 256, (6, 1, 42, 28), dtype=torch.uint8)
    taught = found.distillation.teacher(preprocess_of(STUDENT)(images)).logits_BO  # type: ignore[union-attr]
    want = teacher.model.net(preprocess_of(STUDENT, mean=0.1, std=0.7)(images))
    assert torch.allclose(taught, want, atol=1e-3)
