"""Closed, full and abandoned standard streams: every command ends with a documented code and writes what -o names."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.faults import cases, toys, warm
from tests.faults.cases import Files, Room
from tests.faults.report import Report
from tests.faults.warm import Ended

SCORED = ("../../toys/a.safetensors", "--max-samples", "20")
COMMANDS: dict[str, tuple[str, ...]] = {
    "--help": ("--help",),
    "--version": ("--version",),
    "help of a command": ("ablate", "--help"),
    "shard": ("shard", "../../toys/source", "out"),
    "train": ("train", "../../toys/shards", *toys.SMALL[:-1], "-o", "m.safetensors"),
    "print-config": ("train", "x", "--print-config"),
    "ablate": ("ablate", *SCORED),
    "ablate -o": ("ablate", *SCORED, "-o", "t.csv"),
    "evalshift": ("evalshift", *SCORED),
    "prune": ("prune", *SCORED, "--random", "0"),
    "prune -o": ("prune", *SCORED, "--random", "0", "--keep", "2", "-o", "s.safetensors"),
    "evalshift -o": ("evalshift", *SCORED, "-o", "t.parquet"),
    "specialize": ("specialize", *SCORED),
    "specialize -o": ("specialize", *SCORED, "-o", "t.csv"),
    "compare": ("compare", "../../toys/heads.csv"),
    "compare -o": ("compare", "../../toys/heads.csv", "-o", "t.csv"),
    "plot -o -": ("plot", "../../toys/shift.csv", "-o", "-"),
    "plot": ("plot", "../../toys/shift.csv", "-o", "t.png"),
    "info": ("info", "../../toys/shift.csv", "../../toys/a.safetensors"),
    "info -o": ("info", "../../toys/a.safetensors", "-o", "m.svg"),
}  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """closed: streams that are not open. out: what is behind stdout: `gone` nobody, `head` one line's reader, `full`."""

    closed: tuple[int, ...] = ()
    out: str = ""
    err: str = ""
    shell: str = ""


SETTINGS = (
    Setting((0,), shell="<&-"), Setting((1,), shell=">&-"), Setting((2,), shell="2>&-"), Setting((0, 1), shell="<&- >&-"),
    Setting((0, 2), shell="<&- 2>&-"), Setting((1, 2), shell=">&- 2>&-"), Setting((0, 1, 2), shell="<&- >&- 2>&-"),
    Setting(out="gone", shell="| true"), Setting(out="head", shell="| head -1"), Setting(out="full", shell="> /dev/full"),
    Setting(err="full", shell="2> /dev/full"), Setting((2,), out="gone", shell="2>&- | true"),
)  # fmt: skip


@dataclass(frozen=True)
class Sound:
    """What a command gives with its streams in order."""

    name: str
    out: bytes
    notes: list[str]
    files: Files


def streams(root: Path, report: Report, *, sample: bool) -> None:
    """Every command under every setting, forked and as a process of its own from a shell; of a sample half, and one each."""
    (root / "streams").mkdir()
    room = Room(root / "streams")
    for number, (name, argv) in list(enumerate(COMMANDS.items()))[:: 2 if sample else 1]:
        place = room.new()
        ended = warm.run(argv, place)
        if ended.code:
            raise RuntimeError(f"{argv}: {ended}")
        sound = Sound(name, ended.out, ended.lines, cases.files(place))
        settings = [SETTINGS[number // 2 * 5 % len(SETTINGS)]] if sample else SETTINGS
        for setting in settings:
            _judge(setting, sound, _forked(argv, room.new(), setting), room, report, "forked")
            if not sample or name in ("--help", "info"):
                _judge(setting, sound, _shelled(argv, room.new(), setting), room, report, "shell")


def _forked(argv: tuple[str, ...], place: Path, setting: Setting) -> Ended:
    return warm.run(argv, place, partial(_set, setting))


def _set(setting: Setting) -> None:
    if setting.out == "full" or setting.err == "full":
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, 1 if setting.out else 2)
        os.close(full)
    elif setting.out:
        _abandoned(lines=int(setting.out == "head"))
    for number in setting.closed:
        os.close(number)
    warm.take_streams()


def _abandoned(lines: int) -> None:
    """stdout into a pipe whose reader takes so many lines and goes."""
    read, write = os.pipe()
    if lines and not os.fork():
        os.close(write)
        while lines and (got := os.read(read, 1)):
            lines -= got == b"\n"
        os._exit(0)
    os.close(read)
    os.dup2(write, 1)
    os.close(write)


def _shelled(argv: tuple[str, ...], place: Path, setting: Setting) -> Ended:
    """The same as a process of its own; the code is that of vhs, whatever follows it in the pipe."""
    script = f'{shlex.quote(sys.executable)} -m vhs {shlex.join(argv)} {setting.shell}; exit "${{PIPESTATUS[0]}}"'
    env = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run(["bash", "-c", script], cwd=place, capture_output=True, env=env, timeout=300)
    return Ended(done.returncode, done.stdout, done.stderr.decode("utf-8", "replace"), 0.0)


def _judge(setting: Setting, sound: Sound, ended: Ended, room: Room, report: Report, how: str) -> None:
    name = sound.name
    report.count(how, f"exit {ended.code}")
    report.count("commands", name)
    report.measure("seconds", ended.seconds, f"{name} {setting.shell}")
    where = f"vhs {' '.join(COMMANDS[name])} {setting.shell} ({how}): exit {ended.code}, {ended.err[-200:]!r}"
    for wrong in _wrong(setting, sound, ended, cases.files(room.folder / f"run{room.number}")):
        report.violation(f"{name}: {wrong}", where)


def _wrong(setting: Setting, sound: Sound, ended: Ended, found: Files) -> list[str]:
    wrong = []
    if ended.code not in _codes(setting, sound):
        wrong.append(f"exit {ended.code}")
    if found != sound.files:
        missing = sorted(set(sound.files) - set(found))
        wrong.append(f"without {missing[0]}" if missing else f"other files: {sorted(found)}")
    said = [line for line in ended.lines if line not in sound.notes]
    if "Traceback" in ended.err or "Exception ignored" in ended.err or "defect" in ended.err:
        wrong.append("a traceback or a defect")
    elif len(said) > int(ended.code != 0) or not all(line.startswith("vhs") for line in said):
        wrong.append(f"{len(said)} lines more on stderr")
    if ended.code and not said and 2 not in setting.closed and not setting.err:
        wrong.append("fails without a word")
    if 1 not in setting.closed and not setting.out and ended.out != sound.out:
        wrong.append("something else on stdout")
    return wrong


def _codes(setting: Setting, sound: Sound) -> tuple[int, ...]:
    """0; 1 where the result was for a stdout that does not take it; either where that was help, or a path only."""
    unwritable = 1 in setting.closed or setting.out == "full"
    if not unwritable or (sound.files and 1 in setting.closed):
        return (0,)
    return (0, 1) if sound.files or "help" in sound.name or "version" in sound.name else (1,)
