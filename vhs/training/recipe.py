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
from vhs.models.spec import LIMITS, POOLS, ViTSpec

LARGEST = 2**53
"""No recipe value is larger; seeds among them fit a table's integers."""
POSITIVE = (
    "depth", "dim", "heads", "patch", "epochs", "batch", "accumulate", "lr", "mlp_ratio", "layer_decay", "repeats",
)  # fmt: skip
SHARES = ("mix_prob", "mix_switch", "erase", "layer_decay")
NAMED = ("demo", "deit", "proposal-3h", "proposal-6h", "proposal-6h-wide", "plain", "small", "finetune")
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
    many samples as ever; mixup, cutmix: alphas, 0 for none; mix_prob: odds of either; mix_switch: of cutmix.

    ema: decay of the weight average, 0 for none; saved: which weights the checkpoint gets. freeze: none, all (but the
    classifier), or how many first blocks; lora: rank of what is learned on q and v instead, 0 for none.
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
    ema: float = 0.0
    saved: str = "ema"
    freeze: str = "none"
    lora: int = 0
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
        )  # fmt: skip

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
        return replace(self, **{key: known[key](value) for key, value in values.items()})._check(where)

    def _check(self, where: str) -> Recipe:
        for name, value in asdict(self).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise UsageError(f"{where}: {name} is {value}, expected a finite number.")
            if isinstance(value, (int, float)) and not isinstance(value, bool) and not 0 <= value <= LARGEST:
                raise UsageError(f"{where}: {name} is {value}, expected 0 to {LARGEST}.")
        self._check_choices(where)
        self._check_ranges(where)
        wrong = self._wrong_combination()
        if wrong:
            raise UsageError(f"{where}: {wrong}")
        return self

    def _check_ranges(self, where: str) -> None:
        for name in POSITIVE:
            if getattr(self, name) <= 0:
                raise UsageError(f"{where}: {name} is {getattr(self, name)}, expected more than 0.")
        for name in SHARES:
            if getattr(self, name) > 1:
                raise UsageError(f"{where}: {name} is {getattr(self, name)}, expected at most 1.")
        for name in ("drop_path", "label_smoothing", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{where}: {name} is {getattr(self, name)}, expected 0 to below 1.")

    def _wrong_combination(self) -> str | None:
        """What of two keys does not go together."""
        if self.mixes and self.batch % 2:
            return f"mixup pairs samples, so batch {self.batch} must be even."
        if self.batch % self.accumulate:
            return f"batch {self.batch} is no multiple of accumulate {self.accumulate}."
        if self.freeze not in ("none", "all") and not self.freeze.isdecimal():
            return f"freeze is {self.freeze!r}, expected none, all, or a number of blocks."
        if self.lora and self.freeze != "none":
            return "lora freezes all but its own weights; leave out freeze."
        if self.positions == "sincos" and (self.dim % 4 or self.arch):
            return "sincos positions need a dim that is a multiple of 4, and no arch."
        if self.spt and self.patch_norm:
            return "spt normalises patches in its own way; leave out patch_norm."
        if int(self.dim * self.mlp_ratio) < 1:
            return f"mlp_ratio {self.mlp_ratio} leaves an MLP of dim {self.dim} no unit."
        return None

    def _check_choices(self, where: str) -> None:
        legal_values = (
            ("pool", POOLS), ("saved", ("ema", "raw")), ("positions", ("learned", "sincos")),
            ("precision", ("auto", "float32", "bf16")),
        )  # fmt: skip
        for name, legal in legal_values:
            if getattr(self, name) not in legal:
                raise UsageError(f"{where}: {name} is {getattr(self, name)!r}, expected {choices(legal)}.")
        for name, limit in LIMITS.items():
            if hasattr(self, name) and getattr(self, name) > limit:
                raise UsageError(f"{where}: {name} is {getattr(self, name)}, expected at most {limit}.")

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
