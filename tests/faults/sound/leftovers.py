"""What killed runs leave: journals and training states. Resuming must give what the whole run gives, or refuse."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

from tests.faults import cases, events, warm
from tests.faults.cases import Files
from tests.faults.damage import arrays, blind, documents
from tests.faults.sound.format import MODEL, OURS, TRAIN, Format


def formats(root: Path) -> list[Format]:
    """What killed runs leave: journals and training states. Resuming must give what the whole run gives, or refuse."""
    sweep = ("ablate", MODEL, "--shift", "contrast:3,5", "--max-samples", "20", "-q", "-o", "t.csv")
    journal = _cut_off(
        root, sweep, lambda name: events.kind(name) == events.CREATING and ".partial" not in name and "lock" not in name
    )
    state = _cut_off(root, TRAIN, lambda name: name.startswith("create .m.safetensors"))
    pack = ("shard", "../toys/source/val", "out", "--per-tar", "4", "-q")
    shards = _cut_off(root, pack, lambda name: name.startswith("rename out/shards.json"))
    resumed = ((100, (*sweep, "--resume")),)
    trained = ((100, (*TRAIN, "--resume")),)
    json_ways = (*blind.TEXT, *[documents.as_json] * 8)
    entry = next(name for name in journal if name.endswith(".tallies"))
    found = [
        Format(
            "journal entry",
            journal,
            entry,
            (*blind.BLIND, *[arrays.as_npz] * 6),
            resumed,
            share=0.8,
            seal="done",
            places=OURS,
        )
    ]
    prints = [name for name in journal if name.endswith("fingerprint.json")]
    found += [
        Format("journal fingerprint", journal, name, json_ways, resumed, share=0.8, seal="same", places=OURS)
        for name in prints
    ]
    for name in (name for name in state if name.endswith(".resume")):
        found.append(
            Format(".resume header", state, name, (documents.safetensors_header,), trained, share=0.8, places=OURS)
        )
        found.append(Format(".resume", state, name, blind.BLIND, trained, share=0.8, places=OURS))
    for name in (name for name in shards if name.endswith("partial.json")):
        found.append(
            Format("shard journal", shards, name, json_ways, ((100, pack),), share=1, seal="same", places=OURS)
        )
    return found


def _cut_off(root: Path, argv: tuple[str, ...], when: Callable[[str], bool]) -> Files:
    """What a run leaves that is killed at its first event for which `when` is true."""
    place = root / "cut-off"
    place.mkdir()

    def act(_number: int, name: str) -> None:
        if when(name):
            os.kill(os.getpid(), signal.SIGKILL)

    ended = warm.run(argv, place, lambda: events.watch(place, act))
    if ended.code != -signal.SIGKILL:
        raise RuntimeError(f"{argv}: was to be killed; {ended}")
    found = {name: data for name, data in cases.files(place).items() if not name.endswith((".tmp", ".lock"))}
    cases.remove(place)
    return found
