"""What a checkpoint says of where it comes from, in words."""

from __future__ import annotations

from typing import Any

from vhs.formats.checkpoints import CheckpointInfo


def learned_from(described: CheckpointInfo) -> list[tuple[str, object]]:
    """What a checkpoint was made from and told by, where it was."""
    recipe, found = described.recipe, list[tuple[str, object]]()
    if described.parent:
        found.append(("parent", described.parent))
    if described.teacher:
        found.append(("teacher", f"{described.teacher}: {recipe.get('distill')}, alpha {recipe.get('alpha', 0.5)}"))
    if described.pruned:
        found += _pruned(described.pruned)
    if described.assigned:
        found.append(("assigned", described.assigned))
    if recipe.get("diversity"):
        found.append(("diversity", f"{recipe['diversity']:g}, layers {recipe.get('diversity_layers', 'last')}"))
    return found


def _pruned(told: dict[str, Any]) -> list[tuple[str, object]]:
    """How heads went, and what was certified of the file."""
    removed = str(told.get("removed"))
    found: list[tuple[str, object]] = [
        ("pruned", f"{removed.count('+') + bool(removed)} heads by {told.get('order')}, {told.get('fill')}: {removed}")
    ]
    sealed = told.get("certificate")
    if isinstance(sealed, dict) and sealed.get("certified"):
        conditions = sealed.get("conditions")
        count = len(conditions) if isinstance(conditions, list) else 0
        found.append((
            "certified", f"at most {sealed.get('epsilon')} of accuracy lost, {sealed.get('over')} of {count} "
            f"conditions, confidence {sealed.get('confidence')}, on {sealed.get('images')} images",
        ))  # fmt: skip
    return found
