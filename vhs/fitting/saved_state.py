"""What an interrupted training run needs to go on, as tensors and JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from vhs.errors import InputError
from vhs.formats import resume
from vhs.training.loop import TrainingState


def save(path: Path, state: TrainingState, described: dict[str, Any]) -> None:
    """Write weights, average and optimizer, whole or not at all; described: what else a run continues with."""
    tensors = {f"net.{name}": value for name, value in state.net.state_dict().items()}
    if state.average is not None:
        tensors |= {f"average.{name}": value for name, value in state.average.module.state_dict().items()}
    for index, slots in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in slots.items()}
    tensors |= {"loss_sum": state.loss_sum} | ({"term_sums": state.term_sums} if len(state.term_sums) else {})
    described = described | {"step": state.step, "total": state.total, "threads": torch.get_num_threads()}
    resume.save(path, tensors, described)


def restore(path: Path, state: TrainingState, fingerprint: dict[str, Any]) -> dict[str, Any]:
    """Fill `state`; returns what was described.

    Raises MismatchError where the run was begun otherwise than `fingerprint`, InputError where the file is not whole.
    """
    tensors, described = resume.load(path, fingerprint)
    try:
        _fill(state, tensors, described)
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{path}: does not hold the whole state: {error}. Remove it to start anew.") from error
    return described


def _fill(state: TrainingState, tensors: dict[str, torch.Tensor], described: dict[str, Any]) -> None:
    state.net.load_state_dict(_under(tensors, "net."), strict=True)
    if state.average is not None:
        state.average.module.load_state_dict(_under(tensors, "average."), strict=True)
    slots: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in _under(tensors, "optimizer.").items():
        index, _, slot = name.partition(".")
        slots.setdefault(int(index), {})[slot] = value
    groups = state.optimizer.state_dict()["param_groups"]
    state.optimizer.load_state_dict({"state": slots, "param_groups": groups})
    state.step, state.total = described["step"], described["total"]
    state.loss_sum = tensors["loss_sum"].to(state.loss_sum.device)
    if len(state.term_sums):
        state.term_sums = tensors["term_sums"].to(state.term_sums.device)


def _under(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
