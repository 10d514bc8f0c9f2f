"""What probes read of each head: its output at one token, what it gives the logits, and what its block received.

Letters: B images, T tokens, G heads of the model, H of a layer, W features of a head, D width, C classes, L layers.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from vhs.measures.direct import direct_logits
from vhs.models.discovery import Seam
from vhs.models.hooks import hook_before, keep_input
from vhs.models.model import Model
from vhs.models.tokens import CLASS, special_of, tokens_first


@dataclass(frozen=True)
class Features:
    """Of B images. heads: for each layer [B, H, W]; received: for each layer [B, D], what its block received;
    direct_BGC: what each head gives the logits, None where the way to them is not linear. tokens: for each layer which
    token was read, `class` or `patches` (their mean)."""

    heads: list[Tensor]
    received: list[Tensor]
    direct_BGC: Tensor | None
    tokens: list[str]


def features(model: Model, images_BCHW: Tensor) -> Features:
    """One pass over uint8 images, without gradients."""
    seams = model.engine.seams
    arrived: list[Tensor] = []
    entered: list[Tensor] = []
    ended: list[Tensor] = []
    with ExitStack() as stack, torch.inference_mode(), model.autocast():
        for place in seams:
            stack.enter_context(hook_before(place.projection, partial(keep_input, arrived)))
            stack.enter_context(hook_before(_block(model, place), partial(keep_input, entered)))
        if model.plain is not None:
            stack.enter_context(hook_before(model.plain.norm, partial(keep_input, ended)))
        model.net(model.preprocess(images_BCHW))
        given_GBC = direct_logits(model, arrived, ended[0] if ended else None)
    images, size = len(images_BCHW), (model.preprocess.height, model.preprocess.width)
    heads, received, tokens = [], [], []
    for place, values, before in zip(seams, arrived, entered, strict=True):
        of_tokens = tokens_first(place.by_head(values).float(), images)
        special = special_of(model.net, of_tokens.shape[1], size)
        heads.append(_at_token(of_tokens, special))
        received.append(_at_token(_in_rows(before.float(), images, place), special))
        tokens.append(CLASS if CLASS in special else "patches")
    direct_BGC = None if given_GBC is None else given_GBC.transpose(0, 1)
    return Features(heads, received, direct_BGC, tokens)


def _at_token(values_BTX: Tensor, special: tuple[str, ...]) -> Tensor:
    """The class token's, else the patches' mean; of what has fewer tokens (one, that pools) the mean."""
    if CLASS in special:
        return values_BTX[:, 0]
    return values_BTX[:, len(special) if values_BTX.shape[1] > len(special) else 0 :].mean(1)


def _in_rows(values: Tensor, images: int, place: Seam) -> Tensor:
    """[B, T, D] of what a block received: tokens, or an image of them with channels last or second."""
    if values.dim() == 4:
        values = (values if place.channels_last else values.movedim(1, -1)).flatten(1, 2)
    return values.reshape(images, -1, values.shape[-1])


def _block(model: Model, place: Seam) -> torch.nn.Module:
    return model.net.get_submodule(place.path.rpartition(".")[0])
