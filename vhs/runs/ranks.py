"""Several processes on one run, under torchrun: each takes its tiles, tallies are added, the first one writes."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

import numpy as np
import torch
import torch.distributed as distributed

from vhs.counts import Counts
from vhs.errors import UsageError
from vhs.world import world


def start() -> None:
    """Join the other processes, where torchrun has started several. Tallies travel over gloo, on the host."""
    if world()[1] > 1 and not distributed.is_initialized():
        lacking = [name for name in ("MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
        if lacking:
            raise UsageError(
                f"WORLD_SIZE is {world()[1]} but {lacking[0]} is not set. Start several processes with torchrun, or "
                f"unset WORLD_SIZE."
            )
        distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")


def stop() -> None:
    """Leave together: nobody goes before the first has written, unless another has gone already."""
    if distributed.is_initialized():
        with suppress(RuntimeError):
            distributed.barrier()
        distributed.destroy_process_group()


def add_up(results: list[dict[str, Counts]]) -> list[dict[str, Counts]]:
    """Tallies added over all ranks; integers, so the order is of no account."""
    if world()[1] == 1:
        return results
    return [{name: _add_up(counts) for name, counts in tallies.items()} for tallies in results]


def any_of(flag: bool) -> bool:
    """Whether it is true on any rank."""
    if world()[1] == 1:
        return flag
    value = torch.tensor(int(flag))
    distributed.all_reduce(value, distributed.ReduceOp.MAX)
    return bool(value)


def from_first(value: Any) -> Any:
    """What the first rank has, on every rank."""
    if world()[1] == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def gather(values: list[Any]) -> list[Any]:
    """The lists of all ranks, joined in rank order."""
    if world()[1] == 1:
        return values
    lists: list[list[Any]] = [[] for _ in range(world()[1])]
    distributed.all_gather_object(lists, values)
    return [value for part in lists for value in part]


def _add_up(counts: Counts) -> Counts:
    values = torch.from_numpy(np.ascontiguousarray(counts.values))
    distributed.all_reduce(values)
    return Counts(values.numpy(), counts.fields)
