"""Images: decoding and encoding, and those that are refused."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from vhs.errors import InputError
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
