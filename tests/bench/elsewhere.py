"""Reading a set behind a URL: against the same set on disk, and against bare webdataset. `python -m tests.bench.elsewhere`.

The server is a process of its own on this machine, so that what is timed is the reading, not a network. webdataset asks
it through curl, as it does for any URL.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.reading import PHOTOGRAPHS, crop, read, with_pillow
from tests.bench.timing import alternate, machine, say
from vhs.formats import places, subsets
from vhs.formats.sharding import write_set
from vhs.formats.shards import ShardSet
from vhs.formats.split import Split
from vhs.runs import cache, runtime
from vhs.sources import fashion

ROUNDS, FEW = 5, 20


def main() -> None:
    runtime.prepare("cpu", 1, "float32")
    say(machine())
    with tempfile.TemporaryDirectory() as folder:
        os.environ["VHS_CACHE"] = f"{folder}/cache"
        write_set(Path(folder, "png"), fashion.splits()[0])
        write_set(Path(folder, "jpeg"), photographs(), per_tar=50)
        with server(Path(folder)) as url:
            compare(Path(folder), url, "png", "28x28 PNG")
            compare(Path(folder), url, "jpeg", "500x375 JPEG")
            few(Path(folder), url)


def photographs() -> Split:
    encoded = [crop(seed) for seed in range(PHOTOGRAPHS)] * 4
    return Split(
        name="photographs", split="val", classes=("x",), ids=[f"p{number}" for number in range(len(encoded))],
        labels=[0] * len(encoded), channels=3, encoded=lambda position: encoded[position], fingerprint="",
    )  # fmt: skip


@contextmanager
def server(folder: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.web", str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdin is not None
    yield process.stdout.readline().strip()
    process.stdin.close()
    process.wait()


def compare(folder: Path, url: str, name: str, what: str) -> None:
    import webdataset

    local = ShardSet.open(folder / name)
    count = local.manifest.samples

    def from_web() -> None:
        read(ShardSet.open(places.parse(f"{url}/{name}")))

    def anew() -> None:
        shutil.rmtree(folder / "cache", ignore_errors=True)
        from_web()

    def theirs() -> None:
        tars = [f"{url}/{name}/{entry.name}" for entry in local.manifest.tars]
        if name == "png":
            for _ in webdataset.WebDataset(tars, shardshuffle=False).decode("l8").to_tuple("png", "cls"):
                pass
        else:  # to the same 224 px, which webdataset leaves to its users
            for image, _ in webdataset.WebDataset(tars, shardshuffle=False).to_tuple("jpg", "cls"):
                with_pillow(image)

    from_web()
    mine, other, ratio = alternate(from_web, lambda: read(ShardSet.open(folder / name)), rounds=ROUNDS)
    say(f"{what:<13} kept here   {count / mine:8,.0f}/s  on disk    {count / other:8,.0f}/s  ratio {ratio:.2f}")
    mine, other, ratio = alternate(anew, theirs, rounds=ROUNDS)
    say(f"{what:<13} fetched     {count / mine:8,.0f}/s  webdataset {count / other:8,.0f}/s  ratio {ratio:.2f}")


def few(folder: Path, url: str) -> None:
    """A subset of photographs, fetched as excerpts of their tars, against the whole tars."""
    held = {}

    def fetched(largest: float) -> None:
        shutil.rmtree(folder / "cache", ignore_errors=True)
        subsets.LARGEST = largest
        data = ShardSet.open(places.parse(f"{url}/jpeg"))
        cache.decode(data, cache.choose(data, FEW))
        held[largest] = sum(path.stat().st_blocks * 512 for path in (folder / "cache").iterdir())

    mine, other, ratio = alternate(lambda: fetched(0.5), lambda: fetched(0.0), rounds=ROUNDS)
    say(f"{FEW} of {4 * PHOTOGRAPHS} photographs  alone {mine:6.2f} s, {held[0.5] / 1e6:6.1f} MB  whole tars {other:6.2f} s, "
        f"{held[0.0] / 1e6:6.1f} MB  ratio {ratio:.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
