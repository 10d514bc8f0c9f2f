"""The learning rate of every update."""

from __future__ import annotations

import math

from vhs.training.recipe import Recipe


def learning_rate(recipe: Recipe, step: int, total: int, per_epoch: int) -> float:
    """The rate of update `step` (0-based) of `total`: linear warm-up from warmup_lr, then a cosine to min_lr.

    The last update runs at min_lr, also when a time budget made `total` smaller.
    """
    warmup = min(int(recipe.warmup_epochs * per_epoch), max(total - 2, 0))
    if step < warmup:
        return recipe.warmup_lr + (recipe.rate - recipe.warmup_lr) * (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(total - 1 - warmup, 1)
    return recipe.min_lr + (recipe.rate - recipe.min_lr) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2


def affordable(done: int, elapsed: float, timed: int, seconds: float) -> int:
    """How many updates in total fit a budget of `seconds`, from `timed` updates that took `elapsed`.

    done: updates so far. The rest is planned at 95 % of the remaining time, so that the end is not cut off.
    """
    remaining = max(seconds - elapsed, 0) * 0.95
    return done + max(int(remaining * timed / elapsed), 0)
