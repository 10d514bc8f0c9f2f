"""Any partition of a run gives the bytes of the whole run."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.commands import damage_an_image
from tests.conftest import CLASSES, toy_images
from tests.partitions import Typed
from tests.trainings import training
from vhs.formats import part_file
from vhs.formats.sharding import write_set
from vhs.formats.shards import ShardSet
from vhs.formats.split import from_arrays
from vhs.runs.journal import Journal
from vhs.training.recipe import Recipe

TILE = ("--tile", 16)
"""85 samples are 6 tiles, the last of 5: of 7 parts one has nothing."""
CASES = {
    "ablate": ("ablate", "{a}", "{b}", "--shift", "contrast:3", "--by", "label", "--fill", "zero,mean", *TILE),
    "pairs": ("ablate", "{a}", "--unit", "pair", *TILE),
    "taylor": ("ablate", "{a}", "{b}", "--shift", "contrast:3", "--method", "taylor", *TILE),
    "evalshift": ("evalshift", "{a}", "{b}", "--shift", "contrast:3,5", "--rejpeg", "--by", "label", *TILE),
    "groups": ("evalshift", "{a}", "--shift", "contrast:3", "--by", "label", "--summary", "groups", *TILE),
    "specialize": ("specialize", "{a}", "{b}", "--shift", "fog:3", "--gradients", "--activity", 2, *TILE),
    "matches": ("specialize", "{a}", "--against", "{b}", "--shift", "contrast:3", *TILE),
}


@pytest.fixture(scope="module")
def other(toy_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another model of the toy shards, of 3 heads a layer."""
    path = tmp_path_factory.mktemp("other") / "other.safetensors"
    recipe = Recipe(depth=3, dim=24, heads=3, patch=14, epochs=2, batch=24, lr=1e-2, seed=4)
    training(path.parent, toy_shards, out=path, recipe=recipe).run(resuming=False)
    return path


@pytest.fixture
def typed(vhs, monkeypatch: pytest.MonkeyPatch) -> Typed:
    return Typed(vhs, monkeypatch)


def filled(name: str, a: Path, b: Path) -> list[object]:
    return [word.format(a=a, b=b) if isinstance(word, str) else word for word in CASES[name]]


@pytest.mark.parametrize("name", CASES)
def test_any_partition_gives_the_bytes_of_the_whole_run(typed, toy_checkpoint: Path, other: Path, name: str) -> None:
    command = filled(name, toy_checkpoint, other)
    whole = typed.whole(command)
    assert len(whole) == (1 if name in ("taylor", "groups", "matches") else 2)
    for count in (2, 3, 7) if name in ("ablate", "evalshift", "specialize") else (3,):
        parts = typed.parts(command, count)
        assert typed.merged(parts[::-1]) == whole, count


def test_parquet_is_equal_too_with_all_that_it_records(typed, toy_checkpoint: Path, other: Path) -> None:
    for name in ("ablate", "evalshift", "specialize"):
        command = filled(name, toy_checkpoint, other)
        whole = typed.whole(command, out="t.parquet")
        assert typed.merged(typed.parts(command, 3), out="t.parquet") == whole


def test_a_summary_is_made_of_all_parts(typed, toy_checkpoint: Path) -> None:
    """With its intervals, which a table without folds would not have."""
    command = ["evalshift", toy_checkpoint, "--shift", "imagenet-c", "--max-samples", 32, "--summary", "mce", *TILE]
    whole = typed.whole(command)
    assert len(whole["t.csv"].splitlines()) == 21
    parts = typed.parts(command, 2)
    assert typed.merged(parts) == whole
    typed(*command, "--normalise-by", "none", "--part", "1/2", "-o", "p.1.part")
    assert "was made with --normalise-by 'none', p.0.part with None" in typed("merge", *parts, code=4)


def test_outcomes_are_those_of_the_whole_run(typed, toy_checkpoint: Path, other: Path) -> None:
    command = [*filled("ablate", toy_checkpoint, other), "--per-sample", "t.outcomes.csv"]
    whole = typed.whole(command)
    assert len(whole) == 3
    parts = typed.parts(command, 3)
    assert not Path("t.outcomes.csv").exists()
    assert typed.merged(parts, "--per-sample", "t.outcomes.csv") == whole
    assert len(typed.merged(parts)) == 2


