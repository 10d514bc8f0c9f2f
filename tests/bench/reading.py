"""Reading small PNGs: the tar-index reader against webdataset's pipeline, one thread. `python -m tests.bench.reading`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.bench.timing import alternate, say
from vhs.formats.sharding import write_set
from vhs.formats.shards import ShardSet
from vhs.sources import fashion


def main() -> None:
    import webdataset

    split = fashion.splits()[1]
    with tempfile.TemporaryDirectory() as folder:
        write_set(Path(folder), split)
        data = ShardSet.open(Path(folder))
        urls = [str(path) for path in sorted(Path(folder).glob("*.tar"))]

        def ours() -> None:
            for sample in data.samples():
                data.decoded(sample)

        def theirs() -> None:
            for _ in webdataset.WebDataset(urls, shardshuffle=False).decode("l8").to_tuple("png", "cls"):
                pass

        mine, other, ratio = alternate(ours, theirs, rounds=7)
    count = len(split.ids)
    say(f"28x28 PNG: ours {count / mine:,.0f}/s  webdataset {count / other:,.0f}/s  ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
