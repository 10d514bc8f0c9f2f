"""Ways to damage arrays: IDX, npz, and what torch pickles."""

from __future__ import annotations

import gzip
import io
import re
import struct
import zipfile

import numpy as np
from numpy.random import Generator

from tests.faults.damage.blind import NASTY, Mutator, pick


def gzipped(mutate: Mutator) -> Mutator:
    """Damage to what a gzip file holds."""

    def mutated(data: bytes, rng: Generator) -> bytes:
        return gzip.compress(mutate(gzip.decompress(data), rng), 1)

    mutated.__name__ = f"gzipped_{mutate.__name__}"
    return mutated


def idx_header(data: bytes, rng: Generator) -> bytes:
    """A type, a number of dimensions or a size that is not so."""
    made = bytearray(data)
    if rng.random() < 0.5:
        made[int(rng.integers(4))] = int(rng.integers(256))
    else:
        at = 4 * int(rng.integers(1, 4))
        made[at : at + 4] = struct.pack(">I", int(pick((0, 1, 2**31, 2**32 - 1, 65536, int(rng.integers(1000))), rng)))
    return bytes(made)


def as_npz(data: bytes, rng: Generator) -> bytes:
    """An array of another type, shape, name or order, or with a header that lies."""
    if rng.random() < 0.3:
        return _lying(data, rng)
    with np.load(io.BytesIO(data)) as archive:
        arrays = {name: archive[name] for name in archive.files}
    name = pick(sorted(arrays), rng)
    value = arrays[name]
    odd = (
        lambda: value.astype(float), lambda: value[:0], lambda: value[:1], lambda: value[..., None], lambda: value.ravel(),
        lambda: np.array(3), lambda: np.array([None] * len(value), object), lambda: value.astype("S4"), lambda: -1 - value.astype(int),
        lambda: value.astype(np.int64) + 2**40, lambda: np.full(value.shape, np.nan), lambda: np.asfortranarray(value),
        lambda: np.zeros(len(value), [("a", "i4")]), lambda: value.astype(bool), lambda: value.astype(complex), lambda: np.eye(9, dtype=int)[value.ravel() % 9],
    )  # fmt: skip
    if rng.random() < 0.15:
        arrays[pick(NASTY, rng).replace("\0", "") or "x"] = arrays.pop(name)
    else:
        arrays[name] = pick(odd, rng)()
    made = io.BytesIO()
    np.savez(made, **arrays)
    return made.getvalue()


def _lying(data: bytes, rng: Generator) -> bytes:
    """The same archive with digits of one array's header changed."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(made, "w") as new:
        names = old.namelist()
        wrong = pick(names, rng)
        for name in names:
            content = old.read(name)
            if name == wrong:
                head = content[:128]
                digits = pick((b"9", b"99999", b"-1", b"1e9", b"None"), rng)
                content = re.sub(rb"(\()\d+", rb"\g<1>" + digits, head, count=1)[:128].ljust(128) + content[128:]
            new.writestr(name, content)
    return made.getvalue()


def as_pth(data: bytes, rng: Generator) -> bytes:
    """A pickle of torch's with something else in it."""
    import torch

    state = torch.load(io.BytesIO(data), weights_only=True)
    name = pick(sorted(state), rng)
    odd = (
        None, 3, "x", [], {}, torch.zeros(()), torch.zeros(0), state[name].double(), state[name].to(torch.complex64), state,
        state[name].to_sparse(), torch.nn.Linear(2, 2), np.zeros(3), state[name].half(), {"state_dict": state}, state[name] > 0,
    )  # fmt: skip
    state = {**state, name: pick(odd, rng)} if rng.random() < 0.8 else pick(odd, rng)
    made = io.BytesIO()
    torch.save(state, made, _use_new_zipfile_serialization=bool(rng.random() < 0.8))
    return made.getvalue()
