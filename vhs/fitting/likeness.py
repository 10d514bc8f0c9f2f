"""In what a student is like its teacher, and what of a recipe is of no account for it."""

from __future__ import annotations

from typing import Any

import torch

from vhs.errors import UsageError
from vhs.formats.references import Loaded
from vhs.models import native_parts
from vhs.models.building import build
from vhs.models.spec import Spec, ViTSpec
from vhs.training import recipe_rules
from vhs.training.recipe import Recipe


def notes(recipe: Recipe, spec: Spec, teacher: Loaded | None) -> list[str]:
    """Keys that were set for nothing, and what of the teacher's parts the student lacks, a line each."""
    idle = recipe_rules.idle(recipe)
    lines = [f"{', '.join(idle)}: of no account, nothing here makes use of it"] if idle else []
    if "attention" in recipe.told and _all_frozen(recipe, spec):
        lines.append(f"attention is told to layers that are frozen (freeze {recipe.freeze}): it changes nothing")
    return lines + (_lacking(spec, teacher) if teacher is not None else [])


def _lacking(spec: Spec, teacher: Loaded) -> list[str]:
    with torch.device("meta"):
        missing = native_parts.lacking(build(spec), teacher.model.net)
    if not missing:
        return []
    buildable = [part.words for part in missing if part.keys]
    line = f"{teacher.model.name} has {', '.join(part.words for part in missing)}, which the student lacks"
    advice = f"; --like-teacher builds it with {'them' if len(buildable) == len(missing) > 1 else ', '.join(buildable)}"
    return [f"{line}: its attention may teach less{advice if buildable else ''}"]


def like(recipe: Recipe, teacher: Loaded) -> tuple[Recipe, str]:
    """(the recipe with those of the teacher's parts that it does not set itself, which these are, in words).

    Raises UsageError where the recipe does not say the architecture, or a part does not go with it.
    """
    if recipe.arch:
        raise UsageError(f"--like-teacher: builds a ViT of the recipe's sizes, not {recipe.arch}. Leave out arch.")
    plain = Recipe()
    keys: dict[str, Any] = {}
    for part in native_parts.parts_of(teacher.model.net):
        keys |= {name: value for name, value in part.keys.items() if getattr(recipe, name) == getattr(plain, name)}
    if recipe.by_token and keys.keys() & {"registers", "pool"}:
        raise UsageError(
            f"--like-teacher: {teacher.model.name} has registers or averages patches, beside which a distillation "
            f"token cannot stand. Set its other parts by --set, or leave out token."
        )
    words = ", ".join(f"{name}={value}" for name, value in keys.items()) or "nothing"
    return recipe.with_values(keys, "--like-teacher"), f"built like {teacher.model.name}: {words}"


def _all_frozen(recipe: Recipe, spec: Spec) -> bool:
    if recipe.freeze == "all":
        return True
    return recipe.freeze != "none" and isinstance(spec, ViTSpec) and int(recipe.freeze) >= spec.depth