@pytest.mark.slow
def test_second_tables_go_down_the_pipe_or_elsewhere(vhs, typed, toy_checkpoint: Path, other: Path) -> None:
    for name, option in (("ablate", "--folds"), ("evalshift", "--calibration"), ("specialize", "--pairs")):
        command = filled(name, toy_checkpoint, other)
        whole = vhs(*command, option, "-")[1]
        parts = typed.parts(command, 2)
        assert vhs("merge", *parts, option, "-")[1] == whole
        assert len(typed.merged(parts, option, "t.second.csv")) == 2
    assert vhs("merge", *parts)[1] == vhs(*command)[1]
    Path("list.txt").write_text("\n".join(parts))
    assert vhs("merge", "@list.txt")[1] == vhs(*command)[1]
    assert "these are parts of `vhs specialize`, whose table has none" in typed("merge", *parts, "--folds", "x", code=2)


@contextmanager
def cut(monkeypatch: pytest.MonkeyPatch, after: int) -> Iterator[None]:
    """Runs are interrupted when so many conditions are kept."""
    store, kept = Journal.store, []

    def interrupt(self: Journal, condition: str, results: object) -> None:
        if len(kept) == after:
            raise KeyboardInterrupt
        kept.append(condition)
        store(self, condition, results)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "store", interrupt)
        yield


