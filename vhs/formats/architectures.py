"""timm's architectures: by name, with arguments, and with what the tensors of a weights file tell of their sizes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vhs.errors import InputError, UsageError
from vhs.formats import hub
from vhs.models import arguments

if TYPE_CHECKING:
    from torch import nn

Shapes = dict[str, tuple[int, ...]]
PUBLISHED = ("model.safetensors", "pytorch_model.bin")
"""Files of a hub repository that timm looks for."""
LARGEST_WEIGHTS = 1 << 28
"""Parameters that arguments may ask for, unless the architecture has more by itself: 1 GiB."""


def split(reference: str) -> tuple[str, str, str]:
    """`timm:NAME:ARGUMENTS@FILE` -> (name, arguments, file), each but the name may be empty."""
    head, _, file = reference.partition(":")[2].partition("@")
    name, _, arguments_text = head.partition(":")
    return name, arguments_text, file


def is_known(name: str) -> bool:
    """Whether timm has this architecture, and its weights' tag where there is one."""
    import timm

    return name in timm.list_pretrained() if "." in name else timm.is_model(name)


def nearest(name: str) -> str | None:
    """The architecture whose name is most like this one; None where none is."""
    import timm

    base, dot, tag = name.partition(".")
    known = timm.list_models()
    if dot and base in known:
        tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{base}.*")]
        close = get_close_matches(tag, tags, 1, 0.0)
        return f"{base}.{close[0]}" if close else base
    close = get_close_matches(base, known, 1, 0.8)
    return close[0] if close else None


def check(reference: str, name: str) -> None:
    """Raises InputError for a name that timm does not have, with the nearest that it has."""
    if is_known(name):
        return
    close = nearest(name)
    advice = f"Did you mean timm:{close}?" if close else "`timm.list_models()` lists them."
    raise InputError(f"{reference}: timm knows no architecture {name!r:.80}. {advice}")


def arguments_of(reference: str, given: str) -> dict[str, Any]:
    """The arguments of a reference. Raises InputError naming the one that is wrong."""
    try:
        return arguments.parse(given)
    except UsageError as error:
        raise InputError(f"{reference}: {error}") from error


def sketch(reference: str, name: str, values: dict[str, Any]) -> nn.Module:
    """The network on the meta device, where it takes no memory.

    Raises InputError for arguments that timm does not take, or that ask for more than anybody runs.
    """
    import timm
    import torch

    try:
        with torch.device("meta"):
            net = timm.create_model(name, **values)
    except TypeError as error:
        words = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        what = f"takes no {words[1]}" if words else f"is not built so: {' '.join(str(error).split())[:120]}"
        raise InputError(f"{reference}: {name} {what}.") from error
    except Exception as error:  # timm's builders raise many kinds
        raise InputError(
            f"{reference}: timm does not build {name} so: {' '.join(str(error).split())[:120] or type(error).__name__}."
        ) from error
    if values:
        _check_size(reference, name, net)
    return net


@contextmanager
def cache_first(reference: str, name: str) -> Iterator[None]:
    """Inside, timm takes the published weights from its cache; from the hub only where it answers.

    Raises InputError at once where neither is there.
    """
    import timm
    from torch.hub import get_dir

    config = timm.get_pretrained_cfg(name)
    repository, file = (config.hf_hub_id, config.hf_hub_filename) if config else (None, None)
    address = config.url if config else None
    address = address[0] if isinstance(address, tuple) else address
    if repository and hub.is_cached(repository, [file] if file else PUBLISHED):
        with hub.offline():
            yield
        return
    if not repository and not address:
        raise InputError(f"{reference}: timm publishes no weights of it. Give some: {reference}@FILE.")
    kept = address and not repository and (Path(get_dir()) / "checkpoints" / address.rpartition("/")[2]).exists()
    if not kept:
        hub.check(reference, f"Give the weights as {reference}@FILE", None if repository else address)
    yield


