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


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Architecture and training options of one run.

    The defaults train the demo: 12 plain epochs of a small ViT reach 85 % on the embedded subset of
    Fashion-MNIST in about 45 s on two cores; random crop and flip hurt there.

    head_width: features a head; 0 shares dim evenly. mlp_ratio: MLP width over dim. batch: samples
    an update, in total. lr, min_lr: after warm-up and at the end of the cosine. mixup: its alpha, 0
    for none. crop: random crop after padding by an eighth of the side. ema: decay of the weight
    average that is saved, 0 for none. clip: largest gradient norm, 0 for none.
    """

    depth: int = 6
    dim: int = 64
    heads: int = 4
    head_width: int = 0
    mlp_ratio: float = 2.0
    patch: int = 7
    registers: int = 0
    pool: str = "token"
    drop_path: float = 0.0
    epochs: int = 12
    batch: int = 128
    lr: float = 3e-3
    min_lr: float = 1e-5
    warmup_epochs: float = 1.0
    weight_decay: float = 0.05
    label_smoothing: float = 0.0
    mixup: float = 0.0
    crop: bool = False
    flip: bool = False
    ema: float = 0.0
    clip: float = 0.0
    precision: str = "auto"
    seed: int = 0

    def spec(self, *, channels: int, height: int, width: int, classes: int) -> ViTSpec:
        """The architecture for images of these sides. Raises UsageError where the sizes do not fit."""
        if not self.head_width and self.dim % self.heads:
            raise UsageError(f"dim {self.dim} is no multiple of {self.heads} heads. Give --head-width, or change one.")
        return ViTSpec(
            depth=self.depth, dim=self.dim, heads=self.heads, head_width=self.head_width or self.dim // self.heads,
            hidden=int(self.dim * self.mlp_ratio), patch=self.patch, height=height, width=width, channels=channels,
            classes=classes, registers=self.registers, pool=self.pool,
        )  # fmt: skip

    def with_values(self, values: Mapping[str, Any], where: str) -> Recipe:
        """This recipe with `values` set. Raises UsageError for an unknown key or a value of the wrong kind."""
        known = {field.name: type(getattr(self, field.name)) for field in fields(self)}
        for key, value in values.items():
            if key not in known:
                near = get_close_matches(key, known, n=1)
                hint = f" Did you mean {near[0]}?" if near else " `vhs train --print-config` lists them."
                raise UsageError(f"{where}: unknown key {key!r}.{hint}")
            if not isinstance(value, known[key]) and not (known[key] is float and type(value) is int):
                raise UsageError(f"{where}: {key} is {value!r}, expected {_words(known[key])}.")
        return replace(self, **{key: known[key](value) for key, value in values.items()})._checked(where)

    def _checked(self, where: str) -> Recipe:
        for name, value in asdict(self).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise UsageError(f"{where}: {name} is {value}, expected a finite number.")
            if isinstance(value, (int, float)) and not isinstance(value, bool) and not 0 <= value <= LARGEST:
                raise UsageError(f"{where}: {name} is {value}, expected 0 to {LARGEST}.")
        self._check_choices(where)
        positive = ("depth", "dim", "heads", "patch", "epochs", "batch", "lr", "mlp_ratio")
        for name in positive:
            if getattr(self, name) <= 0:
                raise UsageError(f"{where}: {name} is {getattr(self, name)}, expected more than 0.")
        for name in ("drop_path", "label_smoothing", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{where}: {name} is {getattr(self, name)}, expected 0 to below 1.")
        if self.mixup and self.batch % 2:
            raise UsageError(f"{where}: mixup pairs samples, so batch {self.batch} must be even.")
        if int(self.dim * self.mlp_ratio) < 1:
            raise UsageError(f"{where}: mlp_ratio {self.mlp_ratio} leaves an MLP of dim {self.dim} no unit.")
        return self

    def _check_choices(self, where: str) -> None:
        for name, legal in (("pool", POOLS), ("precision", ("auto", "float32", "bf16"))):
            if getattr(self, name) not in legal:
                raise UsageError(f"{where}: {name} is {getattr(self, name)!r}, expected {choices(legal)}.")
        for name, limit in LIMITS.items():
            if hasattr(self, name) and getattr(self, name) > limit:
                raise UsageError(f"{where}: {name} is {getattr(self, name)}, expected at most {limit}.")

    def to_toml(self) -> str:
        """A file that `--recipe` reads back."""
        return "".join(f"{key} = {json.dumps(value)}\n" for key, value in asdict(self).items())


def from_toml(data: bytes, where: str) -> Recipe:
    try:
        values = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
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
        except tomllib.TOMLDecodeError:
            values[key.strip()] = text.strip()
    return values


def _words(kind: type) -> str:
    return {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}[kind]
