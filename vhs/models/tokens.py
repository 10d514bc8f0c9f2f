"""What the tokens of a layer's map are: which stand before the patches, and where in the image the patches lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt, prod

import torch
from torch import Tensor, nn

CLASS, DISTILLATION, REGISTER = "class", "distillation", "register"
MOST_SPECIAL = 8
"""Tokens before the patches that are looked for where a network does not say how many it has."""
GLOBAL, WINDOWS, POOLED_KEYS, POOLING = "global", "windows", "pooled keys", "pooling"


@dataclass(frozen=True)
class Layout:
    """What one layer's map is of. kind: of all tokens to all; inside windows; to fewer keys; of one query that pools.

    queries, keys: how many; windows: how many an image has. special: the names of the tokens before the patches; grid:
    rows and columns of the patches, in windows of one of them, None where the shape does not tell; patch: height and
    width of one, px; arrangement: where windows lie, if not side by side from the corner.
    """

    kind: str
    queries: int
    keys: int
    windows: int = 1
    special: tuple[str, ...] = ()
    grid: tuple[int, int] | None = None
    patch: tuple[float, float] = (1.0, 1.0)
    arrangement: str = ""

    def centres_P2(self, device: torch.device) -> Tensor:
        """float32 [P, 2]: rows and columns of the patches, from 0, by rows."""
        assert self.grid is not None
        rows, columns = (torch.arange(side, device=device) for side in self.grid)
        return torch.stack([part.flatten() for part in torch.meshgrid(rows, columns, indexing="ij")], 1).float()

    def distances_PP(self, device: torch.device) -> Tensor:
        """float32 [P, P]: Euclidean distance in px between patch centres."""
        down, across = (
            centre * side for centre, side in zip(self.centres_P2(device).unbind(1), self.patch, strict=True)
        )
        return ((down[:, None] - down) ** 2 + (across[:, None] - across) ** 2).sqrt()


def layout_of(net: nn.Module, attention: nn.Module, shape: Sequence[int], images: int, size: tuple[int, int]) -> Layout:
    """The layout of a layer's map. shape: of the map [B * windows, H, Q, K] on so many images of `size` px.

    More rows than images are windows; one query pools; fewer keys than queries were pooled.
    """
    rows, _, queries, keys = shape
    if rows > images:
        return _in_windows(net, attention, queries, keys, rows // images, size)
    kind = POOLING if queries == 1 else GLOBAL if queries == keys else POOLED_KEYS
    special, grid = _special(net, queries, size)
    if kind != GLOBAL or grid is None:
        return Layout(kind, queries, keys)
    return Layout(kind, queries, keys, 1, special, grid, (size[0] / grid[0], size[1] / grid[1]))


def _in_windows(
    net: nn.Module, attention: nn.Module, queries: int, keys: int, windows: int, size: tuple[int, int]
) -> Layout:  # fmt: skip
    """Where the module says what its windows measure, their patches have places; a dilated grid's say nothing, and
    where windows do not tile the image, some of their tokens are padding."""
    side = getattr(attention, "window_size", None)
    window = (side, side) if isinstance(side, int) else tuple(side or ())
    whole = grid_of(queries * windows, size)
    if len(window) != 2 or prod(window) != queries or queries != keys or whole is None or not _tiled(net, whole):
        return Layout(WINDOWS, queries, keys, windows, arrangement=_arrangement(net, attention))
    patch = size[0] / whole[0], size[1] / whole[1]
    return Layout(WINDOWS, queries, keys, windows, (), window, patch, _arrangement(net, attention))


def _arrangement(net: nn.Module, attention: nn.Module) -> str:
    """Where windows lie, as the block says that owns the attention: shifted (Swin), or side by side or spread over the
    image (MaxViT); equal windows that lie otherwise hold other pixels."""
    owner = next((module for module in net.modules() if any(child is attention for child in module.children())), None)
    shift = getattr(owner, "shift_size", 0)
    sides = (shift, shift) if isinstance(shift, int) else tuple(shift)
    said = [f"shifted by {'x'.join(map(str, sides))}"] if any(sides) else []
    if getattr(owner, "partition_block", True) is False:
        said.append("spread over the image")
    return ", ".join(said)


def _tiled(net: nn.Module, whole: tuple[int, int]) -> bool:
    """Whether a grid is the network's own, or that merged by whole numbers."""
    own = getattr(getattr(net, "patch_embed", None), "grid_size", None)
    return own is None or all(side % part == 0 for side, part in zip(own, whole, strict=True))


def special_of(net: nn.Module, tokens: int, size: tuple[int, int]) -> tuple[str, ...]:
    """The names of the tokens before the patches, of so many tokens of an image of `size` px; none where the numbers do
    not tell."""
    return _special(net, tokens, size)[0]


def _special(net: nn.Module, queries: int, size: tuple[int, int]) -> tuple[tuple[str, ...], tuple[int, int] | None]:
    """(the names of the tokens before the patches, the patches' grid or None)."""
    said = getattr(net, "num_prefix_tokens", None)
    counts = dict.fromkeys((said, 0)) if isinstance(said, int) else range(MOST_SPECIAL + 1)  # they may come in later
    for count in counts:
        grid = _said_grid(net, queries - count) or grid_of(queries - count, size)
        if grid is not None:
            return names(net, count), grid
    return (), None


def names(net: nn.Module, count: int) -> tuple[str, ...]:
    """Of the first `count` tokens: class token, distillation token, registers."""
    present = [(CLASS, "cls_token"), (DISTILLATION, "dist_token")]
    named = [name for name, attribute in present if getattr(net, attribute, None) is not None][:count]
    return (*named, *[REGISTER] * (count - len(named)))


def _said_grid(net: nn.Module, patches: int) -> tuple[int, int] | None:
    grid = getattr(getattr(net, "patch_embed", None), "grid_size", None)
    return tuple(grid) if grid and prod(grid) == patches else None


def grid_of(patches: int, size: tuple[int, int]) -> tuple[int, int] | None:
    """Rows and columns of `patches` square cells that fill an image of `size` px; None where none do."""
    height, width = size
    rows = isqrt(max(patches, 0) * height // width)
    fits = rows > 0 and patches % rows == 0 and rows * width == patches // rows * height
    return (rows, patches // rows) if fits else None


def tokens_first(by_head: Tensor, rows: int) -> Tensor:
    """[rows, tokens, H, features] of [..., H, features], which may be of no heads."""
    heads, features = by_head.shape[-2:]
    return by_head.reshape(rows, prod(by_head.shape[:-2]) // rows, heads, features)
