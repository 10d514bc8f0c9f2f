"""Encoded images to pixels and back. Formats are told by magic bytes, sizes checked before decoding.

Letters: H height, W width, C channels (1 or 3).
"""

from __future__ import annotations

import io
import warnings
import zlib

import numpy as np
import simplejpeg
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from vhs.errors import InputError

MAX_PIXELS = 64 * 1024 * 1024
MAGIC = {"png": b"\x89PNG\r\n\x1a\n", "jpg": b"\xff\xd8\xff", "webp": b"RIFF"}
PLAIN = {b"\x08\x00\x00\x00\x00": "L", b"\x08\x02\x00\x00\x00": "RGB"}
"""Modes of PNGs by what follows the sides in their header: 8 bits, grey or RGB, not interlaced."""
PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
SMALL = 1 << 14
"""Pixels up to which opening a PNG takes longer than decoding it."""
SUFFIXES = ("png", "jpg", "jpeg", "webp")


def suffix_of(data: bytes | memoryview) -> str | None:
    """`png`, `jpg` or `webp` by the first bytes; None for anything else."""
    head = bytes(data[:12])
    for name, magic in MAGIC.items():
        if head.startswith(magic) and (name != "webp" or head[8:] == b"WEBP"):
            return name
    return None


def decode(data: bytes | memoryview, channels: int, where: str) -> np.ndarray:
    """uint8 [H, W, C]: grey for one channel (luminance), RGB for three.

    Raises InputError naming `where` for what is no image, is truncated, or is larger than 64 Mpx.
    """
    kind = suffix_of(data)
    if kind is None:
        raise InputError(f"{where}: is not a PNG, JPEG or WebP image.")
    try:
        if kind == "png":
            return _pixels(_plain_png(data) or PngImageFile(io.BytesIO(data)), channels)
        pixels = _decode_jpeg(data, channels) if kind == "jpg" else None
        return pixels if pixels is not None else _decode_pillow(data, channels)
    except (ValueError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{where}: cannot be decoded: {error}.") from error


GREY = ("1", "L", "I;16")
"""Pillow's modes of images without colour."""


def has_colour(data: bytes | memoryview) -> bool:
    """Whether an image that can be decoded is stored with colours, be they all grey."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Image.open(io.BytesIO(data)).mode not in GREY


def encode_png(pixels_HWC: np.ndarray) -> bytes:
    """A PNG of uint8 pixels; the same bytes for the same pixels and Pillow version."""
    buffer = io.BytesIO()
    image = Image.fromarray(pixels_HWC[..., 0] if pixels_HWC.shape[-1] == 1 else pixels_HWC)
    image.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def _plain_png(data: bytes | memoryview) -> Image.Image | None:
    """A small 8-bit PNG, grey or RGB, of header, one data chunk and end with the right sums, by Pillow's decoder alone,
    since its plugin takes twice as long. None for any other, and for what does not decode: the plugin says why."""
    head, size = bytes(data[:41]), len(data) - 57
    mode = PLAIN.get(head[24:29])
    if mode is None or not 0 < size < 8 * SMALL or head[33:] != size.to_bytes(4, "big") + b"IDAT":
        return None
    width, height = int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    if head[8:16] != b"\0\0\0\rIHDR" or data[-12:] != PNG_END or not 0 < width * height <= SMALL:
        return None
    sums = zlib.crc32(head[12:29]), zlib.crc32(data[37:-16])
    if sums != (int.from_bytes(head[29:33], "big"), int.from_bytes(data[-16:-12], "big")):
        return None
    try:
        return Image.frombytes(mode, (width, height), data[41:-16], "zip", mode, 0)
    except ValueError:
        return None


def _decode_jpeg(data: bytes | memoryview, channels: int) -> np.ndarray | None:
    """By simplejpeg, strictly (otherwise a truncated file decodes); None for CMYK, which Pillow reads."""
    height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
    _check_size(width, height)
    if colorspace == "CMYK" or colorspace == "YCCK":
        return None
    return simplejpeg.decode_jpeg(data, colorspace="RGB" if channels == 3 else "Gray", strict=True)


def _decode_pillow(data: bytes | memoryview, channels: int) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of large images; our own bound is stricter
        return _pixels(Image.open(io.BytesIO(data)), channels)


def _pixels(image: Image.Image, channels: int) -> np.ndarray:
    """uint8 [H, W, C]. For a 28 x 28 PNG Pillow's wrapping costs ten times the decoding, so nothing is done twice."""
    _check_size(*image.size)
    mode = "RGB" if channels == 3 else "L"
    if image.mode.startswith("I;16"):  # Pillow would clip; the upper byte, as it takes of coloured 16-bit images
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode != mode:
        image = image.convert(mode)
    return np.frombuffer(image.tobytes(), np.uint8).reshape(image.height, image.width, channels)


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ValueError(f"it is {width}x{height} px, more than {MAX_PIXELS // 2**20} Mpx")
