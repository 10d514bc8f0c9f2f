"""Sample groups: the values of attributes that a shard set carries, or of the label.

Letters: N samples, A attributes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from vhs.errors import InputError, UsageError, choices
from vhs.formats.manifest import Manifest
from vhs.formats.sample import Sample

LABEL = "label"


@dataclass(frozen=True)
class Groups:
    """names: `attribute=value`, all values of one attribute together. members_NA: int64 positions in `names`."""

    names: tuple[str, ...]
    members_NA: torch.Tensor


def group(manifest: Manifest, samples: Sequence[Sample], by: Sequence[str]) -> Groups:
    """Groups by each of `by`: attributes of the manifest, or `label`. Raises UsageError for another name."""
    names: list[str] = []
    columns = []
    for attribute in by:
        values, of_sample = _values(manifest, samples, attribute)
        columns.append([len(names) + value for value in of_sample])
        names += [f"{attribute}={value}" for value in values]
    members = torch.tensor(columns, dtype=torch.int64).view(len(columns), len(samples)).T
    return Groups(tuple(names), members)


def names(manifest: Manifest, by: Sequence[str]) -> tuple[str, ...]:
    """The names of the groups, in the order of `group`."""
    return tuple(f"{attribute}={value}" for attribute in by for value in _values(manifest, (), attribute)[0])


def of(manifest: Manifest, by: Sequence[str]) -> list[str]:
    """Those of `by` that a set has."""
    return [name for name in by if name == LABEL or name in manifest.groups]


def check(manifest: Manifest, by: Sequence[str]) -> None:
    """Raises UsageError for an attribute that the set lacks."""
    legal = [LABEL, *manifest.groups]
    for attribute in by:
        if attribute not in legal:
            raise UsageError(f"--by {attribute}: {manifest.name} has {choices(legal)}.")


def _values(manifest: Manifest, samples: Sequence[Sample], attribute: str) -> tuple[list[str], list[int]]:
    """The values of an attribute in order, and each sample's position among them."""
    if attribute == LABEL:
        return list(manifest.classes), [sample.label for sample in samples]
    column = manifest.groups.index(attribute)
    values = list(manifest.values[attribute])
    place = {value: index for index, value in enumerate(values)}
    for sample in samples:
        if sample.attributes[column] not in place:
            raise InputError(f"{sample.where}: {attribute} {sample.attributes[column]!r} is not in the manifest.")
    return values, [place[sample.attributes[column]] for sample in samples]
