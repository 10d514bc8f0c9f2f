"""Images: decoding and encoding, and those that are refused."""

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from vhs.errors import InputError
from vhs.formats import images
from vhs.formats.images import decode, encode_png


class TestImages:
    def test_png_and_jpeg(self) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (13, 7, 3), dtype=np.uint8)
        assert np.array_equal(decode(encode_png(pixels), 3, ""), pixels)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG")
        want = np.asarray(Image.open(io.BytesIO(buffer.getvalue())))
        assert np.array_equal(decode(buffer.getvalue(), 3, ""), want)
        assert decode(buffer.getvalue(), 1, "").shape == (13, 7, 1)

    def test_cmyk_and_sixteen_bit(self) -> None:
        buffer = io.BytesIO()
        Image.new("CMYK", (8, 8), (10, 20, 30, 40)).save(buffer, "JPEG")
        assert decode(buffer.getvalue(), 3, "").shape == (8, 8, 3)

    @pytest.mark.parametrize("kind", ["PNG", "JPEG"])
    def test_truncated_images_are_refused(self, kind: str) -> None:
        buffer = io.BytesIO()
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(buffer, kind)
        with pytest.raises(InputError, match="here: cannot be decoded"):
            decode(buffer.getvalue()[:-900], 3, "here")

    def test_other_bytes_and_bombs(self) -> None:
        with pytest.raises(InputError, match="is not a PNG, JPEG or WebP"):
            decode(b"<svg/>", 3, "x")
        header = (
            b"\x89PNG\r\n\x1a\n"
            + struct.pack(">I", 13)
            + b"IHDR"
            + struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
        )
        with pytest.raises(InputError, match="x: cannot be decoded"):
            decode(header + bytes(4), 3, "x")


def outcome(data: bytes, channels: int = 1) -> object:
    """The pixels with their shape, or what was said."""
    try:
        pixels = decode(data, channels, "here")
        return pixels.shape, pixels.tobytes()
    except InputError as error:
        return str(error)


def saved(image: Image.Image, **how: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **how)
    return buffer.getvalue()


def png(size: tuple[int, int], rows: bytes, *, header: bytes = b"\x08\x00\x00\x00\x00", parts: int = 1) -> bytes:
    """A PNG with right sums of whatever compressed rows, in some data chunks."""
    step = max(1, -(-len(rows) // parts))
    cut = [rows[start : start + step] for start in range(0, len(rows), step)] or [b""]
    chunks = [(b"IHDR", struct.pack(">II", *size) + header), *((b"IDAT", part) for part in cut), (b"IEND", b"")]
    framed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return images.MAGIC["png"] + b"".join(framed)


def plain_pngs() -> Iterator[bytes]:
    rng = np.random.default_rng(0)
    smooth = np.add.outer(np.arange(128), 2 * np.arange(128)).astype(np.uint8)
    for height, width in ((1, 1), (28, 28), (31, 97), (128, 128)):
        for pixels in (rng.integers(0, 256, (height, width), dtype=np.uint8), smooth[:height, :width]):
            yield saved(Image.fromarray(pixels))
            yield saved(Image.fromarray(np.stack([pixels, pixels.T.reshape(height, width), 255 - pixels], -1)))
    for kind in range(5):  # every filter of rows
        rows = rng.integers(0, 256, (9, 12), dtype=np.uint8)
        rows[:, 0] = kind
        yield png((11, 9), zlib.compress(rows.tobytes()))


class TestPlainPngs:
    """Small PNGs of three chunks take a way of their own, which must not be told from the plugin's."""

    def test_they_give_what_the_plugin_gives(self, monkeypatch: pytest.MonkeyPatch) -> None:
        encoded = list(plain_pngs())
        assert all(images._plain_png(data) is not None for data in encoded)
        short = [(outcome(data, 1), outcome(memoryview(data), 3)) for data in encoded]
        monkeypatch.setattr(images, "_plain_png", lambda _data: None)
        assert short == [(outcome(data, 1), outcome(data, 3)) for data in encoded]

    def test_others_are_left_to_the_plugin(self) -> None:
        grey = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8))
        rows = zlib.compress(bytes(9 * 8))
        for data in (
            *(saved(grey.convert(mode)) for mode in ("P", "LA", "RGBA", "1", "I;16")), saved(grey, transparency=3),
            saved(grey, dpi=(72, 72)), png((8, 8), rows, parts=2), png((8, 8), rows, header=b"\x08\0\0\0\1"),
            saved(Image.new("L", (129, 128))), png((0, 8), rows), png((8, 8), rows) + b"x",
        ):  # fmt: skip
            assert images._plain_png(data) is None

    def test_damage_is_told_in_the_plugins_words(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rows = np.random.default_rng(1).integers(0, 5, (5, 7), dtype=np.uint8).tobytes()
        packed = zlib.compress(rows)
        whole = png((6, 5), packed)
        damaged = [whole[:length] for length in range(8, len(whole))]
        damaged += [
            whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :] for at in range(8, len(whole)) for bit in (1, 128)
        ]
        for at in range(len(packed)):  # with the chunk's sum made right again
            damaged += [png((6, 5), packed[:at]), png((6, 5), packed[:at] + bytes([packed[at] ^ 8]) + packed[at + 1 :])]
        damaged += [
            png((6, 6), packed),
            png((6, 4), packed),
            png((7, 5), packed),
            png((6, 5), zlib.compress(rows + rows)),
        ]
        short = [outcome(data) for data in damaged]
        monkeypatch.setattr(images, "_plain_png", lambda _data: None)
        assert short == [outcome(data) for data in damaged]
        assert sum(isinstance(told, str) for told in short) > len(short) / 2
