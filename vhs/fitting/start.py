"""What a training run begins with: sets that go together, and the recipe's architecture or another model's weights."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from timm.layers import resample_abs_pos_embed
from timm.models import adapt_input_conv
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from vhs.errors import MismatchError, UsageError
from vhs.formats import pixels, references, specs
from vhs.formats.shards import ShardSet
from vhs.models.building import build, parameter_shapes
from vhs.models.model import Preprocess
from vhs.models.pooling import classifiers
from vhs.models.spec import Spec, TimmSpec
from vhs.training.recipe import Recipe

CLASSES_ONLY = ("crop", "flip", "resized_crop", "randaug", "mixup", "cutmix", "label_smoothing")
"""Recipe keys that regression has no use for."""
SIZES = (
    "arch", "depth", "dim", "heads", "head_width", "mlp_ratio", "patch", "registers", "pool", "positions",
    "layer_scale", "patch_norm", "spt", "lsa", "last_residual",
)  # fmt: skip
"""Recipe keys that a model to begin with decides."""


@dataclass(frozen=True)
class Size:
    """What the data asks of a model: pixels, and outputs by name (classes or targets)."""

    height: int
    width: int
    channels: int
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Initial:
    """Where training begins. weights: None for fresh ones; parent: whose they were; mean, std: its pixel statistics."""

    spec: Spec
    weights: dict[str, Tensor] | None = None
    parent: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


def size_of(data: ShardSet) -> Size:
    """What a set asks of a model."""
    height, width = pixels.side(data.manifest)
    return Size(height, width, data.manifest.channels, data.manifest.outputs)


def preprocess_of(begin: Initial, data: ShardSet) -> Preprocess:
    """What the run's network gets to see: its own pixel statistics, if it had any, or those of the data."""
    size = size_of(data)
    return Preprocess(
        height=size.height, width=size.width, channels=size.channels, mean=begin.mean or data.manifest.mean,
        std=begin.std or data.manifest.std,
    )  # fmt: skip


def beginning(recipe: Recipe, begin: str | None, train: ShardSet, val: ShardSet) -> Initial:
    """The architecture and first weights of a run on these sets; begin: a model's reference, or None for the recipe's.

    Raises MismatchError or UsageError for sets or a recipe that do not go together.
    """
    check_pair(train, val)
    check_recipe(recipe, train)
    size = size_of(train)
    return from_model(begin, size) if begin else fresh(recipe, size)


def check_pair(train: ShardSet, val: ShardSet) -> None:
    """Raises MismatchError where a model of one set has no scores on the other."""
    if (train.manifest.task, train.manifest.outputs) != (val.manifest.task, val.manifest.outputs):
        what = "targets" if train.manifest.regression else "classes"
        raise MismatchError(f"{val.folder}: its {what} are not those of {train.folder}.")
    if not train.manifest.regression:
        return
    own, other = (data.manifest.extra.get("target_stats") for data in (train, val))
    if not own:
        raise MismatchError(f"{train.folder}: has targets without their mean and deviation. Shard it again.")
    if own != other:
        raise MismatchError(
            f"{val.folder}: its targets are standardised otherwise than those of {train.folder}. Shard both together."
        )


def check_recipe(recipe: Recipe, train: ShardSet) -> None:
    """Raises UsageError for augmentation that would make the targets of regression wrong, or has no meaning there."""
    if not train.manifest.regression:
        return
    wrong = [name for name in CLASSES_ONLY if getattr(recipe, name)]
    if wrong:
        instead = ", ".join(f"{name}={type(getattr(recipe, name))()!r}" for name in wrong).replace("False", "false")
        raise UsageError(f"{', '.join(wrong)}: moves or mixes what the targets are read from. Set {instead}.")


def notes_on_sizes(recipe: Recipe, begin: str) -> list[str]:
    """A note where sizes were asked for that the model to begin with decides."""
    plain = Recipe()
    asked = [name for name in SIZES if getattr(recipe, name) != getattr(plain, name)]
    return [f"{', '.join(asked)}: of no account, the sizes are those of {begin}"] if asked else []


def fresh(recipe: Recipe, size: Size) -> Initial:
    """The recipe's architecture. Raises UsageError where it does not take these images."""
    sides = {"height": size.height, "width": size.width, "channels": size.channels, "classes": len(size.outputs)}
    if recipe.arch:
        spec = TimmSpec.from_json({"name": recipe.arch, **sides}, "arch")
        _try(spec)
        return Initial(spec)
    return Initial(recipe.spec(**sides))


def from_model(reference: str, size: Size) -> Initial:
    """Another model's architecture and weights, fitted to images of another size or other channels.

    Position embeddings are resampled and the input's channels summed or repeated as timm does; the classifier is kept
    where the outputs have the same names, else it begins anew. Raises MismatchError naming a tensor that does not fit.
    """
    loaded = references.load(reference, torch.device("cpu"))
    net, preprocess = loaded.model.net, loaded.model.preprocess
    spec = _resize(specs.of(reference, loaded, "--init"), size)
    if isinstance(spec, TimmSpec):
        _try(spec)
    state = dict(net.state_dict())
    if loaded.model.classes != size.outputs:
        anew = [name for name, module in net.named_modules() if any(module is part for part in classifiers(net))]
        state = {name: value for name, value in state.items() if name.rpartition(".")[0] not in anew}
    wanted = parameter_shapes(spec)
    state = {name: _fit(name, value, wanted, net, size) for name, value in state.items()}
    same = preprocess.channels == size.channels
    return Initial(
        spec, state, f"{reference} {loaded.model.weights_id}", preprocess.mean if same else None,
        preprocess.std if same else None,
    )  # fmt: skip


def _try(spec: TimmSpec) -> None:
    """Raises UsageError, with timm's reason, for images that the architecture does not take."""
    try:
        with torch.device("meta"), torch.no_grad():
            net = build(spec).eval()
            net(torch.zeros(1, spec.channels, spec.height, spec.width))
        patch = getattr(getattr(net, "patch_embed", None), "patch_size", None) or (1, 1)
        if spec.height % patch[0] or spec.width % patch[1]:
            raise ValueError(f"its patches of {patch[0]} px do not divide them")
    except (AssertionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        what = f"{spec.height}x{spec.width} px with {spec.channels} channels"
        raise UsageError(f"{spec.name}: does not take images of {what}: {reason}.") from error


def _resize(spec: Spec, size: Size) -> Spec:
    return replace(spec, height=size.height, width=size.width, channels=size.channels, classes=len(size.outputs))


def _fit(name: str, value: Tensor, wanted: dict[str, tuple[int, ...]], net: nn.Module, size: Size) -> Tensor:
    shape = wanted.get(name)
    if shape == tuple(value.shape):
        return value
    if shape is not None and name == "pos_embed" and isinstance(net, VisionTransformer):
        prefix = 0 if net.no_embed_class else net.num_prefix_tokens
        tall, wide = net.patch_embed.patch_size
        grid = [size.height // tall, size.width // wide]
        value = resample_abs_pos_embed(value, grid, list(net.patch_embed.grid_size), num_prefix_tokens=prefix)
    elif shape is not None and value.dim() == 4 and shape[1] == size.channels != value.shape[1]:
        grey = value.shape[1] == 1
        value = value.repeat(1, size.channels, 1, 1) / size.channels if grey else adapt_input_conv(size.channels, value)
    if shape != tuple(value.shape):
        raise MismatchError(f"--init: {name} has shape {tuple(value.shape)}, the new model needs {shape}.")
    return value
