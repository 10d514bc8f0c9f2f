"""What `vhs merge` refuses, and by which name; what other commands say of a part."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.partitions import Typed
from vhs.counts import Counts
from vhs.errors import InputError, UsageError
from vhs.formats import part_file
from vhs.formats.part_file import PartInfo, Tallies
from vhs.formats.typed_json import build, plain
from vhs.records import merging
from vhs.records.record import Record
from vhs.world import Part, parse_part

TILE = ("--tile", 16)


@pytest.fixture
def typed(vhs, monkeypatch: pytest.MonkeyPatch) -> Typed:
    return Typed(vhs, monkeypatch)


@pytest.fixture
def parts(typed: Typed, toy_checkpoint: Path) -> list[str]:
    return typed.parts(["evalshift", toy_checkpoint, *TILE], 3)


def test_what_is_missing_or_there_twice_is_named(typed: Typed, toy_checkpoint: Path, parts: list[str]) -> None:
    a, b, c = parts
    assert typed("merge", a, c, code=4) == (
        "vhs merge: part 1/3 is missing: 2 of 3 were named. Run what is missing, or name its file.\n"
    )
    assert "parts 0/3, 2/3 are missing: 1 of 3 were named" in typed("merge", b, code=4)
    Path("copy").write_bytes(Path(b).read_bytes())
    assert "copy: is part 1/3 of the run, and so is p.1.part. Name each part once." in typed(
        "merge", a, b, c, "copy", code=4
    )
    typed("evalshift", toy_checkpoint, *TILE, "--part", "1/4", "-o", "q.part")
    said = typed("merge", a, "q.part", c, code=4)
    assert "q.part: is part 1/4, p.0.part is part 0/3: 3 and 4 parts do not add up" in said
    assert not Path("t.csv").exists()


OTHERWISE = {
    "seed": (("--seed", 1), "--seed 1, p.0.part with 0"),
    "shift": (("--shift", "fog:2"), "--shift [['clean', 'stored', None, False], ['imagenet-c/fog:2', "),
    "samples": (("--max-samples", 40), "--max-samples 40, p.0.part with None"),
    "groups": (("--by", "label"), "--by ['label'], p.0.part with []"),
    "tile": (("--tile", 32), "--tile 32, p.0.part with 16"),
    "precision": (("--precision", "bf16"), "--precision 'bf16', p.0.part with 'float32'"),
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_unlike_runs_are_told_apart_by_option(typed, toy_checkpoint: Path, parts: list[str], name: str) -> None:
    options, words = OTHERWISE[name]
    typed("evalshift", toy_checkpoint, *TILE, *options, "--part", "1/3", "-o", "q.part")
    said = typed("merge", parts[0], "q.part", parts[2], "-o", "t.csv", code=4)
    assert f"q.part: was made with {words}" in said and said.count("\n") == 1
    assert not Path("t.csv").exists()


def test_other_commands_and_models_are_told(typed, toy_checkpoint: Path, parts: list[str]) -> None:
    typed("ablate", toy_checkpoint, *TILE, "--part", "1/3", "-o", "q.part")
    assert "was made with command or --method 'ablate', p.0.part with 'evalshift'" in typed(
        "merge", parts[0], "q.part", parts[2], code=4
    )


def test_what_a_part_is_told_to_do_and_what_not(typed, vhs, toy_checkpoint: Path) -> None:
    one = ("--part", "0/2")
    for words, code, message in (
        (("evalshift", toy_checkpoint, *one), 2, "--part 0/2: is kept in a file. Name it with -o"),
        (("evalshift", toy_checkpoint, "--part", "2/2", "-o", "x"), 2, "--part 2/2: expected I/N with I from 0 to N"),
        (("evalshift", toy_checkpoint, "--part", "1", "-o", "x"), 2, "--part 1: expected I/N"),
        (("evalshift", toy_checkpoint, *one, "-o", "x", "--calibration", "c.csv"), 2, "Say it to `vhs merge`."),
        (("ablate", toy_checkpoint, *one, "-o", "x", "--folds", "-"), 2, "--folds: is of the whole run"),
        (
            ("ablate", toy_checkpoint, *one, "-o", "x", "--half-width", ".1"),
            2,
            "--half-width: cannot be added up from parts",
        ),
        (
            ("ablate", toy_checkpoint, "--half-width", ".1", "-o", "x.csv", "--dry-run", "--sbatch", "3"),
            2,
            "--half-width: cannot be added up from parts",
        ),
        (("specialize", toy_checkpoint, *one, "-o", "x", "--maps", "m.safetensors"), 2, "cannot be added up from"),
        (("specialize", toy_checkpoint, *one, "-o", "x", "--probe", "p.csv"), 2, "cannot be added up from parts"),
        (("ablate", toy_checkpoint, "--sbatch", "4", "-o", "x.csv"), 2, "Say --dry-run, and no --part."),
        (("ablate", toy_checkpoint, "--dry-run", "--sbatch", "4"), 2, "Name it with -o, such as -o heads.csv"),
        (("ablate", toy_checkpoint, "--dry-run", "--sbatch", "0", "-o", "x.csv"), 2, "expected a number of parts"),
        (("merge", "none.part"), 3, "none.part: cannot be read: No such file"),
        (("merge", toy_checkpoint), 3, "is no part of a run. `vhs ablate"),
    ):
        said = typed(*words, code=code)
        assert message in said and said.count("\n") == 1, said
    assert not Path("x").exists()


def test_parts_are_described_and_are_no_tables(typed, vhs, toy_checkpoint: Path, parts: list[str]) -> None:
    code, out, _ = vhs("info", parts[1])
    assert code == 0 and "1/3 of `vhs evalshift`; `vhs merge` adds all parts" in out
    assert "toy/val, 32 of 85 samples" in out and "1: clean" in out and "made by     vhs evalshift" in out
    for command in (("plot",), ("compare",), ("report",), ("info", "--say")):
        said = typed(*command, parts[1], code=3)
        assert "p.1.part: is part 1/3 of a run, no table. `vhs merge` adds all parts." in said, command
    assert "part 1/3 of a run" in typed("evalshift", toy_checkpoint, "--shift", "imagenet-c", "--max-samples", 16,
                                        "--summary", "mce", "--normalise-by", parts[1], code=3)  # fmt: skip


def test_merging_and_describing_do_without_torch(parts: list[str]) -> None:
    for words in (["merge", *parts, "-o", "t.csv"], ["info", parts[0]]):
        code = f"import sys\nfrom vhs.cli import main\ncode = main({words!r})\nprint(code, 'torch' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "0 False", done.stderr


def test_damage_is_noticed_wherever_it_is(typed, parts: list[str]) -> None:
    whole = Path(parts[1]).read_bytes()
    rng = np.random.default_rng(0)
    for place in (*rng.integers(9, len(whole), 40).tolist(), len(whole) - 1):
        broken = bytearray(whole)
        broken[place] ^= 1 << int(rng.integers(8))
        Path(parts[1]).write_bytes(broken)
        assert "p.1.part: is damaged or cut off" in typed("merge", *parts, code=3)
    for size in (9, 20, 60, len(whole) - 1):
        Path(parts[1]).write_bytes(whole[:size])
        assert "p.1.part: is damaged or cut off" in typed("merge", *parts, code=3)


def sealed(header: dict, archive: bytes) -> bytes:
    """A part with a sound digest, whatever is in it."""
    text = zlib.compress(json.dumps(header).encode())
    body = struct.pack("<Q", len(text)) + text + archive
    return part_file.MAGIC + part_file._digest(body) + body


def opened(data: bytes) -> tuple[dict, bytes]:
    body = data[len(part_file.MAGIC) + part_file.DIGEST :]
    (length,) = struct.unpack("<Q", body[:8])
    return json.loads(zlib.decompress(body[8 : 8 + length])), body[8 + length :]


def set_key(key: str, value: object) -> Callable[[dict], None]:
    return lambda header: header.update({key: value})


@pytest.mark.parametrize(
    "spoil",
    [
        set_key("format", 2), set_key("index", 3), set_key("index", -1), set_key("count", "3"), set_key("record", {}),
        set_key("tallies", [[0, 0, "view0", ["n"], [-1, 1], "int64", False]]),
        set_key("tallies", [[0, 0, "view0", ["n"], [1 << 40, 1], "int64", False]]),
        set_key("tallies", [[0, 0, "view0", ["n"], [1], "object", False]]),
        set_key("tallies", [[0, 9, "view0", ["n"], [1, 1], "int64", True]]), set_key("tallies", []),
        lambda header: header.pop("fingerprint"), lambda header: header["record"].update(measured="dreams"),
        lambda header: header["record"].update(conditions=[]), lambda header: header["record"].update(models=[1]),
    ],
)  # fmt: skip
def test_what_nobody_wrote_is_refused_in_one_line(typed, parts: list[str], spoil: Callable[[dict], None]) -> None:
    header, archive = opened(Path(parts[0]).read_bytes())
    spoil(header)
    Path(parts[0]).write_bytes(sealed(header, archive))
    for words in (("merge", *parts), ("merge", parts[0], parts[1], parts[2], parts[0])):
        found = typed._vhs(*words)
        assert found[0] in (3, 4) and found[2].count("\n") == 1 and not found[1], found


def test_a_bomb_is_not_unpacked(parts: list[str]) -> None:
    header, _ = opened(Path(parts[0]).read_bytes())
    packed = io.BytesIO()
    np.savez_compressed(packed, **{"0": np.zeros(1 << 27, np.int32)})
    with pytest.raises(InputError, match="would unpack to"):
        part_file.from_bytes(sealed(header, packed.getvalue()), "x")


def test_tallies_come_back_as_they_went_in() -> None:
    """Sparse and dense, of every width, negative too: by adding them to nothing, twice."""
    rng = np.random.default_rng(0)
    held: list[dict[str, Counts]] = []
    for _ in range(2):
        sparse = np.zeros((7, 20, 3), np.int64)
        sparse[rng.integers(0, 7, 3), rng.integers(0, 20, 3)] = rng.integers(-(1 << 60), 1 << 60, (3, 3))
        held.append({
            "sparse": Counts(sparse, ("a", "b", "c")), "dense": Counts(rng.integers(-200, 200, (4, 2)), ("a", "b")),
            "none": Counts(np.zeros((0, 20, 3), np.int64), ("a", "b", "c")),
            "bits": Counts(rng.integers(0, 2, (50, 2)).astype(np.uint8), ("present", "byte0")),
        })  # fmt: skip
    tallies = Tallies()
    tallies.add([{}, {}])
    tallies.add(held)
    info = PartInfo(index=0, count=1, fingerprint={}, record={})
    part = part_file.from_bytes(tallies.to_bytes(info), "x")
    assert replace(part.info, tallies=()) == info
    totals = part.add_to([], 1)
    for found, want in zip(totals, held, strict=True):
        for name, counts in want.items():
            assert found[name].fields == counts.fields and found[name].values.dtype == counts.values.dtype
            assert np.array_equal(found[name].values, counts.values), name
    totals = part.add_to(totals, 1)
    assert np.array_equal(totals[0]["sparse"].values, 2 * held[0]["sparse"].values)


def test_records_come_back_as_they_went_in(parts: list[str]) -> None:
    raw = part_file.read(Path(parts[0])).info.record
    record = build(Record, json.loads(json.dumps(raw)))
    assert plain(record) == raw and record.conditions[0].keys["data"] == "toy/val"
    for spoil in ({"classes": "5"}, {"targets": 3}, {"models": None}, {"rescale": 1}):
        with pytest.raises((ValueError, KeyError)):
            build(Record, raw | spoil)


def test_no_parts_are_no_run() -> None:
    with pytest.raises(UsageError, match="names no part"):
        merging.merge([])


ARRAY = ("ID", "COUNT", "MIN", "MAX", "STEP")


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ((2, 7), (2, 7)), ((2, 7, 0, 6, 1), (2, 7)), ((3, 7, 1, 7, 1), (2, 7)), ((14, 3, 10, 18, 4), (1, 3)),
        ((5, 2, 3, 5, 1), None), ((5, 3, 1, 9, 2), None), ((4, 3, 0, 2, 1), None), ((4,), None), ((), None),
    ],
)  # fmt: skip
def test_a_task_of_an_array_knows_its_part(monkeypatch, values: tuple[int, ...], part: tuple[int, int] | None) -> None:
    for name, value in zip(ARRAY, (*values, *[None] * 5), strict=False):
        if value is None:
            monkeypatch.delenv(f"SLURM_ARRAY_TASK_{name}", raising=False)
        else:
            monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))
    assert parse_part(None) is None and parse_part("0/3") == Part(0, 3)  # it decides only where auto is asked for
    if part is not None:
        assert parse_part("auto") == Part(*part)
    else:
        with pytest.raises(UsageError, match="--part auto"):
            parse_part("auto")


def test_processes_of_parts_are_virtual_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    monkeypatch.setenv("WORLD_SIZE", "3")
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        taken += [Part(index, 4).share() for index in range(4)]
    assert sorted(taken) == [(rank, 12) for rank in range(12)]