def sizes_of(shapes: Shapes, own: nn.Module, given: dict[str, Any]) -> dict[str, Any]:
    """Arguments that the weights' shapes tell and that differ from the architecture's `own`; `given` ones win.

    Raises UsageError where the shapes do not tell enough.
    """
    standard = shapes_of(own)
    read, default = _sizes(shapes), _sizes(standard)
    found = {name: value for name, value in read.items() if name in default and value != default[name]}
    if "embed_dim" in found and "num_heads" not in given:
        raise UsageError(
            f"the weights are {found['embed_dim']} features wide, the architecture {default['embed_dim']}. Are they of "
            f"this architecture? If so, add :num_heads=N, which no tensor tells."
        )
    patch = given.get("patch_size", read.get("patch_size"))
    bare = bool(given.get("no_embed_class", getattr(own, "no_embed_class", False)))
    places = _places(shapes, bare)
    if "img_size" not in given and patch and places and (places != _places(standard, bare) or "patch_size" in found):
        found["img_size"] = _side(places, patch)
    return arguments.parse(arguments.text_of((found | given).items()))


def shapes_of(net: nn.Module) -> Shapes:
    """Shape of each tensor by name."""
    return {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}


def _sizes(shapes: Shapes) -> dict[str, Any]:
    """Arguments of timm's plain ViT and its relatives that shapes of tensors tell."""
    found: dict[str, Any] = {"depth": len({name.split(".")[1] for name in shapes if name.startswith("blocks.")})}
    kernel = shapes.get("patch_embed.proj.weight", ())
    if len(kernel) != 4 or "blocks.0.norm1.weight" not in shapes:
        return {}
    found |= {"embed_dim": kernel[0], "in_chans": kernel[1], "patch_size": _one(kernel[2:])}
    found |= {"class_token": "cls_token" in shapes, "reg_tokens": shapes.get("reg_token", (1, 0))[1]}
    hidden = shapes.get("blocks.0.mlp.fc1.weight", ())
    if hidden:
        ratio = hidden[0] / kernel[0]
        found["mlp_ratio"] = ratio if int(kernel[0] * ratio) == hidden[0] else (hidden[0] + 0.5) / kernel[0]
    if "blocks.0.attn.qkv.weight" in shapes:
        found["qkv_bias"] = "blocks.0.attn.qkv.bias" in shapes
    found["init_values"] = 1e-5 if "blocks.0.ls1.gamma" in shapes else None
    if ("norm.weight" in shapes) != ("fc_norm.weight" in shapes):
        found["global_pool"] = "token" if "norm.weight" in shapes else "avg"
    return found


def _places(shapes: Shapes, bare: bool) -> int:
    """Patches that have a position; 0 where there is no such table. bare: whether other tokens have none."""
    table = shapes.get("pos_embed", ())
    if len(table) != 3:
        return 0
    others = ("cls_token" in shapes) + ("dist_token" in shapes) + int(shapes.get("reg_token", (1, 0))[1])
    return table[1] - (0 if bare else others)


def _side(places: int, patch: int | tuple[int, int]) -> int | tuple[int, int]:
    root = math.isqrt(places)
    if root * root != places:
        raise UsageError(
            f"the weights have {places} positions, which is no square: add :img_size=HEIGHTxWIDTH to tell its sides."
        )
    tall, wide = (patch, patch) if isinstance(patch, int) else patch
    return _one((root * tall, root * wide))


def _one(pair: tuple[int, ...]) -> int | tuple[int, int]:
    return pair[0] if pair[0] == pair[1] else (pair[0], pair[1])


def _check_size(reference: str, name: str, net: nn.Module) -> None:
    import timm
    import torch

    fine = arguments.too_fine(net)
    if fine:
        raise InputError(f"{reference}: {fine} read here.")
    count = sum(parameter.numel() for parameter in net.parameters())
    if count > LARGEST_WEIGHTS:
        with torch.device("meta"):
            own = sum(parameter.numel() for parameter in timm.create_model(name).parameters())
        if count > own:
            most = max(own, LARGEST_WEIGHTS)
            raise InputError(f"{reference}: is {count:,} parameters; at most {most:,} are read here.")
