"""Model references: a vhs checkpoint, `-` for its bytes on stdin, `timm:NAME`, `timm:NAME@FILE`, `hf:FOLDER|NAME`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from vhs.errors import InputError
from vhs.formats import checkpoints, huggingface, weights
from vhs.formats.checkpoints import CheckpointInfo
from vhs.formats.stdin import read_stdin
from vhs.models.model import Model, Preprocess, build
from vhs.models.spec import ViTSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

TIMM = "timm:"
IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class Loaded:
    """A model with the file it came from and that file's description, where it is a vhs checkpoint."""

    model: Model
    path: Path | None = None
    info: CheckpointInfo | None = None


def expand(references: Iterable[str]) -> Iterator[str]:
    """Replace `@FILE` and `@-` by the references they list, one a line."""
    for reference in references:
        if not reference.startswith("@"):
            yield reference
            continue
        yield from _listed(reference[1:])


def _listed(name: str) -> list[str]:
    """The references of a list, one a line; empty lines and lines that begin with # are passed over."""
    try:
        text = (read_stdin("a list of models") if name == "-" else Path(name).read_bytes()).decode()
    except OSError as error:
        raise InputError(f"{name}: {error.strerror}. Name a file of model references.") from error
    except UnicodeDecodeError:
        raise InputError(f"@{name}: is no list of references but a binary file. Without @ it is a model.") from None
    found = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not found:
        raise InputError(f"@{name}: lists no models.")
    return found


def load(reference: str, device: torch.device, precision: str = "float32", *, trained: bool = True) -> Loaded:
    """The model a reference names, in eval mode on `device`. trained: False for what only asks about its shape.

    Raises InputError for what cannot be read, naming file and tensor.
    """
    if reference.startswith(TIMM):
        return Loaded(_timm(reference, device, precision, trained=trained))
    if reference.startswith(huggingface.HF):
        return Loaded(_hf(reference, device, precision))
    if reference == "-":
        return _spooled(read_stdin("a checkpoint"), "stdin", device, precision)
    path = Path(reference)
    if path.exists() and not path.is_file() and not path.is_dir():
        return _spooled(path.read_bytes(), reference, device, precision)
    return _checkpoint(path, reference, device, precision)


def _spooled(data: bytes, name: str, device: torch.device, precision: str) -> Loaded:
    """A checkpoint that came through a pipe, put on disk to be mapped. Its recorded paths lead nowhere."""
    with tempfile.NamedTemporaryFile(prefix="vhs-", suffix=".safetensors") as spool:
        spool.write(data)
        spool.flush()
        try:
            loaded = _checkpoint(Path(spool.name), name, device, precision)
        except InputError as error:
            raise InputError(str(error).replace(spool.name, name)) from error
    return Loaded(loaded.model, None, loaded.info)


def _checkpoint(path: Path, name: str, device: torch.device, precision: str) -> Loaded:
    import torch

    info, state = checkpoints.load(path)
    with torch.device("meta" if isinstance(info.spec, ViTSpec) else "cpu"):  # others may have buffers of their own
        net = build(info.spec)
    net.load_state_dict(state, strict=True, assign=True)
    preprocess = Preprocess(
        height=info.spec.height, width=info.spec.width, channels=info.spec.channels, mean=info.mean, std=info.std
    )
    model = Model(
        net=net.to(device).eval().requires_grad_(False), preprocess=preprocess, classes=info.classes, name=name,
        weights_id=info.weights_id or checkpoints.weights_id(state), step=info.step, seed=info.seed,
        precision=precision,
    )  # fmt: skip
    return Loaded(model, path, info)


def _timm(reference: str, device: torch.device, precision: str, *, trained: bool) -> Model:
    """`timm:NAME` through timm's cache or hub; `timm:NAME@FILE` from local weights, without network."""
    import timm

    name, _, file = reference.removeprefix(TIMM).partition("@")
    if not timm.is_model(name):
        raise InputError(f"{reference}: timm knows no architecture {name!r}. `timm.list_models()` lists them.")
    net = _from_file(name, Path(file)) if file else _from_hub(name, reference, trained=trained)
    config = timm.data.resolve_data_config({}, model=net)
    channels, height, width = config["input_size"]
    mode = config["interpolation"] if config["interpolation"] in ("bilinear", "bicubic") else "bicubic"
    preprocess = Preprocess(
        height=height, width=width, channels=channels, mean=tuple(config["mean"]), std=tuple(config["std"]),
        crop_share=float(config["crop_pct"]), interpolation=mode,
    )  # fmt: skip
    return Model(
        net=net.to(device).eval().requires_grad_(False), preprocess=preprocess,
        classes=_class_names(cast(int, net.num_classes)),
        name=reference, weights_id=checkpoints.weights_id(net.state_dict()), precision=precision,
    )  # fmt: skip


def _hf(reference: str, device: torch.device, precision: str) -> Model:
    """`hf:FOLDER`, or `hf:NAME` through the hub's cache."""
    told = huggingface.load(reference.removeprefix(huggingface.HF))
    return Model(
        net=told.net.to(device).eval().requires_grad_(False), preprocess=told.preprocess, classes=told.classes,
        name=reference, weights_id=checkpoints.weights_id(told.net.state_dict()), precision=precision,
    )  # fmt: skip


def _from_file(name: str, file: Path) -> nn.Module:
    """A timm architecture with the weights of a file, and as many classes as its classifier has; no network."""
    import timm

    state = weights.read(file)
    classifier = timm.get_pretrained_cfg(name)
    head = classifier.classifier if classifier is not None else None
    count = weights.outputs(state, head) if isinstance(head, str) else None
    net = timm.create_model(name) if count is None else timm.create_model(name, num_classes=count)
    weights.fill(net, state, str(file))
    return net


def _from_hub(name: str, reference: str, *, trained: bool) -> nn.Module:
    import timm

    try:
        return timm.create_model(name, pretrained=trained)
    except Exception as error:  # timm and the hub raise many kinds
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{reference}: weights cannot be loaded: {reason}.") from error


def _class_names(count: int) -> tuple[str, ...]:
    """ImageNet's wnids, the names of its class folders, for 1000 outputs; else the indices."""
    if count == IMAGENET_CLASSES:
        from timm.data import ImageNetInfo

        return tuple(ImageNetInfo().label_names())
    return tuple(str(index) for index in range(count))
