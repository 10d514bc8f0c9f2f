"""From a recipe and a teacher to what a run minimises, all of it checked before the first update.

Letters: B images, C channels, H height, W width.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from vhs.errors import MismatchError, UsageError, VhsError
from vhs.formats import references
from vhs.formats.references import Loaded
from vhs.models import seam
from vhs.models.building import build
from vhs.models.maps import MapReader
from vhs.models.model import Model, Preprocess
from vhs.models.shared_tokens import SharedTokens
from vhs.models.spec import Spec
from vhs.models.taps import Tap, Tapped
from vhs.models.tokens import GLOBAL
from vhs.runs.runtime import is_out_of_memory
from vhs.seeds import seed_generators
from vhs.training import diversity, loop
from vhs.training.adaptive import Adaptive
from vhs.training.assignment import Assignment
from vhs.training.criterion import Criterion
from vhs.training.distillation import Attention, Pair, Relations
from vhs.training.grain import Grain, parse
from vhs.training.objective import Distillation, Diversity, Objective
from vhs.training.recipe import Recipe
from vhs.training.teacher import Teacher

CALIBRATION = 64
"""Training images on which heads are assigned."""


@dataclass(frozen=True)
class Lesson:
    """What a run is to learn besides its answers. spec: of the student; outputs: its classes or targets; calibration:
    gives uint8 images [B, C, H, W] on the device, on which heads are assigned; teacher: on its device."""

    recipe: Recipe
    spec: Spec
    outputs: tuple[str, ...]
    preprocess: Preprocess
    device: torch.device
    calibration: Callable[[], Tensor]
    regression: bool = False
    teacher: Loaded | None = None
    compiled: bool = False


def check(recipe: Recipe, teacher: str | None, *, regression: bool) -> None:
    """Raises UsageError for what the recipe and a teacher lack of each other, or targets cannot have."""
    if recipe.told and teacher is None:
        raise UsageError(f"--distill {recipe.distill}: from whom? Name a model with --teacher.")
    if teacher is not None and not recipe.told:
        raise UsageError(f"--teacher {teacher}: to tell what? Add --distill attention, logits or token.")
    if regression:
        wrong = "diversity" if recipe.diversity else next((name for name in recipe.told if name != "attention"), None)
        wrong = wrong or ("adaptive" if recipe.adaptive != "none" else None)
        if wrong:
            raise UsageError(f"{wrong}: is of answers among classes; targets have none. Leave it out.")


def objective(lesson: Lesson) -> Objective:
    """Raises UsageError or MismatchError where the recipe, the student and the teacher do not go together."""
    recipe = lesson.recipe
    criterion = Criterion(recipe, len(lesson.outputs), regression=lesson.regression)
    if not recipe.told and not recipe.diversity:
        return Objective(criterion, gates=recipe.prune_gates)
    student = _student(lesson)
    return Objective(
        criterion, recipe.alpha if recipe.told else 1.0, _distillation(lesson, student) if recipe.told else None,
        _diversity(lesson, student) if recipe.diversity else None, recipe.prune_gates,
    )  # fmt: skip


def load(reference: str, device: torch.device) -> Loaded:
    """A teacher on a device. Raises InputError, or VhsError where it does not fit there."""
    with _fitting(reference, device):
        return references.load(reference, device)


def copied(teacher: Loaded) -> Loaded:
    """A copy, which a run may move and look into."""
    return replace(teacher, model=replace(teacher.model, net=copy.deepcopy(teacher.model.net)))


def move(teacher: Loaded, device: torch.device) -> Loaded:
    """The same, moved in place to the device of a run."""
    with _fitting(teacher.model.name, device):
        teacher.model.net.to(device)
    return teacher


@contextmanager
def _fitting(reference: str, device: torch.device) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise VhsError(f"--teacher {reference}: does not fit in the memory of {device}. Take a smaller one.") from error


def _student(lesson: Lesson) -> Model:
    """Its network with weights that do not matter, on the host, to learn what its layers are."""
    with seed_generators("student"):
        net = build(lesson.spec).eval().requires_grad_(False)
    return Model(net=net, preprocess=lesson.preprocess, name="the student", weights_id="", classes=lesson.outputs)


def _distillation(lesson: Lesson, student: Model) -> Distillation:
    recipe, loaded = lesson.recipe, lesson.teacher
    assert loaded is not None, "checked before"
    told = recipe.told
    attention = _attention(lesson, student, loaded.model) if "attention" in told else None
    answers = bool(set(told) - {"attention"}) or recipe.adaptive in ("teacher", "both")
    places = _places(lesson.outputs, loaded.model) if answers else None
    if recipe.by_token and not hasattr(student.net, "head_dist"):
        why = f"arch, {recipe.arch}," if recipe.arch else "--init, whose model"
        raise UsageError(
            f"--distill token: the student is that of {why} has no distillation token. Leave it out, or name one that "
            f"has, such as deit_tiny_distilled_patch16_224."
        )
    teacher = _teacher(lesson, loaded.model, attention.teacher_taps if attention else (), places)
    weights = {name: (1 - recipe.alpha) * weight for name, weight in told.items()}
    adaptive = None
    if recipe.adaptive != "none":
        adaptive = Adaptive(recipe.adaptive, recipe.adaptive_wrong, recipe.adaptive_control, recipe.seed)
    assignment = None
    if recipe.distill_heads == "match" and isinstance(attention, Attention):
        pixels = lesson.preprocess(lesson.calibration())
        assignment = Assignment(attention, pixels, lambda images: teacher(images).seen)
    return Distillation(teacher, weights, recipe.temperature, attention, adaptive, assignment)


def _teacher(lesson: Lesson, model: Model, taps: tuple[Tap, ...], places: Tensor | None) -> Teacher:
    tapped = _tapped(model, taps)
    run = torch.compile(tapped) if lesson.compiled and tapped.compiles else tapped
    return Teacher(
        cast(Any, run), model.preprocess, lesson.preprocess, places,
        bf16=loop.uses_bf16(lesson.recipe, lesson.device),
    )  # fmt: skip


def _tapped(model: Model, taps: tuple[Tap, ...]) -> Tapped:
    return Tapped(model.net, taps, (model.preprocess.channels, model.preprocess.height, model.preprocess.width))


def _places(outputs: tuple[str, ...], teacher: Model) -> Tensor:
    """Which of the teacher's outputs the student's are. Raises MismatchError where it has not all of them."""
    where = {name: place for place, name in enumerate(teacher.classes)}
    missing = [name for name in outputs if name not in where]
    if missing:
        raise MismatchError(
            f"--teacher {teacher.name}: knows no class {missing[0]!r} ({len(missing)} of {len(outputs)} are unknown to "
            f"it), so its answers tell nothing here. Distil attention alone, without adaptive weights."
        )
    return torch.tensor([where[name] for name in outputs], device=teacher.device)


def _attention(lesson: Lesson, student: Model, teacher: Model) -> Attention | Relations:
    recipe = lesson.recipe
    grain = parse(recipe.grain)
    own = _layouts(student)
    try:
        other = _layouts(teacher)
    except MismatchError as error:
        raise MismatchError(
            f"--teacher {teacher.name}: its attention cannot be read: {error} Distil logits."
        ) from error
    pairs = []
    for mine, its in grain.pairs(len(own), len(other), recipe.distill_depth):
        shared = SharedTokens(own[mine], other[its])
        reason = shared.refusal()
        if reason:
            raise MismatchError(
                f"--teacher {teacher.name}: its layer {its} and the student's layer {mine} attend between other tokens "
                f"({reason}). Attention is compared over whole images, or in equal windows."
            )
        called = student.grid.numbers(mine), teacher.grid.numbers(its)
        _check_heads(student, mine, teacher, its)
        pairs.append(Pair(mine, its, shared, averaged=recipe.distill_heads == "mean", called=called))
    if recipe.distill_heads == "relations":
        return _relations(recipe, student, teacher, pairs)
    pairs = [_with_heads(lesson, grain, pair, student, teacher) for pair in pairs]
    return Attention(_with_open(pairs, student, teacher), recipe.distill_loss)


def _with_heads(lesson: Lesson, grain: Grain, pair: Pair, student: Model, teacher: Model) -> Pair:
    """The pair with the heads that are compared. Raises UsageError for heads that are not there."""
    counts = student.grid.per_layer[pair.own], teacher.grid.per_layer[pair.other]
    if pair.averaged:
        return pair
    if grain.kind == "head":
        assert pair.called is not None
        places = []
        for who, layer, numbers, named in zip(
            ("student", "teacher"), (pair.own, pair.other), pair.called,
            zip(*grain.heads_of(pair.own, pair.other), strict=True), strict=True,
        ):  # fmt: skip
            lacking = next((head for head in named if head not in numbers), None)
            if lacking is not None:
                has = ", ".join(map(str, numbers))
                raise UsageError(f"--grain: layer {layer} of the {who} has heads {has}, {lacking} was named.")
            places.append([numbers.index(head) for head in named])
        return pair.with_heads(places[0], places[1], counts, lesson.device)
    if counts[0] > counts[1]:
        raise UsageError(
            f"--teacher {teacher.name}: its layer {pair.other} has {counts[1]} heads, the student's layer {pair.own} "
            f"has {counts[0]}. Set distill_heads to mean or relations, or name pairs: --grain head:…"
        )
    own = list(range(counts[0]))
    return pair.with_heads(own, own, counts, lesson.device)


def _check_heads(student: Model, own: int, teacher: Model, other: int) -> None:
    """Raises UsageError for a layer that has lost all its heads."""
    for who, model, layer in (("student", student, own), ("teacher", teacher, other)):
        if not model.grid.per_layer[layer]:
            raise UsageError(f"--distill attention: layer {layer} of the {who} has no heads. Name others with --grain.")


def _relations(recipe: Recipe, student: Model, teacher: Model, pairs: list[Pair]) -> Relations:
    """Raises UsageError where the features cannot be split so, MismatchError for networks that are not plain."""
    for model in (student, teacher):
        if model.plain is None:
            raise MismatchError(f"distill_heads relations: {model.name} is no timm VisionTransformer.")
        if len(set(model.grid.per_layer)) > 1:
            raise MismatchError(f"distill_heads relations: layers of {model.name} have different numbers of heads.")
    if any(pair.shared.own.kind != GLOBAL for pair in pairs):
        raise MismatchError("distill_heads relations: is of attention over whole images.")
    widths = [
        seam.attention(seam.blocks(cast(Any, model.plain))[0]).attn_dim for model in (student, teacher)
    ]  # fmt: skip
    most = recipe.relation_heads or student.grid.per_layer[0]
    both = math.gcd(*widths)
    heads = max(count for count in range(1, most + 1) if both % count == 0)
    if recipe.relation_heads and heads != recipe.relation_heads:
        raise UsageError(
            f"relation_heads {recipe.relation_heads}: does not divide both {widths[0]} features of the student's heads "
            f"and {widths[1]} of the teacher's; {heads} does."
        )
    return Relations(pairs, heads)


def _layouts(model: Model) -> list[Any]:
    """What the maps of each layer are of. Raises MismatchError for a network without maps over tokens."""
    return MapReader(model.net, model.engine.seams, model.noise().to(model.device)).layouts


def _with_open(pairs: list[Pair], student: Model, teacher: Model) -> list[Pair]:
    """The pairs with the keys that a query may attend to in both layers, where these are not all."""
    term = Attention(pairs, "kl")
    seen = []
    for model, taps in ((student, term.taps), (teacher, term.teacher_taps)):
        tapped = _tapped(model, taps)
        with torch.no_grad():
            seen.append(tapped(model.noise().to(model.device))[1])
        tapped.remove()
    found = []
    for pair, own_tap, other_tap in zip(pairs, term.taps, term.teacher_taps, strict=True):
        own = pair.shared.of_own(seen[0][own_tap]).isfinite().all(0).all(0)
        other = pair.shared.scores_of_other(seen[1][other_tap]).isfinite().all(0).all(0)
        open_QK = own.to(other.device) & other
        found.append(pair if bool(open_QK.all()) else replace(pair, open_QK=open_QK))
    return found


def _diversity(lesson: Lesson, student: Model) -> Diversity:
    """Raises MismatchError for networks whose heads' gradients cannot be told apart, UsageError for a single head."""
    recipe = lesson.recipe
    net = student.plain
    if net is None:
        raise MismatchError(f"--diversity: {type(student.net).__name__} is {seam.refusal(student.net)}.")
    layers = diversity.layers_of(recipe.diversity_layers, student.grid.depth)
    heads = [student.grid.per_layer[layer] for layer in layers]
    if recipe.freeze == "all" or int(recipe.freeze.replace("none", "0")) > layers[0]:
        raise UsageError(
            f"--diversity: layer {layers[0]} is frozen (freeze {recipe.freeze}), so its heads stay as they are."
        )
    if min(heads) < 2:
        raise UsageError("--diversity: compares heads of a layer; a layer of the model has fewer than two.")
    return Diversity(recipe.diversity, layers, heads, net.embed_dim, recipe.diversity_pairs, recipe.seed)
