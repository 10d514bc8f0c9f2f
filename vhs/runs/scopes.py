"""Which classes are answered under a condition, where data have only some of a model's classes.

ImageNet-R and -A have 200 of the 1,000: they are scored over these 200 outputs and over all, and so are
the clean images of the same classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from vhs.errors import MismatchError
from vhs.formats.manifest import Manifest
from vhs.formats.shards import ShardSet
from vhs.measures.scoring import View
from vhs.models.model import Model
from vhs.progress import Note
from vhs.runs.conditions import CLEAN, Condition

ALL = "all"


def check_classes(data: ShardSet, models: Sequence[Model]) -> None:
    """Raises MismatchError naming a class of the data that a model lacks."""
    for model in models:
        targets = data.manifest.targets
        if targets and len(model.classes) != len(targets):
            raise MismatchError(
                f"{model.name}: has {len(model.classes)} outputs, {data.folder} has {len(targets)} targets "
                f"({_first(targets)})."
            )
        lacking = sorted(set(data.manifest.classes) - set(model.classes))
        if lacking:
            ours, theirs = len(model.classes), len(data.manifest.classes)
            raise MismatchError(
                f"{model.name}: has {ours} classes ({_first(model.classes)}), {data.folder} has {theirs} "
                f"({_first(data.manifest.classes)}), of which {_first(lacking)} are not the model's. "
                f"Name data with the model's classes."
            )


def with_names(model: Model, data: ShardSet, note: Note) -> Model:
    """`model` with the data's class names where its own are mere numbers, as many as the data has."""
    classes = data.manifest.classes
    if data.manifest.targets:
        return model
    numbered = model.classes == tuple(str(index) for index in range(len(classes)))
    if not numbered or classes == model.classes:
        return model
    note(f"{model.name}: its outputs have no names; taken as the classes of {data.manifest.name}, in their order")
    return replace(model, classes=classes)


def views(
    condition: Condition, conditions: Sequence[Condition], manifest: Manifest, model: Model
) -> tuple[View, ...]:  # fmt: skip
    """All samples over all classes; where the data has fewer classes than the model, first over its own;
    and of the clean data, the samples of each shifted set with fewer classes, over these and over all.

    conditions: all of the run; manifest: of the data under this one.
    """
    if manifest.targets:
        return (View(ALL, ALL, torch.zeros(0, dtype=torch.int64)),)
    model_classes, device = model.classes, model.device
    found = _both(ALL, manifest.name, manifest.classes, manifest.classes, model_classes, device)
    if condition.shift == CLEAN:
        for other in conditions:
            if other.data and set(other.data.manifest.classes) < set(manifest.classes):
                shifted = other.data.manifest
                found += _both(
                    f"classes={shifted.name}", shifted.name, manifest.classes, shifted.classes, model_classes, device
                )
    return tuple(found)


def label_set(manifest: Manifest, model: Model) -> str:
    """What the first of `views` is called, without building them: the set's name where it has fewer classes."""
    fewer = len(manifest.classes) < len(model.classes) and not manifest.targets
    return manifest.name if fewer else ALL


def _both(
    group: str, label_set: str, data_classes: Sequence[str], counted: Sequence[str], model_classes: Sequence[str],
    device: torch.device,
) -> list[View]:  # fmt: skip
    """Views over the counted classes alone, if these are not all, and over all of the model's."""
    if tuple(data_classes) == tuple(model_classes) == tuple(counted):
        return [View(group, ALL, torch.arange(len(model_classes), device=device))]
    place = {name: position for position, name in enumerate(model_classes)}
    outputs = torch.tensor([place[name] for name in counted], device=device)
    among = {name: position for position, name in enumerate(counted)}
    inside = torch.tensor([among.get(name, -1) for name in data_classes], device=device)
    over_all = View(group, ALL, torch.where(inside < 0, -1, outputs[inside.clamp(min=0)]))
    return [over_all] if len(counted) == len(model_classes) else [View(group, label_set, inside, outputs), over_all]


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
