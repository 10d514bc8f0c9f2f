"""The file of a pruned model: fewer weights, which heads they are of, and what was certified of it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from vhs import environment
from vhs.formats import checkpoints, specs
from vhs.formats.checkpoints import CheckpointInfo
from vhs.formats.references import Loaded
from vhs.formats.shards import ShardSet
from vhs.grid import Place, head_name
from vhs.measures.pruning_options import Pruning
from vhs.models.building import spec_of_fewer
from vhs.models.spec import Spec
from vhs.pruning.certifying import Certificate
from vhs.runs.data import record


def to_bytes(
    loaded: Loaded, net: nn.Module, removed: tuple[Place, ...], asked: Pruning, certificate: Certificate | None,
    *, val: ShardSet, out: Path,
) -> bytes:  # fmt: skip
    """Of a network that was made of a model without these heads. val: recorded where the model records no data."""
    reference = loaded.model.name
    before = specs.of(reference, loaded, "prune")
    info = _info(loaded, before, val, out)
    made = {
        "order": "list" if asked.listed else asked.orders[0], "fill": asked.fill.kind,
        "removed": "+".join(head_name(*place) for place in removed),
        "certificate": None if certificate is None else _described(certificate),
    } | ({"ridge": asked.fill.ridge} if asked.fill.kind == "compensate" else {})  # fmt: skip
    info = replace(
        info, spec=spec_of_fewer(before, net), timm=None, parent=f"{reference} {loaded.model.weights_id}", pruned=made,
        versions=environment.versions(),
    )  # fmt: skip
    return checkpoints.to_bytes(net.state_dict(), info)


def _info(loaded: Loaded, spec: Spec, val: ShardSet, out: Path) -> CheckpointInfo:
    model, size = loaded.model, loaded.model.preprocess
    if loaded.info is None:
        return CheckpointInfo(
            spec=spec, classes=model.classes, mean=size.mean, std=size.std, data={"val": record(val, out)}
        )
    data = {split: _moved(entry, loaded.path, out) for split, entry in loaded.info.data.items()}
    return replace(loaded.info, data=data)


def _moved(entry: dict[str, Any], before: Path | None, out: Path) -> dict[str, Any]:
    """A record of data, its path relative to where the new file lies."""
    if before is None or "path" not in entry:
        return entry
    folder = (before.resolve().parent / entry["path"]).resolve()
    return entry | {"path": os.path.relpath(folder, out.resolve().parent)}


def _described(certificate: Certificate) -> dict[str, Any]:
    return {
        "epsilon": certificate.margin, "over": certificate.over, "confidence": certificate.confidence,
        "images": certificate.images, "conditions": list(certificate.conditions),
        "certified": certificate.step is not None,
    }  # fmt: skip
