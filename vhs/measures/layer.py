"""One layer's map on some images, what its values carry and what its heads write, and what follows from them.

Letters: B images, R images times windows, H heads, Q queries, K keys, P patches, T tokens, W features a head, N tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from vhs.models.tokens import CLASS, GLOBAL, WINDOWS, Layout

SINKS = "sinks"
SINK = 3.0
"""A patch is a sink where its norm lies above the image's median by so many median absolute deviations."""


@dataclass(frozen=True)
class Layer:
    """One layer on B images. weights_RHQK: rows sum to 1; carried_RHK: the norm of what each value adds to the residual
    stream at full attention, None where a norm or gate stands between; written_BTHW: each head's output, turned so that
    its norms and angles are those of what it writes, None where the projection is no matrix."""

    layout: Layout
    images: int
    weights_RHQK: Tensor
    carried_RHK: Tensor | None = None
    written_BTHW: Tensor | None = None
    residual_BND: Tensor | None = None

    @property
    def special(self) -> int:
        """Tokens before the patches."""
        return len(self.layout.special)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of tokens that are told apart: those before the patches, and sinks where norms are known."""
        return (*self.layout.special, *([] if self.sinks_BP is None else [SINKS]))

    @cached_property
    def distances_PP(self) -> Tensor:
        return self.layout.distances_PP(self.weights_RHQK.device)

    @cached_property
    def weighted(self) -> Weighted | None:
        """The same with each weight times the norm of what its value carries, rows summing to 1 again."""
        return None if self.carried_RHK is None else Weighted(self, self.carried_RHK)

    @cached_property
    def to_patches(self) -> Tensor:
        """[R, H, P, P]: from patch queries to patches, not renormalised."""
        return self.weights_RHQK[..., self.special :, self.special :]

    @cached_property
    def among_patches(self) -> Tensor:
        """[R, H, P, P]: the same, renormalised."""
        return self.to_patches / self.kept_RHP[..., None] if self.special else self.to_patches

    @cached_property
    def kept_RHP(self) -> Tensor:
        """What of each patch query's attention goes to patches."""
        return self.to_patches.sum(-1).clamp(min=1e-12)

    @cached_property
    def surprise(self) -> Tensor:
        """[R, H, Q, K]: w ln w of every weight."""
        return surprise(self.weights_RHQK)

    @cached_property
    def entropy_RHQ(self) -> Tensor:
        """The entropy of each query's attention, nats."""
        return -self.surprise.sum(-1)

    @cached_property
    def entropy_among_RHP(self) -> Tensor:
        """The entropy of each patch query's attention among patches, renormalised, nats."""
        if not self.special:
            return self.entropy_RHQ
        surprise = self.surprise[..., self.special :, self.special :].sum(-1)
        return (self.kept_RHP.log() - surprise / self.kept_RHP).clamp(min=0)

    @cached_property
    def far(self) -> Tensor:
        """[R, H, P, P]: weights from patches to patches times their distance, px."""
        return self.to_patches * self.distances_PP

    @cached_property
    def distance_RHP(self) -> Tensor:
        """Of each patch query: the attention-weighted distance to patches, not renormalised, px."""
        return self.far.sum(-1)

    @property
    def on_itself_RHP(self) -> Tensor:
        """Of each patch query: its attention on itself."""
        return self.to_patches.diagonal(dim1=-2, dim2=-1)

    @property
    def on_sinks_RHP(self) -> Tensor:
        """Of each patch query: its attention on the image's sinks."""
        assert self.sinks_BP is not None
        return (self.to_patches @ self.sinks_BP[:, None, :, None])[..., 0]

    def on_tokens_RHP(self, places: slice) -> Tensor:
        """Of each patch query: its attention on some of the tokens before the patches."""
        return self.weights_RHQK[..., self.special :, places].sum(-1)

    @cached_property
    def seen_BHP(self) -> Tensor:
        """What a head looks at in an image: the class token's attention to patches, else the patches' mean one."""
        return self.row_of(None)[..., self.special :]

    def row_of(self, whole_RHQ: Tensor | None) -> Tensor:
        """[B, H, N]: the class token's row, else the patches' mean one; each row divided by `whole` first, if given."""
        if CLASS in self.layout.special:
            row = self.weights_RHQK[:, :, 0]
            return row if whole_RHQ is None else row / whole_RHQ[..., :1]
        of_patches = self.weights_RHQK[:, :, self.special :]
        if whole_RHQ is None:
            return of_patches.mean(2)
        return (whole_RHQ[..., self.special :].reciprocal()[:, :, None] @ of_patches)[:, :, 0] / of_patches.shape[2]

    @property
    def looker(self) -> str:
        """Whose queries `seen_BHP` is of."""
        return CLASS if CLASS in self.layout.special else "patches"

    @cached_property
    def sinks_BP(self) -> Tensor | None:
        """1 for the patches whose norm, as they enter the layer's block, is above median + SINK * MAD; else 0."""
        tokens = self.residual_BND
        if self.layout.kind != GLOBAL or tokens is None or tokens.dim() != 3 or tokens.shape[1] != self.layout.queries:
            return None
        norms_BP = tokens[:, self.special :].float().norm(dim=-1)
        middle = norms_BP.median(1, keepdim=True).values
        spread = (norms_BP - middle).abs().median(1, keepdim=True).values
        return (norms_BP > middle + SINK * spread).float()

    def forget(self) -> None:
        """Drop what was derived and is as large as the map; it is made again when it is asked for."""
        for name in ("among_patches", "surprise", "far"):
            self.__dict__.pop(name, None)

    def by_image(self, values_RH: Tensor) -> Tensor:
        """[B, H]: the mean over an image's windows."""
        return values_RH.unflatten(0, (self.images, -1)).mean(1) if self.layout.kind == WINDOWS else values_RH


