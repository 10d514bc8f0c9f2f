"""Which classes are answered under a condition, where data have only some of a model's classes.

ImageNet-R and -A have 200 of the 1,000: they are scored over these 200 outputs and over all, and so are
the clean images of the same classes. Classes that stand for several of the model's are superclasses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from vhs.errors import MismatchError
from vhs.formats.manifest import Manifest
from vhs.formats.shards import ShardSet
from vhs.measures import views as views_of
from vhs.measures.scoring import View
from vhs.measures.views import ALL
from vhs.models.model import Model
from vhs.progress import Note
from vhs.runs.conditions import CLEAN, Condition


def check_classes(data: ShardSet, models: Sequence[Model]) -> None:
    """Raises MismatchError naming a class of the data that a model lacks."""
    for model in models:
        targets = data.manifest.targets
        if targets and len(model.classes) != len(targets):
            raise MismatchError(
                f"{model.name}: has {len(model.classes)} outputs, {data.folder} has {len(targets)} targets "
                f"({_first(targets)})."
            )
        asked = set(data.manifest.classes)
        if is_grouped(data.manifest, model.classes):
            asked = {name for members in data.manifest.members.values() for name in members}
        lacking = sorted(asked - set(model.classes))
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
    if is_grouped(manifest, model_classes):
        return (views_of.grouped(ALL, manifest.name, manifest.members, manifest.classes, model),)
    found = views_of.plain(ALL, manifest.name, manifest.classes, manifest.classes, model_classes, device)
    shifted = {item.data.manifest.name: item.data.manifest for item in conditions if item.data}
    for name, other in shifted.items() if condition.shift == CLEAN else ():
        group = f"classes={name}"
        if is_grouped(other, model_classes):
            found.append(views_of.grouped(group, name, other.members, manifest.classes, model))
        elif set(other.classes) < set(manifest.classes):
            found += views_of.plain(group, name, manifest.classes, other.classes, model_classes, device)
    return tuple(found)


def is_grouped(manifest: Manifest, model_classes: Sequence[str]) -> bool:
    """Whether the data's classes stand for several of the model's, which has others."""
    return bool(manifest.members) and not set(manifest.classes) <= set(model_classes)


def label_set(manifest: Manifest, model: Model) -> str:
    """What the first of `views` is called, without building them: the set's name where it has fewer classes."""
    fewer = len(manifest.classes) < len(model.classes) and not manifest.targets
    return manifest.name if fewer or is_grouped(manifest, model.classes) else ALL


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
