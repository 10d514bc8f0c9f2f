"""Encoded images to pixels and back. Formats are told by magic bytes, sizes checked before decoding.

Letters: H height, W width, C channels (1 or 3).
"""

from __future__ import annotations

import io
import warnings

import numpy as np
import simplejpeg
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from vhs.errors import InputError

MAX_PIXELS = 64 * 1024 * 1024
MAGIC = {"png": b"\x89PNG\r\n\x1a\n", "jpg": b"\xff\xd8\xff", "webp": b"RIFF"}
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
            return _pixels(PngImageFile(io.BytesIO(data)), channels)
        pixels = _decode_jpeg(data, channels) if kind == "jpg" else None
        return pixels if pixels is not None else _decode_pillow(data, channels)
    except (ValueError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{where}: cannot be decoded: {error}.") from error


def encode_png(pixels_HWC: np.ndarray) -> bytes:
    """A PNG of uint8 pixels; the same bytes for the same pixels and Pillow version."""
    buffer = io.BytesIO()
    image = Image.fromarray(pixels_HWC[..., 0] if pixels_HWC.shape[-1] == 1 else pixels_HWC)
    image.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


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
