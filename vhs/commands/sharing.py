"""What commands do with --part and --sbatch: a part of the run in a file of its own, and the script that runs all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vhs import output
from vhs.errors import UsageError
from vhs.world import Part, is_first, parse_part

if TYPE_CHECKING:
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


def refuse(parts: object, given: Mapping[str, object]) -> None:
    """Where there are parts, raises UsageError for what is no sum over images: maps, probes, matches of images moved by
    bad ones, as many images as an interval takes."""
    lone = next((name for name, value in given.items() if value and parts), None)
    if lone is not None:
        beside = " beside --against" if lone == "skip-bad" else ""
        raise UsageError(f"--{lone}{beside}: cannot be added up from parts. Run it apart, without --part.")


def collect(
    measured: Measured, run: Run, out: Path, keep: Keeping, asked: Mapping[str, Any] | None = None
) -> bytes | None:  # fmt: skip
    """Measure; the bytes of the part, None where --resume finds it complete. asked: what `vhs merge` is to make of
    all."""
    from vhs.runs import parts

    if keep.resume and parts.is_complete(out, measured, asked):
        return None
    return parts.collect(measured, run.provenance(), asked=asked, typed=output.words())


def write(content: bytes | None, out: Path, keep: Keeping) -> None:
    """The part, whole or not at all; None for one that is there."""
    from vhs.formats.atomic import write_whole

    if is_first():
        if content is not None:
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


def typed_as_whole(typed: tuple[str, ...], out: Path | None, beside: Sequence[str] = ()) -> str:
    """The command of a part as that of the whole run with this output. beside: options that were said to the merge."""
    import shlex

    words = output.without(typed, ["--part"])
    place = next((index for index, word in enumerate(words) if word.startswith(OUT)), None)
    kept = output.without(words, OUT)
    if place is not None:
        kept[place:place] = [*(["-o", str(out)] if out is not None else []), *beside]
    return shlex.join(kept)
