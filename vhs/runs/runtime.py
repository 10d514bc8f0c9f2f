"""Process state, set once at the start of a run: threads, allocator, device, precision."""

from __future__ import annotations

import ctypes
import platform
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vhs.errors import UsageError, choices
from vhs.world import local_rank, world

if TYPE_CHECKING:
    import torch
    from timm.models.vision_transformer import VisionTransformer

    from vhs.models.model import Model

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
PRECISIONS = ("float32", "tf32", "bf16")
TILE_STEP, LARGEST_TILE = 16, 1 << 16
"""A tile of a multiple of 16 samples gives a sample the same bits wherever it stands in the tile."""
CPU_ROW_BYTES, GPU_SHARE, GPU_ROWS = 16 << 20, 0.02, 256
"""Widest activation of one stack of variants: 16 MiB stays near a CPU's caches; on a GPU a share of all its memory
(not of what is free, or the tile, and with it the last bits, would depend on who else is there); or a fixed number of
images for a network whose activations are not known."""


def check(device: str, precision: str, tile: int | None) -> None:
    """Raises UsageError for options that no machine could meet; does not import torch."""
    if precision not in PRECISIONS:
        raise UsageError(f"--precision {precision}: expected {choices(PRECISIONS)}.")
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", device):
        raise UsageError(f"--device {device}: expected auto, cpu, cuda or cuda:N.")
    check_tile(tile)


def check_tile(tile: int | None) -> None:
    """Raises UsageError for a tile that is no positive multiple of TILE_STEP; None is chosen by memory."""
    if tile is not None and (not TILE_STEP <= tile <= LARGEST_TILE or tile % TILE_STEP):
        raise UsageError(f"--tile {tile}: expected a positive multiple of {TILE_STEP}, at most {LARGEST_TILE}.")


def prepare(device: str, threads: int | None, precision: str) -> torch.device:
    """Set threads, allocator and matrix precision for this process; returns the device.

    Raises UsageError for a device or precision that is not to be had.
    """
    check(device, precision, None)
    keep_freed_memory()
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    chosen = _device(device)
    set_precision(precision)
    return chosen


def set_precision(precision: str) -> None:
    """Whether float32 products may run in TF32: only under --precision tf32."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"


def keep_freed_memory() -> None:
    """Ask glibc to keep freed memory: fresh temporaries above its threshold page-fault at every use.

    Measured: without this the prefix-reusing sweep is 1.0 to 1.65 times the naive loop's speed, with
    it 2.2 to 2.6 times. Does nothing where the C library is another.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def _device(name: str) -> torch.device:
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"--device {name}: torch sees no CUDA device here. Use --device cpu.")
    if device.type == "cuda" and device.index is None and world()[1] > 1:
        device = torch.device("cuda", local_rank())
        torch.cuda.set_device(device)
    return device


def fit(models: Sequence[Model], samples: int, tile: int | None) -> tuple[int, int]:
    """(tile, stack): samples a tile, and variants stacked on it, for the widest of `models`.

    tile: as asked for with --tile; None chooses by memory, and then evenly so that the last tile is
    nearly full. Raises UsageError for a tile that is no positive multiple of 16.
    """
    check_tile(tile)
    rows = min(_rows(model) for model in models)
    heads = max((max(model.grid.per_layer) for model in models if model.has_heads), default=1)
    if tile is None:
        most = max(TILE_STEP, rows // min(heads, 4) // TILE_STEP * TILE_STEP)
        tiles = -(-samples // most)
        tile = -(-samples // (tiles * TILE_STEP)) * TILE_STEP
    return tile, max(1, min(heads + 1, rows // tile))


def _rows(model: Model) -> int:
    """Samples times variants that fit one stack."""
    import torch

    on_gpu = model.device.type == "cuda"
    if model.plain is None:
        return GPU_ROWS if on_gpu else TILE_STEP
    budget: float = torch.cuda.get_device_properties(model.device).total_memory * GPU_SHARE if on_gpu else CPU_ROW_BYTES
    return max(TILE_STEP, int(budget // row_bytes(model.plain)))


def row_bytes(net: VisionTransformer) -> int:
    """Bytes of the widest activation of one image, float32."""
    from vhs.models import seam
    from vhs.models.prefix import token_count

    attended = 3 * seam.attention(seam.blocks(net)[0]).attn_dim
    widest = max(net.get_parameter("blocks.0.mlp.fc1.weight").shape[0], attended, net.embed_dim)
    return token_count(net) * widest * 4


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this is a device's or the host's memory running out."""
    import torch

    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "DefaultCPUAllocator" in str(error)


def smaller(tile: int) -> int | None:
    """About half of `tile`, a multiple of TILE_STEP; None when there is no smaller one."""
    return tile // 2 // TILE_STEP * TILE_STEP or None


def product_rate(device: torch.device, precision: str = "float32") -> float:
    """Multiply-adds a second of a 1024 x 1024 matrix product on `device`, timed for a moment."""
    import time

    import torch

    a = torch.randn(1024, 1024, device=device, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    times = []
    for _ in range(8):
        begun = time.perf_counter()
        (a @ a)[0, 0].item()
        times.append(time.perf_counter() - begun)
    return 1024**3 / min(times)
