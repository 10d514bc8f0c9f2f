"""Whether a training run is over already."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from vhs.formats import checkpoints, resume
from vhs.formats.references import Loaded
from vhs.formats.shards import ShardSet
from vhs.training.recipe import Recipe


def already_trained(
    out: Path, recipe: Recipe, train: ShardSet, val: ShardSet, begin: str | None, teacher: Loaded | None = None
) -> bool:  # fmt: skip
    """Whether `out` is the finished result of this recipe on this data, so that resuming has nothing to do."""
    if not out.exists() or resume.path_of(out).exists():
        return False
    info = checkpoints.read_info(out)
    same_recipe = asdict(Recipe()) | info.recipe == asdict(recipe) | {"updates": info.recipe.get("updates")}
    same_data = all(info.data.get(part.manifest.split, {}).get("hash") == part.manifest.hash for part in (train, val))
    same_start = (info.parent or "").rpartition(" ")[0] == (begin or "")
    same_teacher = (info.teacher or "").rpartition(" ")[2] == (teacher.model.weights_id if teacher else "")
    planned = recipe.epochs * recipe.updates_per_epoch(train.manifest.samples)
    return same_recipe and same_data and same_start and same_teacher and info.step == planned