def surprise(weights: Tensor) -> Tensor:
    """w ln w of each weight, 0 for 0.

    Logarithms are most of what measures of maps cost; torch.xlogy, which looks at each number first, takes three times
    as long.
    """
    return weights.clamp(min=torch.finfo(weights.dtype).tiny).log_().mul_(weights)


@dataclass(frozen=True)
class Weighted:
    """A layer's weights times the norm of what each value carries, rows summing to 1 again; no such map is made, since
    all that is asked of it are sums over keys, products with a vector."""

    layer: Layer
    carried_RHK: Tensor

    @property
    def layout(self) -> Layout:
        return self.layer.layout

    @cached_property
    def _sums_RHQC(self) -> Tensor:
        """Over keys of each row: all that is carried, what patches carry, what sinks do; one product for all."""
        patches = torch.ones_like(self.carried_RHK)
        patches[..., : self.layer.special] = 0
        chosen = [torch.ones_like(patches), patches]
        if self.layer.sinks_BP is not None:
            chosen.append(F.pad(self.layer.sinks_BP, (self.layer.special, 0))[:, None].expand_as(patches))
        return self.layer.weights_RHQK @ (torch.stack(chosen, -1) * self.carried_RHK[..., None])

    @property
    def _whole_RHQ(self) -> Tensor:
        return self._sums_RHQC[..., 0].clamp(min=1e-30)

    def _share_RHP(self, sums: int) -> Tensor:
        special = self.layer.special
        return self._sums_RHQC[..., special:, sums] / self._whole_RHQ[..., special:]

    @cached_property
    def kept_RHP(self) -> Tensor:
        return self._share_RHP(1).clamp(min=1e-12)

    @cached_property
    def distance_RHP(self) -> Tensor:
        special = self.layer.special
        return (self.layer.far @ self.carried_RHK[..., special:, None])[..., 0] / self._whole_RHQ[..., special:]

    @property
    def on_itself_RHP(self) -> Tensor:
        special = self.layer.special
        return self.layer.on_itself_RHP * self.carried_RHK[..., special:] / self._whole_RHQ[..., special:]

    @property
    def on_sinks_RHP(self) -> Tensor:
        return self._share_RHP(2)

    def on_tokens_RHP(self, places: slice) -> Tensor:
        special = self.layer.special
        given = self.layer.weights_RHQK[..., special:, places] * self.carried_RHK[..., None, places]
        return given.sum(-1) / self._whole_RHQ[..., special:]

    @cached_property
    def seen_BHP(self) -> Tensor:
        return self.row_BHN[..., self.layer.special :]

    @cached_property
    def row_BHN(self) -> Tensor:
        """The row that `seen_BHP` is of, tokens before the patches included."""
        return self.layer.row_of(self._whole_RHQ) * self.carried_RHK
