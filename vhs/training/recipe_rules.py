"""What the values of a recipe may be, and which of them go together."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from vhs.errors import UsageError, choices
from vhs.models.spec import LIMITS, POOLS
from vhs.training.grain import parse

Recipe = Any
"""One of training/recipe, which asks here."""
LARGEST = 2**53
"""No recipe value is larger; seeds among them fit a table's integers."""
KINDS = ("attention", "logits", "token", "token-soft")
LOSSES = ("mse", "mse-centred", "ce", "kl")
HEADS = ("first", "mean", "match", "relations")
DEPTHS = ("uniform", "first", "last")
ADAPTIVE = ("none", "teacher", "student", "both")
"""What a teacher tells; of attention: losses, which heads belong together, which layers, whose right answers weigh."""
POSITIVE = (
    "depth", "dim", "heads", "patch", "epochs", "batch", "accumulate", "lr", "mlp_ratio", "layer_decay", "repeats",
    "temperature", "gate_rate",
)  # fmt: skip
SHARES = ("mix_prob", "mix_switch", "erase", "layer_decay", "alpha", "adaptive_wrong")


def check(recipe: Recipe, where: str) -> None:
    """Raises UsageError for a value out of range, and for two that do not go together."""
    for name, value in asdict(recipe).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"{where}: {name} is {value}, expected a finite number.")
        if isinstance(value, (int, float)) and not isinstance(value, bool) and not 0 <= value <= LARGEST:
            raise UsageError(f"{where}: {name} is {value}, expected 0 to {LARGEST}.")
    _check_choices(recipe, where)
    _check_ranges(recipe, where)
    parse(recipe.grain)
    wrong = _wrong_combination(recipe)
    if wrong:
        raise UsageError(f"{where}: {wrong}")


def _check_ranges(recipe: Recipe, where: str) -> None:
    for name in POSITIVE:
        if getattr(recipe, name) <= 0:
            raise UsageError(f"{where}: {name} is {getattr(recipe, name)}, expected more than 0.")
    for name in SHARES:
        if getattr(recipe, name) > 1:
            raise UsageError(f"{where}: {name} is {getattr(recipe, name)}, expected at most 1.")
    for name in ("drop_path", "label_smoothing", "ema"):
        if not 0 <= getattr(recipe, name) < 1:
            raise UsageError(f"{where}: {name} is {getattr(recipe, name)}, expected 0 to below 1.")


def idle(recipe: Recipe) -> list[str]:
    """Keys of teachers and diversity that were set, and that nothing in the recipe makes use of."""
    told = set(recipe.told)
    attention = ("grain", "distill_loss", "distill_heads", "distill_depth")
    used = {
        "alpha": bool(told), "temperature": bool(told & {"logits", "token-soft"}),
        "relation_heads": "attention" in told and recipe.distill_heads == "relations",
        "adaptive_wrong": recipe.adaptive != "none", "diversity_layers": recipe.diversity > 0,
        "diversity_pairs": recipe.diversity > 0, "gate_rate": recipe.prune_gates > 0,
    } | dict.fromkeys(attention, "attention" in told)  # fmt: skip
    plain = type(recipe)()
    return [name for name, needed in used.items() if not needed and getattr(recipe, name) != getattr(plain, name)]


def _wrong_combination(recipe: Recipe) -> str | None:
    """What of two keys does not go together."""
    if recipe.mixes and recipe.batch % 2:
        return f"mixup pairs samples, so batch {recipe.batch} must be even."
    if recipe.batch % recipe.accumulate:
        return f"batch {recipe.batch} is no multiple of accumulate {recipe.accumulate}."
    if recipe.freeze not in ("none", "all") and not recipe.freeze.isdecimal():
        return f"freeze is {recipe.freeze!r}, expected none, all, or a number of blocks."
    if recipe.lora and recipe.freeze != "none":
        return "lora freezes all but its own weights; leave out freeze."
    if recipe.positions == "sincos" and (recipe.dim % 4 or recipe.arch):
        return "sincos positions need a dim that is a multiple of 4, and no arch."
    if recipe.spt and recipe.patch_norm:
        return "spt normalises patches in its own way; leave out patch_norm."
    if recipe.prune_gates and recipe.prune_to:
        return "prune_gates and prune_to both take heads out; leave out one."
    return _wrong_teaching(recipe) or _wrong_parts(recipe)


def _wrong_teaching(recipe: Recipe) -> str | None:
    told = recipe.told
    if {"token", "token-soft"} <= set(told):
        return "distill: a token is told hard answers or soft ones, not both."
    if recipe.adaptive != "none" and (recipe.mixes or recipe.accumulate > 1):
        what = "mixup, which leaves no sample one label" if recipe.mixes else f"accumulate {recipe.accumulate}"
        return f"adaptive {recipe.adaptive} weighs the samples of a whole update; it does not go with {what}."
    if recipe.adaptive != "none" and "attention" not in told:
        return f"adaptive {recipe.adaptive} weighs attention; add it to distill."
    if recipe.adaptive_control and recipe.adaptive == "none":
        return "adaptive_control is the control of adaptive weights; set adaptive."
    if recipe.grain.startswith("head") and recipe.distill_heads != "first":
        return f"grain names pairs of heads; leave out distill_heads {recipe.distill_heads!r}."
    if recipe.distill_heads == "relations" and recipe.distill_loss != "kl":
        return f"relations are compared by kl; leave out distill_loss {recipe.distill_loss!r}."
    return None


def _wrong_parts(recipe: Recipe) -> str | None:
    if recipe.by_token and (recipe.pool != "token" or recipe.registers) and not recipe.arch:
        return "a token for a teacher stands beside a class token: leave out registers, and set pool to 'token'."
    if recipe.qk_norm and recipe.lsa:
        return "lsa scales queries in its own way; leave out qk_norm."
    if recipe.pre_norm and (recipe.spt or recipe.patch_norm):
        return "pre_norm goes with timm's patches; leave out spt and patch_norm."
    if int(recipe.dim * recipe.mlp_ratio) < 1:
        return f"mlp_ratio {recipe.mlp_ratio} leaves an MLP of dim {recipe.dim} no unit."
    return None


def _check_choices(recipe: Recipe, where: str) -> None:
    legal_values = (
        ("pool", POOLS), ("saved", ("ema", "raw")), ("positions", ("learned", "sincos")),
        ("precision", ("auto", "float32", "bf16")), ("distill_loss", LOSSES), ("distill_heads", HEADS),
        ("distill_depth", DEPTHS), ("adaptive", ADAPTIVE),
    )  # fmt: skip
    for name, legal in legal_values:
        if getattr(recipe, name) not in legal:
            raise UsageError(f"{where}: {name} is {getattr(recipe, name)!r}, expected {choices(legal)}.")
    for name, limit in LIMITS.items():
        if hasattr(recipe, name) and getattr(recipe, name) > limit:
            raise UsageError(f"{where}: {name} is {getattr(recipe, name)}, expected at most {limit}.")
