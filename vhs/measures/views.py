"""Which of a model's outputs are answers, by the names of its classes, of the data's, and of superclasses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from vhs.measures.scoring import View
from vhs.models.model import Model

ALL = "all"
Members = Mapping[str, Sequence[str]]
"""Superclass -> the classes of a model that it stands for."""


def plain(
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


def padded(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """int64 [N, L], -1 beyond the numbers of each row."""
    found = [torch.tensor(row, dtype=torch.int64) for row in rows]
    return torch.nn.utils.rnn.pad_sequence(found, batch_first=True, padding_value=-1)


def grouped(group: str, label_set: str, members: Members, data_classes: Sequence[str], model: Model) -> View:
    """A view over superclasses, of data that has these for classes, or the model's classes."""
    place = {name: position for position, name in enumerate(model.classes)}
    outputs = padded([[place[name] for name in of_one] for of_one in members.values()])
    if set(data_classes) <= set(members):
        among = {own: index for index, own in enumerate(members)}
    else:  # a superclass may be called as a class of the model is
        among = {name: index for index, of_one in enumerate(members.values()) for name in of_one}
    places = torch.tensor([among.get(name, -1) for name in data_classes], device=model.device)
    return View(group, label_set, places, members_SE=outputs.to(model.device, non_blocking=True))
