"""What commands do with --part and --sbatch: a part of the run in a file of its own, and the script that runs all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from os.path import isdir, isfile  # these take names that no file can have
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vhs import output
from vhs.errors import UsageError
from vhs.world import Part, is_first, parse_part

if TYPE_CHECKING:
    from vhs.console import Console
    from vhs.runs.journal import Keeping
    from vhs.runs.recording import Measured
    from vhs.runs.run import Run

OUT = ("-o", "--out")


def parse(
    text: str | None, sbatch: str | None, out: Path | None, whole: Mapping[str, object], *, dry_run: bool
) -> Part | None:  # fmt: skip
    """Which part is asked for. whole: options of the whole run, which `vhs merge` has.

    Raises UsageError for what does not go together.
    """
    if sbatch is not None and (not dry_run or text is not None):
        raise UsageError("--sbatch: prints a script of all parts, and runs none. Say --dry-run, and no --part.")
    from vhs.formats.atomic import is_ordinary

    if sbatch is not None:
        from vhs.commands import array_script

        array_script.parse(sbatch, output.words())
        if out is None or not is_ordinary(out):
            raise UsageError(
                "--sbatch: names parts after the whole run's table. Name it with -o, such as -o heads.csv."
            )
    part = parse_part(text)
    if part is None:
        return None
    if (out is None or not is_ordinary(out)) and not dry_run:
        raise UsageError(f"--part {part}: is kept in a file. Name it with -o, such as -o heads.{part.index}.part.")
    lone = next((name for name, value in whole.items() if value), None)
    if lone is not None:
        raise UsageError(f"--{lone}: is of the whole run, not of part {part}. Say it to `vhs merge`.")
    return part


def is_done(part: Part | None, out: Path | None, console: Console, *, resume: bool) -> bool:
    """Whether --resume finds the part there already, from the same command and newer than what that reads; then there
    is nothing to do."""
    from vhs.formats import locks, part_file
    from vhs.runs import journal

    if part is None or out is None or not resume or not part_file.is_part_file(out):
        return False
    info = part_file.read(out).info
    typed = output.words()
    if info.part != part or list(info.typed) != typed or any(_is_newer(path, out) for path in _inputs(typed)):
        return False
    with locks.hold([out], console.note):
        journal.Keeping(out).discard()  # what a kill between the part and its end has left
    if is_first():
        console.note(f"{out}: part {part} is complete already")
        output.name_product(out)
    return True


def _inputs(typed: Sequence[str]) -> Iterator[Path]:
    """Files that the words of a command name: models, also those of lists, and manifests of folders of data."""
    from vhs.formats.shards import MANIFEST

    for word in output.without(typed, (*OUT, "--per-sample")):
        name = word.rpartition("=")[2] if word.startswith("--") else word
        if name.startswith("@") and isfile(name[1:]):
            listed = Path(name[1:])
            yield listed
            yield from _inputs(listed.read_text(errors="replace").splitlines())
        elif isfile(name):
            yield Path(name)
        elif isdir(name):
            yield from (path for depth in ("", "*/", "*/*/") for path in Path(name).glob(depth + MANIFEST))


def _is_newer(path: Path, than: Path) -> bool:
    return path.stat().st_mtime_ns > than.stat().st_mtime_ns


def collect(measured: Measured, run: Run, asked: Mapping[str, Any] | None = None) -> bytes:
    """Measure; the bytes of the part. asked: what `vhs merge` is to make of all."""
    from vhs.runs import parts

    return parts.collect(measured, run.provenance(), asked=asked, typed=output.words())


def write(content: bytes, out: Path, keep: Keeping) -> None:
    """The part, whole or not at all."""
    from vhs.formats.atomic import write_whole

    if is_first():
        write_whole(out, content)
        output.name_product(out)
    keep.discard()


def plan(run: Run, out: Path | None, sbatch: str | None, *, ablating: bool) -> None:
    """What the run would do; or the script that does it in parts."""
    from vhs.runs import plan as plans

    words = plans.in_words(run, ablating=ablating)
    if run.part.count > 1:
        words += f"part        {run.part}: {len(run.data)} of {run.data.total} samples\n"
    if sbatch is None:
        return output.write(words.encode())
    import torch

    from vhs.commands import array_script
    from vhs.commands.array_script import Facts

    assert out is not None
    facts = Facts(
        tile=run.tile, threads=torch.get_num_threads(), on_gpu=run.device.type == "cuda",
        tiles=run.tiles,
    )  # fmt: skip
    typed = output.words()
    output.write(array_script.script(typed, array_script.parse(sbatch, typed), out, facts, words).encode())


def typed_as_whole(typed: tuple[str, ...], out: Path | None) -> str:
    """The command of a part as that of the whole run with this output."""
    import shlex

    words = output.without(typed, ["--part"])
    place = next((index for index, word in enumerate(words) if word.startswith(OUT)), None)
    kept = output.without(words, OUT)
    if place is not None and out is not None:
        kept[place:place] = ["-o", str(out)]
    return shlex.join(kept)
