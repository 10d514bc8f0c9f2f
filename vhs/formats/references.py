"""Model references: a vhs checkpoint, `-` for its bytes on stdin, `timm:NAME[:ARGUMENTS][@FILE]`, `hf:FOLDER|NAME`."""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from dataclasses import dataclass
from os.path import exists, isdir, isfile  # these take names that no file can have
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from vhs.errors import InputError, UsageError
from vhs.formats import architectures, checkpoints, huggingface, weights
from vhs.formats.checkpoints import CheckpointInfo
from vhs.formats.stdin import read_stdin
from vhs.models import arguments
from vhs.models.building import build
from vhs.models.model import Model, Preprocess
from vhs.models.spec import TimmSpec, ViTSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

TIMM = "timm:"
IMAGENET_CLASSES = 1000


@dataclass(frozen=True, repr=False)
class Loaded:
    """A model with the file it came from and that file's description, where it is a vhs checkpoint."""

    model: Model
    path: Path | None = None
    info: CheckpointInfo | None = None

    def __repr__(self) -> str:
        return repr(self.model)


def load(reference: str, device: torch.device, precision: str = "float32", *, trained: bool = True) -> Loaded:
    """The model a reference names, in eval mode on `device`. trained: False for what only asks about its shape.

    Raises InputError for what cannot be read, naming file and tensor.
    """
    if reference.startswith(TIMM):
        return _timm(reference, device, precision, trained=trained)
    if reference.startswith(huggingface.HF):
        return Loaded(_hf(reference, device, precision))
    if reference == "-":
        return of_bytes(read_stdin("a checkpoint"), "stdin", device, precision)
    path = Path(reference)
    if exists(path) and not path.is_file() and not path.is_dir():
        return of_bytes(path.read_bytes(), reference, device, precision)
    _check_kind(path, reference)
    return _checkpoint(path, reference, device, precision)


def of_bytes(data: bytes, name: str, device: torch.device, precision: str) -> Loaded:
    """A checkpoint that came through a pipe or was never written, put on disk to be mapped.

    Its recorded paths lead nowhere.
    """
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
        precision=precision, spec=info.spec,
    )  # fmt: skip
    return Loaded(model, path, info)


def _check_kind(path: Path, reference: str) -> None:
    """Raises InputError for what is no checkpoint but could be named so that it is read."""
    if isdir(path) and (path / huggingface.CONFIG).is_file():
        raise InputError(f"{reference}: is a folder of transformers, not a vhs checkpoint. Use hf:{reference}.")
    if isfile(path) and weights.is_pickled(path):
        raise InputError(
            f"{reference}: is a file of torch weights, not a vhs checkpoint. Use timm:ARCH@{reference}, ARCH being the "
            f"name of its architecture in timm."
        )
    if exists(path) or path.name != reference or path.suffix == ".safetensors":
        return
    close = reference if architectures.is_known(reference) else architectures.nearest(reference)
    if close:
        meant = "timm has an architecture of this name" if close == reference else "Did you mean timm's"
        raise InputError(f"{reference}: No such file. {meant}: timm:{close}{'' if close == reference else '?'}")


def _timm(reference: str, device: torch.device, precision: str, *, trained: bool) -> Loaded:
    """`timm:NAME` through timm's cache or hub; `timm:NAME@FILE` from local weights, without network."""
    import timm

    name, text, file = architectures.split(reference)
    architectures.check(reference, name)
    given = architectures.arguments_of(reference, text)
    net, given = _from_file(reference, name, Path(file), given) if file else (
        _from_hub(reference, name, given, trained=trained), given)  # fmt: skip
    config = timm.data.resolve_data_config({}, model=net)
    channels, *sides = config["input_size"]
    channels, size = given.get("in_chans", channels), given.get("img_size", tuple(sides))
    height, width = (size, size) if isinstance(size, int) else size
    mode = config["interpolation"] if config["interpolation"] in ("bilinear", "bicubic") else "bicubic"
    preprocess = Preprocess(
        height=height, width=width, channels=channels, mean=_levels(config["mean"], channels),
        std=_levels(config["std"], channels), crop_share=float(config["crop_pct"]), interpolation=mode,
    )  # fmt: skip
    classes = _class_names(cast(int, net.num_classes))
    others = arguments.text_of((key, value) for key, value in given.items() if key not in arguments.SPEC)
    spec = TimmSpec(
        name=name, height=height, width=width, channels=channels, classes=len(classes), arguments=others
    )  # fmt: skip
    return Loaded(Model(
        net=net.to(device).eval().requires_grad_(False), preprocess=preprocess, classes=classes,
        name=reference, weights_id=checkpoints.weights_id(net.state_dict()), precision=precision, spec=spec,
    ))  # fmt: skip


def _levels(levels: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """A mean or deviation for each channel; the average of all where the network takes another number of channels."""
    return tuple(levels) if len(levels) == channels else (sum(levels) / len(levels),) * channels


def _hf(reference: str, device: torch.device, precision: str) -> Model:
    """`hf:FOLDER`, or `hf:NAME` through the hub's cache."""
    found = huggingface.load(reference.removeprefix(huggingface.HF))
    return Model(
        net=found.net.to(device).eval().requires_grad_(False), preprocess=found.preprocess, classes=found.classes,
        name=reference, weights_id=checkpoints.weights_id(found.net.state_dict()), precision=precision,
    )  # fmt: skip


def _from_file(reference: str, name: str, file: Path, given: dict[str, Any]) -> tuple[nn.Module, dict[str, Any]]:
    """A timm architecture with the weights of a file, and the sizes that its tensors tell or were given; no network."""
    import timm

    state = weights.read(file)
    own = architectures.sketch(reference, name, {})
    classifier = timm.get_pretrained_cfg(name)
    head = classifier.classifier if classifier is not None else None
    count = weights.outputs(state, head) if isinstance(head, str) else None
    given = ({} if count is None else {"num_classes": count}) | given
    try:
        sizes = architectures.sizes_of({key: tuple(value.shape) for key, value in state.items()}, own, given)
    except UsageError as error:
        raise InputError(f"{reference}: {error}") from error
    weights.check(architectures.sketch(reference, name, sizes), state, str(file))
    net = timm.create_model(name, **sizes)
    weights.fill(net, state, str(file))
    return net, sizes


def _from_hub(reference: str, name: str, sizes: dict[str, Any], *, trained: bool) -> nn.Module:
    import timm

    if sizes:
        architectures.sketch(reference, name, sizes)
    try:
        with architectures.cache_first(reference, name) if trained else nullcontext():
            return timm.create_model(name, pretrained=trained, **sizes)
    except InputError:
        raise
    except Exception as error:  # timm and the hub raise many kinds
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{reference}: weights cannot be loaded: {reason}.") from error


def _class_names(count: int) -> tuple[str, ...]:
    """ImageNet's wnids, the names of its class folders, for 1000 outputs; else the indices."""
    if count == IMAGENET_CLASSES:
        from timm.data import ImageNetInfo

        return tuple(ImageNetInfo().label_names())
    return tuple(str(index) for index in range(count))
