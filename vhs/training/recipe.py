"""What is trained and how: every declared key with its default, from flags, `--set` and TOML files."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from typing import Any

from vhs.errors import InputError, UsageError, choices
from vhs.models.spec import ViTSpec
from vhs.training import recipe_rules
from vhs.training.recipe_rules import KINDS, LARGEST

LATER = (
    "qk_norm", "pre_norm", "distill", "alpha", "grain", "distill_loss", "distill_heads", "distill_depth",
    "relation_heads", "temperature", "adaptive", "adaptive_wrong", "adaptive_control", "diversity", "diversity_layers",
    "diversity_pairs", "prune_gates", "gate_rate", "prune_to", "tar_window",
)  # fmt: skip
"""Keys that came after the first recipes: recorded only where they are set, and at their defaults where a record lacks
them, so that finished runs stay finished."""
NAMED = (
    "demo", "deit", "proposal-3h", "proposal-6h", "proposal-6h-wide", "plain", "small", "finetune", "distill-cifar100",
    "diverse-vit",
)  # fmt: skip
"""Recipes that come with vhs, in training/recipes."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Architecture and training options of one run.

    The defaults train the demo: 12 plain epochs of a small ViT reach 85 % on the embedded subset of
    Fashion-MNIST in about 45 s on two cores; random crop and flip hurt there.

    Model. arch: a timm architecture, not these sizes; head_width: features a head, 0 shares dim evenly; mlp_ratio: MLP
    width over dim; positions: learned, or sincos, fixed waves in two dimensions; layer_scale: its initial value, 0 for
    none; patch_norm: LayerNorm before and after the patches' projection (Dual PatchNorm, Kumar et al. 2023,
    arXiv:2302.01327); spt, lsa: shifted patch tokenization and locality self-attention (Lee et al. 2021,
    arXiv:2112.13492); last_residual: whether the last block's attention has a residual (not in DiverseViT); drop_path:
    of the last block, growing from 0 linearly.

    Schedule. batch: samples an update, over all processes; accumulate: parts it is run in; lr: after warm-up, for
    batches of lr_batch if that is not 0; warmup_lr, min_lr: where warm-up starts and the cosine ends; layer_decay:
    factor on the rate from each block to the one before it, 1 for none; clip: largest gradient norm, 0 for none.

    Data. crop: random crop after padding by an eighth of the side; resized_crop: of 8 to 100 % of the area; randaug: in
    timm's words, as rand-m9-mstd0.5-inc1; erase: odds; repeats: versions of an image in a row, an epoch having as
    many samples as ever; tar_window: tars, themselves in random order, whose samples are shuffled together, 0 for all;
    mixup, cutmix: alphas, 0 for none; mix_prob: odds of either; mix_switch: of cutmix.

    ema: decay of the weight average, 0 for none; saved: which weights the checkpoint gets. freeze: none, all (but the
    classifier), or how many first blocks; lora: rank of what is learned on q and v instead, 0 for none.

    Teacher. distill: attention, logits, token or token-soft, several joined by commas, each with =WEIGHT if that is not
    1; alpha: weight of the answers' loss, 1 - alpha that of these; grain: encoder, block:… or head:…, as in
    training/grain; distill_loss: mse, mse-centred, ce or kl of attention; distill_heads: first, mean, match or
    relations; distill_depth: uniform, first or last, where layers are not named; relation_heads: 0 for as many as both
    can be split into, at most the student's; temperature: of soft answers; adaptive: none, teacher, student or both,
    whose right answer gives a sample's attention weight 1 and any other adaptive_wrong; adaptive_control: give these
    weights to other samples.

    Diversity. diversity: lambda, 0 for none; diversity_layers: last, all or numbers; diversity_pairs: of heads drawn
    for each update, 0 for all.

    Heads. prune_gates: lambda, the price of a head whose gate is open, 0 for no gates; gate_rate: factor on the rate of
    these; prune_to: heads that a schedule leaves, 0 for no schedule.
    """

    arch: str = ""
    depth: int = 6
    dim: int = 64
    heads: int = 4
    head_width: int = 0
    mlp_ratio: float = 2.0
    patch: int = 7
    registers: int = 0
    pool: str = "token"
    positions: str = "learned"
    layer_scale: float = 0.0
    patch_norm: bool = False
    spt: bool = False
    lsa: bool = False
    qk_norm: bool = False
    pre_norm: bool = False
    last_residual: bool = True
    drop_path: float = 0.0
    epochs: int = 12
    batch: int = 128
    accumulate: int = 1
    lr: float = 3e-3
    lr_batch: int = 0
    min_lr: float = 1e-5
    warmup_epochs: float = 1.0
    warmup_lr: float = 0.0
    weight_decay: float = 0.05
    layer_decay: float = 1.0
    clip: float = 0.0
    label_smoothing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    mix_prob: float = 1.0
    mix_switch: float = 0.5
    crop: bool = False
    flip: bool = False
    resized_crop: bool = False
    randaug: str = ""
    erase: float = 0.0
    repeats: int = 1
    tar_window: int = 0
    ema: float = 0.0
    saved: str = "ema"
    freeze: str = "none"
    lora: int = 0
    distill: str = ""
    alpha: float = 0.5
    grain: str = "encoder"
    distill_loss: str = "kl"
    distill_heads: str = "first"
    distill_depth: str = "uniform"
    relation_heads: int = 0
    temperature: float = 4.0
    adaptive: str = "none"
    adaptive_wrong: float = 0.25
    adaptive_control: bool = False
    diversity: float = 0.0
    diversity_layers: str = "last"
    diversity_pairs: int = 0
    prune_gates: float = 0.0
    gate_rate: float = 50.0
    prune_to: int = 0
    precision: str = "auto"
    seed: int = 0

    @property
    def rate(self) -> float:
        """The learning rate after warm-up, for this batch."""
        return self.lr * self.batch / self.lr_batch if self.lr_batch else self.lr

    def updates_per_epoch(self, samples: int) -> int:
        """Whole batches of this many samples; one where they do not fill any."""
        return max(samples // self.batch, 1)

    @property
    def mixes(self) -> bool:
        return self.mixup > 0 or self.cutmix > 0

    @property
    def prunes(self) -> bool:
        """Whether heads go while it is trained."""
        return self.prune_gates > 0 or self.prune_to > 0

    @property
    def streams(self) -> bool:
        """Whether images are augmented one by one when they are read, not in batches on the device."""
        return self.resized_crop or bool(self.randaug)

    def spec(self, *, channels: int, height: int, width: int, classes: int) -> ViTSpec:
        """The architecture for images of these sides. Raises UsageError where the sizes do not fit."""
        if not self.head_width and self.dim % self.heads:
            raise UsageError(f"dim {self.dim} is no multiple of {self.heads} heads. Give --head-width, or change one.")
        return ViTSpec(
            depth=self.depth, dim=self.dim, heads=self.heads, head_width=self.head_width or self.dim // self.heads,
            hidden=int(self.dim * self.mlp_ratio), patch=self.patch, height=height, width=width, channels=channels,
            classes=classes, registers=self.registers, pool=self.pool, layer_scale=self.layer_scale > 0,
            patch_norm=self.patch_norm, spt=self.spt, lsa=self.lsa, last_residual=self.last_residual,
            qk_norm=self.qk_norm, pre_norm=self.pre_norm, distilled=self.by_token,
        )  # fmt: skip

    @property
    def told(self) -> dict[str, float]:
        """What a teacher tells, with its weight beside the others': `attention=3,logits` is {attention: 3, logits: 1}.

        Raises UsageError.
        """
        found: dict[str, float] = {}
        for part in filter(None, (part.strip() for part in self.distill.split(","))):
            name, equals, weight = part.partition("=")
            if name in found:
                raise UsageError(f"--distill {self.distill}: {name} stands twice. Give it one weight.")
            try:
                found[name] = float(weight) if equals else 1.0
            except ValueError:
                found[name] = math.nan
            if name not in KINDS or not 0 < found[name] < math.inf:
                raise UsageError(f"--distill {part}: expected {choices(KINDS)}, or one with a weight: attention=3.")
        return found

    @property
    def by_token(self) -> bool:
        """Whether the network gets a token that a teacher tells its answers."""
        return any(name.startswith("token") for name in self.told)

    def recorded(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        plain = asdict(Recipe())
        return {key: value for key, value in asdict(self).items() if key not in LATER or value != plain[key]}

    def with_values(self, values: Mapping[str, Any], where: str) -> Recipe:
        """This recipe with `values` set. Raises UsageError for an unknown key or a value of the wrong kind."""
        known = {field.name: type(getattr(self, field.name)) for field in fields(self)}
        huge = next((key for key, value in values.items() if type(value) is int and abs(value) > 10**100), None)
        if huge is not None:  # too long to be printed
            raise UsageError(f"{where}: {huge:.40} is a number of more than 100 digits, expected 0 to {LARGEST}.")
        values = {key: _read_as(known.get(key), value) for key, value in values.items()}
        for key, value in values.items():
            if key not in known:
                near = get_close_matches(key, known, n=1)
                hint = f" Did you mean {near[0]}?" if near else " `vhs train --print-config` lists them."
                raise UsageError(f"{where}: unknown key {key!r}.{hint}")
            if not isinstance(value, known[key]) and not (known[key] is float and type(value) is int):
                raise UsageError(f"{where}: {key} is {value!r}, expected {_words(known[key])}.")
        return replace(self, **{key: known[key](value) for key, value in values.items()}).checked(where)

    def checked(self, where: str) -> Recipe:
        """The same. Raises UsageError for a value out of range, and for two that do not go together."""
        recipe_rules.check(self, where)
        return self

    def to_toml(self) -> str:
        """A file that `--recipe` reads back."""
        return "".join(f"{key} = {json.dumps(value)}\n" for key, value in asdict(self).items())


def preset(name: str) -> Recipe:
    """One of NAMED."""
    from importlib.resources import files

    data = (files("vhs.training") / "recipes" / f"{name}.toml").read_bytes()
    return from_toml(data, name)


def from_toml(data: bytes, where: str) -> Recipe:
    try:
        values = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:  # of TOML, of UTF-8, of numbers with thousands of digits
        raise InputError(f"{where}: is no TOML recipe: {error}.") from error
    return Recipe().with_values(values, where)


def parse_settings(settings: Iterable[str]) -> dict[str, Any]:
    """`key=value` pairs; values are read as TOML, and as plain text where they are none."""
    values = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise UsageError(f"--set {setting}: expected key=value.")
        try:
            values[key.strip()] = tomllib.loads(f"value = {text}")["value"]
        except (ValueError, RecursionError):
            values[key.strip()] = text.strip()
    return values


def _read_as(kind: type | None, value: Any) -> Any:
    """A whole number where a word is wanted, and `.5` where a number is: as they were meant."""
    if kind is str and type(value) is int:
        return str(value)
    if kind is float and isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _words(kind: type) -> str:
    return {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}[kind]