def test_a_killed_part_is_resumed_and_a_finished_one_ends_at_once(
    typed, toy_checkpoint: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = filled("ablate", toy_checkpoint, other)
    whole = typed.whole(command)
    with cut(monkeypatch, after=1):
        typed(*command, "--part", "1/3", "-o", "p.1.part", code=130)
    assert not Path("p.1.part").exists()
    said = typed(*command, "--part", "2/3", "-o", "p.1.part", "--resume", code=4)
    assert "was begun with --part '1/3', now it is '2/3'" in said
    resumed = (*command, "--part", "1/3", "-o", "p.1.part", "--resume")
    assert "continuing after 1 of 2 conditions" in typed(*resumed)
    before = Path("p.1.part").stat().st_mtime_ns
    assert "p.1.part: part 1/3 is complete already\n" in typed(*resumed)
    os.utime(other)
    assert "complete already" in typed(*resumed, "--seed", 0)  # the same in other words
    assert Path("p.1.part").stat().st_mtime_ns == before
    said = typed(*resumed, "--tile", 32)
    assert "was made with --tile 16, now it is 32; it is measured anew" in said
    assert "was made with --tile 32, now it is 16; it is measured anew" in typed(*resumed)
    for index in (0, 2):
        typed(*command, "--part", f"{index}/3", "-o", f"p.{index}.part")
    assert typed.merged([f"p.{index}.part" for index in range(3)]) == whole


def test_a_part_of_other_weights_is_measured_again_however_old_their_file(
    typed, toy_checkpoint: Path, other: Path, toy_shards: Path
) -> None:
    shutil.copy(toy_checkpoint, "m.safetensors")
    whole = ("evalshift", "m.safetensors", "--data", toy_shards, *TILE)
    command = (*whole, "--part", "0/1", "-o", "0.part", "--resume")
    typed(*command)
    assert "complete already" in typed(*command)
    shutil.copy(other, "m.safetensors")
    os.utime("m.safetensors", (1, 1))
    assert "was made with weights" in typed(*command)
    assert typed.merged(["0.part"])["t.csv"] == typed.whole(whole)["t.csv"]


def test_a_part_keeps_its_tile(typed, toy_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which samples are a part's goes by the tile: with another it would count some twice and others never."""
    command = ("ablate", toy_checkpoint, "--shift", "contrast", "--part", "0/2", "-o", "0.part")
    with cut(monkeypatch, after=1):
        typed(*command, "--tile", 32, code=130)
    said = typed(*command, "--tile", 16, "--resume", code=4)
    assert "was begun with --tile 32, now it is 16" in said
    assert "continuing after 1 of 6" in typed(*command, "--tile", 32, "--resume")


def test_a_run_over_an_older_part_goes_on(typed, toy_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ("ablate", toy_checkpoint, "--shift", "contrast", *TILE, "--part", "0/1", "-o", "0.part")
    typed(*command, "--max-samples", 20)
    with cut(monkeypatch, after=0):
        typed(*command, code=130)
    said = typed(*command, "--resume")
    assert "was made with --max-samples 20, now it is None" in said and "continuing after 0 of 6" in said
    assert "complete already" in typed(*command, "--resume")


@pytest.mark.slow
def test_processes_within_a_part(typed, toy_checkpoint: Path, other: Path) -> None:
    from tests.shells import torchrun

    command = [*filled("ablate", toy_checkpoint, other), "--threads", 1, "--device", "cpu"]
    whole = typed.whole(command)
    typed(*command, "--part", "1/2", "-o", "p.1.part")
    done = torchrun(2, *command, "--part", "0/2", "-o", Path("p.0.part").resolve())
    assert done.returncode == 0, done.stderr
    assert typed.merged(["p.0.part", "p.1.part"]) == whole
    typed(*command, "--part", "0/2", "-o", "alone.part")
    one, two = (part_file.read(Path(name)) for name in ("alone.part", "p.0.part"))
    assert one.archive == two.archive and one.info.samples == two.info.samples == 48


@pytest.mark.slow
def test_stored_shifts_with_other_samples_and_images_before_them(typed, toy_checkpoint, toy_shards, tmp_path) -> None:
    """A stored version of fewer images, in another order; and one with an image that the clean set has not."""
    data = ShardSet.open(toy_shards / "val")
    samples = list(data.samples())[::-1][:50]
    images = np.stack([data.decode(sample) for sample in samples])
    labels = np.array([sample.label for sample in samples])
    for name, spare in (("again", 0), ("more", 1)):
        order = np.array([int(sample.id.rpartition("-")[2]) for sample in samples])
        order[45:] += 1000 * spare
        split = from_arrays(images, labels, name=name, split="val", classes=CLASSES, prefix="val", indices=order)
        write_set(tmp_path / name, replace(split, base={"name": "toy", "hash": data.manifest.hash}), per_tar=50)
        for command in ("specialize", "evalshift") if not spare else ("specialize",):
            words = [command, toy_checkpoint, "--shift", tmp_path / name, *TILE]
            whole = typed.whole(words)
            assert (b"stability_jsd" in whole["t.csv"]) == (command == "specialize" and not spare)
            assert typed.merged(typed.parts(words, 5)) == whole  # the set has 4 tiles, the clean one 6


def test_fill_images_are_compared_with_all_that_are_scored(typed, toy_checkpoint, tmp_path) -> None:
    """One of them is scored in the last tile, so that the first part does not see it."""
    train, labels = toy_images(100, 1)
    val, others = toy_images(85, 2)
    train[17] = val[84]
    for name, split, prefix in (((train, labels), "train", "t"), ((val, others), "val", "v")):
        write_set(tmp_path / split, from_arrays(*name, name="toy", split=split, classes=CLASSES, prefix=prefix))
    command = ["ablate", toy_checkpoint, "--data", "val", "--fill-data", "train", "--fill", "mean", *TILE]
    typed(*command, "-o", "t.csv")
    whole = typed.whole(command)
    parts = typed.parts(command, 3)
    assert "1 fill images are scored too" in typed(*command, "--part", "0/3", "-o", "p.0.part")
    assert typed.merged(parts) == whole


def test_bad_images_are_left_out_of_their_part(typed, toy_checkpoint, toy_shards) -> None:
    shutil.copytree(toy_shards / "val", "val")
    damage_an_image(Path("val/000000.tar"))
    for command in ("evalshift", "ablate"):
        words = [command, toy_checkpoint, "--data", "val", "--skip-bad", "--no-verify", "--shift", "contrast:2", *TILE]
        whole = typed.whole(words)
        parts = typed.parts(words, 3)
        said = typed("merge", *parts, "-o", "t.csv")
        assert "1 bad samples skipped; the first: " in said and "val-00001.png: cannot be decoded" in said
        assert typed.merged(parts) == whole
    typed("specialize", toy_checkpoint, "--against", toy_checkpoint, "--skip-bad", "--part", "0/2", "-o", "x", code=2)


def test_a_part_of_a_damaged_set_is_refused_whichever_tar_it_is(typed, toy_checkpoint, toy_shards) -> None:
    """A part believes no other part's hashes, or a rerun of that one alone would keep what was read of damaged data."""
    shutil.copytree(toy_shards / "val", "val")
    (Path("val") / "shards.digests").unlink(missing_ok=True)
    path = Path("val/000001.tar")
    data = bytearray(path.read_bytes())
    data[600] ^= 1
    path.write_bytes(data)
    for index in range(3):
        words = ("evalshift", toy_checkpoint, "--data", "val", *TILE, "--part", f"{index}/3", "-o", "p")
        assert "000001.tar: its content is not what the manifest says" in typed(*words, code=3)


def test_models_settle_on_the_first_tile_of_all(typed, toy_checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which kernels keep a sample's bits is tried on images, and must not depend on the part."""
    from vhs.runs import remarks

    settle, seen = remarks.settle, []
    monkeypatch.setattr(remarks, "settle", lambda model, tile, stack: seen.append(tile) or settle(model, tile, stack))
    words = ("evalshift", toy_checkpoint, *TILE)
    typed(*words, "-o", "t.csv")
    typed.parts(words, 7)
    assert len(seen) == 8 and all(tile.equal(seen[0]) for tile in seen)


@pytest.mark.slow
def test_regions_and_their_twins(typed, vhs, toy_checkpoint) -> None:
    typed("shard", "chirps", "chirps", "--count", 60, "--side", 128)
    sizes = ("--epochs", 1, "--patch", 32, "--dim", 16, "--heads", 2, "--depth", 2)
    typed("train", "chirps", "-o", "m.safetensors", *sizes)
    whole = typed.whole(["specialize", "m.safetensors", "--regions", *TILE])
    assert b"region_excess" in whole["t.csv"]
    for count in (2, 7):
        parts = typed.parts(["specialize", "m.safetensors", "--regions", *TILE], count)
        assert typed.merged(parts) == whole


@pytest.mark.slow
def test_targets(typed, tmp_path: Path) -> None:
    """Regression, intact and without heads."""
    typed("shard", "chirps", "chirps", "--count", 60, "--side", 128)
    sizes = ("--epochs", 1, "--patch", 32, "--dim", 16, "--heads", 2, "--depth", 2)
    typed("train", "chirps", "-o", "m.safetensors", *sizes)
    for command in ("evalshift", "ablate"):
        words = [command, "m.safetensors", "--shift", "contrast:3", *TILE]
        whole = typed.whole(words)
        for count in (2, 7):
            assert typed.merged(typed.parts(words, count)) == whole


def test_a_part_holds_integers_and_no_row(typed, toy_checkpoint, other) -> None:
    """Of 7 parts the last has no tile: zeros, which add nothing."""
    typed.parts(filled("ablate", toy_checkpoint, other), 7)
    part = part_file.read(Path("p.6.part"))
    assert part.info.samples == 0 and part.info.chosen == 85
    totals = part.add_to([], 0)
    assert len(totals) == 2 and not any(counts.values.any() for tallies in totals for counts in tallies.values())
    assert totals[0]["units"].values.dtype == np.int64
    assert json.dumps(part.info.record)  # plain values


def test_functions_of_python_do_as_the_commands(typed, toy_checkpoint: Path, toy_shards: Path) -> None:
    import vhs

    model, data = vhs.load_model(toy_checkpoint, device="cpu"), vhs.open_shards(toy_shards)
    other = vhs.load_model(toy_checkpoint, device="cpu")
    calls = {
        "ablate": lambda **more: vhs.ablate(model, data, shift="contrast:3", per_sample=True, tile=16, **more),
        "evalshift": lambda **more: vhs.evalshift(model, data, by="label", summary="groups", tile=16, **more),
        "specialize": lambda **more: vhs.specialize(model, data, tile=16, **more),
        "match": lambda **more: [vhs.match(model, other, data, tile=16, **more)],
    }
    for name, call in calls.items():
        whole = call(quiet=True)
        for index in range(3):
            empty = call(part=f"{index}/3", keep=f"{name}.{index}", quiet=True)
            assert type(empty) is type(whole) and not any(len(frame) for frame in empty)
        merged = vhs.merge([f"{name}.{index}" for index in range(3)])
        merged = [merged] if name == "match" else merged
        assert type(merged) is type(whole)
        assert all(one.equals(other) for one, other in zip(merged, whole, strict=True)), name
        typed("merge", *(f"{name}.{index}" for index in range(3)), "-o", "t.csv")
    with pytest.raises(vhs.UsageError, match=r"part 0/2: is kept in a file\. Name it in keep\."):
        vhs.ablate(model, data, part="0/2")
    with pytest.raises(vhs.UsageError, match="normalise_by: a part keeps the name of a file"):
        vhs.evalshift(model, data, summary="mce", normalise_by=whole[0], part="0/2", keep="x", quiet=True)
    with pytest.raises(vhs.MismatchError, match="part 1/3 is missing"):
        vhs.merge("ablate.0", "ablate.2")


def test_more_parts_than_tiles_are_said(vhs, toy_checkpoint: Path) -> None:
    for tile, count, told in ((96, 2, True), (48, 2, False)):
        code, _, err = vhs("evalshift", toy_checkpoint, "--tile", tile, "--part", f"0/{count}", "-o", f"{tile}.part")
        assert code == 0 and ("name a smaller --tile to spread them" in err) == told
    assert "85 samples are 1 tile of 96, shared by 2 parts" in vhs(
        "evalshift", toy_checkpoint, "--tile", 96, "--part", "1/2", "-o", "x.part"
    )[2]  # fmt: skip
